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
  /// types, with nulls only where they are optional, and with no integer that its bit width does
  /// not hold.
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
      if let row = column.misfit(array) {
        throw SpindleError(
          .invalidArgument,
          "column \(column.name): row \(row) is outside of what \(column) can hold")
      }
    }
  }
}

extension ParquetColumn {
  /// The numbers that a column of INT32 may have by its logical type. Unsigned ones of 32 bits are
  /// stated as the numbers that they are, though their bits are those of signed ones.
  var int32Range: ClosedRange<Int64> {
    guard case .integer(let bitWidth, let isSigned) = logicalType else {
      return Int64(Int32.min)...Int64(Int32.max)
    }
    let bits = Int64(min(bitWidth, 32) - (isSigned ? 1 : 0))
    return isSigned ? -1 << bits...1 << bits - 1 : 0...1 << bits - 1
  }

  /// The first row whose number has more bits than the column says; nil when none has.
  fileprivate func misfit(_ array: ColumnArray) -> Int? {
    guard case .integer(let bitWidth, _) = logicalType, bitWidth < 32,
      case .int32(let slots) = array.values
    else { return nil }
    let range = int32Range
    // Most batches are decided by one fast pass; the slots of null rows are zero in them.
    var (least, most): (Int32, Int32) = (0, 0)
    for slot in slots {
      least = min(least, slot)
      most = max(most, slot)
    }
    if range.contains(Int64(least)), range.contains(Int64(most)) { return nil }
    return slots.indices.first { !array.isNull($0) && !range.contains(Int64(slots[$0])) }
  }
}
