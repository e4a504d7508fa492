import Foundation
import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// Logs and peers that are not there, logs of other programs and rows that were lost.
extension OpLogCommandTests {
  @Test func anImportKeepsThePrefixAndSparesTheIngestLog() async throws {
    try await withPlace { place in
      try await withStore(place.store) { store in
        let log = try await Processor<MaxRegister, LogIndexTracker<MaxRegisterOp>>(
          reducer: MaxRegister(), store: store, prefix: "records",
          selfID: PeerID(UUIDValue(high: 0, low: 7)))
        _ = try await log.exec(MaxRegisterOp("a", 1))
        await log.close()
      }
      let file = place.directory + "/log"
      let exported = try await spindle(
        "oplog", "export", "--store", place.store, "--prefix", "records", file)
      #expect(exported.status == 0, "\(exported.problems)")
      let copy = Place(directory: place.directory + "/copy")
      try FileManager.default.createDirectory(
        atPath: copy.directory, withIntermediateDirectories: true)
      try await spindle("oplog", "import", "--store", copy.store, "--prefix", "ingest", file)
        .expectRefusal("holds the op-log records", "takes only its own exports")
      #expect(!Files.exists(copy.store))
      let imported = try await spindle("oplog", "import", "--store", copy.store, file)
      #expect(imported.status == 0, "\(imported.problems)")
      let rows = try await spindle(
        "oplog", "cursors", "--store", copy.store, "--prefix", "records", "--json"
      ).objects()
      #expect(rows.count == 1 && rows[0]["cursor"] as? Int == 1)
      let lines = try place.file("a.lp", sampleLines(0..<20))
      #expect(try await copy.counts("--producer", "p", lines).applied == 20)
      // Also under another name, and an ingest log where it belongs.
      let other = try await spindle(
        "oplog", "import", "--store", copy.store, "--prefix", "other", file)
      #expect(other.status == 0, "\(other.problems)")
      let points = place.directory + "/points"
      _ = try await spindle("oplog", "export", "--store", copy.store, points)
      let third = Place(directory: copy.directory + "/third")
      try FileManager.default.createDirectory(
        atPath: third.directory, withIntermediateDirectories: true)
      let again = try await spindle(
        "oplog", "import", "--store", third.store, "--prefix", "ingest", points)
      #expect(again.status == 0, "\(again.problems)")
    }
  }

  @Test func aLogWithoutIngestedPointsIsEmptyForEveryVerb() async throws {
    try await withPlace { place in
      try await withStore(place.store) { _ in }
      for verb in ["cursors", "read", "index", "trim", "acks", "fence", "verify", "follow"] {
        let result = try await spindle("oplog", verb, "--store", place.store)
        #expect(result.status == 0 && result.problems.isEmpty, "\(verb): \(result.problems)")
        try await spindle("oplog", verb, "--store", place.store, "--prefix", "other")
          .expectRefusal("the store has no op-log other")
      }
      let found = try await spindle("oplog", "verify", "--store", place.store, "--json").object()
      #expect(found["entries"] as? Int == 0 && (found["findings"] as? [String])?.isEmpty == true)
      let file = place.directory + "/empty"
      let exported = try await spindle("oplog", "export", "--store", place.store, "--json", file)
      #expect(exported.status == 0, "\(exported.problems)")
      #expect(try exported.object()["rows"] as? Int == 0)
      let copy = Place(directory: place.directory + "/copy")
      try FileManager.default.createDirectory(
        atPath: copy.directory, withIntermediateDirectories: true)
      let imported = try await spindle("oplog", "import", "--store", copy.store, file)
      #expect(imported.status == 0, "\(imported.problems)")
      #expect(try await spindle("oplog", "verify", "--store", copy.store).status == 0)
      try await spindle("oplog", "export", "--store", place.store, file + "2", "--prefix", "other")
        .expectRefusal("the store has no op-log other")
      #expect(!Files.exists(file + "2"))
    }
  }

  @Test func followWaitsForTheFirstPoints() async throws {
    try await withPlace { place in
      let id = PeerID(UUIDValue(high: 0, low: 7))
      try await withStore(place.store) { store in
        let running = try ["--json", "--new"].map {
          try RunningCommand(
            [spindleProgram, "oplog", "follow", "--store", place.store, "--limit", "2", $0])
        }
        // Each says so when it has opened the store, and waits from then on.
        for command in running {
          try await eventually { try command.problemsSoFar().contains("is running this store") }
        }
        let log = try await LogIndexTracker<RecordedOp>(store: store, prefix: "ingest")
        for index in UInt64(0)..<2 {
          var batch = Batch()
          try log.trackOne(
            peer: id, index: index, timestamp: .zero, serverUser: nil,
            op: RecordedOp(tag: 1, key: nil, value: [1, 2, 3]), into: &batch)
          try await store.commit(batch, durability: .buffered)
        }
        for command in running {
          let result = try await command.result()
          #expect(result.status == 0, "\(result.problems)")
          #expect(result.text.split(separator: "\n").count == 2)
          #expect(result.problems.split(separator: "\n").count == 1, "\(result.problems)")
        }
      }
    }
  }

  @Test func trimmingAPeerThatIsNotThereIsAnError() async throws {
    try await withPlace { place in
      let nobody = String(repeating: "0", count: 31) + "9"
      try await withStore(place.store) { _ in }
      try await spindle("oplog", "trim", "--store", place.store, "--peer", nobody)
        .expectRefusal("has no entries of peer")
      let peer = try await fill(place)
      for rest in [[], ["--below", "3"], ["--below", "3", "--force"]] {
        try await RunningCommand(
          [spindleProgram, "oplog", "trim", "--store", place.store, "--peer", nobody] + rest
        ).result().expectRefusal("the op-log ingest has no entries of peer")
      }
      let trimmed = try await spindle(
        "oplog", "trim", "--store", place.store, "--peer", peer, "--below", "3", "--force")
      #expect(trimmed.text.contains("removed 3 rows"))
    }
  }

  /// As a recovery may leave a log: what is offered is neither there nor can it be taken.
  @Test func anExportForALogWithALostRowAddsNothing() async throws {
    try await withPlace { place in
      let peer = try await fill(place)
      let file = place.directory + "/log"
      _ = try await spindle("oplog", "export", "--store", place.store, file)
      try await withStore(place.store) { store in
        var batch = Batch()
        batch.delete(
          try await store.family("oplog:ingest"),
          key: OpLogKeys.entry(try #require(PeerID(text: peer)), 3))
        try await store.commit(batch, durability: .buffered)
      }
      try await spindle("oplog", "import", "--store", place.store, "--add", file)
        .expectRefusal("has lost the entry at index 3")
    }
  }
}
