import SpindleCore
import SpindleOpLog
import SpindleStore
import Testing

@Suite struct ClockRegisterTests {
  private func register(_ store: Store) async throws -> Timestamp? {
    let family = try await store.family("oplog:app")
    guard let bytes = try await store.get(family, key: OpLogKeys.clockKey) else { return nil }
    var reader = ByteReader(bytes.span)
    return Timestamp(packed: try reader.readBigEndian(UInt64.self))
  }

  /// A batch whose stage is gone.
  private func abandonedBatch(_ clock: ClockService) throws -> (batch: Batch, value: Timestamp) {
    var batch = Batch()
    var stage = try clock.begin()
    let value = try stage.now(into: &batch)
    clock.abandoned(stage)
    return (batch, value)
  }

  @Test(
    "O-44: a late commit of a smaller value does not lower the register",
    arguments: [Durability.buffered, .synced])
  func lateCommitDoesNotLowerTheRegister(durability: Durability) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let clock = try await ClockService(store: store, prefix: "app")
        let early = try abandonedBatch(clock)
        var batch = Batch()
        var stage = try clock.begin()
        let late = try stage.now(into: &batch)
        try await store.commit(batch, durability: durability)
        clock.committed(stage)
        #expect(late > early.value)
        try await store.commit(early.batch, durability: durability)
        #expect(try await register(store) == late)
      }
    }
  }

  @Test("O-44: of batches that are committed together in any order the greatest value stays")
  func groupsKeepTheGreatest() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let clock = try await ClockService(store: store, prefix: "app")
        let family = try await store.family("oplog:app")
        var greatest = Timestamp.zero
        var batches: [Batch] = []
        for number in 0..<60 {
          var (batch, value) = try abandonedBatch(clock)
          // One that is refused leaves the register to the others, the greatest of all among them.
          if number % 7 == 3 {
            batch.requireAbsent(family, key: OpLogKeys.formatKey, owner: "test")
          } else {
            greatest = max(greatest, value)
          }
          batches.append(batch)
        }
        var random = SeededGenerator(seed: 3)
        batches.shuffle(using: &random)
        try await withThrowingTaskGroup(of: Void.self) { group in
          for batch in batches {
            group.addTask { try? await store.commit(batch, durability: .synced) }
          }
          try await group.waitForAll()
        }
        #expect(try await register(store) == greatest)
      }
    }
  }

  @Test func aStageDoesNotTakeTheClockBehindARegisterThatWasReadAgain() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let clock = try await ClockService(store: store, prefix: "app")
        var batch = Batch()
        var stage = try clock.begin()
        _ = try stage.now(into: &batch)
        let late = Timestamp(packed: clock.latest.packed + 1 << 60)
        var bytes: [UInt8] = []
        bytes.appendBigEndian(late.packed)
        try await damage(store, "app", key: OpLogKeys.clockKey, value: bytes)
        try await clock.reload()
        try await store.commit(batch, durability: .buffered)
        clock.committed(stage)
        #expect(clock.latest == late)
        #expect(try await register(store) == late)
      }
    }
  }

  @Test func aRefusedBatchRaisesNothing() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let clock = try await ClockService(store: store, prefix: "app")
        var (batch, _) = try abandonedBatch(clock)
        batch.requireAbsent(
          try await store.family("oplog:app"), key: OpLogKeys.formatKey, owner: "test")
        let refused = batch
        await expectError(.uniqueViolation, reason: "test") {
          try await store.commit(refused, durability: .buffered)
        }
        #expect(try await register(store) == nil)
      }
    }
  }

  @Test func aPrefixHasOneClockAtATime() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        func useIt() async throws {
          let clock = try await ClockService(store: store, prefix: "app")
          await expectError(.conflict, reason: "prefix_in_use") {
            _ = try await ClockService(store: store, prefix: "app")
          }
          await expectError(.conflict, reason: "prefix_in_use") {
            _ = try await Registers(
              reducer: TestReducer(), store: store, prefix: "app", selfID: me)
          }
          _ = try await ClockService(store: store, prefix: "other")
          #expect(clock.latest == .zero)
        }
        try await useIt()
        _ = try await ClockService(store: store, prefix: "app")
      }
    }
  }

  @Test func theClockGoesOnBehindTheGreatestEntryOfTheIndexByTime() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let high = Timestamp(wallMilliseconds: place.wall.wallMilliseconds + 50_000, counter: 3)!
        for (prefix, indexes, seed) in [
          ("app", OpLogIndexes.byTime, high), ("plain", [], Timestamp.zero),
        ] {
          let tracker = try await Tracker(
            store: store, prefix: prefix, settings: OpLogSettings(indexes: indexes))
          try await tracker.add(store, peer(1), 0, at: 7)
          try await tracker.add(store, peer(2), 0, at: high.packed)
          let clock = try await ClockService(store: store, prefix: prefix)
          #expect(clock.latest == seed)
        }
        let clock = try await ClockService(store: store, prefix: "app")
        var batch = Batch()
        var stage = try clock.begin()
        #expect(try stage.now(into: &batch) > high)
        try await store.commit(batch, durability: .buffered)
        clock.committed(stage)
        #expect(try await register(store) == clock.latest)
      }
    }
  }
}
