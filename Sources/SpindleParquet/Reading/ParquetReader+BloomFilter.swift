internal import SpindleCore

extension ParquetReader {
  /// The bloom filter of a column chunk and the bytes it takes in the file; nil when it has none.
  func bloomFilter(
    of column: Int, in rowGroup: Int
  ) throws(SpindleError) -> (filter: BloomFilter, byteCount: Int)? {
    let chunk = metadata.rowGroups[rowGroup].columns[column]
    guard let offset = chunk.bloomFilterOffset else { return nil }
    var place = place(rowGroup, column)
    place.offset = offset
    let end = metadata.fileBytes - UInt64(metadata.footerBytes + Footer.tailBytes)
    // Where the size is not known, the header is read first; it has less than 64 bytes.
    let guess = min(UInt64(chunk.bloomFilterBytes ?? 64), end - offset)
    try checkSize(Int(guess), place)
    var bytes = try Self.bytes(of: offset..<offset + guess, source, place)
    let (header, headerBytes) = try place.locating { () throws(ParquetFailure) in
      var reader = ThriftReader(bytes.span)
      let header = try BloomFilterHeader(&reader)
      return (header, reader.offset)
    }
    let total = headerBytes + header.byteCount
    guard UInt64(total) <= end - offset else {
      throw place.error(.damaged("a bloom filter of \(header.byteCount) bytes leaves the file"))
    }
    try checkSize(header.byteCount, place)
    if total > bytes.count {
      try source.read(offset + UInt64(bytes.count)..<offset + UInt64(total), into: &bytes)
    }
    guard bytes.count >= total else {
      throw place.error(.damaged("the source gave too few bytes of a bloom filter"))
    }
    let filter = try place.locating { () throws(ParquetFailure) in
      try check(bytes.span.extracting(..<total), chunk.checksums?.bloomFilter)
      return try BloomFilter(bytes.span.extracting(headerBytes..<total))
    }
    return (filter, bytes.count)
  }

  private func checkSize(_ byteCount: Int, _ place: ParquetPlace) throws(SpindleError) {
    guard byteCount <= limits.bloomFilterBytes else {
      throw place.error(
        .limit(
          "a bloom filter of \(byteCount) bytes, more than \(limits.bloomFilterBytes)"))
    }
  }
}
