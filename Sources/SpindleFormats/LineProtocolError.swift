/// Why a line was rejected, and where.
public struct LineProtocolError: Error, Sendable, Equatable {
  /// What is wrong. Each case says where ``LineProtocolError/column`` points.
  public enum Kind: Sendable, Equatable {
    /// The line starts with a comma. Column: the comma.
    case missingMeasurement
    /// A tag has an empty key. Column: where the key was expected.
    case missingTagKey
    /// A tag has no `=` or an empty value. Column: where it was expected.
    case missingTagValue
    /// A tag value holds an equals sign without a backslash. Column: that sign.
    case unescapedEquals
    /// Nothing but blanks follows the measurement and tags. Column: where the fields were expected.
    case missingFields
    /// A field has an empty key. Column: where the key was expected.
    case missingFieldKey
    /// A field has no `=` or an empty value. Column: where it was expected.
    case missingFieldValue
    /// A value is neither number, boolean nor quoted string. Column: its first byte.
    case invalidFieldValue
    /// A number does not fit its type, or a float is beyond the largest. Column: its first byte.
    case numberOutOfRange
    /// A string has no closing quote up to the end of the input. Column: the opening quote.
    case unterminatedString
    /// Something other than comma, space or the line's end follows a closing quote. Column: it. The
    /// payload is the opening quote, which is the one at fault when a quote was forgotten.
    case textAfterString(openedAtLine: UInt64, column: UInt64)
    /// The timestamp is not an integer. Column: its first byte.
    case invalidTimestamp
    /// The timestamp in nanoseconds does not fit 64 bits. Column: its first byte.
    case timestampOutOfRange
    /// Something follows the timestamp. Column: it.
    case textAfterTimestamp
    /// A tag key occurs twice. Column: its second occurrence.
    case duplicateTagKey
    /// A field key occurs again with a value of another type. Column: the later key.
    case conflictingFieldTypes
    /// A measurement, tag key or field key starts with an underscore, or a tag or field key is
    /// `time`. Column: the name.
    case reservedName
    /// A name or string is not UTF-8. Column: the first byte that fits no character.
    case invalidUTF8
    /// A name or string holds a NUL byte. Column: it.
    case nulByte
    /// The line has more bytes than ``LineProtocolLimits/lineByteLimit``. Column: the first too
    /// many.
    case lineTooLong(limit: Int)
    /// The line has more tags than ``LineProtocolLimits/tagLimit``. Column: the first too many.
    case tooManyTags(limit: Int)
    /// The line has more fields than ``LineProtocolLimits/fieldLimit``. Column: the first too many.
    case tooManyFields(limit: Int)
    /// A name is longer than ``LineProtocolLimits/nameByteLimit``. Column: the name.
    case nameTooLong(limit: Int)
    /// A string is longer than ``LineProtocolLimits/stringByteLimit``. Column: the opening quote.
    case stringTooLong(limit: Int)
  }

  /// The physical line, from 1 (or from the `firstLine` given to `decode`).
  public let line: UInt64
  /// The byte in that physical line, from 1.
  public let column: UInt64
  public let kind: Kind
  /// The start of what was found, printable ASCII, at most 40 characters. May be empty.
  public let found: String

  public init(line: UInt64, column: UInt64, kind: Kind, found: String = "") {
    self.line = line
    self.column = column
    self.kind = kind
    self.found = found
  }
}

extension LineProtocolError: CustomStringConvertible {
  /// One sentence: where, what was found, what was expected. For people; the wording may change.
  public var description: String { "line \(line), column \(column): \(explanation)" }

  private var explanation: String {
    switch kind {
    case .missingMeasurement:
      "the measurement is missing before the comma; expected a name"
    case .missingTagKey:
      "a tag key is missing\(before); expected key=value after the comma"
    case .missingTagValue:
      "tag \"\(found)\" has no value; expected key=value (an absent tag is left out)"
    case .unescapedEquals:
      "tag value \"\(found)\" holds an equals sign; expected it escaped as \\="
    case .missingFields:
      "there are no fields; expected a space and at least one key=value"
    case .missingFieldKey:
      "a field key is missing\(before); expected key=value"
    case .missingFieldValue:
      "field \"\(found)\" has no value; expected key=value"
    case .invalidFieldValue:
      "field value \"\(found)\" is not a number; expected a float, an integer with suffix i, "
        + "an unsigned integer with suffix u, a boolean or a string in double quotes"
    case .numberOutOfRange:
      "number \"\(found)\" is out of range; expected a finite 64-bit float, or an integer of "
        + "64 bits"
    case .unterminatedString:
      "the string that starts with \"\(found)\" never ends; expected a closing double quote"
    case .textAfterString(let openedAtLine, let openedAtColumn):
      "\"\(found)\" follows the string opened at line \(openedAtLine), column \(openedAtColumn); "
        + "expected a comma, a space or the end of the line"
    case .invalidTimestamp:
      "timestamp \"\(found)\" is not an integer; expected digits with an optional minus sign"
    case .timestampOutOfRange:
      "timestamp \"\(found)\" is out of range; expected a time in the years 1677 to 2262 in the "
        + "precision of the request"
    case .textAfterTimestamp:
      "\"\(found)\" follows the timestamp; expected the end of the line"
    case .duplicateTagKey:
      "tag key \"\(found)\" occurs twice; expected each key once"
    case .conflictingFieldTypes:
      "field \"\(found)\" occurs again with another type; expected each key once"
    case .reservedName:
      "name \"\(found)\" is reserved; expected a name that is not \"time\" and does not start "
        + "with an underscore"
    case .invalidUTF8:
      "bytes \"\(found)\" are not UTF-8; expected valid UTF-8 text"
    case .nulByte:
      "a NUL byte was found; expected text without NUL"
    case .lineTooLong(let limit):
      "the line is too long; expected at most \(limit) bytes"
    case .tooManyTags(let limit):
      "the line has too many tags; expected at most \(limit)"
    case .tooManyFields(let limit):
      "the line has too many fields; expected at most \(limit)"
    case .nameTooLong(let limit):
      "the name that starts with \"\(found)\" is too long; expected at most \(limit) bytes"
    case .stringTooLong(let limit):
      "the string that starts with \"\(found)\" is too long; expected at most \(limit) bytes"
    }
  }

  private var before: String { found.isEmpty ? "" : " before \"\(found)\"" }
}

/// Foreign bytes as printable ASCII, at most 40 characters, the last three dots when some are left
/// out. Backslashes are doubled, so that an escaped byte cannot be confused with written text.
func printableExcerpt(_ bytes: Span<UInt8>) -> String {
  let characterLimit = 40
  var text: [UInt8] = []
  var fitting = 0
  for index in bytes.indices {
    appendPrintable(bytes[index], to: &text)
    if text.count <= characterLimit - 3 { fitting = text.count }
    if text.count > characterLimit {
      text.removeSubrange(fitting...)
      text.append(contentsOf: [Ascii.dot, Ascii.dot, Ascii.dot])
      break
    }
  }
  return String(decoding: text, as: UTF8.self)
}

private func appendPrintable(_ byte: UInt8, to text: inout [UInt8]) {
  switch byte {
  case Ascii.newline: text.append(contentsOf: "\\n".utf8)
  case Ascii.carriageReturn: text.append(contentsOf: "\\r".utf8)
  case Ascii.tab: text.append(contentsOf: "\\t".utf8)
  case Ascii.backslash: text.append(contentsOf: "\\\\".utf8)
  case Ascii.quote: text.append(contentsOf: "\\\"".utf8)
  case 0x20..<0x7F: text.append(byte)
  default:
    let digits = Array("0123456789abcdef".utf8)
    text.append(contentsOf: "\\x".utf8)
    text.append(digits[Int(byte >> 4)])
    text.append(digits[Int(byte & 15)])
  }
}
