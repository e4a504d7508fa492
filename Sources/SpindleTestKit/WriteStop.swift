internal import SpindleRocks
package import SpindleStore

/// Why RocksDB stops all writes.
package enum WriteStopCause: String, Sendable, CaseIterable {
  /// As many tables of level 0 as the family takes.
  case level0
  /// As many memtables that wait for their flush as the family takes.
  case memtables
  /// As many bytes that compactions have still to rewrite as the family takes.
  case pendingCompaction
}

extension Store {
  /// Makes RocksDB stop all writes by the trigger of level 0, or take them again. The family has
  /// one table of level 0, and its usual triggers are far above.
  package func setWritesStopped(_ stopped: Bool, by family: StoreFamily) async throws {
    let trigger = stopped ? "1" : "300"
    let names = ["level0_slowdown_writes_trigger", "level0_stop_writes_trigger"]
    let (database, columnFamily) = (database, family.columnFamily)
    try await blocking {
      try database.setUntil(
        Dictionary(uniqueKeysWithValues: names.map { ($0, trigger) }), of: columnFamily,
        isStopped: stopped
      ) { _ = try database.waitForCompaction(timeoutMilliseconds: 10_000) }
    }
  }

  /// Makes RocksDB stop all writes for a cause. The family has two tables of level 0 or more, which
  /// overlap, its usual triggers are far above, and its write buffer is small.
  ///
  /// - Parameter put: Stores a message, or gives up at once; asked for until RocksDB takes no more.
  package func stopWrites(
    for cause: WriteStopCause, by family: StoreFamily, put: () async throws -> Void
  ) async throws {
    let (database, columnFamily) = (database, family.columnFamily)
    switch cause {
    case .level0: try await setWritesStopped(true, by: family)
    case .memtables:
      guardian?.holdTables(true)
      for _ in 0..<1_000 {
        if try database.property("rocksdb.is-write-stopped") == 1 { return }
        try await put()
      }
      throw TestKitError("RocksDB takes memtables without end")
    case .pendingCompaction:
      guardian?.holdTables(true)
      try await blocking {
        // The first option alone starts a compaction, which stands still; the others make what it
        // has still to do too much.
        try database.setUntil(
          [
            "level0_file_num_compaction_trigger": "2", "soft_pending_compaction_bytes_limit": "1",
            "hard_pending_compaction_bytes_limit": "1",
          ], of: columnFamily, isStopped: true)
      }
    }
  }

  /// Takes the cause of ``stopWrites(for:by:put:)`` away: RocksDB does what it has to, and takes
  /// writes again by itself.
  package func endWriteStop(for cause: WriteStopCause, by family: StoreFamily) async throws {
    if cause == .level0 { return try await setWritesStopped(false, by: family) }
    guardian?.holdTables(false)
    let database = database
    try await blocking {
      for _ in 0..<100 {
        _ = try database.waitForCompaction(timeoutMilliseconds: 10_000)
        if try database.property("rocksdb.is-write-stopped") == 0 { return }
      }
      throw TestKitError("RocksDB stays stalled")
    }
  }
}

extension Database {
  /// Sets options until they hold.
  ///
  /// New options start a look for compactions in the background, and that installs the options
  /// which it began with: a change that follows at once may be undone by it. So each waits until it
  /// holds.
  fileprivate func setUntil(
    _ options: [String: String], of family: ColumnFamily, isStopped: Bool,
    afterEach wait: () throws -> Void = {}
  ) throws {
    for _ in 0..<100 {
      try setOptions(options, of: family)
      try wait()
      if try property("rocksdb.is-write-stopped") == (isStopped ? 1 : 0) { return }
    }
    throw TestKitError("RocksDB does not take the triggers of a stall")
  }
}
