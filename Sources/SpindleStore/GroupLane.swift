internal import SpindleCore
internal import SpindleIO
internal import SpindleRocks
internal import Synchronization

/// The lane of conditional and synced commits: many callers, one writer thread, few syncs.
///
/// The writer takes what waits (bounded by `groupByteLimit`), checks each batch's preconditions
/// against the store and the batches already taken, drops the failing ones alone, and writes the
/// rest as ONE unsynced record with `no_slowdown`. The callers that asked for it then wait for a
/// sync of the log by the ``LogSyncer``, while the writer goes on with the next group. Never `sync`
/// in the write itself: RocksDB has one writer queue, and every inline writer would wait in it for
/// the disk.
///
/// Crash windows. Before the write: nothing is stored, nobody was told otherwise. Between write
/// and sync: buffered callers are acknowledged and their batch survives a killed process; synced
/// callers still wait, so a power cut may lose their batch without breaking a promise. Several
/// groups may be in this window; the log holds them in order, so what is lost is the newest. After
/// the sync: callers are told. A reader may see a batch just before it is durable.
final class GroupLane: Sendable {
  /// One caller that waits.
  private struct Ticket {
    let id: UInt64
    var batch: Batch
    let durability: Durability
    let deadline: WriteDeadline
    /// Set by the first refusal: only from then on the deadline counts.
    var limit: WriteDeadline.Effective?
    let waiter: CommitWaiter
  }

  private struct Queue {
    var tickets: [Ticket] = []
    /// Callers that were let in and have not queued their ticket yet.
    var admitted = 0
    /// Bytes of the waiting tickets and of the admitted callers.
    var bytes = 0
    var nextID: UInt64 = 0
    /// Whether the writer holds a group. Its tickets cannot be taken back; a cancellation is only
    /// noted, for a stall, until the group is done.
    var isWriting = false
    var cancelled: Set<UInt64> = []
    var parked = false
    var stopping = false
  }

  private let queue = Mutex(Queue())
  private let wake = ThreadSemaphore()
  /// Orders commits. Held across precondition checks and the unsynced write, never across a sync.
  private let commitLock = Mutex(())
  private let engine: CommitEngine
  private let syncer: LogSyncer
  private let settings: StoreSettings
  private let thread = Mutex<NamedThread?>(nil)

  init(engine: CommitEngine, settings: StoreSettings) throws {
    self.engine = engine
    self.settings = settings
    syncer = try LogSyncer(engine: engine)
    do throws(IOFailure) {
      let thread = try NamedThread(name: "spindle-commit") { [self] in run() }
      self.thread.withLock { $0 = thread }
    } catch {
      syncer.stop()
      throw error.spindleError
    }
  }

  // MARK: Callers

  /// How much larger than an unconditional batch one may be that is written on its caller's thread.
  /// Here that is a page of 256 entries: who put it together and read what it hangs on has used its
  /// thread for longer than the write takes, and the writer would have to fetch all of it from the
  /// cache of another processor, as the next page does what the writer left.
  private static let inlineFactor = 2

  /// Commits a batch in the order of enqueueing.
  ///
  /// - Throws: what the commit gave, `overloaded` or `deadlineExceeded` when no room came in time,
  ///   or `CancellationError` when the task was cancelled while the batch still waited.
  func commit(
    _ batch: consuming Batch, durability: Durability, deadline: WriteDeadline
  ) async throws {
    if durability == .buffered, batch.byteCount <= Self.inlineFactor * settings.inlineByteLimit,
      try commitIfIdle(&batch)
    {
      return
    }
    try await reserveRoom(for: batch, deadline: deadline)
    try await enqueue(batch, durability: durability, deadline: deadline)
  }

  /// Commits on the caller's thread when the lane is idle and nothing would wait.
  private func commitIfIdle(_ batch: inout Batch) throws -> Bool {
    let done = try commitLock.withLockIfAvailable { _ -> Bool in
      guard queue.withLock({ $0.tickets.isEmpty && !$0.isWriting && !$0.stopping }) else {
        return false
      }
      return try engine.commitWithoutWaiting(&batch)
    }
    return done ?? false
  }

  /// Commits a buffered batch on the calling thread, which may block: no hop to the writer.
  func commitBlocking(_ batch: Batch, deadline: WriteDeadline) throws {
    var backoff = WriteBackoff()
    var limit: WriteDeadline.Effective?
    var record: WriteRecord?
    while true {
      let attempt = commitLock.withLock { _ in engine.commitGroup([batch], record: &record) }
      if let refusal = attempt.refusals.first, let refusal { throw refusal }
      switch attempt.outcome {
      case .written: return
      case .failed(let error): throw error
      case .stalled:
        let effective = limit ?? deadline.effective(from: engine.clock.now)
        limit = effective
        if engine.clock.now >= effective.instant { throw effective.error }
        engine.pauseCaller(backoff.next())
        if let refusal = batch.gateRefusal { throw refusal }
      }
    }
  }

  /// Takes a place in the queue, which ``add(_:)`` fills or gives back.
  private func reserveRoom(for batch: borrowing Batch, deadline: WriteDeadline) async throws {
    let bytes = batch.byteCount
    var backoff = WriteBackoff()
    var limit: WriteDeadline.Effective?
    while true {
      let isAdmitted = try queue.withLock { queue -> Bool in
        if queue.stopping { throw SpindleError(.closed, "the store is closed") }
        let queued = queue.tickets.count + queue.admitted
        // Whoever waits for a sync counts too, without bytes: its batch is in the log. Only the
        // group that the writer holds does not. A batch larger than the bound gets through alone.
        guard queued + syncer.unsyncedCount < settings.groupQueueLimit,
          queued == 0 || bytes <= settings.groupQueueByteLimit - queue.bytes
        else { return false }
        queue.admitted += 1
        queue.bytes += bytes
        return true
      }
      if isAdmitted { return }
      try engine.checkGate()
      if let refusal = batch.gateRefusal { throw refusal }
      let effective = limit ?? deadline.effective(from: engine.clock.now)
      limit = effective
      if engine.clock.now >= effective.instant { throw effective.error }
      try await engine.clock.sleep(until: min(engine.clock.now + backoff.next(), effective.instant))
    }
  }

  private func enqueue(
    _ batch: consuming Batch, durability: Durability, deadline: WriteDeadline
  ) async throws {
    let id = queue.withLock { queue in
      queue.nextID += 1
      return queue.nextID
    }
    let owned = batch
    let outcome = await withTaskCancellationHandler {
      await unsafe withUnsafeContinuation { continuation in
        let waiter = unsafe CommitWaiter(continuation)
        let refusal = add(
          Ticket(
            id: id, batch: owned, durability: durability, deadline: deadline, limit: nil,
            waiter: waiter))
        if let refusal { waiter.resume(.failure(refusal)) }
      }
    } onCancel: {
      cancel(id)
    }
    try outcome.get()
  }

  /// Puts a ticket in the place reserved for it; gives the error when it cannot.
  private func add(_ ticket: Ticket) -> (any Error)? {
    enum Outcome { case queued(wake: Bool), refused(any Error) }
    let outcome = queue.withLock { queue -> Outcome in
      queue.admitted -= 1
      // A task is marked cancelled before its handler runs. So either the mark is seen here, or
      // the handler takes the lock later and finds the ticket.
      let refusal: (any Error)? =
        queue.stopping
        ? SpindleError(.closed, "the store is closed")
        : Task.isCancelled ? CancellationError() : nil
      if let refusal {
        queue.bytes -= ticket.batch.byteCount
        return .refused(refusal)
      }
      queue.tickets.append(ticket)
      defer { queue.parked = false }
      return .queued(wake: queue.parked)
    }
    switch outcome {
    case .queued(let shouldWake):
      if shouldWake { wake.signal() }
      return nil
    case .refused(let error): return error
    }
  }

  /// Takes a waiting ticket out, or notes the cancellation for a writer that meets a write stall.
  private func cancel(_ id: UInt64) {
    let removed = queue.withLock { queue -> Ticket? in
      if let index = queue.tickets.firstIndex(where: { $0.id == id }) {
        let ticket = queue.tickets.remove(at: index)
        queue.bytes -= ticket.batch.byteCount
        return ticket
      }
      // The writer has it, or it is done, or it was not queued yet; see `add`.
      if queue.isWriting { queue.cancelled.insert(id) }
      return nil
    }
    if let removed { removed.waiter.resume(.failure(CancellationError())) }
  }

  /// Batches that wait; those the writer holds are not among them.
  var waitingCount: Int { queue.withLock { $0.tickets.count } }

  // MARK: The writer

  /// Stops admission, writes and syncs what waits, and ends both threads. Call it where blocking
  /// is allowed.
  func stop() {
    let shouldWake = queue.withLock { queue in
      queue.stopping = true
      defer { queue.parked = false }
      return queue.parked
    }
    if shouldWake { wake.signal() }
    let thread = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    thread?.join()
    syncer.stop()
  }

  private func run() {
    while let group = takeGroup() {
      write(group)
      queue.withLock { queue in
        queue.isWriting = false
        queue.cancelled.removeAll()
      }
    }
  }

  /// Waits for work. Nil means that the lane stopped and nothing waits.
  private func takeGroup() -> [Ticket]? {
    while true {
      enum Next { case group([Ticket]), stop, park }
      let next = queue.withLock { queue -> Next in
        if queue.tickets.isEmpty {
          if queue.stopping { return .stop }
          queue.parked = true
          return .park
        }
        var bytes = 0
        var count = 0
        for ticket in queue.tickets {
          bytes += ticket.batch.byteCount
          if count > 0, bytes > settings.groupByteLimit { break }
          count += 1
        }
        let group = Array(queue.tickets.prefix(count))
        if count == queue.tickets.count {
          queue.tickets.removeAll(keepingCapacity: true)
        } else {
          queue.tickets.removeFirst(count)
        }
        queue.bytes -= group.reduce(0) { $0 + $1.batch.byteCount }
        queue.isWriting = true
        return .group(group)
      }
      switch next {
      case .group(let group): return group
      case .stop: return nil
      case .park: wake.wait()
      }
    }
  }

  /// Writes a group; every ticket is resumed exactly once, those of synced batches by the syncer.
  private func write(_ group: [Ticket]) {
    var tickets = group
    var backoff = WriteBackoff()
    // Built at the first attempt, and anew only when a member leaves.
    var record: WriteRecord?
    while !tickets.isEmpty {
      let attempt = commitLock.withLock { _ in
        engine.commitGroup(tickets.map(\.batch), record: &record)
      }
      // The batches whose precondition failed are out, whatever became of the rest.
      var rest: [Ticket] = []
      for (ticket, refusal) in zip(tickets, attempt.refusals) {
        if let refusal { finish(ticket, .failure(refusal)) } else { rest.append(ticket) }
      }
      tickets = rest
      switch attempt.outcome {
      case .written:
        finishWritten(tickets)
        return
      case .failed(let error):
        for ticket in tickets { finish(ticket, .failure(error)) }
        return
      case .stalled:
        // Nothing was written. Who ran out of time or was cancelled gets the error and can never
        // be written later; the others are tried again.
        expire(&tickets)
        if tickets.count < rest.count { record = nil }
        if !tickets.isEmpty { engine.pause(backoff.next()) }
      }
    }
  }

  /// Ends the waiting of all whose time is over or whose part does not take writes any more, those
  /// of the group and those still in the queue behind it: the stall stops them just the same.
  ///
  /// What decides is asked outside of the queue's lock, because the parts and the deadlines have
  /// locks of their own. A ticket that leaves the queue meanwhile was ended by whoever took it.
  private func expire(_ group: inout [Ticket]) {
    let now = engine.clock.now
    let (waiting, cancelled) = queue.withLock { ($0.tickets, $0.cancelled) }
    var ended: [(Ticket, any Error)] = []
    var kept: [Ticket] = []
    for var ticket in group {
      if let error = judge(&ticket, at: now, wasCancelled: cancelled.contains(ticket.id)) {
        ended.append((ticket, error))
      } else {
        kept.append(ticket)
      }
    }
    group = kept
    var errors: [UInt64: any Error] = [:]
    var limits: [UInt64: WriteDeadline.Effective] = [:]
    for var ticket in waiting {
      errors[ticket.id] = judge(&ticket, at: now, wasCancelled: false)
      limits[ticket.id] = ticket.limit
    }
    queue.withLock { queue in
      var waiting: [Ticket] = []
      waiting.reserveCapacity(queue.tickets.count)
      for var ticket in queue.tickets {
        if let error = errors[ticket.id] {
          queue.bytes -= ticket.batch.byteCount
          ended.append((ticket, error))
        } else {
          ticket.limit = ticket.limit ?? limits[ticket.id]
          waiting.append(ticket)
        }
      }
      queue.tickets = waiting
    }
    for (ticket, error) in ended { finish(ticket, .failure(error)) }
  }

  /// Begins a ticket's time where it has not begun.
  ///
  /// - Returns: The error that ends the ticket's waiting; nil when it waits on.
  private func judge(
    _ ticket: inout Ticket, at now: ContinuousClock.Instant, wasCancelled: Bool
  ) -> (any Error)? {
    let limit = ticket.limit ?? ticket.deadline.effective(from: now)
    ticket.limit = limit
    if wasCancelled { return CancellationError() }
    if let refusal = ticket.batch.gateRefusal { return refusal }
    return now >= limit.instant ? limit.error : nil
  }

  private func finishWritten(_ tickets: [Ticket]) {
    for ticket in tickets where ticket.durability == .buffered { finish(ticket, .success(())) }
    let synced = tickets.filter { $0.durability == .synced }
    if !synced.isEmpty { syncer.finish(synced.map(\.waiter)) }
  }

  private func finish(_ ticket: Ticket, _ result: Result<Void, any Error>) {
    ticket.waiter.resume(result)
  }
}
