/// A column chunk as the footer describes it: where its pages lie and what is in them.
struct ColumnMetaData: ThriftStructure, Sendable, Hashable {
  /// The format's number of the physical type.
  var type: Int32
  /// The encodings that occur; those this reader does not know are left out.
  var encodings: [ParquetEncoding]
  var path: [String]
  /// The format's number of the codec.
  var codec: Int32
  /// Values, nulls included.
  var valueCount: Int64
  /// Bytes of all pages with their headers, before and after compression.
  var uncompressedBytes: Int64
  var compressedBytes: Int64
  var keyValues: [KeyValue]?
  /// Kept as one more entry of the key-value metadata.
  var checksums: ChunkChecksums?
  var dataPageOffset: Int64
  var dictionaryPageOffset: Int64?
  var statistics: Statistics?
  var bloomFilterOffset: Int64?
  /// Bytes of the bloom filter with its header; older writers do not say.
  var bloomFilterBytes: Int32?

  /// Names of a path that are kept. Readers go by the order of the leaves, and a name takes many
  /// times the bytes that a hostile footer needs for it.
  private static let pathLimit = 8

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    var type: Int32?
    var codec: Int32?
    var valueCount: Int64?
    var uncompressedBytes: Int64?
    var compressedBytes: Int64?
    var dataPageOffset: Int64?
    encodings = []
    path = []
    while let field = try reader.nextField() {
      switch field.id {
      case 1: type = try reader.int32(field)
      case 2:
        for _ in 0..<(try reader.list(field, of: .int32)) {
          let encoding = ParquetEncoding(rawValue: try reader.int32Element())
          if let encoding, !encodings.contains(encoding) { encodings.append(encoding) }
        }
      case 3:
        for _ in 0..<(try reader.list(field, of: .binary)) {
          let name = String(decoding: try reader.binaryElement(), as: UTF8.self)
          if path.count < Self.pathLimit { path.append(name) }
        }
      case 4: codec = try reader.int32(field)
      case 5: valueCount = try reader.int64(field)
      case 6: uncompressedBytes = try reader.int64(field)
      case 7: compressedBytes = try reader.int64(field)
      case 8:
        var entries = try reader.keyValues(field)
        if let place = entries.firstIndex(where: { $0.key == ChunkChecksums.key }) {
          checksums = try ChunkChecksums(entries.remove(at: place).value ?? "")
        }
        if !entries.isEmpty || checksums == nil { keyValues = entries }
      case 9: dataPageOffset = try reader.int64(field)
      case 11: dictionaryPageOffset = try reader.int64(field)
      case 12: statistics = try reader.structure(field)
      case 14: bloomFilterOffset = try reader.int64(field)
      case 15: bloomFilterBytes = try reader.int32(field)
      default: break
      }
    }
    let what = "a column chunk's metadata"
    self.type = try required(type, what, "type")
    self.codec = try required(codec, what, "codec")
    self.valueCount = try required(valueCount, what, "value count")
    self.uncompressedBytes = try required(uncompressedBytes, what, "uncompressed size")
    self.compressedBytes = try required(compressedBytes, what, "compressed size")
    self.dataPageOffset = try required(dataPageOffset, what, "data page offset")
  }

  init(
    type: Int32, encodings: [ParquetEncoding], path: [String], codec: ParquetCodec,
    valueCount: Int64, uncompressedBytes: Int64, compressedBytes: Int64, dataPageOffset: Int64
  ) {
    self.type = type
    self.encodings = encodings
    self.path = path
    self.codec = codec.rawValue
    self.valueCount = valueCount
    self.uncompressedBytes = uncompressedBytes
    self.compressedBytes = compressedBytes
    self.dataPageOffset = dataPageOffset
  }

  func write(to writer: inout ThriftWriter) {
    writer.int32(1, type)
    writer.list(2, of: .int32, count: encodings.count)
    for encoding in encodings { writer.intElement(Int64(encoding.rawValue)) }
    writer.list(3, of: .binary, count: path.count)
    for name in path { writer.binaryElement(Array(name.utf8).span) }
    writer.int32(4, codec)
    writer.int64(5, valueCount)
    writer.int64(6, uncompressedBytes)
    writer.int64(7, compressedBytes)
    let entry = checksums.map { KeyValue(key: ChunkChecksums.key, value: $0.text) }
    writer.structures(8, entry.map { (keyValues ?? []) + [$0] } ?? keyValues)
    writer.int64(9, dataPageOffset)
    writer.int64(11, dictionaryPageOffset)
    writer.structure(12, statistics)
    writer.int64(14, bloomFilterOffset)
    writer.int32(15, bloomFilterBytes)
  }
}

/// A column chunk's entry in its row group.
struct ColumnChunk: ThriftStructure, Sendable, Hashable {
  /// Another file that holds the pages; no writer is known to use it.
  var filePath: String?
  /// Where the metadata is repeated; obsolete, and written as 0.
  var fileOffset: Int64 = 0
  /// Missing only where it is encrypted.
  var metadata: ColumnMetaData?
  var offsetIndexOffset: Int64?
  var offsetIndexBytes: Int32?
  var columnIndexOffset: Int64?
  var columnIndexBytes: Int32?
  var isEncrypted = false

  init(_ metadata: ColumnMetaData) { self.metadata = metadata }

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    while let field = try reader.nextField() {
      switch field.id {
      case 1: filePath = try reader.string(field)
      case 2: fileOffset = try reader.int64(field)
      case 3: metadata = try reader.structure(field)
      case 4: offsetIndexOffset = try reader.int64(field)
      case 5: offsetIndexBytes = try reader.int32(field)
      case 6: columnIndexOffset = try reader.int64(field)
      case 7: columnIndexBytes = try reader.int32(field)
      case 8, 9: isEncrypted = true
      default: break
      }
    }
    guard metadata != nil || isEncrypted else {
      throw .damaged("a column chunk lacks its metadata")
    }
  }

  func write(to writer: inout ThriftWriter) {
    writer.string(1, filePath)
    writer.int64(2, fileOffset)
    writer.structure(3, metadata)
    writer.int64(4, offsetIndexOffset)
    writer.int32(5, offsetIndexBytes)
    writer.int64(6, columnIndexOffset)
    writer.int32(7, columnIndexBytes)
  }
}
