import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

/// A failed append of the log, and the way back to a store that takes writes.
@Suite(.temporaryDirectory) struct LogCureTests {
  static let steps = [
    "quiesce", "retire", "resume", "marker", "flush-default", "check-rotation", "flush-families",
    "clear",
  ]

  private struct Injected: Error {}

  /// The store, with a step that fails as long as it is named here.
  private struct Fixture {
    let store: Store
    let guardian: WALGuard
    let plain: StoreFamily
    let guarded: StoreFamily
    let failing: Shared<String?>
    let gate = SyncGate()

    init(_ settings: StoreSettings = .small) async throws {
      let failing = Shared<String?>(nil)
      var hooks = StoreHooks.manual
      hooks.beforeSync = { [gate] in gate.wait() }
      hooks.beforeCureStepNamed = { step in if failing.value == step { throw Injected() } }
      store = try await Store.small(
        at: TestDirectory.path("store"), settings: settings, hooks: hooks)
      guardian = try #require(store.guardian)
      plain = try await store.family("spool:a")
      guarded = try await store.family("oplog:a")
      self.failing = failing
    }

    /// Lets the next append fail after a part of it was written.
    func failAppend(_ error: WALGuard.FaultError = .noSpace, partialBytes: UInt64 = 20) async {
      guardian.inject(.logAppend, error: error, partialBytes: partialBytes)
      let refused = await refusal { try await store.put(plain, 1_000_000) }
      #expect(refused?.kind == .unavailable)
      #expect(refused?.isGateRefusal == false)
      #expect(refused?.reason == (error == .noSpace ? "disk_full" : "wal_failed"))
    }

    func expectRefusals() async {
      for durability in Durability.allCases {
        for family in [plain, guarded] {
          let error = await refusal { try await store.put(family, 2_000_000, durability) }
          #expect(error?.kind == .unavailable)
        }
      }
      #expect(await refusal { try await store.synchronize() }?.kind == .unavailable)
      #expect(await refusal { _ = try await store.family("spool:new") }?.kind == .unavailable)
      #expect(store.health.unhealthyReason != nil)
    }

    /// Closed and reopened, and as a killed process leaves it, both twice.
    func expectStored(_ plainNumbers: [Int], _ guardedNumbers: [Int]) async throws {
      try await store.copyAsKilled(to: store.path + "-killed")
      try await store.close()
      for path in [store.path, store.path + "-killed"] {
        for _ in 0..<2 {
          let again = try await Store.small(at: path)
          #expect(try await again.numbers(again.family("spool:a")) == plainNumbers)
          #expect(try await again.numbers(again.family("oplog:a")) == guardedNumbers)
          try await again.close()
        }
      }
    }
  }

  @Test(arguments: [WALGuard.FaultError.noSpace, .io])
  func afterAFailedAppendTheCureTakesWritesAgain(error: WALGuard.FaultError) async throws {
    let fixture = try await Fixture()
    let store = fixture.store
    for number in 0..<50 {
      try await store.put(fixture.plain, number)
      try await store.put(fixture.guarded, number, .synced)
    }
    let events = store.events
    await fixture.failAppend(error)
    await fixture.expectRefusals()
    #expect(try await store.get(fixture.plain, key: numberedKey(7)) == numberedValue(7))
    #expect(store.health.causes.map(\.cause) == [.logFailed])
    try await store.heal()
    #expect(store.health.unhealthyReason == nil)
    try await store.put(fixture.plain, 50)
    try await store.put(fixture.guarded, 50, .synced)
    try await fixture.expectStored(Array(0...50), Array(0...50))
    var told: [String] = []
    for await event in events {
      switch event {
      case .opened: told.append("opened")
      case .gateShut(let reason, _): told.append("shut \(reason)")
      case .gateOpened(let reason): told.append("open \(reason)")
      case .logRotated(let from, let to): told.append(to > from ? "rotated" : "not rotated")
      case .closed(let clean): told.append(clean ? "clean" : "unclean")
      default: break
      }
    }
    let reason = error == .noSpace ? "disk_full" : "wal_failed"
    #expect(told == ["opened", "shut \(reason)", "rotated", "open \(reason)", "clean"])
  }

  /// `Flush` of empty memtables does nothing and says nothing: only the marker rotates the log.
  @Test func theCureWorksWhileEveryMemtableIsEmpty() async throws {
    let fixture = try await Fixture()
    for number in 0..<20 { try await fixture.store.put(fixture.plain, number) }
    try await fixture.store.flush(fixture.plain)
    await fixture.failAppend()
    try await fixture.store.heal()
    try await fixture.store.put(fixture.plain, 20)
    try await fixture.expectStored(Array(0...20), [])
  }

  @Test func theCureWorksOnAStoreThatNeverStoredAnything() async throws {
    let fixture = try await Fixture()
    await fixture.failAppend()
    try await fixture.store.heal()
    try await fixture.store.put(fixture.guarded, 1, .synced)
    try await fixture.expectStored([], [1])
  }

  @Test(arguments: steps)
  func aStepThatFailsKeepsTheGateShutAndALaterCureWorks(step: String) async throws {
    let fixture = try await Fixture()
    let store = fixture.store
    for number in 0..<50 {
      try await store.put(fixture.plain, number)
      try await store.put(fixture.guarded, number)
    }
    await fixture.failAppend()
    fixture.failing.value = step
    for _ in 0..<2 {
      let error = await refusal { try await store.heal() }
      #expect(error?.kind == .unavailable)
      #expect(error?.message.contains(step) == true)
      await fixture.expectRefusals()
    }
    #expect(try store.numbers(fixture.plain) == Array(0..<50))
    fixture.failing.value = nil
    try await store.heal()
    try await store.put(fixture.plain, 50)
    try await store.put(fixture.guarded, 50)
    try await fixture.expectStored(Array(0...50), Array(0...50))
  }

  @Test(arguments: [
    WALGuard.FaultyOperation.tableAppend, .tableSync, .tableCreate, .manifestAppend, .logCreate,
  ])
  func aDiskThatFailsDuringTheCureLosesNothing(operation: WALGuard.FaultyOperation) async throws {
    for error in [WALGuard.FaultError.noSpace, .io] {
      // A cure makes one log and several of everything else.
      for skipping in operation == .logCreate ? [UInt64(0)] : [0, 1] {
        // What RocksDB could not write to its manifest for another reason ends with the next open.
        if operation == .manifestAppend, error == .io { continue }
        let fixture = try await Fixture()
        let store = fixture.store
        for number in 0..<50 {
          try await store.put(fixture.plain, number)
          try await store.put(fixture.guarded, number)
        }
        await fixture.failAppend()
        fixture.guardian.inject(operation, skipping: skipping, count: nil, error: error)
        for _ in 0..<2 { await refusal { try await store.heal() } }
        await fixture.expectRefusals()
        #expect(try store.numbers(fixture.guarded) == Array(0..<50))
        fixture.guardian.clearFaults()
        // RocksDB names one cause at each try.
        for _ in 0..<3 where store.health.unhealthyReason != nil { try? await store.heal() }
        #expect(store.health.unhealthyReason == nil, "\(store.health.causes)")
        try await store.put(fixture.plain, 50, .synced)
        try await fixture.expectStored(Array(0...50), Array(0..<50))
        TemporaryDirectory.remove(try TestDirectory.path("store"))
        TemporaryDirectory.remove(try TestDirectory.path("store-killed"))
      }
    }
  }

  /// A manifest that failed for good cannot be cured: RocksDB stays shut until the next open.
  @Test(arguments: [WALGuard.FaultyOperation.manifestAppend, .manifestSync])
  func aFailedManifestLosesNothing(operation: WALGuard.FaultyOperation) async throws {
    let fixture = try await Fixture()
    for number in 0..<50 { try await fixture.store.put(fixture.plain, number) }
    await fixture.failAppend()
    fixture.guardian.inject(operation, error: .io)
    await refusal { try await fixture.store.heal() }
    await fixture.expectRefusals()
    fixture.guardian.clearFaults()
    // It says so at the first try, and tries no more.
    for _ in 0..<2 {
      let error = await refusal { try await fixture.store.heal() }
      #expect(error?.reason == "engine_failed")
      #expect(error?.message.contains("closed and opened again") == true)
      await fixture.expectRefusals()
    }
    #expect(
      fixture.store.health.causes.contains {
        $0.cause == .engineFailed && $0.detail.contains("closed and opened again")
      })
    try await fixture.expectStored(Array(0..<50), [])
  }

  @Test func writersThatRaceWithTheFailureLoseNothingAcknowledged() async throws {
    for round in 0..<(8 * soakFactor) {
      let fixture = try await Fixture()
      let acknowledged = Shared<[[Int]]>([[], []])
      await withTaskGroup(of: Void.self) { group in
        for task in 0..<8 {
          group.addTask {
            let family = task % 2 == 0 ? fixture.plain : fixture.guarded
            for turn in 0..<200 {
              let number = turn * 8 + task
              let durability: Durability = task < 4 ? .buffered : .synced
              do {
                try await fixture.store.put(family, number, durability)
                acknowledged.update { $0[task % 2].append(number) }
              } catch {
                #expect((error as? SpindleError)?.kind == .unavailable, "\(error)")
                await Task.yield()
              }
            }
          }
        }
        group.addTask {
          for turn in 0..<3 {
            fixture.guardian.inject(
              .logAppend, skipping: UInt64(round * 7 + turn * 20),
              partialBytes: UInt64((round * 13) % 60))
            for _ in 0..<2000 where fixture.store.health.unhealthyReason == nil {
              await Task.yield()
            }
            for _ in 0..<100 where fixture.store.health.unhealthyReason != nil {
              try? await fixture.store.heal()
            }
            #expect(fixture.store.health.unhealthyReason == nil)
          }
        }
      }
      try await fixture.store.copyAsKilled(to: fixture.store.path + "-killed")
      try await fixture.store.close()
      for path in [fixture.store.path, fixture.store.path + "-killed"] {
        let again = try await Store.small(at: path)
        for (index, name) in ["spool:a", "oplog:a"].enumerated() {
          let found = Set(try await again.numbers(again.family(name)))
          let lost = Set(acknowledged.value[index]).subtracting(found)
          #expect(lost.isEmpty, "round \(round): \(lost.sorted().prefix(10))")
        }
        try await again.close()
        TemporaryDirectory.remove(path)
      }
    }
  }

  @Test func aFailedSyncShutsTheGateUntilTheNextOpen() async throws {
    let fixture = try await Fixture()
    let store = fixture.store
    for number in 0..<20 { try await store.put(fixture.plain, number, .synced) }
    try await store.put(fixture.plain, 20)
    fixture.guardian.inject(.logSync, error: .io)
    let error = await refusal { try await store.put(fixture.guarded, 1, .synced) }
    #expect(error?.kind == .unavailable)
    #expect(error?.reason == "wal_sync_failed")
    await fixture.expectRefusals()
    fixture.guardian.clearFaults()
    let cure = await refusal { try await store.heal() }
    #expect(cure?.reason == "wal_sync_failed")
    try await store.checkHealth()
    await fixture.expectRefusals()
    #expect(try store.numbers(fixture.plain) == Array(0...20))
    try await store.close()
    let again = try await Store.small(at: store.path)
    #expect(!again.recovery.wasClean)
    #expect(try await again.numbers(again.family("spool:a")) == Array(0...20))
    try await again.put(again.family("spool:a"), 21, .synced)
    try await again.close()
  }

  /// A sync that is refused because an append failed meanwhile is no failed sync: the store heals.
  @Test func aSyncBehindAFailedAppendIsCurable() async throws {
    let fixture = try await Fixture()
    let store = fixture.store
    fixture.gate.shut()
    let syncing = Task { try await store.put(fixture.plain, 1, .synced) }
    try await eventually { try await store.get(fixture.plain, key: numberedKey(1)) != nil }
    await fixture.failAppend()
    fixture.gate.open()
    let error = await refusal { try await syncing.value }
    #expect(error?.reason == "disk_full")
    await refusal { try await store.put(fixture.plain, 3, .synced) }
    try await store.heal()
    try await store.put(fixture.plain, 4, .synced)
    try await store.close()
    let again = try await Store.small(at: store.path)
    #expect(try await again.numbers(again.family("spool:a")) == [1, 4])
    try await again.close()
  }

  @Test func theMonitorHealsByItself() async throws {
    var settings = StoreSettings.small
    settings.healthInterval = .milliseconds(10)
    let store = try await Store.open(at: TestDirectory.path("store"), settings: settings)
    let family = try await store.family("spool:a")
    try await store.put(family, 1)
    store.guardian?.inject(.logAppend, partialBytes: 5)
    await refusal { try await store.put(family, 2) }
    try await eventually { store.health.unhealthyReason == nil }
    try await store.put(family, 3)
    store.guardian?.inject(.tableAppend, error: .io)
    _ = try? await store.flush(family)
    try await eventually { (try? await store.put(family, 4)) != nil }
    #expect(try store.numbers(family) == [1, 3, 4])
    try await store.close()
  }

  @Test func aFailedFlushShutsTheGateAndHeals() async throws {
    let fixture = try await Fixture()
    let store = fixture.store
    for number in 0..<20 { try await store.put(fixture.plain, number) }
    fixture.guardian.inject(.tableAppend, count: nil, error: .noSpace)
    await #expect(throws: RocksError.self) { try await store.flush(fixture.plain) }
    try await store.checkHealth()
    await fixture.expectRefusals()
    fixture.guardian.clearFaults()
    try await store.heal()
    try await store.put(fixture.plain, 20)
    try await fixture.expectStored(Array(0...20), [])
  }
}
