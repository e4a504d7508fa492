import SpindleCore
import SpindleOpLog
import SpindleStore
import Testing

@Suite struct ReadTests {
  // MARK: Cursors

  @Test("O-4, O-9: each peer has its own cursor, also after reopening")
  func cursorsOfManyPeersAreRightAlsoAfterReopen() async throws {
    try await withPlace { place in
      var expected = PeerCursors()
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        var batch = Batch()
        var peers = (0..<300).map { PeerID(UUIDValue(high: $0 % 7, low: $0 &* 0x9E37_79B9)) }
        peers += [zeroPeer, lastPeer, PeerID(UUIDValue(high: .max, low: .max - 1))]
        for (number, peer) in Set(peers).enumerated() {
          for index in 0..<UInt64(1 + number % 5) {
            try tracker.trackOne(
              peer: peer, index: index, timestamp: .zero, serverUser: nil, op: Note("x"),
              into: &batch)
          }
          expected.advance(peer, to: UInt64(1 + number % 5))
        }
        try await store.commit(batch, durability: .buffered)
        #expect(try await tracker.allCursors() == expected)
      }
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        // The clock's key follows the entries directly and must not end up among them.
        try await damage(
          store, "app", key: OpLogKeys.clockKey, value: [0, 0, 0, 0, 0, 0, 0, 9])
        let cursors = try await tracker.allCursors()
        #expect(cursors == expected)
        for (peer, next) in cursors.sorted { #expect(try await tracker.cursor(of: peer) == next) }
        #expect(try await tracker.cursor(of: peer(424_242)) == 0)
      }
    }
  }

  @Test("O-12: a marker takes its index")
  func markerTakesItsIndexInTheCursor() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        try await tracker.add(store, peer(1), 0)
        try await tracker.add(store, peer(1), 1)
        try await tracker.addMarker(store, peer(1), 2)
        #expect(try await tracker.cursor(of: peer(1)) == 3)
        #expect(try await tracker.allCursors()[peer(1)] == 3)
        let row = try #require(try await tracker.row(peer: peer(1), index: 2))
        #expect(row.tag == 255 && row.timestamp == .zero && row.serverUser == nil)
        #expect(row.key == nil && row.value == someHash.bytes)
      }
    }
  }

  @Test("O-16, O-18: indices and times beyond 2^63 keep their order")
  func indicesAndTimesBeyondTheSignedRangeKeepTheirOrder() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        let indices: [UInt64] = [0, 1 << 63 - 1, 1 << 63, .max - 1]
        for index in indices.reversed() {
          try await tracker.add(store, lastPeer, index, at: 1 << 63 + 5)
        }
        let rows = try await tracker.readRows(peer: lastPeer, from: 0, limit: 9)
        #expect(rows.map(\.index) == indices)
        #expect(rows.allSatisfy { $0.row.timestamp.packed == 1 << 63 + 5 })
        #expect(try await tracker.cursor(of: lastPeer) == .max)
        #expect(try await tracker.allCursors() == PeerCursors([lastPeer: .max]))
        let high = try await tracker.readEntries(peer: lastPeer, from: 1 << 63, limit: 9)
        #expect(high.map(\.0) == Array(indices.suffix(2)))
        #expect(try await tracker.readRows(peer: lastPeer, from: .max, limit: 9).isEmpty)
      }
    }
  }

  // MARK: Pages

  @Test("O-25, O-26: pages end where the log ends") func pagesEndWhereTheLogEnds() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        var batch = Batch()
        for index in 0..<UInt64(257) {
          for peer in [peer(1), peer(2)] {
            try tracker.trackOne(
              peer: peer, index: index, timestamp: Timestamp(packed: index), serverUser: nil,
              op: Note("\(index)"), into: &batch)
          }
        }
        try await store.commit(batch, durability: .buffered)
        func page(_ from: UInt64, _ limit: Int, of peer: PeerID = peer(1)) async throws -> [UInt64]
        {
          let entries = try await tracker.readEntries(peer: peer, from: from, limit: limit)
          let rows = try await tracker.readRows(peer: peer, from: from, limit: limit)
          #expect(rows.map(\.index) == entries.map(\.0))
          return entries.map(\.0)
        }
        #expect(try await page(3, 2) == [3, 4])
        #expect(try await page(0, 256) == Array(0..<256))
        #expect(try await page(256, 256) == [256])
        #expect(try await page(257, 256) == [])
        #expect(try await page(0, 0) == [])
        #expect(try await page(0, -1) == [])
        #expect(try await page(0, .max) == Array(0..<257))
        #expect(try await page(.max, 5) == [])
        #expect(try await page(0, 5, of: peer(3)) == [])
      }
    }
  }

  @Test("O-13, O-14, O-15: entries read back as given, empty or large")
  func entriesReadBackAsGiven() async throws {
    try await withPlace { place in
      let notes = [
        Note("with user"), Note(tag: 0, key: nil, value: nil), Note(tag: 254, key: [], value: []),
        Note(tag: 2, key: [0, 255], value: Array(repeating: 7, count: 1 << 20)),
      ]
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        for (index, note) in notes.enumerated() {
          try await tracker.add(
            store, peer(1), UInt64(index), note, at: UInt64(index),
            user: index == 0 ? someUser : nil)
        }
        try await tracker.addMarker(store, peer(1), 4)
      }
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        let entries = try await tracker.readEntries(peer: peer(1), from: 0, limit: 9)
        #expect(entries.count == 5)
        for (index, note) in notes.enumerated() {
          let expected = LogEntry(
            serverUser: index == 0 ? someUser : nil, timestamp: Timestamp(packed: UInt64(index)),
            op: note)
          #expect(entries[index].0 == UInt64(index))
          #expect(entries[index].1 == .logEntry(expected))
        }
        #expect(entries[4].1 == .expunged(someHash))
      }
    }
  }

  @Test("O-21, O-22: peers that differ in the last bit do not leak")
  func peersThatDifferInTheLastBitDoNotLeak() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        let peers = [peer(0xFE), peer(0xFF), peer(0x100), zeroPeer, lastPeer]
        for (number, peer) in peers.enumerated() {
          try await tracker.add(store, peer, 0, Note("\(number)"))
        }
        for (number, peer) in peers.enumerated() {
          let rows = try await tracker.readRows(peer: peer, from: 0, limit: 9)
          #expect(rows.map(\.row.value) == [Array("\(number)".utf8)])
        }
      }
    }
  }

  @Test func holesAreReturnedAsTheyAre() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        for index: UInt64 in [0, 1, 4] { try await tracker.add(store, peer(1), index) }
        #expect(
          try await tracker.readRows(peer: peer(1), from: 0, limit: 9).map(\.index) == [0, 1, 4])
        #expect(try await tracker.cursor(of: peer(1)) == 5)
      }
    }
  }

  // MARK: Damage

  @Test("O-27: a corrupt row names peer and index, and others stay readable")
  func corruptRowNamesPeerAndIndexAndOthersStayReadable() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        for index: UInt64 in 0..<3 {
          try await tracker.add(store, peer(1), index)
          try await tracker.add(store, peer(2), index)
        }
        var bytes = try #require(try await tracker.row(peer: peer(1), index: 1)).encoded
        bytes[1] |= 0x80
        try await damage(store, "app", key: OpLogKeys.entry(peer(1), 1), value: bytes)

        let message = await expectError(.corruption, reason: "corrupt_row") {
          _ = try await tracker.readEntries(peer: peer(1), from: 0, limit: 9)
        }
        #expect(message.contains("index 1 of peer \(peer(1))"))
        await expectError(.corruption, reason: "corrupt_row") {
          _ = try await tracker.readRows(peer: peer(1), from: 1, limit: 1)
        }
        await expectError(.corruption, reason: "corrupt_row") {
          _ = try await tracker.row(peer: peer(1), index: 1)
        }
        #expect(try await tracker.readRows(peer: peer(1), from: 2, limit: 9).count == 1)
        #expect(try await tracker.readEntries(peer: peer(2), from: 0, limit: 9).count == 3)
      }
    }
  }

  @Test func unknownOpIsToldAndStaysReadableAsARow() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        try await tracker.add(store, peer(1), 0, Note("future", tag: 9))
        let message = await expectError(.unsupportedFormat, reason: "codec") {
          _ = try await tracker.readEntries(peer: peer(1), from: 0, limit: 9)
        }
        #expect(message.contains("index 0 of peer \(peer(1))"))
        #expect(try await tracker.readRows(peer: peer(1), from: 0, limit: 9).first?.row.tag == 9)
      }
    }
  }

  @Test func damagedKeysAreErrorsNotTraps() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        try await damage(store, "app", key: OpLogKeys.entry(peer(1), .max), value: [])
        await expectError(.corruption) { _ = try await tracker.allCursors() }
        await expectError(.corruption) { _ = try await tracker.cursor(of: peer(1)) }
        try await damage(store, "app", key: OpLogKeys.entries(of: peer(2)), value: [])
        await expectError(.corruption, reason: "corrupt_key") { _ = try await tracker.allCursors() }
        await expectError(.corruption, reason: "corrupt_key") {
          _ = try await tracker.readRows(
            peer: peer(2), from: 0, limit: 1)
          _ = try await tracker.cursor(of: peer(2))
        }
      }
    }
  }

  @Test func closedStoreIsToldAsClosed() async throws {
    try await withPlace { place in
      let store = try await place.open()
      let tracker = try await Tracker(store: store, prefix: "app")
      try await store.close()
      await expectError(.closed) { _ = try await tracker.allCursors() }
      await expectError(.closed) {
        _ = try await tracker.readEntries(peer: peer(1), from: 0, limit: 1)
      }
    }
  }
}

@Suite struct PeerCursorsTests {
  @Test func cursorsOnlyRiseAndMergeByMaximum() {
    var left = PeerCursors([peer(1): 3, peer(2): 0, peer(3): 1])
    #expect(left.count == 2)
    left.advance(peer(1), to: 2)
    #expect(left[peer(1)] == 3)
    left.merge(PeerCursors([peer(1): 5, peer(3): 1, peer(4): 1 << 63]))
    #expect(left == PeerCursors([peer(1): 5, peer(3): 1, peer(4): 1 << 63]))
    #expect(left[peer(9)] == 0)
  }

  @Test func gapsAreWhatTheOtherHasMore() {
    let own = PeerCursors([peer(1): 3, peer(2): 7])
    let other = PeerCursors([peer(1): 5, peer(2): 6, peer(3): 1])
    let gaps = own.gaps(to: other)
    #expect(gaps.map(\.peer) == [peer(1), peer(3)])
    #expect(gaps.map(\.indices) == [3..<5, 0..<1])
  }
}
