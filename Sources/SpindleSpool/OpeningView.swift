internal import SpindleCore
internal import SpindleRocks
internal import Synchronization

/// The view of a spool at its opening: what the last run left.
///
/// It pins all of that on the disk, removed or not, so it is given back once a reader has all
/// of it, after a time, and at the shutdown. A walk that is under way keeps it for itself.
final class OpeningView: Sendable {
  private struct State {
    var snapshot: Snapshot?
    /// Whether a walk lists it, or has listed it and its reader has not taken everything yet.
    var isListed = false
    /// Whether it was listed before, so that its messages may have been taken and removed.
    var wasListed = false
  }

  /// What became of the wish to list the view.
  enum Listing {
    case begun(Snapshot, again: Bool)
    case inUse
    case released
  }

  private let state: Mutex<State>
  private let clock: any StoreClock
  private let due: ContinuousClock.Instant
  private let timer: Mutex<Task<Void, Never>?> = Mutex(nil)

  init(_ snapshot: Snapshot?, clock: any StoreClock, duration: Duration) {
    state = Mutex(State(snapshot: snapshot))
    self.clock = clock
    due = clock.now + duration
    guard snapshot != nil else { return }
    timer.withLock { timer in
      timer = Task { [weak self] in
        guard (try? await Task.sleep(for: duration)) != nil else { return }
        self?.releaseWhenDue()
      }
    }
  }

  deinit { timer.withLock { $0?.cancel() } }

  /// nil once it was given back.
  var snapshot: Snapshot? {
    releaseWhenDue()
    return state.withLock { $0.snapshot }
  }

  /// Begins to list the view; each that was begun must be matched by ``endListing(wasTaken:)``.
  func beginListing() -> Listing {
    releaseWhenDue()
    return state.withLock { state in
      guard let snapshot = state.snapshot else { return .released }
      if state.isListed { return .inUse }
      state.isListed = true
      defer { state.wasListed = true }
      return .begun(snapshot, again: state.wasListed)
    }
  }

  /// - Parameter wasTaken: Whether a reader has everything: nobody needs the view any more. Else it
  ///   may be listed again.
  func endListing(wasTaken: Bool) {
    if wasTaken { release() } else { state.withLock { $0.isListed = false } }
  }

  func release() {
    timer.withLock { $0?.cancel() }
    // Given back outside of the lock: RocksDB may look for work that the snapshot held up.
    let snapshot = state.withLock { $0.snapshot.take() }
    withExtendedLifetime(snapshot) {}
  }

  func releaseWhenDue() {
    if clock.now >= due { release() }
  }
}
