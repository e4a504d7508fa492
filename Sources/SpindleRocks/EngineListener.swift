internal import CRocksDB
internal import CRocksDBShim

/// Counts what RocksDB does in the background, and keeps its last error.
@safe public final class EngineListener: @unchecked Sendable {
  // Proof of sendability: the pointer never changes; the functions behind it are thread-safe.
  let pointer: OpaquePointer

  /// Events kept for a reader that falls behind; older ones are dropped and counted.
  static let eventCapacity = 256

  init() { unsafe pointer = spindle_rocks_listener_create(Self.eventCapacity) }

  deinit { unsafe spindle_rocks_listener_destroy(pointer) }

  /// Counts since the database was opened.
  public struct Counters: Sendable, Equatable {
    public var backgroundErrors: UInt64
    /// Families that are slowed down or stopped right now.
    public var delayedFamilies: UInt64
    public var stoppedFamilies: UInt64
    public var flushes: UInt64
    public var flushBytes: UInt64
    public var compactions: UInt64
    public var compactionBytesIn: UInt64
    public var compactionBytesOut: UInt64
  }

  public var counters: Counters {
    var raw = spindle_rocks_counters_t()
    unsafe spindle_rocks_listener_counters(pointer, &raw)
    return Counters(
      backgroundErrors: raw.background_errors, delayedFamilies: raw.delayed_column_families,
      stoppedFamilies: raw.stopped_column_families, flushes: raw.flushes_completed,
      flushBytes: raw.flush_bytes_out, compactions: raw.compactions_completed,
      compactionBytesIn: raw.compaction_bytes_in, compactionBytesOut: raw.compaction_bytes_out)
  }

  /// Whether a background error stands that no recovery has ended. One atomic load.
  public var isInBackgroundError: Bool {
    unsafe spindle_rocks_listener_in_background_error(pointer) != 0
  }

  /// The last background error, standing or recovered; nil when there was none.
  public var lastError: RocksError? {
    var severity: Int32 = 0
    var text: UnsafeMutablePointer<CChar>? = nil
    let reason = unsafe spindle_rocks_listener_last_error(pointer, &severity, &text)
    defer { unsafe rocksdb_free(text) }
    guard reason >= 0, let text = unsafe text else { return nil }
    return RocksError(message: unsafe String(cString: text))
  }

  /// Whether the background error that stands is one that RocksDB does not resume after: only a new
  /// open ends it.
  public var isInFatalError: Bool {
    guard isInBackgroundError else { return false }
    var severity: Int32 = 0
    _ = unsafe spindle_rocks_listener_last_error(pointer, &severity, nil)
    return severity >= Int32(SPINDLE_ROCKS_SEVERITY_FATAL)
  }

  /// How many compactions of a family have failed since the database was opened.
  public func compactionFailures(of family: String) -> UInt64 {
    unsafe spindle_rocks_listener_compaction_failures(pointer, family, nil)
  }

  /// Why the last of them failed; nil when none did.
  public func lastCompactionError(of family: String) -> RocksError? {
    var text: UnsafeMutablePointer<CChar>? = nil
    _ = unsafe spindle_rocks_listener_compaction_failures(pointer, family, &text)
    defer { unsafe rocksdb_free(text) }
    guard let text = unsafe text else { return nil }
    return RocksError(message: unsafe String(cString: text))
  }
}

extension Database {
  /// Leaves the read-only state after a background error. Waits while memtables are flushed.
  public func resume() throws(RocksError) {
    try unsafe use { db throws(RocksError) in
      try unsafe checked { unsafe spindle_rocks_resume(db, $0) }
    }
  }

  /// The log that takes writes now.
  public func currentLog() throws(RocksError) -> (number: UInt64, bytes: UInt64) {
    try unsafe use { db throws(RocksError) in
      var number: UInt64 = 0
      var bytes: UInt64 = 0
      try unsafe checked { error in
        _ = unsafe spindle_rocks_current_wal(db, &number, &bytes, error)
      }
      return (number, bytes)
    }
  }

  /// Flushes several families, and waits for all.
  public func flush(_ families: [ColumnFamily]) throws(RocksError) {
    try unsafe use { db throws(RocksError) in
      let handles: [OpaquePointer?] = unsafe families.map { unsafe $0.handle }
      try unsafe checked {
        unsafe spindle_rocks_flush_column_families(db, handles, handles.count, 1, $0)
      }
    }
  }

  /// Reads every block of every live table file and checks it.
  public func verifyTableChecksums() throws(RocksError) {
    try unsafe use { db throws(RocksError) in
      try unsafe checked { unsafe spindle_rocks_verify_checksum(db, $0) }
    }
  }

  /// Waits until no flush and no compaction was pending or running for `idleMilliseconds`.
  ///
  /// - Returns: false when `timeoutMilliseconds` passed first.
  /// - Throws: the background error that arose meanwhile.
  public func waitForCompaction(
    idleMilliseconds: UInt32 = 50, timeoutMilliseconds: UInt32 = 600_000,
    backgroundErrorsBefore: UInt64? = nil
  ) throws(RocksError) -> Bool {
    let before = backgroundErrorsBefore ?? listener.counters.backgroundErrors
    return try unsafe use { db throws(RocksError) in
      try unsafe checked {
        unsafe spindle_rocks_wait_for_compact(
          db, listener.pointer, before, idleMilliseconds, timeoutMilliseconds, $0)
      } == 0
    }
  }

  /// One table file of a family.
  public struct TableFile: Sendable, Equatable {
    public var number: UInt64
    public var level: Int
    public var bytes: UInt64
    public var entries: UInt64
    public var deletions: UInt64
    public var smallestSequence: UInt64
    public var largestSequence: UInt64
    public var isBeingCompacted: Bool
    public var smallestKey: [UInt8]
    public var largestKey: [UInt8]
  }

  /// The table files of a family, level by level.
  public func tableFiles(of family: ColumnFamily) throws(RocksError) -> [TableFile] {
    try unsafe use { db throws(RocksError) in
      let files = try unsafe checked { unsafe spindle_rocks_files_create(db, family.handle, $0) }
      guard let files = unsafe files else { return [] }
      defer { unsafe spindle_rocks_files_destroy(files) }
      let count = unsafe spindle_rocks_files_table_count(files)
      return (0..<count).map { index in
        var raw = spindle_rocks_table_file_t()
        unsafe spindle_rocks_files_table(files, index, &raw)
        var length = 0
        let low = unsafe spindle_rocks_files_smallest_key(files, index, &length)
        let smallest = unsafe copyKey(low, length)
        let high = unsafe spindle_rocks_files_largest_key(files, index, &length)
        return TableFile(
          number: raw.file_number, level: Int(raw.level), bytes: raw.size_bytes,
          entries: raw.entries, deletions: raw.deletions, smallestSequence: raw.smallest_sequence,
          largestSequence: raw.largest_sequence, isBeingCompacted: raw.being_compacted != 0,
          smallestKey: smallest, largestKey: unsafe copyKey(high, length))
      }
    }
  }

  private func copyKey(_ start: UnsafePointer<CChar>?, _ count: Int) -> [UInt8] {
    guard let start = unsafe start else { return [] }
    return unsafe Array(UnsafeRawBufferPointer(start: start, count: count))
  }

  /// Sums over the table files of a family.
  public struct TableProperties: Sendable, Equatable {
    public var tables: UInt64
    public var dataBytes: UInt64
    public var rawKeyBytes: UInt64
    public var rawValueBytes: UInt64
    public var entries: UInt64
    public var deletions: UInt64
    public var rangeDeletions: UInt64
  }

  public func tableProperties(of family: ColumnFamily) throws(RocksError) -> TableProperties {
    try unsafe use { db throws(RocksError) in
      var raw = spindle_rocks_table_properties_t()
      try unsafe checked { error in
        _ = unsafe spindle_rocks_table_properties(db, family.handle, &raw, error)
      }
      return TableProperties(
        tables: raw.tables, dataBytes: raw.data_bytes, rawKeyBytes: raw.raw_key_bytes,
        rawValueBytes: raw.raw_value_bytes, entries: raw.entries, deletions: raw.deletions,
        rangeDeletions: raw.range_deletions)
    }
  }
}
