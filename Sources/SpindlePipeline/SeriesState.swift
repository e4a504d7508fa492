public import SpindleCore
internal import SpindleFormats

/// The last point of a series and how many points it has.
public struct SeriesState: Sendable, Equatable {
  /// A field's value.
  public enum Value: Sendable, Equatable {
    case float(Double)
    case integer(Int64)
    case unsigned(UInt64)
    case boolean(Bool)
    case string([UInt8])
  }

  /// One field of the last point.
  public struct Field: Sendable, Equatable {
    public var key: [UInt8]
    public var value: Value
  }

  /// Points applied.
  public var pointCount: UInt64 = 0
  /// Nanoseconds since 1970 of the last point: the greatest applied. Of equal ones the point that
  /// was applied later is the last.
  public var lastTimestamp = Int64.min
  /// The last point's fields in the form in which they are stored; see ``fields()``.
  var encodedFields: [UInt8] = []

  init() {}

  /// The last point's fields.
  public func fields() throws(DecodingFailure) -> [Field] {
    var reader = ByteReader(encodedFields.span)
    var fields: [Field] = []
    while reader.remaining > 0 {
      let key = try reader.readBlob()
      let type = try reader.readUInt8()
      let value: Value
      switch type {
      case FieldType.float:
        value = .float(Double(bitPattern: try reader.readBigEndian(UInt64.self)))
      case FieldType.integer:
        value = .integer(Int64(bitPattern: try reader.readBigEndian(UInt64.self)))
      case FieldType.unsigned: value = .unsigned(try reader.readBigEndian(UInt64.self))
      case FieldType.boolean:
        let byte = try reader.readUInt8()
        guard byte <= 1 else { throw .invalid("a boolean is \(byte)") }
        value = .boolean(byte == 1)
      case FieldType.string: value = .string(try reader.readBlob())
      default: throw .invalid("field type \(type) is unknown")
      }
      fields.append(Field(key: key, value: value))
    }
    return fields
  }

  // Part of the format; must not be changed.
  private enum FieldType {
    static let float: UInt8 = 0
    static let integer: UInt8 = 1
    static let unsigned: UInt8 = 2
    static let boolean: UInt8 = 3
    static let string: UInt8 = 4
  }

  /// Encodes a line's fields, replacing what `output` holds.
  static func encodeFields(of line: borrowing LineProtocolLine, into output: inout [UInt8]) {
    output.removeAll(keepingCapacity: true)
    let fields = line.fields
    for index in 0..<fields.count {
      let field = fields[index]
      appendText(field.key, as: .name, of: line, to: &output)
      switch field.value {
      case .float(let number):
        output.append(FieldType.float)
        output.appendBigEndian(number.bitPattern)
      case .integer(let number):
        output.append(FieldType.integer)
        output.appendBigEndian(UInt64(bitPattern: number))
      case .unsigned(let number):
        output.append(FieldType.unsigned)
        output.appendBigEndian(number)
      case .boolean(let flag):
        output.append(FieldType.boolean)
        output.append(flag ? 1 : 0)
      case .string(let token):
        output.append(FieldType.string)
        appendText(token, as: .string, of: line, to: &output)
      }
    }
  }

  private static func appendText(
    _ token: LineProtocolToken, as kind: LineProtocolToken.Kind,
    of line: borrowing LineProtocolLine, to output: inout [UInt8]
  ) {
    guard token.hasEscapes else {
      output.appendVarint(UInt64(token.byteCount))
      output.append(borrowing: line.rawBytes(of: token))
      return
    }
    var text: [UInt8] = []
    line.append(token, as: kind, to: &text)
    output.appendBlob(text)
  }

  // MARK: Record (`Documentation/Formats/ingest-state.md`)

  // Part of the format; must not be changed.
  static let version: UInt8 = 1

  /// Appends the record to `output`, replacing what it holds.
  func encode(into output: inout [UInt8]) {
    output.removeAll(keepingCapacity: true)
    output.append(Self.version)
    output.appendVarint(pointCount)
    output.appendBigEndian(UInt64(bitPattern: lastTimestamp))
    output.append(contentsOf: encodedFields)
    output.appendBigEndian(CRC32C.mask(CRC32C.checksum(output)))
  }

  init(decoding record: Span<UInt8>) throws(DecodingFailure) {
    var reader = ByteReader(try checkedBody(of: record))
    let version = try reader.readUInt8()
    guard version == Self.version else { throw .unknownVersion(version) }
    pointCount = try reader.readVarint()
    lastTimestamp = Int64(bitPattern: try reader.readBigEndian(UInt64.self))
    encodedFields = try reader.readBytes(reader.remaining)
  }
}
