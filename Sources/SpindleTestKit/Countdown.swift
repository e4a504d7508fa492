internal import Synchronization

/// Counts down from any thread.
public final class Countdown: Sendable {
  private let left: Atomic<Int>

  public init(_ count: Int) { left = Atomic(count) }

  /// Counts one; true at the last and ever after.
  public func isOver() -> Bool {
    left.subtract(1, ordering: .relaxed).newValue <= 0
  }
}
