/// What stands before the bits of a bloom filter: one algorithm (split blocks), one hash (XXH64)
/// and no compression are defined.
struct BloomFilterHeader: ThriftStructure, Sendable, Hashable {
  /// Bytes of the bits.
  var byteCount: Int

  init(byteCount: Int) { self.byteCount = byteCount }

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    var byteCount: Int?
    while let field = try reader.nextField() {
      switch field.id {
      case 1: byteCount = try natural(reader.int32(field), "a bloom filter size")
      case 2, 3, 4:
        let isFirst = try reader.structure(field) { (reader) throws(ParquetFailure) in
          try firstOfUnion(&reader)
        }
        guard isFirst else {
          throw .unsupported("a bloom filter of another algorithm, hash or compression")
        }
      default: break
      }
    }
    self.byteCount = try required(byteCount, "a bloom filter header", "size")
  }

  func write(to writer: inout ThriftWriter) {
    writer.int32(1, Int32(byteCount))
    for field: Int16 in 2...4 {
      writer.structure(field) { $0.structure(1) }
    }
  }
}

/// Reads a union of structures and says whether it is its first member.
@_lifetime(reader: copy reader)
func firstOfUnion(_ reader: inout ThriftReader) throws(ParquetFailure) -> Bool {
  var isFirst = false
  while let field = try reader.nextField() {
    isFirst = field.id == 1
  }
  return isFirst
}
