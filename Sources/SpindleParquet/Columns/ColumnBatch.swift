public import SpindleCore

/// Some rows of some columns, side by side.
public struct ColumnBatch: Sendable {
  public var columns: [ColumnArray]
  /// Rows of every column. Stated, as a batch may have no column.
  public var rowCount: Int

  public init(columns: [ColumnArray], rowCount: Int) {
    self.columns = columns
    self.rowCount = rowCount
  }

  /// A batch of the columns' rows; none when there is no column.
  public init(_ columns: [ColumnArray]) {
    self.init(columns: columns, rowCount: columns.first?.count ?? 0)
  }

  /// Checks that every column is whole in itself and has the batch's number of rows.
  ///
  /// - Throws: ``SpindleError`` with `invalidArgument`, naming the column by its position.
  /// - Complexity: O(rows * columns).
  public func validate() throws(SpindleError) {
    for index in columns.indices {
      let column = columns[index]
      guard column.count == rowCount else {
        throw SpindleError(
          .invalidArgument,
          "column \(index) has \(column.count) rows in a batch of \(rowCount) rows")
      }
      if let fault = column.fault {
        throw SpindleError(.invalidArgument, "column \(index): \(fault)")
      }
    }
  }
}
