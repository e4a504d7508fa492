public import SpindleCore

/// One flat column: a name and a type, with or without nulls.
public struct ParquetColumn: Sendable, Hashable {
  public var name: String
  public var physicalType: ParquetPhysicalType
  public var logicalType: ParquetLogicalType?
  /// Whether rows may be null.
  public var isOptional: Bool

  public init(
    name: String, physicalType: ParquetPhysicalType, logicalType: ParquetLogicalType? = nil,
    isOptional: Bool = false
  ) {
    self.name = name
    self.physicalType = physicalType
    self.logicalType = logicalType
    self.isOptional = isOptional
  }
}

extension ParquetColumn: CustomStringConvertible {
  /// The column as the format's schemas are commonly written:
  /// `optional INT64 time (TIMESTAMP(MICROS,UTC))`.
  public var description: String {
    "\(isOptional ? "optional" : "required") \(physicalType) \(name)"
      + (logicalType.map { " (\($0))" } ?? "")
  }
}

extension ParquetColumn {
  /// What forbids this column in a file that is to be written; nil when nothing does.
  var fault: String? {
    if name.isEmpty { return "a column without a name" }
    if physicalType == .int96 { return "column \(name): INT96 is read, not written" }
    if case .fixedLengthByteArray(let width) = physicalType,
      !(1...Int(Int32.max)).contains(width)
    {
      return "column \(name): values of \(width) bytes"
    }
    guard let logicalType else { return nil }
    if case .other(let meaning) = logicalType {
      return "column \(name): \(meaning) is read, not written"
    }
    return logicalType.fits(physicalType)
      ? nil : "column \(name): \(logicalType) does not fit \(physicalType)"
  }

  /// The integers of a column of `int32`.
  var int32Range: ClosedRange<Int64> {
    guard case .integer(let bitWidth, let isSigned) = logicalType else {
      return Int64(Int32.min)...Int64(Int32.max)
    }
    let bits = Int64(min(bitWidth, 32) - (isSigned ? 1 : 0))
    return isSigned ? -1 << bits...1 << bits - 1 : 0...1 << bits - 1
  }

  /// Whether a column of a batch has the type this column's values have in memory.
  func holds(_ values: ColumnArray.Values) -> Bool {
    switch (physicalType, values) {
    case (.boolean, .boolean), (.int32, .int32), (.int64, .int64), (.int96, .int64),
      (.float, .float), (.double, .double), (.byteArray, .bytes), (.byteArray, .dictionary):
      true
    case (.fixedLengthByteArray(let width), .fixed(let fixed)): fixed.width == width
    default: false
    }
  }
}

extension ColumnBatch {
  /// Checks that the batch is whole in itself and has the columns of a schema: as many, of their
  /// types, with integers that their logical types have, and with nulls only where they are
  /// optional.
  ///
  /// - Throws: ``SpindleError`` with `invalidArgument`, naming the column.
  /// - Complexity: O(rows * columns).
  public func validate(against schema: ParquetSchema) throws(SpindleError) {
    guard columns.count == schema.columns.count else {
      throw SpindleError(
        .invalidArgument,
        "a batch of \(columns.count) columns for a schema of \(schema.columns.count)")
    }
    try validate()
    for (column, array) in zip(schema.columns, columns) {
      guard column.holds(array.values) else {
        throw SpindleError(
          .invalidArgument, "column \(column.name) is \(column.physicalType), its values are not")
      }
      guard column.isOptional || array.nullCount == 0 else {
        throw SpindleError(
          .invalidArgument, "column \(column.name) is required and has \(array.nullCount) nulls")
      }
      if let number = array.first(outside: column) {
        throw SpindleError(
          .invalidArgument,
          "column \(column.name) is of integers in \(column.int32Range), and has \(number)")
      }
    }
  }
}

extension ColumnArray {
  /// A number of 32 bits that the column's logical type, of fewer bits, does not have; nil when
  /// there is none.
  fileprivate func first(outside column: ParquetColumn) -> Int32? {
    guard case .int32(let slots) = values, case .integer(let bitWidth, _)? = column.logicalType,
      bitWidth < 32
    else { return nil }
    let range = column.int32Range
    let (low, high) = slots.reduce((0, 0)) { (min($0.0, $1), max($0.1, $1)) }
    if range.contains(Int64(low)), range.contains(Int64(high)) { return nil }
    // The slots of null rows say nothing.
    return slots.indices.first { !isNull($0) && !range.contains(Int64(slots[$0])) }.map {
      slots[$0]
    }
  }
}
