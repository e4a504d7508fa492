import SpindleCore
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// A spool whose RocksDB refuses writes for as long as a test wants, on a clock that it moves.
struct StalledSpool {
  let store: Store
  let spool: RocksSpool
  let clock: ManualClock

  init(
    _ settings: SpoolSettings = SpoolSettings(), name: String = "main",
    clock: ManualClock = ManualClock(), hooks: StoreHooks = .manual
  ) async throws {
    var storeSettings = StoreSettings.small
    var family = ColumnFamilyOptions()
    family.level0CompactionTrigger = 100
    family.level0SlowdownTrigger = 200
    family.level0StopTrigger = 300
    storeSettings.familyOptions = ["spool": family]
    self.clock = clock
    store = try await Store.small(
      at: TestDirectory.path("store"), settings: storeSettings, clock: clock, hooks: hooks)
    spool = try await RocksSpool(store: store, name: name, settings: settings)
    // One table of level 0: as many as the trigger below allows.
    try await spool.putRaw([0], [0])
    let (database, columnFamily) = (store.database, spool.family.columnFamily)
    try await store.blocking { try database.flush(columnFamily) }
    var batch = Batch()
    batch.delete(spool.family, key: [0])
    try await store.commit(batch, durability: .buffered)
  }

  /// Makes RocksDB stop all writes, or take them again.
  func setStopped(_ stopped: Bool) async throws {
    try await store.setWritesStopped(stopped, by: spool.family)
  }

  /// Starts a store; the deadline counts from now.
  func store(
    _ id: SpoolID, forceSync: Bool = false, deadline: Duration? = nil
  ) -> PendingCall {
    let instant = deadline.map { clock.now + $0 }
    return PendingCall { [spool] in
      try await spool.store(id, [7], forceSync: forceSync, deadline: instant)
    }
  }

  func remove(_ id: SpoolID) -> PendingCall {
    PendingCall { [spool] in try await spool.remove(id) }
  }

  /// Moves the clock on, a millisecond at a time, until the call has ended.
  ///
  /// - Returns: How far the clock was moved.
  @discardableResult
  func wait(for call: PendingCall, sleepers: Int = 1) async throws -> Duration {
    let start = clock.now
    while true {
      try await eventually { call.isDone || clock.sleeperCount >= sleepers }
      if call.isDone { return clock.now - start }
      clock.advance(by: .milliseconds(1))
    }
  }

  /// Moves the clock while the group lane's thread, which keeps its own time between two attempts,
  /// looks at it.
  func wait(forQueued call: PendingCall, step: Duration = .milliseconds(50)) async throws {
    while !call.isDone {
      clock.advance(by: step)
      try await Task.sleep(for: .milliseconds(1))
    }
  }

  /// The messages after closing and opening anew, and five seconds later.
  func idsAfterReopening() async throws -> Set<SpoolID> {
    try await store.close()
    let again = try await Store.small(at: store.path, clock: clock)
    let spool = try await RocksSpool(store: again, name: spool.name)
    for _ in 0..<5 { clock.advance(by: .seconds(1)) }
    let ids = Set(try await spool.allIDs())
    try await again.close()
    return ids
  }
}

/// A call that runs beside the test.
final class PendingCall: Sendable {
  private let done = Atomic<Bool>(false)
  private let task = Mutex<Task<Void, any Error>?>(nil)

  init(_ body: @escaping @Sendable () async throws -> Void) {
    let task = Task { [self] in
      defer { done.store(true, ordering: .releasing) }
      try await body()
    }
    self.task.withLock { $0 = task }
  }

  var isDone: Bool { done.load(ordering: .acquiring) }
  func cancel() { task.withLock { $0 }?.cancel() }

  /// What the call threw; nil when it succeeded.
  var failure: (any Error)? {
    get async {
      guard case .failure(let error) = await task.withLock({ $0 })?.result else { return nil }
      return error
    }
  }

  var kind: SpindleError.Kind? {
    get async { await (failure as? SpindleError)?.kind }
  }
}
