import SpindleCore
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

@Suite("Spool shutdown", .temporaryDirectory) struct SpoolShutdownTests {
  @Test("A-B-10: the shutdown makes what was stored durable, once")
  func shutdownSyncs() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    let spool = try await RocksSpool(store: store, name: "main")
    try await spool.put(spool.makeID(), [1])
    #expect(store.commitSyncCount == 0)
    try await spool.shutdown()
    #expect(store.commitSyncCount == 1)
    try await spool.shutdown()
    #expect(store.commitSyncCount == 1)
    await expectError(.closed) { try await spool.put(spool.makeID(), [1]) }
    try await store.close()
  }

  @Test("A-B-10: calls under way end before the shutdown, new ones are refused at once")
  func shutdownWaitsForCalls() async throws {
    let stalled = try await StalledSpool()
    let spool = stalled.spool
    try await stalled.setStopped(true)
    let id = spool.makeID()
    let call = stalled.store(id)
    try await eventually { stalled.clock.sleeperCount == 1 }
    let shutdown = PendingCall { try await spool.shutdown() }
    try await eventually { stalled.clock.sleeperCount == 2 }
    await expectError(.closed) { try await spool.put(spool.makeID(), [1]) }
    await expectError(.closed) { _ = try await spool.load(id) }
    #expect(!shutdown.isDone)
    try await stalled.setStopped(false)
    // Time passes slowly, so that neither runs out of its own 30 s before RocksDB takes writes.
    try await eventually {
      stalled.clock.advance(by: .milliseconds(2))
      return call.isDone && shutdown.isDone
    }
    #expect(await call.failure == nil)
    #expect(await shutdown.failure == nil)
    #expect(try await stalled.idsAfterReopening() == [id])
  }

  @Test("A-B-10: a shutdown that waits in vain says so after 30 s, and may be tried again")
  func shutdownIsBounded() async throws {
    var settings = SpoolSettings()
    settings.storeDeadline = .seconds(120)
    let stalled = try await StalledSpool(settings)
    let spool = stalled.spool
    try await stalled.setStopped(true)
    let call = stalled.store(spool.makeID())
    try await eventually { stalled.clock.sleeperCount == 1 }
    let shutdown = PendingCall { try await spool.shutdown() }
    let start = stalled.clock.now
    while !shutdown.isDone {
      try await eventually { shutdown.isDone || stalled.clock.sleeperCount == 2 }
      stalled.clock.advance(by: .milliseconds(500))
    }
    #expect((.seconds(30)...(.seconds(31))).contains(stalled.clock.now - start))
    let error = try #require(await shutdown.failure as? SpindleError)
    #expect(error.kind == .unavailable)
    #expect(error.reason == "in_flight")
    #expect(stalled.store.commitSyncCount == 1)
    call.cancel()
    #expect(await call.failure is CancellationError)
    try await spool.shutdown()
    try await stalled.store.close()
  }

  @Test("A-B-10, A-C-5: after the shutdown maintenance and the quarantine are refused as well")
  func maintenanceIsRefused() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    let spool = try await RocksSpool(store: store, name: "main")
    let id = spool.makeID()
    try await spool.put(id, [1])
    try await spool.shutdown()
    let channel = SpoolEntryChannel(capacity: 1)
    let calls: [() async throws -> Void] = [
      { try await spool.compact() }, { _ = try await spool.stats() },
      { _ = try await spool.verify() }, { _ = try await spool.adviseLowMemory() },
      { try await spool.quarantine(id, reason: "a test") },
      { _ = try await spool.quarantined(after: nil, limit: 1) },
      { _ = try await spool.isQuarantined(id) }, { try await spool.restoreQuarantined(id) },
      { try await spool.purgeQuarantined(id) }, { try await spool.clearGate() },
      { _ = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max)) },
      { _ = try spool.enumerateLeftovers(into: channel) },
    ]
    for call in calls { await expectError(.closed) { try await call() } }
    try await store.close()
  }

  @Test("A-B-10: the shutdown waits for a move to quarantine")
  func shutdownWaitsForMoves() async throws {
    let gate = SyncGate()
    let syncs = Atomic<Int>(0)
    var hooks = StoreHooks.manual
    hooks.beforeSync = {
      syncs.add(1, ordering: .relaxed)
      gate.wait()
    }
    var settings = SpoolSettings()
    settings.flush = true
    let clock = ManualClock()
    let store = try await Store.small(
      at: TestDirectory.path("store"), clock: clock, hooks: hooks)
    let spool = try await RocksSpool(store: store, name: "main", settings: settings)
    let id = spool.makeID()
    try await spool.put(id, [1])
    let before = syncs.load(ordering: .relaxed)
    gate.shut()
    let move = PendingCall { try await spool.quarantine(id, reason: "a test") }
    try await eventually { syncs.load(ordering: .relaxed) > before }
    let shutdown = PendingCall { try await spool.shutdown() }
    // It looks again every 10 ms.
    try await eventually { clock.sleeperCount == 1 }
    #expect(!shutdown.isDone)
    gate.open()
    #expect(await move.failure == nil)
    while !shutdown.isDone {
      clock.advance(by: .milliseconds(10))
      try await Task.sleep(for: .milliseconds(1))
    }
    #expect(await shutdown.failure == nil)
    try await store.close()
  }

  @Test("A-B-10: a compaction that does not end holds up the shutdown for 30 s and no longer")
  func shutdownDoesNotWaitForeverForACompaction() async throws {
    let clock = ManualClock()
    let store = try await Store.small(at: TestDirectory.path("store"), clock: clock)
    let spool = try await RocksSpool(store: store, name: "main")
    try await spool.put(spool.makeID(), [1])
    let gate = SyncGate()
    gate.shut()
    let reached = Atomic<Bool>(false)
    let compaction = PendingCall {
      _ = try await spool.compact { _ in
        reached.store(true, ordering: .releasing)
        gate.wait()
      }
    }
    try await eventually { reached.load(ordering: .acquiring) }
    let shutdown = PendingCall { try await spool.shutdown() }
    let start = clock.now
    while !shutdown.isDone {
      try await eventually { shutdown.isDone || clock.sleeperCount == 1 }
      clock.advance(by: .milliseconds(500))
    }
    #expect((.seconds(30)...(.seconds(31))).contains(clock.now - start))
    let error = try #require(await shutdown.failure as? SpindleError)
    #expect(error.kind == .unavailable)
    #expect(error.reason == "in_flight")
    gate.open()
    let failure = await compaction.failure
    // It was at its end, or ends here because the spool is closed.
    #expect(
      failure == nil || (failure as? SpindleError)?.kind == .closed,
      "\(String(describing: failure))")
    try await spool.shutdown()
    try await store.close()
  }

  @Test func aCancelledShutdownStopsWaiting() async throws {
    let stalled = try await StalledSpool()
    try await stalled.setStopped(true)
    let spool = stalled.spool
    let call = stalled.store(spool.makeID())
    try await eventually { stalled.clock.sleeperCount == 1 }
    let shutdown = PendingCall { try await spool.shutdown() }
    try await eventually { stalled.clock.sleeperCount == 2 }
    shutdown.cancel()
    #expect(await shutdown.failure is CancellationError)
    call.cancel()
    #expect(await call.failure is CancellationError)
    try await stalled.store.close()
  }

  @Test func aSpoolOfAClosedStoreShutsDown() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    let spool = try await RocksSpool(store: store, name: "main")
    try await store.close()
    try await spool.shutdown()
    let reader = try await Store.open(
      at: TestDirectory.path("store"), settings: .small, access: .reader)
    let other = try await RocksSpool(store: reader, name: "main")
    try await other.shutdown()
    try await reader.close()
  }

  @Test("With flush every store is synced, and removes unless they are left out")
  func flushSyncs() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    var settings = SpoolSettings()
    settings.flush = true
    let spool = try await RocksSpool(store: store, name: "main", settings: settings)
    let ids = [spool.makeID(), spool.makeID()]
    for (count, id) in ids.enumerated() {
      try await spool.put(id, [1])
      #expect(store.commitSyncCount == count + 1)
    }
    try await spool.remove(ids[0])
    #expect(store.commitSyncCount == 3)
    settings.syncsRemoves = false
    // Which syncs as well.
    try await spool.shutdown()
    let syncCount = store.commitSyncCount
    let lax = try await RocksSpool(store: store, name: "main", settings: settings)
    try await lax.remove(ids[1])
    #expect(store.commitSyncCount == syncCount)
    try await store.close()
  }

  @Test("A-B-4: the spool's own limit is told as too large", arguments: [10, 11])
  func payloadLimit(count: Int) async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    var settings = SpoolSettings()
    settings.payloadByteLimit = 10
    let spool = try await RocksSpool(store: store, name: "main", settings: settings)
    let payload = Bytes(repeating: 1, count: count)
    if count <= 10 {
      try await spool.put(spool.makeID(), payload)
    } else {
      let message = await expectError(.tooLarge) { try await spool.put(spool.makeID(), payload) }
      #expect(message.contains("11 bytes") && message.contains("10"))
      #expect(try await spool.allIDs().isEmpty)
    }
    try await store.close()
  }
}
