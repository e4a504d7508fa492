internal import SpindleRocks
internal import SpindleStore

extension RocksSpool {
  public func adviseLowMemory() async throws -> Int {
    try checkOpen()
    return try await storage.blocking {
      let before = try self.storage.database.memoryUsage()
      try self.storage.database.flush(self.family.columnFamily)
      let after = try self.storage.database.memoryUsage()
      return Int(before.memtables + before.tableReaders + before.blockCache)
        - Int(after.memtables + after.tableReaders + after.blockCache)
    }
  }

  public func compact() async throws {
    try checkOpen()
    try await storage.blocking {
      let database = self.storage.database
      let errors = database.listener.counters.backgroundErrors
      do throws(RocksError) {
        try database.flush(self.family.columnFamily)
        try database.compact(self.family.columnFamily)
        guard try database.waitForCompaction(backgroundErrorsBefore: errors) else {
          throw RocksError(message: "Operation timed out: compaction is still running")
        }
      } catch {
        throw self.storage.failure(error, reading: self.family)
      }
    }
  }
}
