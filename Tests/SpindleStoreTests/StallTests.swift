import SpindleCore
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

/// RocksDB refuses writes for a while because level 0 has more files than it may.
@Suite(.temporaryDirectory) struct StallTests {
  private struct Fixture {
    let store: Store
    let clock = ManualClock()
    let plain: StoreFamily
    let guarded: StoreFamily

    init(_ settings: StoreSettings = .small) async throws {
      var settings = settings
      var family = ColumnFamilyOptions()
      family.level0CompactionTrigger = 100
      family.level0SlowdownTrigger = 200
      family.level0StopTrigger = 300
      settings.familyOptions = ["spool": family]
      store = try await Store.small(
        at: TestDirectory.path("store"), settings: settings, clock: clock)
      plain = try await store.family("spool:a")
      guarded = try await store.family("oplog:a")
      try await store.put(plain, 1_000_000)
      try await store.flush(plain)
    }

    func setStopped(_ stopped: Bool) async throws {
      try await store.setWritesStopped(stopped, by: plain)
    }

    func put(
      _ family: StoreFamily, _ number: Int, _ durability: Durability, deadline: Duration?
    ) -> Task<Void, any Error> {
      let deadline = deadline.map { clock.now + $0 }
      return Task {
        var batch = Batch()
        batch.put(family, key: numberedKey(number), value: numberedValue(number))
        try await store.commit(batch, durability: durability, deadline: deadline)
      }
    }

    /// Everything that may be tried: each lane, each durability.
    func lanes(_ number: Int, deadline: Duration?) -> [Task<Void, any Error>] {
      [
        put(plain, number, .buffered, deadline: deadline),
        put(guarded, number, .buffered, deadline: deadline),
        put(plain, number + 1, .synced, deadline: deadline),
      ]
    }

    func reopened() async throws -> [[Int]] {
      try await store.close()
      let again = try await Store.small(at: store.path)
      let found = [
        try await again.numbers(again.family("spool:a")),
        try await again.numbers(again.family("oplog:a")),
      ]
      try await again.close()
      return found
    }
  }

  private func kinds(_ tasks: [Task<Void, any Error>]) async -> [SpindleError.Kind?] {
    var kinds: [SpindleError.Kind?] = []
    for task in tasks {
      if case .failure(let error) = await task.result {
        kinds.append((error as? SpindleError)?.kind)
      } else {
        kinds.append(nil)
      }
    }
    return kinds
  }

  @Test func theCallersDeadlineIsToldAndNothingAppearsLater() async throws {
    let fixture = try await Fixture()
    try await fixture.setStopped(true)
    let past = fixture.lanes(0, deadline: .seconds(-1))
    #expect(await kinds(past) == [.deadlineExceeded, .deadlineExceeded, .deadlineExceeded])
    let later = fixture.lanes(10, deadline: .seconds(1))
    try await eventually { fixture.clock.sleeperCount == 1 }
    // The one in the writer's hands and the one behind it.
    fixture.clock.advance(by: .seconds(2))
    #expect(await kinds(later) == [.deadlineExceeded, .deadlineExceeded, .deadlineExceeded])
    try await fixture.setStopped(false)
    try await fixture.store.put(fixture.plain, 99)
    #expect(try await fixture.reopened() == [[99, 1_000_000], []])
  }

  @Test func theStoresOwnBoundIsOverloadAlsoBehindALaterDeadline() async throws {
    var settings = StoreSettings.small
    settings.writeDeadline = .seconds(5)
    let fixture = try await Fixture(settings)
    try await fixture.setStopped(true)
    let tasks = fixture.lanes(0, deadline: nil) + fixture.lanes(10, deadline: .seconds(1 << 30))
    // The bound starts with a ticket's first refusal, whenever that is.
    let time = Task {
      while !Task.isCancelled {
        fixture.clock.advance(by: .seconds(1))
        try await Task.sleep(for: .milliseconds(1))
      }
    }
    defer { time.cancel() }
    #expect(await kinds(tasks) == Array(repeating: .overloaded, count: 6))
    try await fixture.setStopped(false)
    #expect(try await fixture.reopened() == [[1_000_000], []])
  }

  @Test func aStalledGroupIsBuiltOnceAndAnewWhenAMemberLeaves() async throws {
    let fixture = try await Fixture()
    let store = fixture.store
    try await fixture.setStopped(true)
    let start = store.groupCounts
    let first = fixture.put(fixture.guarded, 0, .buffered, deadline: nil)
    try await eventually { store.groupCounts.attempts >= start.attempts + 4 }
    #expect(store.groupCounts.records == start.records + 1)
    // These two wait behind it, and are one group when it leaves.
    let pair = [1, 2].map { fixture.put(fixture.guarded, $0, .buffered, deadline: nil) }
    try await eventually { store.waitingCommits == 2 }
    first.cancel()
    try await eventually { store.waitingCommits == 0 }
    let taken = store.groupCounts.attempts
    try await eventually { store.groupCounts.attempts >= taken + 4 }
    #expect(store.groupCounts.records == start.records + 2)
    pair[0].cancel()
    await #expect(throws: CancellationError.self) { try await pair[0].value }
    let left = store.groupCounts.attempts
    try await eventually { store.groupCounts.attempts >= left + 4 }
    #expect(store.groupCounts.records == start.records + 3)
    try await fixture.setStopped(false)
    try await pair[1].value
    #expect(try await fixture.reopened() == [[1_000_000], [2]])
  }

  @Test func writesGoOnWhenTheStallEnds() async throws {
    let fixture = try await Fixture()
    try await fixture.setStopped(true)
    let tasks = fixture.lanes(0, deadline: nil)
    try await eventually { fixture.clock.sleeperCount == 1 }
    #expect(try await fixture.store.get(fixture.plain, key: numberedKey(0)) == nil)
    try await fixture.setStopped(false)
    fixture.clock.advance(by: .milliseconds(50))
    #expect(await kinds(tasks) == [nil, nil, nil])
    #expect(fixture.store.health.unhealthyReason == nil)
    #expect(try await fixture.reopened() == [[0, 1, 1_000_000], [0]])
  }

  @Test func eachOfARoundThatMeetsAStallHasItsOwnOutcome() async throws {
    let fixture = try await Fixture()
    let combiner = try #require(fixture.store.combiner)
    try await fixture.setStopped(true)
    #expect(combiner.begin())
    let past = fixture.put(fixture.plain, 0, .buffered, deadline: .seconds(-1))
    let soon = fixture.put(fixture.plain, 1, .buffered, deadline: .seconds(1))
    let cancelled = fixture.put(fixture.plain, 2, .buffered, deadline: nil)
    let patient = fixture.put(fixture.plain, 3, .buffered, deadline: .seconds(3600))
    try await eventually { combiner.waitingCount == 4 }
    combiner.end()
    #expect(await kinds([past]) == [.deadlineExceeded])
    try await eventually { fixture.clock.sleeperCount == 3 }
    cancelled.cancel()
    await #expect(throws: CancellationError.self) { try await cancelled.value }
    fixture.clock.advance(by: .seconds(2))
    #expect(await kinds([soon]) == [.deadlineExceeded])
    try await eventually { fixture.clock.sleeperCount == 1 }
    try await fixture.setStopped(false)
    fixture.clock.advance(by: .milliseconds(50))
    #expect(await kinds([patient]) == [nil])
    #expect(try await fixture.reopened() == [[3, 1_000_000], []])
  }

  @Test func theFirstAttemptOfARoundIsMadeWhateverTheDeadlines() async throws {
    let fixture = try await Fixture()
    let combiner = try #require(fixture.store.combiner)
    #expect(combiner.begin())
    let tasks = [
      fixture.put(fixture.plain, 0, .buffered, deadline: .seconds(-1)),
      fixture.put(fixture.plain, 1, .buffered, deadline: .seconds(1)),
    ]
    try await eventually { combiner.waitingCount == 2 }
    fixture.clock.advance(by: .seconds(2))
    combiner.end()
    #expect(await kinds(tasks) == [nil, nil])
    #expect(try await fixture.reopened() == [[0, 1, 1_000_000], []])
  }

  @Test func cancelledDuringAStallStoresNothing() async throws {
    let fixture = try await Fixture()
    try await fixture.setStopped(true)
    let tasks = fixture.lanes(0, deadline: nil) + fixture.lanes(10, deadline: nil)
    try await eventually { fixture.clock.sleeperCount == 2 }
    for task in tasks { task.cancel() }
    for task in tasks {
      await #expect(throws: CancellationError.self) { try await task.value }
    }
    try await fixture.setStopped(false)
    #expect(try await fixture.reopened() == [[1_000_000], []])
  }

  @Test func aGateThatShutsEndsTheWaiting() async throws {
    let fixture = try await Fixture()
    try await fixture.setStopped(true)
    let tasks = fixture.lanes(0, deadline: nil)
    try await eventually { fixture.clock.sleeperCount == 1 }
    fixture.store.health.shutForOperator(note: "maintenance")
    fixture.clock.advance(by: .milliseconds(50))
    #expect(await kinds(tasks) == [.unavailable, .unavailable, .unavailable])
    fixture.store.health.openForOperator()
    try await fixture.setStopped(false)
    #expect(try await fixture.reopened() == [[1_000_000], []])
  }

  @Test func closingDuringAStallEndsWithTheDeadline() async throws {
    let fixture = try await Fixture()
    try await fixture.setStopped(true)
    let tasks = [
      fixture.put(fixture.guarded, 1, .buffered, deadline: .seconds(1)),
      fixture.put(fixture.plain, 1, .synced, deadline: nil),
    ]
    let closing = Task { try await fixture.store.close() }
    let time = Task {
      while !Task.isCancelled {
        fixture.clock.advance(by: .seconds(10))
        try await Task.sleep(for: .milliseconds(5))
      }
    }
    let ends = await kinds(tasks)
    #expect([.deadlineExceeded, .closed].contains(ends[0]))
    #expect([.overloaded, .closed].contains(ends[1]))
    try await closing.value
    time.cancel()
  }
}
