import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

/// What was synced survives a power loss; see `copyAsAfterPowerLoss`.
@Suite(.temporaryDirectory) struct PowerLossTests {
  /// Commits numbers in order, each into both families, some synced; remembers the last synced one.
  private func write(
    _ store: Store, _ families: [StoreFamily], _ numbers: Range<Int>,
    random: inout SeededGenerator, valueBytes: Int
  ) async throws -> Int? {
    var lastSynced: Int?
    for number in numbers {
      var batch = Batch()
      for family in families {
        batch.put(
          family, key: numberedKey(number), value: numberedValue(number, bytes: valueBytes))
      }
      let isSynced = UInt64.random(in: 0..<5, using: &random) == 0
      try await store.commit(batch, durability: isSynced ? .synced : .buffered)
      if isSynced { lastSynced = number }
    }
    return lastSynced
  }

  @Test(arguments: 0..<(6 * soakFactor))
  func syncedBatchesSurviveAndTheLossIsASuffix(seed: Int) async throws {
    var random = SeededGenerator(seed: UInt64(seed))
    var settings = StoreSettings.small
    // Odd seeds: several logs, tiny buffers.
    if seed % 2 == 1 {
      settings.database.writeBufferBytes = 256 << 10
      settings.database.writeAheadLogBytes = 1 << 20
    }
    let path = try TestDirectory.path("store")
    let store = try await Store.small(at: path, settings: settings)
    let families = [try await store.family("spool:a"), try await store.family("oplog:a")]
    var lastSynced = -1
    var next = 0
    for round in 0..<4 {
      let count = Int.random(in: 1..<150, using: &random)
      let synced = try await write(
        store, families, next..<(next + count), random: &random,
        valueBytes: seed % 2 == 1 ? 2000 : 100)
      lastSynced = synced ?? lastSynced
      next += count
      // One family's data leave the log; the other's stay.
      if seed % 3 == 2, round == 1 {
        try await store.flush(families[0])
        lastSynced = next - 1
      }
      _ = try await store.blocking {
        try store.database.waitForCompaction(idleMilliseconds: 2)
      }
      let place = path + "-\(round)"
      try store.copyAsAfterPowerLoss(to: place)
      let again = try await Store.small(at: place, settings: settings)
      let found = try await again.numbers(again.family("spool:a"))
      #expect(found == Array(0..<found.count))
      #expect(found.count > lastSynced)
      #expect(found.count <= next)
      // Batches are whole across families.
      #expect(try await again.numbers(again.family("oplog:a")) == found)
      try await again.close()
    }
    try await store.close()
  }

  @Test func powerLossDuringASyncKeepsWhatWasSyncedBefore() async throws {
    let path = try TestDirectory.path("store")
    let gate = SyncGate()
    var hooks = StoreHooks.manual
    hooks.beforeSync = { gate.wait() }
    let store = try await Store.small(at: path, hooks: hooks)
    let family = try await store.family("spool:a")
    for number in 0..<10 { try await store.put(family, number, .synced) }
    gate.shut()
    let syncing = Task { try await store.put(family, 10, .synced) }
    try await eventually { try await store.get(family, key: numberedKey(10)) != nil }
    try store.copyAsAfterPowerLoss(to: path + "-crashed")
    gate.open()
    try await syncing.value
    try await store.close()
    let again = try await Store.small(at: path + "-crashed")
    #expect(try await again.numbers(again.family("spool:a")) == Array(0..<10))
    try await again.close()
  }

  @Test func synchronizeMakesEverythingBeforeItDurable() async throws {
    let path = try TestDirectory.path("store")
    let store = try await Store.small(at: path)
    let family = try await store.family("spool:a")
    for number in 0..<10 { try await store.put(family, number) }
    try await store.synchronize()
    try await store.put(family, 10)
    try store.copyAsAfterPowerLoss(to: path + "-crashed")
    try await store.close()
    let again = try await Store.small(at: path + "-crashed")
    #expect(try await again.numbers(again.family("spool:a")) == Array(0..<10))
    try await again.close()
  }

  @Test func aLogThatLostItsSyncedEndIsRefused() async throws {
    let path = try TestDirectory.path("store")
    let store = try await Store.small(at: path)
    let family = try await store.family("spool:a")
    var ends: [Int] = []
    for number in 0..<10 {
      try await store.put(family, number, .synced)
      ends.append(Int(try #require(store.guardian?.logSizes.last).syncedBytes))
    }
    // Cut at the end of a whole record: only the high-water mark can tell.
    try copyFolder(path, to: path + "-cut") { name, bytes in
      name.hasSuffix(".log") ? Array(bytes.prefix(ends[7])) : bytes
    }
    try await store.close()
    let before = try FolderState(of: path + "-cut").without("owner.pid")
    let error = await refusal { _ = try await Store.small(at: path + "-cut") }
    #expect(error?.kind == .corruption)
    #expect(error?.message.contains("lost its end") == true)
    #expect(try FolderState(of: path + "-cut").without("owner.pid") == before)
  }

  @Test func aTornHighWaterMarkIsNoMark() async throws {
    let path = try TestDirectory.path("store")
    let store = try await Store.small(at: path)
    let family = try await store.family("spool:a")
    for number in 0..<10 { try await store.put(family, number, .synced) }
    let mark = try Files.read(path + "/HIGHWATER")
    #expect(mark.count == 12)
    for cut in 0..<12 {
      try copyFolder(path, to: path + "-\(cut)") { name, bytes in
        name == "HIGHWATER" ? Array(bytes.prefix(cut)) : bytes
      }
      let again = try await Store.small(at: path + "-\(cut)")
      #expect(try await again.numbers(again.family("spool:a")) == Array(0..<10))
      try await again.close()
    }
    // A flipped bit must not become a higher mark.
    for bit in 0..<96 {
      var flipped = mark
      flipped[bit / 8] ^= 1 << (bit % 8)
      try writeFile(flipped, to: path + "/HIGHWATER")
      #expect(StoreDirectory(path).readHighWater() == nil)
      try writeFile(mark, to: path + "/HIGHWATER")
    }
    try await store.close()
  }
}
