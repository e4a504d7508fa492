import SpindleCore
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

@Suite(.temporaryDirectory) struct GroupLaneTests {
  @Test func manySyncedCallersShareSyncs() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    let family = try await store.family("spool:a")
    await withThrowingTaskGroup(of: Void.self) { group in
      for task in 0..<64 {
        group.addTask {
          for round in 0..<10 { try await store.put(family, task * 10 + round, .synced) }
        }
      }
    }
    #expect(try store.numbers(family) == Array(0..<640))
    #expect(store.commitSyncCount > 0)
    #expect(store.commitSyncCount < 320)
    let size = try #require(store.guardian?.logSizes.last)
    #expect(size.syncedBytes == size.appendedBytes)
    try await store.close()
  }

  @Test func batchesAreStoredInTheOrderOfEnqueueing() async throws {
    var settings = StoreSettings.small
    // Several groups, so that their order counts too.
    settings.groupByteLimit = 1000
    let held = try await HeldStore(at: TestDirectory.path("store"), settings: settings)
    let store = held.store
    let family = try await store.family("spool:a")
    let blocker = try await held.hold(with: family, 1_000_000)
    var tasks: [Task<Void, any Error>] = []
    for number in 0..<100 {
      tasks.append(
        Task {
          var batch = Batch()
          batch.put(family, key: bytes("last"), value: numberedValue(number))
          batch.put(family, key: numberedKey(number), value: numberedValue(number))
          // Each finds what the one before it wrote.
          if number > 0 {
            batch.requireEqual(family, key: bytes("last"), bytes: numberedValue(number - 1))
          }
          try await store.commit(batch, durability: .synced)
        })
      try await eventually { store.waitingCommits == number + 1 }
    }
    held.gate.open()
    try await blocker.value
    for task in tasks { try await task.value }
    #expect(try await store.get(family, key: bytes("last")) == numberedValue(99))
    try await store.close()
  }

  @Test func cancelledWhileQueuedStoresNothing() async throws {
    let path = try TestDirectory.path("store")
    let held = try await HeldStore(at: path)
    let store = held.store
    let family = try await store.family("spool:a")
    let blocker = try await held.hold(with: family, 0)
    var tasks: [Task<Void, any Error>] = []
    for number in 1...200 { tasks.append(Task { try await store.put(family, number, .synced) }) }
    try await eventually { store.waitingCommits == 200 }
    for number in 1...200 where number % 2 == 0 { tasks[number - 1].cancel() }
    for number in 1...200 where number % 2 == 0 {
      await #expect(throws: CancellationError.self) { try await tasks[number - 1].value }
    }
    held.gate.open()
    try await blocker.value
    for number in 1...200 where number % 2 == 1 { try await tasks[number - 1].value }
    let expected = [0] + (1...200).filter { $0 % 2 == 1 }
    #expect(try store.numbers(family) == expected)
    try await store.close()
    let again = try await Store.small(at: path)
    #expect(try await again.numbers(again.family("spool:a")) == expected)
    try await again.close()
  }

  /// Cancelling at every moment of a commit: the outcome that the caller sees is the truth.
  @Test func whatACancelledCallerWasToldIsTrue() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    let family = try await store.family("spool:a")
    let stored = Shared<Set<Int>>([])
    await withTaskGroup(of: Void.self) { group in
      for number in 0..<500 {
        group.addTask {
          let task = Task { try await store.put(family, number, .synced) }
          for _ in 0..<(number % 40) { await Task.yield() }
          task.cancel()
          if case .success = await task.result { stored.update { _ = $0.insert(number) } }
        }
      }
    }
    #expect(try store.numbers(family) == stored.value.sorted())
    try await store.close()
  }

  @Test func theQueueIsBoundedByCountAndBytes() async throws {
    for byCount in [true, false] {
      var settings = StoreSettings.small
      if byCount { settings.groupQueueLimit = 5 } else { settings.groupQueueByteLimit = 5 * 1024 }
      let clock = ManualClock()
      let path = try TestDirectory.path("store\(byCount)")
      let held = try await HeldStore(at: path, settings: settings, clock: clock)
      let store = held.store
      let family = try await store.family("spool:a")
      let blocker = try await held.hold(with: family, 0)
      var tasks: [Task<Void, any Error>] = []
      // Five fit; of the others 23 have a deadline of their own.
      for number in 1...50 {
        let deadline = number > 5 && number % 2 == 0 ? clock.now + .milliseconds(10) : nil
        tasks.append(
          Task {
            var batch = Batch()
            batch.put(family, key: numberedKey(number), value: numberedValue(number, bytes: 900))
            try await store.commit(batch, durability: .synced, deadline: deadline)
          })
        if number == 5 { try await eventually { store.waitingCommits == 5 } }
      }
      try await eventually { clock.sleeperCount == 45 }
      #expect(store.waitingCommits == 5)
      // First the callers' deadlines pass, then the store's bound.
      clock.advance(by: .milliseconds(20))
      try await eventually { clock.sleeperCount == 22 }
      clock.advance(by: .seconds(31))
      for number in 6...50 { _ = await tasks[number - 1].result }
      held.gate.open()
      try await blocker.value
      var kinds: [SpindleError.Kind?: Int] = [:]
      for task in tasks {
        switch await task.result {
        case .success: kinds[nil, default: 0] += 1
        case .failure(let error): kinds[(error as? SpindleError)?.kind, default: 0] += 1
        }
      }
      #expect(kinds[nil] == 5)
      #expect(kinds[.deadlineExceeded] == 23)
      #expect(kinds[.overloaded] == 22)
      #expect(try store.numbers(family).count == 6)
      try await store.close()
    }
  }

  @Test func whoWaitsForRoomSeesItsGateShut() async throws {
    var settings = StoreSettings.small
    settings.groupQueueLimit = 2
    let clock = ManualClock()
    let held = try await HeldStore(
      at: TestDirectory.path("store"), settings: settings, clock: clock)
    let store = held.store
    let (family, other) = (try await store.family("spool:a"), try await store.family("spool:b"))
    let blocker = try await held.hold(with: family, 0)
    let queued = (1...2).map { number in Task { try await store.put(family, number, .synced) } }
    try await eventually { store.waitingCommits == 2 }
    let waiting = Task { try await store.put(other, 3, .synced) }
    try await eventually { clock.sleeperCount == 1 }
    other.health.shutForOperator(note: "a test")
    clock.advance(by: .milliseconds(50))
    #expect(await refusal { try await waiting.value }?.kind == .unavailable)
    held.gate.open()
    try await blocker.value
    for call in queued { try await call.value }
    #expect(try store.numbers(other).isEmpty)
    try await store.close()
  }

  @Test func aDeadlineInThePastIsNoObstacleToAHealthyStore() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    let past = ContinuousClock.now - .seconds(10)
    for (name, durability) in [
      ("spool:a", Durability.buffered), ("oplog:a", .buffered), ("spool:a", .synced),
    ] {
      let family = try await store.family(name)
      var batch = Batch()
      batch.put(family, key: bytes(durability.rawValue), value: [1])
      try await store.commit(batch, durability: durability, deadline: past)
      #expect(try await store.get(family, key: bytes(durability.rawValue)) == [1])
    }
    try await store.close()
  }

  @Test func closeStoresWhatWaitsAndRefusesTheRest() async throws {
    let path = try TestDirectory.path("store")
    let held = try await HeldStore(at: path)
    let store = held.store
    let family = try await store.family("spool:a")
    let blocker = try await held.hold(with: family, 0)
    let tasks = (1...50).map { number in Task { try await store.put(family, number, .synced) } }
    try await eventually { store.waitingCommits == 50 }
    async let closing: Void = store.close()
    held.gate.open()
    async let second: Void = store.close()
    try await blocker.value
    for task in tasks { try await task.value }
    try await closing
    try await second
    let error = await refusal { try await store.put(family, 51, .synced) }
    #expect(error?.kind == .closed)
    #expect(await refusal { try await store.put(family, 51) }?.kind == .closed)
    #expect(await refusal { _ = try await store.get(family, key: [1]) }?.kind == .closed)
    #expect(await refusal { _ = try await store.family("spool:new") }?.kind == .closed)
    #expect(await refusal { try await store.synchronize() }?.kind == .closed)
    try await store.close()
    let again = try await Store.small(at: path)
    #expect(again.recovery.wasClean)
    #expect(try await again.numbers(again.family("spool:a")) == Array(0...50))
    try await again.close()
  }

  /// Writers that hammer both lanes while the store closes: told and stored agree.
  @Test func closingUnderLoadKeepsEveryAcknowledgedBatch() async throws {
    let path = try TestDirectory.path("store")
    let store = try await Store.small(at: path)
    let families = [try await store.family("spool:a"), try await store.family("oplog:a")]
    let stored = Shared<[[Int]]>([[], []])
    await withTaskGroup(of: Void.self) { group in
      for task in 0..<8 {
        group.addTask {
          var number = task
          while true {
            do {
              try await store.put(
                families[task % 2], number, task % 4 < 2 ? .buffered : .synced)
            } catch {
              #expect((error as? SpindleError)?.kind == .closed)
              return
            }
            stored.update { $0[task % 2].append(number) }
            number += 8
            // Inline commits never suspend; two such loops would keep everybody else waiting.
            await Task.yield()
          }
        }
      }
      group.addTask {
        try? await Task.sleep(for: .milliseconds(50))
        await #expect(throws: Never.self) { try await store.close() }
      }
    }
    let again = try await Store.small(at: path)
    for (index, name) in ["spool:a", "oplog:a"].enumerated() {
      let found = try await again.numbers(again.family(name))
      #expect(found == stored.value[index].sorted())
    }
    try await again.close()
  }

  @Test func committingOnAThreadThatMayBlockKeepsTheConditions() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    let family = try await store.family("oplog:a")
    var batch = Batch()
    batch.requireAbsent(family, key: bytes("k"), owner: "test")
    batch.put(family, key: bytes("k"), value: bytes("v"))
    let sent = batch
    try await store.blocking { try store.commitBlocking(sent) }
    let error = await refusal { try await store.blocking { try store.commitBlocking(sent) } }
    #expect(error?.kind == .uniqueViolation)
    try await store.close()
  }
}
