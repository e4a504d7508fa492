internal import CRocksDB
internal import CRocksDBShim

/// How RocksDB's messages are kept: in the file `LOG` of the database's directory, older ones in
/// `LOG.old.<time in microseconds>`.
///
/// A line that does not fit on the disk is lost and counted in the next one that does; nothing else
/// fails for it. At most ``byteLimit`` times the number of files stays on disk.
public struct EngineLog: Sendable, Equatable {
  /// What is written: this level and the ones after it. Header lines, which state the options at
  /// each open, are always written.
  public enum Level: Int32, Sendable, CaseIterable {
    case debug = 0
    case info = 1
    case warn = 2
    case error = 3
    case fatal = 4
    case header = 5
  }

  /// The default is `.info`: each flush and compaction, and whatever went wrong.
  public var level = Level.info
  /// The age at which a file is replaced. The default is 24 h.
  public var rollInterval = Duration.seconds(24 * 3600)
  /// The most bytes of a file. The default is 16 MiB.
  public var byteLimit: UInt64 = 16 << 20
  /// How many old files stay at most, at least 1; RocksDB, which sweeps by another count, may leave
  /// one fewer. The default is 10: a week's, and those of some starts.
  public var keptFiles = 10

  public init() {}

  /// A logger for options that take it over; without a directory one that keeps nothing.
  func logger(in directory: String?) -> OpaquePointer? {
    guard let directory else { return unsafe spindle_rocks_null_logger_create() }
    return unsafe spindle_rocks_file_logger_create(
      directory, level.rawValue, rollInterval.wholeMicroseconds, byteLimit, max(keptFiles, 1))
  }
}

extension Duration {
  /// Microseconds, rounded down; thirty thousand years and more are the same.
  var wholeMicroseconds: UInt64 {
    let (seconds, attoseconds) = components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    return UInt64(min(seconds, 1 << 40)) * 1_000_000 + UInt64(attoseconds / 1_000_000_000_000)
  }
}
