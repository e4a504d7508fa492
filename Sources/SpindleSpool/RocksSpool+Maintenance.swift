internal import SpindleCore
internal import SpindleRocks
internal import SpindleStore

extension RocksSpool {
  /// Gives the view of what the last run left back when its time has come. Everything else a spool
  /// on RocksDB does by itself.
  public func cleanup() async throws { upkeep.opening.releaseWhenDue() }

  /// Memtables below this are not flushed for their memory: many small tables cost more.
  static let flushedMemtableBytes: UInt64 = 1 << 20

  /// Frees memory: empties the block cache, which the whole store shares, and flushes this spool's
  /// memtable when it holds 1 MiB or more. It does not flush while RocksDB has stopped writes or a
  /// gate is shut. Calls that overlap are one, and get one result.
  ///
  /// - Returns: Bytes that the store's memtables, table readers and block cache hold less than
  ///   before; negative when they grew meanwhile.
  /// - Throws: ``SpindleError``: what made the flush fail, or `closed`.
  public func adviseLowMemory() async throws -> Int {
    try await working {
      try await upkeep.memory.run {
        try await storage.blocking { try self.freeMemory() }
      }
    }
  }

  private func freeMemory() throws -> Int {
    let database = storage.database
    do throws(RocksError) {
      let before = try heldBytes()
      database.dropBlockCache()
      if try flushHelps() { try database.flush([family.columnFamily]) }
      return before - (try heldBytes())
    } catch {
      let plain = error.spindleError
      throw SpindleError(
        plain.kind, "freeing memory of the spool \(name) failed: \(plain.message)",
        path: storage.path, reason: plain.reason)
    }
  }

  private func heldBytes() throws(RocksError) -> Int {
    let usage = try storage.database.memoryUsage()
    return Int(clamping: usage.memtables + usage.tableReaders + usage.blockCache)
  }

  private func flushHelps() throws(RocksError) -> Bool {
    guard storage.view == .owned, !family.health.isShut, storage.health.unhealthyReason == nil,
      try storage.database.property("rocksdb.is-write-stopped") == 0
    else { return false }
    let size = try storage.database.property(
      "rocksdb.cur-size-all-mem-tables", of: family.columnFamily)
    return size ?? 0 >= Self.flushedMemtableBytes
  }
}
