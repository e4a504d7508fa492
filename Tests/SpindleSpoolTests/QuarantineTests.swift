import SpindleCore
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

@Suite("Quarantine")
struct QuarantineTests {
  /// The stored bytes under an id, in the spool or in its quarantine.
  private func record(_ spool: RocksSpool, _ id: SpoolID) async throws -> Bytes? {
    try await spool.storage.get(spool.family, key: id.bytes)
  }

  private func damagedRecord() -> [UInt8] {
    var record = SpoolRecord.header(for: [1, 2, 3].span) + [1, 2, 3]
    record[12] ^= 0x10
    return record
  }

  @Test("A message goes, is listed with its reason and time, and comes back byte for byte")
  func quarantineListRestore() async throws {
    try await withPlace { (place) async throws in
      let (good, bad) = (numberedID(1), numberedID(2))
      let whole = try await place.withSpool { (spool) async throws in
        try await spool.put(good, [1, 2, 3])
        try await spool.putRaw(bad.bytes, damagedRecord())
        let whole = try #require(try await record(spool, good))
        place.wall.set(1_700_000_000_123)
        try await spool.quarantine(good, reason: "its consumer refused it")
        try await spool.quarantine(bad, reason: "it is damaged")
        #expect(try await spool.allIDs().isEmpty)
        #expect(try await spool.loadIfPresent(good) == nil)
        return whole
      }
      // The list outlives the run.
      try await place.withSpool { (spool) async throws in
        let since = SpoolInstant(unixMilliseconds: 1_700_000_000_123)
        #expect(
          try await spool.quarantined(after: nil, limit: 10) == [
            QuarantinedMessage(
              id: good, bytes: whole.count, reason: "its consumer refused it", since: since,
              isDamaged: false),
            QuarantinedMessage(
              id: bad, bytes: 15, reason: "it is damaged", since: since, isDamaged: true),
          ])
        #expect(try await spool.isQuarantined(good))
        try await spool.restoreQuarantined(good)
        try await spool.restoreQuarantined(bad)
        #expect(try await record(spool, good) == whole)
        #expect(try await record(spool, bad) == damagedRecord())
        #expect(try await spool.load(good) == [1, 2, 3])
        #expect(try await spool.quarantined(after: nil, limit: 10).isEmpty)
        #expect(try await !spool.isQuarantined(good))
      }
    }
  }

  @Test("A reader lists what is in quarantine, and changes nothing")
  func readersList() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (spool) async throws in
        try await spool.put(numberedID(1), [1])
        try await spool.quarantine(numberedID(1), reason: "a test")
      }
      try await place.withSpool("main", .reader) { (spool) async throws in
        #expect(try await spool.quarantined(after: nil, limit: 10).map(\.id) == [numberedID(1)])
        await expectError(.unavailable) { try await spool.restoreQuarantined(numberedID(1)) }
        await expectError(.unavailable) { try await spool.purgeQuarantined(numberedID(1)) }
      }
    }
  }

  @Test func listsComeInPages() async throws {
    try await withNewSpool { (spool) async throws in
      for number in 0..<25 {
        try await spool.put(numberedID(number), [1])
        try await spool.quarantine(numberedID(number), reason: "number \(number)")
      }
      var (found, last): ([String], SpoolID?) = ([], nil)
      while true {
        let page = try await spool.quarantined(after: last, limit: 10)
        #expect(page.count <= 10)
        if page.isEmpty { break }
        found += page.map(\.reason)
        last = page.last?.id
      }
      #expect(found == (0..<25).map { "number \($0)" })
      #expect(try await spool.quarantined(after: nil, limit: 0).isEmpty)
      #expect(try await spool.quarantined(after: nil, limit: -1).isEmpty)
    }
  }

  @Test("What is absent is not found, and named")
  func absentMessages() async throws {
    try await withNewSpool { (spool) async throws in
      let id = spool.makeID()
      // Before there is a quarantine, and with one.
      for _ in 0..<2 {
        for call in [
          { try await spool.quarantine(id, reason: "a test") },
          { try await spool.restoreQuarantined(id) }, { try await spool.purgeQuarantined(id) },
        ] as [() async throws -> Void] {
          let message = await expectError(.notFound) { try await call() }
          #expect(message.contains(id.description))
        }
        #expect(try await !spool.isQuarantined(id))
        try await spool.put(numberedID(1), [1])
        try? await spool.quarantine(numberedID(1), reason: "a test")
      }
      // Nothing stays claimed by a call that failed.
      #expect(spool.claim(id))
    }
  }

  @Test("Nothing is overwritten by a move")
  func movesMeetWhatIsThere() async throws {
    try await withNewSpool { (spool) async throws in
      let id = spool.makeID()
      try await spool.put(id, [1])
      try await spool.quarantine(id, reason: "first")
      try await spool.put(id, [2])
      await expectError(.conflict) { try await spool.restoreQuarantined(id) }
      await expectError(.conflict) { try await spool.quarantine(id, reason: "second") }
      #expect(try await spool.load(id) == [2])
      #expect(try await spool.quarantined(after: nil, limit: 2).map(\.reason) == ["first"])
      try await spool.remove(id)
      try await spool.restoreQuarantined(id)
      #expect(try await spool.load(id) == [1])
      // The same message once more is no other.
      try await spool.quarantine(id, reason: "first")
      try await spool.put(id, [1])
      try await spool.quarantine(id, reason: "second")
      #expect(try await spool.quarantined(after: nil, limit: 2).map(\.reason) == ["second"])
      try await spool.purgeQuarantined(id)
      #expect(try await spool.quarantined(after: nil, limit: 2).isEmpty)
      #expect(try await spool.loadIfPresent(id) == nil)
    }
  }

  @Test("What a drain worker holds is not moved")
  func claimedMessagesAreInUse() async throws {
    try await withNewSpool { (spool) async throws in
      let id = spool.makeID()
      let header = try await spool.storeClaimed(id, [1], forceSync: false, deadline: nil)
      await expectError(.conflict) { try await spool.quarantine(id, reason: "a test") }
      #expect(try await spool.load(id) == [1])
      // The worker itself moves it; the removal it had in mind meets an absent message then.
      #expect(
        try await spool.storage.blocking { try spool.quarantineBlocking(id, reason: "a test") })
      #expect(
        try await spool.storage.blocking { try spool.quarantineBlocking(id, reason: "a test") })
      await expectError(.conflict) { try await spool.restoreQuarantined(id) }
      var batch = Batch()
      spool.stageRemoval(id, header: header, into: &batch)
      await expectError(.conflict) { try await spool.storage.commit(batch, durability: .buffered) }
      spool.release(id)
      try await spool.restoreQuarantined(id)
      #expect(try await spool.load(id) == [1])
    }
  }

  @Test("A move is told once")
  func movesAreEvents() async throws {
    try await withNewSpool { (spool) async throws in
      let id = spool.makeID()
      let events = spool.storage.events
      try await spool.put(id, [1])
      try await spool.quarantine(id, reason: "a test")
      try await spool.storage.close()
      // The stream ends with the store.
      let expected = StoreEvent.quarantined(
        spool: "main", id: id.description, reason: "a test")
      let seen = await events.filter { $0 == expected }.reduce(0) { count, _ in count + 1 }
      #expect(seen == 1)
    }
  }

  @Test("While a message is moved, a store of it waits behind the move")
  func storesStandBehindMoves() async throws {
    try await withHeldStore { (store, gate) async throws in
      let spool = try await RocksSpool(store: store, name: "main")
      let id = spool.makeID()
      try await spool.put(id, [1])
      let blocker = try await gate.hold(store)
      let moving = Task { try await spool.quarantine(id, reason: "a test") }
      try await eventually { store.waitingCommits == 1 }
      // On its own it would not wait for anything.
      let storing = Task { try await spool.put(id, [2]) }
      try await eventually { store.waitingCommits == 2 }
      #expect(try await spool.load(id) == [1])
      gate.open()
      try await blocker.value
      try await moving.value
      try await storing.value
      #expect(try await spool.load(id) == [2])
      #expect(try await spool.isQuarantined(id))
    }
  }

  /// A store that came between a move's check and its write was lost without a claim.
  @Test("No store is lost to a racing move")
  func racingStoresAreNeverLost() async throws {
    try await withNewSpool { (spool) async throws in
      let id = spool.makeID()
      let race = Race()
      let rounds: UInt64 = 400
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
          for round in 1...rounds {
            var bytes: Bytes = []
            bytes.appendBigEndian(round)
            try await spool.put(id, bytes)
            await Task.yield()
          }
          race.isDone.store(true, ordering: .releasing)
        }
        group.addTask {
          while !race.isDone.load(ordering: .acquiring) {
            do {
              try await spool.quarantine(id, reason: "a test")
            } catch let error as SpindleError
              where error.kind == .conflict || error.kind == .notFound
            {
              continue
            }
            let family = try await spool.storage.family("spool:" + spool.quarantineName)
            let value = try #require(try await spool.storage.get(family, key: id.bytes))
            let record = value.suffix(8)
            let round = record.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            race.seen.withLock { seen in
              #expect(round > seen)
              seen = round
            }
            try await spool.purgeQuarantined(id)
          }
        }
        try await group.waitForAll()
      }
      let left = try await spool.loadIfPresent(id)?.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      // The last acknowledged store was moved, or is still there.
      #expect(left == rounds || left == nil && race.seen.withLock { $0 } == rounds)
    }
  }

  @Test("A message of the greatest size that a store takes can be moved")
  func theLargestMessagesAreMoved() async throws {
    try await withPlace { (place) async throws in
      var settings = StoreSettings.small
      settings.valueByteLimit = 1_000
      let store = try await Store.small(at: place.path, settings: settings)
      let spool = try await RocksSpool(store: store, name: "main")
      let id = spool.makeID()
      var count = 1_000
      while (try? await spool.put(id, [UInt8](repeating: 7, count: count))) == nil { count -= 1 }
      #expect(count > 900)
      let reason = String(repeating: "r", count: 1_024)
      try await spool.quarantine(id, reason: reason)
      #expect(try await spool.quarantined(after: nil, limit: 1).first?.reason == reason)
      try await spool.restoreQuarantined(id)
      #expect(try await spool.load(id) == [UInt8](repeating: 7, count: count))
      try await store.close()
    }
  }

  @Test("A quarantine's own damage is listed, and the message is not made up")
  func damagedEnvelopes() async throws {
    try await withNewSpool { (spool) async throws in
      let id = spool.makeID()
      try await spool.put(id, [1, 2, 3])
      try await spool.quarantine(id, reason: "a test")
      let family = try await spool.storage.family("spool:main.quarantine")
      var value = try #require(try await spool.storage.get(family, key: id.bytes))
      value[18] ^= 1
      var batch = Batch()
      batch.put(family, key: id.bytes, value: value)
      try await spool.storage.commit(batch, durability: .buffered)
      let listed = try #require(try await spool.quarantined(after: nil, limit: 1).first)
      #expect(listed.isDamaged)
      #expect(listed.since == nil)
      #expect(listed.reason.contains("checksum"))
      let message = await expectError(.corruption) { try await spool.restoreQuarantined(id) }
      #expect(message.contains(id.description))
      // Nothing takes its place unseen.
      try await spool.put(id, [4])
      await expectError(.conflict) { try await spool.quarantine(id, reason: "a test") }
      try await spool.purgeQuarantined(id)
      #expect(try await spool.quarantined(after: nil, limit: 1).isEmpty)
    }
  }

  // MARK: Earlier versions

  @Test("Records that an earlier version set aside are listed and restored")
  func plainRecords() async throws {
    try await withNewSpool { (spool) async throws in
      let (good, bad) = (numberedID(1), numberedID(2))
      let family = try await spool.storage.family("spool:main.quarantine")
      let whole = SpoolRecord.header(for: [9, 8].span) + [9, 8]
      var batch = Batch()
      batch.put(family, key: good.bytes, value: whole)
      batch.put(family, key: bad.bytes, value: damagedRecord())
      try await spool.storage.commit(batch, durability: .buffered)
      let listed = try await spool.quarantined(after: nil, limit: 10)
      #expect(listed.map(\.id) == [good, bad])
      #expect(listed.map(\.bytes) == [14, 15])
      #expect(listed.map(\.isDamaged) == [false, true])
      #expect(listed.allSatisfy { $0.since == nil && $0.reason == "no reason was recorded" })
      try await spool.restoreQuarantined(good)
      try await spool.restoreQuarantined(bad)
      #expect(try await record(spool, good) == whole)
      #expect(try await record(spool, bad) == damagedRecord())
    }
  }

  @Test("Long names that end alike have quarantines of their own, and keep the former one")
  func longNames() async throws {
    try await withPlace { (place) async throws in
      let end = String(repeating: "n", count: 53)
      let names = ["first-" + end, "other-" + end, end]
      let store = try await place.open()
      var spools: [RocksSpool] = []
      for name in names { spools.append(try await RocksSpool(store: store, name: name)) }
      #expect(Set(spools.map(\.quarantineName)).count == 3)
      #expect(spools.allSatisfy { $0.quarantineName.utf8.count == 64 })
      #expect(spools[2].quarantineName == end + ".quarantine")
      // What an earlier version did for the first: the name's last 64 characters.
      let former = try await store.family("spool:" + end + ".quarantine")
      var batch = Batch()
      let old = SpoolRecord.header(for: [7].span) + [7]
      batch.put(former, key: numberedID(9).bytes, value: old)
      try await store.commit(batch, durability: .buffered)
      for (number, spool) in spools.enumerated() {
        try await spool.put(numberedID(number), [UInt8(number)])
        try await spool.quarantine(numberedID(number), reason: spool.name)
      }
      for (number, spool) in spools.enumerated() {
        let listed = try await spool.quarantined(after: nil, limit: 10)
        #expect(listed.map(\.id) == [numberedID(number), numberedID(9)])
        #expect(listed.first?.reason == spool.name)
        #expect(try await spool.quarantined(after: nil, limit: 1).count == 1)
        #expect(try await spool.quarantined(after: numberedID(number), limit: 1).count == 1)
      }
      try await spools[0].restoreQuarantined(numberedID(9))
      #expect(try await record(spools[0], numberedID(9)) == old)
      await expectError(.notFound) { try await spools[1].restoreQuarantined(numberedID(9)) }
      // Not the third spool's, whose quarantine has the former name.
      await expectError(.notFound) { try await spools[0].restoreQuarantined(numberedID(2)) }
      try await store.close()
    }
  }

  @Test(
    "A quarantine is no spool", arguments: ["main.quarantine", ".quarantine", "x.quarantine"])
  func quarantinesAreNoSpools(name: String) async throws {
    try await withPlace { (place) async throws in
      let store = try await place.open()
      let message = await expectError(.invalidArgument) {
        _ = try await RocksSpool(store: store, name: name)
      }
      #expect(message.contains("quarantined(after:limit:)"))
      #expect(store.familyNames == ["default"])
      try await store.close()
    }
  }
}

/// How far the storing and the moving side of a race are.
private final class Race: Sendable {
  let isDone = Atomic<Bool>(false)
  /// The greatest round that was moved.
  let seen = Mutex<UInt64>(0)
}

/// Opens a store whose writer the body can hold in a sync.
func withHeldStore(_ body: (Store, SyncGate) async throws -> Void) async throws {
  try await withPlace { (place) async throws in
    let gate = SyncGate()
    var hooks = StoreHooks.manual
    hooks.beforeSync = { gate.wait() }
    let store = try await Store.small(at: place.path, hooks: hooks)
    defer { gate.open() }
    try await body(store, gate)
    try await store.close()
  }
}

extension SyncGate {
  /// Holds the writer in the sync of a commit, until the gate is opened.
  func hold(_ store: Store) async throws -> Task<Void, any Error> {
    let family = try await store.family("spool:blocker")
    shut()
    let blocker = Task {
      var batch = Batch()
      batch.put(family, key: [1], value: [1])
      try await store.commit(batch, durability: .synced)
    }
    try await eventually { try await store.get(family, key: [1]) != nil }
    return blocker
  }
}
