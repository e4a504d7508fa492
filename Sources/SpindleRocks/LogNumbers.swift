internal import CRocksDB
internal import CRocksDBShim
internal import SpindleCore

/// What the manifest of a database knows about its write-ahead logs.
public struct LogNumbers: Sendable, Equatable {
  /// One column family.
  public struct Family: Sendable, Equatable {
    public var name: String
    public var id: UInt32
    /// The family's tables hold what older logs than this one held for it.
    public var logNumber: UInt64
    /// The greatest sequence number its tables state. Compaction may state less than was stored.
    public var largestSequence: UInt64
    /// The greatest number of a table in level 0, which flushes make; 0 is none.
    public var newestFlushedTable: UInt64
    /// The greatest number of a table that a compaction may have made; 0 is none. File numbers
    /// of tables and logs rise together, so a smaller one is older than a log.
    public var newestCompactedTable: UInt64
    public var tableCount: UInt64
  }

  /// Older logs hold nothing that is not in tables; RocksDB skips them.
  public var oldestNeeded: UInt64
  /// The greatest sequence number that the manifest states. It may be ahead of the tables.
  public var latestSequence: UInt64
  public var families: [Family]
  /// What the tables of `default` hold for the key that was asked for.
  public var value: [UInt8]?
}

extension Database {
  /// Reads the numbers of a database that nobody has open for writing, without replaying a log and
  /// without writing anything.
  ///
  /// - Parameter key: A key of `default`, looked up in the tables as no log is replayed.
  /// - Complexity: O(size of the manifest).
  public static func logNumbers(
    at path: String, valueOf key: Span<UInt8>
  ) throws(RocksError) -> LogNumbers {
    let handle = try unsafe checked { error in
      unsafe withCharacters(key) { start, count in
        unsafe spindle_rocks_log_numbers_create(path, start, count, error)
      }
    }
    guard let handle = unsafe handle else {
      throw RocksError(message: "Corruption: the manifest gave no numbers and no error")
    }
    defer { unsafe spindle_rocks_log_numbers_destroy(handle) }
    var numbers = unsafe LogNumbers(
      oldestNeeded: spindle_rocks_log_numbers_oldest_needed(handle),
      latestSequence: spindle_rocks_log_numbers_latest_sequence(handle), families: [])
    var count = 0
    if let value = unsafe spindle_rocks_log_numbers_value(handle, &count) {
      numbers.value = unsafe copyBytes(borrowedSpan(value, count))
    }
    for index in 0..<(unsafe spindle_rocks_log_numbers_family_count(handle)) {
      var family = spindle_rocks_log_family_t()
      let name = unsafe spindle_rocks_log_numbers_family(handle, index, &family)
      guard let name = unsafe name else { continue }
      unsafe numbers.families.append(
        LogNumbers.Family(
          name: String(cString: name), id: family.id, logNumber: family.log_number,
          largestSequence: family.largest_sequence,
          newestFlushedTable: family.newest_flushed_table,
          newestCompactedTable: family.newest_compacted_table, tableCount: family.tables))
    }
    return numbers
  }
}
