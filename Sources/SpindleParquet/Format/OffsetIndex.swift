/// Where the data pages of a column chunk lie.
struct OffsetIndex: Sendable, Hashable {
  struct Location: Sendable, Hashable {
    /// Where the page's header begins in the file.
    var offset: Int64
    /// Bytes of the page with its header.
    var byteCount: Int
    /// The page's first row in its row group.
    var firstRow: Int64
  }

  var pages: [Location] = []
  /// Bytes of a page's byte strings before encoding, where the writer counted them.
  var byteArrayBytes: [Int64]?

  init() {}

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    var last: Int16 = 0
    while let field = try reader.nextField(after: &last) {
      switch field.id {
      case 1:
        for _ in 0..<(try reader.list(field, of: .structure)) {
          pages.append(try Location(&reader))
        }
      case 2:
        var counts: [Int64] = []
        for _ in 0..<(try reader.list(field, of: .int64)) {
          counts.append(try reader.int64Element())
        }
        byteArrayBytes = counts
      default: try reader.skip(field)
      }
    }
  }

  var encoded: [UInt8] {
    var writer = ThriftWriter()
    writer.list(1, of: .structure, count: pages.count)
    for page in pages {
      writer.beginElement()
      writer.int64(1, page.offset)
      writer.int32(2, Int32(page.byteCount))
      writer.int64(3, page.firstRow)
      writer.endStructure()
    }
    if let byteArrayBytes {
      writer.list(2, of: .int64, count: byteArrayBytes.count)
      for count in byteArrayBytes { writer.intElement(count) }
    }
    writer.endStructure()
    return writer.bytes
  }
}

extension OffsetIndex.Location {
  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    var offset: Int64?
    var byteCount: Int?
    var firstRow: Int64?
    var last: Int16 = 0
    while let field = try reader.nextField(after: &last) {
      switch field.id {
      case 1: offset = try reader.int64(field)
      case 2: byteCount = try natural(reader.int32(field), "a page size")
      case 3: firstRow = try reader.int64(field)
      default: try reader.skip(field)
      }
    }
    self.offset = try required(offset, "a page location", "offset")
    self.byteCount = try required(byteCount, "a page location", "size")
    self.firstRow = try required(firstRow, "a page location", "first row")
  }
}
