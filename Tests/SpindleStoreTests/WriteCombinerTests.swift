import SpindleCore
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

/// Buffered batches that come while another is being written. A test holds the turn, as a write
/// under way does, and so decides who meets whom.
@Suite("Combined writes", .temporaryDirectory) struct WriteCombinerTests {
  private struct Fixture {
    let store: Store
    let family: StoreFamily
    let other: StoreFamily
    let combiner: WriteCombiner

    init() async throws {
      store = try await Store.small(at: TestDirectory.path("store"))
      family = try await store.family("spool:a")
      other = try await store.family("spool:b")
      combiner = try #require(store.combiner)
      #expect(combiner.begin())
    }

    func put(_ number: Int, in family: StoreFamily? = nil, bytes: Int = 64) -> Task<
      Void, any Error
    > {
      let family = family ?? self.family
      return Task { try await store.put(family, number, bytes: bytes) }
    }

    /// Starts stores, and waits until all of them wait.
    func pending(_ numbers: Range<Int>, bytes: Int = 64) async throws -> [Task<Void, any Error>] {
      let before = combiner.waitingCount
      let tasks = numbers.map { put($0, bytes: bytes) }
      try await eventually { combiner.waitingCount == before + numbers.count }
      return tasks
    }

    func numbersAfterReopening() async throws -> [Int] {
      try await store.close()
      let again = try await Store.small(at: store.path)
      let found = try await again.numbers(again.family("spool:a"))
      try await again.close()
      return found
    }
  }

  @Test func thoseWhoMeetAreWrittenTogetherAndInOrderWithWhatComesAfter() async throws {
    let fixture = try await Fixture()
    let tasks = try await fixture.pending(0..<40)
    #expect(try fixture.store.numbers(fixture.family).isEmpty)
    let bytesBefore = try #require(fixture.store.guardian).totals.logBytes
    fixture.combiner.end()
    for task in tasks { try await task.value }
    #expect(try fixture.store.numbers(fixture.family) == Array(0..<40))
    // A log record has a header of 7 bytes and a batch one of 12. Three rounds have three of them,
    // forty writes would have forty.
    let operationBytes = 1 + 1 + 1 + 8 + 1 + 64
    let written = try #require(fixture.store.guardian).totals.logBytes - bytesBefore
    #expect(Int(written) < 40 * operationBytes + 10 * 19)
    // The turn is free again: the next one writes on its own thread.
    try await eventually {
      guard fixture.combiner.begin() else { return false }
      fixture.combiner.end()
      return true
    }
    #expect(try await fixture.numbersAfterReopening() == Array(0..<40))
  }

  @Test func whoIsCancelledWhileItWaitsGetsTheOutcomeOfItsRound() async throws {
    let fixture = try await Fixture()
    let tasks = try await fixture.pending(0..<5)
    tasks[2].cancel()
    #expect(fixture.combiner.waitingCount == 5)
    fixture.combiner.end()
    for task in tasks { try await task.value }
    #expect(try await fixture.numbersAfterReopening() == Array(0..<5))
  }

  @Test func theStoresGateThatShutsMeanwhileRefusesAll() async throws {
    let fixture = try await Fixture()
    let tasks = try await fixture.pending(0..<20)
    fixture.store.health.shutForOperator(note: "maintenance")
    fixture.combiner.end()
    for task in tasks {
      let error = await refusal { try await task.value }
      #expect(error?.kind == .unavailable)
    }
    fixture.store.health.openForOperator()
    try await fixture.store.put(fixture.family, 99)
    #expect(try await fixture.numbersAfterReopening() == [99])
  }

  @Test func aPartsGateThatShutsMeanwhileRefusesThatPartAlone() async throws {
    let fixture = try await Fixture()
    let refused = fixture.put(1, in: fixture.other)
    try await eventually { fixture.combiner.waitingCount == 1 }
    let tasks = try await fixture.pending(0..<5)
    fixture.other.health.shutForOperator(note: "maintenance")
    fixture.combiner.end()
    let error = await refusal { try await refused.value }
    #expect(error?.kind == .unavailable)
    for task in tasks { try await task.value }
    #expect(try fixture.store.numbers(fixture.other).isEmpty)
    #expect(try await fixture.numbersAfterReopening() == Array(0..<5))
  }

  @Test func closingWhileSomeWaitRefusesThem() async throws {
    let fixture = try await Fixture()
    let tasks = try await fixture.pending(0..<20)
    try await fixture.store.close()
    fixture.combiner.end()
    for task in tasks {
      let error = await refusal { try await task.value }
      #expect(error?.kind == .closed)
    }
    #expect(try await fixture.numbersAfterReopening() == [])
  }

  @Test func aFailedWriteFailsAllOfItsRound() async throws {
    let fixture = try await Fixture()
    let tasks = try await fixture.pending(0..<10)
    fixture.store.guardian?.inject(.logAppend, partialBytes: 20)
    fixture.combiner.end()
    for task in tasks {
      let error = await refusal { try await task.value }
      #expect(error?.kind == .unavailable)
    }
    try await fixture.store.heal()
    try await fixture.store.put(fixture.family, 99)
    #expect(try await fixture.numbersAfterReopening() == [99])
  }

  @Test func noMoreCallersThanTheBoundWait() async throws {
    let fixture = try await Fixture()
    let bound = WriteCombiner.roundLimit * WriteCombiner.countLimit
    let tasks = try await fixture.pending(0..<bound)
    // The next ones write by themselves though somebody has the turn.
    for number in bound..<(bound + 10) { try await fixture.store.put(fixture.family, number) }
    #expect(fixture.combiner.waitingCount == bound)
    fixture.combiner.end()
    for task in tasks { try await task.value }
    #expect(try await fixture.numbersAfterReopening() == Array(0..<(bound + 10)))
  }

  @Test func noMoreBytesThanTheBoundWait() async throws {
    let fixture = try await Fixture()
    let size = 15 << 10
    let bound = WriteCombiner.roundLimit * (WriteCombiner.byteLimit / size)
    let tasks = try await fixture.pending(0..<bound, bytes: size)
    try await fixture.store.put(fixture.family, bound, bytes: size)
    #expect(fixture.combiner.waitingCount == bound)
    // A large one gains nothing from company and never waits.
    try await fixture.store.put(fixture.family, bound + 1, bytes: WriteCombiner.batchLimit)
    fixture.combiner.end()
    for task in tasks { try await task.value }
    #expect(try await fixture.numbersAfterReopening() == Array(0...(bound + 1)))
  }

  @Test func manyCallersAtOnceLoseNothingAndKeepTheOrderOfEach() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    let family = try await store.family("spool:a")
    try await withThrowingTaskGroup(of: Void.self) { group in
      for caller in 0..<64 {
        group.addTask {
          for round in 0..<200 {
            var batch = Batch()
            batch.put(family, key: numberedKey(caller), value: numberedValue(round))
            try await store.commit(batch, durability: .buffered)
            // What was acknowledged is there, and nothing older comes after it.
            let found = try await store.get(family, key: numberedKey(caller))
            #expect(found == numberedValue(round))
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(store.combiner?.waitingCount == 0)
    try await store.close()
  }
}
