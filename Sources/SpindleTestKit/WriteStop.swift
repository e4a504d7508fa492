internal import SpindleRocks
package import SpindleStore

extension Store {
  /// Makes RocksDB stop all writes, or take them again. The family has one table of level 0, and
  /// its usual triggers are far above.
  ///
  /// New options start a look for compactions in the background, and that installs the options
  /// which it began with: a change that follows at once may be undone by it. So each waits until it
  /// holds.
  package func setWritesStopped(_ stopped: Bool, by family: StoreFamily) async throws {
    let trigger = stopped ? "1" : "300"
    let names = ["level0_slowdown_writes_trigger", "level0_stop_writes_trigger"]
    let options = Dictionary(uniqueKeysWithValues: names.map { ($0, trigger) })
    let (database, columnFamily) = (database, family.columnFamily)
    try await blocking {
      for _ in 0..<100 {
        try database.setOptions(options, of: columnFamily)
        _ = try database.waitForCompaction(timeoutMilliseconds: 10_000)
        if try database.property("rocksdb.is-write-stopped") == (stopped ? 1 : 0) { return }
      }
      throw TestKitError("RocksDB does not take the triggers of a stall")
    }
  }
}
