internal import SpindleCodecs
public import SpindleCore

/// Writes a Parquet file, row group by row group.
///
/// ```swift
/// let writer = try ParquetWriter(FileSink("flights.parquet"), schema: schema)
/// for batch in batches { try writer.write(batch) }
/// let metadata = try writer.finish()
/// ```
/// Rows wait in memory until they fill a row group, which is then encoded column by column and
/// given to the sink. Batches of some thousand rows are best; their arrays are shared, not copied,
/// until then.
///
/// ``write(row:)`` takes single rows.
///
/// A writer belongs to one thread at a time, encodes on it and waits there for its sink: call it
/// off the cooperative threads.
public final class ParquetWriter {
  private enum State {
    case open
    case finished
    case failed
  }

  private let sink: any ParquetSink
  let schema: ParquetSchema
  private let settings: ParquetWriterSettings
  private let encoders: [ColumnChunkEncoder]
  private var state = State.open
  /// Bytes given to the sink.
  private var offset: UInt64 = 0
  /// Rows that wait for their group to be full, column by column.
  private var pieces: [[ColumnPiece]]
  private var waitingRows = 0
  private var waitingBytes = 0
  /// Rows that came one by one.
  var rows: ParquetRowBuilder
  private var rowGroups: [RowGroup] = []
  /// The pages of all column chunks, for the indexes that stand before the footer.
  private var indexes: [[(column: ColumnIndex?, offset: OffsetIndex)]] = []
  private var rowCount = 0

  /// Begins a file.
  ///
  /// - Throws: ``SpindleError`` with `invalidArgument` where schema or settings are wrong, or what
  ///   the sink throws.
  public init(
    _ sink: some ParquetSink, schema: ParquetSchema, settings: ParquetWriterSettings = .init()
  ) throws(SpindleError) {
    if let fault = settings.fault(for: schema) {
      throw SpindleError(.invalidArgument, "cannot write \(sink.name): \(fault)", path: sink.name)
    }
    self.sink = sink
    self.schema = schema
    self.settings = settings
    encoders = schema.columns.map { ColumnChunkEncoder($0, settings) }
    pieces = Array(repeating: [], count: schema.columns.count)
    rows = ParquetRowBuilder(schema)
    try emit(Footer.magic)
  }

  /// Takes rows.
  ///
  /// - Throws: ``SpindleError`` with `invalidArgument` where the batch does not fit the schema or a
  ///   string is longer than ``ParquetWriterSettings/valueBytes``: nothing of the batch is taken,
  ///   and the writer can go on. `closed` behind ``finish()`` or an error of the sink. What the
  ///   sink throws: the writer is of no further use.
  public func write(_ batch: ColumnBatch) throws(SpindleError) {
    try requireOpen()
    try batch.validate(against: schema)
    for (column, array) in zip(schema.columns, batch.columns) {
      try requireShort(array.values.longestString, column)
    }
    try takeRows()
    try take(batch)
  }

  /// Takes a batch that fits.
  private func take(_ batch: ColumnBatch) throws(SpindleError) {
    // Values are taken to be about as long all along the batch.
    let bytes = batch.columns.reduce(0) { $0 + $1.values.residentBytes }
    let perRow = max(1, bytes / max(batch.rowCount, 1))
    var row = 0
    while row < batch.rowCount {
      let room = min(
        settings.rowGroupRows - waitingRows, (settings.rowGroupBytes - waitingBytes) / perRow)
      let taken = min(batch.rowCount - row, max(1, room))
      for index in pieces.indices {
        pieces[index].append(ColumnPiece(column: batch.columns[index], rows: row..<row + taken))
      }
      waitingRows += taken
      waitingBytes += taken * perRow
      row += taken
      if waitingRows >= settings.rowGroupRows || waitingBytes + perRow > settings.rowGroupBytes {
        try flushRowGroup()
      }
    }
  }

  /// Writes what waits as a row group of its own, so that later rows are in others. Nothing is
  /// written where no row waits.
  public func endRowGroup() throws(SpindleError) {
    try requireOpen()
    try takeRows()
    try flushRowGroup()
  }

  /// Writes what waits and the footer, and makes the file whole.
  ///
  /// - Returns: What the file says of itself.
  /// - Throws: ``SpindleError`` with `closed` behind an earlier call or an error of the sink, or
  ///   what the sink throws.
  public func finish() throws(SpindleError) -> ParquetMetadata {
    try requireOpen()
    try takeRows()
    try flushRowGroup()
    try emitIndexes()
    var file = FileMetaData(
      version: 2, schema: schema.elements, rowCount: Int64(rowCount), rowGroups: rowGroups)
    if !settings.keyValues.isEmpty {
      file.keyValues = settings.keyValues.map { KeyValue(key: $0.key, value: $0.value) }
    }
    file.createdBy = settings.createdBy
    file.columnOrders = schema.columns.map { _ in .byType }
    let start = offset + UInt64(settings.writesChecksums ? Footer.sealBytes : 0)
    let end = Footer.encoded(file, isSealed: settings.writesChecksums)
    guard end.count <= Int(Int32.max) else {
      state = .failed
      throw SpindleError(
        .tooLarge, "the footer of \(sink.name) has more than 2 GiB", path: sink.name)
    }
    try emit(end)
    state = .failed
    try sink.finish()
    state = .finished
    let place = ParquetPlace(file: sink.name)
    let layout = try place.locating { () throws(ParquetFailure) in
      try SchemaLayout(file.schema, limits: .default)
    }
    return try ParquetMetadata(
      file, layout: layout, footer: start..<offset - UInt64(Footer.tailBytes), fileBytes: offset,
      place: place)
  }

  // MARK: Pieces

  /// Takes the rows that came one by one.
  func takeRows() throws(SpindleError) {
    if rows.rowCount > 0 { try take(rows.finish()) }
  }

  func requireShort(_ byteCount: Int, _ column: ParquetColumn) throws(SpindleError) {
    guard byteCount <= settings.valueBytes else {
      throw SpindleError(
        .invalidArgument,
        "column \(column.name) has a string of \(byteCount) bytes, "
          + "more than \(settings.valueBytes)")
    }
  }

  func requireOpen() throws(SpindleError) {
    switch state {
    case .open: return
    case .finished: throw SpindleError(.closed, "\(sink.name) is finished", path: sink.name)
    case .failed:
      throw SpindleError(
        .closed, "writing \(sink.name) failed before", path: sink.name,
        reason: "parquet_writer_failed")
    }
  }

  private func emit(_ bytes: [UInt8]) throws(SpindleError) {
    // A sink that threw may hold a part of the bytes.
    let before = state
    state = .failed
    try sink.write(bytes)
    state = before
    offset += UInt64(bytes.count)
  }

  private func flushRowGroup() throws(SpindleError) {
    guard waitingRows > 0 else { return }
    let start = offset
    var group = RowGroup(columns: [], uncompressedBytes: 0, rowCount: Int64(waitingRows))
    var filters: [BloomFilter?] = []
    indexes.append([])
    for index in encoders.indices {
      let encoder = encoders[index]
      let chunk = encoder.encode(DenseColumn(pieces[index]))
      pieces[index] = []
      group.columns.append(ColumnChunk(metadata(of: chunk, encoder)))
      group.uncompressedBytes += Int64(chunk.uncompressedBytes)
      filters.append(chunk.bloomFilter)
      if settings.writesPageIndex {
        indexes[indexes.count - 1].append(
          (encoder.columnIndex(chunk.pages), chunk.offsetIndex(at: offset)))
      }
      try emit(chunk.bytes)
    }
    group.compressedBytes = Int64(offset - start)
    group.fileOffset = Int64(start)
    group.ordinal = Int16(exactly: rowGroups.count)
    if !settings.sortingColumns.isEmpty {
      group.sortingColumns = settings.sortingColumns.compactMap { sorting in
        schema.index(of: sorting.name).map {
          SortingColumn(
            leaf: Int32($0), isDescending: sorting.isDescending, nullsFirst: sorting.nullsFirst)
        }
      }
    }
    for index in filters.indices {
      guard let filter = filters[index] else { continue }
      let bits = filter.bytes
      let bytes = BloomFilterHeader(byteCount: bits.count).encoded + bits
      group.columns[index].metadata?.bloomFilterOffset = Int64(offset)
      group.columns[index].metadata?.bloomFilterBytes = Int32(bytes.count)
      group.columns[index].metadata?.checksums?.bloomFilter = CRC32.checksum(bytes.span)
      try emit(bytes)
    }
    rowGroups.append(group)
    rowCount += waitingRows
    waitingRows = 0
    waitingBytes = 0
  }

  private func metadata(of chunk: EncodedChunk, _ encoder: ColumnChunkEncoder) -> ColumnMetaData {
    var metadata = ColumnMetaData(
      type: encoder.column.physicalType.number, encodings: chunk.encodings,
      path: [encoder.column.name], codec: encoder.codec, valueCount: Int64(chunk.rowCount),
      uncompressedBytes: Int64(chunk.uncompressedBytes),
      compressedBytes: Int64(chunk.bytes.count),
      dataPageOffset: Int64(offset) + Int64(chunk.firstDataPage))
    if chunk.firstDataPage > 0 { metadata.dictionaryPageOffset = Int64(offset) }
    metadata.checksums = chunk.checksums
    if settings.writesStatistics {
      metadata.statistics = encoder.statistics(chunk.bounds, nullCount: chunk.nullCount)
    }
    return metadata
  }

  /// All column indexes, then all offset indexes: a reader gets those of a file with one request.
  private func emitIndexes() throws(SpindleError) {
    for group in indexes.indices {
      for column in indexes[group].indices {
        guard let index = indexes[group][column].column else { continue }
        let bytes = index.encoded
        rowGroups[group].columns[column].columnIndexOffset = Int64(offset)
        rowGroups[group].columns[column].columnIndexBytes = Int32(bytes.count)
        rowGroups[group].columns[column].metadata?.checksums?.columnIndex =
          CRC32.checksum(bytes.span)
        try emit(bytes)
      }
    }
    for group in indexes.indices {
      for column in indexes[group].indices {
        let bytes = indexes[group][column].offset.encoded
        rowGroups[group].columns[column].offsetIndexOffset = Int64(offset)
        rowGroups[group].columns[column].offsetIndexBytes = Int32(bytes.count)
        rowGroups[group].columns[column].metadata?.checksums?.offsetIndex =
          CRC32.checksum(bytes.span)
        try emit(bytes)
      }
    }
  }
}

extension EncodedChunk {
  /// Where the data pages lie.
  ///
  /// - Parameter start: Where the chunk begins in the file.
  fileprivate func offsetIndex(at start: UInt64) -> OffsetIndex {
    var index = OffsetIndex()
    index.pages = pages.map {
      OffsetIndex.Location(
        offset: Int64(start) + Int64($0.offset), byteCount: $0.byteCount,
        firstRow: Int64($0.firstRow))
    }
    return index
  }
}

extension ColumnArray.Values {
  /// About how many bytes of memory the rows take; batches mostly share their dictionaries.
  fileprivate var residentBytes: Int {
    if case .dictionary(let indices, _) = self { indices.count * 4 } else { byteCount }
  }

  /// Bytes of the longest byte string; 0 for other types.
  fileprivate var longestString: Int {
    switch self {
    case .bytes(let strings), .dictionary(_, let strings):
      var longest = 0
      for index in 0..<strings.count {
        longest = max(longest, strings.offsets[index + 1] - strings.offsets[index])
      }
      return longest
    case .fixed(let fixed): return fixed.width
    default: return 0
    }
  }
}
