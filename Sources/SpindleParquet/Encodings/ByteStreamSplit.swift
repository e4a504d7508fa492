/// BYTE_STREAM_SPLIT: first the lowest byte of every value, then the next byte of every value, and
/// so on.
enum ByteStreamSplit {
  // MARK: Decoding

  /// Appends `count` numbers.
  ///
  /// - Returns: The bytes that were read.
  @discardableResult
  static func decode<Number: PlainNumber>(
    _ bytes: Span<UInt8>, count: Int, appendingTo output: inout [Number]
  ) throws(ParquetFailure) -> Int {
    let width = MemoryLayout<Number>.size
    let byteCount = try bytes.need(count, width: width)
    unsafe bytes.withMemory { source, _ in
      unsafe output.appendWritten(count) { target in
        if width == 8 {
          unsafe join8(source, count: count, into: UnsafeMutableRawPointer(target))
        } else {
          unsafe join4(source, count: count, into: UnsafeMutableRawPointer(target))
        }
      }
    }
    return byteCount
  }

  /// Appends `count` byte strings of the output's width.
  ///
  /// - Returns: The bytes that were read.
  @discardableResult
  static func decode(
    _ bytes: Span<UInt8>, count: Int, appendingTo output: inout FixedBytes
  ) throws(ParquetFailure) -> Int {
    let width = output.width
    let byteCount = try bytes.need(count, width: width)
    unsafe bytes.withMemory { source, _ in
      unsafe output.bytes.appendWritten(byteCount) { target in
        for stream in 0..<width {
          for index in 0..<count {
            unsafe target[index &* width &+ stream] =
              source.load(fromByteOffset: stream &* count &+ index, as: UInt8.self)
          }
        }
      }
    }
    return byteCount
  }

  @unsafe private static func join8(
    _ source: UnsafeRawPointer, count: Int, into target: UnsafeMutableRawPointer
  ) {
    let streams = unsafe (
      source, source + count, source + 2 * count, source + 3 * count, source + 4 * count,
      source + 5 * count, source + 6 * count, source + 7 * count
    )
    let whole = count & ~7
    var index = 0
    while index < whole {
      let words = unsafe transposed(
        streams.0.word(at: index), streams.1.word(at: index), streams.2.word(at: index),
        streams.3.word(at: index), streams.4.word(at: index), streams.5.word(at: index),
        streams.6.word(at: index), streams.7.word(at: index))
      let out = unsafe target + index &* 8
      unsafe out.storeBytes(of: words.0, toByteOffset: 0, as: UInt64.self)
      unsafe out.storeBytes(of: words.1, toByteOffset: 8, as: UInt64.self)
      unsafe out.storeBytes(of: words.2, toByteOffset: 16, as: UInt64.self)
      unsafe out.storeBytes(of: words.3, toByteOffset: 24, as: UInt64.self)
      unsafe out.storeBytes(of: words.4, toByteOffset: 32, as: UInt64.self)
      unsafe out.storeBytes(of: words.5, toByteOffset: 40, as: UInt64.self)
      unsafe out.storeBytes(of: words.6, toByteOffset: 48, as: UInt64.self)
      unsafe out.storeBytes(of: words.7, toByteOffset: 56, as: UInt64.self)
      index &+= 8
    }
    copyRest(from: whole, count: count, width: 8) { value, stream in
      unsafe target.storeBytes(
        of: source.load(fromByteOffset: stream * count + value, as: UInt8.self),
        toByteOffset: value * 8 + stream, as: UInt8.self)
    }
  }

  @unsafe private static func join4(
    _ source: UnsafeRawPointer, count: Int, into target: UnsafeMutableRawPointer
  ) {
    let streams = unsafe (source, source + count, source + 2 * count, source + 3 * count)
    for index in 0..<count {
      let low = unsafe UInt32(streams.0.load(fromByteOffset: index, as: UInt8.self))
      let second = unsafe UInt32(streams.1.load(fromByteOffset: index, as: UInt8.self))
      let third = unsafe UInt32(streams.2.load(fromByteOffset: index, as: UInt8.self))
      let high = unsafe UInt32(streams.3.load(fromByteOffset: index, as: UInt8.self))
      unsafe target.storeBytes(
        of: low | second << 8 | third << 16 | high << 24, toByteOffset: index &* 4,
        as: UInt32.self)
    }
  }

  // MARK: Encoding

  static func encode<Number: PlainNumber>(
    _ numbers: Span<Number>, appendingTo output: inout [UInt8]
  ) {
    let count = numbers.count
    let width = MemoryLayout<Number>.size
    unsafe numbers.withMemory { source, byteCount in
      unsafe output.appendWritten(byteCount) { target in
        let target = UnsafeMutableRawPointer(target)
        if width == 8 {
          unsafe split8(source, count: count, into: target)
        } else {
          copyRest(from: 0, count: count, width: width) { value, stream in
            unsafe target.storeBytes(
              of: source.load(fromByteOffset: value &* width &+ stream, as: UInt8.self),
              toByteOffset: stream &* count &+ value, as: UInt8.self)
          }
        }
      }
    }
  }

  @unsafe private static func split8(
    _ source: UnsafeRawPointer, count: Int, into target: UnsafeMutableRawPointer
  ) {
    let whole = count & ~7
    var index = 0
    while index < whole {
      let from = unsafe source + index &* 8
      let words = unsafe transposed(
        from.word(at: 0), from.word(at: 8), from.word(at: 16), from.word(at: 24),
        from.word(at: 32), from.word(at: 40), from.word(at: 48), from.word(at: 56))
      unsafe target.storeBytes(of: words.0, toByteOffset: index, as: UInt64.self)
      unsafe target.storeBytes(of: words.1, toByteOffset: count &+ index, as: UInt64.self)
      unsafe target.storeBytes(of: words.2, toByteOffset: 2 &* count &+ index, as: UInt64.self)
      unsafe target.storeBytes(of: words.3, toByteOffset: 3 &* count &+ index, as: UInt64.self)
      unsafe target.storeBytes(of: words.4, toByteOffset: 4 &* count &+ index, as: UInt64.self)
      unsafe target.storeBytes(of: words.5, toByteOffset: 5 &* count &+ index, as: UInt64.self)
      unsafe target.storeBytes(of: words.6, toByteOffset: 6 &* count &+ index, as: UInt64.self)
      unsafe target.storeBytes(of: words.7, toByteOffset: 7 &* count &+ index, as: UInt64.self)
      index &+= 8
    }
    copyRest(from: whole, count: count, width: 8) { value, stream in
      unsafe target.storeBytes(
        of: source.load(fromByteOffset: value * 8 + stream, as: UInt8.self),
        toByteOffset: stream * count + value, as: UInt8.self)
    }
  }

  @inline(__always)
  private static func copyRest(
    from first: Int, count: Int, width: Int, _ copy: (_ value: Int, _ stream: Int) -> Void
  ) {
    for stream in 0..<width {
      for value in first..<count { copy(value, stream) }
    }
  }

  private typealias Words = (
    UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64
  )

  /// Turns eight words of eight bytes so that byte `i` of word `j` becomes byte `j` of word `i`:
  /// single bytes, then pairs, then halves change places.
  @inline(__always)
  private static func transposed(
    _ a: UInt64, _ b: UInt64, _ c: UInt64, _ d: UInt64, _ e: UInt64, _ f: UInt64, _ g: UInt64,
    _ h: UInt64
  ) -> Words {
    let bytes: UInt64 = 0x00FF_00FF_00FF_00FF
    let pairs: UInt64 = 0x0000_FFFF_0000_FFFF
    let halves: UInt64 = 0x0000_0000_FFFF_FFFF
    func exchanged(_ low: UInt64, _ high: UInt64, _ mask: UInt64, _ shift: UInt64) -> (
      UInt64, UInt64
    ) {
      (low & mask | (high & mask) &<< shift, (low &>> shift) & mask | high & ~mask)
    }
    let (a1, b1) = exchanged(a, b, bytes, 8)
    let (c1, d1) = exchanged(c, d, bytes, 8)
    let (e1, f1) = exchanged(e, f, bytes, 8)
    let (g1, h1) = exchanged(g, h, bytes, 8)
    let (a2, c2) = exchanged(a1, c1, pairs, 16)
    let (b2, d2) = exchanged(b1, d1, pairs, 16)
    let (e2, g2) = exchanged(e1, g1, pairs, 16)
    let (f2, h2) = exchanged(f1, h1, pairs, 16)
    let (a3, e3) = exchanged(a2, e2, halves, 32)
    let (b3, f3) = exchanged(b2, f2, halves, 32)
    let (c3, g3) = exchanged(c2, g2, halves, 32)
    let (d3, h3) = exchanged(d2, h2, halves, 32)
    return (a3, b3, c3, d3, e3, f3, g3, h3)
  }
}
