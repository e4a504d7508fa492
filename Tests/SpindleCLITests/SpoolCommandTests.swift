import Foundation
import SpindleCore
import SpindleSpool
import SpindleStore
import Testing

@Suite(.serialized) struct SpoolUpkeepCommandTests {
  /// Stores messages of rising sizes and gives their ids.
  private func fill(_ place: Place, _ count: Int, _ compression: PayloadCompression) async throws
    -> [SpoolID]
  {
    var ids: [SpoolID] = []
    try await withStore(place.store) { store in
      var settings = SpoolSettings()
      settings.compression = compression
      let spool = try await RocksSpool(store: store, name: "main", settings: settings)
      for number in 0..<count {
        let id = spool.makeID()
        let payload = [UInt8](repeating: UInt8(number & 0xFF), count: 1_000 * (number + 1))
        try await spool.store(id, payload, forceSync: false, deadline: nil)
        ids.append(id)
      }
    }
    return ids
  }

  /// Replaces a stored record by bytes that are none.
  private func damage(_ place: Place, _ id: SpoolID) async throws {
    try await withStore(place.store) { store in
      var batch = Batch()
      let family = try await store.family("spool:main")
      batch.put(family, key: id.bytes, value: [9, 9, 9])
      try await store.commit(batch, durability: .buffered)
    }
  }

  @Test("Statistics count payloads, also compressed ones", arguments: PayloadCompression.allCases)
  func statistics(compression: PayloadCompression) async throws {
    try await withPlace { place in
      _ = try await fill(place, 10, compression)
      let report = try await spindle("spool", "stats", "--store", place.store, "--json").object()
      #expect(report["messages"] as? Int == 10)
      #expect(report["payloadBytes"] as? Int == 55_000)
      #expect(report["minimumBytes"] as? Int == 1_000 && report["maximumBytes"] as? Int == 10_000)
      #expect(report["codecs"] as? [String: Int] == [compression.rawValue: 10])
      let stored = try #require(report["storedBytes"] as? Int)
      #expect(compression == .none ? stored == 55_120 : stored < 5_000)
      #expect(report["damaged"] as? Int == 0 && report["quarantined"] as? Int == 0)
      let text = try await spindle("spool", "stats", "--store", place.store)
      #expect(text.status == 0 && text.text.contains("messages      10\n"))
      #expect(text.text.contains("1 KiB    1         10.0 %"), "\(text.text)")
    }
  }

  @Test func verifyNamesWhatIsDamaged() async throws {
    try await withPlace { place in
      let ids = try await fill(place, 5, .none)
      let sound = try await spindle("spool", "verify", "--store", place.store, "--json")
      #expect(sound.status == 0)
      #expect(try sound.object()["intact"] as? Int == 5)
      try await damage(place, ids[2])
      let found = try await spindle("spool", "verify", "--store", place.store, "--json")
      #expect(found.status == 2)
      let report = try found.object()
      #expect(report["intact"] as? Int == 4 && report["damaged"] as? Int == 1)
      #expect(report["damagedIDs"] as? [String] == [ids[2].description])
      let stats = try await spindle("spool", "stats", "--store", place.store, "--json")
      #expect(stats.status == 2)
      #expect(try stats.object()["damaged"] as? Int == 1)
      let text = try await spindle("spool", "verify", "--store", place.store)
      #expect(text.status == 2 && text.text.contains(ids[2].description))
    }
  }

  @Test func listNamesWhatIsDamagedAndStopsWithItsReader() async throws {
    try await withPlace { place in
      // Some 300 KB of rows: more than a pipe holds.
      let count = 3_000
      var ids: [SpoolID] = []
      try await withStore(place.store) { store in
        let spool = try await RocksSpool(store: store, name: "main")
        for _ in 0..<count {
          ids.append(spool.makeID())
          try await spool.store(ids[ids.count - 1], [1], forceSync: false, deadline: nil)
        }
      }
      #expect(try await spindle("spool", "list", "--store", place.store, "--json").status == 0)
      try await damage(place, ids[count - 1])
      let whole = try await spindle("spool", "list", "--store", place.store, "--json")
      #expect(whole.status == 2)
      #expect(whole.problems.contains("the message \(ids[count - 1]) is damaged"))
      let rows = try whole.objects()
      #expect(rows.count == count)
      #expect(rows.filter { $0["damage"] != nil }.count == 1)
      // The reader leaves long before the damaged one.
      let command = "\(spindleProgram) spool list --store \(place.store) --json"
      let cut = try await RunningCommand([
        "bash", "-c", "\(command) | head -c 10 > /dev/null; exit ${PIPESTATUS[0]}",
      ]).result()
      #expect(cut.status == 0 && cut.problems == "", "\(cut.problems)")
    }
  }

  @Test("A-C-4: compacting an unknown spool is refused, a known one shrinks")
  func compact() async throws {
    try await withPlace { place in
      let ids = try await fill(place, 20, .none)
      try await spindle("spool", "compact", "--store", place.store, "--name", "none")
        .expectRefusal("no spool none", "it has main")
      try await RunningCommand(
        [spindleProgram, "spool", "compact", "--store", place.directory + "/absent"]
      ).result().expectRefusal("absent")
      for id in ids.dropFirst() {
        #expect(
          try await spindle("spool", "remove", "--store", place.store, id.description).status == 0)
      }
      let result = try await spindle("spool", "compact", "--store", place.store, "--json")
      #expect(result.status == 0, "\(result.problems)")
      let report = try result.object()
      let after = try #require(report["bytesAfter"] as? Int)
      #expect(after > 0 && after < 10_000)
      #expect(report["bytesBefore"] is Int && report["seconds"] is Double)
      let got = try await spindle("spool", "get", "--store", place.store, ids[0].description)
      #expect(got.output.count == 1_000)
      #expect(try await place.sound().spooled == 1)
    }
  }

  @Test func quarantineIsListedRestoredAndPurged() async throws {
    try await withPlace { place in
      let ids = try await fill(place, 3, .none)
      func quarantine(_ verb: String, _ more: String...) async throws -> CommandResult {
        try await RunningCommand(
          [spindleProgram, "spool", "quarantine", verb, "--store", place.store] + more
        ).result()
      }
      try await damage(place, ids[1])
      for id in ids.prefix(2) {
        let added = try await quarantine("add", "--reason", "no body", id.description)
        #expect(added.status == 0, "\(added.problems)")
      }
      _ = try await quarantine("add", "--reason", "a\u{1B}[31m\n\u{E9}", ids[2].description)
      #expect(try await quarantine("list").text.contains("a?[31m?\u{E9}\n"))
      _ = try await quarantine("restore", ids[2].description)
      let rows = try await quarantine("list", "--json").objects()
      #expect(rows.map { $0["id"] as? String } == ids.prefix(2).map(\.description))
      #expect(rows.map { $0["damaged"] as? Bool } == [false, true])
      #expect(rows.allSatisfy { $0["reason"] as? String == "no body" && $0["since"] is Int })
      let text = try await quarantine("list").text
      #expect(text.split(separator: "\n").count == 2 && text.contains("no body"))
      let list = try await spindle("spool", "list", "--store", place.store).text
      #expect(list == ids[2].description + "\n")
      #expect(try await quarantine("restore", ids[0].description).status == 0)
      let got = try await spindle("spool", "get", "--store", place.store, ids[0].description)
      #expect(got.output == [UInt8](repeating: 0, count: 1_000))
      #expect(try await quarantine("purge", ids[1].description).status == 0)
      try await quarantine("purge", ids[1].description).expectRefusal(ids[1].description)
      try await quarantine("restore", ids[1].description).expectRefusal(ids[1].description)
      #expect(try await quarantine("list", "--json").objects().isEmpty)
    }
  }

  @Test func aBadIDIsOneSentenceOfWrongUsage() async throws {
    try await withPlace { place in
      _ = try await spindle("spool", "put", "--store", place.store, place.file("message", "hello"))
      for verb in [["get"], ["remove"], ["quarantine", "restore"], ["quarantine", "purge"]] {
        let outcome = try await RunningCommand(
          [spindleProgram, "spool"] + verb + ["--store", place.store, "BAD"]
        ).result()
        #expect(outcome.status == 64, "\(verb)")
        #expect(
          outcome.problems.hasSuffix(
            "\"BAD\" is no message id; expected 32 hexadecimal digits of a time-based UUID\n"))
        #expect(outcome.problems.split(separator: "\n").count == 1, "\(outcome.problems)")
      }
    }
  }

  @Test func everyVerbSpeaksJSON() async throws {
    try await withPlace { place in
      let file = try place.file("message", "hello hello hello hello hello hello hello")
      let stored = try await spindle(
        "spool", "put", "--store", place.store, "--compression", "lz4", "--json", file
      ).object()
      let id = try #require(stored["id"] as? String)
      #expect(stored["bytes"] as? Int == 41)
      let message = try await spindle("spool", "get", "--store", place.store, "--json", id).object()
      let data = try #require(Data(base64Encoded: message["data"] as? String ?? ""))
      #expect(String(decoding: data, as: UTF8.self).hasPrefix("hello hello"))
      #expect(message["bytes"] as? Int == 41 && message["created"] is Int)
      for expected in [true, false] {
        let removed = try await spindle(
          "spool", "remove", "--store", place.store, "--json", id
        ).object()
        #expect(removed["removed"] as? Bool == expected && removed["id"] as? String == id)
      }
      try await spindle("spool", "put", "--store", place.directory + "/new", place.directory)
        .expectRefusal("cannot read \(place.directory): Is a directory")
      for name in ["a b", "a.quarantine"] {
        try await spindle(
          "spool", "put", "--store", place.directory + "/new", "--name", name, file
        ).expectRefusal("the name \"\(name)\" is")
      }
      #expect(!FileManager.default.fileExists(atPath: place.directory + "/new"))
      let wrong = try await spindle(
        "spool", "put", "--store", place.store, "--compression", "brotli", file)
      #expect(wrong.status == 64 && wrong.problems.contains("none, lz4, zstd"))
    }
  }
}
