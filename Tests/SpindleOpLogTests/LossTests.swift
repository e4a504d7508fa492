import SpindleCore
import SpindleOpLog
import SpindleStore
import Testing

/// Rows that are gone without leaving a hole.
@Suite struct LossTests {
  private func report(_ store: Store) async throws -> OpLogReport {
    try await OpLogVerifier(store: store, prefix: "app").verify()
  }

  private func lose(_ store: Store, _ peer: PeerID, _ indices: Range<UInt64>) async throws {
    for index in indices {
      try await damage(store, "app", key: OpLogKeys.entry(peer, index), value: nil)
    }
  }

  @Test func lossOfTheNewestRowsShowsInAcknowledgements() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        for peer in [peer(1), peer(2)] {
          for index in 0..<UInt64(10) { try await tracker.add(store, peer, index, at: 0) }
        }
        try await tracker.acknowledge(
          replica: peer(9), cursors: PeerCursors([peer(1): 8, peer(2): 3]))
        #expect(try await report(store).findings == [])
        try await lose(store, peer(1), 8..<10)
        // Nothing tells of these two.
        #expect(try await report(store).findings == [])
        try await lose(store, peer(1), 7..<8)
        #expect(
          try await report(store).findings == [
            "replica \(peer(9)) has acknowledged the log of peer \(peer(1)) up to index 8, and it "
              + "ends at 7: the newest entries are lost"
          ])
        // A whole peer.
        try await lose(store, peer(2), 0..<10)
        let found = try await report(store).findings
        #expect(found.count == 2 && found[1].contains("peer \(peer(2)) up to index 3, and it ends"))
      }
    }
  }

  @Test func trimmedPeersAreNotLost() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        for index in 0..<UInt64(10) { try await tracker.add(store, peer(1), index, at: 0) }
        try await tracker.acknowledge(replica: peer(9), cursors: PeerCursors([peer(1): 10]))
        _ = try await tracker.trim(below: PeerCursors([peer(1): 10]))
        #expect(try await report(store).findings == [])
      }
    }
  }

  @Test func lossShowsInTokensAndTheClock() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await Registers(
          reducer: TestReducer(), store: store, prefix: "app", selfID: me)
        for number in UInt64(0)..<5 {
          try await log.exec(
            MaxRegisterOp("x", number), token: IdempotencyToken("token \(number)"))
        }
        try await log.exec([MaxRegisterOp("x", 7), MaxRegisterOp("x", 8)])
        let sound = try await report(store)
        #expect(sound.findings == [] && sound.notes == [])
        await log.close()
        // The last call had no token: its loss leaves the clock behind only.
        try await lose(store, me, 5..<7)
        let hint = try await report(store)
        #expect(hint.findings == [] && hint.notes.count == 1)
        #expect(hint.notes.first?.contains("clock register") == true)
        try await lose(store, me, 3..<5)
        let lost = try await report(store)
        #expect(
          lost.findings
            == [3, 4].map {
              "no peer's log holds the entries of the idempotency token of index \($0): the newest "
                + "entries are lost"
            })
        // Another entry in its place is no proof.
        let tracker = try await Tracker(store: store, prefix: "app")
        try await tracker.add(store, me, 3, at: 1)
        #expect(try await report(store).findings.count >= 2)
      }
    }
  }

  @Test func aFenceAboveTheEndIsANote() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        for index in 0..<UInt64(3) { try await tracker.add(store, peer(1), index, at: 0) }
        try await tracker.raiseFence(of: peer(1), to: 3)
        #expect(try await report(store).notes == [])
        try await tracker.raiseFence(of: peer(1), to: 5)
        let found = try await report(store)
        #expect(found.findings == [] && found.notes.count == 1)
        #expect(found.notes.first?.contains("up to index 5 elsewhere and ends at 3") == true)
      }
    }
  }
}
