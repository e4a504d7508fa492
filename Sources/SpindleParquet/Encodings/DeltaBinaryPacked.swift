internal import SpindleCore

/// DELTA_BINARY_PACKED: the first number, then the differences in blocks, each packed with the
/// width that its largest needs. Differences wrap around at the width of the numbers. Some writers
/// take 64 bits for those of 32-bit numbers, signed or not, and must then come to such numbers.
enum DeltaBinaryPacked {
  typealias Number = FixedWidthInteger & SignedInteger & BitwiseCopyable

  // MARK: Decoding

  /// Appends `count` numbers, which must be all that are encoded.
  ///
  /// - Returns: The bytes that were read.
  @discardableResult
  static func decode<N: Number>(
    _ bytes: Span<UInt8>, count: Int, appendingTo output: inout [N]
  ) throws(ParquetFailure) -> Int {
    var offset = 0
    let blockSize = try bytes.readVarint(at: &offset, bitLimit: 31)
    let miniblocks = Int(try bytes.readVarint(at: &offset, bitLimit: 31))
    let total = try bytes.readVarint(at: &offset)
    let first = try bytes.readZigzag(at: &offset)
    guard first >= N.min, first <= N.Magnitude.max else { throw tooWide(N.self) }
    guard total == UInt64(count) else {
      throw .damaged("\(total) delta-encoded numbers where \(count) are expected", at: 0)
    }
    guard count > 0 else { return offset }
    guard miniblocks > 0, Int(blockSize) % miniblocks == 0, blockSize > 0,
      Int(blockSize) / miniblocks % 8 == 0
    else {
      throw .damaged("blocks of \(blockSize) numbers in \(miniblocks) miniblocks", at: 0)
    }
    let perMiniblock = Int(blockSize) / miniblocks
    try unsafe bytes.withMemory { (source, byteCount) throws(ParquetFailure) in
      try unsafe output.appendWritten(count) { (target) throws(ParquetFailure) in
        unsafe target[0] = N(truncatingIfNeeded: first)
        var last = first
        var filled = 1
        while filled < count {
          let least = try bytes.readZigzag(at: &offset)
          let widths = offset
          guard miniblocks <= byteCount - offset else {
            throw .damaged("the widths of \(miniblocks) miniblocks are cut off", at: widths)
          }
          offset += miniblocks
          for miniblock in 0..<miniblocks where filled < count {
            let width = unsafe Int(source.load(fromByteOffset: widths + miniblock, as: UInt8.self))
            let taken = min(perMiniblock, count - filled)
            guard width <= 64, BitPacking.byteCount(taken, width: width) <= byteCount - offset
            else {
              throw .damaged("a miniblock of width \(width) is cut off", at: widths + miniblock)
            }
            let start = unsafe target + filled
            if width <= N.bitWidth, N(exactly: least) != nil {
              unsafe BitPacking.unpack(
                source + offset, byteCount: byteCount - offset, width: width, count: taken
              ) { index, delta in
                last = last &+ least &+ Int64(bitPattern: delta)
                unsafe start[index] = N(truncatingIfNeeded: last)
              }
            } else {
              var isTooWide = false
              unsafe BitPacking.unpack(
                source + offset, byteCount: byteCount - offset, width: width, count: taken
              ) { index, delta in
                last = last &+ least &+ Int64(bitPattern: delta)
                if last < N.min || last > N.Magnitude.max { isTooWide = true }
                unsafe start[index] = N(truncatingIfNeeded: last)
              }
              guard !isTooWide else { throw tooWide(N.self) }
            }
            filled += taken
            // Some writers leave out the filling of the last miniblock.
            offset += min(perMiniblock / 8 * width, byteCount - offset)
          }
        }
      }
    }
    return offset
  }

  private static func tooWide<N: Number>(_ type: N.Type) -> ParquetFailure {
    .damaged("a delta-encoded number has more than \(N.bitWidth) bits", at: 0)
  }

  // MARK: Encoding

  // What other writers take, too.
  private static let blockSize = 128
  private static let miniblockSize = 32

  /// Appends numbers.
  static func encode<N: Number>(_ numbers: Span<N>, appendingTo output: inout [UInt8])
  where N.Magnitude: BitwiseCopyable {
    output.appendVarint(UInt64(blockSize))
    output.appendVarint(UInt64(blockSize / miniblockSize))
    output.appendVarint(UInt64(numbers.count))
    output.appendZigzag(numbers.isEmpty ? 0 : Int64(numbers[0]))
    unsafe withUnsafeTemporaryAllocation(of: N.Magnitude.self, capacity: blockSize) { deltas in
      unsafe numbers.withUnsafeBufferPointer { numbers in
        for start in stride(from: 1, to: numbers.count, by: blockSize) {
          unsafe encode(
            numbers, start..<min(start + blockSize, numbers.count), deltas.baseAddress!, &output)
        }
      }
    }
  }

  /// Appends one block.
  ///
  /// - Parameter deltas: Memory for as many numbers as the block has.
  @unsafe @inline(__always)
  private static func encode<N: Number>(
    _ numbers: UnsafeBufferPointer<N>, _ range: Range<Int>,
    _ deltas: UnsafeMutablePointer<N.Magnitude>, _ output: inout [UInt8]
  ) where N.Magnitude: BitwiseCopyable {
    var least = N.max
    for index in range {
      let delta = unsafe numbers[index] &- numbers[index &- 1]
      unsafe deltas[index &- range.lowerBound] = N.Magnitude(truncatingIfNeeded: delta)
      least = min(least, delta)
    }
    output.appendZigzag(Int64(least))
    let subtracted = N.Magnitude(truncatingIfNeeded: least)
    let widths = output.count
    output.append(contentsOf: repeatElement(0, count: blockSize / miniblockSize))
    for start in stride(from: 0, to: range.count, by: miniblockSize) {
      let count = min(miniblockSize, range.count - start)
      var bits: N.Magnitude = 0
      for index in start..<start + count {
        let delta = unsafe deltas[index] &- subtracted
        unsafe deltas[index] = delta
        bits |= delta
      }
      let width = BitPacking.width(of: UInt64(bits))
      output[widths + start / miniblockSize] = UInt8(width)
      unsafe BitPacking.pack(
        deltas + start, count: count, padded: miniblockSize, width: width, appendingTo: &output)
    }
  }
}
