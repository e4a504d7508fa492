internal import CRocksDBShim
internal import CRocksDB

/// Watches the files of the write-ahead log of one open database.
///
/// RocksDB 7.8.3 without paranoid checks goes on appending to a log whose last append failed, and
/// acknowledges writes that are gone at the next open. The guard sits in the file system below
/// RocksDB and refuses every append after the first failure, at the place where it fails, so that
/// no write can slip through between the failure and its report.
@safe public final class WALGuard: @unchecked Sendable {
  // Proof of sendability: the pointer never changes and the functions behind it may be called from
  // any thread.
  private let pointer: OpaquePointer

  public init() { unsafe pointer = spindle_rocks_env_create() }

  deinit { unsafe spindle_rocks_env_destroy(pointer) }

  var environment: OpaquePointer { unsafe spindle_rocks_env_handle(pointer) }

  /// The first operation on a log that failed.
  public struct Failure: Sendable, Equatable {
    /// True for a failed sync: the kernel may have dropped pages, nothing can be trusted.
    public var isSync: Bool
    public var logNumber: UInt64
    public var isNoSpace: Bool
    public var message: String
  }

  /// The failure that stands, if any. Without one it costs one atomic load.
  public var failure: Failure? {
    guard unsafe spindle_rocks_env_wal_failed(pointer) != 0 else { return nil }
    var kind: Int32 = 0
    var number: UInt64 = 0
    var noSpace: Int32 = 0
    var text: UnsafeMutablePointer<CChar>? = nil
    unsafe spindle_rocks_env_wal_failure(pointer, &kind, &number, &noSpace, &text)
    defer { unsafe rocksdb_free(text) }
    guard kind != SPINDLE_ROCKS_WAL_OK else { return nil }
    return Failure(
      isSync: kind == SPINDLE_ROCKS_WAL_SYNC_FAILED, logNumber: number, isNoSpace: noSpace != 0,
      message: unsafe text.map { unsafe String(cString: $0) } ?? "unknown")
  }

  /// Makes every write that has returned durable. A failing sync poisons the log.
  func syncLogs() throws(RocksError) {
    try unsafe checked { error in
      _ = unsafe spindle_rocks_env_sync_wals(pointer, error)
    }
  }

  /// First step of the cure: cuts the torn record off the failed log, syncs the rest, and lets
  /// RocksDB leave the file. Only while no write is under way.
  public func retireFailedLog() throws(RocksError) {
    try unsafe checked { error in
      _ = unsafe spindle_rocks_env_retire_failed_wal(pointer, error)
    }
  }

  /// Last step of the cure, after every family was flushed.
  ///
  /// - Returns: false when the failed log is still the newest; the failure then stands.
  public func clearFailure() -> Bool {
    unsafe spindle_rocks_env_clear_wal_failure(pointer) == 0
  }

  /// One log file as the guard saw it grow.
  public struct LogSize: Sendable, Equatable {
    public var logNumber: UInt64
    public var appendedBytes: UInt64
    /// The size when the last successful sync began: what a power loss keeps.
    public var syncedBytes: UInt64
  }

  /// The logs made in this run that RocksDB has not deleted, oldest first.
  public var logSizes: [LogSize] {
    let capacity = 1024
    var numbers = [UInt64](repeating: 0, count: capacity)
    var appended = numbers
    var synced = numbers
    let count = unsafe spindle_rocks_env_wal_sizes(
      pointer, &numbers, &appended, &synced, capacity)
    return (0..<min(count, capacity)).map {
      LogSize(logNumber: numbers[$0], appendedBytes: appended[$0], syncedBytes: synced[$0])
    }
  }

  /// Bytes and syncs since the guard was made.
  public struct Totals: Sendable, Equatable {
    public var logBytes: UInt64
    public var logSyncs: UInt64
    /// Bytes of tables, blob files, manifests and the rest, without RocksDB's own info log.
    public var otherBytes: UInt64
  }

  public var totals: Totals {
    var totals = spindle_rocks_env_totals_t()
    unsafe spindle_rocks_env_totals(pointer, &totals)
    return Totals(
      logBytes: totals.wal_bytes_written, logSyncs: totals.wal_syncs,
      otherBytes: totals.other_bytes_written)
  }

  // MARK: Faults, for tests

  /// File operations that a test can make fail.
  package enum FaultyOperation: Int32, Sendable, CaseIterable {
    case logAppend = 0
    case logSync = 1
    case logCreate = 2
    case tableAppend = 3
    case tableSync = 4
    case tableCreate = 5
    case manifestAppend = 6
    case manifestSync = 7
  }

  package enum FaultError: Int32, Sendable {
    case io = 0
    case noSpace = 1
  }

  /// Makes an operation fail: the first `skipping` calls succeed, then `count` fail (nil: until
  /// cleared). A failing append writes `partialBytes` first, which leaves a torn record.
  package func inject(
    _ operation: FaultyOperation, skipping: UInt64 = 0, count: Int64? = 1,
    error: FaultError = .noSpace, partialBytes: UInt64 = 0
  ) {
    _ = unsafe spindle_rocks_env_inject(
      pointer, operation.rawValue, skipping, count ?? -1, error.rawValue, partialBytes)
  }

  package func clearFaults() { unsafe spindle_rocks_env_clear_faults(pointer) }

  /// Makes flushes and compactions stand still, or go on: a disk that is too slow for its writers.
  /// Whoever closes the database meanwhile waits.
  package func holdTables(_ isHeld: Bool) {
    unsafe spindle_rocks_env_hold_tables(pointer, isHeld ? 1 : 0)
  }

  package func setSyncDelay(microseconds: UInt32) {
    unsafe spindle_rocks_env_set_sync_delay_us(pointer, microseconds)
  }
}
