import SpindleCore
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

@Suite("Low memory", .temporaryDirectory)
struct LowMemoryTests {
  private func withSpool(
    writeBuffer: Int = 64 << 20, _ body: (RocksSpool) async throws -> Void
  ) async throws {
    var settings = StoreSettings.small
    settings.database.writeBufferBytes = writeBuffer
    settings.database.writeAheadLogBytes = 1 << 30
    settings.database.blockCacheBytes = 8 << 20
    let store = try await Store.small(at: TestDirectory.path("store"), settings: settings)
    try await body(try await RocksSpool(store: store, name: "main"))
    try await store.close()
  }

  @discardableResult
  private func fill(_ spool: RocksSpool, megabytes: Int) async throws -> [SpoolID] {
    var ids: [SpoolID] = []
    for number in 0..<megabytes {
      ids.append(spool.makeID())
      try await spool.put(ids[number], payload(number, bytes: 1 << 20))
    }
    return ids
  }

  @Test("A-M-1: a memtable of 200 MB is given back, and a second call finds nothing")
  func memtableIsGivenBack() async throws {
    try await withSpool(writeBuffer: 1 << 30) { (spool) async throws in
      let ids = try await fill(spool, megabytes: 200)
      #expect(try spool.property("cur-size-all-mem-tables") ?? 0 > 200 << 20)
      let saved = try await spool.adviseLowMemory()
      #expect((195 << 20...230 << 20).contains(saved), "saved were \(saved)")
      for number in stride(from: 0, to: 200, by: 19) {
        #expect(try await spool.load(ids[number]) == payload(number, bytes: 1 << 20))
      }
      _ = try await spool.adviseLowMemory()
      let again = try await spool.adviseLowMemory()
      #expect(abs(again) < 1 << 20, "saved again were \(again)")
      #expect(try await spool.stats().count == 200)
    }
  }

  @Test("A-M-2: the block cache is dropped and works afterwards")
  func cacheIsDropped() async throws {
    try await withSpool { (spool) async throws in
      var ids: [SpoolID] = []
      for number in 0..<1_000 {
        ids.append(spool.makeID())
        try await spool.put(ids[number], payload(number, bytes: 4_000))
      }
      try await spool.flush()
      let database = spool.storage.database
      for id in ids { _ = try await spool.load(id) }
      let full = try database.memoryUsage().blockCache
      #expect(full > 3 << 20)
      let saved = try await spool.adviseLowMemory()
      #expect(saved > 3 << 20)
      #expect(try database.memoryUsage().blockCache < 64 << 10)
      for id in ids { _ = try await spool.load(id) }
      #expect(try database.memoryUsage().blockCache > 3 << 20)
    }
  }

  @Test("A-M-2: a flush that fails is told")
  func failedFlushIsTold() async throws {
    try await withSpool { (spool) async throws in
      let ids = try await fill(spool, megabytes: 2)
      let store = spool.storage
      store.guardian?.inject(.tableAppend, count: nil, error: .io)
      let message = await expectError(.io) { _ = try await spool.adviseLowMemory() }
      #expect(message.contains("freeing memory of the spool main failed"))
      // The store's gate shuts for it; a shut gate is no reason to try again.
      try await store.checkHealth()
      #expect(spool.unhealthyReason != nil)
      let flushes = store.database.listener.counters.backgroundErrors
      _ = try await spool.adviseLowMemory()
      #expect(store.database.listener.counters.backgroundErrors == flushes)
      store.guardian?.clearFaults()
      try await store.heal()
      #expect(spool.unhealthyReason == nil)
      for id in ids { #expect(try await spool.loadIfPresent(id) != nil) }
    }
  }

  @Test func aSmallMemtableStays() async throws {
    try await withSpool { (spool) async throws in
      try await spool.put(spool.makeID(), payload(1, bytes: 900 << 10))
      _ = try await spool.adviseLowMemory()
      #expect(try spool.tables.isEmpty)
      try await fill(spool, megabytes: 1)
      _ = try await spool.adviseLowMemory()
      #expect(try spool.tables.count == 1)
    }
  }

  @Test func nothingIsFlushedWhileWritesAreStoppedOrRefused() async throws {
    try await withSpool { (spool) async throws in
      try await fill(spool, megabytes: 1)
      try await spool.flush()
      try await fill(spool, megabytes: 3)
      try await spool.storage.setWritesStopped(true, by: spool.family)
      _ = try await spool.adviseLowMemory()
      #expect(try spool.tables.count == 1)
      try await spool.storage.setWritesStopped(false, by: spool.family)
      spool.storage.health.shutForOperator(note: "a test")
      _ = try await spool.adviseLowMemory()
      #expect(try spool.tables.count == 1)
      spool.storage.health.openForOperator()
      _ = try await spool.adviseLowMemory()
      #expect(try spool.tables.count == 2)
    }
  }

  @Test func overlappingCallsAreOne() async throws {
    try await withSpool { (spool) async throws in
      try await fill(spool, megabytes: 8)
      let results = try await withThrowingTaskGroup(of: Int.self) { group in
        for _ in 0..<20 { group.addTask { try await spool.adviseLowMemory() } }
        return try await group.reduce(into: [Int]()) { $0.append($1) }
      }
      #expect(results.contains { $0 > 7 << 20 })
      #expect(try spool.tables.count == 1)
    }
  }

  @Test func aReaderOfTheStoreFlushesNothing() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (spool) async throws in
        try await spool.put(spool.makeID(), payload(1, bytes: 2 << 20))
      }
      try await place.withSpool("main", .reader) { (spool) async throws in
        _ = try await spool.adviseLowMemory()
        #expect(try await spool.stats().count == 1)
      }
    }
  }
}
