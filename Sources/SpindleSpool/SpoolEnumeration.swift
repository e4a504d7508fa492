public import SpindleCore
internal import Synchronization

/// A stretch of keys of which a walk could not read a table: what that table held in it is lost to
/// the walk, though it may still be on the disk.
///
/// What other tables and the log hold of the stretch is given; so a message whose removal or
/// replacement was in the lost stretch alone is given as it was before. For it the walk makes a
/// view of the store, which it keeps to its end, with as much memory as the log has bytes; it has
/// two of them at most. Where none can be made, as without a temporary directory, and where the
/// damage is of no table, nothing of the stretch is given.
public struct SpoolLostRange: Sendable, Equatable {
  /// The number of the damaged table file, of several the first; nil when the engine named none
  /// that is in use.
  public var file: UInt64?
  /// The first key that may be missing; an empty one is the beginning of the spool.
  public var from: [UInt8]
  /// The first key behind the stretch; nil is the end of the spool.
  public var to: [UInt8]?

  public init(file: UInt64?, from: [UInt8], to: [UInt8]?) {
    self.file = file
    self.from = from
    self.to = to
  }
}

/// The handle of a running enumeration.
public final class SpoolEnumeration: Sendable {
  /// How an enumeration ended, or how far it has come.
  public struct Outcome: Sendable {
    /// Messages sent.
    public var count = 0
    /// Messages left out for their time, and ``stray`` keys.
    public var skipped = 0
    /// Of the skipped: messages made more than a minute after the wall clock's time, as a clock
    /// that was set back leaves them.
    public var ahead = 0
    /// Of the skipped: keys that are no spool id; of a spool on files, what is no message's file.
    public var stray = 0
    /// Damaged records, sent as ``SpoolEntry/corrupt(id:error:)``.
    public var corrupt = 0
    /// What could not be read; the walk went on behind each. At most 1,000.
    public var lostRanges: [SpoolLostRange] = []
    /// Directories that could not be listed, so that what they hold is not counted; of a spool on
    /// files.
    public var unreadableDirectories = 0
    /// The first of them, with the cause.
    public var firstUnreadableDirectory: String?
    /// What stopped the walk before its end, or the first damage where the walk went on behind it.
    /// nil says that everything was given.
    public var error: SpindleError?

    public init() {}
  }

  private struct State {
    var progress = Outcome()
    var isFinished = false
    var waiters: [CheckedContinuation<Outcome, Never>] = []
  }
  private let state = Mutex(State())

  init() {}

  /// Tells how far the walk has come.
  func publish(_ progress: Outcome) { state.withLock { $0.progress = progress } }

  func finish(_ outcome: Outcome) {
    let waiters = state.withLock { state in
      state.progress = outcome
      state.isFinished = true
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.resume(returning: outcome) }
  }

  /// What the walk has done so far; at its end the same as ``finished()``.
  public var progress: Outcome { state.withLock { $0.progress } }

  /// Waits for the end of the walk.
  public func finished() async -> Outcome {
    await withCheckedContinuation { continuation in
      let outcome = state.withLock { state -> Outcome? in
        if state.isFinished { return state.progress }
        state.waiters.append(continuation)
        return nil
      }
      if let outcome { continuation.resume(returning: outcome) }
    }
  }
}
