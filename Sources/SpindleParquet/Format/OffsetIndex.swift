/// Where the data pages of a column chunk lie.
struct OffsetIndex: ThriftStructure, Sendable, Hashable {
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
    while let field = try reader.nextField() {
      switch field.id {
      case 1: pages = try reader.structures(field)
      case 2: byteArrayBytes = try reader.int64s(field)
      default: break
      }
    }
  }

  func write(to writer: inout ThriftWriter) {
    writer.structures(1, pages)
    writer.int64s(2, byteArrayBytes)
  }
}

extension OffsetIndex.Location: ThriftStructure {
  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    var offset: Int64?
    var byteCount: Int?
    var firstRow: Int64?
    while let field = try reader.nextField() {
      switch field.id {
      case 1: offset = try reader.int64(field)
      case 2: byteCount = try natural(reader.int32(field), "a page size")
      case 3: firstRow = try reader.int64(field)
      default: break
      }
    }
    self.offset = try required(offset, "a page location", "offset")
    self.byteCount = try required(byteCount, "a page location", "size")
    self.firstRow = try required(firstRow, "a page location", "first row")
  }

  func write(to writer: inout ThriftWriter) {
    writer.int64(1, offset)
    writer.int32(2, Int32(byteCount))
    writer.int64(3, firstRow)
  }
}
