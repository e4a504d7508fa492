import Metrics
import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// RocksDB refuses writes for a while, and the callers wait as long as they may.
@Suite("Spool deadlines", .temporaryDirectory) struct SpoolDeadlineTests {
  private func settings(_ storeDeadline: Duration = .seconds(30)) -> SpoolSettings {
    var settings = SpoolSettings()
    settings.storeDeadline = storeDeadline
    return settings
  }

  @Test(
    "A-D-2: a deadline that has passed is told at once while the store is stalled",
    arguments: [false, true])
  func pastDeadlineOfAStalledSpool(forceSync: Bool) async throws {
    let stalled = try await StalledSpool()
    try await stalled.setStopped(true)
    let start = stalled.clock.now
    let call = stalled.store(stalled.spool.makeID(), forceSync: forceSync, deadline: .seconds(-1))
    #expect(await call.kind == .deadlineExceeded)
    #expect(stalled.clock.now == start)
    try await stalled.store.close()
  }

  @Test("A-D-3: the caller's deadline ends the wait when it comes first")
  func callersDeadline() async throws {
    let stalled = try await StalledSpool(settings())
    try await stalled.setStopped(true)
    let call = stalled.store(stalled.spool.makeID(), deadline: .milliseconds(200))
    let elapsed = try await stalled.wait(for: call)
    #expect(await call.kind == .deadlineExceeded)
    #expect((.milliseconds(200)...(.milliseconds(260))).contains(elapsed))
    let queued = stalled.store(
      stalled.spool.makeID(), forceSync: true, deadline: .milliseconds(200))
    try await stalled.wait(forQueued: queued)
    #expect(await queued.kind == .deadlineExceeded)
    try await stalled.store.close()
  }

  @Test("A-D-4: the spool's own bound ends the wait of stores and of removes")
  func ownBound() async throws {
    let stalled = try await StalledSpool(settings(.milliseconds(300)))
    try await stalled.setStopped(true)
    let id = stalled.spool.makeID()
    for begin in [{ stalled.store(id) }, { stalled.remove(id) }] {
      // One after the other: each has its own wait.
      let call = begin()
      let elapsed = try await stalled.wait(for: call)
      #expect(elapsed <= .milliseconds(360))
      let error = try #require(await call.failure as? SpindleError)
      #expect(error.kind == .overloaded)
      #expect(error.reason == "backpressure")
      #expect(error.message == "the spool did not accept the write within 0.3 seconds")
    }
    let queued = stalled.store(id, forceSync: true)
    try await stalled.wait(forQueued: queued)
    let error = try #require(await queued.failure as? SpindleError)
    #expect(error.message == "the spool did not accept the write within 0.3 seconds")
    try await stalled.store.close()
  }

  @Test("A-D-4: the bound begins with the first refusal and is not shortened")
  func ownBoundIsWaitedFor() async throws {
    let stalled = try await StalledSpool(settings(.milliseconds(300)))
    try await stalled.setStopped(true)
    let call = stalled.remove(stalled.spool.makeID())
    let elapsed = try await stalled.wait(for: call)
    #expect((.milliseconds(300)...(.milliseconds(360))).contains(elapsed))
    try await stalled.store.close()
  }

  @Test(
    "A-D-5: a caller's deadline at or behind the spool's bound leaves it to the bound",
    arguments: [Duration.milliseconds(300), .seconds(3600)])
  func laterDeadline(deadline: Duration) async throws {
    let stalled = try await StalledSpool(settings(.milliseconds(300)))
    try await stalled.setStopped(true)
    let call = stalled.store(stalled.spool.makeID(), deadline: deadline)
    try await stalled.wait(for: call)
    #expect(await call.kind == .overloaded)
    try await stalled.store.close()
  }

  @Test("A-D-6: a store goes on within 60 ms of the stall's end")
  func theStallEnds() async throws {
    let stalled = try await StalledSpool()
    try await stalled.setStopped(true)
    let (id, large) = (stalled.spool.makeID(), stalled.spool.makeID())
    let call = stalled.store(id)
    // Too large for the caller's thread: the pool writes it.
    let payload = Bytes(repeating: 3, count: 1 << 20)
    let spool = stalled.spool
    let largeCall = PendingCall { try await spool.put(large, payload) }
    for _ in 0..<500 {
      try await eventually { stalled.clock.sleeperCount == 2 }
      stalled.clock.advance(by: .milliseconds(1))
    }
    #expect(try await spool.loadIfPresent(id) == nil)
    try await eventually { stalled.clock.sleeperCount == 2 }
    try await stalled.setStopped(false)
    let start = stalled.clock.now
    while !(call.isDone && largeCall.isDone) {
      try await eventually {
        stalled.clock.sleeperCount + (call.isDone ? 1 : 0) + (largeCall.isDone ? 1 : 0) == 2
      }
      stalled.clock.advance(by: .milliseconds(1))
    }
    #expect(stalled.clock.now - start <= .milliseconds(60))
    #expect(await call.failure == nil)
    #expect(await largeCall.failure == nil)
    #expect(try await spool.load(id) == [7])
    #expect(try await spool.load(large) == payload)
    try await stalled.store.close()
  }

  @Test("A-D-7: what timed out or was cancelled never appears")
  func nothingAppearsLater() async throws {
    let stalled = try await StalledSpool(settings(.milliseconds(300)))
    try await stalled.setStopped(true)
    let spool = stalled.spool
    let timedOut = [stalled.store(spool.makeID()), stalled.store(spool.makeID(), forceSync: true)]
    let cancelled = [stalled.store(spool.makeID()), stalled.store(spool.makeID(), forceSync: true)]
    try await eventually { stalled.clock.sleeperCount == 2 }
    for call in cancelled { call.cancel() }
    for call in cancelled { #expect(await call.failure is CancellationError) }
    for call in timedOut { try await stalled.wait(forQueued: call) }
    for call in timedOut { #expect(await call.kind == .overloaded) }
    try await stalled.setStopped(false)
    let kept = spool.makeID()
    try await spool.put(kept, [1])
    for _ in 0..<50 {
      stalled.clock.advance(by: .milliseconds(100))
      #expect(try await spool.allIDs() == [kept])
    }
    #expect(try await stalled.idsAfterReopening() == [kept])
  }

  @Test("A-D-11: 500 stalled stores need no more threads than a few")
  func stalledStoresHoldNoThreads() async throws {
    let stalled = try await StalledSpool()
    try await stalled.setStopped(true)
    let before = try threadCount()
    let calls = (0..<500).map { number in
      stalled.store(stalled.spool.makeID(), forceSync: number % 2 == 0, deadline: .seconds(10))
    }
    // However many of them the lane's thread took at once, and who sleeps and who waits in line.
    try await eventually { stalled.spool.storePolicy.waitingCount == 500 }
    // The bound leaves room for what other tests of this process do meanwhile.
    #expect(try threadCount() < before + 100)
    for call in calls { try await stalled.wait(forQueued: call, step: .seconds(1)) }
    for call in calls { #expect(await call.kind == .deadlineExceeded) }
    try await stalled.store.close()
  }

  private func threadCount() throws -> Int { try Files.names(in: "/proc/self/task").count }

  @Test("A-D-14: a cancelled wait ends at once and counts as no error")
  func cancelledWaits() async throws {
    let factory = MemoryMetrics()
    try await withMetricsFactory(factory) {
      var settings = settings()
      settings.concurrentStores = 1
      let stalled = try await StalledSpool(settings)
      try await eventually { stalled.clock.sleeperCount == 1 }  // the timer of the metrics
      try await stalled.setStopped(true)
      let permits = try #require(stalled.spool.storePolicy.permits)
      let asleep = stalled.store(stalled.spool.makeID())
      try await eventually { permits.freeCount == 0 }
      let waiting = stalled.store(stalled.spool.makeID())
      try await eventually { permits.waitingCount == 1 }
      let queued = stalled.store(stalled.spool.makeID(), forceSync: true)
      try await eventually { stalled.spool.storePolicy.waitingCount == 3 }
      let now = stalled.clock.now
      for call in [waiting, asleep, queued] {
        call.cancel()
        #expect(await call.failure is CancellationError)
      }
      #expect(stalled.clock.now == now)
      #expect(permits.freeCount == 1)
      #expect(permits.waitingCount == 0)
      #expect(stalled.spool.storePolicy.waitingCount == 0)
      #expect(factory.counters(named: "spool_foreground_errors_total").isEmpty)
      #expect(
        factory.count("spool_ops_total", ["spool": "main", "op": "store", "result": "cancelled"])
          == 3)
      #expect(stalled.spool.unhealthyReason == nil)
      try await stalled.setStopped(false)
      try await stalled.spool.put(stalled.spool.makeID(), [1])
      try await stalled.spool.shutdown()
      try await stalled.store.close()
    }
  }

  @Test("A shut gate ends the waiting, the writer's and the pollers'")
  func theGateEndsTheWaiting() async throws {
    var settings = settings()
    settings.concurrentStores = 1
    let stalled = try await StalledSpool(settings)
    try await stalled.setStopped(true)
    let spool = stalled.spool
    let calls = [
      stalled.store(spool.makeID()), stalled.store(spool.makeID()),
      stalled.store(spool.makeID(), forceSync: true),
    ]
    try await eventually { stalled.clock.sleeperCount == 2 }
    stalled.store.health.shutForOperator(note: "maintenance of /dev/sdb")
    stalled.clock.advance(by: .milliseconds(50))
    for call in calls {
      let error = try #require(await call.failure as? SpindleError)
      #expect(error.kind == .unavailable)
      #expect(error.message == "the spool is not accepting writes")
      #expect(error.reason == "operator")
    }
    stalled.store.health.openForOperator()
    try await stalled.setStopped(false)
    #expect(try await stalled.idsAfterReopening() == [])
  }
}
