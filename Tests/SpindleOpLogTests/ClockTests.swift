import SpindleCore
import SpindleOpLog
import SpindleStore
import Testing

private func timestamp(_ wall: UInt64, _ counter: UInt16) -> Timestamp {
  Timestamp(wallMilliseconds: wall, counter: counter)!
}

@Suite struct HybridClockTests {
  @Test("O-36, O-37: ticks rise while the wall stands or goes back")
  func ticksRiseWhileTheWallStandsOrGoesBack() throws {
    var clock = HybridClock()
    #expect(try clock.tick(wall: 100) == timestamp(100, 0))
    #expect(try clock.tick(wall: 100) == timestamp(100, 1))
    #expect(try clock.tick(wall: 1) == timestamp(100, 2))
    #expect(try clock.tick(wall: 101) == timestamp(101, 0))
    var fresh = HybridClock()
    #expect(try fresh.tick(wall: 0) == timestamp(0, 1))
  }

  @Test("O-38: a full counter borrows a millisecond")
  func fullCounterBorrowsAMillisecond() throws {
    var clock = HybridClock(latest: timestamp(100, 65_535))
    #expect(try clock.tick(wall: 100) == timestamp(101, 0))
    #expect(try clock.tick(wall: 100) == timestamp(101, 1))
  }

  @Test("O-39, O-41: the bound of skew is exact, and a tick is above what was observed")
  func skewBoundIsExact() throws {
    var clock = HybridClock(latest: timestamp(10, 3))
    let before = clock
    let tooFar = timestamp(60_101, 0)
    #expect(throws: HybridClockError.skew(received: tooFar, wallMilliseconds: 100)) {
      try clock.observe(tooFar, wall: 100)
    }
    #expect(clock == before)
    try clock.observe(timestamp(60_100, 65_535), wall: 100)
    #expect(clock.latest == timestamp(60_100, 65_535))
    #expect(try clock.tick(wall: 100) == timestamp(60_101, 0))
  }

  @Test("O-40: past timestamps are accepted and move nothing")
  func pastTimestampsAreAcceptedAndMoveNothing() throws {
    var clock = HybridClock(latest: timestamp(1_000, 7))
    try clock.observe(timestamp(1, 0), wall: 5_000)
    try clock.observe(.zero, wall: 5_000)
    #expect(clock.latest == timestamp(1_000, 7))
  }

  @Test func skewBoundDoesNotOverflow() throws {
    var clock = HybridClock()
    try clock.observe(Timestamp(packed: .max), wall: .max)
    #expect(clock.latest.packed == .max)
  }

  @Test func exhaustedClockRefusesAndKeepsItsState() {
    var clock = HybridClock(latest: Timestamp(packed: .max))
    #expect(throws: HybridClockError.exhausted) { try clock.tick(wall: 5) }
    #expect(clock.latest.packed == .max)
    var other = HybridClock(latest: timestamp(9, 9))
    #expect(throws: HybridClockError.exhausted) { try other.tick(wall: 1 << 48) }
    #expect(throws: HybridClockError.exhausted) { try other.tick(wall: .max) }
    #expect(other.latest == timestamp(9, 9))
  }
}

@Suite struct ClockServiceTests {
  /// The register as it is stored.
  private func register(_ store: Store) async throws -> Timestamp? {
    let family = try await store.family("oplog:app")
    guard let bytes = try await store.get(family, key: [0x02]) else { return nil }
    var reader = ByteReader(bytes.span)
    let value = Timestamp(packed: try reader.readBigEndian(UInt64.self))
    try reader.requireEnd()
    return value
  }

  /// Commits a tick in a batch of its own.
  private func tick(_ clock: ClockService, _ store: Store) async throws -> Timestamp {
    var batch = Batch()
    var stage = try clock.begin()
    let value = try stage.now(into: &batch)
    try await store.commit(batch, durability: .buffered)
    clock.committed(stage)
    return value
  }

  @Test("O-42, O-44: the register survives reopening and never goes back")
  func registerSurvivesReopenAndNeverGoesBack() async throws {
    try await withPlace { place in
      var last = Timestamp.zero
      for run in 0..<3 {
        // The wall stands an hour earlier in each run.
        place.wall.set(1_700_000_000_000 - UInt64(run) * 3_600_000)
        try await place.withStore { store in
          let clock = try await ClockService(store: store, prefix: "app")
          #expect(clock.latest == last)
          for _ in 0..<5 {
            let next = try await tick(clock, store)
            #expect(next > last)
            last = next
            #expect(try await register(store) == last)
          }
        }
      }
      #expect(last == timestamp(1_700_000_000_000, 14))
    }
  }

  @Test func stageMovesTheClockOnlyWhenCommitted() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let clock = try await ClockService(store: store, prefix: "app")
        let start = try await tick(clock, store)
        let remote = timestamp(place.wall.wallMilliseconds + 1_000, 0)
        var batch = Batch()
        var stage = try clock.begin()
        try stage.observe(remote, into: &batch)
        #expect(clock.latest == start)
        clock.abandoned(stage)
        #expect(clock.latest == start)
        var again = try clock.begin()
        try again.observe(remote, into: &batch)
        try await store.commit(batch, durability: .buffered)
        clock.committed(again)
        #expect(clock.latest == remote)
        #expect(try await register(store) == remote)
      }
    }
  }

  /// The loss: a batch absorbed a late timestamp and failed; the next entry, below it, was
  /// committed without the register; after a crash the clock restarted below that entry.
  @Test func registerCoversEveryEntryAlsoAfterAFailedBatch() async throws {
    try await withPlace { place in
      let wall = place.wall.wallMilliseconds
      let (high, low) = (timestamp(wall + 50_000, 0), timestamp(wall + 20_000, 0))
      var burned = Timestamp.zero
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        let clock = try await ClockService(store: store, prefix: "app")
        try await tracker.add(store, peer(1), 0, at: 1)
        var failing = Batch()
        var stage = try clock.begin()
        try stage.observe(high, into: &failing)
        burned = try stage.now(into: &failing)
        try tracker.trackOne(
          peer: peer(1), index: 0, timestamp: high, serverUser: nil, op: Note("again"),
          into: &failing)
        let refused = failing
        await expectError(.uniqueViolation, reason: "oplog") {
          try await store.commit(refused, durability: .buffered)
        }
        clock.abandoned(stage)
        #expect(try await register(store) == nil)

        var batch = Batch()
        var next = try clock.begin()
        try next.observe(low, into: &batch)
        try tracker.trackOne(
          peer: peer(1), index: 1, timestamp: low, serverUser: nil, op: Note("low"), into: &batch)
        try await store.commit(batch, durability: .buffered)
        clock.committed(next)
        let stored = try #require(try await register(store))
        #expect(stored >= low)
      }
      try await place.withStore { store in
        let clock = try await ClockService(store: store, prefix: "app")
        #expect(try await tick(clock, store) > low)
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(report.findings == [])
      }
      #expect(burned > high)
    }
  }

  @Test func issuedTimestampIsNotIssuedAgainAfterAnAbandonedBatch() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let clock = try await ClockService(store: store, prefix: "app")
        var batch = Batch()
        var first = try clock.begin()
        let burned = try first.now(into: &batch)
        clock.abandoned(first)
        #expect(try await tick(clock, store) > burned)
      }
    }
  }

  @Test func droppedStageFreesTheClock() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let clock = try await ClockService(store: store, prefix: "app")
        func fail() throws {
          var batch = Batch()
          var stage = try clock.begin()
          _ = try stage.now(into: &batch)
          throw CancellationError()
        }
        #expect(throws: CancellationError.self) { try fail() }
        _ = try await tick(clock, store)
      }
    }
  }

  @Test func secondStageIsRefusedWhileOneIsOpen() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let clock = try await ClockService(store: store, prefix: "app")
        let stage = try clock.begin()
        await expectError(.conflict, reason: "clock_busy") {
          let second = try clock.begin()
          clock.abandoned(second)
        }
        clock.abandoned(stage)
        _ = try await tick(clock, store)
      }
    }
  }

  @Test func pastTimestampQueuesNoSave() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let clock = try await ClockService(store: store, prefix: "app")
        _ = try await tick(clock, store)
        var batch = Batch()
        var stage = try clock.begin()
        try stage.observe(timestamp(1, 0), into: &batch)
        #expect(batch.isEmpty)
        clock.committed(stage)
      }
    }
  }

  @Test func skewedTimestampLeavesTheStageUsable() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let clock = try await ClockService(store: store, prefix: "app")
        let wall = place.wall.wallMilliseconds
        let late = timestamp(wall + 60_001, 0)
        var batch = Batch()
        var stage = try clock.begin()
        do throws(HybridClockError) {
          try stage.observe(late, into: &batch)
          Issue.record("the skewed timestamp was accepted")
        } catch {
          #expect(error == .skew(received: late, wallMilliseconds: wall))
          #expect(error.spindleError.reason == "clock_skew")
        }
        #expect(batch.isEmpty)
        place.wall.set(wall + 1)
        try stage.observe(late, into: &batch)
        try await store.commit(batch, durability: .buffered)
        clock.committed(stage)
        #expect(try await register(store) == late)
      }
    }
  }

  @Test func manyTicksInOneBatchSaveTheGreatest() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let clock = try await ClockService(store: store, prefix: "app")
        var batch = Batch()
        var stage = try clock.begin()
        var values: Set<Timestamp> = []
        for _ in 0..<300 { values.insert(try stage.now(into: &batch)) }
        try await store.commit(batch, durability: .buffered)
        clock.committed(stage)
        #expect(values.count == 300)
        #expect(try await register(store) == values.max())
      }
    }
  }

  @Test func damagedRegisterIsCorruption() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        _ = try await ClockService(store: store, prefix: "app")
        for count in [0, 7, 9] {
          try await damage(
            store, "app", key: [0x02], value: Array(repeating: 1, count: count))
          await expectError(.corruption, reason: "corrupt_meta") {
            _ = try await ClockService(store: store, prefix: "app")
          }
        }
      }
    }
  }
}
