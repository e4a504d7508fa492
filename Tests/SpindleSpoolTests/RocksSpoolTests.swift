import SpindleCore
import SpindleRocks
import SpindleSpool
import SpindleStore
import Testing

@Suite("RocksSpool")
struct RocksSpoolTests {
  @Test("A-B-4: a message over the limit is refused before anything is written")
  func oversizePayloadIsRefused() async throws {
    try await withNewSpool { (spool) async throws in
      let id = spool.makeID()
      // The memory is asked for and never touched.
      let count = RocksSpool.payloadByteLimit + 1
      let payload = unsafe [UInt8](unsafeUninitializedCapacity: count) { $1 = count }
      let before = try spool.storage.database.latestSequenceNumber()
      let message = await expectError(.tooLarge) { try await spool.put(id, payload) }
      #expect(message.contains("\(RocksSpool.payloadByteLimit)"))
      await expectError(.tooLarge) {
        _ = try await spool.storeClaimed(id, payload, forceSync: false, deadline: nil)
      }
      #expect(try spool.storage.database.latestSequenceNumber() == before)
      // The refused claim was let go.
      #expect(spool.claim(id))
    }
  }

  @Test("A message of the largest size leaves room for its batch")
  func theLimitFitsTheStore() async throws {
    try await withNewSpool { (spool) async throws in
      var batch = Batch()
      spool.stage(spool.makeID(), [], into: &batch)
      // The length of a gigabyte takes four bytes more than that of nothing.
      let overhead = batch.byteCount + 4
      #expect(RocksSpool.payloadByteLimit + overhead <= StoreSettings().valueByteLimit)
    }
  }

  @Test("A-B-6: removing twice succeeds twice, on RocksDB")
  func removeTwice() async throws {
    try await withNewSpool { (spool) async throws in
      let id = spool.makeID()
      try await spool.put(id, [1])
      try await spool.remove(id)
      try await spool.remove(id)
      #expect(try await spool.loadIfPresent(id) == nil)
    }
  }

  @Test("Durations beyond a hundred years are refused, and trap nowhere")
  func endlessDurationsAreRefused() async throws {
    try await withPlace { (place) async throws in
      let store = try await place.open()
      let names: [WritableKeyPath<SpoolSettings, Duration>] = [
        \.storeDeadline, \.leftoversDuration, \.gate.errorLatchDuration,
        \.gate.errorUnlatchDuration, \.gate.backpressureUnlatchDuration,
      ]
      var largest = SpoolSettings()
      for name in names {
        var settings = SpoolSettings()
        settings[keyPath: name] = .seconds(Int64.max)
        let message = await expectError(.invalidArgument) {
          _ = try await RocksSpool(store: store, name: "main", settings: settings)
        }
        #expect(message.contains("100 years"))
        largest[keyPath: name] = GateSettings.durationLimit
      }
      let spool = try await RocksSpool(store: store, name: "main", settings: largest)
      try await spool.put(spool.makeID(), [1])
      try await store.close()
    }
  }

  @Test func aShutDownSpoolTakesNoClaims() async throws {
    try await withNewSpool { (spool) async throws in
      let id = spool.makeID()
      try await spool.shutdown()
      await expectError(.closed) { _ = try await spool.loadIfPresent(id) }
      await expectError(.closed) {
        _ = try await spool.storeClaimed(id, [2], forceSync: false, deadline: nil)
      }
      #expect(spool.claim(id))
    }
  }

  @Test func aClosedStoreRefusesItsSpools() async throws {
    try await withPlace { (place) async throws in
      let store = try await place.open()
      let spool = try await RocksSpool(store: store, name: "main")
      let id = spool.makeID()
      try await spool.put(id, [1])
      try await store.close()
      await expectError(.closed) { _ = try await spool.load(id) }
      await expectError(.closed) { try await spool.put(id, [2]) }
      await expectError(.closed) { try await spool.remove(id) }
      let (entries, outcome) = try await spool.all()
      #expect(entries.isEmpty)
      #expect(outcome.error?.kind == .closed)
    }
  }

  @Test("A-C-1: compacting works on an empty spool, on the log alone and on tables")
  func compactKeepsEverything() async throws {
    try await withNewSpool { (spool) async throws in
      try await spool.compact()
      let id = spool.makeID()
      try await spool.put(id, [1])
      try await spool.compact()
      try await spool.compact()
      #expect(try await spool.load(id) == [1])
      _ = try await spool.adviseLowMemory()
      #expect(try await spool.load(id) == [1])
    }
  }

  @Test("A-D-1: a deadline that has passed does not matter while the store is healthy")
  func pastDeadlineStillStores() async throws {
    try await withNewSpool { (spool) async throws in
      let id = spool.makeID()
      try await spool.store(
        id, [1], forceSync: false, deadline: ContinuousClock.now - .seconds(60))
      #expect(try await spool.load(id) == [1])
    }
  }

  @Test(arguments: ["", "a b", "a/b", "a:b", String(repeating: "n", count: 65), "\u{E9}"])
  func namesAreChecked(name: String) async throws {
    try await withPlace { (place) async throws in
      await expectError(.invalidArgument) { try await place.withSpool(name) { _ in } }
    }
  }

  @Test func spoolsOfOneStoreAreApart() async throws {
    try await withPlace { (place) async throws in
      let store = try await place.open()
      let (a, b) = (
        try await RocksSpool(store: store, name: "a"), try await RocksSpool(store: store, name: "b")
      )
      let id = a.makeID()
      try await a.put(id, [1])
      #expect(try await b.loadIfPresent(id) == nil)
      try await b.put(id, [2])
      try await a.remove(id)
      #expect(try await b.load(id) == [2])
      try await store.close()
    }
  }

  @Test("A damaged record is an error that names the id, and an entry of its own")
  func damagedRecordIsNamed() async throws {
    try await withNewSpool { (spool) async throws in
      let (good, bad) = (spool.makeID(), spool.makeID())
      try await spool.put(good, [1])
      var record = SpoolRecord.header(for: [9, 9].span) + [9, 9]
      record[13] ^= 1
      try await spool.putRaw(bad.bytes, record)
      let message = await expectError(.corruption) { _ = try await spool.load(bad) }
      #expect(message.contains(bad.description))
      #expect(try await spool.load(good) == [1])
      let (entries, outcome) = try await spool.all()
      #expect(outcome.count == 1)
      #expect(outcome.corrupt == 1)
      #expect(outcome.error == nil)
      #expect(entries.contains(.item(id: good, data: [1])))
      #expect(entries.contains { if case .corrupt(bad, _) = $0 { true } else { false } })
      // It is left where it is.
      #expect(try await spool.all().outcome.corrupt == 1)
    }
  }

  @Test func aReaderListsASpoolWhoseStoreIsShut() async throws {
    try await withPlace { (place) async throws in
      let id = try await place.withSpool { (spool) async throws in
        let id = spool.makeID()
        try await spool.put(id, [7])
        return id
      }
      try await place.withSpool("main", .reader) { (spool) async throws in
        #expect(spool.storage.view == .shut)
        #expect(try await spool.allIDs() == [id])
        #expect(try await spool.load(id) == [7])
        await expectError(.unavailable) { try await spool.put(id, [8]) }
        await expectError(.unavailable) { try await spool.remove(id) }
      }
      await expectError(.notFound) { try await place.withSpool("other", .reader) { _ in } }
    }
  }

  @Test func aReaderListsBesideARunningOwner() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (owner) async throws in
        let (flushed, logged) = (owner.makeID(), owner.makeID())
        try await owner.put(flushed, [1])
        try await owner.compact()
        try await owner.put(logged, [2])
        try await place.withSpool("main", .reader) { (reader) async throws in
          guard case .following = reader.storage.view else {
            Issue.record("the reader does not follow: \(reader.storage.view)")
            return
          }
          #expect(Set(try await reader.allIDs()) == [flushed, logged])
          #expect(try await reader.load(logged) == [2])
          await expectError(.unavailable) { try await reader.put(logged, [3]) }
          // The owner goes on.
          try await owner.put(owner.makeID(), [4])
        }
        #expect(try await owner.allIDs().count == 3)
      }
    }
  }
}
