internal import SpindleCore

/// Until when a write may wait for acceptance: the earlier of the caller's deadline and the
/// store's own bound, which starts with the first refusal.
struct WriteDeadline: Sendable {
  let caller: ContinuousClock.Instant?
  let storeLimit: Duration

  /// The instant that counts, and the error when it passes.
  struct Effective: Sendable {
    let instant: ContinuousClock.Instant
    let error: SpindleError
  }

  /// Decides once which side wins; a tie goes to the store.
  func effective(from start: ContinuousClock.Instant) -> Effective {
    let own = start + storeLimit
    if let caller, caller < own {
      return Effective(
        instant: caller,
        error: SpindleError(
          .deadlineExceeded, "the caller-supplied deadline was reached before acceptance"))
    }
    return Effective(
      instant: own,
      error: SpindleError(
        .overloaded, "the store did not accept the write within \(storeLimit)",
        reason: "backpressure"))
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
