/// How the values of a column lie in a file.
public enum ParquetPhysicalType: Sendable, Hashable {
  case boolean
  case int32
  case int64
  /// Twelve bytes: nanoseconds of the day, then the Julian day. Deprecated by the format; read as
  /// `int64` nanoseconds since 1970, never written.
  case int96
  case float
  case double
  case byteArray
  /// Byte strings of one length, 1 or more.
  case fixedLengthByteArray(Int)
}

extension ParquetPhysicalType: CustomStringConvertible {
  /// The format's name, such as `INT64` or `FIXED_LEN_BYTE_ARRAY(16)`.
  public var description: String {
    switch self {
    case .boolean: "BOOLEAN"
    case .int32: "INT32"
    case .int64: "INT64"
    case .int96: "INT96"
    case .float: "FLOAT"
    case .double: "DOUBLE"
    case .byteArray: "BYTE_ARRAY"
    case .fixedLengthByteArray(let width): "FIXED_LEN_BYTE_ARRAY(\(width))"
    }
  }
}

extension ParquetPhysicalType {
  /// The format's number of the type.
  var number: Int32 {
    switch self {
    case .boolean: 0
    case .int32: 1
    case .int64: 2
    case .int96: 3
    case .float: 4
    case .double: 5
    case .byteArray: 6
    case .fixedLengthByteArray: 7
    }
  }
}
