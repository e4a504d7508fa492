import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

@Suite struct ProcessorExecTests {
  @Test("O-47: local ops get the indices 0, 1, 2 and move the own cursor")
  func indicesFollowEachOther() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        for index in UInt64(0)..<3 {
          let done = try await log.exec(MaxRegisterOp("x", index))
          #expect(done.indices == index..<(index + 1))
          #expect(log.cursor(of: me) == index + 1)
        }
        #expect(try await log.readSince(peer: me, from: 0).map(\.index) == [0, 1, 2])
        #expect(log.counts.executed == 3)
      }
    }
  }

  @Test("O-48: an op that fails leaves no gap")
  func failureLeavesNoGap() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { (log, _) async throws in
        try await log.exec(MaxRegisterOp("x", 1))
        trap.fail(.apply)
        await #expect(throws: TrapError()) { try await log.exec(MaxRegisterOp("x", 2)) }
        trap.fail(nil)
        let done = try await log.exec(MaxRegisterOp("x", 3))
        #expect(done.index == 1)
        #expect(try await log.register("x") == 3)
      }
    }
  }

  @Test func severalOpsShareOneCommitAndOneTime() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        let done = try await log.exec((1...300).map { MaxRegisterOp("x\($0 % 7)", $0) })
        #expect(done.indices == 0..<300)
        #expect(log.counts.commits == 1)
        let entries = try await log.tracker.readEntries(peer: me, from: 0, limit: 1_000)
        let times = entries.map { entry in
          if case .logEntry(let entry) = entry.1 { entry.timestamp } else { Timestamp.zero }
        }
        #expect(times == Array(repeating: done.timestamp, count: 300))
        #expect(try await log.register("x6") == 300)
        await expectError(.invalidArgument) { try await log.exec([]) }
      }
    }
  }

  @Test func severalOpsAreAllRecordedOrNone() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { (log, _) async throws in
        trap.fail(.apply, on: "bad")
        await #expect(throws: TrapError()) {
          try await log.exec([MaxRegisterOp("x", 9), MaxRegisterOp("bad", 1)])
        }
        #expect(log.cursors().isEmpty)
        #expect(try await log.register("x") == nil)
        #expect(try await log.exec(MaxRegisterOp("x", 4)).index == 0)
      }
    }
  }

  @Test func laterOpsSeeTheWritesOfEarlierOnes() async throws {
    try await withPlace { place in
      let recorder = Recorder()
      try await place.withRegisters(publisher: recorder) { (log, _) async throws in
        try await log.exec([
          MaxRegisterOp("x", 5), MaxRegisterOp("x", 3), MaxRegisterOp("x", 9),
        ])
        #expect(try await log.register("x") == 9)
        #expect(recorder.events.map(\.new) == [.unsigned(5), .unsigned(9)])
        #expect(recorder.events.map(\.old) == [nil, .unsigned(5)])
      }
    }
  }

  @Test func anExpectedCursorIsKeptOrRefused() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        #expect(try await log.exec(MaxRegisterOp("x", 1), expectedCursor: 0).index == 0)
        await expectError(.conflict, reason: "cursor_mismatch") {
          try await log.exec(MaxRegisterOp("x", 2), expectedCursor: 0)
        }
        await expectError(.conflict, reason: "cursor_mismatch") {
          try await log.exec(MaxRegisterOp("x", 2), expectedCursor: 2)
        }
        #expect(try await log.register("x") == 1)
        #expect(try await log.exec(MaxRegisterOp("x", 2), expectedCursor: 1).index == 1)
        let outcomes = await withTaskGroup(of: Bool.self) { group in
          for value in 0..<16 {
            group.addTask {
              (try? await log.exec(MaxRegisterOp("y", UInt64(value)), expectedCursor: 2)) != nil
            }
          }
          return await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        #expect(outcomes == 1 && log.cursor(of: me) == 3)
      }
    }
  }

  @Test func aSyncedOpWaitsForASync() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, store) async throws in
        try await log.exec(MaxRegisterOp("x", 1))
        let before = store.commitSyncCount
        try await log.exec(MaxRegisterOp("x", 2), durability: .synced)
        #expect(store.commitSyncCount == before + 1)
        _ = try await log.apply(
          peer: peer(1), index: 0, entry: entry("x", 3), durability: .synced)
        #expect(store.commitSyncCount == before + 2)
      }
    }
  }

  @Test func theReducerMaySkipAndBlock() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { (log, _) async throws in
        trap.refuse("odd", .skip(reason: "not a register"))
        let done = try await log.exec([MaxRegisterOp("x", 1), MaxRegisterOp("odd", 1)])
        #expect(done.skipped == [1] && log.cursor(of: me) == 2)
        #expect(try await log.register("odd") == nil)
        #expect(log.counts.skipped == 1)
        trap.refuse("late", .block(reason: "too early", isRetryable: true))
        await expectError(.unavailable, reason: "blocked") {
          try await log.exec(MaxRegisterOp("late", 1))
        }
        trap.refuse("late", .block(reason: "never", isRetryable: false))
        await expectError(.invalidArgument, reason: "blocked") {
          try await log.exec(MaxRegisterOp("late", 1))
        }
        #expect(log.cursor(of: me) == 2)
      }
    }
  }

  @Test("O-58: a second processor of a prefix is refused until the first is closed")
  func onePrefixHasOneProcessor() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let open = { (prefix: String) in
          try await Registers(
            reducer: TestReducer(), store: store, prefix: prefix, selfID: me)
        }
        let first = try await open("app")
        await expectError(.conflict, reason: "prefix_in_use") { _ = try await open("app") }
        let other = try await open("app2")
        try await first.exec(MaxRegisterOp("x", 1))
        #expect(other.cursors().isEmpty)
        await first.close()
        await expectError(.closed) { try await first.exec(MaxRegisterOp("x", 2)) }
        #expect(
          await syncError { try await first.apply(peer: me, index: 5, entry: entry("x", 1)) } != nil
        )
        let again = try await open("app")
        #expect(again.cursor(of: me) == 1)
        await again.close()
        await other.close()
        // One that was dropped open gives its prefix back as well.
        var dropped: Registers? = try await open("app")
        #expect(dropped?.cursor(of: me) == 1)
        dropped = nil
        try await open("app").close()
      }
    }
  }

  @Test("O-93: writers at once: events come in the order of the commits")
  func eventsKeepTheOrderOfCommits() async throws {
    try await withPlace { place in
      let recorder = Recorder()
      try await place.withRegisters(publisher: recorder) { (log, _) async throws in
        await withTaskGroup(of: Void.self) { group in
          for writer in 0..<16 {
            group.addTask {
              for value in 0..<50 {
                _ = try? await log.exec(MaxRegisterOp("w\(writer)", UInt64(value)))
              }
            }
          }
        }
        try await eventually { recorder.events.count == 800 }
        let rows = try await log.tracker.readEntries(peer: me, from: 0, limit: 1_000)
        let ops = rows.compactMap { row -> MaxRegisterOp? in
          if case .logEntry(let entry) = row.1 { entry.op } else { nil }
        }
        #expect(recorder.events.map(\.name) == ops.map(\.name))
        #expect(recorder.events.map(\.new) == ops.map(\.value))
      }
    }
  }
}
