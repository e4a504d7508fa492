internal import SpindleCodecs
internal import SpindleCore

/// Reads the rows of one column chunk, forwards.
///
/// Without an offset index it goes from page to page by their headers. With one it goes straight to
/// the pages that hold the rows it is asked for, and reads no others.
final class ColumnCursor {
  private let chunk: ParquetColumnChunk
  private let rowCount: Int
  private let limits: ParquetLimits
  private let window: ByteWindow
  private var place: ParquetPlace
  private var decoder: PageDecoder

  /// Where all data pages lie; empty when that is not known.
  private let pages: [OffsetIndex.Location]
  /// The ranges of the file that will be wanted.
  private var wanted: WantedRanges
  /// What this and the other cursors of the same read or scan may take.
  private let budget: MemoryBudget
  /// Bytes of it that this one has.
  private var held = 0

  /// The data page that is read next.
  private var nextPage = 0
  /// Where the next page begins, of whatever kind.
  private var nextOffset: UInt64
  /// The row behind those that were decoded or passed over.
  private var nextRow = 0
  /// Bytes of the pages that were decoded, before compression, with their headers.
  private(set) var uncompressedBytes = 0
  private(set) var pagesRead = 0
  private(set) var pagesPassedOver = 0

  /// - Parameters:
  ///   - index: Where the pages lie; checked against the chunk here.
  ///   - rows: The rows that may be asked for, in order, disjoint. Matters only with an index.
  init(
    _ column: ParquetColumn, chunk: ParquetColumnChunk, rowCount: Int, index: OffsetIndex?,
    rows: [Range<Int>], keepsDictionary: Bool, source: any ParquetSource, limits: ParquetLimits,
    budget: MemoryBudget, place: ParquetPlace
  ) throws(SpindleError) {
    self.chunk = chunk
    self.rowCount = rowCount
    self.limits = limits
    self.budget = budget
    self.place = place
    window = ByteWindow(source)
    decoder = PageDecoder(
      column, codec: chunk.codec, limits: limits, keepsDictionary: keepsDictionary)
    nextOffset = chunk.pageRange.lowerBound
    if let unreadable = chunk.unreadable { throw place.error(.unsupported(unreadable)) }
    if let index {
      try place.locating { () throws(ParquetFailure) in
        try index.check(in: chunk.pageRange, rowCount: rowCount)
      }
      pages = index.pages
      wanted = WantedRanges(index.byteRanges(of: rows, rowCount: rowCount))
    } else {
      pages = []
      wanted = WantedRanges([chunk.pageRange])
    }
  }

  deinit { budget.hold(-held) }

  var bytesRead: UInt64 { window.bytesRead }

  /// Pages of the chunk that were neither read nor passed over.
  var pagesLeft: Int { max(pages.count - nextPage, 0) }

  /// Reads rows, at or behind those asked for before.
  ///
  /// - Parameter keepsLast: Whether the last of them can be asked for once more.
  func read(
    _ rows: Range<Int>, keepsLast: Bool = false
  ) throws(SpindleError) -> ColumnArray {
    if rows.isEmpty { return decoder.take(0) }
    // What was decoded ends at `nextRow`.
    let first = nextRow - decoder.rowCount
    if first < rows.lowerBound { decoder.drop(min(rows.lowerBound - first, decoder.rowCount)) }
    if decoder.rowCount == 0 { try passOver(to: rows.lowerBound) }
    settle()
    decoder.reserve(rows.upperBound - nextRow)
    settle()
    while nextRow < rows.upperBound {
      try readPage()
      // The page in which the rows begin has others before them.
      let first = nextRow - decoder.rowCount
      if first < rows.lowerBound { decoder.drop(min(rows.lowerBound - first, decoder.rowCount)) }
    }
    return try take(rows.count, keeping: keepsLast ? 1 : 0)
  }

  private func take(_ rows: Int, keeping: Int) throws(SpindleError) -> ColumnArray {
    let array = decoder.take(rows, keeping: keeping)
    budget.give(array)
    settle()
    guard budget.isKept else { throw place.error(budget.failure) }
    return array
  }

  /// Counts what this cursor holds now, and tells the decoder what is left.
  private func settle() {
    let now = decoder.memory + window.bytes.capacity + wanted.byteCount
    budget.hold(now - held)
    held = now
    decoder.room = budget.left
  }

  /// Goes through the whole chunk page by page.
  ///
  /// - Parameter body: Gets the header, its offset, the first row and the rows of each data page.
  func readAll(
    _ body: (PageHeader, UInt64, Int, ColumnArray) throws(SpindleError) -> Void
  ) throws(SpindleError) {
    while nextRow < rowCount {
      budget.beginBatch()
      let first = nextRow
      let (header, offset) = try readPage()
      try body(header, offset, first, take(nextRow - first, keeping: 0))
    }
  }

  /// The byte behind the last page that was read.
  var end: UInt64 { nextOffset }

  // MARK: Pages

  /// Goes to the page that holds a row, without decoding those before it.
  private func passOver(to row: Int) throws(SpindleError) {
    if !pages.isEmpty {
      while nextPage + 1 < pages.count, pages[nextPage + 1].firstRow <= row {
        nextPage += 1
        pagesPassedOver += 1
      }
      nextRow = Int(pages[nextPage].firstRow)
      return
    }
    while nextRow < row {
      let (header, body) = try readHeader(at: nextOffset)
      guard let count = header.rowCount else {
        try readDictionary(header, body)
        nextOffset = body.upperBound
        continue
      }
      guard nextRow + count <= row else { return }
      nextRow += count
      nextOffset = body.upperBound
      nextPage += 1
      pagesPassedOver += 1
    }
  }

  /// Decodes the next data page, and the dictionary page if that comes first.
  @discardableResult
  private func readPage() throws(SpindleError) -> (PageHeader, UInt64) {
    if !pages.isEmpty {
      if decoder.dictionary == nil, nextOffset == chunk.pageRange.lowerBound,
        nextOffset < UInt64(pages[0].offset)
      {
        let (header, body) = try readHeader(at: nextOffset)
        if header.rowCount == nil { try readDictionary(header, body) }
      }
      nextOffset = UInt64(pages[nextPage].offset)
    }
    while true {
      let offset = nextOffset
      let (header, body) = try readHeader(at: offset)
      guard let count = header.rowCount else {
        guard pages.isEmpty else {
          throw place.error(.damaged("the offset index leads to a page that holds no rows"))
        }
        try readDictionary(header, body)
        nextOffset = body.upperBound
        continue
      }
      try checkRows(count, of: offset..<body.upperBound)
      try readBody(header, body)
      nextOffset = body.upperBound
      nextRow += count
      nextPage += 1
      pagesRead += 1
      return (header, offset)
    }
  }

  /// Checks that a page has no more rows than are left, and is the one that the index tells of.
  private func checkRows(_ count: Int, of range: Range<UInt64>) throws(SpindleError) {
    guard count <= limits.pageRows else {
      throw place.error(.limit("a page of \(count) rows, more than \(limits.pageRows)"))
    }
    guard count <= rowCount - nextRow else {
      throw place.error(
        .damaged("a page of \(count) rows where the row group has \(rowCount - nextRow) more"))
    }
    if pages.isEmpty { return }
    let following =
      nextPage + 1 < pages.count ? Int(pages[nextPage + 1].firstRow) : rowCount
    guard count == following - nextRow, range.count == pages[nextPage].byteCount else {
      throw place.error(
        .damaged(
          "a page of \(count) rows in \(range.count) bytes, the offset index says "
            + "\(following - nextRow) in \(pages[nextPage].byteCount)"))
    }
  }

  private func readDictionary(
    _ header: PageHeader, _ body: Range<UInt64>
  ) throws(SpindleError) {
    // Pages of other kinds are passed over.
    guard case .dictionary = header.kind else { return }
    guard nextPage == 0 || !pages.isEmpty else {
      throw place.error(.damaged("a dictionary page behind data pages"))
    }
    place.page = .dictionary
    try readBody(header, body)
  }

  /// Reads the header of a page, and says where its body lies.
  private func readHeader(
    at offset: UInt64
  ) throws(SpindleError) -> (PageHeader, Range<UInt64>) {
    place.offset = offset
    let isDictionary =
      offset == chunk.pageRange.lowerBound && chunk.checksums?.dictionaryHeader != nil
    place.page = isDictionary ? .dictionary : .data(nextPage)
    let end = chunk.pageRange.upperBound
    guard offset < end else {
      throw place.error(
        .damaged("the column chunk ends after \(nextRow) of its \(rowCount) rows"))
    }
    let longest = min(UInt64(limits.pageHeaderBytes), end - offset)
    // Most headers have less than 100 bytes; those with long bounds take another try.
    var length = min(longest, 1024)
    while true {
      let range = try window.load(offset..<offset + length, wanted: wanted.end(at: offset))
      let bytes = window.bytes
      var reader = ThriftReader(bytes.span.extracting(range))
      let result: Result<PageHeader, ParquetFailure>
      do throws(ParquetFailure) {
        result = .success(try PageHeader(&reader))
      } catch {
        result = .failure(error)
      }
      switch result {
      case .success(let header):
        try checkHeader(bytes.span.extracting(range.lowerBound..<range.lowerBound + reader.offset))
        let start = offset + UInt64(reader.offset)
        guard UInt64(header.compressedSize) <= end - start else {
          throw place.error(
            .damaged("a page of \(header.compressedSize) bytes where \(end - start) are left"))
        }
        guard header.compressedSize <= limits.compressedPageBytes,
          header.uncompressedSize <= limits.uncompressedPageBytes
        else {
          throw place.error(
            .limit(
              "a page of \(header.compressedSize) bytes, \(header.uncompressedSize) before "
                + "compression"))
        }
        return (header, start..<start + UInt64(header.compressedSize))
      case .failure(let failure):
        guard length < longest else { throw place.error(failure) }
        length = min(longest, length * 8)
      }
    }
  }

  /// Compares a header with its checksum, which only files of ours have.
  private func checkHeader(_ bytes: Span<UInt8>) throws(SpindleError) {
    guard let checksums = chunk.checksums else { return }
    try place.locating { () throws(ParquetFailure) in
      switch place.page {
      case .dictionary: try check(bytes, checksums.dictionaryHeader)
      case .data(let page) where page < checksums.pageHeaders.count:
        try check(bytes, checksums.pageHeaders[page])
      case .data, nil:
        throw .damaged("there are checksums of \(checksums.pageHeaders.count) pages only")
      }
    }
  }

  private func readBody(_ header: PageHeader, _ body: Range<UInt64>) throws(SpindleError) {
    uncompressedBytes += Int(body.lowerBound - nextOffset) + header.uncompressedSize
    // All other memory was counted, and this one page is not yet there.
    guard body.count <= budget.left + window.bytes.capacity else {
      throw place.error(budget.failure)
    }
    let range = try window.load(body, wanted: wanted.end(at: body.lowerBound))
    settle()
    let loaded = window.bytes
    let bytes = loaded.span.extracting(range)
    do throws(ParquetFailure) {
      try check(bytes, header.checksum)
      switch header.kind {
      case .data(let page):
        try decoder.decode(page, uncompressedSize: header.uncompressedSize, bytes)
      case .dataV2(let page):
        try decoder.decode(page, uncompressedSize: header.uncompressedSize, bytes)
      case .dictionary(let page):
        try decoder.decodeDictionary(page, uncompressedSize: header.uncompressedSize, bytes)
      case .other: break
      }
      settle()
      guard budget.isKept else { throw budget.failure }
    } catch {
      throw place.error(error)
    }
  }
}

extension PageHeader {
  /// Rows of a data page; nil for a page of another kind.
  fileprivate var rowCount: Int? {
    switch kind {
    case .data(let page): page.valueCount
    case .dataV2(let page): page.valueCount
    case .dictionary, .other: nil
    }
  }
}

extension OffsetIndex {
  /// Checks that the pages lie in their chunk one behind the other, and that their rows begin with
  /// the first and rise.
  func check(in chunk: Range<UInt64>, rowCount: Int) throws(ParquetFailure) {
    if pages.isEmpty, rowCount == 0 { return }
    guard let first = pages.first, first.firstRow == 0 else {
      throw .damaged("an offset index that does not begin with row 0")
    }
    var end = chunk.lowerBound
    var row: Int64 = -1
    for page in pages {
      guard page.offset >= 0, UInt64(page.offset) >= end, UInt64(page.offset) < chunk.upperBound,
        UInt64(page.byteCount) <= chunk.upperBound - UInt64(page.offset)
      else {
        throw .damaged(
          "a page of \(page.byteCount) bytes at \(page.offset), out of order or outside its "
            + "column chunk \(chunk)")
      }
      guard page.firstRow > row, page.firstRow < rowCount else {
        throw .damaged("a page begins with row \(page.firstRow) of \(rowCount), behind \(row)")
      }
      end = UInt64(page.offset) + UInt64(page.byteCount)
      row = page.firstRow
    }
  }

  /// The rows of a page.
  func rows(_ page: Int, rowCount: Int) -> Range<Int> {
    let end = page + 1 < pages.count ? Int(pages[page + 1].firstRow) : rowCount
    return Int(pages[page].firstRow)..<end
  }

  /// Where the pages of some rows lie, those that touch as one.
  func byteRanges(of rows: [Range<Int>], rowCount: Int) -> [Range<UInt64>] {
    var ranges: [Range<UInt64>] = []
    var next = 0
    for page in pages.indices {
      let pageRows = self.rows(page, rowCount: rowCount)
      while next < rows.count, rows[next].upperBound <= pageRows.lowerBound { next += 1 }
      guard next < rows.count, rows[next].lowerBound < pageRows.upperBound else { continue }
      let start = UInt64(pages[page].offset)
      let end = start + UInt64(pages[page].byteCount)
      if let last = ranges.last, last.upperBound == start {
        ranges[ranges.count - 1] = last.lowerBound..<end
      } else {
        ranges.append(start..<end)
      }
    }
    return ranges
  }
}
