import Glibc
// timespec belongs to whichever of the two the compiler happens to read first.
import SwiftOverlayShims

/// The clock that a store reads. Injected, so that tests decide what time it is.
public protocol StoreClock: Sendable {
  /// Monotonic time, for deadlines and backoff.
  var now: ContinuousClock.Instant { get }
  /// Wall time in milliseconds since the Unix epoch; a clock before 1970 reads 0.
  var wallMilliseconds: UInt64 { get }
  /// The same as of the last tick of the kernel, at most some 10 ms ago, for a quarter of the cost.
  /// The default is ``wallMilliseconds``.
  var coarseWallMilliseconds: UInt64 { get }
  /// Suspends the task until the instant has passed. Throws `CancellationError` when cancelled.
  func sleep(until instant: ContinuousClock.Instant) async throws
}

extension StoreClock {
  public var coarseWallMilliseconds: UInt64 { wallMilliseconds }
}

/// The operating system's clocks.
public struct SystemClock: StoreClock {
  public init() {}
  public var now: ContinuousClock.Instant { ContinuousClock.now }
  public var wallMilliseconds: UInt64 { Self.milliseconds(of: CLOCK_REALTIME) }
  public var coarseWallMilliseconds: UInt64 { Self.milliseconds(of: CLOCK_REALTIME_COARSE) }

  private static func milliseconds(of clock: clockid_t) -> UInt64 {
    var time = timespec()
    guard unsafe clock_gettime(clock, &time) == 0, time.tv_sec >= 0 else { return 0 }
    return UInt64(time.tv_sec) * 1000 + UInt64(time.tv_nsec) / 1_000_000
  }
  public func sleep(until instant: ContinuousClock.Instant) async throws {
    try await Task.sleep(until: instant, clock: .continuous)
  }
}
