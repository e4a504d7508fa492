import SpindleCore
import Testing

@testable import SpindleParquet

@Suite("Parquet bloom filters")
struct BloomFilterTests {
  static func hash(_ text: String) -> UInt64 { XXH64.hash(Array(text.utf8).span) }

  @Test func hashesAreThoseOfTheSpecification() {
    #expect(Self.hash("") == 0xEF46_DB37_51D8_E999)
    #expect(Self.hash("a") == 0xD24E_C4F1_A98C_6E5B)
    #expect(Self.hash("abc") == 0x44BC_2CF5_AD77_0999)
    #expect(
      Self.hash("Nobody inspects the spammish repetition") == 0xFBCE_A83C_8A37_8BF1)
  }

  @Test func hashesOfNumbersAreThoseOfTheirBytes() {
    var random = SeededGenerator(seed: 1)
    for _ in 0..<100 {
      let number = random.next()
      var bytes: [UInt8] = []
      bytes.appendLittleEndian(number)
      #expect(XXH64.hash(number) == XXH64.hash(bytes.span))
      let half = UInt32(truncatingIfNeeded: number)
      #expect(XXH64.hash(half) == XXH64.hash(Array(bytes.prefix(4)).span))
    }
  }

  @Test("What is in is found, what is not mostly not", arguments: [0.1, 0.01, 0.001])
  func falsePositives(rate: Double) throws {
    let count = 10_000
    var filter = BloomFilter(
      byteCount: BloomFilter.byteCount(distinctCount: count, falsePositiveRate: rate))
    for number in 0..<UInt64(count) { filter.insert(XXH64.hash(number)) }
    let back = try BloomFilter(filter.bytes.span)
    #expect(back == filter)
    for number in 0..<UInt64(count) { #expect(back.mayContain(XXH64.hash(number))) }
    let false_ = (0..<100_000).count { back.mayContain(XXH64.hash(UInt64($0 + count))) }
    // The size is rounded up, so the rate is mostly lower.
    #expect(Double(false_) < 100_000 * rate * 1.3)
  }

  @Test func sizesKeepTheBoundsOfTheFormat() {
    #expect(BloomFilter.byteCount(distinctCount: 0, falsePositiveRate: 0.01) == 32)
    #expect(BloomFilter.byteCount(distinctCount: .max, falsePositiveRate: 0.01) == 128 << 20)
    #expect(BloomFilter(byteCount: -5).bytes.count == 32)
    #expect(BloomFilter(byteCount: 33).bytes.count == 64)
    for size in [0, 31, 33, 40] {
      #expect(throws: ParquetFailure.self) {
        try BloomFilter(Array(repeating: 0, count: size).span)
      }
    }
  }
}
