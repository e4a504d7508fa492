public import SpindleCore

/// In which form columns of byte strings are read.
public enum ParquetByteStringForm: Sendable, Hashable {
  /// Every row with its own bytes.
  case plain
  /// As ``ColumnArray/Values/dictionary(indices:values:)`` where the file has them so, which takes
  /// less memory and time where values repeat; plain where it has not.
  case dictionary
}

/// Reads a Parquet file from a ``ParquetSource``, by row group and column.
///
/// ```swift
/// let reader = try ParquetReader(FileSource("flights.parquet"))
/// let scan = try reader.scan(columns: ["origin", "dep_delay"], where: .greater("dep_delay", 60))
/// while let batch = try scan.next() { ... }
/// ```
///
/// A reader holds the footer and reads everything else when it is asked for. It keeps no state
/// between calls, so several threads may use one. All calls wait for the source and then decode on
/// the calling thread: call them off Swift's cooperative threads.
///
/// Everything in a file is checked before it is believed, and every page against its checksum if it
/// has one. Errors name the file, row group, column, page and offset: `corruption` for bytes that
/// contradict the format, `unsupportedFormat` for what this reader does not know, `tooLarge` with
/// reason `parquet_limit` for what exceeds ``ParquetLimits``.
public final class ParquetReader: Sendable {
  public let metadata: ParquetMetadata
  let source: any ParquetSource
  let limits: ParquetLimits

  /// Reads and checks the footer.
  ///
  /// - Throws: ``SpindleError``: also when the file is no Parquet file, or its footer is encrypted.
  public init(
    _ source: some ParquetSource, limits: ParquetLimits = .default
  ) throws(SpindleError) {
    self.source = source
    self.limits = limits
    metadata = try Self.readFooter(source, limits)
  }

  private static func readFooter(
    _ source: some ParquetSource, _ limits: ParquetLimits
  ) throws(SpindleError) -> ParquetMetadata {
    let place = ParquetPlace(file: source.name)
    let size = source.size
    guard size >= Footer.leastFileBytes else {
      throw place.error(.damaged("not a Parquet file: it has \(size) bytes"))
    }
    let head = try bytes(of: 0..<UInt64(Footer.magic.count), source, place)
    let tail = try bytes(of: size - UInt64(Footer.tailBytes)..<size, source, place)
    let range = try place.locating { () throws(ParquetFailure) in
      try Footer.check(magic: head.span, at: 0)
      return try Footer.range(tail: tail.span, fileBytes: size, limits: limits)
    }
    // With what may be a seal before it.
    let footer = min(Int(range.lowerBound), Footer.sealBytes)
    let end = try bytes(of: range.lowerBound - UInt64(footer)..<size, source, place)
    var here = place
    here.offset = range.lowerBound
    let (file, layout) = try here.locating { () throws(ParquetFailure) in
      if footer == Footer.sealBytes { try Footer.check(seal: end.span) }
      let encoded = end.span.extracting(footer..<footer + range.count)
      let file = try Footer.decode(encoded, limits: limits)
      return (file, try SchemaLayout(file.schema, limits: limits))
    }
    return try ParquetMetadata(
      file, layout: layout, footer: range, fileBytes: size, place: place)
  }

  /// Reads the bytes of a range, whose size was checked.
  static func bytes(
    of range: Range<UInt64>, _ source: any ParquetSource, _ place: ParquetPlace
  ) throws(SpindleError) -> [UInt8] {
    var bytes: [UInt8] = []
    try source.read(range, into: &bytes)
    guard bytes.count == range.count else {
      throw place.error(.damaged("\(bytes.count) bytes where \(range.count) were asked for"))
    }
    return bytes
  }

  /// Reads rows of one row group.
  ///
  /// - Parameters:
  ///   - rowGroup: Counted from 0.
  ///   - columns: Names of flat columns, in the order they are wanted. Nil, the default, is all
  ///     flat columns.
  ///   - rows: Rows of the row group, counted from 0. Nil, the default, is all. With an offset
  ///     index only the pages that hold them are read.
  ///   - byteStrings: The form of columns of byte strings. The default is plain.
  /// - Throws: ``SpindleError`` as the reader says; `invalidArgument` for a row group, rows or a
  ///   column that is not there, and for a nested column.
  /// - Complexity: O(bytes of the pages), in time and memory.
  public func read(
    rowGroup: Int, columns: [String]? = nil, rows: Range<Int>? = nil,
    byteStrings: ParquetByteStringForm = .plain
  ) throws(SpindleError) -> ColumnBatch {
    guard metadata.rowGroups.indices.contains(rowGroup) else {
      throw SpindleError(
        .invalidArgument, "\(source.name) has no row group \(rowGroup)", path: source.name)
    }
    let group = metadata.rowGroups[rowGroup]
    let rows = rows ?? 0..<group.rowCount
    guard rows.lowerBound >= 0, rows.upperBound <= group.rowCount else {
      throw SpindleError(
        .invalidArgument,
        "row group \(rowGroup) has no rows \(rows), but \(group.rowCount)", path: source.name)
    }
    guard rows.count <= limits.batchRows else {
      throw ParquetPlace(file: source.name, rowGroup: rowGroup).error(
        .limit("a batch of \(rows.count) rows, more than \(limits.batchRows)"))
    }
    let isPart = rows.count < group.rowCount
    let budget = MemoryBudget(limits)
    var arrays: [ColumnArray] = []
    for column in try positions(of: columns) {
      let index = isPart ? try offsetIndex(of: column, in: rowGroup) : nil
      let cursor = try cursor(
        of: column, in: rowGroup, index: index, rows: [rows], byteStrings: byteStrings,
        budget: budget)
      arrays.append(try cursor.read(rows))
    }
    return ColumnBatch(columns: arrays, rowCount: rows.count)
  }

  // MARK: Pieces

  /// The positions of columns in the schema, by name.
  func positions(of names: [String]?) throws(SpindleError) -> [Int] {
    guard let names else { return Array(metadata.schema.columns.indices) }
    var positions: [Int] = []
    for name in names { positions.append(try position(of: name)) }
    return positions
  }

  func position(of name: String) throws(SpindleError) -> Int {
    if let position = metadata.schema.index(of: name) { return position }
    if metadata.schema.nestedNames.contains(name) {
      throw SpindleError(
        .invalidArgument,
        "column \(name) of \(source.name) is nested (a list, map or struct), which is not read",
        path: source.name, reason: "parquet_nested")
    }
    throw SpindleError(
      .invalidArgument, "\(source.name) has no column \(name)", path: source.name)
  }

  func place(_ rowGroup: Int, _ column: Int) -> ParquetPlace {
    ParquetPlace(
      file: source.name, rowGroup: rowGroup, column: metadata.schema.columns[column].name)
  }

  func cursor(
    of column: Int, in rowGroup: Int, index: OffsetIndex?, rows: [Range<Int>],
    byteStrings: ParquetByteStringForm, budget: MemoryBudget
  ) throws(SpindleError) -> ColumnCursor {
    let group = metadata.rowGroups[rowGroup]
    return try ColumnCursor(
      metadata.schema.columns[column], chunk: group.columns[column], rowCount: group.rowCount,
      index: index, rows: rows, keepsDictionary: byteStrings == .dictionary, source: source,
      limits: limits, budget: budget, place: place(rowGroup, column))
  }

  /// Where the pages of a column chunk lie; nil when the file does not say.
  func offsetIndex(of column: Int, in rowGroup: Int) throws(SpindleError) -> OffsetIndex? {
    guard let range = metadata.rowGroups[rowGroup].columns[column].offsetIndexRange else {
      return nil
    }
    return try decodeIndex(range, "the offset index", \.offsetIndex, rowGroup, column) {
      (reader) throws(ParquetFailure) in try OffsetIndex(&reader)
    }
  }

  /// The bounds of the pages of a column chunk; nil when the file does not say.
  func columnIndex(of column: Int, in rowGroup: Int) throws(SpindleError) -> ColumnIndex? {
    guard let range = metadata.rowGroups[rowGroup].columns[column].columnIndexRange else {
      return nil
    }
    return try decodeIndex(range, "the column index", \.columnIndex, rowGroup, column) {
      (reader) throws(ParquetFailure) in try ColumnIndex(&reader)
    }
  }

  private func decodeIndex<Index>(
    _ range: Range<UInt64>, _ what: String, _ checksum: KeyPath<ChunkChecksums, UInt32?>,
    _ rowGroup: Int, _ column: Int,
    _ decode: (inout ThriftReader) throws(ParquetFailure) -> Index
  ) throws(SpindleError) -> Index {
    var place = place(rowGroup, column)
    place.offset = range.lowerBound
    guard range.count <= limits.indexBytes else {
      throw place.error(.limit("\(what) has \(range.count) bytes, more than \(limits.indexBytes)"))
    }
    let bytes = try Self.bytes(of: range, source, place)
    let checksums = metadata.rowGroups[rowGroup].columns[column].checksums
    return try place.locating { () throws(ParquetFailure) in
      try check(bytes.span, checksums?[keyPath: checksum])
      return try decodeWhole(bytes.span, what, decode)
    }
  }
}
