import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

@Suite struct ExecEachTests {
  @Test func anOpThatFailsFailsAloneAndLeavesNoGap() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { (log, store) async throws in
        trap.fail(.apply, on: "bad")
        trap.refuse("no", .block(reason: "no", isRetryable: false))
        trap.refuse("past", .skip(reason: "past"))
        let names = ["a", "bad", "b", "no", "past", "c", "bad"]
        let results = try await log.exec(
          each: names.enumerated().map { MaxRegisterOp($1, UInt64($0) + 1) })
        #expect(results.map { try? $0.get().index } == [0, nil, 1, nil, 2, 3, nil])
        #expect(try results[4].get().skipped == [0] && results[5].get().skipped == [])
        #expect(throws: TrapError()) { try results[1].get() }
        #expect(throws: SpindleError.self) { try results[3].get() }
        #expect(log.counts.commits == 1 && log.counts.executed == 4)
        #expect(log.cursor(of: me) == 4)
        #expect(try await log.register("c") == 6)
        #expect(try await log.register("bad") == nil)
        #expect(try await log.exec(MaxRegisterOp("x", 1)).index == 4)
        #expect(try await findings(store) == [])
        // None succeeds: nothing is committed.
        let none = try await log.exec(each: [MaxRegisterOp("bad", 1)])
        #expect(none.count == 1 && log.cursor(of: me) == 5)
        #expect(try await log.exec(each: []).isEmpty)
      }
    }
  }

  @Test func manyOpsShareCommitsWithOthers() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { (log, store) async throws in
        trap.fail(.prepare, on: "bad")
        let counts = try await withThrowingTaskGroup(of: Int.self) { group in
          for task in 0..<8 {
            group.addTask {
              let ops = (0..<600).map {
                MaxRegisterOp($0 % 3 == 0 ? "bad" : "x\(task)", UInt64($0))
              }
              let results = try await log.exec(each: ops)
              let indices = results.compactMap { try? $0.get().index }
              #expect(zip(indices, indices.dropFirst()).allSatisfy { $0 < $1 })
              #expect(
                results.indices.allSatisfy { ($0 % 3 != 0) == ((try? results[$0].get()) != nil) })
              return indices.count
            }
          }
          return try await group.reduce(0, +)
        }
        #expect(counts == 8 * 400 && log.cursor(of: me) == 3_200)
        #expect(try await log.register("x7") == 599)
        #expect(try await findings(store) == [])
      }
    }
  }

  /// The commit refuses the whole of a run; what is too large is found by halving.
  @Test func anOpThatTheStoreRefusesFailsAlone() async throws {
    try await withPlace { place in
      var settings = StoreSettings.quiet
      settings.capacityFloor = .none
      settings.ballastBytes = 0
      settings.valueByteLimit = 1 << 20
      let store = try await Store.open(at: place.path, settings: settings)
      let log = try await Processor<KeepingReducer, Tracker>(
        reducer: KeepingReducer(), store: store, prefix: "app", selfID: peer(1))
      let large = String(repeating: "x", count: 2 << 20)
      let results = try await log.exec(
        each: (0..<9).map { Note($0 == 4 ? large : $0 == 6 ? "unwritable" : "\($0)") })
      #expect(results.map { try? $0.get().index } == [0, 1, 2, 3, nil, 4, nil, 5, 6])
      #expect(log.cursor(of: peer(1)) == 7)
      #expect(try await findings(store) == [])
      await log.close()
      try await store.close()
    }
  }
}
