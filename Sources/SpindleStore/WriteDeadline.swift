package import SpindleCore
internal import Synchronization

/// How a part of the store waits for RocksDB to accept its writes. Made once, shared by all of the
/// part's writes of one kind.
package final class WritePolicy: Sendable {
  private let subject: String
  private let limit: Duration
  /// Those of the writes that may try again at a time; the others wait for them.
  package let permits: Permits?
  /// What the outcome of each write is told to.
  let health: PartHealth?
  /// Gets how long a write that met a stall waited, whatever its outcome.
  fileprivate let observer: (@Sendable (Duration) -> Void)?
  fileprivate let waiting = Atomic<Int>(0)

  /// - Parameters:
  ///   - subject: Who did not accept a write in time, for the error: `store`, `spool`.
  ///   - limit: The longest wait, beginning with the first refusal.
  package init(
    subject: String, limit: Duration, permits: Permits? = nil, health: PartHealth? = nil,
    observer: (@Sendable (Duration) -> Void)? = nil
  ) {
    self.subject = subject
    self.limit = limit
    self.permits = permits
    self.health = health
    self.observer = observer
  }

  /// Writes that met a stall and wait for its end.
  package var waitingCount: Int { waiting.load(ordering: .relaxed) }

  /// The instant that counts for a wait that begins now, and the error when it passes. A tie of
  /// the caller's deadline and the part's bound goes to the part.
  package func effective(
    caller: ContinuousClock.Instant?, from start: ContinuousClock.Instant
  ) -> (instant: ContinuousClock.Instant, error: SpindleError) {
    let own = start + limit
    if let caller, caller < own {
      return (
        caller,
        SpindleError(
          .deadlineExceeded, "the caller-supplied deadline was reached before acceptance")
      )
    }
    return (
      own,
      SpindleError(
        .overloaded, "the \(subject) did not accept the write within \(limit)",
        reason: "backpressure")
    )
  }
}

/// Until when one write may wait for acceptance: the earlier of the caller's deadline and the
/// part's own bound, which starts with the first refusal.
struct WriteDeadline: Sendable {
  /// The instant that counts, and the error when it passes.
  struct Effective: Sendable {
    let instant: ContinuousClock.Instant
    let error: SpindleError
  }

  let policy: WritePolicy
  private let caller: ContinuousClock.Instant?
  private let wait: Wait?

  init(caller: ContinuousClock.Instant?, policy: WritePolicy) {
    self.caller = caller
    self.policy = policy
    wait = policy.health == nil ? nil : Wait()
  }

  /// Decides which side wins, once: the first refusal is what counts.
  func effective(from start: ContinuousClock.Instant) -> Effective {
    guard let wait else { return decide(start) }
    return wait.state.withLock { state in
      if let effective = state.effective { return effective }
      let effective = decide(start)
      // Who left the queue may be judged once more; nobody would take it off the count again.
      guard !state.hasEnded else { return effective }
      state.start = start
      state.effective = effective
      policy.waiting.add(1, ordering: .relaxed)
      return effective
    }
  }

  private func decide(_ start: ContinuousClock.Instant) -> Effective {
    let (instant, error) = policy.effective(caller: caller, from: start)
    return Effective(instant: instant, error: error)
  }

  /// Tells the policy's observer how long the write waited, if it did.
  func waitEnded(_ clock: any StoreClock) {
    let start = wait?.state.withLock { state in
      state.hasEnded = true
      return state.start
    }
    guard let start else { return }
    policy.waiting.subtract(1, ordering: .relaxed)
    policy.observer?(clock.now - start)
  }

  /// The wait of one write of a part.
  private final class Wait: Sendable {
    struct State {
      var start: ContinuousClock.Instant?
      var effective: Effective?
      var hasEnded = false
    }
    let state = Mutex(State())
  }
}

extension SpindleError {
  /// Whether a write ran out of its time.
  var isWriteTimeout: Bool {
    kind == .deadlineExceeded || kind == .overloaded && reason == "backpressure"
  }
}

/// The pauses between attempts: 0.5, 1, 2, ... 32, 50, 50 ... ms. The cap bounds how late a waiter
/// notices that the stall ended or the gate shut.
struct WriteBackoff {
  private var current = Duration.microseconds(500)

  mutating func next() -> Duration {
    defer { current = min(current * 2, .milliseconds(50)) }
    return current
  }
}
