import Foundation
import SpindleCore
import SpindleIO
import SpindlePipeline
import SpindleRocks
import SpindleSpool
import SpindleStore
import Testing

@Suite(.serialized) struct SpoolCommandTests {
  private func put(_ place: Place, _ bytes: [UInt8], name: String = "main") async throws -> String {
    let result = try await RunningCommand(
      [spindleProgram, "spool", "put", "--store", place.store, "--name", name, "-"], input: bytes
    ).result()
    #expect(result.status == 0, "\(result.problems)")
    #expect(result.text.count == 33 && result.text.last == "\n")
    return String(result.text.dropLast())
  }

  @Test func messagesComeBackByteForByteInOrder() async throws {
    try await withPlace { place in
      let messages: [[UInt8]] = [
        Array(0...255), [], [0], Array("two\nlines\n".utf8),
        [UInt8](repeating: 0xA5, count: 5 << 20),
      ]
      var ids: [String] = []
      for message in messages { ids.append(try await put(place, message)) }
      for (id, message) in zip(ids, messages) {
        let got = try await spindle("spool", "get", "--store", place.store, id)
        #expect(got.status == 0 && got.output == message)
      }
      let list = try await spindle("spool", "list", "--store", place.store)
      #expect(list.text.split(separator: "\n").map(String.init) == ids)
      let rows = try await spindle("spool", "list", "--store", place.store, "--json").objects()
      #expect(rows.map { $0["bytes"] as? Int } == messages.map(\.count))
      #expect(rows.map { $0["id"] as? String } == ids)
      #expect(rows.allSatisfy { $0["created"] is Int })
      // A file is as good as standard input; the id may be upper case or have dashes.
      let file = try place.file("message", messages[0])
      let fromFile = try await spindle(
        "spool", "put", "--store", place.store, "--durability", "synced", file)
      let upper = fromFile.text.dropLast().uppercased()
      let again = try await spindle("spool", "get", "--store", place.store, upper)
      #expect(again.output == messages[0])
      #expect(try await spindle("spool", "remove", "--store", place.store, ids[0]).status == 0)
      #expect(try await spindle("spool", "remove", "--store", place.store, ids[0]).status == 0)
      try await spindle("spool", "get", "--store", place.store, ids[0]).expectRefusal(ids[0])
      #expect(try await place.sound().spooled == messages.count)
    }
  }

  @Test func unknownSpoolsAndDamagedIdsAreRefused() async throws {
    try await withPlace { place in
      let id = try await put(place, [1], name: "a")
      try await spindle("spool", "get", "--store", place.store, "--name", "b", id)
        .expectRefusal("no spool b")
      try await spindle("spool", "remove", "--store", place.store, "--name", "b", id)
        .expectRefusal("no spool b")
      for verb in ["list", "stats", "verify"] {
        try await spindle("spool", verb, "--store", place.store, "--name", "b")
          .expectRefusal("no spool b", "it has a")
      }
      try await spindle("spool", "quarantine", "list", "--store", place.store, "--name", "b")
        .expectRefusal("no spool b")
      for text in ["", "xyz", String(id.dropLast()), id + "0", String(repeating: "0", count: 32)] {
        let result = try await spindle("spool", "get", "--store", place.store, "--name", "a", text)
        #expect(result.status == 64 && result.output.isEmpty, "\(text): \(result.problems)")
      }
      try await RunningCommand(
        [spindleProgram, "spool", "put", "--store", place.store, "--name", "a/b", "-"], input: [1]
      ).result().expectRefusal()
    }
  }
}

@Suite(.serialized) struct ReadCommandTests {
  @Test func cursorsAndRowsHaveTheirKeys() async throws {
    try await withPlace { place in
      let file = try place.file("a.lp", sampleLines(0..<10))
      _ = try await place.counts("--batch", "4", "--producer", "p", file)
      _ = try await place.counts("--batch", "5", "--producer", "q", file)
      let cursors = try await spindle("oplog", "cursors", "--store", place.store, "--json")
        .objects()
      #expect(cursors.allSatisfy { Set($0.keys) == ["peer", "producer", "cursor"] })
      let byName = Dictionary(
        uniqueKeysWithValues: cursors.map {
          ($0["producer"] as? String ?? "", $0["cursor"] as? Int)
        })
      #expect(byName == ["p": 3, "q": 2])
      let peer = try #require(
        cursors.first { $0["producer"] as? String == "p" }?["peer"] as? String)
      let rows = try await spindle(
        "oplog", "read", "--store", place.store, "--peer", peer, "--from", "1", "--limit", "1",
        "--json"
      ).objects()
      let row = try #require(rows.first)
      #expect(rows.count == 1)
      #expect(row["index"] as? Int == 1 && row["producer"] as? String == "p")
      #expect(row["firstLine"] as? Int == 5 && row["lines"] as? Int == 4)
      #expect(row["points"] as? Int == 4 && row["rejected"] as? Int == 0)
      let text = try await spindle("oplog", "read", "--store", place.store, "--peer", peer).text
      #expect(text.split(separator: "\n").count == 3)
      #expect(text.contains("4 points, lines 5 to 8"))
      let table = try await spindle("oplog", "cursors", "--store", place.store).text
      #expect(table.split(separator: "\n").count == 3 && table.hasPrefix("peer"))
      try await spindle("oplog", "cursors", "--store", place.store, "--prefix", "none")
        .expectRefusal("none")
      try await spindle("oplog", "read", "--store", place.store, "--prefix", "none")
        .expectRefusal("none")
    }
  }

  @Test func seriesAreSortedByPointsAndShowTheirLastPoint() async throws {
    try await withPlace { place in
      let file = try place.file(
        "a.lp", "a v=1 1\nb,t=x v=1i,s=\"q\" 5\nb,t=x v=2i,s=\"r\",u=3u,f=T 9\nb,t=x v=7i 2\n")
      _ = try await place.counts(file)
      let rows = try await spindle("series", "--store", place.store, "--json").objects()
      #expect(rows.map { $0["series"] as? String } == ["b,t=x", "a"])
      #expect(rows.map { $0["points"] as? Int } == [3, 1])
      #expect(rows[0]["lastTimestamp"] as? Int == 9)
      let last = try #require(rows[0]["last"] as? [String: Any])
      #expect(Set(last.keys) == ["v", "s", "u", "f"])
      #expect(last["s"] as? String == "r" && last["v"] as? Int == 2 && last["f"] as? Bool == true)
      let one = try await spindle("series", "--store", place.store, "--limit", "1").text
      #expect(one.split(separator: "\n").count == 2 && one.contains("b,t=x"))
    }
  }

  @Test func helpOfEveryCommandHasAnExample() async throws {
    var left: [[String]] = [[]]
    var names: Set<String> = []
    while let command = left.popLast() {
      let result = try await RunningCommand([spindleProgram] + command + ["--help"]).result()
      let name = (["spindle"] + command).joined(separator: " ")
      #expect(result.status == 0, "\(name): \(result.problems)")
      let parts = result.text.components(separatedBy: "Example:\n")
      #expect(parts.count == 2, "\(name): \(result.text)")
      // The usage, which follows, names the command of itself.
      let example = parts.last?.components(separatedBy: "USAGE:").first ?? ""
      #expect(example.contains("\(name) "), "\(name): \(result.text)")
      names.insert(name)
      left += subcommands(inHelp: result.text).map { command + [$0] }
    }
    // A list that is not found any more must not pass for a command without verbs.
    let known: Set = [
      "spindle series", "spindle check", "spindle spool put", "spindle spool quarantine purge",
      "spindle oplog cursors", "spindle oplog acks forget", "spindle parquet verify",
      "spindle bench spool",
    ]
    #expect(names.isSuperset(of: known), "\(names.sorted())")
  }

  @Test(arguments: [
    "ingest", "spool put", "spool remove", "spool import", "spool compact", "spool repair",
    "spool orphans", "spool quarantine add", "spool quarantine restore", "spool quarantine purge",
    "oplog index", "oplog import", "oplog expunge", "oplog trim", "oplog fence", "oplog acks set",
    "oplog acks forget", "check",
  ]) func helpOfWhatWritesSaysThatTheStoreMustNotBeRunning(_ command: String) async throws {
    let words = command.split(separator: " ").map(String.init) + ["--help"]
    let text = try await RunningCommand([spindleProgram] + words).result().text
    let line = text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    #expect(line.contains("must not be running elsewhere"), "\(text)")
  }
}

@Suite(.serialized) struct CheckCommandTests {
  private func prepare(_ place: Place) async throws {
    let file = try place.file("a.lp", sampleLines(0..<200))
    _ = try await place.counts("--batch", "50", "--producer", "p", file)
    let put = try await spindle("spool", "put", "--store", place.store, file)
    #expect(put.status == 0)
  }

  /// Changes one byte in the middle of a family's first value under a key prefix.
  private func damage(_ place: Place, _ name: String, key prefix: [UInt8]) async throws {
    try await withStore(place.store) { store in
      let family = try #require(store.existingFamily(name))
      let found = try await store.blocking { () -> (key: [UInt8], value: [UInt8])? in
        var found: ([UInt8], [UInt8])?
        try store.scan(family) { key, value in
          guard Array(copyBytes(key).prefix(prefix.count)) == prefix else { return true }
          found = (copyBytes(key), copyBytes(value))
          return false
        }
        return found
      }
      let entry = try #require(found)
      var value = entry.value
      value[value.count / 2] ^= 0x10
      var batch = Batch()
      batch.put(family, key: entry.key, value: value)
      try await store.commit(batch, durability: .buffered)
    }
  }

  @Test(arguments: [
    ("spool:main", [UInt8](), "spool:main"), ("oplog:ingest", [0x01], "op"),
    ("data:ingest", [0x02], "series"), ("data:ingest", [0x01], "position"),
  ]) func aDamagedRecordIsAFindingAndExit2(
    _ family: String, _ prefix: [UInt8], _ word: String
  ) async throws {
    try await withPlace { place in
      try await prepare(place)
      let sound = try await spindle("check", "--store", place.store)
      #expect(sound.status == 0 && sound.text.contains("sound: 1 spooled messages, 4 log entries"))
      try await damage(place, family, key: prefix)
      let result = try await spindle("check", "--store", place.store, "--json")
      #expect(result.status == 2, "\(result.text) \(result.problems)")
      let findings = try #require(try result.object()["findings"] as? [String])
      #expect(findings.contains { $0.contains(word) }, "\(findings)")
      let text = try await spindle("check", "--store", place.store)
      #expect(text.status == 2)
      #expect(text.text.contains("finding: ") && text.text.contains("damaged: "))
    }
  }

  @Test(arguments: [0.1, 0.5, 0.8]) func aFlippedByteInATableFileIsAFindingAndExit2(
    _ share: Double
  ) async throws {
    try await withPlace { place in
      try await prepare(place)
      try await withStore(place.store) { store in
        let family = try #require(store.existingFamily("oplog:ingest"))
        try await store.blocking { try store.database.flush(family.columnFamily) }
      }
      let rocks = place.store + "/rocks"
      let table = try #require(
        try FileManager.default.contentsOfDirectory(atPath: rocks).sorted()
          .last { $0.hasSuffix(".sst") })
      var content = try bytes(of: rocks + "/" + table)
      content[Int(Double(content.count) * share)] ^= 0x01
      _ = try place.file("store/rocks/" + table, content)
      let result = try await spindle("check", "--store", place.store, "--json")
      #expect(result.status == 2, "\(result.text) \(result.problems)")
      let findings = try #require(try result.object()["findings"] as? [String])
      #expect(!findings.isEmpty)
    }
  }

  @Test func aMissingRowIsAFinding() async throws {
    try await withPlace { place in
      try await prepare(place)
      let peer = IngestPipeline.peer(of: "p")
      try await withStore(place.store) { store in
        let family = try #require(store.existingFamily("oplog:ingest"))
        var batch = Batch()
        var key: [UInt8] = [0x01]
        key += peer.uuid.bytes
        key.appendBigEndian(UInt64(1))
        #expect(try await store.get(family, key: key) != nil)
        batch.delete(family, key: key)
        try await store.commit(batch, durability: .buffered)
      }
      let result = try await spindle("check", "--store", place.store)
      #expect(result.status == 2)
      // An ingest into a store whose log and positions disagree is refused where it is found.
      #expect(result.text.contains("finding: "))
    }
  }
}
