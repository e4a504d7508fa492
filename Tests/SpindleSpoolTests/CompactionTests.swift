import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

@Suite("Compactions of a spool", .temporaryDirectory)
struct CompactionTests {
  /// A spool of 3 MiB in the store of the test, whose compactions write half a MiB a second: long
  /// enough to do something meanwhile.
  private func withSlowSpool(
    bytesASecond: Int64 = 1 << 19, _ body: (RocksSpool, [SpoolID]) async throws -> Void
  ) async throws {
    let path = try TestDirectory.path("store")
    var ids: [SpoolID] = []
    let first = try await Store.small(at: path)
    let filled = try await RocksSpool(store: first, name: "main")
    for number in 0..<300 {
      ids.append(filled.makeID())
      try await filled.put(ids[number], payload(number, bytes: 10_000))
    }
    try await filled.flush()
    try await first.close()
    var settings = StoreSettings.small
    settings.database.writeRateLimit = bytesASecond
    let store = try await Store.small(at: path, settings: settings)
    try await body(try await RocksSpool(store: store, name: "main"), ids)
    try await store.close()
  }

  private func isWhole(_ spool: RocksSpool) throws -> Bool {
    let levels = Set(try spool.tables.map(\.level))
    let logged = try spool.property("num-entries-active-mem-table")
    return levels.count <= 1 && !levels.contains(0) && logged == 0
  }

  @Test("A-C-1: compacting an empty spool, one in the log, and a populated one leaves one level")
  func compactionLeavesOneLevel() async throws {
    try await withNewSpool { (spool) async throws in
      // Nothing is to be compacted before the call.
      try spool.setOptions(["disable_auto_compactions": "true"])
      let empty = try await spool.compact(progress: nil)
      #expect(empty.bytesBefore == 0 && empty.bytesAfter == 0)
      #expect(try isWhole(spool))
      var stored: [SpoolID: Bytes] = [:]
      for number in 0..<50 {
        let id = spool.makeID()
        stored[id] = payload(number)
        try await spool.put(id, payload(number))
      }
      let logged = try await spool.compact(progress: nil)
      #expect(logged.bytesBefore > 50_000)
      #expect(try isWhole(spool))
      #expect(try spool.tables.reduce(0) { $0 + $1.entries } == 50)
      for id in stored.keys.prefix(40) {
        try await spool.remove(id)
        stored[id] = nil
        if stored.count % 10 == 0 { try await spool.flush() }
      }
      let last = try await spool.compact(progress: nil)
      // RocksDB may have compacted a part by itself.
      #expect(last.bytesAfter <= last.bytesBefore && last.bytesAfter < logged.bytesAfter / 2)
      #expect(last.bytesAfter == UInt64(try spool.tables.reduce(0) { $0 + $1.bytes }))
      #expect(try isWhole(spool))
      #expect(try spool.tables.reduce(0) { $0 + $1.deletions } == 0)
      for (id, data) in stored { #expect(try await spool.load(id) == data) }
      #expect(try await spool.allIDs().count == 10)
    }
  }

  @Test("A-C-2: ten writers go on during compactions, and a second one waits and succeeds")
  func writersGoOn() async throws {
    try await withNewSpool { (spool) async throws in
      let stop = Flag()
      let compactions = spool.storage.database.listener
      let before = compactions.counters.compactions
      for number in 0..<100 { try await spool.put(spool.makeID(), payload(number)) }
      let stored = try await withThrowingTaskGroup(of: [SpoolID].self) { group in
        for writer in 0..<10 {
          group.addTask {
            var ids: [SpoolID] = []
            repeat {
              let id = spool.makeID()
              try await spool.put(id, payload(writer))
              ids.append(id)
              // Stores do not suspend while RocksDB takes them, and the rest needs threads too.
              try await Task.sleep(for: .milliseconds(1))
            } while !stop.isSet
            return ids
          }
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
          for _ in 0..<3 { group.addTask { try await spool.compact() } }
          try await group.waitForAll()
        }
        stop.set()
        return try await group.reduce(into: []) { $0 += $1 }
      }
      // Each is a compaction of its own.
      #expect(compactions.counters.compactions >= before + 3)
      let found = Set(try await spool.allIDs())
      #expect(found.count == stored.count + 100)
      #expect(found.isSuperset(of: stored))
      #expect(spool.unhealthyReason == nil)
    }
  }

  @Test(
    "A-C-3: a damaged table makes the compaction throw and shuts the gate",
    arguments: TableFault.allCases)
  func damageIsThrown(kind: TableFault) async throws {
    try await withPlace { (place) async throws in
      let (ids, tables) = try await place.withSpool { (spool) async throws in
        (try await storeInTables(spool, 300), try spool.tables)
      }
      let table = tables[2]
      try place.damage(table.number, kind)
      try await place.withSpool { (spool) async throws in
        #expect(spool.unhealthyReason == nil)
        let message = await expectError(kind == .missing ? .io : .corruption) {
          try await spool.compact()
        }
        #expect(message.contains("compacting the spool main failed"))
        #expect(message.contains("\(table.number)."))
        #expect(spool.unhealthyReason != nil)
        #expect(!spool.family.health.status.causes.isEmpty)
        // Nothing was thrown away.
        #expect(try spool.tables.contains { $0.number == table.number })
        #expect(try await spool.load(ids[0]) == payload(0))
        #expect(try await spool.load(ids[299]) == payload(299))
      }
    }
  }

  @Test("A-C-5: after the shutdown there is no compaction")
  func shutDownSpoolIsNotCompacted() async throws {
    try await withNewSpool { (spool) async throws in
      try await spool.put(spool.makeID(), [1])
      try await spool.shutdown()
      await expectError(.closed) { try await spool.compact() }
      await expectError(.closed) { try await spool.compact(progress: nil) }
      #expect(try spool.tables.isEmpty)
    }
  }

  @Test("A-C-6: a cancelled compaction ends at once and leaves the spool healthy")
  func cancelledCompactionEnds() async throws {
    try await withSlowSpool { spool, ids in
      let before = try spool.tables
      // From the thread that tells of the progress: a task of the test may come too late.
      let begun = Mutex<Task<SpoolCompaction, any Error>?>(nil)
      let task = Task { try await spool.compact { _ in begun.withLock { $0?.cancel() } } }
      begun.withLock { $0 = task }
      await #expect(throws: CancellationError.self) { _ = try await task.value }
      #expect(try spool.tables == before)
      #expect(spool.unhealthyReason == nil)
      let id = spool.makeID()
      try await spool.put(id, [1])
      #expect(try await spool.load(id) == [1])
      #expect(try await spool.verify().intact == UInt64(ids.count + 1))
      // One that waits for its turn can be cancelled as well, and one after it runs.
      try spool.setOptions(["target_file_size_base": "100000"])
      let running = Task { try await spool.compact { _ in } }
      let waiting = Task { try await spool.compact(progress: nil) }
      waiting.cancel()
      await #expect(throws: CancellationError.self) { _ = try await waiting.value }
      #expect(try await running.value.bytesAfter > 0)
      #expect(try isWhole(spool))
    }
  }

  @Test("A shutdown ends a compaction", arguments: [true, false])
  func shutdownEndsACompaction(closesTheStore: Bool) async throws {
    // 46 s long, if nobody ended it.
    try await withSlowSpool(bytesASecond: 1 << 16) { spool, _ in
      let (begun, signal) = AsyncStream.makeStream(of: Void.self)
      let task = Task { try await spool.compact { _ in signal.yield() } }
      for await _ in begun { break }
      if closesTheStore { try await spool.storage.close() } else { try await spool.shutdown() }
      await expectError(.closed) { _ = try await task.value }
    }
  }

  @Test func progressRisesToTheWhole() async throws {
    try await withSlowSpool { spool, _ in
      let seen = Mutex<[SpoolCompactionProgress]>([])
      let report = try await spool.compact { progress in seen.withLock { $0.append(progress) } }
      let all = seen.withLock { $0 }
      #expect(all.count > 3)
      #expect(all.allSatisfy { $0.totalBytes == report.bytesBefore })
      #expect(all.map(\.doneBytes) == all.map(\.doneBytes).sorted())
      #expect(all.contains { $0.doneBytes > 0 && $0.doneBytes < $0.totalBytes })
      #expect(all.last?.doneBytes == report.bytesBefore)
      #expect(report.duration > .milliseconds(100))
    }
  }

  @Test func aDiskWithoutRoomRefusesACompaction() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (spool) async throws in
        _ = try await storeInTables(spool, 300)
        let tables = try spool.tables
        let bytes = tables.reduce(0) { $0 + $1.bytes }
        @Sendable func space(_ free: UInt64) -> DiskSpace {
          DiskSpace(freeBytes: free, totalBytes: free * 2, freeInodes: 0, totalInodes: 0)
        }
        do {
          _ = try await spool.compact { () throws(IOFailure) in space(bytes + bytes / 10 - 1) }
          Issue.record("compacted on a full disk")
        } catch let error as SpindleError {
          #expect(error.kind == .unavailable)
          #expect(error.reason == "disk_full")
        }
        #expect(try spool.tables == tables)
        #expect(spool.unhealthyReason == nil)
        _ = try await spool.compact { () throws(IOFailure) in space(bytes + bytes / 10) }
        #expect(try spool.tables != tables)
      }
    }
  }

  @Test func aFullDiskDuringACompactionIsNoDamage() async throws {
    try await withPlace { (place) async throws in
      let store = try await Store.small(at: place.path)
      let spool = try await RocksSpool(store: store, name: "main")
      _ = try await storeInTables(spool, 100)
      store.guardian?.inject(.tableAppend, count: 1, error: .noSpace)
      do {
        try await spool.compact()
        Issue.record("a failed compaction succeeded")
      } catch let error as SpindleError {
        #expect(error.kind == .unavailable)
        #expect(error.reason == "disk_full")
      }
      #expect(!spool.family.health.isShut)
      try? await store.heal()
      try await store.checkHealth()
      try await spool.compact()
      #expect(try await spool.verify().intact == 100)
      try await store.close()
    }
  }
}

private final class Flag: Sendable {
  private let value = Atomic<Bool>(false)
  var isSet: Bool { value.load(ordering: .acquiring) }
  func set() { value.store(true, ordering: .releasing) }
}
