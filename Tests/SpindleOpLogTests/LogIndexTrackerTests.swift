import SpindleCore
import SpindleOpLog
import SpindleStore
import Testing

@Suite struct LogIndexTrackerTests {
  // MARK: Opening

  @Test("O-1, O-2, O-3: a new log is empty; opening again keeps its rows")
  func initIsIdempotentAndKeepsRows() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        #expect(try await tracker.allCursors().isEmpty)
        try await tracker.add(store, peer(1), 0, Note("first"))
        let again = try await Tracker(store: store, prefix: "app")
        #expect(try await again.allCursors()[peer(1)] == 1)
      }
      try await place.withStore { store in
        #expect(store.familyNames.filter { $0.hasSuffix(":app") } == ["data:app", "oplog:app"])
        let tracker = try await Tracker(store: store, prefix: "app")
        let row = try await tracker.row(peer: peer(1), index: 0)
        #expect(row?.value == Array("first".utf8))
      }
    }
  }

  @Test func metaKeysAreWrittenOnce() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        place.wall.set(1_234)
        async let first = Tracker(store: store, prefix: "app")
        async let second = Tracker(store: store, prefix: "app")
        _ = try await (first, second)
        place.wall.set(9_999)
        let family = try await Tracker(store: store, prefix: "app").logFamily
        let format = try await store.get(family, key: [0] + Array("format".utf8))
        let prefix = try await store.get(family, key: [0] + Array("prefix".utf8))
        let created = try await store.get(family, key: [0] + Array("created".utf8))
        #expect(format == Array("2".utf8))
        #expect(prefix == Array("app".utf8))
        #expect(created == Array("1234".utf8))
      }
    }
  }

  @Test func newerFormatIsRefused() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        _ = try await Tracker(store: store, prefix: "app")
        try await damage(store, "app", key: OpLogKeys.formatKey, value: Array("3".utf8))
        await expectError(.unsupportedFormat) { _ = try await Tracker(store: store, prefix: "app") }
      }
    }
  }

  @Test(arguments: ["", "0", "01", "x", "-1", "99999999999999999999999"])
  func damagedFormatIsCorruption(text: String) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        _ = try await Tracker(store: store, prefix: "app")
        try await damage(store, "app", key: OpLogKeys.formatKey, value: Array(text.utf8))
        await expectError(.corruption) { _ = try await Tracker(store: store, prefix: "app") }
      }
    }
  }

  @Test func lostFormatAndForeignPrefixAreCorruption() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        _ = try await Tracker(store: store, prefix: "app")
        try await damage(store, "app", key: OpLogKeys.prefixKey, value: Array("apq".utf8))
        await expectError(.corruption) { _ = try await Tracker(store: store, prefix: "app") }
        try await damage(store, "app", key: OpLogKeys.formatKey, value: nil)
        await expectError(.corruption) { _ = try await Tracker(store: store, prefix: "app") }
      }
    }
  }

  @Test func familiesWithoutMetaKeysAreCompleted() async throws {
    try await withPlace { place in
      // What a crash between the creation of the families and the meta keys leaves.
      try await place.withStore { store in
        _ = try await store.family("data:app")
        _ = try await store.family("oplog:app")
      }
      try await place.withStore(.reader) { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        #expect(try await tracker.allCursors().isEmpty)
      }
      try await place.withStore { store in
        try await Tracker(store: store, prefix: "app").add(store, peer(1), 0)
        #expect(try await OpLogVerifier(store: store, prefix: "app").verify().entries == 1)
      }
    }
  }

  @Test func readerReadsAndCreatesNothing() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        try await tracker.add(store, peer(1), 0, Note("first"), user: someUser)
      }
      try await place.withStore(.reader) { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        #expect(try await tracker.allCursors() == PeerCursors([peer(1): 1]))
        #expect(try await tracker.readEntries(peer: peer(1), from: 0, limit: 5).count == 1)
        let families = store.familyNames
        await expectError(.notFound) { _ = try await Tracker(store: store, prefix: "other") }
        #expect(store.familyNames == families)
        await expectError(.unavailable) { try await tracker.add(store, peer(1), 1) }
      }
    }
  }

  @Test func invalidPrefixIsRefused() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        for prefix in ["", "a b", "a:b", "\u{e4}", String(repeating: "x", count: 65)] {
          await expectError(.invalidArgument) {
            _ = try await Tracker(store: store, prefix: prefix)
          }
        }
      }
    }
  }

  // MARK: Uniqueness

  @Test("O-6, O-7: a repeat is refused with all its batch, and the first row stays")
  func repeatIsRefusedWithAllItsBatchAndTheFirstRowStays() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        let clock = try await ClockService(store: store, prefix: "app")
        try await tracker.add(store, peer(1), 0, Note("first"), at: 5, user: someUser)
        let before = try await tracker.row(peer: peer(1), index: 0)

        var batch = Batch()
        batch.put(tracker.dataFamily, key: [1], value: [1])
        var stage = try clock.begin()
        let timestamp = try stage.now(into: &batch)
        try tracker.trackOne(
          peer: peer(2), index: 0, timestamp: timestamp, serverUser: nil, op: Note("other"),
          into: &batch)
        try tracker.trackOne(
          peer: peer(1), index: 0, timestamp: timestamp, serverUser: nil,
          op: Note("second", tag: 3), into: &batch)
        let refused = batch
        await expectError(.uniqueViolation, reason: "oplog") {
          try await store.commit(refused, durability: .synced)
        }
        clock.abandoned(stage)

        #expect(try await tracker.row(peer: peer(1), index: 0) == before)
        #expect(try await store.get(tracker.dataFamily, key: [1]) == nil)
        #expect(try await store.get(tracker.logFamily, key: OpLogKeys.clockKey) == nil)
        #expect(try await tracker.allCursors() == PeerCursors([peer(1): 1]))
      }
    }
  }

  @Test func identicalRepeatIsRefusedToo() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        try await tracker.add(store, peer(1), 0, Note("same"))
        await expectError(.uniqueViolation, reason: "oplog") {
          try await tracker.add(store, peer(1), 0, Note("same"))
        }
      }
      // The demand is checked against disk as well as memory.
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        await expectError(.uniqueViolation, reason: "oplog") {
          try await tracker.add(store, peer(1), 0, Note("same"))
        }
      }
    }
  }

  @Test("O-8: a batch that takes one index twice is refused")
  func repeatWithinOneBatchIsRefused() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        var batch = Batch()
        for text in ["a", "b"] {
          try tracker.trackOne(
            peer: peer(1), index: 0, timestamp: .zero, serverUser: nil, op: Note(text),
            into: &batch)
        }
        let refused = batch
        await expectError(.uniqueViolation, reason: "oplog") {
          try await store.commit(refused, durability: .buffered)
        }
        #expect(try await tracker.allCursors().isEmpty)
      }
    }
  }

  @Test("O-10, O-11: neither a marker nor an entry replaces the other")
  func markerOverEntryAndEntryOverMarkerAreRefused() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        try await tracker.add(store, peer(1), 0, Note("entry"))
        try await tracker.addMarker(store, peer(1), 1)
        await expectError(.uniqueViolation, reason: "oplog") {
          try await tracker.addMarker(store, peer(1), 0)
        }
        await expectError(.uniqueViolation, reason: "oplog") {
          try await tracker.add(store, peer(1), 1)
        }
        await expectError(.uniqueViolation, reason: "oplog") {
          try await tracker.addMarker(store, peer(1), 1)
        }
        let rows = try await tracker.readRows(peer: peer(1), from: 0, limit: 9)
        #expect(rows.map(\.row.isExpunged) == [false, true])
        #expect(rows.last?.row == OpLogRow(expunged: someHash))
      }
    }
  }

  @Test func ofManyConcurrentRepeatsExactlyOneIsTaken() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        let taken = await withTaskGroup(of: Bool.self) { group in
          for number in 0..<16 {
            group.addTask {
              (try? await tracker.add(store, peer(1), 0, Note("\(number)"))) != nil
            }
          }
          var count = 0
          for await success in group where success { count += 1 }
          return count
        }
        #expect(taken == 1)
      }
    }
  }

  @Test func uncommittedBatchLeavesNothing() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        var batch = Batch()
        try tracker.trackOne(
          peer: peer(1), index: 0, timestamp: .zero, serverUser: nil, op: Note("x"), into: &batch)
        #expect(batch.count == 1)
        #expect(try await tracker.cursor(of: peer(1)) == 0)
      }
    }
  }

  // MARK: Refusals at trackOne

  @Test("O-17, O-20, O-28: what cannot be recorded adds nothing to the batch")
  func refusedOpsAddNothingToTheBatch() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        func refuse(_ index: UInt64, _ op: Note, _ reason: String) async {
          var batch = Batch()
          await expectError(.invalidArgument, reason: reason) {
            try tracker.trackOne(
              peer: peer(1), index: index, timestamp: .zero, serverUser: nil, op: op, into: &batch)
          }
          #expect(batch.isEmpty)
        }
        await refuse(0, Note("x", tag: 255), "reserved_tag")
        await refuse(0, Note("unwritable"), "codec")
        await refuse(.max, Note("x"), "index_overflow")
        var batch = Batch()
        await expectError(.invalidArgument, reason: "index_overflow") {
          try tracker.trackExpunged(peer: peer(1), index: .max, hash: someHash, into: &batch)
        }
        #expect(batch.isEmpty)
      }
    }
  }

  // MARK: Isolation

  @Test("O-23: prefixes that start alike are isolated")
  func prefixesThatStartAlikeAreIsolated() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let app = try await Tracker(store: store, prefix: "app")
        let app2 = try await Tracker(store: store, prefix: "app2")
        let clock = try await ClockService(store: store, prefix: "app")
        try await app.add(store, peer(1), 0, Note("one"))
        try await app2.add(store, peer(1), 0, Note("two"))
        try await app2.add(store, peer(1), 1, Note("three"))
        var batch = Batch()
        var stage = try clock.begin()
        _ = try stage.now(into: &batch)
        try await store.commit(batch, durability: .buffered)
        clock.committed(stage)

        #expect(try await app.allCursors() == PeerCursors([peer(1): 1]))
        #expect(try await app2.allCursors() == PeerCursors([peer(1): 2]))
        #expect(try await app.row(peer: peer(1), index: 0)?.value == Array("one".utf8))
        #expect(try await app2.row(peer: peer(1), index: 0)?.value == Array("two".utf8))
        #expect(try await ClockService(store: store, prefix: "app2").latest == .zero)
        let latest = clock.latest
        _ = consume clock
        #expect(try await ClockService(store: store, prefix: "app").latest == latest)
      }
    }
  }
}
