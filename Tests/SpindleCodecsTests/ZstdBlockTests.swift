import SpindleCodecs
import SpindleCore
import Testing

@Suite("Zstandard blocks")
struct ZstdBlockTests {
  static func compress(_ input: [UInt8], level: Int32 = ZstdBlock.defaultLevel) -> [UInt8]? {
    ZstdBlock.compress(input.span, after: [], byteLimit: input.count, level: level)
  }

  @Test(
    "What compresses comes back as it was",
    arguments: [
      LZ4BlockTests.lines(10), LZ4BlockTests.lines(20_000), Array(repeating: 0, count: 64),
      Array(repeating: 0, count: 1 << 20),
      Array(repeating: 1, count: 300_000) + LZ4BlockTests.noise(100),
    ])
  func blocksRoundTrip(input: [UInt8]) throws {
    for level: Int32 in [1, 3, 9] {
      let block = try #require(Self.compress(input, level: level))
      #expect(block.count < input.count)
      let back = try ZstdBlock.decompress(block.span, byteCount: input.count)
      #expect(back == input)
    }
  }

  @Test func theResultBeginsWithThePrefixAndKeepsTheLimit() throws {
    let input = LZ4BlockTests.lines(100)
    let compressed = ZstdBlock.compress(input.span, after: [7, 8], byteLimit: input.count)
    let output = try #require(compressed)
    #expect(output.prefix(2) == [7, 8])
    let block = Array(output.dropFirst(2))
    #expect(try ZstdBlock.decompress(block.span, byteCount: input.count) == input)
    for limit in (-1...(output.count + 100)) {
      let limited = ZstdBlock.compress(input.span, after: [7, 8], byteLimit: limit)
      #expect(limited == nil || limited == output && limit >= output.count)
    }
    let withLZ4 = LZ4Block.compress(input.span, after: [7, 8], byteLimit: input.count)
    let lz4 = try #require(withLZ4)
    #expect(lz4.prefix(2) == [7, 8])
    let frame = Array(lz4.dropFirst(2))
    #expect(try LZ4Block.decompress(frame.span, byteCount: input.count) == input)
    #expect(LZ4Block.compress(input.span, after: [7, 8], byteLimit: lz4.count - 1) == nil)
  }

  @Test("What would not get smaller is left alone", arguments: [0, 1, 2, 100, 100_000])
  func incompressibleInputIsLeftAlone(count: Int) {
    #expect(Self.compress(LZ4BlockTests.noise(count)) == nil)
  }

  @Test func anotherSizeThanTheFrameStatesIsRefused() throws {
    let input = LZ4BlockTests.lines(10)
    let block = try #require(Self.compress(input))
    for byteCount in [
      input.count - 1, input.count + 1, 0, -1, .min, .max, ZstdBlock.inputByteLimit + 1,
    ] {
      #expect(throws: DecodingFailure.self, "\(byteCount)") {
        try ZstdBlock.decompress(block.span, byteCount: byteCount)
      }
    }
    let trailed = block + [0]
    #expect(throws: DecodingFailure.self) {
      try ZstdBlock.decompress(trailed.span, byteCount: input.count)
    }
    let twice = block + block
    #expect(throws: DecodingFailure.self) {
      try ZstdBlock.decompress(twice.span, byteCount: input.count)
    }
  }

  // A frame header may state any size; the few bytes behind it cannot hold a gigabyte.
  @Test func aForgedSizeIsRefusedBeforeMemoryIsTaken() {
    let claimed = 1 << 30
    var frame: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0xA0]
    frame.appendLittleEndian(UInt32(claimed))
    // One last block of 128 KiB of one repeated byte.
    let header = UInt32(1 | 1 << 1 | (128 << 10) << 3)
    for shift in [0, 8, 16] { frame.append(UInt8(truncatingIfNeeded: header >> UInt32(shift))) }
    frame.append(5)
    let text = String(
      describing: failure { try ZstdBlock.decompress(frame.span, byteCount: claimed) })
    #expect(text.contains("claims 1073741824 bytes"))
    // The same frame with its true size is valid.
    var honest = frame
    for (index, byte) in [0, 0, 2, 0].enumerated() { honest[5 + index] = UInt8(byte) }
    #expect(
      (try? ZstdBlock.decompress(honest.span, byteCount: 128 << 10))
        == [UInt8](repeating: 5, count: 128 << 10))
  }

  private func failure(_ body: () throws -> [UInt8]) -> (any Error)? {
    do {
      _ = try body()
      return nil
    } catch {
      return error
    }
  }

  @Test func truncationIsAnErrorAtEveryByte() throws {
    let input = LZ4BlockTests.lines(30) + LZ4BlockTests.noise(50)
    let block = try #require(Self.compress(input))
    for count in 0..<block.count {
      let cut = Array(block.prefix(count))
      #expect(throws: DecodingFailure.self, "\(count) bytes") {
        try ZstdBlock.decompress(cut.span, byteCount: input.count)
      }
    }
  }

  @Test("A flipped bit gives an error or bytes of the right count: a frame has no checksum")
  func flippedBitsNeverTrap() throws {
    let input = LZ4BlockTests.lines(30) + LZ4BlockTests.noise(50)
    let block = try #require(Self.compress(input))
    var errors = 0
    for bit in 0..<(block.count * 8) {
      var damaged = block
      damaged[bit / 8] ^= 1 << (bit % 8)
      do throws(DecodingFailure) {
        let result = try ZstdBlock.decompress(damaged.span, byteCount: input.count)
        #expect(result.count == input.count)
      } catch {
        errors += 1
      }
    }
    #expect(errors > 0)
  }

  @Test func aContextServesManyCallsOfManyTasks() async {
    await withTaskGroup(of: Bool.self) { group in
      for task in 0..<20 {
        group.addTask {
          for round in 1..<30 {
            let input = LZ4BlockTests.lines(round * 10 + task)
            guard let block = Self.compress(input),
              (try? ZstdBlock.decompress(block.span, byteCount: input.count)) == input
            else { return false }
            // A failure must not spoil the context for the next one.
            if ZstdBlock.compress(input.span, after: [], byteLimit: 5) != nil { return false }
          }
          return true
        }
      }
      for await isRight in group { #expect(isRight) }
    }
  }
}
