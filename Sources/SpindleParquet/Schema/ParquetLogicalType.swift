/// What the values of a column mean, beyond their physical type.
public enum ParquetLogicalType: Sendable, Hashable {
  /// UTF-8 text in a byte array.
  case string
  /// A JSON document as UTF-8 text in a byte array.
  case json
  /// The 16 bytes of a UUID, most significant first, in a fixed-length byte array.
  case uuid
  /// Days since 1970-01-01 in an `int32`.
  case date
  /// Time since 1970-01-01 00:00:00 in an `int64`, of UTC or of a clock on the wall that the file
  /// does not name.
  case timestamp(ParquetTimeUnit, isAdjustedToUTC: Bool)
  /// An integer of 8, 16 or 32 bits in an `int32`, or of 64 bits in an `int64`. Unsigned ones are
  /// kept as the bit pattern.
  case integer(bitWidth: Int, isSigned: Bool)
  /// A meaning that only files from elsewhere have, such as `DECIMAL(10,2)`, by the format's name
  /// for it. Its columns are read as their physical type; they cannot be written.
  case other(String)
}

/// The unit of a timestamp.
public enum ParquetTimeUnit: String, Sendable, Hashable, CaseIterable {
  case milliseconds
  case microseconds
  case nanoseconds
}

extension ParquetTimeUnit {
  /// The format's name.
  var formatName: String {
    switch self {
    case .milliseconds: "MILLIS"
    case .microseconds: "MICROS"
    case .nanoseconds: "NANOS"
    }
  }
}

extension ParquetLogicalType: CustomStringConvertible {
  /// The format's name, such as `STRING` or `TIMESTAMP(MICROS,UTC)`.
  public var description: String {
    switch self {
    case .string: "STRING"
    case .json: "JSON"
    case .uuid: "UUID"
    case .date: "DATE"
    case .timestamp(let unit, let isUTC): "TIMESTAMP(\(unit.formatName)\(isUTC ? ",UTC" : ""))"
    case .integer(let bitWidth, let isSigned): "INTEGER(\(bitWidth),\(isSigned ? "" : "un")signed)"
    case .other(let name): name
    }
  }
}

extension ParquetLogicalType {
  /// Whether values of the physical type can have this meaning.
  func fits(_ physicalType: ParquetPhysicalType) -> Bool {
    switch self {
    case .string, .json: physicalType == .byteArray
    case .uuid: physicalType == .fixedLengthByteArray(16)
    case .date: physicalType == .int32
    case .timestamp(.nanoseconds, isAdjustedToUTC: true):
      physicalType == .int64 || physicalType == .int96
    case .timestamp: physicalType == .int64
    case .integer(8, _), .integer(16, _), .integer(32, _): physicalType == .int32
    case .integer(64, _): physicalType == .int64
    case .integer: false
    case .other: true
    }
  }
}
