import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// A processor does not ask the store for what it wrote itself. Here somebody else writes to its
/// log, through the same store and past it, in the middle of its turns and between them.
@Suite struct OvertakenProcessorTests {
  /// Records an entry past the processor, and raises the register to its timestamp.
  private func overtake(
    _ log: Registers, _ peer: PeerID, _ index: UInt64, _ value: UInt64, at timestamp: UInt64 = 5
  ) async throws {
    var batch = Batch()
    try log.tracker.trackOne(
      peer: peer, index: index, timestamp: Timestamp(packed: timestamp), serverUser: nil,
      op: MaxRegisterOp("foreign", value), into: &batch)
    var register: [UInt8] = []
    register.appendBigEndian(timestamp)
    batch.raise(log.tracker.logFamily, key: OpLogKeys.clockKey, to: register)
    try await log.store.commit(batch, durability: .buffered)
  }

  /// Whether a row is the one that somebody else recorded.
  private func isForeign(_ log: Registers, _ peer: PeerID, _ index: UInt64) async throws -> Bool {
    let row = try await log.tracker.row(peer: peer, index: index)
    return try row?.key == MaxRegisterOp("foreign", 0).toIndexEntry().key
  }

  private func register(_ log: Registers) async throws -> UInt64 {
    let bytes = try await log.store.get(log.tracker.logFamily, key: OpLogKeys.clockKey) ?? []
    var reader = ByteReader(bytes.span)
    return try reader.readBigEndian(UInt64.self)
  }

  /// Has a call held in the middle of its turn while something else happens.
  private func during<Value: Sendable>(
    _ trap: Trap, _ call: @escaping @Sendable () async throws -> Value,
    _ body: () async throws -> Void
  ) async throws -> Value {
    let before = trap.arrivedCount
    trap.shut()
    let held = Task { try await call() }
    try await trap.eventually { trap.arrivedCount > before }
    do { try await body() } catch {
      trap.open()
      throw error
    }
    trap.open()
    return try await held.value
  }

  @Test func aLocalOpThatIsOvertakenInItsTurnTakesTheNextIndex() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { log, _ in
        for value in 0..<3 { try await log.exec(MaxRegisterOp("own", UInt64(value))) }
        #expect(log.tracker.logFamily.memory.isCurrent)
        let executed = try await during(trap, { try await log.exec(MaxRegisterOp("own", 3)) }) {
          try await overtake(log, me, 3, 1)
        }
        #expect(executed.index == 4)
        #expect(try await isForeign(log, me, 3))
        #expect(try await !isForeign(log, me, 4))
        #expect(try await log.exec(MaxRegisterOp("own", 5)).index == 5)
        #expect(log.cursor(of: me) == 6)
      }
    }
  }

  @Test func anEntryWhoseIndexIsTakenInItsTurnIsAConflictAndARepeatIsARepeat() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { log, _ in
        #expect(try await log.apply(peer: peer(1), index: 0, entry: entry("own", 1)).new)
        let error = await syncError {
          try await during(
            trap, { try await log.apply(peer: peer(1), index: 1, entry: entry("own", 2)) },
            { try await overtake(log, peer(1), 1, 9) })
        }
        guard case .conflict(peer(1), index: 1) = error else {
          Issue.record("expected a conflict, not \(String(describing: error))")
          return
        }
        #expect(try await isForeign(log, peer(1), 1))
        let applied = try await during(
          trap, { try await log.apply(peer: peer(1), index: 2, entry: entry("foreign", 9)) },
          { try await overtake(log, peer(1), 2, 9) })
        #expect(!applied.new)
        #expect(try await log.apply(peer: peer(1), index: 3, entry: entry("own", 3)).new)
      }
    }
  }

  @Test func callsThatShareACommitThatIsOvertakenTakeOtherIndices() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { log, _ in
        try await log.exec(MaxRegisterOp("own", 0))
        trap.shut()
        let leader = Task { try await log.exec(MaxRegisterOp("own", 1)) }
        try await trap.eventually { trap.arrivedCount == 2 }
        let followers = (2..<10).map { value in
          Task { try await log.exec(MaxRegisterOp("own", UInt64(value))) }
        }
        try await trap.eventually { log.callCount == 9 }
        try await overtake(log, me, 1, 1)
        trap.open()
        var indices = [try await leader.value.index]
        for follower in followers { indices.append(try await follower.value.index) }
        #expect(indices.sorted() == Array(2...10))
        #expect(try await isForeign(log, me, 1))
        for index in indices { #expect(try await !isForeign(log, me, index)) }
      }
    }
  }

  @Test func aPeerOvertakenBetweenTurnsIsReadAgainThoughAnotherOneCameFirst() async throws {
    try await withPlace { place in
      try await place.withRegisters { log, _ in
        try await log.exec(MaxRegisterOp("own", 0))
        #expect(try await log.apply(peer: peer(1), index: 0, entry: entry("own", 1)).new)
        try await overtake(log, me, 1, 1)
        try await overtake(log, peer(2), 0, 1)
        #expect(!log.tracker.logFamily.memory.isCurrent)
        // Begins the memory anew, and reads this peer alone.
        #expect(try await log.apply(peer: peer(1), index: 1, entry: entry("own", 2)).new)
        #expect(log.tracker.logFamily.memory.isCurrent)
        #expect(try await log.exec(MaxRegisterOp("own", 3)).index == 2)
        #expect(try await isForeign(log, me, 1))
        guard
          case .conflict = await syncError({
            try await log.apply(peer: peer(2), index: 0, entry: entry("own", 4))
          })
        else {
          Issue.record("expected a conflict")
          return
        }
        #expect(try await isForeign(log, peer(2), 0))
      }
    }
  }

  @Test func aRowRecordedWithoutTheCursorIsRefusedWhereItsIndexIsTaken() async throws {
    try await withPlace { place in
      try await place.withRegisters { log, _ in
        for value in 0..<3 { try await log.exec(MaxRegisterOp("own", UInt64(value))) }
        await expectError(.uniqueViolation, reason: "oplog") {
          try await log.processOne(peer: me, index: 1, entry: entry("foreign", 1))
        }
        #expect(try await !isForeign(log, me, 1))
        try await log.processOne(peer: me, index: 3, entry: entry("raw", 1))
        #expect(try await log.exec(MaxRegisterOp("own", 3)).index == 4)
      }
    }
  }

  @Test func aGroupBeginsWithTheClockThatIsReadAgainForIt() async throws {
    try await withPlace { place in
      let trap = Trap()
      let ahead = (place.wall.wallMilliseconds + 30_000) << 16
      try await place.withRegisters(trap) { log, _ in
        try await log.exec(MaxRegisterOp("own", 0))
        try await overtake(log, peer(7), 0, 1, at: ahead)
        trap.shut()
        let leader = Task { try await log.exec(MaxRegisterOp("own", 1)) }
        try await trap.eventually { trap.arrivedCount == 2 }
        // The rows of this peer are read again, and the register with them.
        let applied = Task {
          try await log.apply(peer: peer(7), index: 1, entry: entry("own", 2))
        }
        try await trap.eventually { log.callCount == 2 }
        let executed = Task { try await log.exec(MaxRegisterOp("own", 3)) }
        try await trap.eventually { log.callCount == 3 }
        trap.open()
        #expect(try await leader.value.index == 1)
        #expect(try await applied.value.new)
        #expect(try await executed.value.timestamp.packed > ahead)
        #expect(log.cursor(of: peer(7)) == 2)
      }
    }
  }

  @Test func theClockIsNotLoweredByATurnThatIsOvertaken() async throws {
    try await withPlace { place in
      let trap = Trap()
      let ahead = (place.wall.wallMilliseconds + 30_000) << 16
      try await place.withRegisters(trap) { log, _ in
        // So that the register's value is remembered.
        for value in 0..<3 { try await log.exec(MaxRegisterOp("own", UInt64(value))) }
        let executed = try await during(trap, { try await log.exec(MaxRegisterOp("own", 3)) }) {
          try await overtake(log, peer(7), 0, 1, at: ahead)
        }
        #expect(executed.timestamp.packed < ahead)
        #expect(try await register(log) == ahead)
        for value in 4..<8 {
          try await log.exec(MaxRegisterOp("own", UInt64(value)))
          #expect(try await register(log) >= ahead)
        }
        try await overtake(log, peer(7), 1, 1, at: ahead + 9)
        try await log.exec(MaxRegisterOp("own", 8))
        #expect(try await register(log) >= ahead + 9)
      }
      try await place.withRegisters { log, _ in
        let executed = try await log.exec(MaxRegisterOp("own", 9))
        #expect(executed.timestamp.packed > ahead + 9)
      }
    }
  }
}
