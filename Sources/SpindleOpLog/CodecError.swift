public import SpindleCore

/// Why an op could not be written or rebuilt.
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
    case .invalid(let what): what
    }
  }
}
