internal import CRocksDB
internal import CRocksDBShim

/// What is set for the database as a whole. Values, without handles.
public struct DatabaseOptions: Sendable {
  /// How a damaged write-ahead log is treated at open. Without paranoid checks RocksDB 7.8.3
  /// ignores the mode and skips damaged records.
  public enum RecoveryMode: Int32, Sendable {
    case tolerateCorruptedTail = 0
    case absolute = 1
    case pointInTime = 2
    case skipAnyCorrupted = 3
  }

  public var createIfMissing = false
  public var paranoidChecks = false
  public var recoveryMode = RecoveryMode.pointInTime
  /// Bytes of all memtables together. The default is 256 MiB: what dies in a memtable is never
  /// written again.
  ///
  /// RocksDB begins a flush when 7/8 of them are being written to. It does not count what is
  /// flushed already, and does not begin a second flush of a family, so a family keeps to the bound
  /// only when its own ``ColumnFamilyOptions/writeBufferBytes`` times
  /// ``ColumnFamilyOptions/maxWriteBuffers`` do.
  public var writeBufferBytes = 256 << 20
  /// Bytes of all live write-ahead logs before families are flushed. The default is 512 MiB.
  public var writeAheadLogBytes: UInt64 = 512 << 20
  /// Bytes of the shared LRU block cache. The default is 64 MiB.
  public var blockCacheBytes = 64 << 20
  /// The most SST files held open; -1 is no bound (a secondary needs it). The default is 512.
  public var maxOpenFiles: Int32 = 512
  /// Flushes and compactions at once. The default is 2.
  public var backgroundJobs: Int32 = 2
  /// Whether RocksDB counts its own events, at a cost of some percent. The default is false.
  public var statistics = false
  /// Bytes a second that flushes and compactions may write; nil is no limit.
  public var writeRateLimit: Int64?
  /// Threads for flushes and compactions, of which one flushes; replaces ``backgroundJobs``. The
  /// threads are those of the process. nil, the default, leaves RocksDB's.
  public var parallelism: Int32?
  /// Bytes that a compaction reads at once; on spinning disks 2 MiB or more. 0, the default, is no
  /// readahead.
  public var compactionReadaheadBytes = 0
  /// How often files that nothing refers to are looked for and deleted. The default is 6 h.
  public var obsoleteFilesPeriod = Duration.seconds(6 * 3600)
  /// Whether a file is synced with `fsync` where it is `fdatasync` otherwise. The default is false.
  public var usesFsync = false
  /// Bytes of a table after which the system is asked to begin writing them out, which spreads the
  /// work; 0, the default, leaves it to the system.
  public var bytesPerSync: UInt64 = 0
  /// The directory of the write-ahead log; nil, the default, is that of the database.
  var logDirectory: String?
  /// RocksDB's messages, written by whoever opens the database for writing.
  public var engineLog = EngineLog()

  public init() {}
}

/// What is set for one column family.
public struct ColumnFamilyOptions: Sendable, Equatable {
  public enum Compression: Int32, Sendable, CaseIterable {
    case none = 0
    case snappy = 1
    case zlib = 2
    case bz2 = 3
    case lz4 = 4
    case lz4hc = 5
    case zstd = 7

    /// What the linked RocksDB was built with.
    public static let supported = Set(
      allCases.filter { spindle_rocks_supports_compression($0.rawValue) != 0 })
  }

  /// RocksDB's own sets of options for a memory budget in bytes.
  public enum Preset: Sendable, Equatable {
    /// Levels: the two lowest uncompressed, the others with LZ4 or Snappy, whatever
    /// ``ColumnFamilyOptions/compression`` says.
    case levelStyle(memtableBytes: UInt64)
    /// Universal compaction: fewer bytes written, more kept on disk and read.
    case universalStyle(memtableBytes: UInt64)
  }

  /// Values above a size live in blob files instead of SST files.
  public struct Blobs: Sendable, Equatable {
    public var minimumBytes: UInt64 = 4 << 10
    public var fileBytes: UInt64 = 64 << 20
    public var collectsGarbage = true
    public var compression = Compression.none
    public init() {}
  }

  /// Bytes of one memtable. The default is 64 MiB.
  public var writeBufferBytes = 64 << 20
  /// The most memtables that wait for their flush or are in it; at this number writes stop. The
  /// default is 2: one is written to while the other is flushed.
  public var maxWriteBuffers: Int32 = 2
  public var compression = Compression.lz4
  /// Bits a key of the bloom filter; 0 is no filter. The default is 10 (about 1 % false hits).
  public var bloomBitsPerKey = 10.0
  public var level0CompactionTrigger: Int32 = 4
  /// Bytes of level 1 before it is moved on to level 2. nil, the default, leaves RocksDB's 256 MiB
  /// or the preset's. It should hold what the files of level 0 hold when they are compacted: a
  /// smaller one has every byte written once more.
  public var level1Bytes: UInt64?
  public var level0SlowdownTrigger: Int32 = 20
  public var level0StopTrigger: Int32 = 36
  public var disablesAutomaticCompaction = false
  /// Whether the sizes of levels follow that of the last one. The default is false.
  public var hasDynamicLevelBytes = false
  /// Bytes of the huge pages that memtables are allocated from; 0, the default, is none. The system
  /// must have reserved them.
  public var memtableHugePageBytes = 0
  public var blobs: Blobs?
  /// The preset that ``adopt(_:)`` took; what is set here stands above it.
  public private(set) var preset: Preset?

  public init() {}

  /// Takes a preset over. What is set afterwards wins over it.
  public mutating func adopt(_ preset: Preset) {
    self.preset = preset
    level1Bytes = nil
    // These are applied after RocksDB's preset, so they follow it.
    switch preset {
    case .levelStyle(let bytes):
      writeBufferBytes = Int(bytes / 4)
      level0CompactionTrigger = 2
    case .universalStyle(let bytes):
      writeBufferBytes = Int(bytes / 4)
    }
    maxWriteBuffers = 6
  }

  /// Sets how many files in level 0 stop writers. RocksDB raises the value to the one that slows
  /// them down, and that to the one that starts a compaction, so these are lowered with it.
  public mutating func stopWrites(atLevel0Files count: Int32) {
    level0StopTrigger = count
    level0SlowdownTrigger = min(level0SlowdownTrigger, 20, count)
    level0CompactionTrigger = min(level0CompactionTrigger, level0SlowdownTrigger)
  }
}

/// A `rocksdb_options_t`, owned.
@safe struct OptionsHandle: ~Copyable {
  let pointer: OpaquePointer

  init(
    _ options: DatabaseOptions, family: ColumnFamilyOptions, cache: OpaquePointer?,
    guardian: WALGuard?, listener: EngineListener?, logDirectory: String? = nil
  ) {
    unsafe pointer = rocksdb_options_create()
    apply(options, guardian: guardian, listener: listener, logDirectory: logDirectory)
    unsafe apply(family, cache: cache)
  }

  deinit { unsafe rocksdb_options_destroy(pointer) }

  private func apply(
    _ options: DatabaseOptions, guardian: WALGuard?, listener: EngineListener?,
    logDirectory: String?
  ) {
    unsafe rocksdb_options_set_create_if_missing(pointer, options.createIfMissing ? 1 : 0)
    unsafe rocksdb_options_set_paranoid_checks(pointer, options.paranoidChecks ? 1 : 0)
    unsafe rocksdb_options_set_wal_recovery_mode(pointer, options.recoveryMode.rawValue)
    unsafe rocksdb_options_set_db_write_buffer_size(pointer, options.writeBufferBytes)
    unsafe rocksdb_options_set_max_total_wal_size(pointer, options.writeAheadLogBytes)
    unsafe rocksdb_options_set_max_open_files(pointer, options.maxOpenFiles)
    unsafe rocksdb_options_set_max_background_jobs(pointer, options.backgroundJobs)
    if options.statistics { unsafe rocksdb_options_enable_statistics(pointer) }
    if let rate = options.writeRateLimit {
      let limiter = unsafe rocksdb_ratelimiter_create(rate, 100_000, 10)
      unsafe rocksdb_options_set_ratelimiter(pointer, limiter)
      unsafe rocksdb_ratelimiter_destroy(limiter)
    }
    unsafe rocksdb_options_compaction_readahead_size(pointer, options.compactionReadaheadBytes)
    unsafe rocksdb_options_set_delete_obsolete_files_period_micros(
      pointer, options.obsoleteFilesPeriod.wholeMicroseconds)
    unsafe rocksdb_options_set_use_fsync(pointer, options.usesFsync ? 1 : 0)
    unsafe rocksdb_options_set_bytes_per_sync(pointer, options.bytesPerSync)
    // Never RocksDB's own writer: on a full disk it ends the process, at the first line after one
    // that did not fit (Debian's build asserts). A read-only open must write nothing at all.
    let logger = unsafe options.engineLog.logger(in: logDirectory)
    unsafe rocksdb_options_set_info_log(pointer, logger)
    unsafe spindle_rocks_logger_destroy(logger)
    unsafe rocksdb_options_set_keep_log_file_num(
      pointer, max(options.engineLog.keptFiles, 1))
    if let directory = options.logDirectory {
      unsafe rocksdb_options_set_wal_dir(pointer, directory)
    }
    if let guardian { unsafe rocksdb_options_set_env(pointer, guardian.environment) }
    if let listener { unsafe spindle_rocks_options_add_listener(pointer, listener.pointer) }
    // After the environment, whose threads it sets.
    if let parallelism = options.parallelism {
      unsafe rocksdb_options_increase_parallelism(pointer, parallelism)
    }
  }

  private func apply(_ family: ColumnFamilyOptions, cache: OpaquePointer?) {
    switch family.preset {
    case .levelStyle(let bytes):
      unsafe rocksdb_options_optimize_level_style_compaction(pointer, bytes)
    case .universalStyle(let bytes):
      unsafe rocksdb_options_optimize_universal_style_compaction(pointer, bytes)
    case nil:
      break
    }
    unsafe rocksdb_options_set_write_buffer_size(pointer, family.writeBufferBytes)
    unsafe rocksdb_options_set_max_write_buffer_number(pointer, family.maxWriteBuffers)
    unsafe rocksdb_options_set_compression(pointer, family.compression.rawValue)
    unsafe rocksdb_options_set_level_compaction_dynamic_level_bytes(
      pointer, family.hasDynamicLevelBytes ? 1 : 0)
    unsafe rocksdb_options_set_level0_file_num_compaction_trigger(
      pointer, family.level0CompactionTrigger)
    if let bytes = family.level1Bytes {
      unsafe rocksdb_options_set_max_bytes_for_level_base(pointer, bytes)
    }
    unsafe rocksdb_options_set_level0_slowdown_writes_trigger(
      pointer, family.level0SlowdownTrigger)
    unsafe rocksdb_options_set_level0_stop_writes_trigger(pointer, family.level0StopTrigger)
    unsafe rocksdb_options_set_memtable_huge_page_size(pointer, family.memtableHugePageBytes)
    unsafe rocksdb_options_set_disable_auto_compactions(
      pointer, family.disablesAutomaticCompaction ? 1 : 0)
    if let blobs = family.blobs {
      unsafe rocksdb_options_set_enable_blob_files(pointer, 1)
      unsafe rocksdb_options_set_min_blob_size(pointer, blobs.minimumBytes)
      unsafe rocksdb_options_set_blob_file_size(pointer, blobs.fileBytes)
      unsafe rocksdb_options_set_enable_blob_gc(pointer, blobs.collectsGarbage ? 1 : 0)
      unsafe rocksdb_options_set_blob_compression_type(pointer, blobs.compression.rawValue)
    }
    let table = unsafe rocksdb_block_based_options_create()
    defer { unsafe rocksdb_block_based_options_destroy(table) }
    if family.bloomBitsPerKey > 0 {
      // The table options take the policy over.
      let policy = unsafe rocksdb_filterpolicy_create_bloom_full(family.bloomBitsPerKey)
      unsafe rocksdb_block_based_options_set_filter_policy(table, policy)
    }
    if let cache = unsafe cache { unsafe rocksdb_block_based_options_set_block_cache(table, cache) }
    unsafe rocksdb_options_set_block_based_table_factory(pointer, table)
  }
}
