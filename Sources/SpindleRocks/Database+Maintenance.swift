internal import CRocksDB
internal import CRocksDBShim
internal import SpindleCore
internal import Synchronization

extension Database {
  /// Writes a family's memtable to an SST file and waits for it. Without entries it does nothing
  /// and says nothing.
  public func flush(_ family: ColumnFamily) throws(RocksError) {
    try unsafe use { db throws(RocksError) in
      let options = unsafe rocksdb_flushoptions_create()
      defer { unsafe rocksdb_flushoptions_destroy(options) }
      unsafe rocksdb_flushoptions_set_wait(options, 1)
      try unsafe checked { unsafe rocksdb_flush_cf(db, options, family.handle, $0) }
    }
  }

  /// How a full compaction is done.
  public struct CompactionOptions: Sendable {
    /// No other compaction runs meanwhile. The default is true.
    public var exclusive = true
    /// Files of the last level are rewritten too; otherwise a database of one level is left as it
    /// is and damage in it stays hidden. The default is true.
    public var rewritesBottommostLevel = true
    public init() {}
  }

  /// Compacts a range of keys (nil: no bound) of a family and waits for it.
  ///
  /// - Parameter cancellation: Ends the call early, which then throws `incomplete`; what was
  ///   compacted by then stays so.
  /// - Throws: the error that the work met, damage of its input among them.
  public func compact(
    _ family: ColumnFamily, from lower: [UInt8]? = nil, to upper: [UInt8]? = nil,
    options: CompactionOptions = CompactionOptions(), cancellation: CompactionCancellation? = nil
  ) throws(RocksError) {
    let low = lower ?? []
    let high = upper ?? []
    try unsafe use { db throws(RocksError) in
      try unsafe checked { error in
        unsafe withCharacters(low.span) { start, startCount in
          unsafe withCharacters(high.span) { end, endCount in
            unsafe spindle_rocks_compact_range(
              db, family.handle, lower == nil ? nil : start, startCount,
              upper == nil ? nil : end, endCount, options.exclusive ? 1 : 0,
              options.rewritesBottommostLevel ? 1 : 0, cancellation?.pointer, error)
          }
        }
      }
    }
    withExtendedLifetime(cancellation) {}
  }

  /// Stops manual compactions that run or wait; they may start again afterwards.
  public func cancelManualCompactions() throws(RocksError) {
    try unsafe use { db throws(RocksError) in
      unsafe rocksdb_disable_manual_compaction(db)
      unsafe rocksdb_enable_manual_compaction(db)
    }
  }

  /// Empties the block cache of what nobody uses at the moment; it fills again as it is read.
  public func dropBlockCache() {
    cacheCapacity.withLock { capacity in
      unsafe rocksdb_cache_set_capacity(cache, 0)
      unsafe rocksdb_cache_set_capacity(cache, capacity)
    }
  }

  /// Sets the block cache's capacity in bytes; a small one evicts at once.
  public func setBlockCacheCapacity(_ bytes: Int) {
    cacheCapacity.withLock { capacity in
      capacity = bytes
      unsafe rocksdb_cache_set_capacity(cache, bytes)
    }
  }

  /// A property as a number, of one family or of the database; nil when RocksDB has none so named.
  public func property(_ name: String, of family: ColumnFamily? = nil) throws(RocksError) -> UInt64?
  {
    try unsafe use { db throws(RocksError) in
      var value: UInt64 = 0
      let found =
        if let family {
          unsafe rocksdb_property_int_cf(db, family.handle, name, &value)
        } else {
          unsafe rocksdb_property_int(db, name, &value)
        }
      return found == 0 ? value : nil
    }
  }

  /// A property as text.
  public func propertyText(
    _ name: String, of family: ColumnFamily? = nil
  ) throws(RocksError) -> String? {
    try unsafe use { db throws(RocksError) in
      let text =
        if let family {
          unsafe rocksdb_property_value_cf(db, family.handle, name)
        } else {
          unsafe rocksdb_property_value(db, name)
        }
      guard let text = unsafe text else { return nil }
      defer { unsafe rocksdb_free(text) }
      return unsafe String(cString: text)
    }
  }

  /// Makes an openable copy of the database in a directory that must not exist: SST files as hard
  /// links, the log copied.
  public func createCheckpoint(at target: String) throws(RocksError) {
    try unsafe use { db throws(RocksError) in
      let checkpoint = try unsafe checked { unsafe rocksdb_checkpoint_object_create(db, $0) }
      defer { unsafe rocksdb_checkpoint_object_destroy(checkpoint) }
      // UInt64.max: never flush for the checkpoint's sake, copy the log instead.
      try unsafe checked { unsafe rocksdb_checkpoint_create(checkpoint, target, .max, $0) }
    }
  }

  /// Adds a backup to a backup directory, sharing unchanged files with older ones there.
  public func createBackup(in directory: String) throws(RocksError) {
    let backups = try BackupDirectory(directory)
    try unsafe use { db throws(RocksError) in
      try unsafe checked {
        unsafe rocksdb_backup_engine_create_new_backup_flush(backups.pointer, db, 1, $0)
      }
    }
  }
}

/// Ends one compaction from another thread, as soon as it looks.
@safe public final class CompactionCancellation: @unchecked Sendable {
  // Proof of sendability: the pointer never changes and what it points at is atomic.
  let pointer: OpaquePointer

  public init() { unsafe pointer = spindle_rocks_cancellation_create() }

  deinit { unsafe spindle_rocks_cancellation_destroy(pointer) }

  public func cancel() { unsafe spindle_rocks_cancellation_cancel(pointer) }
}

/// A directory of backups made by RocksDB's backup engine.
@safe public struct BackupDirectory: ~Copyable {
  let pointer: OpaquePointer

  public init(_ path: String) throws(RocksError) {
    let options = unsafe rocksdb_options_create()
    defer { unsafe rocksdb_options_destroy(options) }
    let opened = try unsafe checked { unsafe rocksdb_backup_engine_open(options, path, $0) }
    guard let opened = unsafe opened else {
      throw RocksError(message: "IO error: the backup directory did not open")
    }
    unsafe pointer = opened
  }

  deinit { unsafe rocksdb_backup_engine_close(pointer) }

  /// One backup of the directory.
  public struct Backup: Sendable, Equatable {
    public var id: UInt32
    /// Seconds since the Unix epoch.
    public var timestamp: Int64
    public var bytes: UInt64
    public var files: UInt32
  }

  /// The backups, oldest first.
  public var backups: [Backup] {
    let info = unsafe rocksdb_backup_engine_get_backup_info(pointer)
    defer { unsafe rocksdb_backup_engine_info_destroy(info) }
    let count = unsafe rocksdb_backup_engine_info_count(info)
    return (0..<count).map { index in
      unsafe Backup(
        id: rocksdb_backup_engine_info_backup_id(info, index),
        timestamp: rocksdb_backup_engine_info_timestamp(info, index),
        bytes: rocksdb_backup_engine_info_size(info, index),
        files: rocksdb_backup_engine_info_number_files(info, index))
    }
  }

  /// Checks that every file of a backup is there, with the size it had when this directory was
  /// opened. Contents are checked by ``restore(_:to:)`` alone.
  public func verify(_ id: UInt32) throws(RocksError) {
    try unsafe checked { unsafe rocksdb_backup_engine_verify_backup(pointer, id, $0) }
  }

  /// Restores a backup into a database directory that nobody has open, and checks every file
  /// against the checksum that the backup recorded.
  public func restore(_ id: UInt32, to database: String) throws(RocksError) {
    let options = unsafe rocksdb_restore_options_create()
    defer { unsafe rocksdb_restore_options_destroy(options) }
    try unsafe checked {
      unsafe rocksdb_backup_engine_restore_db_from_backup(
        pointer, database, database, options, id, $0)
    }
  }

  /// Removes all but the newest backups.
  public func purge(keeping count: UInt32) throws(RocksError) {
    try unsafe checked { unsafe rocksdb_backup_engine_purge_old_backups(pointer, count, $0) }
  }
}
