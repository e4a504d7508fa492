import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

@Suite("Spool quota", .temporaryDirectory) struct SpoolQuotaTests {
  /// Bytes of a stored message besides its payload: key and header.
  private static let overhead = UInt64(16 + SpoolRecord.headerBytes)

  private func settings(bytes: UInt64? = nil, entries: UInt64? = nil) -> SpoolSettings {
    var settings = SpoolSettings()
    settings.quota = SpoolQuota(bytes: bytes, entries: entries)
    return settings
  }

  private func payload(_ count: Int) -> Bytes { Bytes(repeating: 5, count: count) }

  @Test("A full spool refuses, says its limit and what it holds, and stores nothing")
  func refusal() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    let limit = 2 * (100 + Self.overhead) + 10
    let spool = try await RocksSpool(store: store, name: "main", settings: settings(bytes: limit))
    let ids = (0..<3).map { _ in spool.makeID() }
    try await spool.put(ids[0], payload(100))
    try await spool.put(ids[1], payload(100), forceSync: true)
    #expect(spool.usage == SpoolUsage(bytes: limit - 10, entries: 2))
    for forceSync in [false, true] {
      let message = await expectError(.quotaExceeded) {
        try await spool.put(ids[2], payload(100), forceSync: forceSync)
      }
      #expect(message.contains("\(limit) bytes"))
      #expect(message.contains("holds \(limit - 10)"))
    }
    await expectError(.quotaExceeded) {
      _ = try await spool.storeClaimed(ids[2], payload(100), forceSync: false, deadline: nil)
    }
    #expect(spool.claim(ids[2]))
    spool.release(ids[2])
    #expect(try await spool.loadIfPresent(ids[2]) == nil)
    // A replacement counts with the difference.
    try await spool.put(ids[0], payload(110))
    #expect(spool.usage == SpoolUsage(bytes: limit, entries: 2))
    await expectError(.quotaExceeded) { try await spool.put(ids[0], payload(111)) }
    #expect(try await spool.load(ids[0]) == payload(110))
    try await spool.put(ids[0], payload(0))
    #expect(spool.usage == SpoolUsage(bytes: limit - 110, entries: 2))
    try await spool.remove(ids[1])
    // An absent one frees nothing.
    try await spool.remove(ids[1])
    #expect(spool.usage == SpoolUsage(bytes: Self.overhead, entries: 1))
    try await spool.put(ids[2], payload(100))
    try await store.close()
  }

  @Test("A limit of messages counts ids, not replacements")
  func entries() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    let spool = try await RocksSpool(store: store, name: "main", settings: settings(entries: 2))
    let ids = (0..<3).map { _ in spool.makeID() }
    try await spool.put(ids[0], [1])
    try await spool.put(ids[1], [1])
    try await spool.put(ids[1], payload(5_000))
    let message = await expectError(.quotaExceeded) { try await spool.put(ids[2], []) }
    #expect(message.contains("2 messages and holds 2"))
    try await spool.remove(ids[0])
    try await spool.put(ids[2], [])
    // Opened with less than it holds, it may shrink and not grow.
    try await spool.shutdown()
    let small = try await RocksSpool(
      store: store, name: "main", settings: settings(bytes: 100, entries: 1))
    #expect(small.usage == spool.usage)
    await expectError(.quotaExceeded) { try await small.put(ids[0], []) }
    await expectError(.quotaExceeded) { try await small.put(ids[2], [1]) }
    try await small.put(ids[1], payload(10))
    try await small.remove(ids[1])
    #expect(small.usage == SpoolUsage(bytes: Self.overhead, entries: 1))
    try await store.close()
  }

  @Test("Without a quota nothing is counted")
  func noQuota() async throws {
    try await withNewSpool { (spool) async throws in
      try await spool.put(spool.makeID(), [1])
      #expect(spool.usage == nil)
    }
  }

  @Test("A store that waits in vain gives its reservation back; the id's next change waits for it")
  func failuresGiveBack() async throws {
    let stalled = try await StalledSpool(settings(bytes: 1 << 20, entries: 1))
    let spool = stalled.spool
    let id = spool.makeID()
    try await spool.put(id, payload(10))
    let before = spool.usage
    try await stalled.setStopped(true)
    let growing = stalled.clock.now + .milliseconds(50)
    let larger = payload(1000)
    let first = PendingCall {
      try await spool.store(id, larger, forceSync: false, deadline: growing)
    }
    try await eventually { stalled.clock.sleeperCount == 1 }
    #expect(spool.usage?.bytes == before.map { $0.bytes + 990 })
    let second = stalled.store(id, deadline: .milliseconds(20))
    let third = stalled.remove(id)
    try await eventually { stalled.clock.sleeperCount == 3 }
    // The second's deadline passes while it waits for the first.
    stalled.clock.advance(by: .milliseconds(20))
    #expect(await second.kind == .deadlineExceeded)
    third.cancel()
    #expect(await third.failure is CancellationError)
    try await stalled.wait(for: first)
    #expect(await first.kind == .deadlineExceeded)
    #expect(spool.usage == before)
    try await stalled.setStopped(false)
    try await spool.remove(id)
    #expect(spool.usage == SpoolUsage())
    try await stalled.store.close()
  }

  @Test("A store that waits for its id and then for its write waits one deadline, not two")
  func oneDeadlineForAllWaits() async throws {
    var settings = settings(bytes: 1 << 20)
    settings.storeDeadline = .milliseconds(100)
    let stalled = try await StalledSpool(settings)
    let id = stalled.spool.makeID()
    try await stalled.setStopped(true)
    let first = stalled.store(id, deadline: .milliseconds(90))
    try await eventually { stalled.clock.sleeperCount == 1 }
    let second = stalled.store(id)
    try await eventually { stalled.clock.sleeperCount == 2 }
    stalled.clock.advance(by: .milliseconds(90))
    #expect(await first.kind == .deadlineExceeded)
    // Now the second is let in, and has the rest of its time.
    let waited = try await stalled.wait(for: second)
    #expect(waited <= .milliseconds(11))
    #expect(await second.kind == .overloaded)
    #expect(stalled.spool.usage == SpoolUsage())
    try await stalled.setStopped(false)
    try await stalled.store.close()
  }

  @Test("What a drain's batch removes and what moves to quarantine is counted as gone")
  func drainsAndQuarantine() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    let spool = try await RocksSpool(
      store: store, name: "main", settings: settings(bytes: 10_000, entries: 3))
    let ids = (0..<3).map { _ in spool.makeID() }
    let header = try await spool.storeClaimed(
      ids[0], payload(100), forceSync: false, deadline: nil)
    try await spool.put(ids[1], payload(200))
    try await spool.put(ids[2], payload(300))
    var batch = Batch()
    spool.stageRemoval(ids[0], header: header, into: &batch)
    try await store.commit(batch, durability: .buffered)
    spool.releaseRemoved(ids[0])
    #expect(spool.usage == SpoolUsage(bytes: 500 + 2 * Self.overhead, entries: 2))
    // One that an earlier run left.
    #expect(spool.claim(ids[1]))
    let read = try #require(try await store.blocking { try spool.loadRecordBlocking(ids[1]) })
    batch = Batch()
    spool.stageRemoval(ids[1], header: read.header, into: &batch)
    try await store.commit(batch, durability: .buffered)
    spool.releaseRemoved(ids[1])
    #expect(spool.usage == SpoolUsage(bytes: 300 + Self.overhead, entries: 1))
    #expect(spool.claim(ids[2]))
    #expect(try await store.blocking { try spool.quarantineBlocking(ids[2], reason: "a test") })
    spool.release(ids[2])
    #expect(spool.usage == SpoolUsage())
    try await store.close()
  }

  @Test("Where damage hid a part of the spool from the count, growth is refused, removals are not")
  func partialCount() async throws {
    try await withPlace { (place) async throws in
      let (ids, table) = try await place.withSpool { spool in
        (try await storeInTables(spool, 200), try #require(try spool.tables.first).number)
      }
      let path = place.pathOfTable(table)
      let whole = try Files.read(path, limit: .max)
      try place.damage(table, .cutShort)
      let limits = settings(bytes: 1 << 30, entries: 1_000)
      let store = try await place.open()
      let spool = try await RocksSpool(store: store, name: "main", settings: limits)
      #expect(try #require(spool.usage).entries < 200)
      // The disk recovers, and somebody opens the gate.
      try writeFile(whole, to: path)
      try await spool.clearGate()
      let message = await expectError(.unavailable) { try await spool.put(spool.makeID(), [1]) }
      #expect(message.contains("could not be counted"))
      try await spool.remove(ids[199])
      try await store.close()
      let again = try await place.open()
      let counted = try await RocksSpool(store: again, name: "main", settings: limits)
      #expect(counted.usage?.entries == 199)
      try await counted.put(counted.makeID(), [1])
      try await again.close()
    }
  }

  @Test("A pair's removal takes a message away whose size cannot be read")
  func pairRemovesWhatIsDamaged() async throws {
    try await withPlace { (place) async throws in
      let ids = try await place.withSpool("meta") { try await storeInTables($0, 200) }
      let store = try await place.open()
      let meta = try await RocksSpool(
        store: store, name: "meta", settings: settings(bytes: 1 << 30, entries: 1_000))
      let data = try await RocksSpool(store: store, name: "data")
      try meta.setOptions(["disable_auto_compactions": "true"])
      let table = try #require(try meta.tables.first)
      // In the half that is cut off.
      let id = try #require(ids.last { !table.largestKey.lexicographicallyPrecedes($0.bytes) })
      try place.damage(table.number, .cutShort)
      try await PairedSpool(meta: meta, data: data).remove(id)
      #expect(meta.unhealthyReason != nil, "the damage was met and not told")
      try await store.close()
    }
  }

  // MARK: Against a model

  private static func walk(_ spool: RocksSpool) throws -> SpoolUsage {
    var usage = SpoolUsage()
    try spool.storage.scan(spool.family) { key, record in
      usage.bytes += UInt64(key.count + record.count)
      usage.entries += 1
      return true
    }
    return usage
  }

  /// One change after the other: what is refused, what is held and what is stored is foretold.
  @Test(
    "Random changes agree with a model, also after reopening", arguments: [1, 2, 3] as [UInt64])
  func model(seed: UInt64) async throws {
    var random = SeededGenerator(seed: seed)
    let quota = SpoolQuota(bytes: 1_500, entries: 7)
    let limits = settings(bytes: quota.bytes, entries: quota.entries)
    var stalled = try await StalledSpool(limits)
    let ids = (0..<12).map { _ in stalled.spool.makeID() }
    var stored: [SpoolID: Int] = [:]
    for step in 0..<200 {
      let spool = stalled.spool
      let id = ids[Int(random.next() % UInt64(ids.count))]
      let size = Int(random.next() % 300)
      func usage(_ stored: [SpoolID: Int]) -> SpoolUsage {
        SpoolUsage(
          bytes: stored.values.reduce(0) { $0 + UInt64($1) + Self.overhead },
          entries: UInt64(stored.count))
      }
      switch random.next() % 12 {
      case 0..<6:
        var after = stored
        after[id] = size
        let (old, new) = (usage(stored), usage(after))
        let fits =
          (new.bytes <= 1_500 || new.bytes <= old.bytes)
          && (new.entries <= 7 || new.entries <= old.entries)
        do {
          try await spool.put(id, payload(size), forceSync: size % 20 == 0)
          #expect(fits, "step \(step)")
          stored = after
        } catch let error as SpindleError where error.kind == .quotaExceeded {
          #expect(!fits, "step \(step)")
        }
      case 6..<8:
        try await spool.remove(id)
        stored[id] = nil
      case 8:
        try await stalled.setStopped(true)
        let call = stalled.store(id, forceSync: size % 2 == 0, deadline: .seconds(-1))
        let kind = await call.kind
        #expect(kind == .deadlineExceeded || kind == .quotaExceeded)
        try await stalled.setStopped(false)
      case 9:
        stalled.store.health.shutForOperator(note: "a test")
        await expectError(.unavailable) { try await spool.remove(id) }
        stalled.store.health.openForOperator()
      case 10:
        guard stored[id] != nil, spool.claim(id) else { break }
        if size % 2 == 0 {
          let read = try #require(try spool.loadRecordBlocking(id))
          var batch = Batch()
          spool.stageRemoval(id, header: read.header, into: &batch)
          try await stalled.store.commit(batch, durability: .buffered)
          spool.releaseRemoved(id)
        } else {
          // Of one id the quarantine holds one message.
          if try await spool.isQuarantined(id) { try await spool.purgeQuarantined(id) }
          #expect(try spool.quarantineBlocking(id, reason: "a test"))
          spool.release(id)
        }
        stored[id] = nil
      default:
        guard size < 30 else { break }
        try await stalled.store.close()
        let again = try await Store.small(at: stalled.store.path, clock: stalled.clock)
        try await again.close()
        stalled = try await StalledSpool(limits, clock: stalled.clock)
      }
      #expect(stalled.spool.usage == usage(stored), "step \(step)")
      #expect(try Self.walk(stalled.spool) == usage(stored), "step \(step)")
    }
    try await stalled.store.close()
  }

  /// Stores, replacements, removes, drains, refusals and cancellations all at once, of few ids.
  @Test("Racing changes never exceed the quota and leave an exact count", arguments: [4, 5, 6])
  func races(seed: Int) async throws {
    let stalled = try await StalledSpool(settings(bytes: 2_000, entries: 9))
    let spool = stalled.spool
    let store = stalled.store
    let ids = (0..<10).map { _ in spool.makeID() }
    let isOver = Atomic<Bool>(false)
    let watch = Task {
      while !isOver.load(ordering: .relaxed) {
        // A walk sees one moment of the store. Nothing is stored that was not counted before.
        let stored = try await store.blocking { try Self.walk(spool) }
        #expect(stored.bytes <= 2_000 && stored.entries <= 9)
        let held = try #require(spool.usage)
        #expect(held.bytes <= 2_000 && held.entries <= 9)
        try await Task.sleep(for: .milliseconds(1))
      }
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for task in 0..<6 {
        group.addTask {
          var random = SeededGenerator(seed: UInt64(seed * 100 + task))
          for _ in 0..<120 {
            let id = ids[Int(random.next() % 10)]
            let choice = random.next() % 16
            let payload = Bytes(repeating: UInt8(choice), count: Int(random.next() % 400))
            let forceSync = random.next() % 8 == 0
            let call = PendingCall {
              switch choice {
              case 0..<8: try await spool.put(id, payload, forceSync: forceSync)
              case 8..<10: try await spool.remove(id)
              case 10..<14: try await Self.drain(id, of: spool, quarantines: choice == 10)
              case 14:
                _ = try await spool.storeClaimed(
                  id, payload, forceSync: forceSync, deadline: nil)
                try await Self.drainClaimed(id, of: spool)
              default:
                store.health.shutForOperator(note: "a test")
                await Task.yield()
                store.health.openForOperator()
              }
            }
            if random.next() % 10 == 0 { call.cancel() }
            guard let failure = await call.failure else { continue }
            if failure is CancellationError { continue }
            let kind = (failure as? SpindleError)?.kind
            #expect(kind == .quotaExceeded || kind == .unavailable || kind == .conflict)
          }
        }
      }
      try await group.waitForAll()
    }
    isOver.store(true, ordering: .relaxed)
    try await watch.value
    let found = try await store.blocking { try Self.walk(spool) }
    #expect(spool.usage == found)
    try await store.close()
    let again = try await Store.small(at: store.path)
    let reopened = try await RocksSpool(
      store: again, name: "main", settings: settings(bytes: 2_000, entries: 9))
    #expect(reopened.usage == found)
    try await again.close()
  }

  private static func drain(
    _ id: SpoolID, of spool: RocksSpool, quarantines: Bool
  ) async throws {
    guard spool.claim(id) else { return }
    if quarantines {
      defer { spool.release(id) }
      // Where the quarantine has another message under the id, this one stays.
      _ = try await spool.storage.blocking { try spool.quarantineBlocking(id, reason: "a test") }
    } else {
      try await drainClaimed(id, of: spool)
    }
  }

  private static func drainClaimed(_ id: SpoolID, of spool: RocksSpool) async throws {
    do {
      let read = try await spool.storage.blocking { try spool.loadRecordBlocking(id) }
      guard let read else { return spool.release(id) }
      var batch = Batch()
      spool.stageRemoval(id, header: read.header, into: &batch)
      try await spool.storage.commit(batch, durability: .buffered)
    } catch {
      spool.release(id)
      throw error
    }
    spool.releaseRemoved(id)
  }
}
