import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

@Suite struct ProcessorApplyTests {
  @Test("O-49: entries are new once; a repeat changes nothing, other content is a conflict")
  func repeatsAreToldFromConflicts() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        for index in UInt64(0)..<3 {
          let applied = try await log.apply(
            peer: peer(1), index: index, entry: entry("x", 10 + index, at: 5 + index))
          #expect(applied.new)
        }
        let again = try await log.apply(peer: peer(1), index: 1, entry: entry("x", 11, at: 6))
        #expect(!again.new)
        for other in [
          entry("x", 99, at: 6), entry("x", 11, at: 7), entry("y", 11, at: 6),
          entry("x", 11, at: 6, user: someUser), .expunged(someHash),
        ] {
          let error = await syncError {
            try await log.apply(peer: peer(1), index: 1, entry: other)
          }
          guard case .conflict(peer(1), 1) = error else {
            Issue.record("expected a conflict, got \(String(describing: error))")
            continue
          }
        }
        #expect(try await log.register("x") == 12 && log.cursor(of: peer(1)) == 3)
        #expect(try await log.tracker.readRows(peer: peer(1), from: 0, limit: 10).count == 3)
        #expect(log.counts.repeated == 1 && log.counts.conflicts == 5)
      }
    }
  }

  @Test func aMarkerAndTheEntryItStandsForAreTheSame() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        let first = entry("x", 1)
        let hash = try #require(try log.tracker.hash(peer: peer(1), index: 0, entry: first))
        _ = try await log.apply(peer: peer(1), index: 0, entry: first)
        #expect(try await !log.apply(peer: peer(1), index: 0, entry: .expunged(hash)).new)
        let second = entry("x", 2)
        let other = try #require(try log.tracker.hash(peer: peer(1), index: 1, entry: second))
        _ = try await log.apply(peer: peer(1), index: 1, entry: .expunged(other))
        #expect(try await !log.apply(peer: peer(1), index: 1, entry: second).new)
        #expect(try await log.register("x") == 1)
      }
    }
  }

  @Test("O-50: an entry ahead of the cursor is refused; then the missing ones are taken")
  func gapsAreRefused() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        for index in UInt64(0)..<3 {
          _ = try await log.apply(peer: peer(1), index: index, entry: entry("x", index))
        }
        await expectMismatch(3, 5) {
          try await log.apply(peer: peer(1), index: 5, entry: entry("x", 50))
        }
        #expect(log.cursor(of: peer(1)) == 3)
        #expect(try await log.register("x") == 2)
        for index in UInt64(3)..<6 {
          let applied = try await log.apply(
            peer: peer(1), index: index, entry: entry("x", index))
          #expect(applied.new)
        }
        #expect(log.counts.mismatched == 1)
      }
    }
  }

  @Test("O-51: a peer never seen starts at 0")
  func unknownPeersStartAtZero() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        await expectMismatch(0, 1) {
          try await log.apply(peer: peer(1), index: 1, entry: entry("x", 1))
        }
        #expect(log.cursors().isEmpty)
      }
    }
  }

  @Test("O-52: a marker moves the cursor and nothing else")
  func markersMoveTheCursor() async throws {
    try await withPlace { place in
      let recorder = Recorder()
      try await place.withRegisters(publisher: recorder) { (log, _) async throws in
        _ = try await log.apply(peer: peer(1), index: 0, entry: entry("x", 1))
        let clock = try await log.storedClock()
        #expect(try await log.apply(peer: peer(1), index: 1, entry: .expunged(someHash)).new)
        #expect(log.cursor(of: peer(1)) == 2)
        #expect(try await log.storedClock() == clock)
        #expect(try await !log.apply(peer: peer(1), index: 1, entry: .expunged(someHash)).new)
        #expect(try await log.apply(peer: peer(1), index: 2, entry: entry("x", 3)).new)
        #expect(recorder.events.count == 2)
        #expect(try await log.register("x") == 3)
      }
    }
  }

  @Test("O-53: a log of markers alone has its cursor and no state")
  func markersAlone() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        let entries = (0..<300).map {
          (index: UInt64($0), entry: DecodedEntry<MaxRegisterOp>.expunged(someHash))
        }
        let count = try await log.apply(peer: peer(1), entries: entries)
        #expect(count == 300)
        #expect(log.cursor(of: peer(1)) == 300)
        let registers = try await log.view.registers(limit: 10)
        #expect(registers.isEmpty)
      }
      try await place.withRegisters { (log, _) async throws in
        #expect(log.cursor(of: peer(1)) == 300)
      }
    }
  }

  @Test func pagesAreAppliedInOneCommitAndStopAtTheFirstThatFails() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { (log, _) async throws in
        let page = (0..<256).map { (index: UInt64($0), entry: entry("x", UInt64($0))) }
        #expect(try await log.apply(peer: peer(1), entries: page) == 256)
        #expect(log.counts.commits == 1)
        #expect(try await log.apply(peer: peer(1), entries: page) == 0)
        #expect(try await log.register("x") == 255)

        trap.fail(.apply, on: "bad")
        let mixed = (254..<260).map {
          (index: UInt64($0), entry: entry($0 == 258 ? "bad" : "x", UInt64($0)))
        }
        let run = await log.applyRun(peer: peer(1), entries: mixed)
        #expect(run.outcomes.map(\.new) == [false, false, true, true])
        guard case .backend(let error) = run.failure, error is TrapError else {
          Issue.record("expected the reducer's error, got \(String(describing: run.failure))")
          return
        }
        #expect(log.cursor(of: peer(1)) == 258)
        #expect(try await log.register("x") == 257)
        trap.fail(nil)
        #expect(try await log.apply(peer: peer(1), entries: mixed) == 2)
        #expect(try await log.apply(peer: peer(1), entries: []) == 0)
      }
    }
  }

  @Test("O-54: one entry offered by 16 tasks at once is new to one, with one event")
  func oneEntryIsAppliedOnce() async throws {
    try await withPlace { place in
      let (trap, recorder) = (Trap(), Recorder())
      try await place.withRegisters(trap, publisher: recorder) { (log, _) async throws in
        for round in UInt64(0)..<20 {
          trap.shut()
          let newCount = try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<16 {
              group.addTask {
                (try? await log.apply(
                  peer: peer(1), index: round, entry: entry("x", round + 1)))?.new ?? false
              }
            }
            // One leads and stands in `prepare`; all others wait behind it.
            try await trap.eventually { log.callCount == 16 }
            trap.open()
            return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
          }
          #expect(newCount == 1)
        }
        try await eventually { recorder.events.count >= 20 }
        #expect(recorder.events.count == 20 && log.cursor(of: peer(1)) == 20)
        #expect(log.counts.repeated == 300)
      }
    }
  }

  @Test("O-55: local and foreign entries of many peers at once leave every log without gaps")
  func manyWritersAtOnce() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        try await withThrowingTaskGroup(of: Void.self) { group in
          for writer in UInt64(0)..<8 {
            group.addTask {
              for index in UInt64(0)..<50 {
                _ = try await log.apply(
                  peer: peer(writer), index: index, entry: entry("p\(writer)", index))
              }
            }
            group.addTask {
              for value in UInt64(0)..<25 { try await log.exec(MaxRegisterOp("me", value)) }
            }
          }
          try await group.waitForAll()
        }
        #expect(log.cursor(of: me) == 200)
        for writer in UInt64(0)..<8 {
          #expect(log.cursor(of: peer(writer)) == 50)
          #expect(try await log.register("p\(writer)") == 49)
          let rows = try await log.tracker.readRows(peer: peer(writer), from: 0, limit: 100)
          #expect(rows.map(\.index) == Array(0..<50))
        }
        #expect(try await log.tracker.readRows(peer: me, from: 0, limit: 1_000).count == 200)
        #expect(log.counts.commits <= 600)
        try await expectChainsHold(log.tracker)
      }
    }
  }

  @Test("O-56: rows that came past the processor are found, and it goes on behind them")
  func staleCursorsAreRepaired() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, store) async throws in
        _ = try await log.apply(peer: peer(1), index: 0, entry: entry("x", 1))
        var batch = Batch()
        for index in UInt64(1)...2 {
          try log.tracker.trackOne(
            peer: peer(1), index: index, timestamp: Timestamp(packed: 5), serverUser: nil,
            op: MaxRegisterOp("x", 9), into: &batch)
        }
        try await store.commit(batch, durability: .buffered)
        let same = try await log.apply(peer: peer(1), index: 1, entry: entry("x", 9))
        #expect(!same.new && log.cursor(of: peer(1)) == 3)
        #expect(log.counts.repairs == 1)
        let error = await syncError {
          try await log.apply(peer: peer(1), index: 2, entry: entry("x", 8))
        }
        guard case .conflict = error else {
          Issue.record("expected a conflict")
          return
        }
        #expect(try await log.apply(peer: peer(1), index: 3, entry: entry("x", 4)).new)
        #expect(try await log.register("x") == 4)
      }
    }
  }

  @Test func staleCursorsAmongOthersCostOnlyTheirOwn() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { (log, store) async throws in
        var batch = Batch()
        try log.tracker.trackOne(
          peer: me, index: 0, timestamp: Timestamp(packed: 5), serverUser: nil,
          op: MaxRegisterOp("x", 9), into: &batch)
        try await store.commit(batch, durability: .buffered)
        trap.shut()
        try await withThrowingTaskGroup(of: Void.self) { group in
          for number in UInt64(1)...8 {
            group.addTask {
              let applied = try await log.apply(
                peer: peer(number), index: 0, entry: entry("p", number))
              #expect(applied.new)
            }
          }
          try await trap.eventually { log.callCount == 8 }
          group.addTask {
            let done = try await log.exec(MaxRegisterOp("x", 10))
            #expect(done.index == 1)
          }
          try await trap.eventually { log.callCount == 9 }
          trap.open()
          try await group.waitForAll()
        }
        #expect(log.cursors().count == 9 && log.cursor(of: me) == 2)
        #expect(try await log.register("p") == 8)
        #expect(try await log.register("x") == 10)
      }
    }
  }

  @Test("O-57: the own log is restored by apply, and exec goes on behind it")
  func ownHistoryIsRestored() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        await expectMismatch(0, 3) {
          try await log.apply(peer: me, index: 3, entry: entry("x", 1))
        }
        for index in UInt64(0)..<3 {
          _ = try await log.apply(
            peer: me, index: index, entry: entry("x", index, at: 1_700_000_000_500 << 16))
        }
        let done = try await log.exec(MaxRegisterOp("x", 7))
        #expect(done.index == 3)
        #expect(done.timestamp > Timestamp(packed: 1_700_000_000_500 << 16))
        #expect(try await log.apply(peer: me, index: 4, entry: entry("x", 8)).new)
        #expect(try await log.exec(MaxRegisterOp("x", 9)).index == 5)
      }
    }
  }

  @Test("O-59: an old index is answered while a writer holds the turn")
  func repeatsWaitForNobody() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { (log, _) async throws in
        _ = try await log.apply(peer: peer(1), index: 0, entry: entry("x", 1))
        trap.shut()
        async let blocked = log.exec(MaxRegisterOp("y", 1))
        try await trap.eventually { trap.arrivedCount == 2 }
        #expect(try await !log.apply(peer: peer(1), index: 0, entry: entry("x", 1)).new)
        #expect(try await log.readSince(peer: peer(1), from: 0).count == 1)
        #expect(log.cursor(of: me) == 0)
        trap.open()
        #expect(try await blocked.index == 0)
      }
    }
  }

  @Test("O-45: an entry from the future is refused without a trace, and taken when its time comes")
  func skewedEntriesWait() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        let wall = place.wall.wallMilliseconds
        let future = entry("x", 1, at: (wall + 60_001) << 16)
        let error = await syncError {
          try await log.apply(peer: peer(1), index: 0, entry: future)
        }
        guard case .skew(peer(1), 0, .skew) = error else {
          Issue.record("expected skew, got \(String(describing: error))")
          return
        }
        #expect(log.cursors().isEmpty && log.counts.skewed == 1)
        #expect(try await log.tracker.row(peer: peer(1), index: 0) == nil)
        #expect(try await log.storedClock() == nil)
        place.wall.set(wall + 1)
        #expect(try await log.apply(peer: peer(1), index: 0, entry: future).new)
      }
    }
  }

  @Test("O-46: a peer from the future does not hold up another, in one commit or not")
  func skewStopsOnePeerOnly() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { (log, _) async throws in
        let far = (place.wall.wallMilliseconds + 3_600_000) << 16
        trap.shut()
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask { _ = try await log.exec(MaxRegisterOp("y", 1)) }
          try await trap.eventually { trap.arrivedCount == 1 }
          group.addTask {
            let error = await syncError {
              try await log.apply(peer: peer(1), index: 0, entry: entry("x", 1, at: far))
            }
            guard case .skew = error else {
              Issue.record("expected skew")
              return
            }
          }
          for number in UInt64(2)..<6 {
            group.addTask {
              let applied = try await log.apply(
                peer: peer(number), index: 0, entry: entry("x", number))
              #expect(applied.new)
            }
          }
          try await trap.eventually { log.callCount == 6 }
          trap.open()
          try await group.waitForAll()
        }
        #expect(log.cursors().count == 5 && log.cursor(of: peer(1)) == 0)
        let stored = try #require(try await log.storedClock())
        #expect(stored.packed < far)
      }
    }
  }

  @Test func fallingTimestampsAreRefusedOnDemand() async throws {
    try await withPlace { place in
      var settings = ProcessorSettings()
      settings.refusesFallingTimestamps = true
      try await place.withRegisters(settings: settings) { (log, _) async throws in
        _ = try await log.apply(peer: peer(1), index: 0, entry: entry("x", 1, at: 9))
        let error = await syncError {
          try await log.apply(peer: peer(1), index: 1, entry: entry("x", 2, at: 8))
        }
        guard case .nonMonotonicTimestamp(peer(1), 1) = error else {
          Issue.record("expected a refusal of the time")
          return
        }
        #expect(try await log.apply(peer: peer(1), index: 1, entry: entry("x", 2, at: 9)).new)
        #expect(try await log.apply(peer: peer(2), index: 0, entry: entry("x", 2, at: 1)).new)
      }
      try await place.withRegisters(settings: settings) { (log, _) async throws in
        let error = await syncError {
          try await log.apply(peer: peer(1), index: 2, entry: entry("x", 2, at: 8))
        }
        guard case .nonMonotonicTimestamp(peer(1), 2) = error else {
          Issue.record("expected a refusal of the time after reopening")
          return
        }
      }
      try await place.withRegisters { (log, _) async throws in
        #expect(try await log.apply(peer: peer(1), index: 2, entry: entry("x", 2, at: 8)).new)
      }
    }
  }

  @Test func blockedEntriesSayWhetherToTryAgain() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { (log, _) async throws in
        trap.refuse("x", .block(reason: "needs its parent", isRetryable: true))
        let error = await syncError {
          try await log.apply(peer: peer(1), index: 0, entry: entry("x", 1))
        }
        guard case .blocked(peer(1), 0, "needs its parent", isRetryable: true) = error else {
          Issue.record("expected a block")
          return
        }
        trap.refuse("x", .skip(reason: "nonsense"))
        #expect(try await log.apply(peer: peer(1), index: 0, entry: entry("x", 1)).new)
        #expect(try await log.register("x") == nil && log.cursor(of: peer(1)) == 1)
      }
    }
  }

  @Test func theLastIndexIsRefused() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, store) async throws in
        try await log.processOne(peer: peer(1), index: .max - 1, entry: entry("x", 1))
        #expect(log.cursor(of: peer(1)) == .max)
        let error = await syncError {
          try await log.apply(peer: peer(1), index: .max, entry: entry("x", 1))
        }
        guard case .backend(let cause as SpindleError) = error else {
          Issue.record("expected an overflow")
          return
        }
        #expect(cause.reason == "index_overflow")
      }
    }
  }

  @Test func rawIngestMakesHolesAndRefusesRepeats() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        try await log.processOne(peer: peer(1), index: 4, entry: entry("x", 1))
        #expect(log.cursor(of: peer(1)) == 5)
        await expectError(.uniqueViolation, reason: "oplog") {
          try await log.processOne(peer: peer(1), index: 4, entry: entry("x", 1))
        }
        try await log.processOne(peer: peer(1), index: 2, entry: entry("x", 7))
        #expect(log.cursor(of: peer(1)) == 5)
        #expect(try await log.readSince(peer: peer(1), from: 0).map(\.index) == [2, 4])
        #expect(try await log.register("x") == 7)
      }
    }
  }

  /// As a recovery may leave a log.
  @Test func anEntryForALostRowIsNotSaidToBeThere() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, store) async throws in
        let page = (0..<6).map { (index: UInt64($0), entry: entry("x", UInt64($0))) }
        #expect(try await log.apply(peer: peer(1), entries: page) == 6)
        _ = try await log.tracker.trim(below: PeerCursors([peer(1): 2]), forced: true)
        var batch = Batch()
        batch.delete(log.tracker.logFamily, key: OpLogKeys.entry(peer(1), 3))
        try await store.commit(batch, durability: .buffered)
        let run = await log.applyRun(peer: peer(1), entries: page)
        #expect(run.outcomes.map(\.new) == [false, false, false])
        guard case .backend(let cause as SpindleError)? = run.failure else {
          Issue.record("expected a lost entry, not \(String(describing: run.failure))")
          return
        }
        #expect(cause.kind == .corruption && cause.reason == "lost_entry")
        #expect(cause.message.contains("\(peer(1)) has lost the entry at index 3"))
        #expect(log.counts.repeated == 3)
      }
    }
  }

  @Test func pagesAreBoundedByEntriesAndBytes() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        _ = try await log.exec((0..<300).map { MaxRegisterOp("x", $0) })
        #expect(try await log.readSince(peer: me, from: 0).count == 256)
        #expect(try await log.readSince(peer: me, from: 256).count == 44)
        #expect(try await log.readSince(peer: me, from: 300).isEmpty)
        let big = [UInt8](repeating: 7, count: 3 << 20)
        for _ in 0..<3 { try await log.exec(MaxRegisterOp(name: [1], value: .bytes(big))) }
        #expect(try await log.readSince(peer: me, from: 300).count == 2)
        #expect(try await log.readSince(peer: me, from: 302).count == 1)
      }
    }
  }
}

extension Processor {
  /// The clock's register.
  func storedClock() async throws -> Timestamp? {
    let family = try await store.family("oplog:" + prefix)
    guard let bytes = try await store.get(family, key: OpLogKeys.clockKey) else { return nil }
    var reader = ByteReader(bytes.span)
    return Timestamp(packed: try reader.readBigEndian(UInt64.self))
  }
}

/// Checks that each row carries the head that follows from those before it.
func expectChainsHold<Op>(_ tracker: LogIndexTracker<Op>) async throws {
  for (peer, next) in try await tracker.allCursors().sorted {
    var head = ChainHead.seed(of: peer)
    for row in try await tracker.readRows(peer: peer, from: 0, limit: Int(next)) {
      head = head.appending(row.row.hash(peer: peer, index: row.index))
      #expect(row.row.chain == head)
    }
  }
}
