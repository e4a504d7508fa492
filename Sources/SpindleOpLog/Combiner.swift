internal import SpindleCore
internal import Synchronization

/// Lets many callers write to one log, one after the other, with as few commits as can be.
///
/// Whoever finds the *bench* there takes it and leads: it serves its own request on its own thread,
/// without suspending unless the store makes it wait. Who comes meanwhile queues. When a leader is
/// done and somebody waits, the bench goes to a task of the combiner's own, which serves what waits
/// in groups until nothing does: no caller's cancellation reaches the work of others.
///
/// The bench is what only the leader may touch. It is taken out of the lock and put back, so nobody
/// can look at it without leading. The lock is held for queueing only, never across work.
final class Combiner<Request: Sendable>: Sendable {
  /// Requests served as one group: large enough that a commit's fixed cost is small beside them.
  static var groupLimit: Int { 256 }
  /// Callers that may wait; each is a suspended task that holds its own request.
  static var waitingLimit: Int { 65_536 }

  private enum Next { case wait, lead(Bench), refuse(any Error) }

  private struct Waiter {
    /// Ascends in the queue.
    let id: UInt64
    /// Nil once the caller has given up.
    var call: Call?
  }

  private struct Call {
    let request: Request
    let continuation: CheckedContinuation<Result<Reply, any Error>, Never>
  }

  /// Under which number a caller waits, for its cancellation; 0 until it is queued.
  private final class Place: Sendable {
    let id = Atomic<UInt64>(0)
  }

  private struct Content {
    /// Nil while somebody leads.
    var bench: Bench?
    /// In the order in which they came; those before `head` are gone.
    var waiters: [Waiter] = []
    var head = 0
    /// Those from `head` on who have given up.
    var absentCount = 0
    /// Requests that the leader serves now.
    var servedCount = 0
    var nextID: UInt64 = 0
    var isClosed = false
    /// Those who wait for the end of the last leader.
    var onIdle: [CheckedContinuation<Void, Never>] = []

    /// Puts the bench back.
    mutating func end(_ bench: Bench) -> [CheckedContinuation<Void, Never>] {
      self.bench = bench
      servedCount = 0
      if onIdle.isEmpty { return [] }
      defer { onIdle = [] }
      return onIdle
    }

    var waitingCount: Int { waiters.count - head - absentCount }

    mutating func takeGroup(_ limit: Int) -> [Call] {
      var group: [Call] = []
      group.reserveCapacity(min(limit, waitingCount))
      while group.count < limit, head < waiters.count {
        if let call = waiters[head].call.take() { group.append(call) } else { absentCount -= 1 }
        head += 1
      }
      servedCount = group.count
      if head == waiters.count {
        waiters = []
        head = 0
      } else if head >= limit * 4 {
        waiters.removeFirst(head)
        head = 0
      }
      return group
    }

    /// Takes out who waits under a number; nil when nobody does any more.
    mutating func remove(_ id: UInt64) -> Call? {
      var (lower, upper) = (head, waiters.count)
      while lower < upper {
        let middle = (lower + upper) / 2
        if waiters[middle].id < id { lower = middle + 1 } else { upper = middle }
      }
      guard lower < waiters.count, waiters[lower].id == id,
        let call = waiters[lower].call.take()
      else { return nil }
      absentCount += 1
      // Those who gave up take no more room than those who wait, and a group's.
      if absentCount > waitingCount + Combiner.groupLimit {
        waiters.removeAll { $0.call == nil }
        head = 0
        absentCount = 0
      }
      return call
    }
  }

  private let content: Mutex<Content>
  /// Serves a group: a reply for each request, in order.
  typealias Service = @Sendable ([Request], inout Bench) async -> [Reply]

  init(_ bench: Bench) { content = Mutex(Content(bench: bench)) }

  /// Takes the bench if nobody leads; it must come back by ``release(_:service:)``.
  func lead() throws -> Bench? {
    try content.withLock { content in
      if content.isClosed { throw Self.closed }
      guard let bench = content.bench.take() else { return nil }
      content.servedCount = 1
      return bench
    }
  }

  /// Ends the leading of a caller.
  func release(_ bench: consuming Bench, service: @autoclosure () -> Service) {
    let bench = bench
    let idle = content.withLock { $0.waitingCount > 0 ? nil : $0.end(bench) }
    if let idle {
      for continuation in idle { continuation.resume() }
    } else {
      let service = service()
      Task { await serveAll(bench, service) }
    }
  }

  /// Waits for a request to be served by who leads.
  ///
  /// Cancelling while the request waits gives up on it: it is not served. Once it was taken, the
  /// outcome is awaited.
  ///
  /// - Throws: ``SpindleError`` with `overloaded` or `closed`, or `CancellationError`.
  func wait(_ request: Request, service: @escaping Service) async throws -> Reply {
    let place = Place()
    return try await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        enqueue(Call(request: request, continuation: continuation), place, service)
      }
    } onCancel: {
      cancel(place)
    }.get()
  }

  private func enqueue(_ call: Call, _ place: Place, _ service: @escaping Service) {
    let next = content.withLock { content -> Next in
      if content.isClosed { return .refuse(Self.closed) }
      // A task is marked cancelled before its handler runs. So either the mark is seen here, or the
      // handler takes the lock later and finds the waiter.
      if Task.isCancelled { return .refuse(CancellationError()) }
      if content.waitingCount >= Self.waitingLimit {
        return .refuse(
          SpindleError(
            .overloaded, "\(Self.waitingLimit) calls wait for the op-log already",
            reason: "oplog_queue"))
      }
      content.nextID += 1
      place.id.store(content.nextID, ordering: .relaxed)
      content.waiters.append(Waiter(id: content.nextID, call: call))
      // The leader may have ended since the caller looked.
      return content.bench.take().map { .lead($0) } ?? .wait
    }
    switch next {
    case .wait: break
    case .lead(let bench): Task { await serveAll(bench, service) }
    case .refuse(let error): call.continuation.resume(returning: .failure(error))
    }
  }

  private func cancel(_ place: Place) {
    // The lock orders the number: it is written under it.
    let call = content.withLock { $0.remove(place.id.load(ordering: .relaxed)) }
    call?.continuation.resume(returning: .failure(CancellationError()))
  }

  /// Serves groups until nobody waits. Runs in a task that nobody cancels.
  private func serveAll(_ taken: Bench, _ service: Service) async {
    var bench = taken
    while true {
      let (group, idle) = content.withLock { content in
        let group = content.takeGroup(Self.groupLimit)
        return (group, group.isEmpty ? content.end(bench) : [])
      }
      for continuation in idle { continuation.resume() }
      if group.isEmpty { return }
      // Plain loops: nobody specializes this code for a processor of another module, and there a
      // sequence made of others costs more than what it is made of.
      var requests: [Request] = []
      requests.reserveCapacity(group.count)
      for index in group.indices { requests.append(group[index].request) }
      let replies = await service(requests, &bench)
      content.withLock { $0.servedCount = 0 }
      for index in replies.indices {
        group[index].continuation.resume(returning: .success(replies[index]))
      }
      // Those just served often come back at once: let them, before anybody has to lead alone.
      await Task.yield()
    }
  }

  /// Callers that are served now or wait for it.
  var callCount: Int { content.withLock { $0.waitingCount + $0.servedCount } }

  /// Refuses every request from now on; those that wait are still served.
  func close() { content.withLock { $0.isClosed = true } }

  /// Waits until nobody leads. Only after ``close()``, or it may never come to that.
  func drained() async {
    await withCheckedContinuation { continuation in
      let isIdle = content.withLock { content -> Bool in
        if content.bench != nil { return true }
        content.onIdle.append(continuation)
        return false
      }
      if isIdle { continuation.resume() }
    }
  }

  private static var closed: SpindleError { SpindleError(.closed, "the op-log is closed") }
}
