internal import SpindleCore

/// The part of a scan that lies in one row group.
final class RowGroupScan {
  private let reader: ParquetReader
  private let group: Int
  private let columns: [Int]
  private let tests: [ColumnTest]
  private let byteStrings: ParquetByteStringForm
  private let batchRows: Int
  private let rowCount: Int

  /// The rows that may be wanted, in order, disjoint, none of them empty.
  private var ranges: [Range<Int>]
  /// The range that is read now, and its row that is read next.
  private var range = 0
  private var nextRow: Int
  /// By column; made when a column is first needed.
  private var cursors: [Int: ColumnCursor] = [:]
  private var indexes: [Int: OffsetIndex] = [:]
  /// What all cursors together may take.
  private let budget: MemoryBudget
  private var counts = ParquetReadCounts()

  init(
    _ reader: ParquetReader, group: Int, columns: [Int], tests: [ColumnTest],
    byteStrings: ParquetByteStringForm, batchRows: Int
  ) {
    self.reader = reader
    self.group = group
    self.columns = columns
    self.tests = tests
    self.byteStrings = byteStrings
    self.batchRows = batchRows
    budget = MemoryBudget(reader.limits)
    rowCount = reader.metadata.rowGroups[group].rowCount
    ranges = [0..<rowCount]
    nextRow = 0
  }

  /// Whether no row can be wanted.
  var isEmpty: Bool { ranges.isEmpty }

  func add(to sum: inout ParquetReadCounts) {
    sum.rowsRead += counts.rowsRead
    sum.bytesRead += counts.bytesRead
    sum.pagesPruned += counts.pagesPruned
    for (_, cursor) in cursors {
      sum.bytesRead += cursor.bytesRead
      sum.pagesRead += cursor.pagesRead
      sum.pagesPruned += cursor.pagesPassedOver + cursor.pagesLeft
    }
  }

  // MARK: Pages

  /// Leaves only the rows of pages that may hold wanted rows, as the column indexes tell.
  func prunePages() throws(SpindleError) {
    for test in tests {
      let chunk = reader.metadata.rowGroups[group].columns[test.column]
      guard chunk.hasColumnOrder, let size = chunk.columnIndexRange?.count,
        let offsets = try offsetIndex(of: test.column),
        let bounds = try reader.columnIndex(of: test.column, in: group)
      else { continue }
      counts.bytesRead += UInt64(size)
      let place = reader.place(group, test.column)
      let wanted = try place.locating { () throws(ParquetFailure) in
        try offsets.check(in: chunk.byteRange, rowCount: rowCount)
        return try test.rows(bounds, offsets, rowCount: rowCount)
      }
      ranges = ranges.intersected(with: wanted)
      if ranges.isEmpty { break }
    }
    nextRow = ranges.first?.lowerBound ?? 0
  }

  private func offsetIndex(of column: Int) throws(SpindleError) -> OffsetIndex? {
    if let index = indexes[column] { return index }
    guard let index = try reader.offsetIndex(of: column, in: group) else { return nil }
    let range = reader.metadata.rowGroups[group].columns[column].offsetIndexRange
    counts.bytesRead += UInt64(range?.count ?? 0)
    indexes[column] = index
    budget.hold(index.pages.count * MemoryLayout<OffsetIndex.Location>.stride)
    return index
  }

  // MARK: Rows

  /// The next wanted rows; nil at the end of the row group.
  func next() throws(SpindleError) -> ColumnBatch? {
    while range < ranges.count {
      let rows = nextRow..<min(nextRow + batchRows, ranges[range].upperBound)
      counts.rowsRead += rows.count
      budget.beginBatch()
      let batch = tests.isEmpty ? try all(rows) : try selected(rows)
      nextRow = rows.upperBound
      if nextRow == ranges[range].upperBound {
        range += 1
        if range < ranges.count { nextRow = ranges[range].lowerBound }
      }
      if let batch { return batch }
    }
    return nil
  }

  private func all(_ rows: Range<Int>) throws(SpindleError) -> ColumnBatch {
    var arrays: [ColumnArray] = []
    for column in columns { arrays.append(try read(column, rows, byteStrings)) }
    return ColumnBatch(columns: arrays, rowCount: rows.count)
  }

  /// The rows that satisfy every test; nil when none does. A column is not read once no row is
  /// left, and those that are not tested only from the first to the last row that is wanted.
  private func selected(_ rows: Range<Int>) throws(SpindleError) -> ColumnBatch? {
    var selection = RowSelection(rowCount: rows.count)
    var tested: [Int: ColumnArray] = [:]
    for test in tests {
      let array: ColumnArray
      if let read = tested[test.column] {
        array = read
      } else {
        array = try read(test.column, rows, .dictionary)
        tested[test.column] = array
      }
      test.apply(to: array, &selection)
      if selection.count == 0 { return nil }
    }
    let wanted = selection.rows
    guard let first = wanted.first, let last = wanted.last else { return nil }
    var arrays: [ColumnArray] = []
    for column in columns {
      var array: ColumnArray
      var offset = 0
      if let read = tested[column] {
        array = read
      } else {
        offset = first
        array = try read(
          column, rows.lowerBound + first..<rows.lowerBound + last + 1, .dictionary)
      }
      if wanted.count != array.count { array = array.selecting(wanted, offset: offset) }
      arrays.append(byteStrings == .plain ? try plain(array, column) : array)
    }
    return ColumnBatch(columns: arrays, rowCount: wanted.count)
  }

  private func read(
    _ column: Int, _ rows: Range<Int>, _ byteStrings: ParquetByteStringForm
  ) throws(SpindleError) -> ColumnArray {
    if let cursor = cursors[column] { return try cursor.read(rows) }
    // Where all rows are wanted, the pages follow each other and need no index.
    let isWhole = ranges.count == 1 && ranges[0].count == rowCount
    let cursor = try reader.cursor(
      of: column, in: group, index: isWhole ? nil : try offsetIndex(of: column), rows: ranges,
      byteStrings: byteStrings, budget: budget)
    cursors[column] = cursor
    return try cursor.read(rows)
  }

  private func plain(_ array: ColumnArray, _ column: Int) throws(SpindleError) -> ColumnArray {
    guard case .dictionary(let indices, let values) = array.values else { return array }
    let limit = min(reader.limits.batchColumnBytes, budget.left)
    let strings = try reader.place(group, column).locating { () throws(ParquetFailure) in
      try ByteStrings(indices, of: values, validity: array.validity, byteLimit: limit)
    }
    let plain = ColumnArray(.bytes(strings), validity: array.validity)
    budget.give(plain)
    return plain
  }
}

extension ColumnTest {
  /// The rows of the pages that may hold a row that satisfies the condition.
  func rows(
    _ bounds: ColumnIndex, _ offsets: OffsetIndex, rowCount: Int
  ) throws(ParquetFailure) -> [Range<Int>] {
    guard bounds.nullPages.count == offsets.pages.count else {
      throw .damaged(
        "a column index of \(bounds.nullPages.count) pages, an offset index of "
          + "\(offsets.pages.count)")
    }
    var ranges: [Range<Int>] = []
    for page in offsets.pages.indices {
      let rows = offsets.rows(page, rowCount: rowCount)
      let statistics = try bounds.statistics(page, order: order, rowCount: rows.count)
      guard mayHold(statistics, rowCount: rows.count) else { continue }
      if let last = ranges.last, last.upperBound == rows.lowerBound {
        ranges[ranges.count - 1] = last.lowerBound..<rows.upperBound
      } else {
        ranges.append(rows)
      }
    }
    return ranges
  }
}

extension ColumnIndex {
  /// What is known of the values of a page.
  func statistics(
    _ page: Int, order: ValueOrder, rowCount: Int
  ) throws(ParquetFailure) -> ParquetStatistics {
    var statistics = ParquetStatistics()
    if nullPages[page] {
      statistics.nullCount = rowCount
      return statistics
    }
    statistics.nullCount = try nullCounts.map { (counts) throws(ParquetFailure) in
      try natural(counts[page], "a null count")
    }
    statistics.minimum = try order.value(minimums[page])
    statistics.maximum = try order.value(maximums[page])
    return statistics
  }
}

extension [Range<Int>] {
  /// The rows that are in both, of ranges in order and disjoint.
  func intersected(with other: [Range<Int>]) -> [Range<Int>] {
    var result: [Range<Int>] = []
    var mine = 0
    var theirs = 0
    while mine < count, theirs < other.count {
      let shared = self[mine].clamped(to: other[theirs])
      if !shared.isEmpty { result.append(shared) }
      if self[mine].upperBound < other[theirs].upperBound { mine += 1 } else { theirs += 1 }
    }
    return result
  }
}
