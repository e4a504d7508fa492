public import SpindleCore

extension ParquetReader {
  /// Begins to read the file row by row: the comfortable way, for few rows or little hurry. A
  /// ``scan(columns:where:byteStrings:batchRows:)`` gives the same rows by column, and many times
  /// as fast.
  ///
  /// ```swift
  /// let rows = try reader.rows(columns: ["origin", "dep_delay"], where: .isNotNull("dep_delay"))
  /// while let row = try rows.next() {
  ///   print(row["origin"]?.text ?? "", row["dep_delay"]?.double ?? 0)
  /// }
  /// ```
  ///
  /// - Throws: As `scan`.
  public func rows(
    columns: [String]? = nil, where predicate: ParquetPredicate? = nil
  ) throws(SpindleError) -> ParquetRows {
    let positions = try positions(of: columns)
    return ParquetRows(
      try scan(columns: columns, where: predicate, byteStrings: .dictionary),
      columns: positions.map { metadata.schema.columns[$0] })
  }
}

/// The rows of a file one after the other, made by ``ParquetReader/rows(columns:where:)``.
public final class ParquetRows {
  private let scan: ParquetScan
  private let columns: [ParquetColumn]
  private var batch: ColumnBatch?
  private var row = 0

  init(_ scan: ParquetScan, columns: [ParquetColumn]) {
    self.scan = scan
    self.columns = columns
  }

  /// The next row; nil at the end of the file.
  ///
  /// - Throws: ``SpindleError`` as ``ParquetReader`` says.
  public func next() throws(SpindleError) -> ParquetRow? {
    while true {
      if let batch, row < batch.rowCount {
        row += 1
        return ParquetRow(batch: batch, columns: columns, row: row - 1)
      }
      batch = try scan.next()
      row = 0
      if batch == nil { return nil }
    }
  }
}

/// One row of a batch.
public struct ParquetRow: Sendable {
  let batch: ColumnBatch
  /// The columns of the row, as the schema has them.
  public let columns: [ParquetColumn]
  let row: Int

  /// The value of a column by its position among ``columns``; nil for null.
  public subscript(column: Int) -> ParquetValue? {
    batch.columns[column].value(row, order: ValueOrder(columns[column]))
  }

  /// The value of a column by its name; nil for null, and for a column that was not read.
  public subscript(name: String) -> ParquetValue? {
    columns.firstIndex { $0.name == name }.flatMap { self[$0] }
  }
}

extension ParquetValue {
  /// The boolean, if it is one.
  public var boolean: Bool? { if case .boolean(let value) = self { value } else { nil } }

  /// The integer, if it is one of the range of `Int64`.
  public var integer: Int64? {
    switch self {
    case .integer(let value): value
    case .unsigned(let value): Int64(exactly: value)
    default: nil
    }
  }

  /// The number, if it is one of a column of `FLOAT` or `DOUBLE`.
  public var double: Double? { if case .double(let value) = self { value } else { nil } }

  /// The bytes, if it is a byte string.
  public var bytes: [UInt8]? { if case .bytes(let value) = self { value } else { nil } }

  /// The byte string as text; bytes that are no UTF-8 become replacement characters.
  public var text: String? { bytes.map { String(decoding: $0, as: UTF8.self) } }
}

extension ColumnArray {
  /// The value of a row; nil for a null row.
  ///
  /// - Parameter order: Tells integers apart that are signed or not.
  func value(_ row: Int, order: ValueOrder) -> ParquetValue? {
    if isNull(row) { return nil }
    switch values {
    case .boolean(let slots): return .boolean(slots[row])
    case .int32(let slots):
      if case .integer(_, isSigned: false) = order {
        return .unsigned(UInt64(UInt32(bitPattern: slots[row])))
      }
      return .integer(Int64(slots[row]))
    case .int64(let slots):
      if case .integer(_, isSigned: false) = order {
        return .unsigned(UInt64(bitPattern: slots[row]))
      }
      return .integer(slots[row])
    case .float(let slots): return .double(Double(slots[row]))
    case .double(let slots): return .double(slots[row])
    case .bytes(let slots): return .bytes(copyBytes(slots[row]))
    case .fixed(let slots): return .bytes(copyBytes(slots[row]))
    case .dictionary(let indices, let strings):
      return .bytes(copyBytes(strings[Int(indices[row])]))
    }
  }
}
