import Glibc
import SpindleCore
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// Lets the syncs of a store begin one by one, and notes what each finds stored.
private final class SyncSteps: Sendable {
  private struct State {
    var seen: [Set<Int>] = []
    var allowed = 0
  }
  private let state = Mutex(State())

  /// How many syncs began or wait to begin.
  var count: Int { state.withLock { $0.seen.count } }
  /// What was stored when a sync began, in the order of the syncs.
  var seen: [Set<Int>] { state.withLock { $0.seen } }

  /// Lets the first `count` syncs pass, those to come among them.
  func allow(_ count: Int) { state.withLock { $0.allowed = count } }

  /// For ``StoreHooks/beforeSync``: blocks the calling thread until its sync is allowed.
  func begin(seeing numbers: Set<Int>) {
    let number = state.withLock { state in
      state.seen.append(numbers)
      return state.seen.count
    }
    while state.withLock({ $0.allowed < number }) { usleep(200) }
  }
}

/// A store whose syncs a test holds, and the callers that wait in it.
private struct SteppedStore {
  let store: Store
  let family: StoreFamily
  let steps = SyncSteps()
  /// The numbers whose commit returned.
  let done = Shared<Set<Int>>([])

  private struct Observed {
    weak var store: Store?
    weak var family: StoreFamily?
  }

  init(
    at path: String, settings: StoreSettings = .small, clock: any StoreClock = SystemClock()
  ) async throws {
    // Weak: the store holds the hook.
    let observed = Shared(Observed())
    var hooks = StoreHooks.manual
    hooks.beforeSync = { [steps] in
      let observed = observed.value
      guard let store = observed.store, let family = observed.family else {
        return steps.begin(seeing: [])
      }
      steps.begin(seeing: Set((try? store.numbers(family)) ?? []))
    }
    store = try await Store.small(at: path, settings: settings, clock: clock, hooks: hooks)
    family = try await store.family("spool:a")
    observed.value = Observed(store: store, family: family)
  }

  func put(_ number: Int) -> Task<Void, any Error> {
    Task { [store, family, done] in
      try await store.put(family, number, .synced)
      done.update { _ = $0.insert(number) }
    }
  }

  func isStored(_ number: Int) async throws -> Bool {
    try await store.get(family, key: numberedKey(number)) != nil
  }

  /// Puts a number and waits until it is written, which the sync under way does not keep it from.
  func write(_ number: Int) async throws -> Task<Void, any Error> {
    let task = put(number)
    try await eventually { try await isStored(number) }
    return task
  }

  /// Has 0 synced by the commit thread, because it is alone, and holds the syncer in the second
  /// sync, that of 1 and 2.
  func holdSyncer() async throws -> [Task<Void, any Error>] {
    let alone = put(0)
    try await eventually { steps.count == 1 }
    let pair = [put(1), put(2)]
    try await eventually { store.waitingCommits == 2 }
    steps.allow(1)
    try await alone.value
    try await eventually { steps.count == 2 }
    #expect(store.waitingCommits == 0)
    return pair
  }
}

@Suite(.temporaryDirectory) struct LogSyncerTests {
  @Test func oneSyncCoversEveryGroupWrittenBeforeItBegan() async throws {
    let stepped = try await SteppedStore(at: TestDirectory.path("store"))
    let pair = try await stepped.holdSyncer()
    // Three groups, written while the sync of the pair is under way.
    var later: [Task<Void, any Error>] = []
    for number in 3...5 { later.append(try await stepped.write(number)) }
    #expect(stepped.done.value == [0])
    stepped.steps.allow(2)
    for task in pair { try await task.value }
    try await eventually { stepped.steps.count == 3 }
    #expect(stepped.done.value == [0, 1, 2])
    stepped.steps.allow(3)
    for task in later { try await task.value }
    #expect(stepped.done.value == Set(0...5))
    #expect(stepped.steps.seen == [[0], [0, 1, 2], Set(0...5)])
    #expect(stepped.store.commitSyncCount == 3)
    // Alone again: the group before it had company, so this one goes the same way.
    stepped.steps.allow(100)
    try await stepped.put(6).value
    try await stepped.store.close()
  }

  /// No order of threads may let a caller go before a sync that began after its write.
  @Test func everyCallerReturnsAfterASyncThatBeganAfterItsWrite() async throws {
    let stepped = try await SteppedStore(at: TestDirectory.path("store"))
    stepped.steps.allow(.max)
    await withThrowingTaskGroup(of: Void.self) { group in
      for task in 0..<32 {
        group.addTask {
          for round in 0..<10 {
            let number = task * 10 + round
            try await stepped.store.put(stepped.family, number, .synced)
            #expect(stepped.steps.seen.contains { $0.contains(number) })
          }
        }
      }
    }
    #expect(try stepped.store.numbers(stepped.family) == Array(0..<320))
    #expect(stepped.store.commitSyncCount < 320)
    try await stepped.store.close()
  }

  @Test func aFailedSyncFailsEveryGroupThatWaits() async throws {
    let path = try TestDirectory.path("store")
    let stepped = try await SteppedStore(at: path)
    let store = stepped.store
    var waiting = try await stepped.holdSyncer()
    for number in 3...5 { waiting.append(try await stepped.write(number)) }
    // Only the sync of the first two fails; nothing behind it may be acknowledged all the same.
    store.guardian?.inject(.logSync, error: .io)
    stepped.steps.allow(.max)
    for task in waiting {
      let error = await refusal { try await task.value }
      #expect(error?.kind == .unavailable)
      #expect(error?.reason == "wal_sync_failed")
    }
    #expect(stepped.done.value == [0])
    store.guardian?.clearFaults()
    for durability in [Durability.synced, .buffered] {
      let error = await refusal { try await store.put(stepped.family, 6, durability) }
      #expect(error?.reason == "wal_sync_failed")
    }
    #expect(await refusal { try await store.heal() }?.reason == "wal_sync_failed")
    try await store.close()
    let again = try await Store.small(at: path)
    #expect(!again.recovery.wasClean)
    #expect(try await again.numbers(again.family("spool:a")).first == 0)
    try await again.close()
  }

  /// The cure writes everything to tables, so groups that wait for a sync meanwhile are durable.
  @Test func groupsThatWaitWhileTheLogIsReplacedAreStored() async throws {
    let path = try TestDirectory.path("store")
    let stepped = try await SteppedStore(at: path)
    let store = stepped.store
    var waiting = try await stepped.holdSyncer()
    waiting.append(try await stepped.write(3))
    store.guardian?.inject(.logAppend, partialBytes: 20)
    await refusal { try await store.put(stepped.family, 4) }
    try await store.heal()
    stepped.steps.allow(.max)
    for task in waiting { try await task.value }
    try await stepped.put(5).value
    try await store.close()
    let again = try await Store.small(at: path)
    #expect(try await again.numbers(again.family("spool:a")) == [0, 1, 2, 3, 5])
    try await again.close()
  }

  @Test func callersThatWaitForASyncCountAgainstTheBound() async throws {
    var settings = StoreSettings.small
    settings.groupQueueLimit = 5
    let clock = ManualClock()
    let stepped = try await SteppedStore(
      at: TestDirectory.path("store"), settings: settings, clock: clock)
    var waiting = try await stepped.holdSyncer()
    for number in 3...5 { waiting.append(try await stepped.write(number)) }
    let refused = stepped.put(6)
    try await eventually { clock.sleeperCount == 1 }
    clock.advance(by: .seconds(31))
    #expect(await refusal { try await refused.value }?.kind == .overloaded)
    #expect(try await stepped.isStored(6) == false)
    stepped.steps.allow(.max)
    for task in waiting { try await task.value }
    try await stepped.put(7).value
    #expect(try stepped.store.numbers(stepped.family) == [0, 1, 2, 3, 4, 5, 7])
    try await stepped.store.close()
  }

  @Test func closeWritesAndSyncsWhatWaitsInBothQueues() async throws {
    let path = try TestDirectory.path("store")
    var settings = StoreSettings.small
    settings.groupByteLimit = 200
    var options = ColumnFamilyOptions()
    options.level0CompactionTrigger = 100
    options.level0SlowdownTrigger = 200
    options.level0StopTrigger = 300
    settings.familyOptions = ["spool": options]
    let stepped = try await SteppedStore(at: path, settings: settings)
    let store = stepped.store
    try await store.put(stepped.family, 100)
    try await store.flush(stepped.family)
    var waiting = try await stepped.holdSyncer()
    for number in 3...4 { waiting.append(try await stepped.write(number)) }
    // RocksDB refuses writes: the commit thread holds one group, of two at most, and the queue
    // fills behind it.
    try await setStop(stepped, at: 1)
    let queued = (5...9).map { stepped.put($0) }
    try await eventually { store.waitingCommits >= 3 }
    async let closing: Void = store.close()
    try await eventually { store.isClosed }
    try await setStopWhileClosing(stepped, at: 300)
    stepped.steps.allow(.max)
    for task in waiting { try await task.value }
    // Whoever came after the close began is refused.
    for task in queued {
      if case .failure(let error) = await task.result {
        #expect((error as? SpindleError)?.kind == .closed)
      }
    }
    try await closing
    #expect(stepped.done.value.isSuperset(of: 0...4))
    #expect(stepped.done.value.count >= 5 + 3)
    let again = try await Store.small(at: path)
    #expect(again.recovery.wasClean)
    let expected = stepped.done.value.sorted() + [100]
    #expect(try await again.numbers(again.family("spool:a")) == expected)
    try await again.close()
  }

  private func setStop(_ stepped: SteppedStore, at files: Int) async throws {
    try await stepped.store.blocking { try Self.setStop(stepped, files) }
  }

  /// A store that closes lends its threads no more.
  private func setStopWhileClosing(_ stepped: SteppedStore, at files: Int) async throws {
    try await Task.detached { try Self.setStop(stepped, files) }.value
  }

  private static func setStop(_ stepped: SteppedStore, _ files: Int) throws {
    try stepped.store.database.setOptions(
      [
        "level0_slowdown_writes_trigger": String(files),
        "level0_stop_writes_trigger": String(files),
      ], of: stepped.family.columnFamily)
  }
}
