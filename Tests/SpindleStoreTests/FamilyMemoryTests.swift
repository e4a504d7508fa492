import SpindleCore
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

@Suite(.temporaryDirectory) struct FamilyMemoryTests {
  private struct Fixture {
    let held: HeldStore
    let clock = ManualClock()
    let family: StoreFamily
    let plain: StoreFamily
    var store: Store { held.store }

    init() async throws {
      var settings = StoreSettings.small
      // RocksDB stops writes only where a test says so.
      var options = ColumnFamilyOptions()
      options.level0CompactionTrigger = 100
      options.level0SlowdownTrigger = 200
      options.level0StopTrigger = 300
      settings.familyOptions = ["spool": options]
      held = try await HeldStore(
        at: TestDirectory.path("store"), settings: settings, clock: clock)
      family = try await held.store.family("oplog:a")
      plain = try await held.store.family("spool:a")
      family.memory.begin()
    }

    /// A batch of the memory's holder.
    func own(
      _ key: String, _ durability: Durability = .buffered, deadline: Duration? = nil
    ) async throws {
      var batch = Batch()
      batch.requireAbsent(family, key: bytes(key), owner: "test")
      batch.put(family, key: bytes(key), value: bytes("own"))
      batch.rely(on: family)
      try await store.commit(
        batch, durability: durability, deadline: deadline.map { clock.now + $0 })
    }

    /// A batch of somebody else.
    func foreign(
      _ key: String, _ durability: Durability = .buffered, deadline: Duration? = nil
    ) async throws {
      var batch = Batch()
      batch.put(family, key: bytes(key), value: bytes("foreign"))
      try await store.commit(
        batch, durability: durability, deadline: deadline.map { clock.now + $0 })
    }

    /// Commits batches as one group, in their order. Once, and before any other group: the writer
    /// syncs by itself only until it had several.
    func group(
      _ commits: [@Sendable () async throws -> Void]
    ) async throws -> [SpindleError?] {
      let blocker = try await held.hold(with: plain, 1)
      var tasks: [Task<Void, any Error>] = []
      for commit in commits {
        tasks.append(Task { try await commit() })
        try await eventually { store.waitingCommits == tasks.count }
      }
      let before = store.groupCounts.attempts
      held.gate.open()
      try await blocker.value
      var errors: [SpindleError?] = []
      for task in tasks {
        do {
          try await task.value
          errors.append(nil)
        } catch {
          errors.append(error as? SpindleError)
        }
      }
      #expect(store.groupCounts.attempts == before + 1)
      return errors
    }

    /// Raises the register in a batch of the memory's holder.
    func raise(
      _ value: String, relies: Bool = true, _ durability: Durability = .buffered
    ) async throws {
      var batch = Batch()
      batch.raise(family, key: bytes("register"), to: bytes(value))
      if relies { batch.rely(on: family) }
      try await store.commit(batch, durability: durability)
    }

    var register: Bytes? {
      get async throws { try await store.get(family, key: bytes("register")) }
    }
  }

  @Test func theMemoryFollowsOwnCommitsAndIsLeftBehindByOthers() async throws {
    let fixture = try await Fixture()
    try await fixture.own("a")
    try await fixture.own("b", .synced)
    #expect(fixture.family.memory.isCurrent)
    var kept = Batch()
    kept.put(fixture.family, key: bytes("aside"), value: bytes("1"))
    kept.keepMemory(of: fixture.family)
    try await fixture.store.commit(kept, durability: .buffered)
    #expect(fixture.family.memory.isCurrent)
    try await fixture.foreign("c")
    #expect(!fixture.family.memory.isCurrent)
    try await fixture.own("d")
    #expect(!fixture.family.memory.isCurrent, "it is not found again by chance")
    fixture.family.memory.begin()
    #expect(fixture.family.memory.isCurrent)
    try await fixture.held.store.close()
  }

  @Test func aKeyThatSomebodyElseTookIsRefused() async throws {
    let fixture = try await Fixture()
    try await fixture.own("a")
    try await fixture.foreign("b")
    for durability in Durability.allCases {
      let error = await refusal { try await fixture.own("b", durability) }
      #expect(error?.kind == .uniqueViolation)
    }
    #expect(try await fixture.store.get(fixture.family, key: bytes("b")) == bytes("foreign"))
    try await fixture.held.store.close()
  }

  @Test func aKeyDemandedTwiceInABatchIsRefusedAndMovesNothing() async throws {
    let fixture = try await Fixture()
    var batch = Batch()
    for key in ["b", "a", "b"] {
      batch.requireAbsent(fixture.family, key: bytes(key), owner: "test")
      batch.put(fixture.family, key: bytes(key), value: bytes("own"))
    }
    batch.rely(on: fixture.family)
    let twice = batch
    let error = await refusal { try await fixture.store.commit(twice, durability: .buffered) }
    #expect(error?.kind == .uniqueViolation)
    #expect(fixture.family.memory.isCurrent)
    #expect(try await fixture.store.get(fixture.family, key: bytes("a")) == nil)
    try await fixture.held.store.close()
  }

  @Test func aRegisterThatSomebodyElseRaisedIsNotLowered() async throws {
    let fixture = try await Fixture()
    try await fixture.raise("3")
    try await fixture.raise("5")
    try await fixture.raise("4")
    #expect(try await fixture.register == bytes("5"))
    try await fixture.raise("8", relies: false)
    try await fixture.raise("6")
    #expect(try await fixture.register == bytes("8"))
    fixture.family.memory.begin()
    try await fixture.raise("7")
    #expect(try await fixture.register == bytes("8"))
    try await fixture.raise("9")
    #expect(try await fixture.register == bytes("9"))
    try await fixture.held.store.close()
  }

  @Test func aStoreThatIsOpenedAgainKnowsNothing() async throws {
    let fixture = try await Fixture()
    try await fixture.own("a")
    try await fixture.held.store.close()
    let again = try await Fixture()
    again.family.memory.begin()
    try await again.foreign("b")
    let error = await refusal { try await again.own("a") }
    #expect(error?.kind == .uniqueViolation)
    try await again.held.store.close()
  }

  @Test(arguments: Durability.allCases)
  func aCommitThatAStallKeptOutMovesNothing(_ durability: Durability) async throws {
    let fixture = try await Fixture()
    try await fixture.store.put(fixture.plain, 1)
    try await fixture.store.flush(fixture.plain)
    try await fixture.own("a")
    try await fixture.store.setWritesStopped(true, by: fixture.plain)
    for isOwn in [true, false] {
      let error = await refusal {
        if isOwn {
          try await fixture.own("b", durability, deadline: .seconds(-1))
        } else {
          try await fixture.foreign("c", durability, deadline: .seconds(-1))
        }
      }
      #expect(error?.kind == .deadlineExceeded)
      #expect(fixture.family.memory.isCurrent)
    }
    // One that waits is followed when it was written, and not before.
    let patient = Task { try await fixture.own("b", durability, deadline: .seconds(3_600)) }
    let attempts = fixture.store.groupCounts.attempts
    try await eventually { fixture.store.groupCounts.attempts > attempts + 2 }
    try await fixture.store.setWritesStopped(false, by: fixture.plain)
    try await patient.value
    #expect(fixture.family.memory.isCurrent)
    #expect(try await fixture.store.get(fixture.family, key: bytes("b")) == bytes("own"))
    #expect(try await fixture.store.get(fixture.family, key: bytes("c")) == nil)
    try await fixture.foreign("c")
    #expect(!fixture.family.memory.isCurrent)
    try await fixture.held.store.close()
  }

  /// A batch whose append failed may be in the store all the same.
  @Test(arguments: Durability.allCases, [true, false])
  func aCommitThatFailedLeavesTheMemoryBehind(
    _ durability: Durability, isOwn: Bool
  ) async throws {
    let fixture = try await Fixture()
    try await fixture.own("a")
    fixture.store.guardian?.inject(.logAppend, partialBytes: 20)
    let error = await refusal {
      if isOwn {
        try await fixture.own("b", durability)
      } else {
        try await fixture.foreign("b", durability)
      }
    }
    #expect(error?.kind == .unavailable)
    #expect(!fixture.family.memory.isCurrent)
    try await fixture.store.heal()
    #expect(!fixture.family.memory.isCurrent, "it is not found again by the cure")
    // What is demanded is read again.
    let repeated = await refusal { try await fixture.own("a") }
    #expect(repeated?.kind == .uniqueViolation)
    fixture.family.memory.begin()
    try await fixture.own("c", durability)
    #expect(fixture.family.memory.isCurrent)
    try await fixture.held.store.close()
  }

  @Test func aRegisterThatAFailedCommitRaisedIsReadAgain() async throws {
    let fixture = try await Fixture()
    try await fixture.raise("3")
    fixture.store.guardian?.inject(.logAppend, partialBytes: 20)
    await refusal { try await fixture.raise("8") }
    try await fixture.store.heal()
    // As if the failed one were stored: whoever looks at the memory finds 3.
    var batch = Batch()
    batch.put(fixture.family, key: bytes("register"), value: bytes("8"))
    batch.keepMemory(of: fixture.family)
    try await fixture.store.commit(batch, durability: .buffered)
    try await fixture.raise("5")
    #expect(try await fixture.register == bytes("8"))
    try await fixture.held.store.close()
  }

  @Test func aForeignBatchInTheGroupLeavesTheMemoryBehind() async throws {
    let fixture = try await Fixture()
    let errors = try await fixture.group([
      { try await fixture.own("a", .synced) }, { try await fixture.foreign("b", .synced) },
      { try await fixture.own("c", .synced) },
    ])
    #expect(errors.map { $0?.kind } == [nil, nil, nil])
    #expect(!fixture.family.memory.isCurrent)
    try await fixture.held.store.close()
  }

  @Test func theMemoryFollowsEveryBatchOfTheGroup() async throws {
    let fixture = try await Fixture()
    let errors = try await fixture.group([
      { try await fixture.own("a", .synced) }, { try await fixture.own("b", .synced) },
    ])
    #expect(errors.map { $0?.kind } == [nil, nil])
    #expect(fixture.family.memory.isCurrent)
    try await fixture.held.store.close()
  }

  @Test func whatAForeignBatchOfTheGroupWritesIsSeen() async throws {
    let fixture = try await Fixture()
    try await fixture.raise("3")
    let errors = try await fixture.group([
      { try await fixture.foreign("b", .synced) }, { try await fixture.own("b", .synced) },
      { try await fixture.raise("8", relies: false, .synced) },
      { try await fixture.raise("5", .synced) },
    ])
    #expect(errors.map { $0?.kind } == [nil, .uniqueViolation, nil, nil])
    #expect(try await fixture.store.get(fixture.family, key: bytes("b")) == bytes("foreign"))
    #expect(try await fixture.register == bytes("8"))
    #expect(!fixture.family.memory.isCurrent)
    try await fixture.held.store.close()
  }

  @Test func aRefusedBatchInTheGroupLeavesTheOthersMemory() async throws {
    let fixture = try await Fixture()
    try await fixture.own("a")
    let errors = try await fixture.group([
      { try await fixture.own("b", .synced) }, { try await fixture.own("b", .synced) },
      { try await fixture.own("c", .synced) },
    ])
    #expect(errors.map { $0?.kind } == [nil, .uniqueViolation, nil])
    #expect(fixture.family.memory.isCurrent)
    try await fixture.held.store.close()
  }
}
