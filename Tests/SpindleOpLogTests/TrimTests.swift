import SpindleCore
import SpindleOpLog
import SpindleStore
import Testing

/// Adds entries as links of their peers' chains.
func addChained(
  _ store: Store, _ tracker: Tracker, _ peer: PeerID, _ indices: Range<UInt64>
) async throws {
  var head = try await tracker.position(of: peer).head
  for index in indices {
    var batch = Batch()
    head = try tracker.trackOne(
      peer: peer, index: index, timestamp: Timestamp(packed: index + 1),
      serverUser: index % 2 == 0 ? someUser : nil, op: Note("entry \(index)"), following: head,
      into: &batch)
    try await store.commit(batch, durability: .buffered)
  }
  var clock: [UInt8] = []
  // Above the timestamp of every test's entries.
  clock.appendBigEndian(UInt64(1) << 20)
  try await damage(store, tracker.prefix, key: OpLogKeys.clockKey, value: clock)
}

func findings(_ store: Store, _ prefix: String = "app") async throws -> [String] {
  try await OpLogVerifier(store: store, prefix: prefix).verify().findings
}

@Suite struct TrimTests {
  private let settings = OpLogSettings(indexes: .all)

  /// Other replicas' chains began with the rows that are in none here, before a trim and after it.
  @Test(arguments: [[UInt64(3)], [4], [1, 4], [2, 3, 5], [6]])
  func aChainThatBeganLateStaysSo(floors: [UInt64]) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        var head: ChainHead?
        for index: UInt64 in 0..<6 {
          var batch = Batch()
          if index < 2 {
            try tracker.trackOne(
              peer: peer(1), index: index, timestamp: .zero, serverUser: nil, op: Note("x"),
              into: &batch)
          } else {
            head = try tracker.trackOne(
              peer: peer(1), index: index, timestamp: .zero, serverUser: nil, op: Note("x"),
              following: head, into: &batch)
          }
          try await store.commit(batch, durability: .buffered)
        }
        for floor in [0] + floors {
          _ = try await tracker.trim(below: PeerCursors([peer(1): floor]), forced: true)
          for index: UInt64 in 1...6 {
            #expect(try await tracker.chainHead(of: peer(1), before: index) == nil)
          }
          #expect(try await tracker.position(of: peer(1)).head == head)
        }
      }
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        #expect(try await tracker.chainHead(of: peer(1), before: 6) == nil)
        #expect(try await findings(store).filter { !$0.contains("clock") } == [])
      }
    }
  }

  @Test func theHeadAtAFloorIsKnown() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        var heads: [ChainHead?] = [.seed(of: peer(1))]
        for index: UInt64 in 0..<4 {
          var batch = Batch()
          heads.append(
            try tracker.trackOne(
              peer: peer(1), index: index, timestamp: .zero, serverUser: nil, op: Note("x"),
              following: heads[Int(index)], into: &batch))
          try await store.commit(batch, durability: .buffered)
        }
        _ = try await tracker.trim(below: PeerCursors([peer(1): 2]), forced: true)
        for index: UInt64 in 2...4 {
          #expect(try await tracker.chainHead(of: peer(1), before: index) == heads[Int(index)])
        }
        #expect(try await tracker.chainHead(of: peer(1), before: 1) == nil)
      }
    }
  }

  @Test func aTrimmedLogGoesOnWhereItWas() async throws {
    try await withPlace { place in
      var head: ChainHead?
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app", settings: settings)
        for peer in [zeroPeer, peer(1), lastPeer] {
          try await addChained(store, tracker, peer, 0..<10)
        }
        head = try await tracker.position(of: peer(1)).head
        let trim = try await tracker.trim(
          below: PeerCursors([zeroPeer: 4, peer(1): 99, peer(5): 3]), forced: true)
        #expect(trim.rows == 14)
        #expect(trim.floors == PeerCursors([zeroPeer: 4, peer(1): 10]))
      }
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        let expected = PeerCursors([zeroPeer: 10, peer(1): 10, lastPeer: 10])
        #expect(try await tracker.allCursors() == expected)
        #expect(try await tracker.cursor(of: peer(1)) == 10)
        #expect(try await tracker.position(of: peer(1)) == LogPosition(next: 10, head: head))
        #expect(try await tracker.allPositions()[peer(1)] == LogPosition(next: 10, head: head))
        #expect(try await tracker.floor(of: zeroPeer) == 4)
        let message = await expectError(.notFound, reason: "compacted") {
          _ = try await tracker.readEntries(peer: zeroPeer, from: 3, limit: 1)
        }
        #expect(message.contains("below index 4"))
        let rest = try await tracker.readRows(peer: zeroPeer, from: 4, limit: 99)
        #expect(rest.map(\.index) == Array(4..<10))
        #expect(try await tracker.readRows(peer: peer(1), from: 10, limit: 9).isEmpty)

        // A trimmed index is taken, and the next one continues the chain.
        await expectError(.uniqueViolation, reason: "oplog") {
          try await tracker.add(store, peer(1), 9)
        }
        await expectError(.uniqueViolation, reason: "oplog") {
          try await tracker.addMarker(store, zeroPeer, 0)
        }
        try await addChained(store, tracker, peer(1), 10..<12)
        #expect(try await findings(store) == [])

        // A second trim goes on from the first one's floor; a lower one changes nothing.
        let second = try await tracker.trim(
          below: PeerCursors([zeroPeer: 2, peer(1): 11]), forced: true)
        #expect(second.rows == 1)
        #expect(second.floors == PeerCursors([zeroPeer: 4, peer(1): 11]))
        #expect(try await findings(store) == [])
      }
      try await place.withStore(.reader) { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        #expect(try await tracker.allCursors()[peer(1)] == 12)
        #expect(try await tracker.floors() == PeerCursors([zeroPeer: 4, peer(1): 11]))
        await expectError(.notFound, reason: "compacted") {
          _ = try await tracker.readRows(peer: peer(1), from: 0, limit: 9)
        }
      }
    }
  }

  /// The floor is stored, the rows below it are still there: nobody sees them, and the next trim
  /// removes them with their index keys.
  @Test func rowsThatAnInterruptedTrimLeftAreNotSeen() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app", settings: settings)
        try await addChained(store, tracker, peer(1), 0..<10)
        try await addChained(store, tracker, peer(2), 0..<4)
        let row = try #require(try await tracker.row(peer: peer(1), index: 5))
        var floor: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 6]
        floor += try #require(row.chain).hash.bytes
        try await damage(store, "app", key: OpLogKeys.floor(peer(1)), value: floor)
        let last = try #require(try await tracker.row(peer: peer(2), index: 3)?.chain)
        try await damage(
          store, "app", key: OpLogKeys.floor(peer(2)),
          value: [0, 0, 0, 0, 0, 0, 0, 4] + last.hash.bytes)
      }
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        await expectError(.notFound, reason: "compacted") {
          _ = try await tracker.readRows(peer: peer(1), from: 5, limit: 1)
        }
        #expect(try await tracker.row(peer: peer(1), index: 5) == nil)
        #expect(try await tracker.recordedHash(peer: peer(1), index: 5) == nil)
        #expect(try await tracker.found(OpLogQuery(.everything)).map(\.index) == [6, 7, 8, 9])
        #expect(try await tracker.position(of: peer(2)).next == 4)
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(report.findings == [] && report.leftovers == 10)
        let trim = try await tracker.trim(below: PeerCursors(), forced: true)
        #expect(trim.rows == 10)
        let after = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(after.findings == [] && after.leftovers == 0 && after.peers == 2)
        #expect(after.entries == 4 && after.indexRows == 4 + 4 + 2)
      }
    }
  }

  @Test func nothingAboveTheLeastAcknowledgementIsTrimmed() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        try await addChained(store, tracker, peer(1), 0..<10)
        let all = PeerCursors([peer(1): 10])
        #expect(try await tracker.trim(below: all).rows == 0)
        try await tracker.acknowledge(replica: peer(8), cursors: PeerCursors([peer(1): 7]))
        try await tracker.acknowledge(replica: peer(9), cursors: PeerCursors([peer(1): 4]))
        #expect(try await tracker.trim(below: all).floors == PeerCursors([peer(1): 4]))
        // A replica that has nothing holds everything back; forgotten, it does not.
        try await tracker.acknowledge(replica: peer(9), cursors: PeerCursors([peer(1): 9]))
        try await tracker.acknowledge(replica: peer(7), cursors: PeerCursors())
        #expect(try await tracker.trim(below: all).rows == 0)
        try await tracker.forget(replica: peer(7))
        #expect(try await tracker.trim(below: all).floors == PeerCursors([peer(1): 7]))
        #expect(try await tracker.trim(below: all, forced: true).rows == 3)
        #expect(try await findings(store) == [])
      }
    }
  }

  /// More rows than one batch removes.
  @Test func longTrimsGoInBatches() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app", settings: settings)
        var batch = Batch()
        for index in 0..<UInt64(3_000) {
          try tracker.trackOne(
            peer: peer(1), index: index, timestamp: .zero, serverUser: nil, op: Note("x"),
            into: &batch)
        }
        try await store.commit(batch, durability: .buffered)
        #expect(
          try await tracker.trim(below: PeerCursors([peer(1): 2_999]), forced: true).rows == 2_999)
        #expect(try await tracker.readRows(peer: peer(1), from: 2_999, limit: 9).count == 1)
        #expect(try await tracker.found(OpLogQuery(.everything)).count == 1)
      }
    }
  }

  @Test func readingWhileTrimmingGivesRowsOrSaysCompacted() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        try await addChained(store, tracker, peer(1), 0..<400)
        async let trimming: Void = {
          for next in stride(from: UInt64(10), through: 400, by: 10) {
            _ = try await tracker.trim(below: PeerCursors([peer(1): next]), forced: true)
          }
        }()
        for from in stride(from: UInt64(0), to: 400, by: 5) {
          do {
            let rows = try await tracker.readRows(peer: peer(1), from: from, limit: 50)
            #expect(rows.map(\.index) == Array(from..<min(from + 50, 400)))
          } catch let error as SpindleError {
            #expect(error.reason == "compacted")
          }
        }
        try await trimming
        #expect(try await tracker.cursor(of: peer(1)) == 400)
      }
    }
  }
}

@Suite struct ExpungeTests {
  @Test func anExpungedEntryKeepsIndexHashAndChain() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(
          store: store, prefix: "app", settings: OpLogSettings(indexes: .all))
        try await addChained(store, tracker, peer(1), 0..<5)
        let before = try await tracker.position(of: peer(1))
        let hash = try #require(try await tracker.recordedHash(peer: peer(1), index: 2))
        #expect(try await tracker.expunge(peer: peer(1), index: 2) == hash)
        #expect(try await tracker.expunge(peer: peer(1), index: 2) == hash)

        let entries = try await tracker.readEntries(peer: peer(1), from: 2, limit: 1)
        #expect(entries.map(\.1) == [.expunged(hash)])
        #expect(try await tracker.recordedHash(peer: peer(1), index: 2) == hash)
        #expect(try await tracker.position(of: peer(1)) == before)
        try await tracker.expunge(peer: peer(1), index: 4)
        // Only the last entry's time is gone with it.
        let after = try await tracker.position(of: peer(1))
        #expect(after.next == before.next && after.head == before.head)
        #expect(try await tracker.found(OpLogQuery(.everything)).map(\.index) == [0, 1, 3])
        #expect(try await tracker.found(OpLogQuery(.user(someUser))).map(\.index) == [0])
        try await addChained(store, tracker, peer(1), 5..<6)
        #expect(try await findings(store) == [])
        await expectError(.notFound) { try await tracker.expunge(peer: peer(1), index: 6) }
        _ = try await tracker.trim(below: PeerCursors([peer(1): 3]), forced: true)
        await expectError(.notFound, reason: "compacted") {
          try await tracker.expunge(peer: peer(1), index: 2)
        }
        #expect(try await findings(store) == [])
      }
    }
  }
}
