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
    // Of a name that is there twice it is not known which column is meant.
    let named = Dictionary(grouping: metadata.schema.columns.indices) {
      metadata.schema.columns[$0].name
    }
    let positions = named.compactMapValues { $0.count == 1 ? $0[0] : nil }
    for group in metadata.rowGroups.indices {
      for column in metadata.schema.columns.indices {
        var check = ChunkCheck(self, group: group, column: column)
        try check.run(&result)
      }
      try verifyOrder(of: group, positions: positions, &result)
    }
    return result
  }

  /// Compares the order of the rows with what the row group claims.
  ///
  /// Columns behind the first are read only where rows are equal in all before them.
  private func verifyOrder(
    of group: Int, positions: [String: Int], _ result: inout ParquetVerification
  ) throws(SpindleError) {
    var sorting: [(column: Int, order: ValueOrder, by: ParquetSortingColumn)] = []
    var known: Set<Int> = []
    // Behind a column whose order is not known, nothing can be said.
    for by in metadata.rowGroups[group].sortingColumns {
      guard let column = positions[by.name] else { break }
      let order = ValueOrder(metadata.schema.columns[column])
      guard order != .unknown else { break }
      // Rows that are equal in a column stay so, however often it is named.
      if known.insert(column).inserted { sorting.append((column, order, by)) }
    }
    if sorting.isEmpty { return }
    result.sortedRowGroupCount += 1
    try result.collect { (_) throws(SpindleError) in
      let rowCount = metadata.rowGroups[group].rowCount
      let budget = MemoryBudget(limits)
      var cursors: [ColumnCursor] = []
      // Pieces share a row, so that every two rows are compared.
      let step = max(min(Self.orderRows, limits.batchRows - 1), 1)
      for start in stride(from: 0, to: rowCount - 1, by: step) {
        let rows = start..<min(start + step + 1, rowCount)
        budget.beginBatch()
        // Rows that are equal to the row before them in the columns so far.
        var equal = Array(1..<rows.count)
        for (index, (column, order, by)) in sorting.enumerated() where !equal.isEmpty {
          if index == cursors.count {
            cursors.append(
              try cursor(
                of: column, in: group, index: nil, rows: [], byteStrings: .dictionary,
                budget: budget))
          }
          let array = try cursors[index].read(rows, keepsLast: true)
          var stillEqual: [Int] = []
          for row in equal {
            switch array.follows(row, order, by) {
            case .equal: stillEqual.append(row)
            case .right: break
            case .wrong:
              throw place(group, column).error(
                .damaged("row \(start + row) is not in the order of the sorting columns"))
            }
          }
          equal = stillEqual
        }
      }
    }
  }

  /// Rows that are compared at once.
  private static let orderRows = 1 << 16
}

extension ColumnArray {
  fileprivate enum Following { case equal, right, wrong }

  /// How a row stands to the row before it.
  fileprivate func follows(
    _ row: Int, _ order: ValueOrder, _ by: ParquetSortingColumn
  ) -> Following {
    switch (isNull(row - 1), isNull(row)) {
    case (true, true): return .equal
    case (true, false): return by.nullsFirst ? .right : .wrong
    case (false, true): return by.nullsFirst ? .wrong : .right
    case (false, false):
      // The format does not say where NaN belongs.
      guard let result = compare(row - 1, row, order: order) else { return .right }
      if result == 0 { return .equal }
      return (result < 0) != by.isDescending ? .right : .wrong
    }
  }
}
