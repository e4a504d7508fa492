import SpindleCore
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// What a failed half leaves, and how it is found and removed.
@Suite("Paired spool, failures")
struct PairedSpoolFailureTests {
  /// The wall time of a place that opens its pair, years after the ids of ``numberedID(_:)``.
  private let opened: UInt64 = 1_700_000_000_000
  private let hour: UInt64 = 3_600_000

  // MARK: Failed stores and removes

  @Test("A-T-1: in one store a failed store leaves neither half, now and after a restart")
  func aFailedBatchStoresNothing() async throws {
    try await withPlace { (place) async throws in
      try await place.withPair(.oneStore) { (fixture) async throws in
        try await fixture.put(1)
        fixture.store.guardian?.inject(.logAppend, partialBytes: 20)
        await expectError(.unavailable) { try await fixture.put(2) }
        await expectError(.unavailable) { try await fixture.pair.remove(numberedID(1)) }
        try await fixture.expect([1])
        try await fixture.store.heal()
        try await fixture.put(3)
      }
      try await place.withPair(.oneStore) { try await $0.expect([1, 3]) }
    }
  }

  @Test("A-T-1: data stored, meta failed: data is removed")
  func aFailedMetaTakesTheBodyWithIt() async throws {
    try await withPlace { (place) async throws in
      try await place.withPair(.apart) { (fixture) async throws in
        try await fixture.put(1)
        fixture.meta.fail(.store)
        let message = await expectError(.unavailable) { try await fixture.put(2) }
        #expect(message == "a test refuses")
        try await fixture.expect([1])
        #expect(try await fixture.pair.sweepOrphans(olderThan: .zero).pendingRollbacks == 0)
      }
      try await place.withPair(.apart) { try await $0.expect([1]) }
    }
  }

  @Test("A-T-1: meta and the rollback failed: data is removed as soon as that works")
  func aFailedRollbackIsTriedAgain() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      fixture.meta.fail(.store)
      fixture.data.fail(.remove)
      await expectError(.unavailable) { try await fixture.put(1) }
      #expect(try await fixture.metas().isEmpty)
      #expect(try await fixture.bodies() == [numberedID(1)])
      // Still failing.
      try? await fixture.pair.cleanup()
      #expect(try await fixture.pair.sweepOrphans(dryRun: true).pendingRollbacks == 1)
      fixture.data.heal()
      // Younger than any limit, and known all the same.
      let sweep = try await fixture.pair.sweepOrphans(olderThan: .seconds(1 << 45))
      #expect(sweep.examined == 0 && sweep.pendingRollbacks == 0)
      #expect(try await fixture.bodies().isEmpty)
    }
  }

  @Test("A-T-1: a rollback never removes the body of a message that was stored since")
  func aRollbackLooksAgain() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      fixture.meta.fail(.store)
      fixture.data.fail(.remove)
      await expectError(.unavailable) { try await fixture.put(1) }
      fixture.meta.heal()
      try await fixture.put(1)
      fixture.data.heal()
      try await fixture.pair.cleanup()
      try await fixture.expect([1])
    }
  }

  @Test("A-T-1: data failed: meta is absent on return and after a restart")
  func aFailedBodyStoresNoMeta() async throws {
    try await withPlace { (place) async throws in
      try await place.withPair(.apart) { (fixture) async throws in
        fixture.data.fail(.store)
        await expectError(.unavailable) { try await fixture.put(1) }
        // Stored, and failed all the same, as when a sync fails.
        fixture.data.heal()
        fixture.data.after(.store) { _ in throw SpindleError(.unavailable, "a test refuses") }
        await expectError(.unavailable) { try await fixture.put(2) }
        #expect(try await fixture.metas().isEmpty)
        try await fixture.pair.cleanup()
        try await fixture.expect([])
      }
      try await place.withPair(.apart) { try await $0.expect([]) }
    }
  }

  @Test("A-T-2: a remove whose second half fails: no redelivery, and the body goes later")
  func aFailedBodyRemoval() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      try await fixture.put(1)
      fixture.data.fail(.remove)
      try await fixture.pair.remove(numberedID(1))
      #expect(try await fixture.metas().isEmpty)
      #expect(try await fixture.bodies() == [numberedID(1)])
      fixture.data.heal()
      try await fixture.pair.cleanup()
      #expect(try await fixture.bodies().isEmpty)
    }
  }

  @Test("A remove whose first half fails changes nothing")
  func aFailedMetaRemoval() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      try await fixture.put(1)
      fixture.meta.fail(.remove)
      await expectError(.unavailable) { try await fixture.pair.remove(numberedID(1)) }
      try await fixture.expect([1])
    }
  }

  // MARK: Sweeps

  @Test("A sweep removes old bodies without meta and nothing else", arguments: PairShape.allCases)
  func sweeping(shape: PairShape) async throws {
    try await withNewPair(shape) { (fixture) async throws in
      let pair = fixture.pair
      for number in 0..<2_100 where number % 7 == 0 { try await fixture.put(number) }
      let old = [3, 2_000, 2_099].map { numberedID($0) }
      let young = id(atMilliseconds: opened - hour + 1)
      for id in old + [young] { try await fixture.dataSpool.put(id, [1]) }
      // Damaged ones are no message either.
      try await fixture.dataSpool.putRaw(numberedID(4).bytes, [1, 2, 3])
      let expected = ([old[0], numberedID(4)] + old[1...])
      var dry = try await pair.sweepOrphans(dryRun: true)
      #expect(dry.ids == expected)
      #expect(dry.orphans == 4 && dry.removed == 0 && dry.examined == 304)
      #expect(try await fixture.dataSpool.load(old[0]) == [1])
      let done = try await pair.sweepOrphans()
      dry.removed = 4
      #expect(done == dry)
      #expect(try await fixture.bodies() == fixture.metas() + [young])
      #expect(try await pair.sweepOrphans().orphans == 0)
      // An hour and a tick later it is old.
      fixture.place.wall.set(opened + 2)
      #expect(try await pair.sweepOrphans().ids == [young])
      try await fixture.expect((0..<2_100).filter { $0 % 7 == 0 })
      await expectError(.invalidArgument) { try await pair.sweepOrphans(olderThan: .seconds(-1)) }
    }
  }

  @Test(
    "A body whose id is far ahead of the clock is swept, and moves no message behind it",
    arguments: PairShape.allCases)
  func sweepingTheFuture(shape: PairShape) async throws {
    try await withPlace { (place) async throws in
      let now = place.wall.wallMilliseconds
      let (year, day): (UInt64, UInt64) = (365 * 24 * hour, 24 * hour)
      let far = id(atMilliseconds: now + 5 * year)
      let near = id(atMilliseconds: now + day)
      try await place.withPair(shape) { (fixture) async throws in
        try await fixture.dataSpool.put(far, [1])
      }
      try await place.withPair(shape) { (fixture) async throws in
        let made = fixture.dataSpool.makeID()
        #expect(made.created == SpoolInstant(unixMilliseconds: now))
        for id in [made, near] { try await fixture.dataSpool.put(id, [1]) }
        #expect(try await fixture.pair.sweepOrphans().ids == [far])
        fixture.place.wall.set(now + hour + 1)
        #expect(try await fixture.pair.sweepOrphans().ids == [made])
        // Less far ahead is young until then.
        #expect(try await fixture.pair.sweepOrphans(olderThan: .zero).ids == [])
        fixture.place.wall.set(now + day + 1)
        #expect(try await fixture.pair.sweepOrphans(olderThan: .zero).ids == [near])
      }
    }
  }

  @Test("A body that cannot be removed keeps no other from being swept")
  func bodiesThatCannotBeRemoved() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      let ids = (1...3).map { numberedID($0) }
      for id in ids { try await fixture.dataSpool.put(id, [1]) }
      fixture.data.before(.remove) { id in
        if id == ids[0] { throw SpindleError(.io, "a test cannot remove") }
      }
      let sweep = try await fixture.pair.sweepOrphans(olderThan: .zero)
      #expect(sweep.orphans == 3 && sweep.removed == 2 && sweep.unjudged == 0)
      #expect(sweep.firstProblem?.contains("a test cannot remove") == true)
      #expect(try await fixture.bodies() == [ids[0]])
      fixture.data.heal()
      try await fixture.pair.cleanup()
      #expect(try await fixture.bodies() == [])
    }
  }

  @Test("A meta that cannot be read stops no sweep, keeps its body, and can be removed")
  func unreadableMetas() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      for number in 1...2 { try await fixture.put(number) }
      try await fixture.dataSpool.put(numberedID(3), [1])
      fixture.meta.before(.load) { id in
        if id == numberedID(1) { throw SpindleError(.io, "a test cannot read") }
      }
      let pair = fixture.pair
      let dry = try await pair.sweepOrphans(dryRun: true)
      #expect(dry.examined == 3 && dry.unjudged == 1 && dry.ids == [numberedID(3)])
      #expect(dry.firstProblem?.contains("a test cannot read") == true)
      #expect(dry.pendingRollbacks == 0)
      let message = await expectError(.io) { try await pair.cleanup() }
      #expect(message.contains("1 bodies") && message.contains("a test cannot read"))
      #expect(try await fixture.bodies() == [numberedID(1), numberedID(2)])
      #expect(try await pair.sweepOrphans().pendingRollbacks == 1)
      try await pair.remove(numberedID(1))
      #expect(try await fixture.metas() == [numberedID(2)])
      fixture.meta.heal()
      try await pair.cleanup()
      try await fixture.expect([2])
    }
  }

  @Test("A sweep leaves a store that is under way alone, however old its id")
  func sweepingBesideAStore() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      let gate = TestGate()
      fixture.meta.before(.store) { _ in await gate.pass() }
      let storing = Task { try await fixture.put(1) }
      await gate.arrived()
      #expect(try await fixture.bodies() == [numberedID(1)])
      let sweep = try await fixture.pair.sweepOrphans(olderThan: .zero)
      #expect(sweep.examined == 1 && sweep.orphans == 0)
      gate.open()
      try await storing.value
      try await fixture.expect([1])
    }
  }

  @Test("A sweep looks again when it has the turn")
  func sweepingBehindAStore() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      try await fixture.dataSpool.put(numberedID(1), [1])
      // The message is stored whole between the sweep's first look and its turn.
      fixture.meta.before(.load) { _ in
        fixture.meta.before(.load, nil)
        fixture.meta.after(.load, nil)
        do {
          _ = try await fixture.metaSpool.load(numberedID(1))
        } catch {
          try await fixture.put(1)
          throw error
        }
      }
      #expect(try await fixture.pair.sweepOrphans().orphans == 0)
      try await fixture.expect([1])
    }
  }

  @Test("Stores, removes and sweeps at once lose nothing and leave nothing")
  func sweepingBesideMany() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for task in 0..<4 {
          group.addTask {
            for number in stride(from: task, to: 200, by: 4) {
              try await fixture.put(number)
              if number % 3 == 0 { try await fixture.pair.remove(numberedID(number)) }
            }
          }
        }
        group.addTask {
          for _ in 0..<20 { try await fixture.pair.sweepOrphans(olderThan: .zero) }
        }
        try await group.waitForAll()
      }
      try await fixture.expect((0..<200).filter { $0 % 3 != 0 })
    }
  }

  @Test func lowMemoryReachesBothHalvesThoughOneFails() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      let asked = Shared(0)
      fixture.meta.fail(.lowMemory)
      fixture.data.before(.lowMemory) { _ in asked.update { $0 += 1 } }
      await expectError(.unavailable) { _ = try await fixture.pair.adviseLowMemory() }
      #expect(asked.value == 1)
      fixture.meta.heal()
      _ = try await fixture.pair.adviseLowMemory()
      #expect(asked.value == 2)
    }
  }

  @Test("Housekeeping sweeps what earlier runs left: early, and when all of it is old enough")
  func cleanupSweeps() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      let (pair, wall) = (fixture.pair, fixture.place.wall)
      let recent = id(atMilliseconds: opened - 1)
      try await fixture.dataSpool.put(numberedID(1), [1])
      try await fixture.dataSpool.put(recent, [1])
      try await pair.cleanup()
      #expect(try await fixture.bodies() == [recent])
      // Not each time: what appears now is none of this pair's doing.
      try await fixture.dataSpool.put(numberedID(2), [1])
      wall.set(opened + hour - 1)
      try await pair.cleanup()
      #expect(try await fixture.bodies() == [numberedID(2), recent])
      wall.set(opened + hour)
      try await pair.cleanup()
      #expect(try await fixture.bodies().isEmpty)
      try await fixture.dataSpool.put(numberedID(3), [1])
      wall.set(opened + 9 * hour)
      try await pair.cleanup()
      #expect(try await fixture.bodies() == [numberedID(3)])
    }
  }

  @Test("In one store housekeeping leaves a body whose meta is gone: damage has parted them")
  func cleanupInOneStoreSweepsNothing() async throws {
    try await withNewPair(.oneStore) { (fixture) async throws in
      try await fixture.put(1)
      try await fixture.metaSpool.remove(numberedID(1))
      fixture.place.wall.set(opened + 9 * hour)
      try await fixture.pair.cleanup()
      #expect(try await fixture.bodies() == [numberedID(1)])
      #expect(try await fixture.pair.sweepOrphans().removed == 1)
    }
  }

  @Test(
    "A pair of which one half flushes moves both durably", .temporaryDirectory,
    arguments: [true, false])
  func movesAreSynced(isMeta: Bool) async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    var flushing = SpoolSettings()
    flushing.flush = true
    let meta = try await RocksSpool(
      store: store, name: "meta", settings: isMeta ? flushing : SpoolSettings())
    let data = try await RocksSpool(
      store: store, name: "data", settings: isMeta ? SpoolSettings() : flushing)
    let pair = try PairedSpool(meta: meta, data: data)
    try await pair.store(numberedID(1), meta: [1], data: [2], forceSync: false, deadline: nil)
    let moves: [(PairedSpool) async throws -> Void] = [
      { try await $0.quarantine(numberedID(1), reason: "a test") },
      { try await $0.restoreQuarantined(numberedID(1)) },
      { try await $0.quarantine(numberedID(1), reason: "a test") },
      { try await $0.purgeQuarantined(numberedID(1)) },
    ]
    for move in moves {
      let before = store.commitSyncCount
      try await move(pair)
      #expect(store.commitSyncCount > before)
    }
    try await store.close()
  }

  @Test("More failed rollbacks than are kept are swept")
  func overflowingRollbacks() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      let (pair, wall) = (fixture.pair, fixture.place.wall)
      try await pair.cleanup()
      wall.set(opened + hour)
      try await pair.cleanup()
      fixture.meta.fail(.store)
      fixture.data.fail(.remove)
      for number in 0..<1_030 { try? await fixture.put(number) }
      #expect(try await pair.sweepOrphans(dryRun: true).pendingRollbacks == 1_024)
      fixture.data.heal()
      try await pair.cleanup()
      #expect(try await fixture.bodies().count == 6)
      wall.set(opened + 2 * hour)
      try await pair.cleanup()
      #expect(try await fixture.bodies().isEmpty)
    }
  }

  // MARK: Quarantine

  @Test(
    "A-T-3: a meta that cannot be understood is set aside with its body, and comes back",
    arguments: PairShape.allCases)
  func quarantineOfBothHalves(shape: PairShape) async throws {
    try await withNewPair(shape) { (fixture) async throws in
      let (pair, id) = (fixture.pair, numberedID(1))
      for number in 0..<3 { try await fixture.put(number) }
      // No JSON; and in a second message not even a record.
      try await pair.replaceMeta(id, Array("{\"to\": ".utf8), forceSync: false, deadline: nil)
      try await fixture.metaSpool.putRaw(numberedID(2).bytes, [9, 9])
      try await pair.quarantine(id, reason: "the meta ends in the middle")
      try await pair.quarantine(numberedID(2), reason: "the meta is damaged")
      try await fixture.expect([0])
      let listed = try await pair.quarantined(after: nil, limit: 10)
      #expect(listed.map(\.id) == [id, numberedID(2)])
      #expect(listed.map(\.reason) == ["the meta ends in the middle", "the meta is damaged"])
      #expect(listed.map(\.isDamaged) == [false, true])
      #expect(try await fixture.dataSpool.isQuarantined(id))
      #expect(try await pair.sweepOrphans(olderThan: .zero).orphans == 0)
      try await pair.restoreQuarantined(id)
      let (meta, data) = try await pair.load(id)
      #expect(meta == Array("{\"to\": ".utf8))
      #expect(data == numberedValue(1))
      try await pair.purgeQuarantined(numberedID(2))
      #expect(try await pair.quarantined(after: nil, limit: 10).isEmpty)
      #expect(try await fixture.dataSpool.quarantined(after: nil, limit: 10).isEmpty)
      for call in [
        { try await pair.quarantine(numberedID(5), reason: "a test") },
        { try await pair.restoreQuarantined(numberedID(5)) },
        { try await pair.purgeQuarantined(numberedID(5)) },
      ] as [() async throws -> Void] {
        await expectError(.notFound) { try await call() }
      }
    }
  }

  @Test("A pair is not restored over another", arguments: PairShape.allCases)
  func restoringOverAMessage(shape: PairShape) async throws {
    try await withNewPair(shape) { (fixture) async throws in
      let (pair, id) = (fixture.pair, numberedID(1))
      try await fixture.put(1)
      try await pair.quarantine(id, reason: "a test")
      try await pair.store(id, meta: [1], data: [2], forceSync: false, deadline: nil)
      await expectError(.conflict) { try await pair.restoreQuarantined(id) }
      let newer = try await pair.load(id)
      #expect(newer.meta == [1] && newer.data == [2])
      try await pair.remove(id)
      try await pair.restoreQuarantined(id)
      try await fixture.expect([1])
    }
  }

  @Test("A meta without body is set aside alone", arguments: PairShape.allCases)
  func quarantineWithoutABody(shape: PairShape) async throws {
    try await withNewPair(shape) { (fixture) async throws in
      try await fixture.metaSpool.put(numberedID(1), [1])
      try await fixture.pair.quarantine(numberedID(1), reason: "its body is lost")
      #expect(try await fixture.metas().isEmpty)
      try await fixture.pair.restoreQuarantined(numberedID(1))
      #expect(try await fixture.metas() == [numberedID(1)])
    }
  }

  @Test(
    "A refused body leaves the message in the pair, whatever refused it",
    arguments: ["quarantine_taken", "quarantine_damaged", "quarantine_full", nil] as [String?])
  func refusedBodies(reason: String?) async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      let id = numberedID(1)
      try await fixture.put(1)
      fixture.data.before(.quarantine) { _ in
        throw SpindleError(.conflict, "a test refuses", reason: reason)
      }
      await expectError(.conflict) { try await fixture.pair.quarantine(id, reason: "a test") }
      try await fixture.expect([1])
      #expect(try await !fixture.metaSpool.isQuarantined(id))
      fixture.data.heal()
      // Moved, and failed all the same: the meta stays beside its body.
      fixture.data.after(.quarantine) { _ in throw SpindleError(.unavailable, "a test refuses") }
      await expectError(.unavailable) { try await fixture.pair.quarantine(id, reason: "a test") }
      try await fixture.expect([])
      #expect(try await fixture.metaSpool.isQuarantined(id))
      fixture.data.heal()
      try await fixture.pair.restoreQuarantined(id)
      try await fixture.expect([1])
    }
  }

  @Test("Damage in the quarantine of the metas keeps no other body from being swept")
  func damagedQuarantineOfMetas() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      let ids = (1...3).map { numberedID($0) }
      for id in ids { try await fixture.dataSpool.put(id, [1]) }
      fixture.meta.before(.look) { id in
        if id == ids[1] { throw SpindleError(.corruption, "a test says damaged") }
      }
      let sweep = try await fixture.pair.sweepOrphans(olderThan: .zero)
      #expect(sweep.examined == 3 && sweep.unjudged == 1 && sweep.removed == 2)
      #expect(sweep.firstProblem?.contains("a test says damaged") == true)
      #expect(try await fixture.bodies() == [ids[1]])
      // A failed removal behind it is tried again all the same.
      try await fixture.dataSpool.put(ids[2], [1])
      fixture.data.fail(.remove)
      try? await fixture.pair.remove(ids[2])
      fixture.data.heal()
      try? await fixture.pair.cleanup()
      #expect(try await fixture.bodies() == [ids[1]])
      fixture.meta.heal()
      try await fixture.pair.cleanup()
      #expect(try await fixture.bodies().isEmpty)
    }
  }

  @Test("A move that failed between its halves is finished or undone, and never swept")
  func interruptedMoves() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      let (pair, id) = (fixture.pair, numberedID(1))
      try await fixture.put(1)
      func expectHalfway() async throws {
        #expect(try await fixture.metas().isEmpty)
        #expect(try await fixture.bodies() == [id])
        #expect(try await pair.sweepOrphans(olderThan: .zero).orphans == 0)
      }
      // Undone at once.
      fixture.data.fail(.quarantine)
      await expectError(.unavailable) { try await pair.quarantine(id, reason: "a test") }
      try await fixture.expect([1])
      #expect(try await !fixture.metaSpool.isQuarantined(id))
      // Undone later, where the meta cannot go back.
      fixture.meta.fail(.restore)
      await expectError(.unavailable) { try await pair.quarantine(id, reason: "a test") }
      try await expectHalfway()
      fixture.meta.heal()
      try await pair.restoreQuarantined(id)
      try await fixture.expect([1])
      // Finished.
      fixture.meta.fail(.restore)
      await expectError(.unavailable) { try await pair.quarantine(id, reason: "a test") }
      fixture.data.heal()
      try await pair.quarantine(id, reason: "a test")
      try await fixture.expect([])
      // The way back, the same.
      fixture.meta.fail(.restore)
      await expectError(.unavailable) { try await pair.restoreQuarantined(id) }
      try await expectHalfway()
      try await pair.quarantine(id, reason: "a test")
      try await fixture.expect([])
      await expectError(.unavailable) { try await pair.restoreQuarantined(id) }
      fixture.meta.heal()
      try await pair.restoreQuarantined(id)
      try await fixture.expect([1])
      // And out: nothing stays behind.
      fixture.data.fail(.quarantine)
      fixture.meta.fail(.restore)
      await expectError(.unavailable) { try await pair.quarantine(id, reason: "a test") }
      try await pair.purgeQuarantined(id)
      try await fixture.expect([])
      #expect(try await !fixture.metaSpool.isQuarantined(id))
    }
  }
}
