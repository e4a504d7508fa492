import Foundation
import SpindleCore
import SpindleOpLog
import SpindleStore
import Testing

@Suite(.serialized) struct OpLogCommandTests {
  /// Ingests ten batches of one producer and gives its peer.
  private func fill(_ place: Place) async throws -> String {
    let file = try place.file("a.lp", sampleLines(0..<100))
    _ = try await place.counts("--producer", "p", "--batch", "10", file)
    let rows = try await spindle("oplog", "cursors", "--store", place.store, "--json").objects()
    #expect(rows.first?["cursor"] as? Int == 10)
    return try #require(rows.first?["peer"] as? String)
  }

  @Test func verifyTellsASoundLogFromADamagedOne() async throws {
    try await withPlace { place in
      let peer = try await fill(place)
      let sound = try await spindle("oplog", "verify", "--store", place.store, "--json")
      #expect(sound.status == 0)
      let report = try sound.object()
      #expect(report["entries"] as? Int == 10 && report["findings"] as? [String] == [])
      try await withStore(place.store) { store in
        var batch = Batch()
        let id = try #require(PeerID(text: peer))
        batch.delete(try await store.family("oplog:ingest"), key: OpLogKeys.entry(id, 4))
        try await store.commit(batch, durability: .buffered)
      }
      let damaged = try await spindle("oplog", "verify", "--store", place.store)
      #expect(damaged.status == 2)
      #expect(damaged.text.contains("the log of peer \(peer) has a hole: indices 4 to 4\n"))
      let other = try await spindle("oplog", "verify", "--store", place.store, "--prefix", "x")
      other.expectRefusal("no op-log")
      for verb in ["cursors", "read", "trim"] {
        try await spindle("oplog", verb, "--store", place.store, "--prefix", "x")
          .expectRefusal("no op-log")
      }
    }
  }

  @Test func anExportedStoreIsTheSameWhereItIsImported() async throws {
    try await withPlace { place in
      let peer = try await fill(place)
      let before = try await place.sound()
      let file = place.directory + "/log"
      let exported = try await spindle("oplog", "export", "--store", place.store, "--json", file)
      #expect(exported.status == 0, "\(exported.problems)")
      #expect(try exported.object()["rows"] as? Int == 10)
      try await spindle("oplog", "export", "--store", place.store, file)
        .expectRefusal("cannot create")

      let copy = Place(directory: place.directory + "/copy")
      try FileManager.default.createDirectory(
        atPath: copy.directory, withIntermediateDirectories: true)
      let imported = try await spindle("oplog", "import", "--store", copy.store, file)
      #expect(imported.status == 0, "\(imported.problems)")
      #expect(imported.text.contains("imported 10 rows of 1 peers"))
      #expect(try await copy.sound() == before)
      try await spindle("oplog", "import", "--store", copy.store, file)
        .expectRefusal("holds something already")
      // The producer goes on in the copy where it was.
      let more = try place.file("a.lp", sampleLines(0..<120))
      let counts = try await copy.counts("--producer", "p", more)
      #expect(counts.already == 100 && counts.applied == 20)
      #expect(try await copy.sound().points > before.points)
      _ = peer

      var bytes = try Data(contentsOf: URL(fileURLWithPath: file))
      bytes[bytes.count / 2] ^= 1
      let bad = try place.file("bad", Array(bytes))
      let third = Place(directory: copy.directory)
      try await spindle(
        "oplog", "import", "--store", third.store, "--prefix", "other", bad
      ).expectRefusal("is damaged at byte")
      // What is no export leaves no store behind.
      let fourth = Place(directory: copy.directory + "/fourth")
      try await spindle(
        "oplog", "import", "--store", fourth.store, try place.file("text", "this was not exported")
      ).expectRefusal("is no exported op-log")
      // Nor does one that is damaged further on.
      try await spindle("oplog", "import", "--store", fourth.store, bad)
        .expectRefusal("is damaged at byte")
      #expect(!FileManager.default.fileExists(atPath: fourth.store))
    }
  }

  @Test func trimAndExpungeLeaveASoundStore() async throws {
    try await withPlace { place in
      let peer = try await fill(place)
      let before = try await place.sound()
      let none = try await spindle("oplog", "trim", "--store", place.store, "--json").object()
      #expect(none["rows"] as? Int == 0)
      let usage = try await spindle("oplog", "trim", "--store", place.store, "--force")
      #expect(usage.status == 64)
      let trimmed = try await spindle(
        "oplog", "trim", "--store", place.store, "--below", "4", "--force", "--json")
      #expect(try trimmed.object()["rows"] as? Int == 4, "\(trimmed.problems)")

      let expunged = try await spindle("oplog", "expunge", "--store", place.store, peer, "6")
      #expect(expunged.status == 0 && expunged.text.hasPrefix("expunged "))
      try await spindle("oplog", "expunge", "--store", place.store, peer, "3")
        .expectRefusal("trimmed away")
      try await spindle("oplog", "expunge", "--store", place.store, peer, "99")
        .expectRefusal("no entry at index 99")

      let rows = try await spindle("oplog", "read", "--store", place.store, "--json").objects()
      #expect(rows.map { $0["index"] as? Int } == Array(4..<10))
      #expect(rows[2]["expunged"] != nil && rows[2]["producer"] == nil)
      try await spindle("oplog", "read", "--store", place.store, "--from", "0")
        .expectRefusal("below index 4")
      let verified = try await spindle("oplog", "verify", "--store", place.store)
      #expect(verified.status == 0, "\(verified.text)")
      #expect(try await place.sound() == before)
      let more = try place.file("a.lp", sampleLines(0..<120))
      #expect(try await place.counts("--producer", "p", more).applied == 20)
      #expect(try await place.sound().points > before.points)
    }
  }

  @Test func readPrintsAllPagesAndOtherPeersWhereOneIsTrimmed() async throws {
    try await withPlace { place in
      let file = try place.file("a.lp", sampleLines(0..<3_000))
      _ = try await place.counts("--producer", "p", "--batch", "10", file)
      let short = try place.file("b.lp", sampleLines(0..<20))
      _ = try await place.counts("--producer", "q", "--batch", "10", short)
      let all = try await spindle(
        "oplog", "read", "--store", place.store, "--limit", "100000", "--json")
      #expect(try all.objects().count == 302)
      let some = try await spindle("oplog", "read", "--store", place.store, "--limit", "260")
      #expect(some.text.split(separator: "\n").count == 262)

      let cursors = try await spindle("oplog", "cursors", "--store", place.store, "--json")
      let row = try #require(try cursors.objects().first { $0["producer"] as? String == "p" })
      let peer = try #require(row["peer"] as? String)
      _ = try await spindle(
        "oplog", "trim", "--store", place.store, "--peer", peer, "--below", "4", "--force")
      let rest = try await spindle(
        "oplog", "read", "--store", place.store, "--from", "0", "--json")
      #expect(rest.status == 1 && rest.problems.contains("below index 4"))
      #expect(try rest.objects().map { $0["producer"] as? String } == ["q", "q"])
    }
  }

  @Test func followPrintsWhatIsThereAndWhatComes() async throws {
    try await withPlace { place in
      let peer = try await fill(place)
      let shut = try await spindle("oplog", "follow", "--store", place.store, "--json")
      #expect(shut.status == 0)
      #expect(shut.text.split(separator: "\n").count == 10)
      let some = try await spindle(
        "oplog", "follow", "--store", place.store, "--limit", "3", "--peer", peer)
      #expect(some.text.split(separator: "\n").count == 3)

      // While another process owns the store.
      try await withStore(place.store) { store in
        let log = try await LogIndexTracker<RecordedOp>(store: store, prefix: "ingest")
        let id = try #require(PeerID(text: peer))
        let running = try RunningCommand(
          [spindleProgram, "oplog", "follow", "--store", place.store, "--limit", "12", "--json"])
        for index in UInt64(10)..<12 {
          var batch = Batch()
          try log.trackOne(
            peer: id, index: index, timestamp: .zero, serverUser: nil,
            op: RecordedOp(tag: 1, key: nil, value: [1, 2, 3]), into: &batch)
          try await store.commit(batch, durability: .buffered)
        }
        let result = try await running.result()
        #expect(result.status == 0, "\(result.problems)")
        let lines = result.text.split(separator: "\n")
        #expect(lines.count == 12 && lines.last?.contains("\"index\":11,") == true)
      }
    }
  }
}
