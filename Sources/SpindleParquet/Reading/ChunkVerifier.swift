internal import SpindleCore

/// Compares what a file says of one column chunk with the chunk's values.
struct ChunkVerifier {
  private let reader: ParquetReader
  private let group: Int
  private let column: Int
  private let chunk: ParquetColumnChunk
  private let rowCount: Int
  private let order: ValueOrder
  private let offsets: OffsetIndex?
  private let bounds: ColumnIndex?
  private let filter: BloomFilter?
  /// How the rows are sorted by this column, if they are sorted by it first.
  private let sorting: ParquetSortingColumn?

  private var findings: [String] = []
  private var nullCount = 0
  private var span: ValueSpan?
  private var page = 0
  /// The last row of the page before, for the order of rows; nil for a null or at the beginning.
  private var last: ParquetValue?
  private var row = 0

  init(_ reader: ParquetReader, column: Int, in group: Int) throws(SpindleError) {
    self.reader = reader
    self.group = group
    self.column = column
    let rows = reader.metadata.rowGroups[group]
    chunk = rows.columns[column]
    rowCount = rows.rowCount
    order = ValueOrder(reader.metadata.schema.columns[column])
    offsets = try reader.offsetIndex(of: column, in: group)
    bounds = chunk.hasColumnOrder ? try reader.columnIndex(of: column, in: group) : nil
    filter = try reader.bloomFilter(of: column, in: group)?.filter
    let first = rows.sortingColumns.first
    sorting = first?.name == reader.metadata.schema.columns[column].name ? first : nil
  }

  /// Reads the chunk and tells what is wrong.
  ///
  /// - Throws: Where the chunk cannot be read.
  mutating func run() throws(SpindleError) -> [String] {
    let cursor = try reader.cursor(
      of: column, in: group, index: nil, rows: [0..<rowCount], byteStrings: .plain)
    try cursor.readAll { (_, offset, _, rows) throws(SpindleError) in
      try check(rows, at: offset)
    }
    if cursor.end != chunk.byteRange.upperBound, rowCount > 0 {
      find("its pages end at \(cursor.end), the chunk at \(chunk.byteRange.upperBound)")
    }
    if let offsets, offsets.pages.count != page {
      find("the offset index has \(offsets.pages.count) pages, the chunk \(page)")
    }
    if let bounds, bounds.nullPages.count != page {
      find("the column index has \(bounds.nullPages.count) pages, the chunk \(page)")
    }
    if let statistics = chunk.statistics {
      check(statistics, against: span, nullCount: nullCount, of: "the chunk")
    }
    return findings
  }

  private mutating func find(_ what: String) {
    findings.append(reader.place(group, column).error(.damaged(what)).message)
  }

  // MARK: Pages

  private mutating func check(_ rows: ColumnArray, at offset: UInt64) throws(SpindleError) {
    let found = ValueSpan(rows, order)
    if let offsets, page < offsets.pages.count {
      let told = offsets.pages[page]
      if told.offset != Int64(offset) || told.firstRow != Int64(row) {
        find(
          "the offset index says that page \(page) begins at \(told.offset) with row "
            + "\(told.firstRow); it begins at \(offset) with row \(row)")
      }
    }
    if let bounds, page < bounds.nullPages.count {
      let place = reader.place(group, column)
      let told = try place.locating { () throws(ParquetFailure) in
        try bounds.statistics(page, order: order, rowCount: rows.count)
      }
      check(told, against: found, nullCount: rows.nullCount, of: "page \(page)")
    }
    if let filter { check(filter, rows) }
    if sorting != nil { checkOrder(rows) }
    nullCount += rows.nullCount
    span = ValueSpan.joined(span, found, order)
    row += rows.count
    page += 1
  }

  private mutating func check(
    _ told: ParquetStatistics, against span: ValueSpan?, nullCount: Int, of what: String
  ) {
    if let count = told.nullCount, count != nullCount {
      find("\(what) is said to have \(count) nulls and has \(nullCount)")
    }
    guard order != .unknown else { return }
    guard let span else { return }
    if let minimum = told.minimum,
      order.precedes(span.least, minimum)
        || told.isMinimumExact == true && order.precedes(minimum, span.least)
    {
      find("\(what) is not bounded from below as it is said to be")
    }
    if let maximum = told.maximum,
      order.precedes(maximum, span.greatest)
        || told.isMaximumExact == true && order.precedes(span.greatest, maximum)
    {
      find("\(what) is not bounded from above as it is said to be")
    }
  }

  private mutating func check(_ filter: BloomFilter, _ rows: ColumnArray) {
    for row in 0..<rows.count {
      guard let hash = rows.bloomHash(row) else { continue }
      if !filter.mayContain(hash) {
        find("the bloom filter excludes the value of row \(self.row + row)")
        return
      }
    }
  }

  private mutating func checkOrder(_ rows: ColumnArray) {
    guard let sorting, order != .unknown else { return }
    var wrong: Int?
    for index in 0..<rows.count {
      let value = rows.value(index, order)
      if self.row + index > 0, isMisplaced(value, behind: last, sorting) {
        wrong = wrong ?? self.row + index
      }
      last = value
    }
    if let wrong { find("row \(wrong) is not in the order that the rows are said to have") }
  }

  /// Whether a row may not follow another one; nil is a null row.
  private func isMisplaced(
    _ value: ParquetValue?, behind last: ParquetValue?, _ sorting: ParquetSortingColumn
  ) -> Bool {
    switch (last, value) {
    case (nil, nil): false
    case (nil, _): !sorting.nullsFirst
    case (_, nil): sorting.nullsFirst
    case (let last?, let value?):
      sorting.isDescending ? order.precedes(last, value) : order.precedes(value, last)
    }
  }
}
