/// Numbers of a fixed number of bits, one behind the other, least significant bit first.
enum BitPacking {
  /// How many bytes hold `count` numbers.
  static func byteCount(_ count: Int, width: Int) -> Int { (count * width + 7) / 8 }

  /// Bits that the largest of some numbers needs.
  static func width(of largest: UInt64) -> Int { 64 - largest.leadingZeroBitCount }

  /// Calls the body with each number in order.
  ///
  /// - Parameters:
  ///   - byteCount: Bytes behind `source` that may be read: at least those of the numbers, and a
  ///     few more make it faster.
  ///   - width: 0 to 64.
  @unsafe @inline(__always)
  static func unpack(
    _ source: UnsafeRawPointer, byteCount: Int, width: Int, count: Int,
    _ body: (Int, UInt64) -> Void
  ) {
    if width == 0 {
      for index in 0..<count { body(index, 0) }
      return
    }
    let mask = UInt64.max &>> UInt64(64 - width)
    // The numbers whose whole word of 8 bytes, from their first byte on, may be read.
    let inside = byteCount < 8 ? 0 : min(count, ((byteCount - 8) * 8 + 7) / width + 1)
    // A number wider than this may end in the byte behind its word.
    let fast = width <= 57 ? inside : 0
    var bit = 0
    for index in 0..<fast {
      unsafe body(index, source.word(at: bit &>> 3) &>> UInt64(bit & 7) & mask)
      bit &+= width
    }
    for index in fast..<max(count, fast) {
      let byte = bit >> 3
      let shift = UInt64(bit & 7)
      var number = unsafe source.partialWord(at: byte, byteCount: byteCount - byte) >> shift
      if byte + 8 < byteCount, shift != 0 {
        number |=
          unsafe UInt64(source.load(fromByteOffset: byte + 8, as: UInt8.self))
          << (64 - shift)
      }
      body(index, number & mask)
      bit += width
    }
  }

  /// Appends numbers, each of which needs no more than `width` bits, and fills the last byte up
  /// with zero bits.
  ///
  /// - Parameter padded: How many numbers to write: zeros follow the `count` that are given.
  @unsafe @inline(__always)
  static func pack<Number: FixedWidthInteger & UnsignedInteger>(
    _ numbers: UnsafePointer<Number>, count: Int, padded: Int, width: Int,
    appendingTo output: inout [UInt8]
  ) {
    let byteCount = byteCount(padded, width: width)
    unsafe output.appendWritten(byteCount) { target in
      let target = UnsafeMutableRawPointer(target)
      var word: UInt64 = 0
      var used = 0
      var offset = 0
      for index in 0..<count {
        let number = unsafe UInt64(truncatingIfNeeded: numbers[index])
        word |= number &<< UInt64(used)
        used &+= width
        if used >= 64 {
          unsafe target.storeBytes(of: word.littleEndian, toByteOffset: offset, as: UInt64.self)
          offset &+= 8
          used &-= 64
          word = used == 0 ? 0 : number &>> UInt64(width &- used)
        }
      }
      while offset < byteCount {
        unsafe target.storeBytes(
          of: UInt8(truncatingIfNeeded: word), toByteOffset: offset, as: UInt8.self)
        word >>= 8
        offset += 1
      }
    }
  }
}
