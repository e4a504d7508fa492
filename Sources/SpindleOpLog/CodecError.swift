public import SpindleCore

/// Why an op, or a segment of entries, could not be written or rebuilt.
public enum CodecError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The bytes end within a value.
  case unexpectedEnd
  /// So many bytes follow the last value.
  case trailingBytes(Int)
  /// No op has this tag.
  case unknownTag(UInt8)
  /// The op uses tag 255, which marks expunged entries: its row would read back as a marker.
  case reservedTag
  case varintOverflow
  case nonMinimalVarint
  /// A length that no machine can hold.
  case lengthTooLarge(UInt64)
  case invalidUTF8
  /// A text holds the character of code 0.
  case textContainsNul
  /// A reference to the uuid of this number, of which fewer were defined before.
  case unresolvedUUID(UInt64)
  /// A uuid is defined again where a reference to it was due.
  case repeatedUUID
  /// For ops on rows of tables: another number of key columns than the table has.
  case keyCountMismatch(expected: Int, actual: Int)
  /// For ops on rows of tables: a key column has a value of the wrong type.
  case keyValueMismatch
  /// For ops on rows of tables: a column has a value of the wrong type.
  case columnValueMismatch
  /// The entry's bytes do not give the hash that follows them.
  case hashMismatch
  /// The entry is older than the one before it.
  case nonMonotonicDelta
  /// The sum of the times between entries exceeds 64 bits.
  case timestampOverflow
  /// Index 2^64 - 1 has no next index.
  case indexOverflow
  /// The segment would have more than 2^30 bytes, which no reader takes.
  case segmentTooLarge
  /// The segment begins with other bytes than expected, or none were given to begin it with.
  case badMagic
  /// The segment's mode is neither device (0) nor server (1).
  case unknownSegmentFlags(UInt8)
  /// The segment was written by a newer version.
  case unknownSegmentVersion(UInt8)
  /// The segment's entries are hashed in an unknown way.
  case unknownHashSuite(UInt8)
  /// The bytes before the first entry are damaged.
  case headerMismatch
  /// An entry for a segment in server mode has no user.
  case missingUserID
  /// An entry for a segment in device mode has a user, which would be lost.
  case unexpectedUserID
  /// What the op's own codec has to say, in words that show no payload.
  case invalid(String)

  /// The same failure of a byte reader, for ops that use one.
  public init(_ failure: DecodingFailure) {
    self =
      switch failure {
      case .truncated: .unexpectedEnd
      case .trailingBytes(let count): .trailingBytes(count)
      case .varintOverflow: .varintOverflow
      case .nonMinimalVarint: .nonMinimalVarint
      case .checksumMismatch, .unknownVersion, .invalid: .invalid(failure.description)
      }
  }

  public var description: String {
    switch self {
    case .unexpectedEnd: "the bytes end within a value"
    case .trailingBytes(let count): "\(count) bytes follow the last value"
    case .unknownTag(let tag): "tag \(tag) is unknown"
    case .reservedTag: "tag 255 is reserved for expunged entries"
    case .varintOverflow: "a varint exceeds 64 bits"
    case .nonMinimalVarint: "a varint is longer than its value needs"
    case .lengthTooLarge(let count): "a length of \(count) bytes exceeds what memory can hold"
    case .invalidUTF8: "a text is no UTF-8"
    case .textContainsNul: "a text holds a NUL character"
    case .unresolvedUUID(let number): "uuid number \(number) was not defined before"
    case .repeatedUUID: "a uuid is defined a second time"
    case .keyCountMismatch(let expected, let actual):
      "the key has \(actual) columns; expected \(expected)"
    case .keyValueMismatch: "a key column has a value of the wrong type"
    case .columnValueMismatch: "a column has a value of the wrong type"
    case .hashMismatch: "the bytes do not give the hash that follows them"
    case .nonMonotonicDelta: "an entry is older than the one before it"
    case .timestampOverflow: "a timestamp exceeds 64 bits"
    case .indexOverflow: "no index follows \(UInt64.max)"
    case .segmentTooLarge: "a segment would exceed 2^30 bytes"
    case .badMagic: "the segment does not begin with the bytes of this log"
    case .unknownSegmentFlags(let flags): "the segment's flags \(flags) are unknown"
    case .unknownSegmentVersion(let version): "segment version \(version) is unknown"
    case .unknownHashSuite(let suite): "hash suite \(suite) is unknown"
    case .headerMismatch: "the segment's header does not give its checksum"
    case .missingUserID: "an entry of a server's segment has no user"
    case .unexpectedUserID: "an entry of a device's segment has a user"
    case .invalid(let what): what
    }
  }

  /// Whether a newer version of the code may understand what this one does not.
  var isUnknownFormat: Bool {
    switch self {
    case .unknownTag, .unknownSegmentFlags, .unknownSegmentVersion, .unknownHashSuite: true
    default: false
    }
  }
}
