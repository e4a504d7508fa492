import Foundation
import SpindleCore
import SpindleOpLog
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

@Suite struct ProcessorFailureTests {
  @Test("O-29, O-30: a register keeps its greatest value, each its own")
  func registersKeepTheGreatest() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        for (value, kept) in [(5, 5), (3, 5), (9, 9)] as [(UInt64, UInt64)] {
          try await log.exec(MaxRegisterOp("x", value))
          #expect(try await log.register("x") == kept)
        }
        try await log.exec(MaxRegisterOp("y", 7))
        #expect(try await log.register("x") == 9)
        #expect(try await log.register("y") == 7)
      }
    }
  }

  @Test("O-31: raw repeat with a higher value and time changes register, rows and clock by nothing")
  func rawRepeatChangesNothing() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        try await log.processOne(peer: peer(1), index: 0, entry: entry("x", 5, at: 100 << 16))
        let clock = try await log.storedClock()
        await expectError(.uniqueViolation, reason: "oplog") {
          try await log.processOne(peer: peer(1), index: 0, entry: entry("x", 9, at: 200 << 16))
        }
        #expect(try await log.register("x") == 5)
        #expect(try await log.storedClock() == clock)
        #expect(try await log.tracker.readRows(peer: peer(1), from: 0, limit: 9).count == 1)
      }
    }
  }

  @Test("O-32: after a refused entry and a lower one, a reopened clock is above every stored time")
  func reopenedClockIsAboveTheLog() async throws {
    try await withPlace { place in
      place.wall.set(1_000)
      let high = UInt64(60_000) << 16
      try await place.withRegisters { (log, _) async throws in
        try await log.processOne(peer: peer(1), index: 0, entry: entry("x", 5, at: 100 << 16))
        await expectError(.uniqueViolation) {
          try await log.processOne(peer: peer(1), index: 0, entry: entry("x", 9, at: high))
        }
        _ = try await log.apply(peer: peer(1), index: 1, entry: entry("x", 6, at: high - 5))
      }
      place.wall.set(0)
      try await place.withRegisters { (log, _) async throws in
        #expect(try await log.exec(MaxRegisterOp("x", 7)).timestamp.packed > high - 5)
      }
    }
  }

  @Test(
    "O-33: a failure in prepare or apply leaves no row, no state, no time, no event",
    arguments: [Trap.Phase.prepare, .apply])
  func failedPhasesLeaveNothing(phase: Trap.Phase) async throws {
    try await withPlace { place in
      let (trap, recorder) = (Trap(), Recorder())
      try await place.withRegisters(trap, publisher: recorder) { (log, _) async throws in
        try await log.exec(MaxRegisterOp("x", 1))
        let clock = try await log.storedClock()
        trap.fail(phase)
        await #expect(throws: TrapError()) { try await log.exec(MaxRegisterOp("x", 2)) }
        let error = await syncError {
          try await log.apply(
            peer: peer(1), index: 0, entry: entry("x", 3, at: 1_700_000_000_900 << 16))
        }
        guard case .backend(let cause) = error, cause is TrapError else {
          Issue.record("expected the reducer's error")
          return
        }
        trap.fail(nil)
        #expect(log.cursor(of: me) == 1 && log.cursors().count == 1)
        #expect(try await log.storedClock() == clock)
        #expect(try await log.register("x") == 1)
        #expect(try await log.tracker.readRows(peer: peer(1), from: 0, limit: 1).isEmpty)
        #expect(recorder.events.count == 1)
        let next = try await log.exec(MaxRegisterOp("x", 2))
        #expect(next.timestamp < Timestamp(packed: 1_700_000_000_900 << 16))
      }
    }
  }

  @Test("O-33: a commit that fails leaves no row, no state, no time, no event")
  func failedCommitLeavesNothing() async throws {
    try await withPlace { place in
      let store = try await Store.small(at: place.path, clock: place.wall)
      let recorder = Recorder()
      let log = try await Registers(
        reducer: TestReducer(), store: store, prefix: "app", selfID: me, publisher: recorder)
      try await log.exec(MaxRegisterOp("x", 1))
      let clock = try await log.storedClock()
      store.guardian?.inject(.logAppend, partialBytes: 20)
      await expectError(.unavailable) { try await log.exec(MaxRegisterOp("x", 2)) }
      let failed = await withTaskGroup(of: Bool.self) { group in
        for number in UInt64(1)..<9 {
          group.addTask {
            (try? await log.apply(peer: peer(number), index: 0, entry: entry("x", 9))) == nil
          }
        }
        return await group.allSatisfy { $0 }
      }
      #expect(failed && log.cursors().count == 1 && recorder.events.count == 1)
      try await store.heal()
      #expect(try await log.storedClock() == clock)
      #expect(try await log.register("x") == 1)
      #expect(try await log.exec(MaxRegisterOp("x", 2)).index == 1)
      #expect(try await log.apply(peer: peer(1), index: 0, entry: entry("x", 9)).new)
      await log.close()
      try await store.close()
    }
  }

  /// The sync is refused because another writer's append failed meanwhile. The entries are in the
  /// store all the same, and its cure makes them durable.
  @Test func afterARefusedSyncCursorsAndClockAreThoseOfTheRows() async throws {
    try await withPlace { place in
      let gate = SyncGate()
      var hooks = StoreHooks.manual
      hooks.beforeSync = { gate.wait() }
      let store = try await Store.small(at: place.path, clock: place.wall, hooks: hooks)
      let other = try await store.family("spool:other")
      let log = try await Registers(
        reducer: TestReducer(), store: store, prefix: "app", selfID: me)
      try await log.exec(MaxRegisterOp("x", 1))
      let high = (place.wall.wallMilliseconds + 30_000) << 16
      for (peer, index) in [(me, UInt64(1)), (peer(1), 0)] {
        gate.shut()
        let call = Task {
          if peer == me {
            try await log.exec(MaxRegisterOp("x", 2), durability: .synced)
          } else {
            _ = try await log.apply(
              peer: peer, index: index, entry: entry("x", 3, at: high), durability: .synced)
          }
        }
        try await eventually { try await log.tracker.row(peer: peer, index: index) != nil }
        store.guardian?.inject(.logAppend, partialBytes: 20)
        var batch = Batch()
        batch.put(other, key: [1], value: [1])
        await expectError(.unavailable) { try await store.commit(batch, durability: .buffered) }
        gate.open()
        await #expect(throws: (any Error).self) { try await call.value }
        try await store.heal()
        #expect(log.cursor(of: peer) == index + 1)
        #expect(try await log.tracker.allCursors() == log.cursors())
      }
      // The refused entry is there: offered again it is a repeat, and what follows is above it.
      #expect(try await !log.apply(peer: peer(1), index: 0, entry: entry("x", 3, at: high)).new)
      _ = try await log.apply(peer: peer(2), index: 0, entry: entry("y", 1, at: 7 << 16))
      let stored = try await log.storedClock()
      #expect(stored.map { $0.packed >= high } == true)
      #expect(try await log.exec(MaxRegisterOp("x", 4)).timestamp.packed > high)
      #expect(log.cursor(of: me) == 3)
      #expect(try await findings(store) == [])
      await log.close()
      try await store.close()
    }
  }

  /// Has calls served together, behind one that is held in its turn.
  private func serveTogether(
    _ log: Registers, _ trap: Trap, _ calls: [(name: String, durability: Durability)],
    _ meanwhile: () -> Void = {}
  ) async throws -> [Result<Executed, any Error>] {
    let before = trap.arrivedCount
    trap.shut()
    let leader = Task { try await log.exec(MaxRegisterOp("lead", 1)) }
    try await trap.eventually { trap.arrivedCount == before + 1 }
    var tasks: [Task<Executed, any Error>] = []
    for (name, durability) in calls {
      tasks.append(Task { try await log.exec(MaxRegisterOp(name, 1), durability: durability) })
      try await trap.eventually { log.callCount == tasks.count + 1 }
    }
    meanwhile()
    trap.open()
    _ = try await leader.value
    var results: [Result<Executed, any Error>] = []
    for task in tasks { results.append(await task.result) }
    return results
  }

  /// Whoever asked for no sync has its entry recorded, and would have it recorded twice if it were
  /// told otherwise.
  @Test func aFailedSyncFailsThoseOfACommitWhoAskedForIt() async throws {
    try await withPlace { place in
      let store = try await Store.small(at: place.path, clock: place.wall)
      let (trap, recorder) = (Trap(), Recorder())
      let log = try await Registers(
        reducer: TestReducer(trap), store: store, prefix: "app", selfID: me, publisher: recorder)
      let results = try await serveTogether(
        log, trap, [("a", .buffered), ("b", .synced), ("c", .buffered), ("d", .synced)]
      ) {
        store.guardian?.inject(.logSync, error: .io)
      }
      #expect(results.map { try? $0.get().index } == [1, nil, 3, nil])
      for number in [1, 3] {
        await expectError(.unavailable, reason: "wal_sync_failed") {
          _ = try results[number].get()
        }
      }
      // One commit for all of them, and all of it is there.
      #expect(log.counts.commits == 2)
      #expect(log.cursor(of: me) == 5)
      #expect(try await log.tracker.cursor(of: me) == 5)
      #expect(try await log.register("d") == 1)
      await log.close()
      #expect(recorder.events.count == 5)
      try await store.close()
    }
  }

  @Test func aCommitCostsOneSyncAndNoneForACallThatIsRefused() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { log, store in
        trap.refuse("bad", .block(reason: "a test", isRetryable: false))
        let before = store.commitSyncCount
        var results = try await serveTogether(
          log, trap, [("a", .buffered), ("bad", .synced), ("b", .buffered)])
        #expect(results.map { try? $0.get().index } == [1, nil, 2])
        #expect(store.commitSyncCount == before)
        results = try await serveTogether(
          log, trap, [("a", .synced), ("b", .buffered), ("bad", .synced), ("c", .synced)])
        #expect(results.map { try? $0.get().index } == [4, 5, nil, 6])
        #expect(store.commitSyncCount == before + 1)
        results = try await serveTogether(log, trap, [("a", .synced), ("b", .synced)])
        #expect(results.map { try? $0.get().index } == [8, 9])
        #expect(store.commitSyncCount == before + 2)
        #expect(log.counts.commits == 6)
        // What was synced is known to be: no other sync is needed to show it.
        #expect(try await log.readSince(peer: me, from: 0).count == 10)
        #expect(store.commitSyncCount == before + 2)
      }
    }
  }

  @Test("O-34: a failure after the commit costs the event only")
  func failureAfterTheCommitCostsTheEvent() async throws {
    try await withPlace { place in
      let (trap, recorder) = (Trap(), Recorder())
      try await place.withRegisters(trap, publisher: recorder) { (log, _) async throws in
        trap.fail(.postApply)
        #expect(try await log.exec(MaxRegisterOp("x", 1)).index == 0)
        #expect(try await log.apply(peer: peer(1), index: 0, entry: entry("x", 5)).new)
        trap.fail(nil)
        #expect(log.cursor(of: me) == 1 && log.cursor(of: peer(1)) == 1)
        #expect(log.counts.eventsLost == 2 && recorder.events.isEmpty)
        #expect(try await log.exec(MaxRegisterOp("x", 9)).index == 1)
        #expect(try await log.apply(peer: peer(1), index: 1, entry: entry("x", 10)).new)
        #expect(recorder.events.count == 2)
      }
    }
  }

  @Test("O-35: a cancelled call leaves either nothing, or row and cursor both")
  func cancelledCallsAreWholeOrNothing() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        var generator = SeededGenerator(seed: 7)
        var successes = 0
        for _ in 0..<30 {
          let tasks = (0..<4).map { _ in
            Task { try await log.exec(MaxRegisterOp("x", 1), durability: .synced).index }
          }
          for _ in 0..<Int.random(in: 0..<20, using: &generator) { await Task.yield() }
          for task in tasks { task.cancel() }
          for task in tasks {
            if case .success(let index) = await task.result {
              #expect(log.cursor(of: me) > index)
              successes += 1
            }
          }
          let stored = try await log.tracker.cursor(of: me)
          #expect(log.cursor(of: me) == stored)
        }
        let rows = try await log.tracker.readRows(peer: me, from: 0, limit: 1_000)
        #expect(rows.map(\.index) == Array(0..<log.cursor(of: me)))
        // Whoever got an error recorded nothing.
        #expect(successes == rows.count)
        #expect(try await log.exec(MaxRegisterOp("x", 2)).index == UInt64(rows.count))
        try await expectChainsHold(log.tracker)
      }
    }
  }

  @Test func cancellingALeaderFailsNobodyElse() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { (log, _) async throws in
        trap.shut()
        let leader = Task { try await log.exec(MaxRegisterOp("lead", 1), durability: .synced) }
        try await trap.eventually { trap.arrivedCount == 1 }
        let others = (0..<8).map { number in
          Task { try await log.exec(MaxRegisterOp("x", UInt64(number)), durability: .synced) }
        }
        try await trap.eventually { log.callCount == 9 }
        leader.cancel()
        others[3].cancel()
        try await trap.eventually { log.callCount == 8 }
        trap.open()
        _ = await leader.result
        for (number, task) in others.enumerated() {
          let result = await task.result
          switch result {
          case .success: #expect(number != 3)
          case .failure(let error): #expect(number == 3 && error is CancellationError)
          }
        }
        #expect(try await log.register("x") == 7)
        #expect(try await log.tracker.cursor(of: me) == log.cursor(of: me))
      }
    }
  }

  @Test func anEntryThatFailsAmongOthersTakesBackOnlyItsOwn() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { (log, _) async throws in
        trap.shut()
        trap.fail(.apply, on: "bad")
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask { try await log.exec(MaxRegisterOp("lead", 1)) }
          try await trap.eventually { trap.arrivedCount == 1 }
          for number in UInt64(0)..<40 {
            group.addTask {
              if number % 3 == 0 {
                await #expect(throws: TrapError()) {
                  try await log.exec([MaxRegisterOp("x", 1_000), MaxRegisterOp("bad", 1)])
                }
              } else {
                try await log.exec([MaxRegisterOp("x", number), MaxRegisterOp("y", number)])
              }
            }
          }
          try await trap.eventually { log.callCount == 41 }
          trap.open()
          try await group.waitForAll()
        }
        #expect(log.cursor(of: me) == 1 + 26 * 2)
        #expect(log.counts.commits == 2)
        #expect(try await log.register("x") == 38)
        #expect(try await log.register("bad") == nil)
        try await expectChainsHold(log.tracker)
      }
    }
  }

  @Test func whoGivesUpInACrowdIsNotServedAndTheOthersAre() async throws {
    try await withPlace { place in
      let (trap, recorder) = (Trap(), Recorder())
      try await place.withRegisters(trap, publisher: recorder) { (log, _) async throws in
        trap.shut()
        let leader = Task { try await log.exec(MaxRegisterOp("lead", 1)) }
        try await trap.eventually { trap.arrivedCount == 1 }
        let calls = (0..<700).map { number in
          Task { try await log.exec(MaxRegisterOp("r\(number)", 1)) }
        }
        try await trap.eventually { log.callCount == 701 }
        for (number, call) in calls.enumerated() where number % 7 != 3 { call.cancel() }
        try await trap.eventually { log.callCount == 101 }
        trap.open()
        _ = try await leader.value
        for (number, call) in calls.enumerated() {
          switch await call.result {
          case .success: #expect(number % 7 == 3)
          case .failure(let error): #expect(number % 7 != 3 && error is CancellationError)
          }
        }
        #expect(log.cursor(of: me) == 101)
        // No event is on its way any more once the processor is closed.
        await log.close()
        #expect(recorder.events.count == 101)
      }
    }
  }

  @Test("O-60: whoever gets an event may write at once")
  func subscribersMayWrite() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await OpLogStore { bus in
          try await Processor<MaxRegister, RegisterTracker>(
            reducer: MaxRegister(), store: store, prefix: "app", selfID: me, publisher: bus)
        }
        let changes = log.watch(Array("x".utf8))
        let echo = Task {
          for await change in changes {
            guard case .unsigned(let value) = change.new, value < 100 else { return }
            try await log.exec(MaxRegisterOp("x", value + 1))
          }
        }
        try await log.exec(MaxRegisterOp("x", 1))
        try await echo.value
        #expect(try await log.view.register("x") == .unsigned(100))
        await log.close()
      }
    }
  }

  /// Stays in `publish` until it is let go, or for long enough to tell.
  private final class SlowPublisher: EventPublisher {
    let isHeld = Atomic(true)
    let hasArrived = Atomic(false)
    let hasGivenUp = Atomic(false)

    func publish(_ event: RegisterRaised) {
      hasArrived.store(true, ordering: .relaxed)
      let deadline = ContinuousClock.now + .seconds(300)
      while isHeld.load(ordering: .relaxed) {
        usleep(200)
        if ContinuousClock.now > deadline {
          hasGivenUp.store(true, ordering: .relaxed)
          return
        }
      }
    }
  }

  /// Each job has a thread of its own, so that one that waits keeps no other test waiting.
  private final class OwnThreads: TaskExecutor {
    func enqueue(_ job: consuming ExecutorJob) {
      let job = UnownedJob(job)
      Thread.detachNewThread { [self] in
        unsafe job.runSynchronously(on: asUnownedTaskExecutor())
      }
    }
  }

  @Test("O-60: while a publisher is busy with an event, others write")
  func publishingHoldsNoTurn() async throws {
    try await withPlace { place in
      let publisher = SlowPublisher()
      try await place.withRegisters(publisher: publisher) { (log, _) async throws in
        let first = Task(executorPreference: OwnThreads()) {
          try await log.exec(MaxRegisterOp("x", 1))
        }
        try await eventually { publisher.hasArrived.load(ordering: .relaxed) }
        try await log.exec(MaxRegisterOp("y", 1))
        #expect(try await log.register("y") == 1)
        let hasGivenUp = publisher.hasGivenUp.load(ordering: .relaxed)
        #expect(!hasGivenUp, "the call waited for the publisher")
        publisher.isHeld.store(false, ordering: .relaxed)
        _ = try await first.value
      }
    }
  }

  @Test func oneCommitOfManyIsAsManyCommits() async throws {
    for seed in UInt64(0)..<5 {
      var generator = SeededGenerator(seed: seed)
      let pages = (0..<3).map { number in
        (0..<200).map { index -> (index: UInt64, entry: DecodedEntry<MaxRegisterOp>) in
          let name = "r\(Int.random(in: 0..<9, using: &generator))"
          let value = UInt64.random(in: 0..<1_000, using: &generator)
          if value < 50 { return (UInt64(index), .expunged(someHash)) }
          return (UInt64(index), entry(name, value, at: value + UInt64(number)))
        }
      }
      var states: [[[UInt8]]] = []
      for isGrouped in [true, false] {
        try await withPlace { place in
          try await place.withRegisters { (log, store) async throws in
            for (number, page) in pages.enumerated() {
              if isGrouped {
                _ = try await log.apply(peer: peer(UInt64(number)), entries: page)
              } else {
                for (index, entry) in page {
                  _ = try await log.apply(
                    peer: peer(UInt64(number)), index: index, entry: entry)
                }
              }
            }
            #expect(log.counts.commits == (isGrouped ? 3 : 600))
            states.append(try await store.content(of: ["oplog:app", "data:app"]))
          }
        }
      }
      #expect(states[0] == states[1], "seed \(seed)")
    }
  }
}
