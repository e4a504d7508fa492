/// What stands before the bits of a bloom filter: one algorithm (split blocks), one hash (XXH64)
/// and no compression are defined.
struct BloomFilterHeader: Sendable, Hashable {
  /// Bytes of the bits.
  var byteCount: Int

  init(byteCount: Int) { self.byteCount = byteCount }

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    var byteCount: Int?
    var last: Int16 = 0
    while let field = try reader.nextField(after: &last) {
      switch field.id {
      case 1: byteCount = try natural(reader.int32(field), "a bloom filter size")
      case 2, 3, 4:
        try reader.requireStructure(field)
        guard try firstOfUnion(&reader) else {
          throw .unsupported("a bloom filter of another algorithm, hash or compression")
        }
      default: try reader.skip(field)
      }
    }
    self.byteCount = try required(byteCount, "a bloom filter header", "size")
  }

  var encoded: [UInt8] {
    var writer = ThriftWriter()
    writer.int32(1, Int32(byteCount))
    for field: Int16 in 2...4 {
      writer.beginStructure(field)
      writer.emptyStructure(1)
      writer.endStructure()
    }
    writer.endStructure()
    return writer.bytes
  }
}

/// Reads a union of structures and says whether it is its first member.
@_lifetime(reader: copy reader)
func firstOfUnion(_ reader: inout ThriftReader) throws(ParquetFailure) -> Bool {
  var isFirst = false
  var last: Int16 = 0
  while let field = try reader.nextField(after: &last) {
    isFirst = field.id == 1
    try reader.skip(field)
  }
  return isFirst
}
