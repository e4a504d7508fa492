internal import SpindleCore
internal import SpindleIO
internal import SpindleOpLog
internal import SpindleSpool
internal import SpindleStore
internal import Synchronization

/// Applies spooled ops to the log and to the reducer's state, exactly once and in order.
///
/// Each group of ops is ONE batch: the op-log rows under `(producer, index)`, the series they
/// change, the producers' positions, the clock, and the removal of the spooled messages.
///
/// Crash windows. Before the commit: the messages are still spooled, nothing of them is applied;
/// the next run applies them. After it: they are applied and gone from the spool. There is nothing
/// between. A message that was spooled twice meets the unique key of its op: with equal content
/// the removal alone is committed, with other content the message moves to quarantine. While that
/// does not take it, being full, damaged or in possession of another message with the id, the
/// message stays in the spool, unclaimed, and the others go on; a restart of the worker or the next
/// run meets it again.
final class DrainWorker: Sendable {
  /// A spooled message, claimed by this worker.
  struct Item: Sendable {
    var id: SpoolID
    /// The checksum header of the record that was read.
    var header: [UInt8]
    var payload: [UInt8]
  }

  /// Messages that may wait in memory; more stay in the spool until there is room.
  static let queueLimit = 64
  /// Bytes of messages that may wait in memory; one message alone may exceed it.
  static let queueByteLimit = 64 << 20
  /// Bytes of messages applied in one commit; one message alone may exceed it.
  static let groupByteLimit = 8 << 20
  /// Ops applied in one commit: enough to share the cost of a commit, few enough that one failure
  /// costs little.
  static let groupLimit = 16
  /// Ops ahead of their predecessor that are kept in memory; more is a sign of a lost message.
  static let parkedLimit = 4_096

  /// A caller of ``drained()``, and how many pushed messages must be finished for it to go on.
  private struct DrainWaiter {
    var target: UInt64
    var continuation: CheckedContinuation<Void, Never>
  }

  private struct State {
    /// What the last run left, read from the spool. Its ops precede what this run adds, so it is
    /// applied first.
    var backlog: [Item] = []
    /// What this run added, in the order of the calls.
    var queue: [Item] = []
    var queueBytes = 0
    /// Messages ever pushed, and those of them that the worker is done with.
    var pushedCount: UInt64 = 0
    var finishedCount: UInt64 = 0
    /// Where the scan of the spool goes on; nil once it reached the end.
    var refillFrom: SpoolID?
    var needsRefill = true
    /// Messages of the queue that are in the worker's hand.
    var takenCount: UInt64 = 0
    var isBusy = false
    var isParked = false
    var stopping = false
    var failure: SpindleError?
    var positions: [PeerID: ProducerPosition] = [:]
    var waiting: [PeerID: Int] = [:]
    /// Messages that could be neither applied nor set aside. Nobody claims them, and they are not
    /// read again before a restart; at most ``parkedLimit`` are told apart.
    var held: Set<SpoolID> = []
    var roomWaiters: [CheckedContinuation<Void, Never>] = []
    var drainWaiters: [DrainWaiter] = []

    var isFull: Bool {
      queue.count >= DrainWorker.queueLimit || queueBytes >= DrainWorker.queueByteLimit
    }

    /// Whether the backlog and the first `target` pushed messages are applied or set aside.
    func isDrained(to target: UInt64) -> Bool {
      !needsRefill && backlog.isEmpty && !(isBusy && takenCount == 0) && finishedCount >= target
    }

    mutating func takeRoomWaiters() -> [CheckedContinuation<Void, Never>] {
      defer { roomWaiters = [] }
      return roomWaiters
    }

    /// The callers that may go on: all of them when the worker stops or failed.
    mutating func takeDrainWaiters() -> [CheckedContinuation<Void, Never>] {
      let all = stopping || failure != nil
      var due: [CheckedContinuation<Void, Never>] = []
      var waiting: [DrainWaiter] = []
      for waiter in drainWaiters {
        if all || isDrained(to: waiter.target) {
          due.append(waiter.continuation)
        } else {
          waiting.append(waiter)
        }
      }
      drainWaiters = waiting
      return due
    }
  }

  private let store: Store
  private let spool: RocksSpool
  private let log: IngestLog
  private let seriesLimit: Int
  private let state: Mutex<State>
  private let wake = ThreadSemaphore()
  private let thread = Mutex<NamedThread?>(nil)

  init(
    store: Store, spool: RocksSpool, log: IngestLog, positions: [PeerID: ProducerPosition],
    seriesLimit: Int = LastValueReducer.defaultCacheLimit
  ) throws {
    self.seriesLimit = seriesLimit
    self.store = store
    self.spool = spool
    self.log = log
    state = Mutex(State(positions: positions))
    do throws(IOFailure) {
      let thread = try NamedThread(name: "spindle-drain") { [self] in run() }
      self.thread.withLock { $0 = thread }
    } catch {
      throw error.spindleError
    }
  }

  // MARK: Callers

  /// Hands over a message that was just stored and claimed.
  func push(_ item: Item) {
    let wakes = state.withLock { state in
      state.queue.append(item)
      state.queueBytes += item.payload.count
      state.pushedCount += 1
      defer { state.isParked = false }
      return state.isParked
    }
    if wakes { wake.signal() }
  }

  /// Waits until the worker has room for one more message.
  ///
  /// - Throws: what stopped the worker.
  func waitForRoom() async throws {
    while true {
      let (isFull, failure) = state.withLock { ($0.isFull, Self.stopReason($0)) }
      if let failure { throw failure }
      if !isFull { return }
      await withCheckedContinuation { continuation in
        let resumesNow = state.withLock { state in
          if !state.isFull || Self.stopReason(state) != nil { return true }
          state.roomWaiters.append(continuation)
          return false
        }
        if resumesNow { continuation.resume() }
      }
    }
  }

  /// Waits until everything spooled before the call is applied.
  ///
  /// - Throws: what stopped the worker.
  func drained() async throws {
    let target = state.withLock { $0.pushedCount }
    await withCheckedContinuation { continuation in
      let resumesNow = state.withLock { state in
        if state.isDrained(to: target) || Self.stopReason(state) != nil { return true }
        state.drainWaiters.append(DrainWaiter(target: target, continuation: continuation))
        return false
      }
      if resumesNow { continuation.resume() }
    }
    let failure = state.withLock { state in
      state.failure ?? (state.isDrained(to: target) ? nil : Self.stopReason(state))
    }
    if let failure { throw failure }
  }

  private static func stopReason(_ state: State) -> SpindleError? {
    if let failure = state.failure { return failure }
    return state.stopping ? SpindleError(.closed, "the ingest pipeline is closed") : nil
  }

  /// How far a producer's ops are applied.
  func position(of peer: PeerID) -> ProducerPosition? { state.withLock { $0.positions[peer] } }

  var positions: [PeerID: ProducerPosition] { state.withLock { $0.positions } }

  /// A producer's messages that wait for a predecessor that is not in the spool.
  func waitingCount(of peer: PeerID) -> Int { state.withLock { $0.waiting[peer] ?? 0 } }

  /// Messages that stay in the spool as they can neither be applied nor be set aside; at most
  /// ``parkedLimit`` are counted.
  var heldCount: Int { state.withLock { $0.held.count } }

  private func hold(_ id: SpoolID) {
    state.withLock { state in if state.held.count < Self.parkedLimit { state.held.insert(id) } }
  }

  /// What stopped the worker; nil while it works.
  var failure: SpindleError? { state.withLock { $0.failure } }

  /// Goes on after a failure: everything that is still spooled is read again.
  func restart() {
    let wakes = state.withLock { state in
      guard state.failure != nil else { return false }
      state.failure = nil
      state.held = []
      state.needsRefill = true
      state.refillFrom = nil
      defer { state.isParked = false }
      return state.isParked
    }
    if wakes { wake.signal() }
  }

  /// Lets the thread end after the group in hand, without waiting for it.
  func requestStop() {
    let wakes = state.withLock { state in
      state.stopping = true
      defer { state.isParked = false }
      return state.isParked
    }
    if wakes { wake.signal() }
  }

  /// Ends the thread after the group in hand. Call it where blocking is allowed.
  func stop() {
    requestStop()
    let thread = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    thread?.join()
  }

  // MARK: The thread

  private enum Work {
    case group([Item])
    case refill(from: SpoolID?)
    case stop
    case park
  }

  private func run() {
    var applier = OpApplier(
      store: store, spool: spool, log: log, seriesLimit: seriesLimit, hold: hold)
    while true {
      let (work, waiters) = nextWork()
      for waiter in waiters { waiter.resume() }
      do {
        switch work {
        case .group(let items):
          try applier.apply(items, positions: positions)
          finish(applier)
        case .refill(let lower): try refill(from: lower)
        case .stop: return
        case .park: wake.wait()
        }
      } catch {
        fail(error, &applier)
      }
    }
  }

  /// Decides what to do next, and who may go on because of what was done last.
  private func nextWork() -> (Work, [CheckedContinuation<Void, Never>]) {
    state.withLock { state in
      state.finishedCount += state.takenCount
      state.takenCount = 0
      state.isBusy = false
      let work = chooseWork(&state)
      var waiters = state.takeDrainWaiters()
      if !state.isFull || Self.stopReason(state) != nil { waiters += state.takeRoomWaiters() }
      return (work, waiters)
    }
  }

  private func chooseWork(_ state: inout State) -> Work {
    if state.stopping { return .stop }
    if state.failure != nil {
      state.isParked = true
      return .park
    }
    if !state.backlog.isEmpty {
      state.isBusy = true
      return .group(Self.takeGroup(&state.backlog))
    }
    if state.needsRefill {
      state.isBusy = true
      return .refill(from: state.refillFrom)
    }
    if state.queue.isEmpty {
      state.isParked = true
      return .park
    }
    let group = Self.takeGroup(&state.queue)
    state.queueBytes -= group.reduce(0) { $0 + $1.payload.count }
    state.takenCount = UInt64(group.count)
    state.isBusy = true
    return .group(group)
  }

  private static func takeGroup(_ items: inout [Item]) -> [Item] {
    var count = 0
    var bytes = 0
    for item in items.prefix(groupLimit) {
      bytes += item.payload.count
      if count > 0, bytes > groupByteLimit { break }
      count += 1
    }
    defer { items.removeFirst(count) }
    return Array(items.prefix(count))
  }

  private func finish(_ applier: borrowing OpApplier) {
    state.withLock { state in
      for (peer, position) in applier.applied { state.positions[peer] = position }
      state.waiting = applier.waiting
    }
  }

  /// Reads the next messages of the spool that nobody holds. Called while the backlog is empty.
  private func refill(from lower: SpoolID?) throws {
    let ids = try spool.idsBlocking(from: lower, limit: Self.queueLimit)
    var items: [Item] = []
    var bytes = 0
    var next = ids.count >= Self.queueLimit ? ids.last : nil
    do {
      for id in ids where id != lower {
        // A message of this run is claimed by the one that stored it, and pushed.
        guard spool.claim(id) else { continue }
        guard let item = try loadClaimed(id) else { continue }
        items.append(item)
        bytes += item.payload.count
        if bytes >= Self.queueByteLimit {
          next = id
          break
        }
      }
    } catch {
      for item in items { spool.release(item.id) }
      throw error
    }
    state.withLock { [items] state in
      state.backlog = items
      state.refillFrom = next
      state.needsRefill = next != nil
    }
  }

  /// Reads a claimed message; releases it, and gives nil, when it is gone or damaged.
  private func loadClaimed(_ id: SpoolID) throws -> Item? {
    var isKept = false
    defer { if !isKept { spool.release(id) } }
    guard let record = try spool.loadRecordBlocking(id) else { return nil }
    switch record.payload {
    case .success(let payload):
      isKept = true
      return Item(id: id, header: record.header, payload: payload)
    case .failure(let failure):
      let reason = "the record is damaged: \(failure)"
      if try !spool.quarantineBlocking(id, reason: reason) { hold(id) }
      return nil
    }
  }

  /// Stops applying. Everything not applied is still in the spool, for ``restart()`` or the next
  /// run.
  private func fail(_ error: any Error, _ applier: inout OpApplier) {
    let plain =
      error as? SpindleError ?? SpindleError(.unavailable, "applying stopped: \(error)")
    // What was committed before the failure stays applied.
    finish(applier)
    applier.reset()
    let (dropped, waiters) = state.withLock { state in
      state.failure = plain
      state.isBusy = false
      // Whatever was pushed is read again from the spool: it becomes part of the backlog.
      state.takenCount = 0
      state.finishedCount = state.pushedCount
      defer {
        state.backlog = []
        state.queue = []
        state.queueBytes = 0
      }
      return (
        state.backlog + state.queue, state.takeDrainWaiters() + state.takeRoomWaiters()
      )
    }
    for item in dropped { spool.release(item.id) }
    for waiter in waiters { waiter.resume() }
  }
}
