import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// Making the state of a log anew.
@Suite struct RebuildTests {
  /// - Parameter count: The work stops at the entry of this number, as a crash would stop it.
  private func withLog(
    _ place: TestPlace, stoppingAfter count: Int = .max,
    _ body: (ScriptedLog, Store) async throws -> Void
  ) async throws {
    let left = Countdown(count)
    let script: ScriptedReducer.Script = { _, _, _ in
      if left.isOver() { throw TrapError() }
      return nil
    }
    try await place.withScriptedLog(Shared(script), body)
  }

  /// 600 entries of two peers, a marker among them.
  private func fill(_ log: ScriptedLog) async throws {
    for number in UInt64(0)..<2 {
      let entries = (UInt64(0)..<300).map { index in
        (
          index: index,
          entry: index == 7
            ? .expunged(someHash)
            : entry("r\(index % 40)", (index * 37 + number) % 101, at: index + 5)
        )
      }
      #expect(try await log.apply(peer: peer(number), entries: entries) == 300)
    }
  }

  @Test func theStateIsThatOfTheRows() async throws {
    try await withPlace { place in
      try await withLog(place) { log, store in
        try await fill(log)
        let state = try await store.content(of: ["data:app"])
        let rows = try await store.content(of: ["oplog:app"])
        var batch = Batch()
        let data = try await store.family("data:app")
        batch.put(data, key: [0x01, 0x72, 0x31], value: [9])
        batch.put(data, key: [0x7F], value: Array("foreign".utf8))
        // More than one batch removes, before what is to stay and behind it.
        for space: UInt8 in [0x00, 0x80] {
          for number in UInt8(0)..<200 {
            let key = [space, number] + Array(repeating: number, count: 4_000)
            batch.put(data, key: key, value: [])
          }
        }
        try await store.commit(batch, durability: .buffered)
        #expect(try await store.content(of: ["data:app"]) != state)
        #expect(try await log.rebuildState() == 598)
        #expect(try await store.content(of: ["data:app"]) == state)
        #expect(try await store.content(of: ["oplog:app"]) == rows)
        // Once more finds nothing to change, and the log goes on.
        #expect(try await log.rebuildState() == 598)
        #expect(try await store.content(of: ["data:app"]) == state)
        #expect(try await log.exec(MaxRegisterOp("r1", 5_000)).index == 0)
        #expect(try await log.register("r1") == 5_000)
      }
    }
  }

  @Test func whatWasInterruptedIsCompletedByTheNextOpen() async throws {
    try await withPlace { place in
      var state: [[UInt8]] = []
      try await withLog(place) { log, store in
        try await fill(log)
        state = try await store.content(of: ["data:app"])
      }
      for count in [1, 257, 400] {
        try await withLog(place, stoppingAfter: count) { log, store in
          await #expect(throws: TrapError.self) { try await log.rebuildState() }
          #expect(try await store.content(of: ["data:app"]) != state)
          let file = place.path + "-\(count)"
          await expectError(.unavailable, reason: "rebuild_unfinished") {
            try await log.tracker.export(to: file)
          }
          try await log.tracker.export(to: file, contents: .rows)
        }
        // The same again, at the open.
        await #expect(throws: TrapError.self) {
          try await withLog(place, stoppingAfter: count) { _, _ in }
        }
        try await withLog(place) { (log, store) async throws in
          #expect(try await store.content(of: ["data:app"]) == state)
          #expect(try await findings(store) == [])
          #expect(log.cursors() == PeerCursors([peer(0): 300, peer(1): 300]))
        }
      }
    }
  }

  @Test func aTrimmedLogKeepsItsState() async throws {
    try await withPlace { place in
      try await withLog(place) { log, store in
        try await fill(log)
        let state = try await store.content(of: ["data:app"])
        _ = try await log.tracker.trim(below: PeerCursors([peer(1): 4]), forced: true)
        let message = await expectError(.conflict, reason: "compacted") {
          try await log.rebuildState()
        }
        #expect(message.contains("peer \(peer(1)) below index 4"))
        #expect(try await store.content(of: ["data:app"]) == state)
      }
    }
  }

  /// A processor that was killed while it made anew the state of an empty log.
  @Test func aSnapshotEndsTheMakingAnewOfNothing() async throws {
    try await withPlace { place in
      try await withLog(place) { log, store in
        try await fill(log)
        _ = try await log.tracker.trim(below: PeerCursors([peer(1): 4]), forced: true)
        let file = place.path + ".export"
        try await log.tracker.export(to: file)
        _ = try await RegisterTracker(store: store, prefix: "copy")
        try await damage(store, "copy", key: OpLogKeys.rebuildingKey, value: [])
        try await OpLogArchive(path: file, store: store).install(prefix: "copy")
        let copy = try await ScriptedLog(
          reducer: ScriptedReducer(script: Shared(nil)), store: store, prefix: "copy", selfID: me)
        #expect(try await copy.exec(MaxRegisterOp("r1", 5_000)).index == 0)
        #expect(try await copy.tracker.floors() == PeerCursors([peer(1): 4]))
        await copy.close()
        #expect(try await OpLogVerifier(store: store, prefix: "copy").verify().notes == [])
      }
    }
  }
}
