internal import SpindleIO

/// The gauges of a spool, published every 5 s. Those named `rocks_spool_` have the labels `path`
/// (of the store) and `spool`, those named `disk_` the label `name`, the others `spool`.
///
/// The spools of a store share one RocksDB. Values are of the spool's own column family where it
/// is not said otherwise.
enum SpoolGauge: String, Sendable, CaseIterable {
  /// Approximate bytes of all memtables, those held by readers among them.
  case memTableTotal = "rocks_spool_mem_table_total"
  /// Approximate bytes of memtables not yet written to a table.
  case memTableUnflushed = "rocks_spool_mem_table_unflushed"
  /// Bytes of indexes and filters outside the block cache.
  case tableReadersTotal = "rocks_spool_mem_table_readers_total"
  /// Bytes in the block cache, which all families share.
  case cacheTotal = "rocks_spool_cache_total"
  /// Errors of flushes and compactions since the open, of the whole database. Alert on a rise.
  case backgroundErrors = "rocks_spool_background_errors"
  /// 1 while RocksDB stops the writes of the whole database: backpressure, may flap.
  case writeStopped = "rocks_spool_write_stopped"
  /// 1 while the spool or its store refuses writes. The one to be woken for.
  case loadShedActive = "rocks_spool_load_shed_active"
  /// Compactions of the whole database; 0 beside a growing backlog is a stuck worker.
  case runningCompactions = "rocks_spool_num_running_compactions"
  /// 1 while a compaction waits.
  case compactionPending = "rocks_spool_compaction_pending"
  /// Bytes that compactions have still to rewrite.
  case pendingCompactionBytes = "rocks_spool_estimate_pending_compaction_bytes"
  /// Bytes a second that the whole database is throttled to; 0 is not throttled.
  case delayedWriteRate = "rocks_spool_actual_delayed_write_rate"

  /// Of the file system that holds the spool, for unprivileged processes.
  case diskFreeBytes = "disk_free_bytes"
  case diskFreePercent = "disk_free_percent"
  case diskFreeInodes = "disk_free_inodes"
  /// 100 where inodes have no fixed number.
  case diskFreeInodesPercent = "disk_free_inodes_percent"

  /// RocksDB's estimate of the messages stored.
  case entries = "spool_entries_estimate"
  /// Bytes of the tables.
  case tableBytes = "spool_sst_bytes"
  /// Bytes of the write-ahead log that is being written, which all families share.
  case logBytes = "spool_wal_bytes"
  /// RocksDB's estimate of the messages in quarantine, or their number.
  case quarantined = "spool_quarantine_entries"
  /// Age of the oldest message by its id of version 7; 0 when there is none.
  case oldestAge = "spool_oldest_entry_age_seconds"
  /// Stores that wait for the end of a stall.
  case waitingStores = "spool_waiting_stores"
  /// Removes that wait for the end of a stall.
  case waitingRemoves = "spool_waiting_removes"
  /// Calls of any kind under way; of a spool on files with walks of an enumeration, of others
  /// without.
  case calls = "spool_calls_in_flight"
  /// 1 while a spool on files refuses writes.
  case refuses = "spool_load_shed_active"

  /// The gauges that a kind of spool has.
  static func all(of kind: SpoolDefinition.Kind) -> [SpoolGauge] {
    switch kind {
    case .rocksDB: allCases.filter { $0 != .refuses }
    case .localDisk:
      allCases.filter { $0.rawValue.hasPrefix("disk_") } + [.quarantined, .calls, .refuses]
    }
  }

  /// What is free of a file system.
  static func values(of space: DiskSpace) -> [SpoolGauge: Double] {
    func percent(_ part: UInt64, of whole: UInt64) -> Double {
      whole == 0 ? 100 : (Double(part) / Double(whole) * 100).rounded(.down)
    }
    return [
      .diskFreeBytes: Double(space.freeBytes),
      .diskFreePercent: percent(space.freeBytes, of: space.totalBytes),
      .diskFreeInodes: Double(space.freeInodes),
      .diskFreeInodesPercent: percent(space.freeInodes, of: space.totalInodes),
    ]
  }

  func labels(spool: String, path: String) -> [(String, String)] {
    if rawValue.hasPrefix("rocks_spool_") { return [("path", path), ("spool", spool)] }
    return rawValue.hasPrefix("disk_") ? [("name", "\(spool) spool")] : [("spool", spool)]
  }

  /// RocksDB's property for the gauge, and whether it is the family's.
  var property: (name: String, isOfFamily: Bool)? {
    switch self {
    case .memTableTotal: ("rocksdb.size-all-mem-tables", true)
    case .memTableUnflushed: ("rocksdb.cur-size-all-mem-tables", true)
    case .tableReadersTotal: ("rocksdb.estimate-table-readers-mem", true)
    case .cacheTotal: ("rocksdb.block-cache-usage", true)
    case .backgroundErrors: ("rocksdb.background-errors", false)
    case .writeStopped: ("rocksdb.is-write-stopped", false)
    case .runningCompactions: ("rocksdb.num-running-compactions", false)
    case .compactionPending: ("rocksdb.compaction-pending", true)
    case .pendingCompactionBytes: ("rocksdb.estimate-pending-compaction-bytes", true)
    case .delayedWriteRate: ("rocksdb.actual-delayed-write-rate", false)
    case .entries: ("rocksdb.estimate-num-keys", true)
    case .tableBytes: ("rocksdb.total-sst-files-size", true)
    default: nil
    }
  }
}
