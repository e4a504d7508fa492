internal import SpindleCore
internal import SpindleRocks
internal import Synchronization

/// The view of a spool at its opening: what the last run left.
///
/// It pins all of that on the disk, removed or not, so it is given back once it was walked to the
/// end, after a time, and at the shutdown. A walk that is under way keeps it for itself.
final class OpeningView: Sendable {
  private let held: Mutex<Snapshot?>
  private let clock: any StoreClock
  private let due: ContinuousClock.Instant
  private let timer: Mutex<Task<Void, Never>?> = Mutex(nil)

  init(_ snapshot: Snapshot?, clock: any StoreClock, duration: Duration) {
    held = Mutex(snapshot)
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
    return held.withLock { $0 }
  }

  func release() {
    timer.withLock { $0?.cancel() }
    // Given back outside of the lock: RocksDB may look for work that the snapshot held up.
    let snapshot = held.withLock { held in
      defer { held = nil }
      return held
    }
    withExtendedLifetime(snapshot) {}
  }

  func releaseWhenDue() {
    if clock.now >= due { release() }
  }
}
