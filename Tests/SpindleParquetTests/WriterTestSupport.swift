import SpindleCore

@testable import SpindleParquet

/// A file in memory with all that its footer says.
struct WrittenFile {
  var bytes: [UInt8]
  var metadata: ParquetMetadata
  var footer: FileMetaData

  init(
    _ schema: ParquetSchema, _ batches: [ColumnBatch],
    _ configure: (inout ParquetWriterSettings) -> Void = { _ in }
  ) throws {
    var settings = ParquetWriterSettings()
    configure(&settings)
    let sink = MemorySink()
    let writer = try ParquetWriter(sink, schema: schema, settings: settings)
    for batch in batches { try writer.write(batch) }
    metadata = try writer.finish()
    bytes = sink.bytes
    let tail = Array(bytes.suffix(Footer.tailBytes))
    let range = try Footer.range(
      tail: tail.span, fileBytes: UInt64(bytes.count), limits: .default)
    let encoded = Array(bytes[Int(range.lowerBound)..<Int(range.upperBound)])
    footer = try decodeWhole(encoded.span, "a footer") { (reader) throws(ParquetFailure) in
      try FileMetaData(&reader, limits: .default)
    }
  }

  /// One column in one batch.
  init(
    _ type: ParquetPhysicalType, _ meaning: ParquetLogicalType? = nil, _ column: ColumnArray,
    _ configure: (inout ParquetWriterSettings) -> Void = { _ in }
  ) throws {
    let schema = try ParquetSchema([
      ParquetColumn(
        name: "x", physicalType: type, logicalType: meaning, isOptional: column.nullCount > 0)
    ])
    try self.init(schema, [ColumnBatch([column])], configure)
  }

  var reader: ParquetReader { get throws { try ParquetReader(MemorySource(bytes)) } }

  func chunk(_ column: Int = 0, in group: Int = 0) throws -> ColumnMetaData {
    guard let metadata = footer.rowGroups[group].columns[column].metadata else {
      throw ParquetFailure.damaged("no metadata")
    }
    return metadata
  }

  /// The headers of a chunk's pages with the bytes behind each.
  func pages(_ column: Int = 0, in group: Int = 0) throws -> [(header: PageHeader, body: [UInt8])] {
    let chunk = try chunk(column, in: group)
    var at = Int(chunk.dictionaryPageOffset ?? chunk.dataPageOffset)
    let end = at + Int(chunk.compressedBytes)
    var pages: [(PageHeader, [UInt8])] = []
    while at < end {
      let rest = Array(bytes[at..<end])
      var reader = ThriftReader(rest.span)
      let header = try PageHeader(&reader)
      let body = at + reader.offset
      pages.append((header, Array(bytes[body..<body + header.compressedSize])))
      at = body + header.compressedSize
    }
    return pages
  }

  func columnIndex(_ column: Int = 0, in group: Int = 0) throws -> ColumnIndex? {
    try reader.columnIndex(of: column, in: group)
  }
}

extension ColumnArray {
  static func strings(_ texts: [String?]) -> ColumnArray {
    var builder = ByteStringsBuilder()
    for text in texts { builder.append(text) }
    return builder.finish()
  }

  static func numbers<Element: ColumnElement>(_ numbers: [Element?]) -> ColumnArray {
    var builder = ColumnBuilder<Element>()
    for number in numbers { builder.append(number) }
    return builder.finish()
  }
}

extension ByteStrings {
  var texts: [String] { (0..<count).map { text($0) } }
}
