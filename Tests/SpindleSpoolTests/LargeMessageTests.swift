import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// A message that takes long to copy is not read on the threads of tasks.
@Suite("Large messages")
struct LargeMessageTests {
  /// Runs calls while all threads that may block are taken, until `waiting` of them wait for one;
  /// then gives the threads free and has the calls end, which tell whether they were right.
  private func withThreadsTaken(
    of store: Store, waiting: Int, _ calls: [@Sendable () async throws -> Bool],
    meanwhile: () async throws -> Void = {}
  ) async throws {
    let release = ThreadSemaphore()
    let taken = Tally()
    let threads = StoreSettings().blockingThreads
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<threads {
        group.addTask {
          try await store.blocking {
            taken.increment()
            _ = release.wait(milliseconds: 60_000)
          }
        }
      }
      defer { for _ in 0..<threads { release.signal() } }
      try await eventually { taken.count == threads }
      for call in calls {
        group.addTask {
          let isRight = try await call()
          #expect(isRight)
        }
      }
      try await eventually { store.waitingBlockingCalls >= waiting }
      try await meanwhile()
      #expect(store.waitingBlockingCalls == waiting)
      for _ in 0..<threads { release.signal() }
      try await group.waitForAll()
    }
  }

  private func reads(
    _ id: SpoolID, _ data: Bytes, of spool: RocksSpool
  ) -> [@Sendable () async throws -> Bool] {
    [
      { try await spool.load(id) == data },
      { try await spool.loadIfPresent(id) == data },
      { try await spool.withPayload(id) { $0?.count } == data.count },
      { try await spool.contains(id) },
    ]
  }

  @Test("A large message in a memtable is read on a thread that may block, a small one at once")
  func largeMessageIsReadElsewhere() async throws {
    try await withNewSpool { (spool) async throws in
      let (large, small) = (payload(1, bytes: 300 << 10), payload(2))
      let ids = (0..<3).map { id(atMilliseconds: UInt64($0 * 1_000 + 1_000)) }
      try await spool.put(ids[0], large)
      try await spool.put(ids[1], small)
      #expect(try spool.property("num-entries-active-mem-table") == 2)
      let calls = reads(ids[0], large, of: spool)
      try await withThreadsTaken(of: spool.storage, waiting: 4, calls) { () async throws in
        for read in reads(ids[1], small, of: spool) { #expect(try await read()) }
        #expect(try await spool.contains(ids[2]) == false)
      }
    }
  }

  @Test("A change under a quota looks at a large message on a thread that may block")
  func quotaLooksElsewhere() async throws {
    try await withPlace { (place) async throws in
      let store = try await place.open()
      var settings = SpoolSettings()
      settings.quota = SpoolQuota(bytes: 10 << 20, entries: nil)
      let spool = try await RocksSpool(store: store, name: "main", settings: settings)
      let ids = (0..<3).map { id(atMilliseconds: UInt64($0 * 1_000 + 1_000)) }
      for id in ids[0...1] { try await spool.put(id, payload(1, bytes: 300 << 10)) }
      try await withThreadsTaken(
        of: store, waiting: 2,
        [
          {
            try await spool.put(ids[0], [1])
            return true
          },
          {
            try await spool.remove(ids[1])
            return true
          },
        ]
      ) {
        try await spool.put(ids[2], [2])
        try await spool.remove(ids[2])
      }
      #expect(spool.usage?.entries == 1)
      try await store.close()
    }
  }

  @Test("A large message is read elsewhere however it came into the spool")
  func everyWayInIsNoted() async throws {
    try await withPlace { (place) async throws in
      let store = try await place.open()
      let spool = try await RocksSpool(store: store, name: "main")
      let ids = (0..<4).map { id(atMilliseconds: UInt64($0 * 1_000 + 1_000)) }
      let large = payload(1, bytes: 300 << 10)
      // Back from the quarantine.
      try await spool.put(ids[0], large)
      try await spool.quarantine(ids[0], reason: "test")
      try await spool.flush()
      try await spool.restoreQuarantined(ids[0])
      // Of a pair.
      let meta = try await RocksSpool(store: store, name: "meta")
      let pair = try PairedSpool(meta: meta, data: spool)
      try await pair.store(ids[1], meta: [1], data: large, forceSync: false, deadline: nil)
      // Claimed for a worker.
      _ = try await spool.storeClaimed(ids[2], large, forceSync: false, deadline: nil)
      spool.release(ids[2])
      // Imported.
      let other = try await RocksSpool(store: store, name: "other")
      try await other.put(ids[3], large)
      _ = try await other.export(to: place.path + ".export")
      _ = try await spool.importMessages(from: place.path + ".export")
      for id in ids {
        try await withThreadsTaken(of: store, waiting: 4, reads(id, large, of: spool))
      }
      try await store.close()
    }
  }

  @Test("A spool that is opened again in its store knows its large messages")
  func openingsKnowLargeMessages() async throws {
    try await withPlace { (place) async throws in
      let large = payload(1, bytes: 300 << 10)
      let ids = (0..<2).map { id(atMilliseconds: UInt64($0 * 1_000 + 1_000)) }
      let store = try await place.open()
      do {
        let spool = try await RocksSpool(store: store, name: "main")
        try await spool.put(ids[0], large)
        try await spool.shutdown()
      }
      let spool = try await RocksSpool(store: store, name: "main")
      try await withThreadsTaken(of: store, waiting: 4, reads(ids[0], large, of: spool))
      // A reader has what is in the log in memory, and did not see it come.
      try await place.withSpool("main", .reader) { (reader) async throws in
        try await withThreadsTaken(
          of: reader.storage, waiting: 4, reads(ids[0], large, of: reader))
      }
      try await store.close()
      // What was in the log is in a table now.
      try await place.withSpool { (spool) async throws in
        #expect(try spool.property("num-entries-active-mem-table") == 0)
        #expect(try spool.property("num-immutable-mem-table") == 0)
        #expect(try spool.tables.count == 1)
        #expect(try await spool.load(ids[0]) == large)
      }
    }
  }
}
