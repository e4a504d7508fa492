import SpindleCore
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

@Suite(.temporaryDirectory) struct MemoryBoundTests {
  @Test func memtablesKeepToTheSharedWriteBufferWhileTheyAreFlushed() async throws {
    var settings = StoreSettings.small
    settings.database.writeBufferBytes = 32 << 20
    settings.database.writeAheadLogBytes = 1 << 30
    // Slower than the test writes: RocksDB stops the writes again and again.
    settings.database.writeRateLimit = 32 << 20
    let store = try await Store.small(at: TestDirectory.path("store"), settings: settings)
    let family = try await store.family("spool:a")
    let value = [UInt8](repeating: 7, count: 60_000)
    var greatest: UInt64 = 0
    for number in 0..<2_000 {
      var batch = Batch()
      batch.put(family, key: numberedKey(number), value: value)
      try await store.commit(batch, durability: .buffered)
      let bytes = try store.database.property(
        "rocksdb.size-all-mem-tables", of: family.columnFamily)
      greatest = max(greatest, bytes ?? 0)
    }
    // More than one at a time, and the last block of each beyond the bound.
    #expect(greatest > 24 << 20)
    #expect(greatest <= (32 + 2) << 20)
    try await store.close()
  }
}
