public import SpindleCore
internal import Synchronization

/// A clock that stands still until a test moves it.
public final class ManualClock: StoreClock {
  private struct State {
    var now = ContinuousClock.now
    var wallMilliseconds: UInt64
    var nextID = 0
    var sleepers:
      [Int: (until: ContinuousClock.Instant, wake: CheckedContinuation<Void, any Error>)] = [:]
  }

  private let state: Mutex<State>

  public init(wallMilliseconds: UInt64 = 1_700_000_000_000) {
    state = Mutex(State(wallMilliseconds: wallMilliseconds))
  }

  public var now: ContinuousClock.Instant { state.withLock { $0.now } }
  public var wallMilliseconds: UInt64 { state.withLock { $0.wallMilliseconds } }
  /// How many tasks wait for the time to pass.
  public var sleeperCount: Int { state.withLock { $0.sleepers.count } }

  /// Moves both times on and wakes who waited for it.
  public func advance(by duration: Duration) {
    let woken = state.withLock { state in
      state.now += duration
      state.wallMilliseconds += UInt64(duration / .milliseconds(1))
      let due = state.sleepers.filter { $0.value.until <= state.now }
      for id in due.keys { state.sleepers[id] = nil }
      return due.values.map(\.wake)
    }
    for sleeper in woken { sleeper.resume() }
  }

  public func sleep(until instant: ContinuousClock.Instant) async throws {
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        enum Next { case wait, passed, cancelled }
        let next = state.withLock { state -> Next in
          if Task.isCancelled { return .cancelled }
          if instant <= state.now { return .passed }
          state.sleepers[id] = (instant, continuation)
          return .wait
        }
        switch next {
        case .wait: break
        case .passed: continuation.resume()
        case .cancelled: continuation.resume(throwing: CancellationError())
        }
      }
    } onCancel: {
      let sleeper = state.withLock { $0.sleepers.removeValue(forKey: id) }
      sleeper?.wake.resume(throwing: CancellationError())
    }
  }
}
