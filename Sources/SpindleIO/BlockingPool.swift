public import SpindleCore
import Synchronization

/// A few threads that run blocking calls for async callers.
///
/// The queue is bounded: at most ``queueLimit`` calls wait, the next is refused. Each waiting call
/// is a suspended task that holds its own arguments, so the bound also limits their memory.
public final class BlockingPool: Sendable {
  private struct State {
    /// Those before ``head`` are taken.
    var jobs: [(@Sendable () -> Void)?] = []
    var head = 0
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
  public var queuedCount: Int { state.withLock { $0.jobs.count - $0.head } }

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
  /// not is dropped at once, and only its place in the queue stays until its turn comes.
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
          try enqueue { call.run() }
        } catch {
          call.end(.failure(error), drops: true)
        }
      }
    } onCancel: {
      call.end(.failure(CancellationError()), drops: true)
    }
  }

  /// Queues work without waiting for it.
  public func enqueue(_ job: @escaping @Sendable () -> Void) throws(SpindleError) {
    let refusal = state.withLock { (state) -> SpindleError? in
      if state.stopping { return SpindleError(.closed, "the thread pool \(name) is closed") }
      if state.jobs.count - state.head >= queueLimit {
        return SpindleError(
          .overloaded, "the thread pool \(name) has \(queueLimit) calls waiting already")
      }
      state.jobs.append(job)
      // Each waiting job takes one idle thread; a burst must not count the same one twice.
      if state.jobs.count - state.head <= state.idle || state.threads.count >= threadLimit {
        return nil
      }
      do throws(IOFailure) {
        state.threads.append(try NamedThread(name: name) { [self] in work() })
        state.idle += 1
      } catch {
        // With one thread running the job is served all the same.
        if state.threads.isEmpty {
          state.jobs.removeLast()
          return error.spindleError
        }
      }
      return nil
    }
    if let refusal { throw refusal }
    wake.signal()
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
        guard state.head < state.jobs.count else { return nil }
        // Out of its place: what a job holds is let go when it has run, not when the queue is
        // moved up.
        let job = state.jobs[state.head].take()
        state.head += 1
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
  func end(_ outcome: Result<Value, any Error>, drops: Bool) {
    let (dropped, continuation) = state.withLock { state in
      let dropped = drops ? state.body.take() : nil
      if state.continuation == nil, state.early == nil { state.early = outcome }
      return (dropped, state.continuation.take())
    }
    if dropped != nil { atEnd() }
    continuation?.resume(with: outcome)
  }
}
