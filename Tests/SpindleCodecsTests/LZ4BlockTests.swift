import SpindleCodecs
import SpindleCore
import Testing

@Suite("LZ4 blocks")
struct LZ4BlockTests {
  static func lines(_ count: Int) -> [UInt8] {
    (0..<count).flatMap { Array("weather,origin=JFK temp=\($0 % 40) 13570\($0)\n".utf8) }
  }

  static func noise(_ count: Int) -> [UInt8] {
    var random = SeededGenerator(seed: 7)
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  }

  static func compress(_ input: [UInt8]) -> [UInt8]? {
    var output: [UInt8] = []
    return LZ4Block.compress(input.span, appendingTo: &output) ? output : nil
  }

  @Test(
    "What compresses comes back as it was",
    arguments: [
      lines(1), lines(10), lines(20_000), Array(repeating: 0, count: 13),
      Array(repeating: 0, count: 1 << 20), Array(repeating: 1, count: 64) + noise(100),
    ])
  func blocksRoundTrip(input: [UInt8]) throws {
    var output: [UInt8] = [9, 9]
    if LZ4Block.compress(input.span, appendingTo: &output) {
      #expect(output.prefix(2) == [9, 9])
      #expect(output.count - 2 < input.count)
      let block = Array(output.dropFirst(2))
      let back = try LZ4Block.decompress(block.span, byteCount: input.count)
      #expect(back == input)
    } else {
      // Too short to gain anything.
      #expect(input.count < 64)
      #expect(output == [9, 9])
    }
  }

  @Test(
    "What would not get smaller is left alone, and so is the output",
    arguments: [
      [], [1], [1, 1], noise(1), noise(100), noise(100_000),
    ] as [[UInt8]])
  func incompressibleInputIsLeftAlone(input: [UInt8]) {
    var output: [UInt8] = [1, 2, 3]
    let isCompressed = LZ4Block.compress(input.span, appendingTo: &output)
    #expect(!isCompressed)
    #expect(output == [1, 2, 3])
    #expect(Self.compress(input) == nil)
  }

  @Test func anotherSizeThanTheBlockGivesIsRefused() throws {
    let input = Self.lines(10)
    let block = try #require(Self.compress(input))
    for byteCount in [input.count - 1, input.count + 1, 1, input.count * 2] {
      #expect(throws: DecodingFailure.self) {
        try LZ4Block.decompress(block.span, byteCount: byteCount)
      }
    }
  }

  @Test(
    "Sizes beyond what a block can stand for are refused before memory is taken",
    arguments: [
      0, -1, .min, .max, LZ4Block.inputByteLimit, LZ4Block.inputByteLimit + 1, 3 * 256,
    ])
  func impossibleSizesAreRefused(byteCount: Int) {
    let block: [UInt8] = [0x10, 0x41]
    #expect(throws: DecodingFailure.self) {
      try LZ4Block.decompress(block.span, byteCount: byteCount)
    }
    let empty: [UInt8] = []
    #expect(throws: DecodingFailure.self) {
      try LZ4Block.decompress(empty.span, byteCount: byteCount)
    }
  }

  @Test func theLongestRunsAreWithinTheExpansionLimit() throws {
    for count in [1 << 16, 1 << 20, 16 << 20] {
      let input = [UInt8](repeating: 5, count: count)
      let block = try #require(Self.compress(input))
      let back = try LZ4Block.decompress(block.span, byteCount: count)
      #expect(back == input)
    }
  }

  @Test func truncationIsAnErrorAtEveryByte() throws {
    let input = Self.lines(30) + Self.noise(50)
    let block = try #require(Self.compress(input))
    for count in 0..<block.count {
      let cut = Array(block.prefix(count))
      #expect(throws: DecodingFailure.self, "\(count) bytes") {
        try LZ4Block.decompress(cut.span, byteCount: input.count)
      }
    }
  }

  @Test("A flipped bit gives an error or bytes of the right count: a block has no checksum")
  func flippedBitsNeverTrap() throws {
    let input = Self.lines(30) + Self.noise(50)
    let block = try #require(Self.compress(input))
    var errors = 0
    for bit in 0..<(block.count * 8) {
      var damaged = block
      damaged[bit / 8] ^= 1 << (bit % 8)
      do throws(DecodingFailure) {
        let result = try LZ4Block.decompress(damaged.span, byteCount: input.count)
        #expect(result.count == input.count)
      } catch {
        errors += 1
      }
    }
    #expect(errors > 0)
  }

  @Test func arbitraryBytesNeverTrap() {
    var random = SeededGenerator(seed: 99)
    for _ in 0..<20_000 {
      let block = (0..<Int(random.next() % 40)).map { _ in UInt8(truncatingIfNeeded: random.next())
      }
      let byteCount = Int(random.next() % 300)
      if let result = try? LZ4Block.decompress(block.span, byteCount: byteCount) {
        #expect(result.count == byteCount)
      }
    }
  }
}
