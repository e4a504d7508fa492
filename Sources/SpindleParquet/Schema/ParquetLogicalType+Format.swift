extension ParquetLogicalType: ThriftWritable {
  /// Reads the format's union of logical types; nil for a union without a member.
  @_lifetime(reader: copy reader)
  static func read(_ reader: inout ThriftReader) throws(ParquetFailure) -> ParquetLogicalType? {
    var found: ParquetLogicalType?
    while let field = try reader.nextField() {
      switch field.id {
      case 5:
        found = .other(
          try reader.structure(field) { (reader) throws(ParquetFailure) in try Self.decimal(&reader)
          })
      case 7:
        let (unit, isUTC) = try reader.structure(field) { (reader) throws(ParquetFailure) in
          try Self.time(&reader)
        }
        found = .other("TIME(\(unit.formatName)\(isUTC ? ",UTC" : ""))")
      case 8:
        let (unit, isUTC) = try reader.structure(field) { (reader) throws(ParquetFailure) in
          try Self.time(&reader)
        }
        found = .timestamp(unit, isAdjustedToUTC: isUTC)
      case 10:
        found = try reader.structure(field) { (reader) throws(ParquetFailure) in
          try Self.integer(&reader)
        }
      default:
        found =
          switch field.id {
          case 1: .string
          case 2: .other("MAP")
          case 3: .other("LIST")
          case 4: .other("ENUM")
          case 6: .date
          case 11: .other("UNKNOWN")
          case 12: .json
          case 13: .other("BSON")
          case 14: .uuid
          case 15: .other("FLOAT16")
          case 16: .other("VARIANT")
          case 17: .other("GEOMETRY")
          case 18: .other("GEOGRAPHY")
          case let id: .other("LOGICAL_TYPE(\(id))")
          }
      }
    }
    return found
  }

  @_lifetime(reader: copy reader)
  private static func decimal(_ reader: inout ThriftReader) throws(ParquetFailure) -> String {
    var scale: Int32 = 0
    var precision: Int32?
    while let field = try reader.nextField() {
      switch field.id {
      case 1: scale = try reader.int32(field)
      case 2: precision = try reader.int32(field)
      default: break
      }
    }
    return decimalName(precision: try required(precision, "a decimal", "precision"), scale: scale)
  }

  static func decimalName(precision: Int32, scale: Int32) -> String {
    "DECIMAL(\(precision),\(scale))"
  }

  @_lifetime(reader: copy reader)
  private static func time(
    _ reader: inout ThriftReader
  ) throws(ParquetFailure) -> (ParquetTimeUnit, Bool) {
    var isUTC: Bool?
    var unit: ParquetTimeUnit?
    while let field = try reader.nextField() {
      switch field.id {
      case 1: isUTC = try reader.bool(field)
      case 2:
        unit = try reader.structure(field) { (reader) throws(ParquetFailure) in
          try Self.unit(&reader)
        }
      default: break
      }
    }
    return (
      try required(unit, "a time", "unit"), try required(isUTC, "a time", "adjustment to UTC")
    )
  }

  @_lifetime(reader: copy reader)
  private static func unit(
    _ reader: inout ThriftReader
  ) throws(ParquetFailure) -> ParquetTimeUnit? {
    var unit: ParquetTimeUnit?
    while let field = try reader.nextField() {
      switch field.id {
      case 1: unit = .milliseconds
      case 2: unit = .microseconds
      case 3: unit = .nanoseconds
      default: throw .unsupported("time unit \(field.id) is unknown")
      }
    }
    return unit
  }

  @_lifetime(reader: copy reader)
  private static func integer(
    _ reader: inout ThriftReader
  ) throws(ParquetFailure) -> ParquetLogicalType {
    var bitWidth: Int8?
    var isSigned: Bool?
    while let field = try reader.nextField() {
      switch field.id {
      case 1: bitWidth = try reader.int8(field)
      case 2: isSigned = try reader.bool(field)
      default: break
      }
    }
    return .integer(
      bitWidth: Int(try required(bitWidth, "an integer type", "width")),
      isSigned: try required(isSigned, "an integer type", "sign"))
  }

  /// Writes the union, its end included. A meaning that is only read is written as a union
  /// without a member; no schema that is written has one.
  func write(to writer: inout ThriftWriter) {
    switch self {
    case .string: writer.structure(1)
    case .date: writer.structure(6)
    case .timestamp(let unit, let isUTC):
      writer.structure(8) { writer in
        writer.bool(1, isUTC)
        writer.structure(2) { writer in
          switch unit {
          case .milliseconds: writer.structure(1)
          case .microseconds: writer.structure(2)
          case .nanoseconds: writer.structure(3)
          }
        }
      }
    case .integer(let bitWidth, let isSigned):
      writer.structure(10) { writer in
        writer.int8(1, Int8(truncatingIfNeeded: bitWidth))
        writer.bool(2, isSigned)
      }
    case .json: writer.structure(12)
    case .uuid: writer.structure(14)
    case .other: break
    }
  }

  /// The older form, by the format's number, for readers that know no other; nil where there is
  /// none.
  var convertedType: Int32? {
    switch self {
    case .string: 0
    case .date: 6
    case .timestamp(.milliseconds, isAdjustedToUTC: true): 9
    case .timestamp(.microseconds, isAdjustedToUTC: true): 10
    case .integer(8, isSigned: false): 11
    case .integer(16, isSigned: false): 12
    case .integer(32, isSigned: false): 13
    case .integer(64, isSigned: false): 14
    case .integer(8, isSigned: true): 15
    case .integer(16, isSigned: true): 16
    case .integer(32, isSigned: true): 17
    case .integer(64, isSigned: true): 18
    case .json: 19
    case .uuid, .timestamp, .integer, .other: nil
    }
  }

  /// The meaning of an element that only has the older form.
  static func converted(from element: SchemaElement) -> ParquetLogicalType? {
    switch element.convertedType {
    case nil: nil
    case 0: .string
    case 1: .other("MAP")
    case 2: .other("MAP_KEY_VALUE")
    case 3: .other("LIST")
    case 4: .other("ENUM")
    case 5: .other(decimalName(precision: element.precision ?? 0, scale: element.scale ?? 0))
    case 6: .date
    case 7: .other("TIME(MILLIS,UTC)")
    case 8: .other("TIME(MICROS,UTC)")
    case 9: .timestamp(.milliseconds, isAdjustedToUTC: true)
    case 10: .timestamp(.microseconds, isAdjustedToUTC: true)
    case 11: .integer(bitWidth: 8, isSigned: false)
    case 12: .integer(bitWidth: 16, isSigned: false)
    case 13: .integer(bitWidth: 32, isSigned: false)
    case 14: .integer(bitWidth: 64, isSigned: false)
    case 15: .integer(bitWidth: 8, isSigned: true)
    case 16: .integer(bitWidth: 16, isSigned: true)
    case 17: .integer(bitWidth: 32, isSigned: true)
    case 18: .integer(bitWidth: 64, isSigned: true)
    case 19: .json
    case 20: .other("BSON")
    case 21: .other("INTERVAL")
    case let number?: .other("CONVERTED_TYPE(\(number))")
    }
  }
}
