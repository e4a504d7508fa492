/// Errors of one class that may pass by themselves: whether they persist.
///
/// One error, or a burst within one tick, proves nothing. Errors persist when they go on for the
/// whole window, grow in two ticks, and nothing succeeds in between.
struct GateEvidence {
  /// Errors since the last reset.
  private(set) var count: UInt64 = 0
  private(set) var lastAt: ContinuousClock.Instant?
  /// Whether a write succeeded after the last error.
  private var succeeded = false
  /// When the errors began that no success interrupted and no pause as long as the window.
  private var runStart: ContinuousClock.Instant?
  private var countAtTick: UInt64 = 0
  private var growths: (first: ContinuousClock.Instant?, last: ContinuousClock.Instant?)

  mutating func record(_ errors: UInt64 = 1, at now: ContinuousClock.Instant, window: Duration) {
    if let lastAt, now - lastAt > window { endRun() }
    if runStart == nil { runStart = now }
    count += errors
    lastAt = now
    succeeded = false
  }

  /// - Parameter endsRun: Whether a write that succeeds speaks against this class of errors.
  mutating func recordSuccess(endsRun: Bool) {
    succeeded = true
    if endsRun { endRun() }
  }

  private mutating func endRun() {
    runStart = nil
    growths = (nil, nil)
  }

  /// Takes one look.
  ///
  /// - Returns: Whether the errors persist.
  mutating func tick(at now: ContinuousClock.Instant, window: Duration) -> Bool {
    let grew = count > countAtTick
    countAtTick = count
    guard let runStart else {
      forgetIfQuiet(at: now, window: window)
      return false
    }
    if grew { growths = (growths.last, now) }
    if window == .zero { return grew }
    // The ticks may be further apart than the window; `record` has ended the run at every pause
    // that was too long.
    if growths.first != nil, let last = growths.last, now - last <= window,
      now - runStart >= window
    {
      return true
    }
    forgetIfQuiet(at: now, window: window)
    return false
  }

  private mutating func forgetIfQuiet(at now: ContinuousClock.Instant, window: Duration) {
    if succeeded, let lastAt, now - lastAt >= window { self = GateEvidence() }
  }
}
