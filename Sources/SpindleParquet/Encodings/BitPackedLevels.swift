/// The BIT_PACKED levels of old files: most significant bit first, without a length.
enum BitPackedLevels {
  /// Appends `count` definition levels of a column that is not nested: 1 where there is a value.
  ///
  /// - Returns: The bytes that were read.
  static func decode(
    _ bytes: Span<UInt8>, count: Int, appendingTo validity: inout Validity
  ) throws(ParquetFailure) -> Int {
    let byteCount = (count + 7) / 8
    guard byteCount <= bytes.count else {
      throw .damaged("\(count) levels need \(byteCount) bytes, \(bytes.count) are there", at: 0)
    }
    for offset in 0..<byteCount {
      let byte = bytes[offset]
      var turned: UInt64 = 0
      for bit in 0..<8 { turned |= UInt64(byte >> UInt8(7 - bit) & 1) << UInt64(bit) }
      validity.append(bits: turned, count: min(8, count - offset * 8))
    }
    return byteCount
  }
}
