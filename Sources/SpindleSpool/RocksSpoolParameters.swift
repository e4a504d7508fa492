internal import SpindleCore
public import SpindleRocks
internal import SpindleStore

/// The parameters of a spool on RocksDB, by the names that configurations give them.
///
/// Every parameter may be absent; the default then holds. Durations are text such as `"30s"`,
/// `"5m"`, `"24 hours"`, `"1h 30m"` or `"500ms"`, or a number of seconds, and at most 100 years.
/// Sizes are bytes, or text such as `"64 MiB"`, and at most 2^50. A name that is not known is
/// refused.
///
/// All spools of a store share one RocksDB. The parameters marked *store-wide* concern it as a
/// whole: two spools that ask for different values are refused when the store is opened. See
/// ``SpoolDefinition`` for a whole configuration.
public struct RocksSpoolParameters: Sendable, Equatable {
  /// Threads for flushes and compactions, 1 to 256, of which one flushes. Store-wide. The default
  /// is 2 jobs on RocksDB's own threads.
  public var increaseParallelism: Int?
  /// Bytes of memory for RocksDB's level-style preset, 256 KiB or more: write buffers of a quarter
  /// of it, up to 6 of them, compaction from 2 files in level 0 on, files of an eighth, and
  /// compression by level, which overrides ``compressionType``. The default is no preset.
  public var optimizeLevelStyleCompaction: Int?
  /// Bytes of memory for RocksDB's universal preset, 256 KiB or more: the same write buffers, and
  /// universal compaction, which writes less and keeps more on disk. Not together with the
  /// level-style preset. The default is no preset.
  public var optimizeUniversalStyleCompaction: Int?
  /// Whether RocksDB stops at the first doubt. Only false, the default, is taken: with true a
  /// failed append to the log ends the process at the next flush, in builds with assertions. Damage
  /// in the log is found before the store opens, whatever is set here.
  public var paranoidChecks: Bool?
  /// How RocksDB compresses blocks; one that the linked library has. Files that exist keep theirs
  /// until they are compacted. The default is none: payloads are compressed before they are
  /// written, see ``payloadCompression``.
  public var compressionType: ColumnFamilyOptions.Compression?
  /// Bytes that a compaction reads at once from each of its files, at most 64 MiB; 2 MiB or more
  /// helps on spinning disks. Store-wide. The default is 0, no readahead.
  public var compactionReadaheadSize: Int?
  /// Whether level sizes follow the size of the last level. The default is false.
  public var levelCompactionDynamicLevelBytes: Bool?
  /// The most table files held open, 1 or more; -1 is no limit. Store-wide. The default is 512.
  public var maxOpenFiles: Int?
  /// Bytes of a memtable before it is flushed; RocksDB takes at least 64 KiB. Applied after a
  /// preset, so it wins. The default is the preset's, or half of ``dbWriteBufferSize``: one
  /// memtable is written to while another is flushed.
  public var writeBufferSize: Int?
  /// How many files in level 0 stop writers, 1 or more; with the universal preset, which keeps one
  /// file there that no compaction takes away, 2 or more. The number that slows writers (20) and
  /// the number that starts a compaction (4) are lowered to it, as RocksDB would otherwise raise it
  /// to them. The default is 36.
  public var level0StopWritesTrigger: Int?
  /// What RocksDB's `LOG` file says: Debug, Info, Warn, Error, Fatal or Header, each with those
  /// after it. Store-wide. The default is Info.
  public var logLevel: EngineLog.Level?
  /// Bytes of huge pages that memtables are allocated from, which the system must have reserved.
  /// The default is 0, none.
  public var memtableHugePageSize: Int?
  /// The age at which `LOG` is replaced; 0 is never for its age. 10 old files are kept. Store-wide.
  /// The default is 24 h.
  public var logFileTimeToRoll: Duration?
  /// How often files that nothing refers to are looked for and deleted. Store-wide. The default is
  /// 6 h.
  public var obsoleteFilesPeriod: Duration?

  /// The most stores that try again while RocksDB is stalled, 1 or more; others wait for them. A
  /// good limit is twice the number of cores. The default is no limit.
  public var limitConcurrentStores: Int?
  /// The most loads at once, 1 or more. The default is no limit.
  public var limitConcurrentLoads: Int?
  /// The same as for stores, for removes. The default is no limit.
  public var limitConcurrentRemoves: Int?
  /// The longest wait of a store or remove for RocksDB to accept it, from its first refusal on. The
  /// default is 30 s.
  public var storeDeadline: Duration?
  /// How long errors that may pass must persist before the spool refuses writes. The default is
  /// 15 s.
  public var errorLatchDuration: Duration?
  /// How long no error may occur before the spool takes writes again. The default is 5 min.
  public var errorUnlatchDuration: Duration?
  /// Whether a spool that refuses writes for errors takes them again by itself. The default is
  /// true.
  public var allowErrorUnlatch: Bool?

  /// Bytes of all memtables of the store, 64 KiB or more; those of one busy spool, being flushed or
  /// not, never take more, unless ``writeBufferSize`` or a preset asks for it. Store-wide. The
  /// default is 256 MiB.
  public var dbWriteBufferSize: Int?
  /// Bytes of all write-ahead logs before families are flushed, 64 KiB or more; bounds the time of
  /// a recovery. Store-wide. The default is 512 MiB.
  public var maxTotalWALSize: Int?
  /// Bytes of the cache of blocks. Store-wide. The default is 64 MiB.
  public var blockCacheSize: Int?
  /// How often the log is synced while something was written that is not, 1 ms to 60 s: the most
  /// that power loss costs of stores without ``SpoolSettings/flush``. Store-wide. The default is
  /// never.
  public var walSyncInterval: Duration?
  /// Bytes of a table after which the system is asked to write them out; 0 leaves it to the system.
  /// Store-wide. The default is 0.
  public var bytesPerSync: Int?
  /// Bytes a second that flushes and compactions may write, 1 or more. Store-wide. The default is
  /// no limit.
  public var rateLimitBytesPerSecond: Int?
  /// Whether large values live in files of their own, which compactions do not rewrite. The default
  /// is false.
  public var enableBlobFiles: Bool?
  /// With blob files: the bytes from which on a value is large. The default is 4 KiB.
  public var minBlobSize: Int?
  /// The most bytes of stored records. A store that would exceed it is refused. The default is no
  /// limit.
  public var maxSpoolBytes: Int?
  /// The most messages. A store that would exceed it is refused. The default is no limit.
  public var maxSpoolEntries: Int?
  /// The most messages in the spool's quarantine; what would exceed it stays in the spool. The
  /// default is 100,000.
  public var maxQuarantinedEntries: Int?
  /// The most bytes in the spool's quarantine. The default is 1 GiB.
  public var maxQuarantinedBytes: Int?
  /// How payloads are compressed before they are written: none, lz4 or zstd. The default is none.
  public var payloadCompression: PayloadCompression?

  public init() {}

  /// The names of the parameters.
  enum Name: String, CodingKey, CaseIterable {
    case increaseParallelism = "increase_parallelism"
    case optimizeLevelStyleCompaction = "optimize_level_style_compaction"
    case optimizeUniversalStyleCompaction = "optimize_universal_style_compaction"
    case paranoidChecks = "paranoid_checks"
    case compressionType = "compression_type"
    case compactionReadaheadSize = "compaction_readahead_size"
    case levelCompactionDynamicLevelBytes = "level_compaction_dynamic_level_bytes"
    case maxOpenFiles = "max_open_files"
    case writeBufferSize = "write_buffer_size"
    case level0StopWritesTrigger = "level0_stop_writes_trigger"
    case logLevel = "log_level"
    case memtableHugePageSize = "memtable_huge_page_size"
    case logFileTimeToRoll = "log_file_time_to_roll"
    case obsoleteFilesPeriod = "obsolete_files_period"
    case limitConcurrentStores = "limit_concurrent_stores"
    case limitConcurrentLoads = "limit_concurrent_loads"
    case limitConcurrentRemoves = "limit_concurrent_removes"
    case storeDeadline = "store_deadline"
    case errorLatchDuration = "error_latch_duration"
    case errorUnlatchDuration = "error_unlatch_duration"
    case allowErrorUnlatch = "allow_error_unlatch"
    case dbWriteBufferSize = "db_write_buffer_size"
    case maxTotalWALSize = "max_total_wal_size"
    case blockCacheSize = "block_cache_size"
    case walSyncInterval = "wal_sync_interval"
    case bytesPerSync = "bytes_per_sync"
    case rateLimitBytesPerSecond = "rate_limit_bytes_per_sec"
    case enableBlobFiles = "enable_blob_files"
    case minBlobSize = "min_blob_size"
    case maxSpoolBytes = "max_spool_bytes"
    case maxSpoolEntries = "max_spool_entries"
    case maxQuarantinedEntries = "max_quarantined_entries"
    case maxQuarantinedBytes = "max_quarantined_bytes"
    case payloadCompression = "payload_compression"
  }

  // MARK: Ranges

  private static let sizeLimit = 1 << 50
  private static let leastBuffer = 64 << 10
  /// Each file that a compaction reads has a buffer of this size, allocated at once.
  private static let readaheadLimit = 64 << 20

  /// Checks every range and what excludes each other, before anything is touched.
  ///
  /// - Parameter place: Whose parameters they are, for the error. The default is `rocks_params`.
  /// - Throws: ``SpindleError`` with `invalidArgument`, naming the parameter, its place and what is
  ///   expected.
  public func validate(in place: String = "rocks_params") throws {
    func refuse(_ name: Name, _ what: String) -> SpindleError {
      SpindleError(.invalidArgument, "the parameter \"\(name.rawValue)\" in \(place) \(what)")
    }
    func check(_ name: Name, _ value: Int?, _ range: ClosedRange<Int>) throws {
      if let value, !range.contains(value) {
        throw refuse(
          name, "is \(value); expected \(range.lowerBound) to \(range.upperBound)")
      }
    }
    let counts = 1...Int(Int32.max)
    let sizes = 0...Self.sizeLimit
    let buffers = Self.leastBuffer...Self.sizeLimit
    try check(.increaseParallelism, increaseParallelism, 1...256)
    try check(
      .optimizeLevelStyleCompaction, optimizeLevelStyleCompaction,
      4 * Self.leastBuffer...Self.sizeLimit)
    try check(
      .optimizeUniversalStyleCompaction, optimizeUniversalStyleCompaction,
      4 * Self.leastBuffer...Self.sizeLimit)
    try check(.compactionReadaheadSize, compactionReadaheadSize, 0...Self.readaheadLimit)
    if maxOpenFiles != -1 { try check(.maxOpenFiles, maxOpenFiles, counts) }
    try check(.writeBufferSize, writeBufferSize, sizes)
    try check(.level0StopWritesTrigger, level0StopWritesTrigger, counts)
    try check(.memtableHugePageSize, memtableHugePageSize, sizes)
    try check(.limitConcurrentStores, limitConcurrentStores, counts)
    try check(.limitConcurrentLoads, limitConcurrentLoads, counts)
    try check(.limitConcurrentRemoves, limitConcurrentRemoves, counts)
    try check(.dbWriteBufferSize, dbWriteBufferSize, buffers)
    try check(.maxTotalWALSize, maxTotalWALSize, buffers)
    try check(.blockCacheSize, blockCacheSize, sizes)
    try check(.bytesPerSync, bytesPerSync, sizes)
    try check(.rateLimitBytesPerSecond, rateLimitBytesPerSecond, 1...Self.sizeLimit)
    try check(.minBlobSize, minBlobSize, sizes)
    try check(.maxSpoolBytes, maxSpoolBytes, 0...Int.max)
    try check(.maxSpoolEntries, maxSpoolEntries, 0...Int.max)
    try check(.maxQuarantinedEntries, maxQuarantinedEntries, 0...Int.max)
    try check(.maxQuarantinedBytes, maxQuarantinedBytes, 0...Int.max)
    for (name, duration) in [
      (.logFileTimeToRoll, logFileTimeToRoll), (.obsoleteFilesPeriod, obsoleteFilesPeriod),
      (.storeDeadline, storeDeadline), (.errorLatchDuration, errorLatchDuration),
      (.errorUnlatchDuration, errorUnlatchDuration),
    ] as [(Name, Duration?)] {
      if let duration, duration < .zero || duration > DurationText.limit {
        throw refuse(name, "is \(duration); expected 0 to 100 years")
      }
    }
    if let walSyncInterval, !StoreSettings.walSyncIntervals.contains(walSyncInterval) {
      throw refuse(.walSyncInterval, "is \(walSyncInterval); expected 1 ms to 60 s")
    }
    if paranoidChecks == true {
      throw refuse(
        .paranoidChecks,
        "must be false: with it a failed append to the write-ahead log ends the process")
    }
    if optimizeLevelStyleCompaction != nil, optimizeUniversalStyleCompaction != nil {
      throw refuse(
        .optimizeLevelStyleCompaction,
        "excludes \"\(Name.optimizeUniversalStyleCompaction.rawValue)\"; expected one of them")
    }
    if optimizeUniversalStyleCompaction != nil, level0StopWritesTrigger == 1 {
      throw refuse(
        .level0StopWritesTrigger,
        "is 1; expected 2 or more with "
          + "\"\(Name.optimizeUniversalStyleCompaction.rawValue)\", which compacts no single file")
    }
    if let compressionType, !ColumnFamilyOptions.Compression.supported.contains(compressionType) {
      let known = Self.compressions.filter {
        ColumnFamilyOptions.Compression.supported.contains($0.value)
      }
      throw refuse(
        .compressionType,
        "is \(Self.name(of: compressionType)), which the linked RocksDB was built without; "
          + "expected one of " + known.map(\.name).joined(separator: ", "))
    }
  }
}

// MARK: - Text

extension RocksSpoolParameters: Codable {
  static let compressions: [(name: String, value: ColumnFamilyOptions.Compression)] = [
    ("None", .none), ("Snappy", .snappy), ("Zlib", .zlib), ("Bz2", .bz2), ("Lz4", .lz4),
    ("Lz4hc", .lz4hc), ("Zstd", .zstd),
  ]
  static let levels: [(name: String, value: EngineLog.Level)] = [
    ("Debug", .debug), ("Info", .info), ("Warn", .warn), ("Error", .error), ("Fatal", .fatal),
    ("Header", .header),
  ]

  static func name(of compression: ColumnFamilyOptions.Compression) -> String {
    compressions.first { $0.value == compression }?.name ?? "None"
  }

  static func name(of level: EngineLog.Level) -> String {
    levels.first { $0.value == level }?.name ?? "Info"
  }

  /// Reads and checks parameters.
  ///
  /// - Throws: ``SpindleError`` with `invalidArgument`, naming the parameter, its place and what is
  ///   expected.
  public init(from decoder: any Decoder) throws {
    let reader = try ParameterReader<Name>(decoder, place: "rocks_params")
    increaseParallelism = try reader.integer(.increaseParallelism)
    optimizeLevelStyleCompaction = try reader.size(.optimizeLevelStyleCompaction)
    optimizeUniversalStyleCompaction = try reader.size(.optimizeUniversalStyleCompaction)
    paranoidChecks = try reader.boolean(.paranoidChecks)
    compressionType = try reader.choice(.compressionType, of: Self.compressions)
    compactionReadaheadSize = try reader.size(.compactionReadaheadSize)
    levelCompactionDynamicLevelBytes = try reader.boolean(.levelCompactionDynamicLevelBytes)
    maxOpenFiles = try reader.integer(.maxOpenFiles)
    writeBufferSize = try reader.size(.writeBufferSize)
    level0StopWritesTrigger = try reader.integer(.level0StopWritesTrigger)
    logLevel = try reader.choice(.logLevel, of: Self.levels)
    memtableHugePageSize = try reader.size(.memtableHugePageSize)
    logFileTimeToRoll = try reader.duration(.logFileTimeToRoll)
    obsoleteFilesPeriod = try reader.duration(.obsoleteFilesPeriod)
    limitConcurrentStores = try reader.integer(.limitConcurrentStores)
    limitConcurrentLoads = try reader.integer(.limitConcurrentLoads)
    limitConcurrentRemoves = try reader.integer(.limitConcurrentRemoves)
    storeDeadline = try reader.duration(.storeDeadline)
    errorLatchDuration = try reader.duration(.errorLatchDuration)
    errorUnlatchDuration = try reader.duration(.errorUnlatchDuration)
    allowErrorUnlatch = try reader.boolean(.allowErrorUnlatch)
    dbWriteBufferSize = try reader.size(.dbWriteBufferSize)
    maxTotalWALSize = try reader.size(.maxTotalWALSize)
    blockCacheSize = try reader.size(.blockCacheSize)
    walSyncInterval = try reader.duration(.walSyncInterval)
    bytesPerSync = try reader.size(.bytesPerSync)
    rateLimitBytesPerSecond = try reader.size(.rateLimitBytesPerSecond)
    enableBlobFiles = try reader.boolean(.enableBlobFiles)
    minBlobSize = try reader.size(.minBlobSize)
    maxSpoolBytes = try reader.size(.maxSpoolBytes)
    maxSpoolEntries = try reader.integer(.maxSpoolEntries)
    maxQuarantinedEntries = try reader.integer(.maxQuarantinedEntries)
    maxQuarantinedBytes = try reader.size(.maxQuarantinedBytes)
    payloadCompression = try reader.choice(
      .payloadCompression, of: PayloadCompression.allCases.map { ($0.rawValue, $0) })
    try validate(in: reader.place)
  }

  public func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: Name.self)
    func put(_ name: Name, _ value: (some Encodable)?) throws {
      try values.encodeIfPresent(value, forKey: name)
    }
    try put(.increaseParallelism, increaseParallelism)
    try put(.optimizeLevelStyleCompaction, optimizeLevelStyleCompaction)
    try put(.optimizeUniversalStyleCompaction, optimizeUniversalStyleCompaction)
    try put(.paranoidChecks, paranoidChecks)
    try put(.compressionType, compressionType.map(Self.name(of:)))
    try put(.compactionReadaheadSize, compactionReadaheadSize)
    try put(.levelCompactionDynamicLevelBytes, levelCompactionDynamicLevelBytes)
    try put(.maxOpenFiles, maxOpenFiles)
    try put(.writeBufferSize, writeBufferSize)
    try put(.level0StopWritesTrigger, level0StopWritesTrigger)
    try put(.logLevel, logLevel.map(Self.name(of:)))
    try put(.memtableHugePageSize, memtableHugePageSize)
    try put(.logFileTimeToRoll, logFileTimeToRoll.map(DurationText.text))
    try put(.obsoleteFilesPeriod, obsoleteFilesPeriod.map(DurationText.text))
    try put(.limitConcurrentStores, limitConcurrentStores)
    try put(.limitConcurrentLoads, limitConcurrentLoads)
    try put(.limitConcurrentRemoves, limitConcurrentRemoves)
    try put(.storeDeadline, storeDeadline.map(DurationText.text))
    try put(.errorLatchDuration, errorLatchDuration.map(DurationText.text))
    try put(.errorUnlatchDuration, errorUnlatchDuration.map(DurationText.text))
    try put(.allowErrorUnlatch, allowErrorUnlatch)
    try put(.dbWriteBufferSize, dbWriteBufferSize)
    try put(.maxTotalWALSize, maxTotalWALSize)
    try put(.blockCacheSize, blockCacheSize)
    try put(.walSyncInterval, walSyncInterval.map(DurationText.text))
    try put(.bytesPerSync, bytesPerSync)
    try put(.rateLimitBytesPerSecond, rateLimitBytesPerSecond)
    try put(.enableBlobFiles, enableBlobFiles)
    try put(.minBlobSize, minBlobSize)
    try put(.maxSpoolBytes, maxSpoolBytes)
    try put(.maxSpoolEntries, maxSpoolEntries)
    try put(.maxQuarantinedEntries, maxQuarantinedEntries)
    try put(.maxQuarantinedBytes, maxQuarantinedBytes)
    try put(.payloadCompression, payloadCompression?.rawValue)
  }
}
