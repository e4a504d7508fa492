import Foundation
import SpindleCore
import SpindleOpLog
import SpindleRocks
import SpindleStore
import Testing

@Suite(.serialized) struct OpLogCommandTests {
  /// Ingests ten batches of one producer and gives its peer.
  func fill(_ place: Place) async throws -> String {
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

  /// Changes a byte in the middle of the newest file with a suffix that holds something.
  private func flip(_ place: Place, _ suffix: String) throws {
    let rocks = place.store + "/rocks"
    let names = try FileManager.default.contentsOfDirectory(atPath: rocks).sorted()
    for name in names.reversed() where name.hasSuffix(suffix) {
      var content = try bytes(of: rocks + "/" + name)
      if content.count < 100 { continue }
      content[content.count / 2] ^= 0x01
      _ = try place.file("store/rocks/" + name, content)
      return
    }
    Issue.record("there is no file \(suffix)")
  }

  /// A copy of a store as it was while it ran, with records in its log.
  private func killed(_ place: Place) async throws -> Place {
    let copy = Place(directory: place.directory + "/killed")
    try FileManager.default.createDirectory(
      atPath: copy.directory, withIntermediateDirectories: true)
    try await withStore(place.store) { store in
      let family = try await store.family("data:ingest")
      for number in UInt8(0)..<20 {
        var batch = Batch()
        batch.put(family, key: [0x7F, number], value: Array(repeating: number, count: 500))
        try await store.commit(batch, durability: .synced)
      }
      try FileManager.default.copyItem(atPath: place.store, toPath: copy.store)
    }
    return copy
  }

  private enum Fault: CaseIterable { case hole, log, table, clock, index }

  @Test(arguments: Fault.allCases) private func verifyNamesEachFaultAndExits2(
    _ fault: Fault
  ) async throws {
    try await withPlace { whole in
      var place = whole
      let peer = try await fill(place)
      let id = try #require(PeerID(text: peer))
      try await withStore(place.store) { store in
        let family = try await store.family("oplog:ingest")
        var batch = Batch()
        switch fault {
        case .hole: batch.delete(family, key: OpLogKeys.entry(id, 4))
        case .clock:
          batch.put(family, key: OpLogKeys.clockKey, value: [0, 0, 0, 0, 0, 0, 0, 1])
        case .index:
          let key = OpLogIndexKey(
            subject: .time, timestamp: Timestamp(packed: 7), peer: id, index: 3)
          batch.put(family, key: key.bytes, value: [])
        case .table: try await store.blocking { try store.database.flush(family.columnFamily) }
        case .log: break
        }
        try await store.commit(batch, durability: .buffered)
      }
      if fault == .log { place = try await killed(place) }
      if fault == .log { try flip(place, ".log") }
      if fault == .table { try flip(place, ".sst") }
      let result = try await spindle("oplog", "verify", "--store", place.store, "--json")
      #expect(result.status == 2, "\(result.text) \(result.problems)")
      let findings = try #require(try result.object()["findings"] as? [String])
      #expect(findings.count == 1, "\(findings)")
      let finding = findings.first ?? ""
      switch fault {
      case .hole: #expect(finding == "the log of peer \(peer) has a hole: indices 4 to 4")
      case .log: #expect(finding.contains(".log"), "\(finding)")
      case .table: #expect(finding.contains("cannot be read"), "\(finding)")
      case .clock: #expect(finding.hasPrefix("the clock register 0.1 is below"), "\(finding)")
      case .index:
        #expect(
          finding == "the index by time has a key for index 3 of peer \(peer), which holds no such "
            + "entry")
      }
      let text = try await spindle("oplog", "verify", "--store", place.store)
      #expect(text.status == 2 && text.text.contains(finding + "\n"))
    }
  }

  @Test func acknowledgementsAreListedSetAndForgotten() async throws {
    try await withPlace { place in
      let peer = try await fill(place)
      let replica = String(repeating: "0", count: 31) + "9"
      let none = try await spindle("oplog", "acks", "list", "--store", place.store, "--json")
      #expect(try none.objects().isEmpty)
      let set = try await spindle(
        "oplog", "acks", "set", "--store", place.store, "--replica", replica, "--peer", peer,
        "--cursor", "6")
      #expect(set.status == 0 && set.text.contains("up to index 6"), "\(set.problems)")
      let rows = try await spindle("oplog", "acks", "--store", place.store, "--json").objects()
      #expect(rows.count == 1 && rows[0]["replica"] as? String == replica)
      #expect(rows[0]["peer"] as? String == peer && rows[0]["cursor"] as? Int == 6)
      let again = try await spindle(
        "oplog", "acks", "set", "--store", place.store, "--replica", replica, "--peer", peer,
        "--cursor", "4", "--json"
      ).object()
      #expect(again["replica"] as? String == replica && again["peer"] as? String == peer)
      // One that was restored from a backup has less.
      #expect(again["cursor"] as? Int == 4)
      let trimmed = try await spindle("oplog", "trim", "--store", place.store, "--json").object()
      #expect(trimmed["rows"] as? Int == 4)
      let forgottenRows = try await spindle(
        "oplog", "acks", "forget", "--store", place.store, "--replica", replica, "--json"
      ).objects()
      #expect(forgottenRows.count == 1 && forgottenRows[0]["cursor"] as? Int == 4)
      // What an operator says counts, although it is the word that was forgotten.
      let back = try await spindle(
        "oplog", "acks", "set", "--store", place.store, "--replica", replica, "--peer", peer,
        "--cursor", "4", "--json"
      ).object()
      #expect(back["cursor"] as? Int == 4)
      let forgotten = try await spindle(
        "oplog", "acks", "forget", "--store", place.store, "--replica", replica)
      #expect(forgotten.status == 0)
      try await spindle("oplog", "acks", "forget", "--store", place.store, "--replica", replica)
        .expectRefusal("no replica")
      let bad = try await spindle(
        "oplog", "acks", "forget", "--store", place.store, "--replica", "me")
      #expect(bad.status == 64)
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

  @Test func cursorsAreOfOnePeerOrOfTheFirst() async throws {
    try await withPlace { place in
      let file = try place.file("a.lp", sampleLines(0..<20))
      for (producer, batch) in [("p", "10"), ("q", "5"), ("r", "4")] {
        _ = try await place.counts("--producer", producer, "--batch", batch, file)
      }
      func cursors(_ arguments: String...) async throws -> CommandResult {
        try await RunningCommand(
          [spindleProgram, "oplog", "cursors", "--store", place.store] + arguments
        ).result()
      }
      let all = try await cursors("--json")
      #expect(all.status == 0 && all.problems.isEmpty)
      let peers = try all.objects().compactMap { $0["peer"] as? String }
      try #require(peers.count == 3 && peers == peers.sorted())
      let q = try #require(try all.objects().first { $0["producer"] as? String == "q" })
      let peer = try #require(q["peer"] as? String)
      let one = try await cursors("--peer", peer.uppercased(), "--json")
      let rows = try one.objects()
      #expect(rows.count == 1 && rows[0]["peer"] as? String == peer && one.problems.isEmpty)
      #expect(rows[0]["cursor"] as? Int == 4 && rows[0]["producer"] as? String == "q")

      let first = try await cursors("--limit", "1", "--json")
      #expect(try first.objects().map { $0["peer"] as? String } == [peers[0]])
      #expect(first.status == 0 && first.problems == "spindle: note: 2 more peers are not shown\n")
      let two = try await cursors("--limit", "2")
      #expect(two.text.split(separator: "\n").count == 3)
      #expect(two.problems.contains("note: 1 more peers are not shown"), "\(two.problems)")
      let three = try await cursors("--limit", "3", "--json")
      #expect(three.output == all.output && three.problems.isEmpty)

      // As a trim says it.
      let nobody = String(repeating: "0", count: 31) + "9"
      let missing = try await cursors("--peer", nobody)
      missing.expectRefusal("the op-log ingest has no entries of peer \(nobody)")
      let trim = try await spindle("oplog", "trim", "--store", place.store, "--peer", nobody)
      #expect(trim.problems == missing.problems)
      for (arguments, problem) in [
        (["--peer", "me"], "is no peer"), (["--limit", "0"], "--limit"),
        (["--limit=-1"], "--limit"), (["--from", "1"], "--from"),
      ] {
        let result = try await RunningCommand(
          [spindleProgram, "oplog", "cursors", "--store", place.store] + arguments
        ).result()
        #expect(result.status == 64 && result.output.isEmpty, "\(arguments)")
        #expect(result.problems.contains(problem), "\(result.problems)")
      }
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

  @Test func anExportIsAddedToALogInUse() async throws {
    try await withPlace { place in
      _ = try await fill(place)
      let first = place.directory + "/first", second = place.directory + "/second"
      _ = try await spindle("oplog", "export", "--store", place.store, first)
      let copy = Place(directory: place.directory + "/copy")
      try FileManager.default.createDirectory(
        atPath: copy.directory, withIntermediateDirectories: true)
      _ = try await spindle("oplog", "import", "--store", copy.store, first)
      // The original goes on, and another producer begins; the copy has one of its own.
      let more = try place.file("a.lp", sampleLines(0..<150))
      _ = try await place.counts("--producer", "p", "--batch", "10", more)
      _ = try await place.counts("--producer", "q", try place.file("b.lp", sampleLines(0..<30)))
      _ = try await copy.counts("--producer", "r", try place.file("c.lp", sampleLines(5..<9)))
      _ = try await spindle("oplog", "export", "--store", place.store, second)

      let added = try await spindle(
        "oplog", "import", "--store", copy.store, "--add", "--json", second)
      #expect(added.status == 0, "\(added.problems)")
      #expect(try added.object()["added"] as? Int == 6)
      let again = try await spindle("oplog", "import", "--store", copy.store, "--add", second)
      #expect(again.text == "added 0 rows\n")
      // The rows and what followed from them are those of the original and the own ones.
      _ = try await copy.counts("--producer", "s", try place.file("d.lp", sampleLines(0..<1)))
      _ = try await place.counts("--producer", "r", try place.file("c.lp", sampleLines(5..<9)))
      _ = try await place.counts("--producer", "s", try place.file("d.lp", sampleLines(0..<1)))
      let (here, there) = (try await copy.sound(), try await place.sound())
      #expect(here.points == there.points)
      let verified = try await spindle("oplog", "verify", "--store", copy.store)
      #expect(verified.status == 0, "\(verified.text)")
      // Both producers go on in the copy where they were.
      let last = try place.file("a.lp", sampleLines(0..<160))
      #expect(try await copy.counts("--producer", "p", last).applied == 10)
    }
  }

  @Test func anExportThatDoesNotFitAddsNothing() async throws {
    try await withPlace { place in
      let peer = try await fill(place)
      let early = place.directory + "/early", late = place.directory + "/late"
      _ = try await spindle("oplog", "export", "--store", place.store, early)
      let rows = try await spindle("oplog", "read", "--store", place.store, "--json")
      // The same producer in another store, whose first entry was made at another time; a producer
      // that sorts before it would be added first.
      let other = Place(directory: place.directory + "/other")
      try FileManager.default.createDirectory(
        atPath: other.directory, withIntermediateDirectories: true)
      let file = try place.file("o.lp", sampleLines(0..<100))
      for producer in ["p", "a", "b", "c", "d"] {
        _ = try await other.counts("--producer", producer, "--batch", "10", file)
      }
      let conflicting = place.directory + "/conflicting"
      _ = try await spindle("oplog", "export", "--store", other.store, conflicting)
      try await spindle("oplog", "import", "--store", place.store, "--add", conflicting)
        .expectRefusal("index 0 of peer \(peer) holds another entry already")
      let after = try await spindle("oplog", "read", "--store", place.store, "--json")
      #expect(after.text == rows.text)

      // Behind the end of an older copy.
      let copy = Place(directory: place.directory + "/copy")
      try FileManager.default.createDirectory(
        atPath: copy.directory, withIntermediateDirectories: true)
      _ = try await spindle("oplog", "import", "--store", copy.store, early)
      let more = try place.file("a.lp", sampleLines(0..<150))
      _ = try await place.counts("--producer", "p", "--batch", "10", more)
      _ = try await spindle(
        "oplog", "trim", "--store", place.store, "--below", "12", "--force")
      _ = try await spindle("oplog", "export", "--store", place.store, late)
      try await spindle("oplog", "import", "--store", copy.store, "--add", late)
        .expectRefusal("no entries of peer \(peer) below index 12")
      // What was expunged cannot be made up for.
      _ = try await spindle("oplog", "expunge", "--store", other.store, peer, "3")
      let holed = place.directory + "/holed"
      _ = try await spindle("oplog", "export", "--store", other.store, holed)
      let empty = Place(directory: place.directory + "/empty")
      try FileManager.default.createDirectory(
        atPath: empty.directory, withIntermediateDirectories: true)
      _ = try await empty.counts("--producer", "z", try place.file("z.lp", sampleLines(0..<1)))
      try await spindle("oplog", "import", "--store", empty.store, "--add", holed)
        .expectRefusal("index 3 of peer \(peer) is refused", "expunged")
      let cursors = try await spindle("oplog", "cursors", "--store", empty.store, "--json")
      #expect(try cursors.objects().count == 1)

      try await spindle("oplog", "import", "--store", place.directory + "/none", "--add", early)
        .expectRefusal("is not a Spindle store")
      try await spindle("oplog", "import", "--store", place.store, "--prefix", "x", "--add", early)
        .expectRefusal("no op-log x")
    }
  }

  @Test func readFindsEntriesByTimeUserAndKey() async throws {
    try await withPlace { place in
      let user = UserID(UUIDValue(high: 1, low: 2))
      let (one, two) = (PeerID(UUIDValue(high: 0, low: 1)), PeerID(UUIDValue(high: 0, low: 2)))
      // 2026-01-01T00:00:00Z and the seconds after it.
      let start: UInt64 = 1_767_225_600_000
      try await withStore(place.store) { store in
        let log = try await LogIndexTracker<RecordedOp>(store: store, prefix: "records")
        for index in UInt64(0)..<300 {
          var batch = Batch()
          let time = try #require(
            Timestamp(wallMilliseconds: start + index * 1000, counter: 0))
          try log.trackOne(
            peer: index % 2 == 0 ? one : two, index: index / 2, timestamp: time,
            serverUser: index % 3 == 0 ? user : nil,
            op: RecordedOp(tag: 1, key: index < 4 ? [0xFF, 1] : Array("k".utf8), value: [1]),
            into: &batch)
          try await store.commit(batch, durability: .buffered)
        }
      }
      func read(_ arguments: String...) async throws -> CommandResult {
        try await RunningCommand(
          [spindleProgram, "oplog", "read", "--store", place.store, "--prefix", "records"]
            + arguments
        ).result()
      }
      func times(_ result: CommandResult) throws -> [Int] {
        try result.objects().map { (($0["timestamp"] as? Int ?? 0) - Int(start)) / 1000 }
      }
      try await read("--since", "0").expectRefusal("keeps no index by time; add it")
      try await read("--key-hex", "00").expectRefusal("spindle oplog index --add key")
      try await read("--user", user.description).expectRefusal("oplog index --add user")
      let none = try await spindle(
        "oplog", "index", "--store", place.store, "--prefix", "records")
      #expect(none.text == "no indexes\n")
      let added = try await spindle(
        "oplog", "index", "--store", place.store, "--prefix", "records", "--add", "time", "--add",
        "key", "--add", "user", "--json")
      #expect(added.text == "[\"time\",\"user\",\"key\"]\n", "\(added.problems)")

      let range = try await read(
        "--since", "2026-01-01T00:00:10Z", "--until", "\(start + 13_000)", "--json")
      #expect(try times(range) == [10, 11, 12, 13])
      #expect(try range.objects().map { $0["peer"] as? String }.first == one.description)
      let last = try await read("--reverse", "--limit", "2", "--json")
      #expect(try times(last) == [299, 298])
      let most = try await read("--since", "0", "--limit", "290", "--json")
      #expect(try times(most).count == 290)
      let ofUser = try await read(
        "--user", user.description, "--until", "\(start + 9_000)", "--json")
      #expect(try times(ofUser) == [0, 3, 6, 9])
      let ofBytes = try await read("--key-hex", "ff01", "--json")
      #expect(try times(ofBytes) == [0, 1, 2, 3])
      let ofKey = try await read("--key", "k", "--limit", "2", "--json")
      #expect(try times(ofKey) == [4, 5])
      let line = try await read("--key-hex", "FF01", "--limit", "1")
      #expect(line.text == "\(one) 0  \(start).0  tag 1  1 bytes\n")
      #expect(try await read("--key", "nobody", "--json").text == "[]\n")

      for (arguments, problem) in [
        (["--since", "yesterday"], "is no time"),
        (["--since", "2026-13-01T00:00:00Z"], "is no time"),
        (["--since", "5", "--until", "4"], "must not be after"), (["--user", "me"], "a UUID"),
        (["--key", "a", "--user", user.description], "at most one"),
        (["--key-hex", "abc"], "hexadecimal"), (["--key-hex", "zz"], "hexadecimal"),
        (["--reverse", "--peer", one.description], "not for a query"),
        (["--since", "0", "--from", "1"], "not for a query"), (["--limit", "0"], "--limit"),
        (["--until", "-1"], ""), (["--add", "colour"], ""),
      ] {
        let result = try await RunningCommand(
          [spindleProgram, "oplog", "read", "--store", place.store, "--prefix", "records"]
            + arguments
        ).result()
        #expect(result.status == 64 && result.output.isEmpty, "\(arguments)")
        #expect(result.problems.contains(problem) || problem.isEmpty, "\(result.problems)")
      }
      let colour = try await spindle(
        "oplog", "index", "--store", place.store, "--add", "colour")
      #expect(colour.status == 64 && colour.problems.contains("is not one of time, user, key"))
    }
  }

  @Test func aFenceIsShownAndForgotten() async throws {
    try await withPlace { place in
      let me = PeerID(UUIDValue(high: 0, low: 7))
      func open(
        _ body: (Processor<MaxRegister, LogIndexTracker<MaxRegisterOp>>) async throws -> Void
      ) async throws {
        try await withStore(place.store) { store in
          let log = try await Processor<MaxRegister, LogIndexTracker<MaxRegisterOp>>(
            reducer: MaxRegister(), store: store, prefix: "records", selfID: me)
          try await body(log)
          await log.close()
        }
      }
      func fence(_ arguments: String...) async throws -> CommandResult {
        try await RunningCommand(
          [spindleProgram, "oplog", "fence", "--store", place.store, "--prefix", "records"]
            + arguments
        ).result()
      }
      try await open { _ = try await $0.exec(MaxRegisterOp("a", 1)) }
      #expect(try await fence().text == "no fence\n")
      #expect(try await fence("--json").text == "[]\n")
      try await fence("--reset", me.description).expectRefusal("no fence of peer")
      try await open { try await $0.noteElsewhere(PeerCursors([me: 9])) }
      #expect(
        try await fence("--json").text
          == #"[{"cursor":1,"fence":9,"peer":"\#(me)","refuses":true}]"# + "\n")
      try await fence("--reset", PeerID(UUIDValue(high: 0, low: 8)).description)
        .expectRefusal("no fence of peer")
      try await open { log in
        await #expect(throws: SpindleError.self) { try await log.exec(MaxRegisterOp("a", 2)) }
      }
      let forgotten = try await fence("--reset", me.description)
      #expect(
        forgotten.status == 0 && forgotten.text.hasPrefix("forgot: peer \(me) is known up to"))
      #expect(try await fence().text == "no fence\n")
      try await open { log in
        let executed = try await log.exec(MaxRegisterOp("a", 2))
        #expect(executed.index == 1)
      }
      let usage = try await fence("--reset", "me")
      #expect(usage.status == 64 && usage.problems.contains("is no peer"))
      try await spindle("oplog", "fence", "--store", place.store, "--prefix", "other")
        .expectRefusal("no op-log")
    }
  }

  @Test func everyVerbHasAnExampleInItsHelpAndInTheDocumentation() async throws {
    let page = String(
      decoding: try Data(
        contentsOf: URL(fileURLWithPath: repository + "/Documentation/oplog.md")), as: UTF8.self)
    let verbs = subcommands(inHelp: try await spindle("oplog", "--help").text)
    #expect(verbs.count == 11, "\(verbs)")
    for verb in verbs {
      #expect(page.contains("spindle oplog \(verb) "), "\(verb)")
      let text = try await spindle("oplog", verb, "--help").text
      #expect(text.contains("spindle oplog \(verb) --store"), "\(verb)")
    }
  }
}
