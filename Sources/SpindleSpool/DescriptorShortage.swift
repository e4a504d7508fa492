internal import Glibc
internal import SpindleCore
internal import SpindleRocks

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

  /// Whether two views of all tables can be open at once within half of a limit: what the database
  /// has open itself, and all else in the process, needs the rest.
  package static func admitsViews(ofTables count: Int, limit: Int?) -> Bool {
    guard let limit else { return true }
    return count <= limit / 2 / SpoolWalk.viewLimit
  }
}
