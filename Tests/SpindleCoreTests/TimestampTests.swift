import SpindleCore
import Testing

@Suite("Timestamps, clocks and seeded numbers")
struct TimestampTests {
  @Test func partsArePackedInTheOrderOfTime() throws {
    let stamp = try #require(Timestamp(wallMilliseconds: 0x0123_4567_89AB, counter: 0xCDEF))
    #expect(stamp.packed == 0x0123_4567_89AB_CDEF)
    #expect(stamp.wallMilliseconds == 0x0123_4567_89AB)
    #expect(stamp.counter == 0xCDEF)
    #expect(stamp.description == "\(0x0123_4567_89AB).\(0xCDEF)")
    #expect(Timestamp(packed: stamp.packed) == stamp)
  }

  @Test func timeComesBeforeTheCounter() throws {
    let early = try #require(Timestamp(wallMilliseconds: 1, counter: .max))
    let late = try #require(Timestamp(wallMilliseconds: 2, counter: 0))
    #expect(Timestamp.zero < early)
    #expect(early < late)
    #expect(!(late < late))
  }

  @Test func millisecondsBeyond48BitsAreRefused() {
    #expect(Timestamp(wallMilliseconds: 1 << 48 - 1, counter: .max)?.packed == .max)
    #expect(Timestamp(wallMilliseconds: 1 << 48, counter: 0) == nil)
    #expect(Timestamp(wallMilliseconds: .max, counter: 0) == nil)
  }

  @Test("The generator is SplitMix64: its published first numbers")
  func seededNumbersAreKnown() {
    var zero = SeededGenerator(seed: 0)
    #expect(zero.next() == 0xE220_A839_7B1D_CDAF)
    #expect(zero.next() == 0x6E78_9E6A_A1B9_65F4)
    #expect(zero.next() == 0x06C4_5D18_8009_454F)
    var other = SeededGenerator(seed: 1_234_567)
    let published: [UInt64] = [
      6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
      4_593_380_528_125_082_431, 16_408_922_859_458_223_821,
    ]
    #expect((0..<5).map { _ in other.next() } == published)
  }

  @Test func theSystemClockReadsThisCentury() async throws {
    let clock = SystemClock()
    // 2020 to 2100.
    #expect((1_577_836_800_000..<4_102_444_800_000).contains(clock.wallMilliseconds))
    let start = clock.now
    try await clock.sleep(until: start + .milliseconds(2))
    #expect(clock.now >= start + .milliseconds(2))
  }

  @Test func errorsShowTheirMessageAlone() {
    let error = SpindleError(.notFound, "no such key 7", path: "/somewhere", reason: "gone")
    #expect("\(error)" == "no such key 7")
    #expect(error.kind.description == "notFound")
    #expect(error.kind != .conflict)
    #expect(error.path == "/somewhere")
    #expect(error.reason == "gone")
  }
}
