internal import SpindleCore
internal import SpindleStore

/// A spool as a configuration defines it.
///
/// A whole configuration, with every parameter:
///
/// ```json
/// {
///   "name": "main",
///   "kind": "rocks_db",
///   "flush": true,
///   "min_free_space": "10%",
///   "min_free_inodes": 5000,
///   "rocks_params": {
///     "increase_parallelism": 4,
///     "optimize_level_style_compaction": "512 MiB",
///     "paranoid_checks": false,
///     "compression_type": "Zstd",
///     "compaction_readahead_size": "2 MiB",
///     "level_compaction_dynamic_level_bytes": false,
///     "max_open_files": 1000,
///     "write_buffer_size": "64 MiB",
///     "level0_stop_writes_trigger": 36,
///     "log_level": "Info",
///     "memtable_huge_page_size": 0,
///     "log_file_time_to_roll": "24 hours",
///     "obsolete_files_period": "6h",
///     "limit_concurrent_stores": 16,
///     "limit_concurrent_loads": 32,
///     "limit_concurrent_removes": 16,
///     "store_deadline": "30s",
///     "error_latch_duration": 15,
///     "error_unlatch_duration": "5m",
///     "allow_error_unlatch": true,
///     "db_write_buffer_size": "256 MiB",
///     "max_total_wal_size": "512 MiB",
///     "block_cache_size": "64 MiB",
///     "wal_sync_interval": "20ms",
///     "bytes_per_sync": "1 MiB",
///     "rate_limit_bytes_per_sec": "200 MB",
///     "enable_blob_files": true,
///     "min_blob_size": "4 KiB",
///     "max_spool_bytes": "100 GiB",
///     "max_spool_entries": 50000000,
///     "max_quarantined_entries": 100000,
///     "max_quarantined_bytes": "1 GiB",
///     "payload_compression": "lz4"
///   }
/// }
/// ```
///
/// `optimize_universal_style_compaction` stands in the place of the level-style preset. Names that
/// are not known are refused.
public struct SpoolDefinition: Sendable, Equatable {
  /// Where a spool keeps its messages.
  public enum Kind: String, Sendable, CaseIterable {
    /// A directory with a file for each message.
    case localDisk = "local_disk"
    /// A column family of the store.
    case rocksDB = "rocks_db"

    /// As configurations call them, in either spelling.
    static var names: [(name: String, value: Kind)] {
      allCases.map { ($0.rawValue, $0) } + [("LocalDisk", .localDisk), ("RocksDB", .rocksDB)]
    }
  }

  /// 1 to 64 characters of `A-Z a-z 0-9 . _ -`, not ending in `.quarantine`.
  public var name: String
  /// The default is `local_disk`.
  public var kind = Kind.localDisk
  /// The directory of a spool of the kind `local_disk`, which needs one; others have none. What a
  /// spool of that kind may hold is no part of a definition: ``LocalDiskSettings/quota``.
  public var path: String?
  /// Whether every store is durable before it returns. The default is false.
  public var flush = false
  /// Parameters of the kind `rocks_db`.
  public var rocksParameters: RocksSpoolParameters?
  /// What stays free of the file system's bytes: writes stop below it. All spools of a store share
  /// it, one of the kind `local_disk` has its own. The default is that of
  /// `StoreSettings.CapacityFloor`.
  public var minFreeSpace: FreeMinimum?
  /// The same of its inodes.
  public var minFreeInodes: FreeMinimum?

  public init(name: String, kind: Kind) {
    self.name = name
    self.kind = kind
  }

  /// Checks that what is there fits the kind, and every parameter.
  ///
  /// - Throws: ``SpindleError`` with `invalidArgument`, naming the parameter and what is expected.
  public func validate() throws {
    func refuse(_ name: Name, _ what: String) -> SpindleError {
      SpindleError(
        .invalidArgument,
        "the parameter \"\(name.rawValue)\" of the spool \(printable(self.name)) \(what)")
    }
    try RocksSpool.checkName(name)
    for (name, minimum) in [(.minFreeSpace, minFreeSpace), (.minFreeInodes, minFreeInodes)]
      as [(Name, FreeMinimum?)]
    {
      guard let minimum, let percent = minimum.percent, percent > 100 else { continue }
      throw refuse(name, "is \(minimum.text); expected 0 % to 100 %")
    }
    switch kind {
    case .localDisk:
      guard let path, !path.isEmpty else {
        throw refuse(.path, "is missing; expected a directory, as its kind is local_disk")
      }
      if rocksParameters != nil {
        throw refuse(.rocksParameters, "has no effect on the kind local_disk; expected none")
      }
    case .rocksDB:
      if path != nil {
        throw refuse(.path, "has no effect on the kind rocks_db, which lives in the store")
      }
      try rocksParameters?.validate(in: "the spool \(printable(name))")
    }
  }
}

/// A bound on what stays free of a file system.
public enum FreeMinimum: Sendable, Equatable {
  /// 0 to 100 percent of the whole.
  case percent(UInt64)
  /// Bytes or inodes.
  case amount(UInt64)

  /// Reads `10%` or a whole number; nil for anything else.
  public init?(text: String) {
    let digits = text.hasSuffix("%") ? text.dropLast() : text[...]
    guard digits.allSatisfy({ $0.isASCII && $0.isNumber }), let value = UInt64(digits) else {
      return nil
    }
    guard text.hasSuffix("%") else {
      self = .amount(value)
      return
    }
    guard value <= 100 else { return nil }
    self = .percent(value)
  }

  var amount: UInt64? { if case .amount(let value) = self { value } else { nil } }
  var percent: UInt64? { if case .percent(let value) = self { value } else { nil } }

  /// As it is read.
  public var text: String {
    switch self {
    case .percent(let value): "\(value)%"
    case .amount(let value): "\(value)"
    }
  }
}

extension SpoolDefinition: Codable {
  enum Name: String, CodingKey, CaseIterable {
    case name, kind, path, flush
    case rocksParameters = "rocks_params"
    case minFreeSpace = "min_free_space"
    case minFreeInodes = "min_free_inodes"
  }

  /// Reads and checks a definition.
  ///
  /// - Throws: ``SpindleError`` with `invalidArgument`, naming the parameter, its place and what is
  ///   expected.
  public init(from decoder: any Decoder) throws {
    let reader = try ParameterReader<Name>(decoder, place: "the spool")
    guard let name = try reader.text(.name) else { throw reader.refusal(.name, "a name") }
    self.name = name
    kind = try reader.choice(.kind, of: Kind.names) ?? .localDisk
    path = try reader.text(.path)
    flush = try reader.boolean(.flush) ?? false
    rocksParameters = try reader.nested(.rocksParameters, RocksSpoolParameters.self)
    minFreeSpace = try reader.minimum(.minFreeSpace)
    minFreeInodes = try reader.minimum(.minFreeInodes)
    try validate()
  }

  public func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: Name.self)
    try values.encode(name, forKey: .name)
    try values.encode(kind.rawValue, forKey: .kind)
    try values.encodeIfPresent(path, forKey: .path)
    try values.encode(flush, forKey: .flush)
    try values.encodeIfPresent(rocksParameters, forKey: .rocksParameters)
    try values.encodeIfPresent(minFreeSpace?.text, forKey: .minFreeSpace)
    try values.encodeIfPresent(minFreeInodes?.text, forKey: .minFreeInodes)
  }
}
