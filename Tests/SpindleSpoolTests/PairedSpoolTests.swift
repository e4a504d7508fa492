import SpindleCore
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

@Suite("Paired spool")
struct PairedSpoolTests {
  @Test("Both halves are stored, read, replaced and removed", arguments: PairShape.allCases)
  func storeLoadReplaceRemove(shape: PairShape) async throws {
    try await withNewPair(shape) { (fixture) async throws in
      let pair = fixture.pair
      for number in 0..<5 { try await fixture.put(number, forceSync: number == 3) }
      try await fixture.expect(0..<5)
      #expect(try await pair.loadMeta(numberedID(2)) == numberedMeta(2))
      #expect(try await pair.loadData(numberedID(2)) == numberedValue(2))
      try await pair.store(numberedID(2), meta: [1], data: [2], forceSync: false, deadline: nil)
      let read = try await pair.load(numberedID(2))
      #expect(read.meta == [1] && read.data == [2])
      try await pair.replaceMeta(numberedID(2), [3], forceSync: true, deadline: nil)
      let changed = try await pair.load(numberedID(2))
      #expect(changed.meta == [3] && changed.data == [2])
      try await pair.remove(numberedID(2))
      try await fixture.expect([0, 1, 3, 4])
      for call in [
        { _ = try await pair.load(numberedID(2)) }, { _ = try await pair.loadMeta(numberedID(2)) },
        { _ = try await pair.loadData(numberedID(2)) },
      ] as [() async throws -> Void] {
        let message = await expectError(.notFound) { try await call() }
        #expect(message.contains(numberedID(2).description))
      }
    }
  }

  @Test("The meta of an absent message is not replaced", arguments: PairShape.allCases)
  func replacingNothing(shape: PairShape) async throws {
    try await withNewPair(shape) { (fixture) async throws in
      await expectError(.notFound) {
        try await fixture.pair.replaceMeta(numberedID(1), [1], forceSync: false, deadline: nil)
      }
      #expect(try await fixture.metas().isEmpty)
    }
  }

  @Test("Only metas are enumerated")
  func enumerationGivesMetas() async throws {
    try await withNewPair(.oneStore) { (fixture) async throws in
      for number in 0..<3 { try await fixture.put(number) }
      let channel = SpoolEntryChannel()
      let walk = try fixture.pair.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
      var entries: [SpoolEntry] = []
      for await entry in channel { entries.append(entry) }
      #expect(
        entries == (0..<3).map { .item(id: numberedID($0), data: numberedMeta($0)) })
      #expect(await walk.finished().error == nil)
    }
  }

  @Test("A spool is not paired with itself")
  func theSameSpoolTwice() async throws {
    try await withNewSpool { (spool) async throws in
      let message = await expectError(.conflict) {
        _ = try await RocksSpool(store: spool.storage, name: spool.name)
      }
      #expect(message.contains("main is open"))
      let other = try await RocksSpool(store: spool.storage, name: "other")
      let faulty = FaultySpool(spool)
      for (meta, data) in [(spool, spool), (faulty, faulty)] as [(any Spool, any Spool)] {
        await expectError(.invalidArgument) { _ = try PairedSpool(meta: meta, data: data) }
      }
      _ = try PairedSpool(meta: spool, data: other)
    }
  }

  @Test("Halves that are too large together are refused whole")
  func tooLarge() async throws {
    try await withPlace { (place) async throws in
      var settings = StoreSettings.small
      settings.valueByteLimit = 1_000
      let store = try await Store.small(at: place.path, settings: settings)
      let meta = try await RocksSpool(store: store, name: "meta")
      var narrow = SpoolSettings()
      narrow.payloadByteLimit = 600
      let data = try await RocksSpool(store: store, name: "data", settings: narrow)
      let pair = try PairedSpool(meta: meta, data: data)
      func put(_ metaCount: Int, _ dataCount: Int) async throws {
        try await pair.store(
          numberedID(1), meta: [UInt8](repeating: 1, count: metaCount),
          data: [UInt8](repeating: 2, count: dataCount), forceSync: false, deadline: nil)
      }
      await expectError(.tooLarge) { try await put(600, 600) }
      await expectError(.tooLarge) { try await put(1, 601) }
      #expect(try await meta.allIDs().isEmpty)
      #expect(try await data.allIDs().isEmpty)
      try await put(300, 600)
      try await store.close()
    }
  }

  @Test("A-G-13: the reason is nil at first; either half's failure is reported")
  func unhealthyReason() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      let (pair, meta, data) = (fixture.pair, fixture.meta, fixture.data)
      #expect(pair.unhealthyReason == nil)
      meta.setUnhealthy("meta")
      #expect(pair.unhealthyReason?.description == "meta")
      data.setUnhealthy("data")
      #expect(pair.unhealthyReason?.description == "meta")
      meta.setUnhealthy(nil)
      #expect(pair.unhealthyReason?.description == "data")
      data.setUnhealthy(nil)
      #expect(pair.unhealthyReason == nil)
    }
  }

  @Test("What concerns both spools reaches both", arguments: PairShape.allCases)
  func memoryAndCompaction(shape: PairShape) async throws {
    try await withNewPair(shape) { (fixture) async throws in
      for number in 0..<50 { try await fixture.put(number, bytes: 10_000) }
      #expect(try await fixture.pair.adviseLowMemory() > 0)
      try await fixture.pair.compact()
      for spool in [fixture.metaSpool, fixture.dataSpool] {
        let tables = try fixture.store.database.tableFiles(of: spool.family.columnFamily)
        #expect(tables.count == 1)
      }
      try await fixture.expect(0..<50)
    }
  }

  @Test("A-B-10: a closed pair refuses, and closing waits for what runs")
  func shutdown() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      let (pair, gate) = (fixture.pair, TestGate())
      fixture.meta.before(.store) { _ in await gate.pass() }
      let storing = Task { try await fixture.put(1) }
      await gate.arrived()
      let closing = Task { try await pair.shutdown() }
      while !(await isClosed(pair)) { await Task.yield() }
      gate.open()
      try await closing.value
      try await storing.value
      try await pair.shutdown()
      for call in [
        { try await fixture.put(2) }, { try await pair.remove(numberedID(1)) },
        { _ = try await pair.load(numberedID(1)) }, { try await pair.cleanup() },
        { try await pair.compact() }, { _ = try await pair.adviseLowMemory() },
        { _ = try await pair.sweepOrphans() },
        { _ = try pair.enumerate(into: SpoolEntryChannel(), startTime: SpoolInstant(ticks: 0)) },
        { try await pair.quarantine(numberedID(1), reason: "a test") },
        { try await pair.restoreQuarantined(numberedID(1)) },
        { try await pair.replaceMeta(numberedID(1), [], forceSync: false, deadline: nil) },
      ] as [() async throws -> Void] {
        await expectError(.closed) { try await call() }
      }
      await expectError(.closed) { _ = try await fixture.metaSpool.load(numberedID(1)) }
      await expectError(.closed) { _ = try await fixture.dataSpool.load(numberedID(1)) }
      let again = try await RocksSpool(store: fixture.store, name: "data")
      #expect(try await again.load(numberedID(1)) == numberedValue(1))
    }
  }

  private func isClosed(_ pair: PairedSpool) async -> Bool {
    do {
      _ = try await pair.loadMeta(numberedID(9))
      return false
    } catch {
      return (error as? SpindleError)?.kind == .closed
    }
  }

  // MARK: Changes of one id

  /// Two stores of one id over halves apart left the body of one under the meta of the other.
  @Test("Changes of one id take turns", arguments: PairShape.allCases)
  func racingChangesNeverMix(shape: PairShape) async throws {
    try await withNewPair(shape) { (fixture) async throws in
      let id = numberedID(1)
      for round in 0..<30 {
        try await withThrowingTaskGroup(of: Void.self) { group in
          for number in 0..<4 {
            let bytes: Bytes = [UInt8(round), UInt8(number)]
            group.addTask {
              try await fixture.pair.store(
                id, meta: bytes, data: bytes, forceSync: false, deadline: nil)
            }
          }
          group.addTask { try await fixture.pair.remove(id) }
          try await group.waitForAll()
        }
        let meta = try await fixture.metaSpool.loadIfPresent(id)
        #expect(try await fixture.dataSpool.loadIfPresent(id) == meta)
        #expect(meta == nil || meta?.first == UInt8(round))
      }
    }
  }

  @Test("Who waits for a turn keeps the deadline, and may be cancelled")
  func turnsHaveDeadlines() async throws {
    try await withNewPair(.apart) { (fixture) async throws in
      let gate = TestGate()
      fixture.meta.before(.store) { _ in await gate.pass() }
      let first = Task { try await fixture.put(1) }
      await gate.arrived()
      await expectError(.deadlineExceeded) {
        try await fixture.pair.store(
          numberedID(1), meta: [], data: [], forceSync: false,
          deadline: .now + .milliseconds(20))
      }
      let second = Task { try await fixture.pair.remove(numberedID(1)) }
      second.cancel()
      await #expect(throws: CancellationError.self) { try await second.value }
      gate.open()
      try await first.value
      // A deadline in the past is none where nothing makes the call wait.
      try await fixture.pair.store(
        numberedID(2), meta: numberedMeta(2), data: numberedValue(2), forceSync: false,
        deadline: .now - .seconds(1))
      try await fixture.expect([1, 2])
    }
  }

  @Test("A pair that a drain worker holds is changed behind its commits", arguments: [true, false])
  func claimedHalves(isMeta: Bool) async throws {
    try await withHeldStore { (store, gate) async throws in
      let meta = try await RocksSpool(store: store, name: "meta")
      let data = try await RocksSpool(store: store, name: "data")
      let pair = try PairedSpool(meta: meta, data: data)
      let (id, held) = (numberedID(1), isMeta ? meta : data)
      try await pair.store(id, meta: [1], data: [2], forceSync: false, deadline: nil)
      #expect(held.claim(id))
      let blocker = try await gate.hold(store)
      let storing = Task {
        try await pair.store(id, meta: [7], data: [8], forceSync: false, deadline: nil)
      }
      try await eventually { store.waitingCommits == 1 }
      gate.open()
      try await blocker.value
      try await storing.value
      // A held message is not set aside by another; nor does the failed attempt hold its half.
      await expectError(.conflict) { try await pair.quarantine(id, reason: "a test") }
      let other = isMeta ? data : meta
      #expect(other.claim(id))
      other.release(id)
      held.release(id)
      #expect(try await pair.load(id).data == [8])
      try await pair.quarantine(id, reason: "a test")
    }
  }
}

/// Holds calls until a test lets them pass.
final class TestGate: Sendable {
  private struct State {
    var isOpen = false
    var waiting: [CheckedContinuation<Void, Never>] = []
    var watchers: [CheckedContinuation<Void, Never>] = []
    var hasArrived = false
  }
  private let state = Mutex(State())

  /// Waits until the gate is open.
  func pass() async {
    await withCheckedContinuation { continuation in
      let (passes, watchers) = state.withLock { state in
        state.hasArrived = true
        if !state.isOpen { state.waiting.append(continuation) }
        defer { state.watchers = [] }
        return (state.isOpen, state.watchers)
      }
      for watcher in watchers { watcher.resume() }
      if passes { continuation.resume() }
    }
  }

  /// Waits until a call came to the gate.
  func arrived() async {
    await withCheckedContinuation { continuation in
      let isThere = state.withLock { state in
        if !state.hasArrived { state.watchers.append(continuation) }
        return state.hasArrived
      }
      if isThere { continuation.resume() }
    }
  }

  func open() {
    let waiting = state.withLock { state in
      state.isOpen = true
      defer { state.waiting = [] }
      return state.waiting
    }
    for continuation in waiting { continuation.resume() }
  }
}
