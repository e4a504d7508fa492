internal import SpindleCore

/// The check of one column chunk.
struct ChunkCheck {
  private let reader: ParquetReader
  private let group: Int
  private let column: Int
  private let chunk: ParquetColumnChunk
  private let physicalType: ParquetPhysicalType
  private let order: ValueOrder
  private let place: ParquetPlace

  /// A data page as it was read.
  private struct Page {
    var offset: UInt64
    var end: UInt64
    var firstRow: Int
    var bounds: ValueBounds
  }

  private var pages: [Page] = []
  private var all: ValueBounds
  private var encodings: Set<ParquetEncoding> = []

  init(_ reader: ParquetReader, group: Int, column: Int) {
    self.reader = reader
    self.group = group
    self.column = column
    chunk = reader.metadata.rowGroups[group].columns[column]
    physicalType = reader.metadata.schema.columns[column].physicalType
    order = ValueOrder(reader.metadata.schema.columns[column])
    place = reader.place(group, column)
    all = ValueBounds(order)
  }

  mutating func run(_ result: inout ParquetVerification) throws(SpindleError) {
    var filter: BloomFilter?
    try result.collect { (result) throws(SpindleError) in
      filter = try reader.bloomFilter(of: column, in: group)?.filter
      if filter != nil { result.bloomFilterCount += 1 }
    }
    try result.collect { (result) throws(SpindleError) in
      try readPages(filter, &result)
    }
    // Without all pages, nothing else can be compared with them.
    if all.rowCount < chunk.valueCount { return }
    if let statistics = chunk.statistics {
      report(all.faults(of: statistics), nil, "the footer", &result)
    }
    for encoding in encodings.subtracting(chunk.encodings)
    where encoding != .rleDictionary || !chunk.encodings.contains(.plainDictionary) {
      report(["pages are in \(encoding), which the footer does not list"], nil, nil, &result)
    }
    try checkIndexes(&result)
  }

  private mutating func readPages(
    _ filter: BloomFilter?, _ result: inout ParquetVerification
  ) throws(SpindleError) {
    if chunk.valueCount == 0 { return }
    let cursor = try reader.cursor(
      of: column, in: group, index: nil, rows: [], byteStrings: .dictionary,
      budget: MemoryBudget(reader.limits))
    var pages: [Page] = []
    var encodings: Set<ParquetEncoding> = []
    var all = all
    defer {
      self.pages = pages
      self.encodings = encodings
      self.all = all
    }
    try cursor.readAll { (header, offset, firstRow, rows) throws(SpindleError) in
      result.pageCount += 1
      if header.checksum != nil { result.checkedPageCount += 1 }
      var bounds = ValueBounds(order)
      bounds.add(rows)
      all.add(bounds)
      encodings.insert(header.encoding)
      if let statistics = header.statistics {
        try checkStatistics(statistics, bounds, pages.count, &result)
      }
      // The hashes of INT96 are those of its twelve bytes, which are not kept.
      if let filter, physicalType != .int96 {
        var missing = 0
        rows.forEachHash { if !filter.mayContain($0) { missing += 1 } }
        if missing > 0 {
          report(["the bloom filter lacks \(missing) values"], pages.count, nil, &result)
        }
      }
      pages.append(Page(offset: offset, end: cursor.end, firstRow: firstRow, bounds: bounds))
    }
    let slack = chunk.pageRange.count - chunk.byteRange.count
    if cursor.end != chunk.byteRange.upperBound, slack == 0 {
      report(
        ["the pages end at \(cursor.end), their chunk at \(chunk.byteRange.upperBound)"], nil,
        nil, &result)
    }
    if cursor.uncompressedBytes != chunk.uncompressedBytes, slack == 0 {
      report(
        [
          "the pages have \(cursor.uncompressedBytes) bytes before compression, "
            + "not \(chunk.uncompressedBytes)"
        ], nil, "the footer", &result)
    }
  }

  private func checkStatistics(
    _ statistics: Statistics, _ bounds: ValueBounds, _ page: Int,
    _ result: inout ParquetVerification
  ) throws(SpindleError) {
    let claimed = try place.locating { () throws(ParquetFailure) in
      try ParquetStatistics(statistics, order: order, hasColumnOrder: chunk.hasColumnOrder)
    }
    report(bounds.faults(of: claimed), page, "the page header", &result)
  }

  // MARK: Indexes

  private func checkIndexes(_ result: inout ParquetVerification) throws(SpindleError) {
    try result.collect { (result) throws(SpindleError) in
      guard let offsets = try reader.offsetIndex(of: column, in: group) else { return }
      result.indexCount += 1
      guard offsets.pages.count == pages.count else {
        throw place.error(
          .damaged("an offset index of \(offsets.pages.count) pages, there are \(pages.count)"))
      }
      for (index, (claimed, page)) in zip(offsets.pages, pages).enumerated()
      where claimed.offset != Int64(page.offset)
        || UInt64(claimed.byteCount) != page.end - page.offset
        || claimed.firstRow != Int64(page.firstRow)
      {
        report(["the offset index has another place or first row"], index, nil, &result)
      }
    }
    try result.collect { (result) throws(SpindleError) in
      guard let bounds = try reader.columnIndex(of: column, in: group) else { return }
      result.indexCount += 1
      try checkColumnIndex(bounds, &result)
    }
  }

  private func checkColumnIndex(
    _ bounds: ColumnIndex, _ result: inout ParquetVerification
  ) throws(SpindleError) {
    guard bounds.nullPages.count == pages.count else {
      throw place.error(
        .damaged("a column index of \(bounds.nullPages.count) pages, there are \(pages.count)"))
    }
    var last: ParquetStatistics?
    for index in pages.indices {
      let page = pages[index].bounds
      let isNull = page.nullCount == page.rowCount
      if bounds.nullPages[index] != isNull {
        report(["the column index is wrong on whether all rows are null"], index, nil, &result)
        continue
      }
      let order = chunk.hasColumnOrder ? order : .unknown
      let claimed = try place.locating { () throws(ParquetFailure) in
        try bounds.statistics(index, order: order, rowCount: page.rowCount)
      }
      report(page.faults(of: claimed), index, "the column index", &result)
      if isNull { continue }
      if let last, !isInOrder(last, claimed, bounds.boundaryOrder) {
        report(["the bounds in the column index are not in their order"], index, nil, &result)
      }
      last = claimed
    }
  }

  private func isInOrder(
    _ left: ParquetStatistics, _ right: ParquetStatistics,
    _ boundaryOrder: ColumnIndex.BoundaryOrder
  ) -> Bool {
    switch boundaryOrder {
    case .unordered: true
    case .ascending:
      !isBelow(right.minimum, left.minimum) && !isBelow(right.maximum, left.maximum)
    case .descending:
      !isBelow(left.minimum, right.minimum) && !isBelow(left.maximum, right.maximum)
    }
  }

  private func isBelow(_ left: ParquetValue?, _ right: ParquetValue?) -> Bool {
    switch (left, right) {
    case (.double(let left), .double(let right)): left < right
    case (.bytes(let left), .bytes(let right)): compareBytes(left.span, right.span) < 0
    case (let left?, let right?):
      if let left = order.key(left), let right = order.key(right) { left < right } else { false }
    default: false
    }
  }

  private func report(
    _ faults: [String], _ page: Int?, _ subject: String?, _ result: inout ParquetVerification
  ) {
    var place = place
    place.page = page.map { .data($0) }
    if let page, page < pages.count { place.offset = pages[page].offset }
    for fault in faults {
      let what = subject.map { "\(fault), as \($0) claims" } ?? fault
      result.add(place.error(.damaged(what)).message)
    }
  }
}

extension PageHeader {
  /// Of a data page.
  fileprivate var statistics: Statistics? {
    switch kind {
    case .data(let page): page.statistics
    case .dataV2(let page): page.statistics
    case .dictionary, .other: nil
    }
  }

  /// Of a data page's values.
  fileprivate var encoding: ParquetEncoding {
    switch kind {
    case .data(let page): page.encoding
    case .dataV2(let page): page.encoding
    case .dictionary, .other: .plain
    }
  }
}
