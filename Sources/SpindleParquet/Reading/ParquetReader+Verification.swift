public import SpindleCore

extension ParquetReader {
  /// Reads every page of the flat columns and compares everything in the file with everything
  /// else: pages with their checksums, counts, statistics, column indexes and offset indexes with
  /// the pages, bloom filters with the values, and the order of the rows with the sorting columns.
  ///
  /// What is wrong becomes a finding, and the rest is looked at all the same, as far as it can be
  /// read. The footer was checked when the reader was made. Nested columns are not read.
  ///
  /// - Throws: ``SpindleError`` of the source, such as `io`. What is wrong with the file is told by
  ///   the result.
  /// - Complexity: O(bytes of the file) in time; memory for some pages, and the indexes of a column
  ///   chunk.
  public func verify() throws(SpindleError) -> ParquetVerification {
    var result = ParquetVerification()
    for group in metadata.rowGroups.indices {
      for column in metadata.schema.columns.indices {
        var check = ChunkCheck(self, group: group, column: column)
        try check.run(&result)
      }
      try verifyOrder(of: group, &result)
    }
    return result
  }

  /// Compares the order of the rows with what the row group claims.
  private func verifyOrder(
    of group: Int, _ result: inout ParquetVerification
  ) throws(SpindleError) {
    var sorting: [(column: Int, order: ValueOrder, by: ParquetSortingColumn)] = []
    // Behind a column whose order is not known, nothing can be said.
    for by in metadata.rowGroups[group].sortingColumns {
      guard let column = metadata.schema.index(of: by.name) else { break }
      let order = ValueOrder(metadata.schema.columns[column])
      guard order != .unknown else { break }
      sorting.append((column, order, by))
    }
    if sorting.isEmpty { return }
    result.sortedRowGroupCount += 1
    var place = ParquetPlace(file: source.name, rowGroup: group)
    place.column = sorting[0].by.name
    try result.collect { (_) throws(SpindleError) in
      let rowCount = metadata.rowGroups[group].rowCount
      // Pieces share a row, so that every two rows are compared.
      let step = max(min(Self.orderRows, limits.batchRows - 1), 1)
      for start in stride(from: 0, to: rowCount - 1, by: step) {
        let rows = start..<min(start + step + 1, rowCount)
        let batch = try read(
          rowGroup: group, columns: sorting.map(\.by.name), rows: rows, byteStrings: .dictionary)
        for row in 1..<batch.rowCount
        where !Self.isInOrder(batch, row - 1, row, sorting.map { ($0.order, $0.by) }) {
          let failure = ParquetFailure.damaged(
            "row \(start + row) is not in the order of the sorting columns")
          throw place.error(failure)
        }
      }
    }
  }

  /// Rows that are compared at once.
  private static let orderRows = 1 << 20

  private static func isInOrder(
    _ batch: ColumnBatch, _ left: Int, _ right: Int,
    _ sorting: [(order: ValueOrder, by: ParquetSortingColumn)]
  ) -> Bool {
    for (column, (order, by)) in zip(batch.columns, sorting) {
      switch (column.isNull(left), column.isNull(right)) {
      case (true, true): continue
      case (true, false): return by.nullsFirst
      case (false, true): return !by.nullsFirst
      case (false, false):
        // The format does not say where NaN belongs.
        guard let result = column.compare(left, right, order: order) else { return true }
        if result != 0 { return (result < 0) != by.isDescending }
      }
    }
    return true
  }
}
