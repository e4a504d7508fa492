internal import Glibc
internal import SpindleCore

/// A split-block bloom filter: tells that a value is not in a column chunk, or that it may be.
///
/// A value sets one bit in each of the eight words of one block of 32 bytes. It is found by the
/// ``XXH64`` of its plain encoding, without the length of a byte string.
struct BloomFilter: Sendable, Equatable {
  /// The format's bounds for a filter's bytes.
  static let byteRange = 32...128 << 20
  private static let blockBytes = 32
  private static let wordsPerBlock = 8
  // Constants of the format.
  private static let salts: [UInt32] = [
    0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947,
    0x5c6b_fb31,
  ]

  private var words: [UInt32]

  /// An empty filter of as many bytes, cut to the format's bounds and up to a power of two.
  init(byteCount: Int) {
    var size = Self.byteRange.lowerBound
    while size < min(byteCount, Self.byteRange.upperBound) { size *= 2 }
    words = Array(repeating: 0, count: size / 4)
  }

  /// A filter from its bytes in a file.
  init(_ bytes: Span<UInt8>) throws(ParquetFailure) {
    guard Self.byteRange.contains(bytes.count), bytes.count % Self.blockBytes == 0 else {
      throw .damaged("a bloom filter of \(bytes.count) bytes", at: 0)
    }
    words = []
    unsafe bytes.withMemory { source, byteCount in
      unsafe words.appendWritten(byteCount / 4) { target in
        unsafe UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: byteCount)
      }
    }
  }

  /// The bytes that keep false positives at a rate, if all blocks were filled evenly.
  ///
  /// - Parameters:
  ///   - distinctCount: Values that will be put in.
  ///   - falsePositiveRate: Above 0 and below 1.
  static func byteCount(distinctCount: Int, falsePositiveRate: Double) -> Int {
    let bits = -8 * Double(distinctCount) / log(1 - pow(falsePositiveRate, 1.0 / 8))
    guard bits.isFinite, bits < Double(byteRange.upperBound) * 8 else {
      return byteRange.upperBound
    }
    return max(Int(bits / 8), byteRange.lowerBound)
  }

  /// The filter as it lies in a file.
  var bytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(words.count * 4)
    for word in words { bytes.appendLittleEndian(word) }
    return bytes
  }

  mutating func insert(_ hash: UInt64) {
    let block = block(of: hash)
    let key = UInt32(truncatingIfNeeded: hash)
    for word in 0..<Self.wordsPerBlock {
      words[block + word] |= 1 << ((key &* Self.salts[word]) >> 27)
    }
  }

  /// Whether the value of a hash may be there; false is certain.
  func mayContain(_ hash: UInt64) -> Bool {
    let block = block(of: hash)
    let key = UInt32(truncatingIfNeeded: hash)
    for word in 0..<Self.wordsPerBlock
    where words[block + word] & 1 << ((key &* Self.salts[word]) >> 27) == 0 {
      return false
    }
    return true
  }

  /// The first word of the block of a hash: its upper half, scaled to the number of blocks.
  private func block(of hash: UInt64) -> Int {
    Int(((hash >> 32) * UInt64(words.count / Self.wordsPerBlock)) >> 32) * Self.wordsPerBlock
  }
}
