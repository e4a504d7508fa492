import Logging
import SpindleCore
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// A full quarantine refuses; what it refuses stays where it is.
@Suite("Quarantine, limits", .temporaryDirectory)
struct QuarantineLimitTests {
  /// Checks that a call is refused for a full quarantine.
  private func expectFull(_ body: () async throws -> Void) async {
    do {
      try await body()
      Issue.record("expected a refusal")
    } catch let error as SpindleError {
      #expect(error.kind == .quotaExceeded && error.reason == "quarantine_full", "\(error)")
      #expect(error.message.hasPrefix("the quarantine of spool main may hold"))
    } catch {
      Issue.record("unexpected error \(error)")
    }
  }

  @Test("A full quarantine refuses by count, and the message stays", arguments: Backend.allCases)
  func refusesByCount(backend: Backend) async throws {
    var wish = SpoolWish()
    wish.quarantineQuota = SpoolQuota(entries: 2)
    let ids = (0..<4).map { numberedID($0) }
    try await backend.withSpool(wish) { (any) async throws in
      let spool = any.spool
      for id in ids { try await spool.put(id, [1, 2, 3]) }
      for id in ids[..<2] { try await spool.quarantine(id, reason: "a test") }
      // Again and again; it is told once.
      for _ in 0..<3 { await expectFull { try await spool.quarantine(ids[2], reason: "a test") } }
      #expect(try await spool.load(ids[2]) == [1, 2, 3])
      #expect(try await !spool.isQuarantined(ids[2]))
      #expect(try await spool.quarantinedCount() == 2)
      let told = "a quarantine is full and messages stay in their spool"
      #expect(wish.log.all(.error).count { $0.message == told } == 1)
      // One that is gone makes room, and the next time it is told again.
      try await spool.purgeQuarantined(ids[0])
      try await spool.quarantine(ids[2], reason: "a test")
      await expectFull { try await spool.quarantine(ids[3], reason: "a test") }
      #expect(wish.log.all(.error).count { $0.message == told } == 2)
      try await spool.restoreQuarantined(ids[1])
      try await spool.quarantine(ids[3], reason: "a test")
      #expect(try await spool.load(ids[1]) == [1, 2, 3])
      #expect(try await spool.quarantined(after: nil, limit: 9).map(\.id) == [ids[2], ids[3]])
    }
  }

  @Test("The bytes in quarantine are counted exactly, and over runs", arguments: Backend.allCases)
  func countsBytes(backend: Backend) async throws {
    var wish = SpoolWish()
    let ids = (0..<3).map { numberedID($0) }
    var whole = SpoolUsage()
    try await backend.withSpool(wish) { (any) async throws in
      for id in ids { try await any.spool.put(id, numberedValue(1, bytes: 500)) }
      for id in ids[..<2] { try await any.spool.quarantine(id, reason: "a test") }
      whole = try await any.quarantineUsage
      #expect(whole.entries == 2 && whole.bytes > 1_000 && whole.bytes < 1_200)
    }
    // Exactly as much as is there, then room for a third that is one byte too small, then enough.
    for (limit, fits) in [(whole.bytes * 3 / 2 - 1, false), (whole.bytes * 3 / 2, true)] {
      wish.quarantineQuota = SpoolQuota(bytes: limit)
      try await backend.withSpool(wish) { (any) async throws in
        if fits {
          try await any.spool.quarantine(ids[2], reason: "a test")
          #expect(try await any.quarantineUsage == SpoolUsage(bytes: limit, entries: 3))
        } else {
          await expectFull { try await any.spool.quarantine(ids[2], reason: "a test") }
          #expect(try await any.quarantineUsage == whole)
        }
      }
    }
    // Over a limit that was lowered things go out, and nothing comes in.
    wish.quarantineQuota = SpoolQuota(bytes: 1)
    try await backend.withSpool(wish) { (any) async throws in
      #expect(try await any.quarantineUsage.entries == 3)
      try await any.spool.purgeQuarantined(ids[0])
      try await any.spool.restoreQuarantined(ids[1])
      #expect(try await any.quarantineUsage == SpoolUsage(bytes: whole.bytes / 2, entries: 1))
      await expectFull { try await any.spool.quarantine(ids[1], reason: "a test") }
      try await any.spool.purgeQuarantined(ids[2])
      #expect(try await any.quarantineUsage == SpoolUsage())
    }
  }

  @Test("What fails on the way leaves the count as it was", arguments: Backend.allCases)
  func failuresAreNotCounted(backend: Backend) async throws {
    var wish = SpoolWish()
    wish.quarantineQuota = SpoolQuota(entries: 1)
    try await backend.withSpool(wish) { (any) async throws in
      let (id, other) = (numberedID(1), numberedID(2))
      try await any.spool.put(id, [1])
      try await any.spool.put(other, [2])
      await expectError(.notFound) {
        try await any.spool.quarantine(numberedID(3), reason: "a test")
      }
      try await any.spool.quarantine(id, reason: "a test")
      try await any.spool.put(id, [3])
      await expectError(.conflict) { try await any.spool.restoreQuarantined(id) }
      #expect(try await any.quarantineUsage.entries == 1)
      try await any.spool.purgeQuarantined(id)
      try await any.spool.quarantine(other, reason: "a test")
      #expect(try await any.quarantineUsage.entries == 1)
    }
  }

  @Test("A default spool's quarantine holds 100,000 messages and 1 GiB")
  func defaults() {
    let expected = SpoolQuota(bytes: 1 << 30, entries: 100_000)
    #expect(SpoolSettings().quarantineQuota == expected)
    #expect(LocalDiskSettings().quarantineQuota == expected)
  }

  @Test("A drain worker's move that finds no room leaves the message, and says so")
  func claimedMessagesStay() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    var settings = SpoolSettings()
    settings.quarantineQuota = SpoolQuota(entries: 0)
    let spool = try await RocksSpool(store: store, name: "main", settings: settings)
    let id = numberedID(1)
    try await spool.put(id, [1])
    #expect(spool.claim(id))
    #expect(try await !store.blocking { try spool.quarantineBlocking(id, reason: "a test") })
    spool.release(id)
    #expect(try await spool.load(id) == [1])
    #expect(try await spool.quarantinedCount() == 0)
    // One that is gone needs no room.
    try await spool.remove(id)
    #expect(try await store.blocking { try spool.quarantineBlocking(id, reason: "a test") })
    try await store.close()
  }

  // MARK: Pairs

  @Test(
    "A-T-3: a pair whose body finds no room in quarantine stays whole in its spools",
    arguments: [true, false])
  func pairsStayWhole(inOneStore: Bool) async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    var full = SpoolSettings()
    full.quarantineQuota = SpoolQuota(entries: 1)
    let meta = try await RocksSpool(store: store, name: "meta")
    let data = try await RocksSpool(store: store, name: "data", settings: full)
    let pair =
      try inOneStore
      ? PairedSpool(meta: meta, data: data)
      : PairedSpool(meta: FaultySpool(meta), data: FaultySpool(data))
    for number in 0..<2 {
      try await pair.store(
        numberedID(number), meta: numberedMeta(number), data: numberedValue(number),
        forceSync: false, deadline: nil)
    }
    #expect(try await pair.quarantinedCount() == 0)
    try await pair.quarantine(numberedID(0), reason: "a test")
    #expect(try await pair.quarantinedCount() == 1)
    await expectError(.quotaExceeded) { try await pair.quarantine(numberedID(1), reason: "a test") }
    let found = try await pair.load(numberedID(1))
    #expect(found.meta == numberedMeta(1) && found.data == numberedValue(1))
    #expect(try await meta.quarantinedCount() == 1)
    #expect(try await data.quarantinedCount() == 1)
    #expect(try await meta.quarantineUsage().entries == 1)
    // With room both halves go.
    try await pair.purgeQuarantined(numberedID(0))
    try await pair.quarantine(numberedID(1), reason: "a test")
    #expect(try await pair.quarantinedCount() == 1)
    #expect(try await data.allIDs().isEmpty)
    try await store.close()
  }
}
