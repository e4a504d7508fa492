public import SpindleCore
internal import Synchronization

/// The handle of a running enumeration.
public final class SpoolEnumeration: Sendable {
  /// How an enumeration ended.
  public struct Outcome: Sendable {
    /// Messages sent.
    public var count = 0
    /// Messages made at or after the start time, and keys that are no spool id.
    public var skipped = 0
    /// Damaged records.
    public var corrupt = 0
    /// Directories that could not be listed, so that what they hold is not counted; of a spool on
    /// files.
    public var unreadableDirectories = 0
    /// The first of them, with the cause.
    public var firstUnreadableDirectory: String?
    /// What stopped the walk before its end; nil when it reached the end.
    public var error: SpindleError?
  }

  private struct State {
    var outcome: Outcome?
    var waiters: [CheckedContinuation<Outcome, Never>] = []
  }
  private let state = Mutex(State())

  init() {}

  func finish(_ outcome: Outcome) {
    let waiters = state.withLock { state in
      state.outcome = outcome
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.resume(returning: outcome) }
  }

  /// Waits for the end of the walk.
  public func finished() async -> Outcome {
    await withCheckedContinuation { continuation in
      let outcome = state.withLock { state in
        if state.outcome == nil { state.waiters.append(continuation) }
        return state.outcome
      }
      if let outcome { continuation.resume(returning: outcome) }
    }
  }
}
