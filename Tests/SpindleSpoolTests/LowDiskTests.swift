import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// A spool whose disk is fuller than its store allows. Fails where no disk can be mounted.
@Suite("A disk that is nearly full", .temporaryDirectory, .serialized)
struct LowDiskTests {
  @Test("A-DF-5: a store below its floor is drained by removals, and so opens its gate itself")
  func removalsDrain() async throws {
    try await withSmallDisk(bytes: 48 << 20) { (disk) async throws in
      var settings = StoreSettings.small
      settings.capacityFloor.bytes = .max
      settings.capacityFloor.percent = 50
      settings.ballastBytes = 0
      let store = try await Store.open(
        at: disk.path + "/store", settings: settings, access: .owner, clock: SystemClock(),
        hooks: .manual)
      var spoolSettings = SpoolSettings()
      spoolSettings.quota = SpoolQuota(entries: 10_000)
      let spool = try await RocksSpool(store: store, name: "main", settings: spoolSettings)
      let plain = try await RocksSpool(store: store, name: "plain")
      let aside = spool.makeID()
      try await spool.put(aside, [1])
      try await spool.quarantine(aside, reason: "a test")
      var ids: [SpoolID] = []
      while spool.unhealthyReason == nil {
        try #require(ids.count < 1_000, "the floor was never met")
        for spool in [spool, plain] {
          let id = spool.makeID()
          try await spool.put(id, payload(ids.count, bytes: 100_000))
          ids.append(id)
        }
        try await store.checkHealth()
      }
      for spool in [spool, plain] {
        await expectError(.unavailable) { try await spool.put(spool.makeID(), [1]) }
        await expectError(.unavailable) { try await spool.put(ids[0], [1], forceSync: true) }
      }
      // It writes the message once more before it deletes it.
      await expectError(.unavailable) { try await spool.quarantine(ids[0], reason: "a test") }
      #expect(try await spool.load(ids[0]).count == 100_000)
      try await spool.purgeQuarantined(aside)
      for id in ids {
        try await spool.remove(id)
        try await plain.remove(id)
      }
      for spool in [spool, plain] { #expect(try await spool.allIDs() == []) }
      #expect(spool.usage == SpoolUsage())
      for spool in [spool, plain] { try await spool.compact() }
      // A log is deleted once no family has the last copy of anything in it.
      for name in store.familyNames {
        let family = try #require(store.existingFamily(name))
        try await store.blocking { try store.database.flush(family.columnFamily) }
      }
      // The files are deleted on a thread of RocksDB.
      try await eventually {
        try await store.checkHealth()
        return store.health.unhealthyReason == nil
      }
      try await spool.put(ids[0], [1])
      try await store.close()
    }
  }
}
