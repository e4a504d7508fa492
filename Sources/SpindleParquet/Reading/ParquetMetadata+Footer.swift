internal import SpindleCore

extension ParquetMetadata {
  /// Takes a footer as it was read or written, with every number in it checked: rows add up, every
  /// row group has a chunk of each leaf, and everything lies before the footer.
  ///
  /// - Parameters:
  ///   - footer: Where the encoded footer lies.
  init(
    _ file: FileMetaData, layout: SchemaLayout, footer: Range<UInt64>, fileBytes: UInt64,
    place: ParquetPlace
  ) throws(SpindleError) {
    version = Int(file.version)
    createdBy = file.createdBy
    schema = layout.schema
    rowCount = try place.locating { () throws(ParquetFailure) in
      try natural(file.rowCount, "a row count")
    }
    keyValues = file.keyValues.map(ParquetKeyValue.list) ?? []
    footerBytes = footer.count
    self.fileBytes = fileBytes
    rowGroups = []
    let leavesOutHeaders = WriterVersion.leavesOutDictionaryHeaders(file.createdBy)
    var total = 0
    for index in file.rowGroups.indices {
      var here = place
      here.rowGroup = index
      let group = try ParquetRowGroup(
        file.rowGroups[index], of: file, leavesOutHeaders: leavesOutHeaders, layout: layout,
        end: footer.lowerBound, place: here)
      rowGroups.append(group)
      let (sum, isOver) = total.addingReportingOverflow(group.rowCount)
      guard !isOver else { throw here.error(.damaged("the row groups have more rows than fit")) }
      total = sum
    }
    guard total == rowCount else {
      throw place.error(
        .damaged("the row groups have \(total) rows where the footer says \(rowCount)"))
    }
  }
}

extension ParquetKeyValue {
  static func list(_ entries: [KeyValue]) -> [ParquetKeyValue] {
    entries.map { ParquetKeyValue(key: $0.key, value: $0.value) }
  }
}

extension ParquetRowGroup {
  init(
    _ group: RowGroup, of file: FileMetaData, leavesOutHeaders: Bool, layout: SchemaLayout,
    end: UInt64, place: ParquetPlace
  ) throws(SpindleError) {
    guard group.columns.count == layout.leafCount else {
      throw place.error(
        .damaged(
          "\(group.columns.count) column chunks where the schema has \(layout.leafCount) leaves"))
    }
    (rowCount, uncompressedBytes) = try place.locating { () throws(ParquetFailure) in
      (
        try natural(group.rowCount, "a row count"),
        try natural(group.uncompressedBytes, "a row group size")
      )
    }
    columns = []
    columns.reserveCapacity(layout.leaves.count)
    for index in layout.leaves.indices {
      var here = place
      let column = layout.schema.columns[index]
      here.column = column.name
      let leaf = layout.leaves[index]
      let isOrdered = file.columnOrders.map { $0.indices.contains(leaf) && $0[leaf] == .byType }
      let rows = rowCount
      columns.append(
        try here.locating { () throws(ParquetFailure) in
          try ParquetColumnChunk(
            group.columns[leaf], of: column, rowCount: rows, end: end,
            hasColumnOrder: isOrdered ?? false, leavesOutHeaders: leavesOutHeaders)
        })
    }
    sortingColumns = []
    let sortings = group.sortingColumns ?? []
    guard sortings.count <= layout.leafCount else {
      throw place.error(
        .damaged(
          "\(sortings.count) sorting columns where the schema has \(layout.leafCount) leaves"))
    }
    for sorting in sortings {
      let leaf = Int(sorting.leaf)
      guard layout.leafNames.indices.contains(leaf) else {
        throw place.error(.damaged("rows are sorted by leaf \(leaf), which is not there"))
      }
      sortingColumns.append(
        ParquetSortingColumn(
          name: layout.leafNames[leaf], isDescending: sorting.isDescending,
          nullsFirst: sorting.nullsFirst))
    }
  }
}

extension ParquetColumnChunk {
  init(
    _ chunk: ColumnChunk, of column: ParquetColumn, rowCount: Int, end: UInt64,
    hasColumnOrder: Bool, leavesOutHeaders: Bool
  ) throws(ParquetFailure) {
    self.init()
    if chunk.isEncrypted {
      unreadable = "the column is encrypted, which is not supported"
    } else if let path = chunk.filePath, !path.isEmpty {
      unreadable = "the column is in another file, which is not supported"
    }
    // Only an encrypted chunk has none. What another has of indexes and filters is as unreadable as
    // its pages.
    guard let metadata = chunk.metadata else { return }
    guard metadata.type == column.physicalType.number else {
      throw .damaged("a column chunk of type \(metadata.type), the schema says \(column)")
    }
    guard let codec = ParquetCodec(rawValue: metadata.codec) else {
      throw .unsupported("codec \(metadata.codec) is unknown")
    }
    self.codec = codec
    encodings = metadata.encodings
    valueCount = try natural(metadata.valueCount, "a value count")
    guard valueCount == rowCount else {
      throw .damaged("a column chunk of \(valueCount) values in a row group of \(rowCount) rows")
    }
    uncompressedBytes = try natural(metadata.uncompressedBytes, "a column chunk size")
    var first = try natural(metadata.dataPageOffset, "a page offset")
    if first == 0, valueCount == 0, let offset = metadata.dictionaryPageOffset, offset > 0 {
      // Without values there may be a dictionary page, and no data page to tell the offset of.
      first = Int(offset)
    }
    // Some writers say 0 for no dictionary, some repeat the data page's offset.
    let dictionary = metadata.dictionaryPageOffset.flatMap { $0 > 0 && $0 < first ? Int($0) : nil }
    hasDictionary =
      dictionary != nil || metadata.encodings.contains(.plainDictionary)
      || metadata.encodings.contains(.rleDictionary)
    let size = try natural(metadata.compressedBytes, "a column chunk size")
    // Without rows nothing is read, and some writers give offsets that mean nothing.
    let range =
      unreadable == nil && rowCount > 0 ? try Self.range(dictionary ?? first, size, end) : 0..<0
    byteRange = range
    pageRange = range
    if !range.isEmpty, leavesOutHeaders {
      pageRange = range.lowerBound..<min(range.upperBound + Self.longestDictionaryHeader, end)
    }
    guard range.isEmpty || range.contains(UInt64(first)) else {
      throw .damaged("data pages at \(first) outside their column chunk \(range)")
    }
    statistics = try metadata.statistics.map { (statistics) throws(ParquetFailure) in
      try ParquetStatistics(
        statistics, order: ValueOrder(column), hasColumnOrder: hasColumnOrder)
    }
    if let nullCount = statistics?.nullCount, nullCount > rowCount {
      throw .damaged("\(nullCount) nulls in \(rowCount) rows")
    }
    keyValues = metadata.keyValues.map(ParquetKeyValue.list) ?? []
    checksums = metadata.checksums
    self.hasColumnOrder = hasColumnOrder
    if unreadable != nil { return }
    columnIndexRange = try Self.range(chunk.columnIndexOffset, chunk.columnIndexBytes, end)
    offsetIndexRange = try Self.range(chunk.offsetIndexOffset, chunk.offsetIndexBytes, end)
    bloomFilterBytes = try metadata.bloomFilterBytes.map { (count) throws(ParquetFailure) in
      try natural(count, "a bloom filter size")
    }
    bloomFilterOffset = try metadata.bloomFilterOffset.map { (offset) throws(ParquetFailure) in
      try Self.range(natural(offset, "an offset"), bloomFilterBytes ?? 0, end).lowerBound
    }
  }

  /// A chunk of which nothing is known.
  private init() {
    codec = .uncompressed
    encodings = []
    valueCount = 0
    uncompressedBytes = 0
    byteRange = 0..<0
    pageRange = 0..<0
    hasDictionary = false
    keyValues = []
  }

  /// Most bytes that a writer may have left out.
  private static let longestDictionaryHeader: UInt64 = 100

  private static func range(
    _ offset: Int64?, _ size: Int32?, _ end: UInt64
  ) throws(ParquetFailure) -> Range<UInt64>? {
    guard let offset, let size, size > 0 else { return nil }
    return try range(natural(offset, "an offset"), Int(size), end)
  }

  /// A range of the file between its magic and its footer.
  private static func range(
    _ offset: Int, _ size: Int, _ end: UInt64
  ) throws(ParquetFailure) -> Range<UInt64> {
    let (upper, isOver) = offset.addingReportingOverflow(size)
    guard !isOver, offset >= Footer.magic.count || size == 0, UInt64(upper) <= end,
      UInt64(offset) <= end
    else {
      throw .damaged("\(size) bytes at \(offset) where the footer begins at \(end)")
    }
    return UInt64(offset)..<UInt64(upper)
  }
}
