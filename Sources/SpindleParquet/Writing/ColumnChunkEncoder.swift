internal import SpindleCodecs
internal import SpindleCore

/// One column of one row group as it will stand in the file.
struct EncodedChunk {
  struct Page {
    /// Where its header begins, counted from the chunk's beginning.
    var offset: Int
    /// With its header.
    var byteCount = 0
    var firstRow: Int
    var rowCount: Int
    var nullCount: Int
    /// nil where no value is there but NaN.
    var bounds: ColumnBounds?
  }

  /// All pages, the dictionary page first.
  var bytes: [UInt8] = []
  var uncompressedBytes = 0
  /// Where the first data page begins; 0 without a dictionary.
  var firstDataPage = 0
  var encodings: [ParquetEncoding] = []
  var pages: [Page] = []
  var rowCount = 0
  var nullCount = 0
  var bounds: ColumnBounds?
  var bloomFilter: BloomFilter?
  /// Of the pages' headers; nil when none are to be written.
  var checksums: ChunkChecksums?
}

/// Makes column chunks of one column.
struct ColumnChunkEncoder {
  let column: ParquetColumn
  private let settings: ParquetWriterSettings
  private let columnSettings: ParquetColumnSettings
  private let compressor: PageCompressor
  private let order: ValueOrder

  init(_ column: ParquetColumn, _ settings: ParquetWriterSettings) {
    self.column = column
    self.settings = settings
    columnSettings = settings.columns[column.name] ?? ParquetColumnSettings()
    compressor = PageCompressor(compression: columnSettings.compression ?? settings.compression)
    order = ValueOrder(column)
  }

  var codec: ParquetCodec { compressor.compression.codec }

  func encode(_ dense: DenseColumn) -> EncodedChunk {
    let values = dense.values
    let plan = ChunkPlan(
      values, settings: columnSettings, dictionaryBytes: settings.dictionaryBytes,
      dataPageVersion: settings.dataPageVersion, compressor: compressor)
    var chunk = EncodedChunk()
    if settings.writesChecksums { chunk.checksums = ChunkChecksums() }
    chunk.rowCount = dense.rowCount
    chunk.nullCount = dense.rowCount - values.slotCount
    if let dictionary = plan.dictionary { appendDictionaryPage(dictionary, to: &chunk) }
    if column.isOptional { chunk.encodings.append(.rle) }
    let ranks =
      settings.needsBounds ? plan.dictionary?.strings.map { ($0, $0.ranks) } : nil
    var row = 0
    var place = 0
    while row < dense.rowCount {
      let (rows, slots) = nextPage(dense.validity, values, plan, row, place, dense.rowCount)
      var page = EncodedChunk.Page(
        offset: chunk.bytes.count, firstRow: row, rowCount: rows.count,
        nullCount: rows.count - slots.count)
      if settings.needsBounds {
        if let ranks, let indices = plan.dictionary?.indices, slots.upperBound <= indices.count {
          page.bounds = ColumnBounds(indices, slots, of: ranks.0, ranks: ranks.1)
        } else {
          page.bounds = ColumnBounds(values, slots, order: order)
        }
      }
      appendDataPage(page, dense.validity, rows, values, slots, plan, to: &chunk)
      page.byteCount = chunk.bytes.count - page.offset
      chunk.pages.append(page)
      if let bounds = page.bounds {
        if chunk.bounds == nil { chunk.bounds = bounds } else { chunk.bounds?.include(bounds) }
      }
      row = rows.upperBound
      place = slots.upperBound
    }
    if let bloomFilter = columnSettings.bloomFilter {
      chunk.bloomFilter = BloomFilter(bloomFilter, values, plan.dictionary)
    }
    return chunk
  }

  // MARK: Pages

  /// The rows of the next page, and the values that they have.
  private func nextPage(
    _ validity: Validity?, _ values: ColumnArray.Values, _ plan: ChunkPlan, _ row: Int,
    _ place: Int, _ rowCount: Int
  ) -> (Range<Int>, Range<Int>) {
    func slots(_ rows: Range<Int>) -> Range<Int> {
      guard let validity else { return place..<place + rows.count }
      var count = 0
      validity.forEachWord(in: rows) { _, bits in count += bits.nonzeroBitCount }
      return place..<place + count
    }
    var rows = row..<min(row + settings.pageRows, rowCount)
    var taken = slots(rows)
    // Pages end where the dictionary does.
    let covered = plan.dictionary?.indices.count ?? 0
    if taken.lowerBound < covered, taken.upperBound > covered {
      if let validity {
        rows = row..<validity.end(ofValues: covered - place, from: row)
      } else {
        rows = row..<row + covered - place
      }
      taken = slots(rows)
    }
    while rows.count > 1 {
      let byteCount =
        taken.upperBound <= covered ? taken.count * 4 : values.byteCount(taken)
      if byteCount <= settings.pageBytes { break }
      // Mostly all values are about as long; where they are not, it takes a few more rounds.
      let scaled = Int(Double(rows.count) * Double(settings.pageBytes) / Double(byteCount))
      rows = row..<row + max(1, min(rows.count - 1, scaled))
      taken = slots(rows)
    }
    return (rows, taken)
  }

  private func appendDataPage(
    _ page: EncodedChunk.Page, _ validity: Validity?, _ rows: Range<Int>,
    _ values: ColumnArray.Values, _ slots: Range<Int>, _ plan: ChunkPlan,
    to chunk: inout EncodedChunk
  ) {
    var levels: [UInt8] = []
    if column.isOptional {
      if let validity {
        HybridEncoding.encode(validity, rows: rows, appendingTo: &levels)
      } else {
        HybridEncoding.appendRun(of: 1, count: rows.count, width: 1, to: &levels)
      }
    }
    var body: [UInt8] = []
    let isFirst = settings.dataPageVersion == .v1
    if isFirst, column.isOptional {
      body.appendLittleEndian(UInt32(levels.count))
      body.append(contentsOf: levels)
    }
    var encoding = plan.encoding
    if let dictionary = plan.dictionary, slots.upperBound <= dictionary.indices.count {
      encoding = .rleDictionary
      DictionaryEncoding.encode(
        dictionary.indices.span.extracting(slots), dictionaryCount: dictionary.count,
        appendingTo: &body)
    } else {
      values.encode(slots, as: encoding, appendingTo: &body)
    }
    if !chunk.encodings.contains(encoding) { chunk.encodings.append(encoding) }
    // The index of the pages says the same, and readers need not look at the pages for it.
    let statistics =
      settings.writesStatistics && !settings.writesPageIndex
      ? statistics(page.bounds, nullCount: page.nullCount) : nil
    if isFirst {
      let header = DataPageHeader(
        valueCount: rows.count, encoding: encoding, statistics: statistics)
      appendPage(.data(header), body, uncompressedSize: body.count, to: &chunk)
      return
    }
    let compressed = compressor.compress(body.span, after: levels, mustCompress: false)
    let header = DataPageHeaderV2(
      rowCount: rows.count, nullCount: page.nullCount, encoding: encoding,
      definitionLevelBytes: levels.count, isCompressed: compressed != nil,
      statistics: statistics)
    append(
      .dataV2(header), compressed ?? levels + body, uncompressedSize: levels.count + body.count,
      to: &chunk)
  }

  private func appendDictionaryPage(
    _ dictionary: ChunkDictionary, to chunk: inout EncodedChunk
  ) {
    chunk.encodings = [.plain]
    let header = DictionaryPageHeader(valueCount: dictionary.count)
    appendPage(
      .dictionary(header), dictionary.page, uncompressedSize: dictionary.page.count, to: &chunk)
    chunk.firstDataPage = chunk.bytes.count
  }

  /// Appends a page that has to be compressed if its column is.
  private func appendPage(
    _ kind: PageHeader.Kind, _ body: [UInt8], uncompressedSize: Int, to chunk: inout EncodedChunk
  ) {
    let compressed = compressor.compress(body.span, after: [], mustCompress: true)
    append(kind, compressed ?? body, uncompressedSize: uncompressedSize, to: &chunk)
  }

  private func append(
    _ kind: PageHeader.Kind, _ body: [UInt8], uncompressedSize: Int, to chunk: inout EncodedChunk
  ) {
    let header = PageHeader(
      kind: kind, uncompressedSize: uncompressedSize, compressedSize: body.count,
      checksum: settings.writesChecksums ? CRC32.checksum(body.span) : nil
    ).encoded
    let checksum = CRC32.checksum(header.span)
    if case .dictionary = kind {
      chunk.checksums?.dictionaryHeader = checksum
    } else {
      chunk.checksums?.pageHeaders.append(checksum)
    }
    chunk.bytes.append(contentsOf: header)
    chunk.bytes.append(contentsOf: body)
    chunk.uncompressedBytes += header.count + uncompressedSize
  }

  // MARK: Statistics

  /// What readers are told of a page or chunk.
  func statistics(_ bounds: ColumnBounds?, nullCount: Int) -> Statistics {
    var statistics = Statistics()
    statistics.nullCount = Int64(nullCount)
    guard let bounds else { return statistics }
    let least = bounds.least.encoded(column.physicalType, order)
    let greatest = bounds.greatest.encoded(column.physicalType, order)
    let cut = cut(bounds)
    statistics.minimum = cut.least
    statistics.maximum = cut.greatest
    statistics.isMinimumExact = cut.least == least
    statistics.isMaximumExact = cut.greatest == greatest
    return statistics
  }

  /// The bounds of each page.
  ///
  /// - Returns: nil where a page has values but no bounds, which the index cannot say: all are NaN.
  func columnIndex(_ pages: [EncodedChunk.Page]) -> ColumnIndex? {
    var index = ColumnIndex()
    var isAscending = true
    var isDescending = true
    var last: ColumnBounds?
    for page in pages {
      index.nullPages.append(page.nullCount == page.rowCount)
      guard let bounds = page.bounds else {
        guard page.nullCount == page.rowCount else { return nil }
        index.minimums.appendEmpty()
        index.maximums.appendEmpty()
        continue
      }
      let cut = cut(bounds)
      index.minimums.append(cut.least)
      index.maximums.append(cut.greatest)
      if let last {
        // What is cut is in the order of the whole, or equal.
        if bounds.least.precedes(last.least) || bounds.greatest.precedes(last.greatest) {
          isAscending = false
        }
        if last.least.precedes(bounds.least) || last.greatest.precedes(bounds.greatest) {
          isDescending = false
        }
      }
      last = bounds
    }
    index.boundaryOrder = isAscending ? .ascending : isDescending ? .descending : .unordered
    index.nullCounts = pages.map { Int64($0.nullCount) }
    return index
  }

  /// Bounds as they are written, cut where values are long.
  private func cut(_ bounds: ColumnBounds) -> (least: [UInt8], greatest: [UInt8]) {
    let least = bounds.least.encoded(column.physicalType, order)
    let greatest = bounds.greatest.encoded(column.physicalType, order)
    // Readers take the bounds of a UUID for whole ones.
    guard order == .bytes, column.logicalType != .uuid else { return (least, greatest) }
    let isText = column.logicalType == .string || column.logicalType == .json
    return (
      least.cutBelow(limit: settings.boundBytes, isText: isText),
      greatest.cutAbove(limit: settings.boundBytes, isText: isText)
    )
  }
}

extension ParquetWriterSettings {
  fileprivate var needsBounds: Bool { writesStatistics || writesPageIndex }
}

extension Validity {
  /// The row behind the `count`th value from a row on; there are as many.
  fileprivate func end(ofValues count: Int, from row: Int) -> Int {
    var row = row
    var left = count
    while row < self.count {
      let bits = bits(from: row)
      if bits.nonzeroBitCount >= left {
        var rest = bits
        for _ in 1..<max(left, 1) { rest &= rest &- 1 }
        return left == 0 ? row : row + rest.trailingZeroBitCount + 1
      }
      left -= bits.nonzeroBitCount
      row += 64
    }
    return self.count
  }
}

extension BloomFilter {
  /// A filter of the values of a column chunk, of which booleans have none.
  init?(
    _ settings: ParquetBloomFilter, _ values: ColumnArray.Values, _ dictionary: ChunkDictionary?
  ) {
    var hashes: [UInt64] = []
    switch values {
    case .boolean: return nil
    case .int32(let slots): hashes = slots.map { XXH64.hash(UInt32(bitPattern: $0)) }
    case .int64(let slots): hashes = slots.map { XXH64.hash(UInt64(bitPattern: $0)) }
    case .float(let slots): hashes = slots.map { XXH64.hash($0.bitPattern) }
    case .double(let slots): hashes = slots.map { XXH64.hash($0.bitPattern) }
    case .fixed(let fixed): for index in 0..<fixed.count { hashes.append(XXH64.hash(fixed[index])) }
    case .dictionary(_, let strings), .bytes(let strings):
      var strings = strings
      // All values are in the dictionary, each of them once.
      if let dictionary, dictionary.indices.count == values.slotCount {
        strings = dictionary.strings ?? strings
      }
      for index in 0..<strings.count { hashes.append(XXH64.hash(strings[index])) }
    }
    hashes.sort()
    var distinctCount = 0
    var last: UInt64?
    for hash in hashes where hash != last {
      distinctCount += 1
      last = hash
    }
    self.init(
      byteCount: Self.byteCount(
        distinctCount: settings.distinctCount ?? distinctCount,
        falsePositiveRate: settings.falsePositiveRate))
    for hash in hashes { insert(hash) }
  }
}
