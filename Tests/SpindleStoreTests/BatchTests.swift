import SpindleCore
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

@Suite(.temporaryDirectory) struct BatchTests {
  private struct Fixture {
    let held: HeldStore
    var store: Store { held.store }
    let plain: StoreFamily
    let guarded: StoreFamily
    /// May hold range deletions.
    let ranged: StoreFamily

    init(_ settings: StoreSettings = .small) async throws {
      held = try await HeldStore(at: TestDirectory.path("store"), settings: settings)
      plain = try await held.store.family("spool:a")
      guarded = try await held.store.family("oplog:a")
      ranged = try await held.store.family("region:a")
    }
  }

  @Test func aBatchIsStoredInAllFamiliesOrInNone() async throws {
    let fixture = try await Fixture()
    var batch = Batch()
    batch.put(fixture.plain, key: bytes("a"), value: bytes("1"))
    batch.put(fixture.guarded, key: bytes("b"), value: bytes("2"))
    batch.put(
      fixture.plain, key: bytes("c").span, header: bytes("3").span, payload: bytes("4").span)
    batch.requireAbsent(fixture.guarded, key: bytes("b"), owner: "test")
    #expect(batch.count == 3)
    #expect(batch.byteCount > 12)
    try await fixture.store.commit(batch, durability: .buffered)
    #expect(try await fixture.store.get(fixture.plain, key: bytes("a")) == bytes("1"))
    #expect(try await fixture.store.get(fixture.guarded, key: bytes("b")) == bytes("2"))
    #expect(try await fixture.store.get(fixture.plain, key: bytes("c")) == bytes("34"))
    var second = Batch()
    second.delete(fixture.plain, key: bytes("a"))
    second.deleteRange(fixture.ranged, from: bytes("c"), to: bytes("d"))
    second.requireAbsent(fixture.guarded, key: bytes("b"), owner: "test")
    let error = await refusal { try await fixture.store.commit(second, durability: .synced) }
    #expect(error?.kind == .uniqueViolation)
    #expect(error?.reason == "test")
    #expect(try await fixture.store.get(fixture.plain, key: bytes("a")) == bytes("1"))
    #expect(try await fixture.store.get(fixture.plain, key: bytes("c")) == bytes("34"))
    try await fixture.store.close()
  }

  @Test func aRangeIsDeletedOnlyWhereTheFamilyMayHoldRangeDeletions() async throws {
    let fixture = try await Fixture()
    for family in [fixture.plain, fixture.guarded] {
      var batch = Batch()
      batch.put(fixture.ranged, key: bytes("a"), value: bytes("1"))
      batch.deleteRange(family, from: bytes("a"), to: bytes("b"))
      let error = await refusal { try await fixture.store.commit(batch, durability: .buffered) }
      #expect(error?.kind == .invalidArgument)
      #expect(error?.message.contains(family.name) == true)
    }
    #expect(try await fixture.store.get(fixture.ranged, key: bytes("a")) == nil)
    try await fixture.store.put(fixture.ranged, 1)
    var batch = Batch()
    batch.deleteRange(fixture.ranged, from: [], to: bytes("z"))
    try await fixture.store.commit(batch, durability: .buffered)
    #expect(try fixture.store.numbers(fixture.ranged).isEmpty)
    try await fixture.store.close()
  }

  @Test func conditionsAreJudgedAgainstTheStore() async throws {
    let fixture = try await Fixture()
    var first = Batch()
    first.put(fixture.guarded, key: bytes("k"), value: bytes("header and body"))
    try await fixture.store.commit(first, durability: .buffered)
    typealias Case = (change: (inout Batch) -> Void, kind: SpindleError.Kind?, reason: String?)
    let guarded = fixture.guarded
    let cases: [Case] = [
      ({ $0.requireEqual(guarded, key: bytes("k"), bytes: bytes("header and body")) }, nil, nil),
      ({ $0.requirePrefix(guarded, key: bytes("k"), bytes: bytes("header")) }, nil, nil),
      ({ $0.requirePrefix(guarded, key: bytes("k"), bytes: []) }, nil, nil),
      ({ $0.requireAbsent(guarded, key: bytes("n"), owner: "o") }, nil, nil),
      ({ $0.requireAbsent(guarded, key: bytes("k"), owner: "o") }, .uniqueViolation, "o"),
      ({ $0.requireEqual(guarded, key: bytes("k"), bytes: bytes("header")) }, .conflict, "changed"),
      ({ $0.requireEqual(guarded, key: bytes("n"), bytes: []) }, .conflict, "absent"),
      ({ $0.requirePrefix(guarded, key: bytes("k"), bytes: bytes("other")) }, .conflict, "changed"),
      ({ $0.requirePrefix(guarded, key: bytes("n"), bytes: []) }, .conflict, "absent"),
      (
        { $0.requirePrefix(guarded, key: bytes("k"), bytes: bytes("header and body!")) },
        .conflict, "changed"
      ),
    ]
    for flushed in [false, true] {
      // The second round reads from a table that no cache holds.
      if flushed { try await fixture.store.flush(fixture.guarded) }
      for (index, item) in cases.enumerated() {
        for durability in Durability.allCases {
          var batch = Batch()
          batch.put(fixture.plain, key: numberedKey(index), value: bytes("x"))
          item.change(&batch)
          let batchCopy = batch
          if let kind = item.kind {
            let error = await refusal {
              try await fixture.store.commit(batchCopy, durability: durability)
            }
            #expect(error?.kind == kind, "case \(index)")
            #expect(error?.reason == item.reason, "case \(index)")
            #expect(try await fixture.store.get(fixture.plain, key: numberedKey(index)) == nil)
          } else {
            try await fixture.store.commit(batch, durability: durability)
          }
        }
      }
    }
    try await fixture.store.close()
  }

  @Test func theSameNewKeyTwiceInOneBatchIsAViolation() async throws {
    let fixture = try await Fixture()
    var batch = Batch()
    batch.requireAbsent(fixture.guarded, key: bytes("k"), owner: "first")
    batch.put(fixture.guarded, key: bytes("k"), value: bytes("1"))
    batch.requireAbsent(fixture.guarded, key: bytes("k"), owner: "second")
    let sent = batch
    let error = await refusal { try await fixture.store.commit(sent, durability: .buffered) }
    #expect(error?.kind == .uniqueViolation)
    #expect(error?.reason == "second")
    #expect(try await fixture.store.get(fixture.guarded, key: bytes("k")) == nil)
    try await fixture.store.close()
  }

  /// Holds the writer in a slow sync, so that what is committed meanwhile makes one group.
  private func commitAsOneGroup(
    _ fixture: Fixture, _ batches: [Batch]
  ) async throws -> [Result<Void, any Error>] {
    let blocker = try await fixture.held.hold(with: fixture.plain, 999_999)
    var tasks: [Task<Void, any Error>] = []
    for (index, batch) in batches.enumerated() {
      tasks.append(Task { try await fixture.store.commit(batch, durability: .synced) })
      try await eventually { fixture.store.waitingCommits == index + 1 }
    }
    let before = fixture.store.commitSyncCount
    fixture.held.gate.open()
    try await blocker.value
    var results: [Result<Void, any Error>] = []
    for task in tasks { results.append(await task.result) }
    // The blocker's own sync and one for the group.
    #expect(fixture.store.commitSyncCount == before + 2)
    return results
  }

  @Test func conditionsAreJudgedAgainstEarlierBatchesOfTheGroup() async throws {
    let fixture = try await Fixture()
    let family = fixture.ranged
    var batches: [Batch] = []
    func add(_ change: (inout Batch) -> Void) {
      var batch = Batch()
      change(&batch)
      batches.append(batch)
    }
    add {
      $0.requireAbsent(family, key: bytes("k"), owner: "a")
      $0.put(family, key: bytes("k"), value: bytes("one"))
    }
    add {
      $0.requireAbsent(family, key: bytes("k"), owner: "b")
      $0.put(family, key: bytes("lost"), value: bytes("x"))
    }
    add {
      $0.requireEqual(family, key: bytes("k"), bytes: bytes("one"))
      $0.put(family, key: bytes("k"), value: bytes("two"))
    }
    add { $0.requireEqual(family, key: bytes("k"), bytes: bytes("one")) }
    add {
      // What stands before the range in the same batch is removed, what stands after it stays.
      $0.put(family, key: bytes("r1"), value: bytes("before"))
      $0.deleteRange(family, from: bytes("k"), to: bytes("s"))
      $0.put(family, key: bytes("r2"), value: bytes("after"))
    }
    add {
      $0.requireAbsent(family, key: bytes("k"), owner: "c")
      $0.requireAbsent(family, key: bytes("r1"), owner: "c")
      $0.requirePrefix(family, key: bytes("r2"), bytes: bytes("aft"))
      $0.put(family, key: bytes("k"), value: bytes("three"))
    }
    add { $0.delete(family, key: bytes("k")) }
    add { $0.requirePrefix(family, key: bytes("k"), bytes: bytes("thr")) }
    let results = try await commitAsOneGroup(fixture, batches)
    let kinds = results.map { result -> SpindleError.Kind? in
      if case .failure(let error) = result { return (error as? SpindleError)?.kind }
      return nil
    }
    #expect(kinds == [nil, .uniqueViolation, nil, .conflict, nil, nil, nil, .conflict])
    #expect(try await fixture.store.get(family, key: bytes("k")) == nil)
    #expect(try await fixture.store.get(family, key: bytes("lost")) == nil)
    #expect(try await fixture.store.get(family, key: bytes("r1")) == nil)
    #expect(try await fixture.store.get(family, key: bytes("r2")) == bytes("after"))
    try await fixture.store.close()
  }

  @Test func ofAThousandRacersForAKeyExactlyOneWins() async throws {
    let fixture = try await Fixture()
    let keys = 20
    let winners = Shared<[Int: [Int]]>([:])
    await withTaskGroup(of: Void.self) { group in
      for racer in 0..<1000 {
        group.addTask {
          let key = racer % keys
          var batch = Batch()
          batch.requireAbsent(fixture.guarded, key: numberedKey(key), owner: "race")
          batch.put(fixture.guarded, key: numberedKey(key), value: bytes("\(racer)"))
          // Marks must not be left by losers either.
          batch.put(fixture.plain, key: numberedKey(racer), value: numberedValue(racer))
          do {
            try await fixture.store.commit(batch, durability: racer % 7 == 0 ? .synced : .buffered)
            winners.update { $0[key, default: []].append(racer) }
          } catch {
            #expect((error as? SpindleError)?.kind == .uniqueViolation)
          }
        }
      }
    }
    let won = winners.value
    #expect(won.count == keys)
    #expect(won.values.allSatisfy { $0.count == 1 })
    for (key, racers) in won {
      let stored = try await fixture.store.get(fixture.guarded, key: numberedKey(key))
      #expect(stored == bytes("\(racers[0])"))
    }
    #expect(try fixture.store.numbers(fixture.plain) == won.values.map { $0[0] }.sorted())
    try await fixture.store.close()
  }

  @Test func onlyFreeBatchesPassTheGroupLaneBy() async throws {
    let fixture = try await Fixture()
    let blocker = try await fixture.held.hold(with: fixture.plain, 1)
    // The lane waits for a sync: an unconditional batch on a free family does not.
    try await fixture.store.put(fixture.plain, 2)
    var joined = Batch()
    joined.joinsGroupLane = true
    joined.put(fixture.plain, key: numberedKey(3), value: numberedValue(3))
    let joining = joined
    let tasks = [
      Task { try await fixture.store.put(fixture.guarded, 2) },
      Task { try await fixture.store.commit(joining, durability: .buffered) },
    ]
    try await eventually { fixture.store.waitingCommits == 2 }
    #expect(try await fixture.store.get(fixture.guarded, key: numberedKey(2)) == nil)
    #expect(try await fixture.store.get(fixture.plain, key: numberedKey(3)) == nil)
    fixture.held.gate.open()
    try await blocker.value
    for task in tasks { try await task.value }
    #expect(try await fixture.store.get(fixture.guarded, key: numberedKey(2)) != nil)
    #expect(try await fixture.store.get(fixture.plain, key: numberedKey(3)) != nil)
    try await fixture.store.close()
  }

  @Test func emptyAndOversizedBatchesTouchNothing() async throws {
    var settings = StoreSettings.small
    settings.valueByteLimit = 1000
    let fixture = try await Fixture(settings)
    try await fixture.store.commit(Batch(), durability: .synced)
    #expect(Batch().isEmpty)
    let error = await refusal { try await fixture.store.put(fixture.plain, 1, bytes: 2000) }
    #expect(error?.kind == .invalidArgument)
    #expect(try fixture.store.numbers(fixture.plain).isEmpty)
    try await fixture.store.close()
  }

  @Test func readsHoldNoLargeWrites() async throws {
    let fixture = try await Fixture()
    let (store, plain) = (fixture.store, fixture.plain)
    try await store.withReadersHeld {
      try await store.put(plain, 1, bytes: 200_000)
      try await store.put(plain, 2)
      #expect(try store.numbers(plain) == [1, 2])
    }
    try await store.put(fixture.guarded, 1, bytes: 200_000)
    #expect(try fixture.store.numbers(fixture.guarded) == [1])
    try await fixture.store.close()
  }

  /// Who waits for a thread has written nothing: it leaves by its deadline, when it is cancelled
  /// and when its part's gate shuts.
  @Test func aLargeWriteThatFindsNoThreadLeaves() async throws {
    let clock = ManualClock()
    let store = try await Store.small(at: TestDirectory.path("store"), clock: clock)
    let family = try await store.family("spool:a")
    let other = try await store.family("spool:b")
    let policy = WritePolicy(subject: "test", limit: .seconds(9), health: family.health)
    let (held, gate) = (Shared(0), SyncGate())
    gate.shut()
    defer { gate.open() }
    let holders = (0..<store.settings.blockingThreads).map { _ in
      Task {
        try await store.commitMade(
          for: other, durability: .buffered, inGroup: false, deadline: nil, policy: policy
        ) {
          held.update { $0 += 1 }
          gate.wait()
          var batch = Batch()
          batch.put(other, key: [2], value: [1])
          return batch
        }
      }
    }
    try await eventually { held.value == holders.count }
    // Neither a small write, which its caller makes, nor a sync needs one of those threads.
    try await store.put(other, 9)
    try await store.synchronize()
    let start = clock.now
    let calls = [1: start + .seconds(1), 2: nil, 3: nil, 4: nil].mapValues { deadline in
      Task {
        var batch = Batch()
        batch.put(family, key: [1], value: Array(repeating: 1, count: 200_000))
        try await store.commit(batch, durability: .buffered, deadline: deadline, policy: policy)
      }
    }
    try await eventually { store.waitingLargeWrites == 4 && clock.sleeperCount == 4 }
    #expect(policy.waitingCount == 4)
    calls[2]?.cancel()
    await #expect(throws: CancellationError.self) { try await calls[2]?.value }
    clock.advance(by: .seconds(2))
    #expect(await refusal { try await calls[1]?.value }?.kind == .deadlineExceeded)
    clock.advance(by: .seconds(8))
    for number in [3, 4] {
      #expect(await refusal { try await calls[number]?.value }?.kind == .overloaded)
    }
    #expect(policy.waitingCount == 0 && store.waitingLargeWrites == 0)
    // It was no stall.
    #expect(family.health.status.backpressureTimeouts == 0)
    // The gate is looked at once there is a thread.
    let last = Task {
      var batch = Batch()
      batch.put(family, key: [1], value: Array(repeating: 1, count: 200_000))
      try await store.commit(batch, durability: .buffered, deadline: nil, policy: policy)
    }
    try await eventually { store.waitingLargeWrites == 1 }
    family.health.shutForOperator(note: "a test")
    gate.open()
    let refused = await refusal { try await last.value }
    #expect(refused?.kind == .unavailable && refused?.isGateRefusal == true)
    for holder in holders { try await holder.value }
    #expect(try await store.get(family, key: [1]) == nil)
    #expect(try await store.get(other, key: [2]) == [1])
    // Behind a shut gate nothing is made at all.
    let late = await refusal {
      try await store.commitMade(
        for: family, durability: .buffered, inGroup: false, deadline: nil, policy: policy
      ) {
        Issue.record("a batch was made behind a shut gate")
        return Batch()
      }
    }
    #expect(late?.isGateRefusal == true)
    try await store.clearGate(of: family)
    try await store.put(family, 1, bytes: 200_000)
    try await store.close()
  }

  @Test func familiesOfAnotherStoreAreRefused() async throws {
    let fixture = try await Fixture()
    let other = try await Store.small(at: TestDirectory.path("other"))
    let stranger = try await other.family("spool:a")
    var error = await refusal { try await fixture.store.put(stranger, 1) }
    #expect(error?.kind == .invalidArgument)
    var batch = Batch()
    batch.requireAbsent(stranger, key: [1], owner: "x")
    let sent = batch
    error = await refusal { try await fixture.store.commit(sent, durability: .buffered) }
    #expect(error?.kind == .invalidArgument)
    try await other.close()
    try await fixture.store.close()
  }
}
