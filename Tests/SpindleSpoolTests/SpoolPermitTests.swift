import SpindleCore
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

@Suite("Spool permits", .temporaryDirectory) struct SpoolPermitTests {
  /// Asks for a permit and notes who got one in which order.
  private func ask(
    _ permits: Permits, _ number: Int = 0, until deadline: ContinuousClock.Instant? = nil,
    _ order: Order = Order()
  ) -> PendingCall {
    PendingCall {
      guard try await permits.acquire(until: deadline) else {
        throw SpindleError(.deadlineExceeded, "expired")
      }
      order.note(number)
    }
  }

  private final class Order: Sendable {
    private let numbers = Mutex<[Int]>([])
    func note(_ number: Int) { numbers.withLock { $0.append(number) } }
    var all: [Int] { numbers.withLock { $0 } }
  }

  private final class Held: Sendable {
    private let count = Atomic<Int>(0)
    func add(_ number: Int) -> Int { count.add(number, ordering: .relaxed).newValue }
  }

  @Test func waitersAreServedInOrderOfArrival() async throws {
    let permits = Permits(1, clock: ManualClock())
    let order = Order()
    #expect(try await permits.acquire(until: nil))
    var calls: [PendingCall] = []
    for number in 0..<20 {
      calls.append(ask(permits, number, order))
      try await eventually { permits.waitingCount == number + 1 }
    }
    // One in the middle leaves.
    calls[7].cancel()
    #expect(await calls[7].failure is CancellationError)
    for count in 1...19 {
      permits.release()
      try await eventually { order.all.count == count }
    }
    #expect(order.all == (0..<20).filter { $0 != 7 })
    permits.release()
    #expect(permits.freeCount == 1)
  }

  @Test("A free permit is given even behind the deadline; else the deadline is kept")
  func deadlines() async throws {
    let clock = ManualClock()
    let permits = Permits(1, clock: clock)
    #expect(try await permits.acquire(until: clock.now - .seconds(1)))
    #expect(try await !permits.acquire(until: clock.now - .seconds(1)))
    #expect(try await !permits.acquire(until: clock.now))
    let waiting = ask(permits, until: clock.now + .seconds(2))
    try await eventually { clock.sleeperCount == 1 }
    clock.advance(by: .milliseconds(1_999))
    #expect(!waiting.isDone)
    clock.advance(by: .milliseconds(1))
    #expect(await waiting.kind == .deadlineExceeded)
    #expect(permits.waitingCount == 0)
    // What expired is not served.
    permits.release()
    #expect(permits.freeCount == 1)
  }

  @Test("A granted waiter leaves no timer behind")
  func grantedWaitersLeaveNoTimer() async throws {
    let clock = ManualClock()
    let permits = Permits(1, clock: clock)
    #expect(try await permits.acquire(until: nil))
    let waiting = ask(permits, until: clock.now + .seconds(60))
    try await eventually { clock.sleeperCount == 1 && permits.waitingCount == 1 }
    permits.release()
    #expect(await waiting.failure == nil)
    try await eventually { clock.sleeperCount == 0 }
    permits.release()
    #expect(permits.freeCount == 1)
  }

  @Test("Whoever asks while cancelled waits for nothing")
  func cancelledBeforeWaiting() async throws {
    let permits = Permits(1, clock: ManualClock())
    #expect(try await permits.acquire(until: nil))
    let task = Task {
      while !Task.isCancelled { await Task.yield() }
      return try await permits.acquire(until: nil)
    }
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
    #expect(permits.waitingCount == 0)
  }

  @Test("No permit is lost or made, whatever ends the waits", arguments: [1, 3])
  func permitsAreConserved(count: Int) async throws {
    let clock = ManualClock()
    let permits = Permits(count, clock: clock)
    let held = Held()
    let time = Task {
      while !Task.isCancelled {
        clock.advance(by: .milliseconds(1))
        await Task.yield()
      }
    }
    await withTaskGroup(of: Void.self) { group in
      for number in 0..<400 {
        group.addTask {
          let deadline = number % 3 == 0 ? clock.now + .milliseconds(number % 7) : nil
          let call = Task {
            guard try await permits.acquire(until: deadline) else { return }
            #expect(held.add(1) <= count)
            await Task.yield()
            _ = held.add(-1)
            permits.release()
          }
          if number % 5 == 0 { call.cancel() }
          _ = await call.result
        }
      }
    }
    time.cancel()
    #expect(permits.freeCount == count)
    #expect(permits.waitingCount == 0)
  }

  @Test("A-D-8: of 50 stalled stores two poll, and all permits come back")
  func fewStoresPoll() async throws {
    var settings = SpoolSettings()
    settings.concurrentStores = 2
    settings.storeDeadline = .milliseconds(300)
    let stalled = try await StalledSpool(settings)
    try await stalled.setStopped(true)
    let permits = try #require(stalled.spool.storePolicy.permits)
    let calls = (0..<50).map { number in
      stalled.store(
        stalled.spool.makeID(), deadline: number % 2 == 0 ? .milliseconds(200) : nil)
    }
    try await eventually {
      permits.waitingCount == 48 && permits.freeCount == 0 && stalled.clock.sleeperCount == 50
    }
    for call in calls { try await stalled.wait(forQueued: call, step: .milliseconds(1)) }
    for (number, call) in calls.enumerated() {
      #expect(await call.kind == (number % 2 == 0 ? .deadlineExceeded : .overloaded))
    }
    #expect(permits.freeCount == 2)
    #expect(permits.waitingCount == 0)
    // Those that got no permit in time count like those that polled.
    #expect(stalled.spool.gateStatus.backpressureTimeouts == 50)
    // A free permit is not needed at all by a store that meets no stall.
    try await stalled.setStopped(false)
    #expect(try await permits.acquire(until: nil))
    #expect(try await permits.acquire(until: nil))
    try await stalled.spool.put(stalled.spool.makeID(), [1])
    #expect(try await stalled.spool.allIDs().count == 1)
    try await stalled.store.close()
  }

  @Test(
    "A-D-9: a limit of none at all is refused before anything is touched",
    arguments: ["stores", "removes", "loads"])
  func limitZeroIsRefused(of operation: String) async throws {
    var settings = SpoolSettings()
    func setLimit(_ limit: Int) {
      switch operation {
      case "stores": settings.concurrentStores = limit
      case "removes": settings.concurrentRemoves = limit
      default: settings.concurrentLoads = limit
      }
    }
    let store = try await Store.small(at: TestDirectory.path("store"))
    setLimit(0)
    await expectError(.invalidArgument) {
      _ = try await RocksSpool(store: store, name: "main", settings: settings)
    }
    #expect(store.familyNames == ["default"])
    setLimit(1)
    let spool = try await RocksSpool(store: store, name: "main", settings: settings)
    let id = spool.makeID()
    try await spool.put(id, [1])
    #expect(try await spool.load(id) == [1])
    try await spool.remove(id)
    try await store.close()
  }

  @Test("A-D-10: stores and removes have permits of their own")
  func permitsAreApart() async throws {
    var settings = SpoolSettings()
    settings.concurrentStores = 1
    settings.concurrentRemoves = 1
    let stalled = try await StalledSpool(settings)
    let stores = try #require(stalled.spool.storePolicy.permits)
    let removes = try #require(stalled.spool.removePolicy.permits)
    try await stalled.setStopped(true)
    let stored = (0..<3).map { _ in stalled.store(stalled.spool.makeID()) }
    try await eventually { stores.waitingCount == 2 }
    #expect(removes.freeCount == 1)
    let removed = (0..<2).map { _ in stalled.remove(stalled.spool.makeID()) }
    try await eventually { removes.waitingCount == 1 && removes.freeCount == 0 }
    #expect(stores.waitingCount == 2)
    try await stalled.setStopped(false)
    for call in stored + removed { try await stalled.wait(forQueued: call) }
    for call in stored + removed { #expect(await call.failure == nil) }
    #expect(stores.freeCount == 1)
    #expect(removes.freeCount == 1)
    try await stalled.store.close()
  }

  @Test("Loads wait for a permit without a deadline, and a cancelled one lets go")
  func loadsHavePermits() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    var settings = SpoolSettings()
    settings.concurrentLoads = 1
    let spool = try await RocksSpool(store: store, name: "main", settings: settings)
    let id = spool.makeID()
    try await spool.put(id, [4])
    let permits = try #require(spool.loadPermits)
    #expect(try await permits.acquire(until: nil))
    let loads = (0..<3).map { _ in
      PendingCall {
        let found = try await spool.load(id)
        #expect(found == [4])
      }
    }
    try await eventually { permits.waitingCount == 3 }
    loads[1].cancel()
    #expect(await loads[1].failure is CancellationError)
    permits.release()
    #expect(await loads[0].failure == nil)
    #expect(await loads[2].failure == nil)
    // What is not there gives the permit back too.
    await expectError(.notFound) { _ = try await spool.load(spool.makeID()) }
    #expect(permits.freeCount == 1)
    try await store.close()
  }

  @Test(arguments: [(false, false), (true, false), (true, true)])
  func aCancelledLoadDoesNotWaitForTheDisk(isLimited: Bool, looks: Bool) async throws {
    var settings = StoreSettings.small
    settings.database.blockCacheBytes = 64 << 10
    let store = try await Store.small(at: TestDirectory.path("store"), settings: settings)
    var options = SpoolSettings()
    if isLimited { options.concurrentLoads = 1 }
    let spool = try await RocksSpool(store: store, name: "main", settings: options)
    let ids = (0..<200).map { _ in spool.makeID() }
    for id in ids { try await spool.put(id, Bytes(repeating: 7, count: 4_000)) }
    try await spool.compact()
    try await store.withReadersHeld {
      // One that memory does not hold.
      var waiting: PendingCall?
      for id in ids where waiting == nil {
        let call = PendingCall {
          if looks { _ = try await spool.contains(id) } else { _ = try await spool.load(id) }
        }
        try await eventually { call.isDone || store.waitingBlockingCalls > 0 }
        if !call.isDone { waiting = call }
      }
      let call = try #require(waiting)
      #expect(!isLimited || spool.loadPermits?.freeCount == 0)
      call.cancel()
      #expect(await call.failure is CancellationError)
      #expect(!isLimited || spool.loadPermits?.freeCount == 1)
    }
    for id in ids { #expect(try await spool.load(id).count == 4_000) }
    #expect(!isLimited || spool.loadPermits?.freeCount == 1)
    try await store.close()
  }
}
