public import SpindleCore

/// Makes a batch row by row: the comfortable way, for few rows or little hurry. Column builders are
/// many times as fast.
public struct ParquetRowBuilder: Sendable {
  private let schema: ParquetSchema
  private var columns: [ValueBuilder]
  /// Rows so far.
  public private(set) var rowCount = 0
  /// About how many bytes the rows have in memory.
  private(set) var byteCount = 0

  public init(_ schema: ParquetSchema) {
    self.schema = schema
    columns = schema.columns.map { ValueBuilder($0) }
  }

  /// Adds a row.
  ///
  /// - Parameter row: A value for each column of the schema, in its order; nil for null. An integer
  ///   may be given for a column of `FLOAT` or `DOUBLE`, and an unsigned one for a signed column
  ///   and the other way round, if it fits.
  /// - Throws: ``SpindleError`` with `invalidArgument` where a value does not fit its column; the
  ///   row is not added.
  public mutating func append(_ row: [ParquetValue?]) throws(SpindleError) {
    guard row.count == schema.columns.count else {
      throw SpindleError(
        .invalidArgument,
        "a row of \(row.count) values for a schema of \(schema.columns.count) columns")
    }
    for index in row.indices where !columns[index].takes(row[index]) {
      let column = schema.columns[index]
      throw SpindleError(
        .invalidArgument,
        "column \(column.name) is \(column.physicalType)"
          + (row[index] == nil ? " and required, and got a null" : ", and got another value"))
    }
    for index in row.indices {
      columns[index].append(row[index])
      byteCount += 8
      if case .bytes(let bytes)? = row[index] { byteCount += bytes.count }
    }
    rowCount += 1
  }

  /// The rows as a batch; the builder is empty afterwards.
  public mutating func finish() -> ColumnBatch {
    var arrays: [ColumnArray] = []
    for index in columns.indices { arrays.append(columns[index].finish()) }
    defer { (rowCount, byteCount) = (0, 0) }
    return ColumnBatch(columns: arrays, rowCount: rowCount)
  }
}

extension ParquetWriter {
  /// Takes one row; see ``ParquetRowBuilder/append(_:)``. Rows are gathered and written with the
  /// batches, in the order of the calls.
  ///
  /// - Throws: As ``write(_:)``; a row that does not fit is not taken.
  public func write(row: [ParquetValue?]) throws(SpindleError) {
    try requireOpen()
    for (column, value) in zip(schema.columns, row) {
      if case .bytes(let bytes)? = value { try requireShort(bytes.count, column) }
    }
    try rows.append(row)
    // Some thousand rows are as good as more, and long ones need not wait.
    if rows.rowCount >= 8192 || rows.byteCount >= 1 << 20 { try takeRows() }
  }
}

/// The values of one column as they come, row by row.
private struct ValueBuilder: Sendable {
  private let column: ParquetColumn
  /// Integers that the column takes.
  private let range: ClosedRange<Int64>
  private let isSigned: Bool
  // One of them is used. In an enumeration, each row would copy the rows before it.
  private var booleans = ColumnBuilder<Bool>()
  private var int32s = ColumnBuilder<Int32>()
  private var int64s = ColumnBuilder<Int64>()
  private var floats = ColumnBuilder<Float>()
  private var doubles = ColumnBuilder<Double>()
  private var strings = ByteStringsBuilder()
  private var fixed: FixedBytesBuilder

  init(_ column: ParquetColumn) {
    self.column = column
    fixed = FixedBytesBuilder(width: 1)
    if case .fixedLengthByteArray(let width) = column.physicalType {
      fixed = FixedBytesBuilder(width: width)
    }
    range = column.int32Range
    if case .integer(_, let isSigned) = column.logicalType {
      self.isSigned = isSigned
    } else {
      isSigned = true
    }
  }

  /// Whether a value fits the column.
  func takes(_ value: ParquetValue?) -> Bool {
    guard let value else { return column.isOptional }
    return switch column.physicalType {
    case .boolean: value.boolean != nil
    case .int32: value.integer.map { range.contains($0) } ?? false
    case .int64, .int96: value.bits(isSigned: isSigned) != nil
    case .float, .double: value.number != nil
    case .byteArray: value.bytes != nil
    case .fixedLengthByteArray(let width): value.bytes?.count == width
    }
  }

  /// Adds a value that fits.
  mutating func append(_ value: ParquetValue?) {
    switch column.physicalType {
    case .boolean: booleans.append(value?.boolean)
    case .int32: int32s.append((value?.integer).map { Int32(truncatingIfNeeded: $0) })
    case .int64, .int96: int64s.append(value?.bits(isSigned: isSigned))
    case .float: floats.append((value?.number).map { Float($0) })
    case .double: doubles.append(value?.number)
    case .byteArray:
      if let bytes = value?.bytes { strings.append(bytes) } else { strings.appendNull() }
    case .fixedLengthByteArray:
      if let bytes = value?.bytes { fixed.append(bytes) } else { fixed.appendNull() }
    }
  }

  mutating func finish() -> ColumnArray {
    switch column.physicalType {
    case .boolean: booleans.finish()
    case .int32: int32s.finish()
    case .int64, .int96: int64s.finish()
    case .float: floats.finish()
    case .double: doubles.finish()
    case .byteArray: strings.finish()
    case .fixedLengthByteArray: fixed.finish()
    }
  }
}

extension ParquetValue {
  /// The bits of an integer of 64 bits; nil for another value, and one that does not fit.
  fileprivate func bits(isSigned: Bool) -> Int64? {
    switch self {
    case .integer(let number): isSigned || number >= 0 ? number : nil
    case .unsigned(let number):
      isSigned ? Int64(exactly: number) : Int64(bitPattern: number)
    default: nil
    }
  }

  /// The number of a column of `FLOAT` or `DOUBLE`; nil for another value, and for an integer that
  /// is none.
  fileprivate var number: Double? {
    switch self {
    case .double(let number): number
    case .integer(let number): Double(exactly: number)
    case .unsigned(let number): Double(exactly: number)
    default: nil
    }
  }
}
