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
/// the removal alone is committed, with other content the message moves to quarantine.
final class DrainWorker: Sendable {
  /// A spooled message, claimed by this worker.
  struct Item: Sendable {
    var id: SpoolID
    /// The checksum header of the record that was read.
    var header: [UInt8]
    var payload: [UInt8]
  }

  /// Messages that may wait in memory. Each is a batch of lines, so this bounds memory at about
  /// 64 batches; more stay in the spool until there is room.
  static let queueLimit = 64
  /// Ops applied in one commit: enough to share the cost of a commit, few enough that one failure
  /// costs little.
  static let groupLimit = 16
  /// Ops ahead of their predecessor that are kept in memory; more is a sign of a lost message.
  static let parkedLimit = 4_096

  private struct State {
    var queue: [Item] = []
    /// Where the scan of the spool goes on; nil once it reached the end.
    var refillFrom: SpoolID?
    var needsRefill = true
    var isBusy = false
    var isParked = false
    var stopping = false
    var failure: SpindleError?
    var positions: [PeerID: ProducerPosition] = [:]
    var waiting: [PeerID: Int] = [:]
    var roomWaiters: [CheckedContinuation<Void, Never>] = []
    var idleWaiters: [CheckedContinuation<Void, Never>] = []

    /// Why nothing more is applied; nil while the worker works.
    var refusal: SpindleError? {
      failure ?? (stopping ? SpindleError(.closed, "the ingest pipeline is closed") : nil)
    }
  }

  private let store: Store
  private let spool: RocksSpool
  private let log: IngestLog
  private let state: Mutex<State>
  private let wake = ThreadSemaphore()
  private let thread = Mutex<NamedThread?>(nil)

  init(
    store: Store, spool: RocksSpool, log: IngestLog, positions: [PeerID: ProducerPosition]
  ) throws {
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
      let (isFull, refusal) = state.withLock { ($0.queue.count >= Self.queueLimit, $0.refusal) }
      if let refusal { throw refusal }
      if !isFull { return }
      await withCheckedContinuation { continuation in
        let resumesNow = state.withLock { state in
          if state.queue.count < Self.queueLimit || state.refusal != nil { return true }
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
    await withCheckedContinuation { continuation in
      let resumesNow = state.withLock { state in
        if Self.isIdle(state) || state.refusal != nil { return true }
        state.idleWaiters.append(continuation)
        return false
      }
      if resumesNow { continuation.resume() }
    }
    let refusal = state.withLock { Self.isIdle($0) ? $0.failure : $0.refusal }
    if let refusal { throw refusal }
  }

  private static func isIdle(_ state: State) -> Bool {
    state.queue.isEmpty && !state.isBusy && !state.needsRefill
  }

  /// How far a producer's ops are applied.
  func position(of peer: PeerID) -> ProducerPosition? { state.withLock { $0.positions[peer] } }

  var positions: [PeerID: ProducerPosition] { state.withLock { $0.positions } }

  /// A producer's messages that wait for a predecessor that is not in the spool.
  func waitingCount(of peer: PeerID) -> Int { state.withLock { $0.waiting[peer] ?? 0 } }

  /// What stopped the worker; nil while it works.
  var failure: SpindleError? { state.withLock { $0.failure } }

  /// Goes on after a failure: everything that is still spooled is read again.
  func restart() {
    let wakes = state.withLock { state in
      guard state.failure != nil else { return false }
      state.failure = nil
      state.needsRefill = true
      state.refillFrom = nil
      defer { state.isParked = false }
      return state.isParked
    }
    if wakes { wake.signal() }
  }

  /// Ends the thread after the group in hand. Call it where blocking is allowed.
  func stop() {
    let wakes = state.withLock { state in
      state.stopping = true
      defer { state.isParked = false }
      return state.isParked
    }
    if wakes { wake.signal() }
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
    var applier = OpApplier(store: store, spool: spool, log: log)
    while true {
      let (work, roomWaiters, idleWaiters) = nextWork()
      for waiter in roomWaiters { waiter.resume() }
      for waiter in idleWaiters { waiter.resume() }
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

  private func nextWork() -> (
    Work, [CheckedContinuation<Void, Never>], [CheckedContinuation<Void, Never>]
  ) {
    state.withLock { state in
      state.isBusy = false
      if state.stopping { return (.stop, take(&state.roomWaiters), take(&state.idleWaiters)) }
      if state.failure != nil {
        state.isParked = true
        return (.park, take(&state.roomWaiters), take(&state.idleWaiters))
      }
      // What the last run left comes first: its ops precede what this run adds.
      if state.needsRefill, state.queue.count < Self.queueLimit {
        state.isBusy = true
        return (.refill(from: state.refillFrom), [], [])
      }
      if state.queue.isEmpty {
        state.isParked = true
        return (.park, take(&state.roomWaiters), take(&state.idleWaiters))
      }
      let group = Array(state.queue.prefix(Self.groupLimit))
      state.queue.removeFirst(group.count)
      state.isBusy = true
      let hasRoom = state.queue.count < Self.queueLimit
      return (.group(group), hasRoom ? take(&state.roomWaiters) : [], [])
    }
  }

  private func take(
    _ waiters: inout [CheckedContinuation<Void, Never>]
  ) -> [CheckedContinuation<Void, Never>] {
    defer { waiters = [] }
    return waiters
  }

  private func finish(_ applier: borrowing OpApplier) {
    state.withLock { state in
      for (peer, position) in applier.applied { state.positions[peer] = position }
      state.waiting = applier.waiting
    }
  }

  /// Reads the next messages of the spool that nobody holds.
  private func refill(from lower: SpoolID?) throws {
    let ids = try spool.idsBlocking(from: lower, limit: Self.queueLimit)
    var items: [Item] = []
    for id in ids where id != lower {
      // A message of this run is claimed by the one that stored it, and pushed.
      guard spool.claim(id) else { continue }
      guard let record = try spool.loadRecordBlocking(id) else {
        spool.release(id)
        continue
      }
      switch record.payload {
      case .success(let payload):
        items.append(Item(id: id, header: record.header, payload: payload))
      case .failure(let failure):
        defer { spool.release(id) }
        try spool.quarantineBlocking(id, reason: "the record is damaged: \(failure)")
      }
    }
    state.withLock { state in
      state.queue.insert(contentsOf: items, at: 0)
      if let last = ids.last, ids.count >= Self.queueLimit {
        state.refillFrom = last
      } else {
        state.needsRefill = false
        state.refillFrom = nil
      }
    }
  }

  /// Stops applying. Everything not applied is still in the spool, for ``restart()`` or the next
  /// run.
  private func fail(_ error: any Error, _ applier: inout OpApplier) {
    let plain =
      error as? SpindleError ?? SpindleError(.unavailable, "applying stopped: \(error)")
    applier.reset()
    let (dropped, roomWaiters, idleWaiters) = state.withLock { state in
      state.failure = plain
      state.isBusy = false
      defer { state.queue = [] }
      return (state.queue, take(&state.roomWaiters), take(&state.idleWaiters))
    }
    for item in dropped { spool.release(item.id) }
    for waiter in roomWaiters { waiter.resume() }
    for waiter in idleWaiters { waiter.resume() }
  }
}
