internal import SpindleIO
internal import Synchronization

/// The calls under way, so that a shutdown can wait for their end.
final class LocalDiskCalls: Sendable {
  private struct State {
    var count = 0
    /// Of these, walks.
    var walks = 0
    var isClosed = false
  }
  private let state = Mutex(State())
  private let quiet = ThreadSemaphore()

  /// - Returns: false once the spool is closed.
  func begin() -> Bool {
    state.withLock { state in
      guard !state.isClosed else { return false }
      state.count += 1
      return true
    }
  }

  func end() {
    let isLast = state.withLock { state in
      state.count -= 1
      return state.isClosed && state.count == 0
    }
    if isLast { quiet.signal() }
  }

  /// Counts a walk, which is a call as well.
  ///
  /// - Returns: false when as many are under way.
  func beginWalk(atMost limit: Int) -> Bool {
    state.withLock { state in
      guard state.walks < limit else { return false }
      state.walks += 1
      return true
    }
  }

  func endWalk() { state.withLock { $0.walks -= 1 } }

  var underWay: Int { state.withLock { $0.count } }

  var isClosed: Bool { state.withLock { $0.isClosed } }

  func close() { state.withLock { $0.isClosed = true } }

  /// Waits for the end of the last call, after ``close()``, on a thread that may block. One waits
  /// at a time.
  ///
  /// - Returns: false when calls are still under way after that time.
  func waitUntilQuiet(milliseconds: Int) -> Bool {
    if state.withLock({ $0.count == 0 }) { return true }
    _ = quiet.wait(milliseconds: milliseconds)
    return state.withLock { $0.count == 0 }
  }
}
