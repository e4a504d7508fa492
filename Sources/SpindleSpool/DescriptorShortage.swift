internal import Glibc
internal import SpindleCore
internal import SpindleRocks
internal import Synchronization

/// What a process that has no file descriptors left meets.
extension RocksError {
  /// Whether a file could not be opened for want of descriptors, of the process or of the system.
  /// RocksDB's text ends with that of the system: its class says no more than that of a bad disk.
  var isOutOfDescriptors: Bool { message.contains("Too many open files") }

  /// The error for callers: nothing is damaged.
  var outOfDescriptors: SpindleError {
    SpindleError(.unavailable, "a walk ended early for want of file descriptors: \(message)")
  }
}

/// How many files a process may have open.
package enum DescriptorLimit {
  /// The soft limit; nil when there is none.
  static var current: Int? {
    let limit = sysconf(Int32(_SC_OPEN_MAX))
    return limit < 0 ? nil : limit
  }
}

/// The descriptors that the views of a process have, all walks together: at most half of what the
/// process may have. What the databases have open themselves, and all else, needs the rest.
package final class DescriptorBudget: Sendable {
  static let process = DescriptorBudget()
  private let taken = Atomic<Int>(0)

  package init() {}

  /// Takes descriptors for a view of so many tables.
  ///
  /// - Returns: What gives them back when it is let go; nil where a walk could not have as many
  ///   views as it may need, or other walks have too many by now.
  package func reserve(tables count: Int, limit: Int?) -> Reservation? {
    if let limit, count > limit / 2 / SpoolWalk.viewLimit { return nil }
    var before = taken.load(ordering: .relaxed)
    while true {
      if let limit, before + count > limit / 2 { return nil }
      let (exchanged, original) = taken.weakCompareExchange(
        expected: before, desired: before + count, ordering: .relaxed)
      if exchanged { return Reservation(count, of: self) }
      before = original
    }
  }

  package final class Reservation: Sendable {
    private let count: Int
    private let budget: DescriptorBudget

    fileprivate init(_ count: Int, of budget: DescriptorBudget) {
      self.count = count
      self.budget = budget
    }

    deinit { budget.taken.wrappingSubtract(count, ordering: .relaxed) }
  }
}
