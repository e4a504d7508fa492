internal import SpindleCore
internal import SpindleIO
internal import SpindleRocks
internal import SpindleStore
internal import Synchronization

/// What a spool does beside storing and loading: walks and compactions, each on a thread of its own
/// that may wait for the disk or for a reader, so that the store's few threads stay free.
final class SpoolUpkeep: Sendable {
  /// The most such threads at once. Each holds an iterator and its read-ahead of 256 KiB.
  static let threadLimit = 16

  private struct State {
    var running = 0
    /// Those who wait for the end; they are told whether it has come.
    var idle: [CheckedContinuation<Bool, Never>] = []
  }

  let opening: OpeningView
  /// Compactions go one after the other.
  let compactions = SpoolTurn()
  let memory = SharedCall<Int>()
  private let state = Mutex(State())

  /// Takes the view of what the last run left. Call it before messages are taken in.
  init(_ store: Store, _ settings: SpoolSettings) throws {
    do throws(RocksError) {
      opening = OpeningView(
        store.view == .owned ? try store.database.snapshot() : nil, clock: store.clock,
        duration: settings.leftoversDuration)
    } catch {
      throw error.spindleError
    }
  }

  /// Runs a body on a new thread.
  func start(_ thread: String, _ body: @escaping @Sendable () -> Void) throws {
    try state.withLock { state in
      guard state.running < Self.threadLimit else {
        throw SpindleError(
          .overloaded, "the spool has \(Self.threadLimit) walks and compactions under way already")
      }
      state.running += 1
    }
    do throws(IOFailure) {
      _ = try NamedThread(name: thread) { [self] in
        // Stores and loads must not be felt to wait for a walk or a compaction.
        NamedThread.giveWay()
        body()
        ended()
      }
    } catch {
      ended()
      throw error.spindleError
    }
  }

  /// The same for a caller that waits for the result. Cancelling the caller sets the flag, and the
  /// body ends as soon as it looks.
  func run<Value: Sendable>(
    _ thread: String, _ body: @escaping @Sendable (StopFlag) throws -> Value
  ) async throws -> Value {
    let flag = StopFlag()
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        do {
          try start(thread) { continuation.resume(with: Result { try body(flag) }) }
        } catch {
          continuation.resume(throwing: error)
        }
      }
    } onCancel: {
      flag.set()
    }
  }

  private func ended() {
    let idle = state.withLock { state in
      state.running -= 1
      guard state.running == 0 else { return [CheckedContinuation<Bool, Never>]() }
      defer { state.idle = [] }
      return state.idle
    }
    for waiter in idle { waiter.resume(returning: true) }
  }

  /// Walks, compactions and the like under way.
  var runningCount: Int { state.withLock { $0.running } }

  /// Waits until nothing runs, or until the limit.
  func becomesIdle(until limit: ContinuousClock.Instant, _ clock: any StoreClock) async {
    guard runningCount > 0 else { return }
    let timer = Task {
      try await clock.sleep(until: limit)
      wakeWaiters()
    }
    defer { timer.cancel() }
    // Whoever waits is woken by the limit of another, too.
    while clock.now < limit {
      let isIdle = await withCheckedContinuation { continuation in
        // Under the lock that wakes: after the timer's end nobody begins to wait.
        let isIdle: Bool? = state.withLock { state in
          if state.running == 0 { return true }
          if clock.now >= limit { return false }
          state.idle.append(continuation)
          return nil
        }
        if let isIdle { continuation.resume(returning: isIdle) }
      }
      if isIdle { return }
    }
  }

  private func wakeWaiters() {
    let idle = state.withLock { state in
      defer { state.idle = [] }
      return state.idle
    }
    for waiter in idle { waiter.resume(returning: false) }
  }
}

/// Asks a thread to end.
final class StopFlag: Sendable {
  private let value = Atomic<Bool>(false)
  var isSet: Bool { value.load(ordering: .acquiring) }
  func set() { value.store(true, ordering: .releasing) }
}
