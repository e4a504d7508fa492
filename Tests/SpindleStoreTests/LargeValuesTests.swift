import SpindleRocks
import SpindleTestKit
import Testing

@testable import SpindleStore

@Suite("Large values")
struct LargeValuesTests {
  private func mayHold(_ number: Int, _ values: LargeValues) -> Bool {
    values.mayHold(Array("\(number)".utf8).span)
  }

  private func note(_ number: Int, _ values: LargeValues, bytes: Int) {
    values.note(Array("\(number)".utf8).span, bytes: bytes)
  }

  @Test func theLastThatMemtablesCanHoldAreKnown() {
    let large = LargeValues(ColumnFamilyOptions(), .small, isOwned: true)
    // Two memtables of 64 MiB, and what overfills them.
    #expect(large.limit >= 2 * (64 << 20) / LargeValues.copyingByteLimit)
    #expect(!mayHold(0, large))
    note(0, large, bytes: LargeValues.copyingByteLimit)
    #expect(!mayHold(0, large))
    for number in 0..<large.limit * 3 {
      note(number, large, bytes: LargeValues.copyingByteLimit + 1)
      if number % 1_000 == 0 || number == large.limit * 3 - 1 {
        for known in stride(from: max(0, number - large.limit + 1), through: number, by: 501) {
          #expect(mayHold(known, large))
        }
      }
    }
    // And no more than twice as many.
    #expect((0..<large.limit).allSatisfy { !mayHold($0, large) })
    #expect(!mayHold(-1, large))
  }

  @Test func aReaderTakesAllForLarge() {
    let large = LargeValues(ColumnFamilyOptions(), .small, isOwned: false)
    #expect(mayHold(0, large))
  }
}
