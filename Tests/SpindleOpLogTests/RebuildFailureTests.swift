import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// Rows, with something that happens when a page of them is read.
private struct WatchedTracker: HistoryTracker, DuplicateRejecting {
  let base: RegisterTracker
  let onRead = Shared<(@Sendable (PeerID, UInt64) async throws -> Void)?>(nil)

  init(store: Store, prefix: String) async throws {
    base = try await RegisterTracker(store: store, prefix: prefix)
  }

  func trackOne(
    peer: PeerID, index: UInt64, timestamp: Timestamp, serverUser: UserID?, op: MaxRegisterOp,
    into batch: inout Batch
  ) throws {
    try base.trackOne(
      peer: peer, index: index, timestamp: timestamp, serverUser: serverUser, op: op, into: &batch)
  }

  func trackExpunged(
    peer: PeerID, index: UInt64, hash: EntryHash, into batch: inout Batch
  ) throws {
    try base.trackExpunged(peer: peer, index: index, hash: hash, into: &batch)
  }

  func allCursors() async throws -> PeerCursors { try await base.allCursors() }

  func readEntries(
    peer: PeerID, from index: UInt64, limit: Int
  ) async throws -> [(UInt64, DecodedEntry<MaxRegisterOp>)] {
    try await onRead.value?(peer, index)
    return try await base.readEntries(peer: peer, from: index, limit: limit)
  }

  func floor(of peer: PeerID) async throws -> UInt64 { try await base.floor(of: peer) }
}

/// A document that every entry writes anew.
private struct DocumentReducer: IdempotentReducer {
  static let byteCount = 1 << 20

  func prepare(
    _ op: MaxRegisterOp, _ context: OpContext, _ view: ReducerView
  ) async throws -> PrepareOutcome<UInt8> { .proceed(UInt8(truncatingIfNeeded: context.index)) }

  func apply(
    _ op: MaxRegisterOp, _ context: OpContext, _ state: UInt8, into batch: inout ReducerBatch
  ) throws -> UInt8 {
    batch.put([1], Array(repeating: state, count: Self.byteCount))
    return state
  }

  func postApply(_ state: UInt8) throws -> UInt8? { nil }
}

/// What stands in the way of making a state anew, and what it does to the log.
@Suite struct RebuildFailureTests {
  private let script = Shared<ScriptedReducer.Script?>(nil)
  private static let count: UInt64 = 300

  private func withLog(
    _ place: TestPlace, _ body: (ScriptedLog, Store) async throws -> Void
  ) async throws { try await place.withScriptedLog(script, body) }

  /// 600 entries of two peers; gives the state that they make.
  private func fill<R: Reducer, T>(
    _ log: Processor<R, T>, _ store: Store
  ) async throws -> [[UInt8]] where R.Op == MaxRegisterOp {
    for number in UInt64(0)..<2 {
      let entries = (0..<Self.count).map { index in
        (index: index, entry: entry("r\(index % 40)", (index * 37 + number) % 101, at: index + 5))
      }
      #expect(try await log.apply(peer: peer(number), entries: entries) == Int(Self.count))
    }
    return try await store.content(of: ["data:app"])
  }

  private func failing(at index: UInt64, of peer: PeerID) -> ScriptedReducer.Script {
    { _, context, _ in
      if context.peer == peer, context.index == index { throw TrapError() }
      return nil
    }
  }

  // MARK: Floors

  @Test func noFloorRisesWhileAStateIsHalf() async throws {
    try await withPlace { place in
      var state: [[UInt8]] = []
      try await withLog(place) { log, store in
        state = try await fill(log, store)
        let tracker = try await RegisterTracker(store: store, prefix: "app")
        let refusals = Countdown(3)
        script.value = { _, context, _ in
          if context.index == 7 {
            await expectError(.unavailable, reason: "rebuild_unfinished") {
              _ = try await tracker.trim(below: PeerCursors([peer(1): 4]), forced: true)
            }
            _ = refusals.isOver()
          }
          return nil
        }
        #expect(try await log.rebuildState() == 2 * Self.count)
        #expect(refusals.isOver())
        script.value = failing(at: 290, of: peer(1))
        await #expect(throws: TrapError.self) { try await log.rebuildState() }
      }
      try await place.withStore { store in
        let tracker = try await RegisterTracker(store: store, prefix: "app")
        await expectError(.unavailable, reason: "rebuild_unfinished") {
          _ = try await tracker.trim(below: PeerCursors([peer(1): 4]), forced: true)
        }
        #expect(try await tracker.floors().count == 0)
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(report.findings == [])
        #expect(report.notes.contains { $0.contains("made anew and is not whole") })
      }
      script.value = nil
      try await withLog(place) { log, store in
        #expect(try await store.content(of: ["data:app"]) == state)
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(!report.notes.contains { $0.contains("made anew") })
        let trim = try await log.tracker.trim(below: PeerCursors([peer(1): 4]), forced: true)
        #expect(trim.rows == 4)
      }
    }
  }

  /// The floor rises behind the look at it and before the mark.
  @Test func aTrimThatIsFasterLeavesTheStateAsItIs() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await Processor<ScriptedReducer, WatchedTracker>(
          reducer: ScriptedReducer(script: script), store: store, prefix: "app", selfID: me)
        let state = try await fill(log, store)
        // Not the tracker, which holds what watches it.
        let rows = log.tracker.base
        log.tracker.onRead.value = { reader, index in
          if reader == peer(1), index >= 256 {
            _ = try await rows.trim(below: PeerCursors([peer(0): 1]), forced: true)
          }
        }
        await expectError(.conflict, reason: "compacted") { try await log.rebuildState() }
        #expect(try await store.content(of: ["data:app"]) == state)
        let mark = try await store.get(
          store.family("oplog:app"), key: OpLogKeys.rebuildingKey)
        #expect(mark == nil)
        #expect(try await log.exec(MaxRegisterOp("x", 1)).index == 0)
        await log.close()
      }
    }
  }

  // MARK: Order

  @Test func entriesWaitForThoseOfOtherPeers() async throws {
    try await withPlace { place in
      // Each entry needs the one before it of the other peer.
      script.value = { op, context, view in
        let needed =
          context.peer == peer(0) ? "b\(context.index)" : "a\(Int(context.index) - 1)"
        if context.peer == peer(1), context.index == 0 { return nil }
        if try await view.register(needed) != nil { return nil }
        return .block(reason: "it needs \(needed)", isRetryable: true)
      }
      try await withLog(place) { log, store in
        for index in UInt64(0)..<40 {
          _ = try await log.apply(peer: peer(1), index: index, entry: entry("b\(index)", 1))
          _ = try await log.apply(peer: peer(0), index: index, entry: entry("a\(index)", 1))
        }
        let state = try await store.content(of: ["data:app"])
        #expect(try await log.rebuildState() == 80)
        #expect(try await store.content(of: ["data:app"]) == state)
        let usual = try #require(script.value)
        script.value = { op, context, view in
          if op.name == Array("a5".utf8) {
            return .block(reason: "never again", isRetryable: false)
          }
          return try await usual(op, context, view)
        }
        let message = await expectError(.conflict, reason: "blocked") {
          try await log.rebuildState()
        }
        #expect(message.contains("index 5 of peer \(peer(0))") || message.contains("it needs a5"))
        await expectError(.unavailable, reason: "rebuild_unfinished") {
          try await log.exec(MaxRegisterOp("x", 1))
        }
        script.value = usual
        #expect(try await log.rebuildState() == 80)
        #expect(try await store.content(of: ["data:app"]) == state)
      }
    }
  }

  // MARK: Sizes

  @Test func commitsAreBoundedByWhatTheReducerWrites() async throws {
    try await withPlace { place in
      let writes = Shared(0)
      var hooks = StoreHooks.manual
      hooks.afterWrite = { writes.update { $0 += 1 } }
      let store = try await Store.small(at: place.path, clock: place.wall, hooks: hooks)
      let log = try await Processor<DocumentReducer, RegisterTracker>(
        reducer: DocumentReducer(), store: store, prefix: "app", selfID: me)
      let entries = (UInt64(0)..<30).map { (index: $0, entry: entry("x", $0)) }
      #expect(try await log.apply(peer: peer(1), entries: entries) == 30)
      let state = try await store.content(of: ["data:app"])
      let before = writes.value
      #expect(try await log.rebuildState() == 30)
      let perCommit = LogPage.byteLimit / DocumentReducer.byteCount
      // Beside them the mark, the removal and the end.
      #expect(writes.value - before == 3 + (30 + perCommit - 1) / perCommit)
      #expect(try await store.content(of: ["data:app"]) == state)
      await log.close()
      try await store.close()
    }
  }

  @Test func upkeepIsNotBoundByTheLimitOfAValue() async throws {
    try await withPlace { place in
      let settings = OpLogSettings(indexes: .all)
      var state: [[UInt8]] = []
      try await withLog(place) { log, store in
        state = try await fill(log, store)
        for number in 0..<100 {
          try await log.exec(MaxRegisterOp("r0", 0), token: IdempotencyToken("call \(number)"))
        }
      }
      var small = StoreSettings.small
      small.valueByteLimit = 500
      let store = try await Store.small(at: place.path, settings: small, clock: place.wall)
      let tracker = try await RegisterTracker(store: store, prefix: "app", settings: settings)
      #expect(try await tracker.sweepTokens(now: .max) == 100)
      let log = try await ScriptedLog(
        reducer: ScriptedReducer(script: script), store: store, prefix: "app", selfID: me)
      await expectError(.invalidArgument) {
        try await log.exec(MaxRegisterOp(String(repeating: "x", count: 600), 1))
      }
      #expect(try await log.rebuildState() == 2 * Self.count + 100)
      #expect(try await store.content(of: ["data:app"]) == state)
      let cursors = PeerCursors([peer(0): Self.count, peer(1): Self.count])
      #expect(try await tracker.trim(below: cursors, forced: true).rows == 2 * Self.count)
      #expect(try await findings(store) == [])
      await log.close()
      try await store.close()
    }
  }

  // MARK: Failures

  @Test func nothingIsWrittenOverHalfAState() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { (log, store) async throws in
        let state = try await fill(log, store)
        let arrived = trap.arrivedCount
        trap.fail(.prepare, on: "r3")
        trap.shut()
        let rebuild = Task { try await log.rebuildState() }
        try await trap.eventually { trap.arrivedCount > arrived }
        // They come while it is at work, and are served together.
        let own = Task { _ = try await log.exec(MaxRegisterOp("x", 1)) }
        let foreign = Task {
          _ = try await log.apply(peer: peer(2), index: 0, entry: entry("x", 2))
        }
        let view = Task { _ = try await log.snapshot() }
        try await trap.eventually { log.callCount == 4 }
        trap.open()
        await #expect(throws: TrapError()) { try await rebuild.value }
        for call in [own, view] {
          await expectError(.unavailable, reason: "rebuild_unfinished") { try await call.value }
        }
        guard case .backend(let cause) = await syncError({ try await foreign.value }) else {
          Issue.record("expected a refusal")
          return
        }
        #expect((cause as? SpindleError)?.reason == "rebuild_unfinished")
        await expectError(.unavailable, reason: "rebuild_unfinished") {
          try await log.exec(MaxRegisterOp("x", 1))
        }
        let each = try await log.exec(each: [MaxRegisterOp("x", 1), MaxRegisterOp("y", 1)])
        #expect(each.count == 2 && each.allSatisfy { (try? $0.get()) == nil })
        #expect(log.cursor(of: me) == 0 && log.cursor(of: peer(2)) == 0)
        trap.fail(nil)
        #expect(try await log.rebuildState() == 2 * Self.count)
        #expect(try await store.content(of: ["data:app"]) == state)
        #expect(try await log.exec(MaxRegisterOp("x", 1)).index == 0)
        _ = try await log.snapshot()
      }
    }
  }

  @Test func whoIsCancelledLeavesNoHalfState() async throws {
    try await withPlace { place in
      try await withLog(place) { log, store in
        let state = try await fill(log, store)
        let (hasBegun, mayGoOn) = (Shared(false), Shared(false))
        script.value = { _, _, _ in
          hasBegun.value = true
          while !mayGoOn.value { await Task.yield() }
          try Task.checkCancellation()
          return nil
        }
        let rebuild = Task { try await log.rebuildState() }
        do { try await eventually { hasBegun.value } } catch { mayGoOn.value = true }
        rebuild.cancel()
        mayGoOn.value = true
        #expect(try await rebuild.value == 2 * Self.count)
        #expect(try await store.content(of: ["data:app"]) == state)
        script.value = nil
        #expect(try await log.exec(MaxRegisterOp("x", 1)).index == 0)
      }
    }
  }

  @Test(arguments: [UInt64(0), 5, 255, 256, 298])
  func aLogWithAHoleKeepsItsState(index: UInt64) async throws {
    try await withPlace { place in
      try await withLog(place) { log, store in
        let state = try await fill(log, store)
        try await damage(store, "app", key: OpLogKeys.entry(peer(1), index), value: nil)
        let message = await expectError(.corruption, reason: "lost_entry") {
          try await log.rebuildState()
        }
        #expect(message.contains("index \(index) "))
        #expect(try await store.content(of: ["data:app"]) == state)
        #expect(try await log.exec(MaxRegisterOp("x", 1)).index == 0)
      }
      try await withLog(place) { log, _ in #expect(log.cursor(of: me) == 1) }
    }
  }

  @Test func aRowThatCannotBeReadIsFoundBeforeTheStateIsTouched() async throws {
    try await withPlace { place in
      try await withLog(place) { log, store in
        let state = try await fill(log, store)
        try await damage(store, "app", key: OpLogKeys.entry(peer(1), 280), value: [1, 2, 3])
        await expectError(.corruption, reason: "corrupt_row") { try await log.rebuildState() }
        #expect(try await store.content(of: ["data:app"]) == state)
        #expect(try await log.exec(MaxRegisterOp("x", 1)).index == 0)
      }
    }
  }

  @Test func aRowThatIsLostMeanwhileIsNotPassedOver() async throws {
    try await withPlace { place in
      try await withLog(place) { log, store in
        _ = try await fill(log, store)
        script.value = { _, context, _ in
          if context.peer == peer(1), context.index == 0 {
            try await damage(store, "app", key: OpLogKeys.entry(peer(1), 270), value: nil)
          }
          return nil
        }
        await expectError(.corruption, reason: "lost_entry") { try await log.rebuildState() }
        await expectError(.unavailable, reason: "rebuild_unfinished") {
          try await log.exec(MaxRegisterOp("x", 1))
        }
      }
      await expectError(.corruption, reason: "lost_entry") {
        try await withLog(place) { _, _ in }
      }
    }
  }
}
