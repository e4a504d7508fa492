import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleRocks
import SpindleStore
import Testing

@Suite struct OpLogVerifierTests {
  /// Three peers of ten entries each, the clock in step.
  private func fill(_ store: Store, valueBytes: Int = 10) async throws -> Tracker {
    let tracker = try await Tracker(store: store, prefix: "app")
    let clock = try await ClockService(store: store, prefix: "app")
    for index in 0..<UInt64(10) {
      var batch = Batch()
      var stage = try clock.begin()
      for peer in [zeroPeer, peer(5), lastPeer] {
        let text = String(repeating: "v", count: valueBytes)
        try tracker.trackOne(
          peer: peer, index: index, timestamp: try stage.now(into: &batch), serverUser: nil,
          op: Note(text), into: &batch)
      }
      try await store.commit(batch, durability: .buffered)
      clock.committed(stage)
    }
    return tracker
  }

  @Test func soundLogHasNoFindings() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await fill(store)
        try await tracker.addMarker(store, peer(5), 10)
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(report.findings == [])
        #expect((report.peers, report.entries, report.markers) == (3, 30, 1))
      }
      try await place.withStore(.reader) { store in
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(report.findings == [] && report.entries == 30)
        await expectError(.notFound) { _ = try OpLogVerifier(store: store, prefix: "other") }
      }
    }
  }

  @Test func everyInjectedFaultIsFoundInOneWalk() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await fill(store)
        // Holes at the start and in the middle, a flipped version byte, a clock set back, a key of
        // the wrong length, an unknown subspace, a lost prefix.
        try await damage(store, "app", key: OpLogKeys.entry(zeroPeer, 0), value: nil)
        for index: UInt64 in 3...5 {
          try await damage(store, "app", key: OpLogKeys.entry(peer(5), index), value: nil)
        }
        var bytes = try #require(try await tracker.row(peer: lastPeer, index: 4)).encoded
        bytes[0] ^= 0x40
        try await damage(store, "app", key: OpLogKeys.entry(lastPeer, 4), value: bytes)
        try await damage(store, "app", key: OpLogKeys.clockKey, value: [0, 0, 0, 0, 0, 0, 0, 1])
        try await damage(store, "app", key: OpLogKeys.entries(of: peer(6)), value: [])
        try await damage(store, "app", key: [0x77, 1], value: [])
        try await damage(store, "app", key: OpLogKeys.prefixKey, value: nil)

        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        let greatest = try #require(try await tracker.row(peer: lastPeer, index: 9)).timestamp
        #expect(
          report.findings == [
            "the log of peer \(zeroPeer) has a hole: indices 0 to 0",
            "the log of peer \(peer(5)) has a hole: indices 3 to 5",
            "a key among the entries has 17 bytes; expected 25",
            "the row at index 4 of peer \(lastPeer) is damaged: record version 65 is unknown",
            "a key lies in the unknown subspace 0x77",
            "the clock register 0.1 is below the greatest timestamp \(greatest), that of index 9 "
              + "of peer \(lastPeer)",
            "the op-log app is damaged: its prefix key names another prefix or is absent",
          ])
        #expect(report.entries == 25)
      }
    }
  }

  @Test func absentRegisterAndMetaAreFound() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        _ = try await fill(store)
        for key in [
          OpLogKeys.clockKey, OpLogKeys.formatKey, OpLogKeys.prefixKey, OpLogKeys.createdKey,
        ] {
          try await damage(store, "app", key: key, value: nil)
        }
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(report.findings.count == 2)
        #expect(report.findings.first?.hasPrefix("the clock register is absent") == true)
        #expect(report.findings.last == "the format key is absent")
      }
    }
  }

  @Test func findingsAreBounded() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        var batch = Batch()
        for number in 0..<UInt64(OpLogReport.findingLimit + 7) {
          try tracker.trackExpunged(peer: peer(number), index: 1, hash: someHash, into: &batch)
        }
        try await store.commit(batch, durability: .buffered)
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(report.findings.count == OpLogReport.findingLimit + 1)
        #expect(report.findings.last == "7 more findings are not listed")
      }
    }
  }

  /// A byte flipped on disk within one peer's rows costs that peer's rest, and the walk goes on
  /// with the next peer.
  @Test func flippedByteOnDiskIsFoundAndTheWalkGoesOn() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        _ = try await fill(store, valueBytes: 8_000)
        let family = try #require(store.database.columnFamily(named: "oplog:app"))
        try store.database.flush(family)
      }
      let tables = try Files.names(in: place.path + "/rocks").filter { $0.hasSuffix(".sst") }
      let files = try tables.map { name in
        let path = place.path + "/rocks/" + name
        return (path: path, bytes: try Files.read(path, limit: 1 << 24))
      }
      var table = try #require(files.max { $0.bytes.count < $1.bytes.count })
      // Thirty rows of 8,000 bytes, a block each, in the order of the peers: row 15 is the sixth of
      // the second peer.
      table.bytes[15 * 8_000 + 4_000] ^= 1
      try Files.writeAtomically(table.bytes, to: table.path)

      try await place.withStore(.reader) { store in
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(report.findings.count == 1)
        let finding = try #require(report.findings.first)
        #expect(finding.hasPrefix("the rows of peer \(peer(5)) from index"), "\(finding)")
        #expect(report.peers == 3)
        #expect(report.entries >= 20 && report.entries < 30)
        let tracker = try await Tracker(store: store, prefix: "app")
        await expectError(.corruption) {
          _ = try await tracker.readRows(peer: peer(5), from: 0, limit: 10)
        }
        #expect(try await tracker.readRows(peer: lastPeer, from: 0, limit: 99).count == 10)
      }
    }
  }
}
