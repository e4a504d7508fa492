public import SpindleCore
import Synchronization

/// A few threads that run blocking calls for async callers.
///
/// The queue is bounded: at most ``queueLimit`` calls wait, the next is refused. Each waiting call
/// is a suspended task that holds its own arguments, so the bound also limits their memory.
public final class BlockingPool: Sendable {
  private struct State {
    /// By number, ascending. Those before ``head`` are taken; one that was dropped is nil.
    var jobs: [(number: UInt64, run: (@Sendable () -> Void)?)] = []
    var head = 0
    var nextNumber: UInt64 = 0
    /// How many wait, without those that were dropped.
    var waiting = 0
    /// Threads that run no job, those that are only starting among them.
    var idle = 0
    var threads: [NamedThread] = []
    var stopping = false
  }

  private let state = Mutex(State())
  private let wake = ThreadSemaphore()
  private let name: String
  private let threadLimit: Int
  /// The most calls that wait at once.
  public let queueLimit: Int

  /// - Parameters:
  ///   - name: The threads' name, at most 15 bytes.
  ///   - threads: 1 to 64; they start as they are needed.
  ///   - queueLimit: The most calls that wait at once. The default is 4,096.
  public init(name: String, threads: Int, queueLimit: Int = 4_096) {
    self.name = name
    threadLimit = min(max(threads, 1), 64)
    self.queueLimit = queueLimit
  }

  /// Calls that wait for a thread.
  public var queuedCount: Int { state.withLock { $0.waiting } }

  /// Runs a blocking call on one of the pool's threads. A cancelled caller still gets the call's
  /// outcome: once queued, the work runs to its end.
  ///
  /// - Throws: what `body` throws, or ``SpindleError`` with `overloaded` when the queue is full
  ///   and `closed` after ``stop()``.
  public func run<Value: Sendable>(
    _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      do {
        try enqueue { continuation.resume(with: Result(catching: body)) }
      } catch {
        continuation.resume(throwing: error)
      }
    }
  }

  /// Runs a blocking call whose outcome nobody needs once its caller is cancelled, such as a read.
  /// The caller leaves at once then. Work that has begun runs to its end, for nobody; work that has
  /// not is dropped, with its place in the queue.
  ///
  /// - Parameters:
  ///   - atEnd: Called once, when the work has ended or is dropped.
  /// - Throws: as ``run(_:)``, and `CancellationError`.
  public func runUntilCancelled<Value: Sendable>(
    atEnd: @escaping @Sendable () -> Void = {}, _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    let call = AbandonableCall(body: body, atEnd: atEnd)
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        guard call.wait(continuation) else { return }
        do {
          let number = try enqueue { call.run() }
          if call.isDropped(at: number) { drop(number) }
        } catch {
          call.end(.failure(error), drops: true)
        }
      }
    } onCancel: {
      if let number = call.end(.failure(CancellationError()), drops: true) { drop(number) }
    }
  }

  /// Queues work without waiting for it.
  ///
  /// - Returns: The work's number in the queue.
  @discardableResult
  public func enqueue(_ job: @escaping @Sendable () -> Void) throws(SpindleError) -> UInt64 {
    let (number, refusal) = state.withLock { (state) -> (UInt64, SpindleError?) in
      let number = state.nextNumber
      if state.stopping {
        return (number, SpindleError(.closed, "the thread pool \(name) is closed"))
      }
      if state.waiting >= queueLimit {
        return (
          number,
          SpindleError(
            .overloaded, "the thread pool \(name) has \(queueLimit) calls waiting already")
        )
      }
      state.jobs.append((number, job))
      state.nextNumber += 1
      state.waiting += 1
      // Each waiting job takes one idle thread; a burst must not count the same one twice.
      if state.waiting <= state.idle || state.threads.count >= threadLimit { return (number, nil) }
      do throws(IOFailure) {
        state.threads.append(try NamedThread(name: name) { [self] in work() })
        state.idle += 1
      } catch {
        // With one thread running the job is served all the same.
        if state.threads.isEmpty {
          state.jobs.removeLast()
          state.waiting -= 1
          return (number, error.spindleError)
        }
      }
      return (number, nil)
    }
    if let refusal { throw refusal }
    wake.signal()
    return number
  }

  /// Takes work out of the queue, if it still waits there.
  private func drop(_ number: UInt64) {
    state.withLock { state in
      var (low, high) = (state.head, state.jobs.count)
      while low < high {
        let middle = (low + high) / 2
        if state.jobs[middle].number < number { low = middle + 1 } else { high = middle }
      }
      guard low < state.jobs.count, state.jobs[low].number == number,
        state.jobs[low].run.take() != nil
      else { return }
      state.waiting -= 1
      // Behind a disk that hangs no more places are kept than there are calls.
      guard state.jobs.count - state.head > 2 * state.waiting + 64 else { return }
      state.jobs.removeAll { $0.run == nil }
      state.head = 0
    }
  }

  /// Ends the threads after the queued work. Call it from a thread that may block.
  public func stop() {
    let threads = state.withLock { state in
      state.stopping = true
      defer { state.threads = [] }
      return state.threads
    }
    for _ in threads { wake.signal() }
    for thread in threads { thread.join() }
  }

  private func work() {
    while true {
      wake.wait()
      let job: (@Sendable () -> Void)? = state.withLock { state in
        state.idle -= 1
        // Out of its place: what a job holds is let go when it has run, not when the queue is
        // moved up. Of one that was dropped only the signal is left.
        var job: (@Sendable () -> Void)?
        while job == nil, state.head < state.jobs.count {
          job = state.jobs[state.head].run.take()
          state.head += 1
        }
        if job != nil { state.waiting -= 1 }
        if state.head == state.jobs.count {
          state.jobs.removeAll(keepingCapacity: true)
          state.head = 0
        } else if state.head >= 256, state.head * 2 >= state.jobs.count {
          state.jobs.removeFirst(state.head)
          state.head = 0
        }
        return job
      }
      if let job {
        job()
        state.withLock { $0.idle += 1 }
      } else if state.withLock({ state in
        if !state.stopping { state.idle += 1 }
        return state.stopping
      }) {
        return
      }
    }
  }
}

/// A call whose caller may leave before it ends.
private final class AbandonableCall<Value: Sendable>: Sendable {
  private struct State {
    /// nil once it has begun, or is dropped.
    var body: (@Sendable () throws -> Value)?
    var continuation: CheckedContinuation<Value, any Error>?
    /// What the caller gets, where that is known before it waits.
    var early: Result<Value, any Error>?
    var isDropped = false
    /// Its number in the queue, once it is there.
    var number: UInt64?
  }

  private let state: Mutex<State>
  private let atEnd: @Sendable () -> Void

  init(body: @escaping @Sendable () throws -> Value, atEnd: @escaping @Sendable () -> Void) {
    state = Mutex(State(body: body))
    self.atEnd = atEnd
  }

  /// Keeps the caller until the end.
  ///
  /// - Returns: false when it was cancelled already, and has its outcome.
  func wait(_ continuation: CheckedContinuation<Value, any Error>) -> Bool {
    let early = state.withLock { state in
      if state.early == nil { state.continuation = continuation }
      return state.early
    }
    guard let early else { return true }
    continuation.resume(with: early)
    return false
  }

  /// Notes the call's number in the queue.
  ///
  /// - Returns: Whether it was dropped before that was known.
  func isDropped(at number: UInt64) -> Bool {
    state.withLock { state in
      state.number = number
      return state.isDropped
    }
  }

  /// Does the work, unless it was dropped.
  func run() {
    guard let body = state.withLock({ $0.body.take() }) else { return }
    let outcome = Result { try body() }
    atEnd()
    end(outcome, drops: false)
  }

  /// Tells the caller, if nobody has yet.
  ///
  /// - Parameter drops: Whether work that has not begun is dropped.
  /// - Returns: The number of work that was dropped in the queue.
  @discardableResult
  func end(_ outcome: Result<Value, any Error>, drops: Bool) -> UInt64? {
    let (dropped, number, continuation) = state.withLock { state in
      let dropped = drops ? state.body.take() : nil
      if dropped != nil { state.isDropped = true }
      if state.continuation == nil, state.early == nil { state.early = outcome }
      return (dropped, state.number, state.continuation.take())
    }
    if dropped != nil { atEnd() }
    continuation?.resume(with: outcome)
    return dropped == nil ? nil : number
  }
}
