package import SpindleCore
internal import Synchronization

/// A number of permits for which tasks wait in order of arrival, holding no thread.
///
/// A waiter ends in exactly one of three ways: it is handed a permit, its deadline passes, or its
/// task is cancelled. Whoever was handed a permit gives it back with ``release()``.
package final class Permits: Sendable {
  /// The most tasks that wait at once; the next is refused. Each is a suspended task of the caller
  /// that exists anyway, with its payload; the bound keeps a runaway caller from adding more.
  package static let waiterLimit = 65_536

  private enum Ending { case granted, expired, cancelled }

  private struct State {
    var free: Int
    /// By the number drawn at arrival. While a permit is free nobody waits.
    var waiters: [UInt64: CheckedContinuation<Ending, Never>] = [:]
    var nextNumber: UInt64 = 0
    /// No waiter has a smaller number.
    var oldest: UInt64 = 0

    mutating func takeOldest() -> CheckedContinuation<Ending, Never>? {
      guard !waiters.isEmpty else { return nil }
      while true {
        defer { oldest += 1 }
        if let waiter = waiters.removeValue(forKey: oldest) { return waiter }
      }
    }
  }

  private let state: Mutex<State>
  private let clock: any StoreClock

  /// - Parameter count: At least 1.
  package init(_ count: Int, clock: any StoreClock) {
    state = Mutex(State(free: count))
    self.clock = clock
  }

  /// Tasks that wait for a permit.
  package var waitingCount: Int { state.withLock { $0.waiters.count } }
  /// Permits that nobody holds.
  package var freeCount: Int { state.withLock { $0.free } }

  /// Takes a permit where one is free. While anybody waits none is.
  package func takeFree() -> Bool {
    state.withLock { state in
      guard state.free > 0 else { return false }
      state.free -= 1
      return true
    }
  }

  /// Takes a permit, waiting for one until the deadline. A free one is given even when the
  /// deadline has passed.
  ///
  /// - Parameter deadline: nil waits for as long as it takes.
  /// - Returns: false when the deadline passed.
  /// - Throws: `CancellationError`, or `overloaded` when too many wait already.
  package func acquire(until deadline: ContinuousClock.Instant?) async throws -> Bool {
    let number = state.withLock { state -> UInt64? in
      if state.free > 0 {
        state.free -= 1
        return nil
      }
      defer { state.nextNumber += 1 }
      return state.nextNumber
    }
    guard let number else { return true }
    let timer = deadline.map { instant in
      Task { [self] in
        while clock.now < instant {
          do { try await clock.sleep(until: instant) } catch { return }
        }
        end(number, .expired)
      }
    }
    defer { timer?.cancel() }
    let ending = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        if let ending = enqueue(number, deadline, continuation) {
          continuation.resume(returning: ending)
        }
      }
    } onCancel: {
      end(number, .cancelled)
    }
    switch ending {
    case .granted: return true
    case .expired: return false
    case .cancelled:
      try Task.checkCancellation()
      throw SpindleError(
        .overloaded, "\(Self.waiterLimit) calls wait for a permit already", reason: "waiters")
    }
  }

  /// Puts a waiter in the queue, or says how its waiting ended before it began.
  private func enqueue(
    _ number: UInt64, _ deadline: ContinuousClock.Instant?,
    _ continuation: CheckedContinuation<Ending, Never>
  ) -> Ending? {
    state.withLock { state in
      if state.free > 0 {
        state.free -= 1
        return .granted
      }
      // A task is marked cancelled before its handler runs, and the clock passes the deadline
      // before the timer fires. So either is seen here, or finds the waiter later.
      if Task.isCancelled || state.waiters.count >= Self.waiterLimit { return .cancelled }
      if let deadline, clock.now >= deadline { return .expired }
      state.waiters[number] = continuation
      state.oldest = min(state.oldest, number)
      return nil
    }
  }

  private func end(_ number: UInt64, _ ending: Ending) {
    let waiter = state.withLock { $0.waiters.removeValue(forKey: number) }
    waiter?.resume(returning: ending)
  }

  /// Gives a permit back, to the waiter that came first if there is one.
  package func release() {
    let waiter = state.withLock { state in
      let waiter = state.takeOldest()
      if waiter == nil { state.free += 1 }
      return waiter
    }
    waiter?.resume(returning: .granted)
  }
}
