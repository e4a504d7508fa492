import SpindleCore
import SpindleSpool
import SpindleStore
import Testing

/// The commands keep to the quota that an application gave its spool.
@Suite(.serialized) struct SpoolQuotaCommandTests {
  /// Lets an application use its spool.
  private func asApplication(
    _ place: Place, quota: SpoolQuota, _ body: (RocksSpool) async throws -> Void
  ) async throws {
    try await withStore(place.store) { store in
      var settings = SpoolSettings()
      settings.quota = quota
      try await body(try await RocksSpool(store: store, name: "main", settings: settings))
    }
  }

  @Test func anUnreadableQuotaHidesNoMessage() async throws {
    try await withPlace { place in
      var ids: [SpoolID] = []
      try await asApplication(place, quota: SpoolQuota(entries: 2)) { spool in
        ids.append(spool.makeID())
        try await spool.store(ids[0], [1, 2, 3], forceSync: false, deadline: nil)
      }
      try await withStore(place.store) { store in
        var batch = Batch()
        let family = try #require(store.existingFamily("default"))
        batch.put(family, key: Array("spool-quota:main".utf8), value: [9])
        try await store.commit(batch, durability: .buffered)
      }
      for words in [["list"], ["get", ids[0].description], ["verify"], ["stats", "--json"]] {
        let read = try await RunningCommand(
          [spindleProgram, "spool"] + words + ["--store", place.store]
        ).result()
        #expect(read.status == 0, "\(words) \(read.problems)")
        #expect(read.problems.contains("spindle: note: the recorded quota of the spool main is"))
        if words[0] == "stats" {
          let report = try read.object()
          #expect(report["messages"] as? Int == 1 && report["quotaEntries"] == nil)
        }
      }
      // Who would store does not know what is allowed.
      try await spindle("spool", "put", "--store", place.store, place.file("message", "hello"))
        .expectRefusal("the recorded quota of the spool main is damaged")
    }
  }

  @Test func putAndRestoreAreRefusedAtTheRecordedQuota() async throws {
    try await withPlace { place in
      let quota = SpoolQuota(bytes: 5_000, entries: 2)
      var ids: [SpoolID] = []
      try await asApplication(place, quota: quota) { spool in
        for _ in 0..<3 {
          let id = spool.makeID()
          try await spool.store(id, [1, 2, 3], forceSync: false, deadline: nil)
          ids.append(id)
          if ids.count == 1 { try await spool.quarantine(id, reason: "a test") }
        }
      }
      let message = try place.file("message", "hello")
      for _ in 0..<2 {
        try await spindle("spool", "put", "--store", place.store, message)
          .expectRefusal("the spool main may hold 2 messages and holds 2")
        try await spindle(
          "spool", "quarantine", "restore", "--store", place.store, ids[0].description
        ).expectRefusal("the spool main may hold 2 messages and holds 2")
      }
      let list = try await spindle("spool", "list", "--store", place.store)
      #expect(list.text == "\(ids[1])\n\(ids[2])\n")
      let report = try await spindle("spool", "stats", "--store", place.store, "--json").object()
      #expect(report["quotaBytes"] as? Int == 5_000 && report["quotaEntries"] as? Int == 2)
      #expect(report["messages"] as? Int == 2 && report["quarantined"] as? Int == 1)
      #expect(report["quarantinedBytes"] as? Int ?? 0 > 3)
      let text = try await spindle("spool", "stats", "--store", place.store).text
      #expect(text.contains("quota         5,000 bytes, 2 messages\n"), "\(text)")
      // With room both work.
      let removed = try await spindle(
        "spool", "remove", "--store", place.store, ids[1].description)
      #expect(removed.status == 0)
      let restored = try await spindle(
        "spool", "quarantine", "restore", "--store", place.store, ids[0].description)
      #expect(restored.status == 0, "\(restored.problems)")
      // The commands changed nothing of the record.
      try await asApplication(place, quota: quota) { #expect($0.usage?.entries == 2) }
      try await spindle("spool", "put", "--store", place.store, message)
        .expectRefusal("may hold 2 messages")
    }
  }

  @Test func aSpoolWithoutAQuotaTakesWhatFits() async throws {
    try await withPlace { place in
      try await asApplication(place, quota: SpoolQuota(entries: 0)) { _ in }
      try await asApplication(place, quota: SpoolQuota()) { _ in }
      let message = try place.file("message", "hello")
      let put = try await spindle("spool", "put", "--store", place.store, message)
      #expect(put.status == 0, "\(put.problems)")
      let report = try await spindle("spool", "stats", "--store", place.store, "--json").object()
      #expect(report["quotaBytes"] == nil && report["quotaEntries"] == nil)
    }
  }
}
