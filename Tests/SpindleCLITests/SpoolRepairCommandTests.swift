import Foundation
import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// What an operator does with a damaged spool, command by command.
@Suite(.serialized) struct SpoolRepairCommandTests {
  private func spool(_ place: Place, _ words: String...) async throws -> CommandResult {
    try await RunningCommand([spindleProgram, "spool"] + words + ["--store", place.store])
      .result()
  }

  /// Messages in one table; gives their ids and the path of the table.
  private func fill(_ place: Place, _ count: Int) async throws -> ([SpoolID], String) {
    var ids: [SpoolID] = []
    try await withStore(place.store) { store in
      let spool = try await RocksSpool(store: store, name: "main")
      for number in 0..<count {
        let id = spool.makeID()
        try await spool.store(
          id, [UInt8](repeating: UInt8(number), count: 1_000), forceSync: false, deadline: nil)
        ids.append(id)
      }
      _ = try await spool.compact()
    }
    let tables = try Files.names(in: place.store + "/rocks").filter { $0.hasSuffix(".sst") }
    let paths = tables.map { place.store + "/rocks/" + $0 }
    let largest = try #require(try paths.max { try Files.size($0) < Files.size($1) })
    return (ids, largest)
  }

  @Test func repairHealsForGood() async throws {
    try await withPlace { place in
      let (ids, table) = try await fill(place, 200)
      let sound = try await spool(place, "repair")
      #expect(sound.status == 0 && sound.text.contains("nothing is damaged: 200"))
      try TableFault.flippedBit.strike(table)
      #expect(try await spool(place, "verify").status == 2)
      let trial = try await spool(place, "repair", "--json")
      #expect(trial.status == 2, "\(trial.problems)")
      let foreseen = try trial.object()
      #expect(foreseen["needed"] as? Bool == true && foreseen["applied"] as? Bool == false)
      let text = try await spool(place, "repair")
      #expect(text.status == 2 && text.text.contains("--apply repairs the spool"))
      #expect(try await spool(place, "verify").status == 2)
      let result = try await spool(place, "repair", "--apply", "--json")
      #expect(result.status == 0, "\(result.problems)")
      let report = try result.object()
      #expect(report["applied"] as? Bool == true)
      let intact = try #require(report["intact"] as? Int)
      #expect((190..<200).contains(intact) && report["lost"] as? Int == 200 - intact)
      #expect(report["intact"] as? Int == foreseen["intact"] as? Int)
      let place2 = try #require(report["quarantine"] as? String)
      #expect(Files.exists(place2 + "/REPORT"))
      let verified = try await spool(place, "verify", "--json")
      #expect(verified.status == 0)
      #expect(try verified.object()["intact"] as? Int == intact)
      let put = try await spool(place, "put", try place.file("message", "hello"))
      #expect(put.status == 0)
      #expect(try await place.sound().spooled == intact + 1)
      #expect(ids.count == 200)
    }
  }

  @Test func aMessageInABadBlockCanBeRemoved() async throws {
    try await withPlace { place in
      let (ids, table) = try await fill(place, 200)
      try TableFault.flippedBit.strike(table)
      var hidden: [SpoolID] = []
      try await withStore(place.store) { store in
        let spool = try await RocksSpool(store: store, name: "main")
        for id in ids where (try? await spool.load(id)) == nil { hidden.append(id) }
      }
      #expect(!hidden.isEmpty)
      for id in hidden {
        let removed = try await spool(place, "remove", "--json", id.description)
        #expect(removed.status == 0, "\(removed.problems)")
        #expect(try removed.object()["removed"] == nil)
        #expect(try removed.object()["id"] as? String == id.description)
      }
      #expect(try await spool(place, "remove", ids[0].description).status == 0)
      try await spool(place, "get", ids[0].description).expectRefusal("no such key")
    }
  }

  @Test func exportAndImport() async throws {
    try await withPlace { place in
      let (ids, table) = try await fill(place, 200)
      let file = place.directory + "/export"
      let whole = try await spool(place, "export", "--json", file)
      #expect(whole.status == 0, "\(whole.problems)")
      #expect(try whole.object()["messages"] as? Int == 200)
      try await spool(place, "export", file).expectRefusal(file)
      try TableFault.missing.strike(table)
      let partial = try await spool(place, "export", "--json", file + "2")
      #expect(partial.status == 2, "\(partial.problems)")
      #expect((try partial.object()["lostRanges"] as? [Any])?.count == 1)
      #expect(try await spool(place, "repair", "--apply").status == 0)
      let imported = try await spool(place, "import", "--json", file)
      #expect(imported.status == 0, "\(imported.problems)")
      #expect(try imported.object()["stored"] as? Int == 200)
      let got = try await spool(place, "get", ids[7].description)
      #expect(got.output == [UInt8](repeating: 7, count: 1_000))
      let list = try await spool(place, "list").text
      #expect(list == ids.map { $0.description + "\n" }.joined())
      // Other bytes under one id.
      try await withStore(place.store) { store in
        let spool = try await RocksSpool(store: store, name: "main")
        try await spool.store(ids[3], [1], forceSync: false, deadline: nil)
      }
      let again = try await spool(place, "import", "--json", file)
      #expect(again.status == 2)
      let report = try again.object()
      #expect(report["skipped"] as? Int == 199 && report["conflicts"] as? Int == 1)
      #expect(report["conflictingIDs"] as? [String] == [ids[3].description])
      try await RunningCommand(
        [spindleProgram, "spool", "import", "--store", place.directory + "/new", table + "x"]
      ).result().expectRefusal(table + "x")
      #expect(!Files.exists(place.directory + "/new"))
    }
  }

  @Test func quarantinedMessagesCanBeRead() async throws {
    try await withPlace { place in
      let (ids, _) = try await fill(place, 3)
      try await withStore(place.store) { store in
        var batch = Batch()
        let family = try await store.family("spool:main")
        batch.put(family, key: ids[1].bytes, value: [9, 9, 9])
        try await store.commit(batch, durability: .buffered)
      }
      for id in ids.prefix(2) {
        let added = try await spool(place, "quarantine", "add", "--json", id.description)
        #expect(try added.object()["state"] as? String == "quarantined")
      }
      let whole = try await spool(place, "quarantine", "get", ids[0].description)
      #expect(whole.status == 0 && whole.output == [UInt8](repeating: 0, count: 1_000))
      let damaged = try await spool(place, "quarantine", "get", ids[1].description)
      #expect(damaged.status == 2 && damaged.output == [9, 9, 9])
      #expect(damaged.problems.contains("is damaged"))
      let object = try await spool(
        place, "quarantine", "get", "--json", ids[1].description
      ).object()
      #expect(object["form"] as? String == "record" && object["damage"] is String)
      try await spool(place, "quarantine", "get", ids[2].description)
        .expectRefusal("no such key")
      let restored = try await spool(
        place, "quarantine", "restore", "--json", ids[0].description)
      #expect(try restored.object()["state"] as? String == "restored")
      let purged = try await spool(place, "quarantine", "purge", "--json", ids[1].description)
      #expect(try purged.object()["state"] as? String == "purged")
    }
  }

  @Test func orphansOfAPairOnFilesAreFoundAndSwept() async throws {
    try await withPlace { place in
      let (meta, data) = (place.directory + "/meta", place.directory + "/data")
      var body: SpoolID?
      do {
        let spools = (
          try LocalDiskSpool(path: meta, flush: false), try LocalDiskSpool(path: data, flush: false)
        )
        let pair = try PairedSpool(meta: spools.0, data: spools.1)
        let ids = (0..<3).map { numberedID($0) }
        for id in ids {
          try await pair.store(id, meta: [1], data: [2], forceSync: false, deadline: nil)
        }
        try await spools.0.remove(ids[1])
        body = ids[1]
        // While somebody has it, it is not touched.
        try await spindle("spool", "orphans", "--meta-dir", meta, "--data-dir", data)
          .expectRefusal("is held by process")
        try await pair.shutdown()
      }
      func orphans(_ words: String...) async throws -> CommandResult {
        let command = [spindleProgram, "spool", "orphans", "--meta-dir", meta, "--data-dir", data]
        return try await RunningCommand(command + ["--older-than", "0", "--json"] + words).result()
      }
      for _ in 0..<2 {
        let found = try await orphans()
        #expect(found.status == 2, "\(found.problems)")
        #expect(try found.object()["ids"] as? [String] == [try #require(body).description])
      }
      let swept = try await orphans("--apply")
      #expect(swept.status == 0, "\(swept.problems)")
      #expect(try swept.object()["removed"] as? Int == 1)
      #expect(try await orphans().status == 0)
      try await spindle("spool", "orphans", "--meta-dir", meta, "--data-dir", meta + "x")
        .expectRefusal("no spool on files")
      #expect(!Files.exists(meta + "x"))
      for words in [["--meta-dir", meta], ["--store", meta, "--data-dir", data], []] {
        let wrong = try await RunningCommand([spindleProgram, "spool", "orphans"] + words).result()
        #expect(wrong.status == 64, "\(words)")
      }
    }
  }

  @Test func orphansLeavesDirectoriesThatAreNoSpoolsAlone() async throws {
    try await withPlace { place in
      let (meta, data) = (place.directory + "/pa", place.directory + "/pb")
      try await LocalDiskSpool(path: meta, flush: false).shutdown()
      for (name, bytes) in [("data/x", 1), ("new/report.txt", 2), ("quarantine/notes.reason", 3)] {
        let path = data + "/" + name
        try FileManager.default.createDirectory(
          atPath: Files.directory(of: path), withIntermediateDirectories: true)
        try Data([UInt8(bytes)]).write(to: URL(fileURLWithPath: path))
      }
      let before = try FolderState(of: data)
      for words in [[], ["--apply"]] {
        try await RunningCommand(
          [spindleProgram, "spool", "orphans", "--meta-dir", meta, "--data-dir", data] + words
        ).result().expectRefusal("there is no spool on files at \(data)", "expected lock, new")
        #expect(try FolderState(of: data) == before)
      }
    }
  }

  /// What a killed process was writing is for the next owner to remove.
  @Test func orphansWithoutApplyRemovesNothing() async throws {
    try await withPlace { place in
      let (meta, data) = (place.directory + "/meta", place.directory + "/data")
      let leftovers = [
        meta + "/new/\(numberedID(1)).3", meta + "/quarantine/\(numberedID(2)).reason",
      ]
      for path in [meta, data] { try await LocalDiskSpool(path: path, flush: false).shutdown() }
      for path in leftovers { try Data([1]).write(to: URL(fileURLWithPath: path)) }
      for (words, isKept) in [([], true), (["--apply"], false)] as [([String], Bool)] {
        let done = try await RunningCommand(
          [spindleProgram, "spool", "orphans", "--meta-dir", meta, "--data-dir", data] + words
        ).result()
        #expect(done.status == 0, "\(done.problems)")
        for path in leftovers { #expect(Files.exists(path) == isKept, "\(path)") }
      }
    }
  }

  @Test func orphansAreFoundAndSwept() async throws {
    try await withPlace { place in
      try await withStore(place.store) { store in
        let meta = try await RocksSpool(store: store, name: "meta")
        let data = try await RocksSpool(store: store, name: "data")
        for number in 0..<3 {
          let id = data.makeID()
          try await data.store(id, [1], forceSync: false, deadline: nil)
          if number > 0 { try await meta.store(id, [2], forceSync: false, deadline: nil) }
        }
      }
      #expect(try await spool(place, "orphans").status == 0)
      let found = try await spool(place, "orphans", "--older-than", "0", "--json")
      #expect(found.status == 2, "\(found.problems)")
      #expect(try found.object()["orphans"] as? Int == 1)
      let swept = try await spool(place, "orphans", "--older-than", "0", "--apply", "--json")
      #expect(swept.status == 0, "\(swept.problems)")
      #expect(try swept.object()["removed"] as? Int == 1)
      #expect(try await spool(place, "orphans", "--older-than", "0").status == 0)
      try await spool(place, "orphans", "--meta", "none").expectRefusal("no spool none")
    }
  }

  @Test func aDamagedQuarantineIsTold() async throws {
    try await withPlace { place in
      var ids: [SpoolID] = []
      var table: UInt64 = 0
      let value = { (number: Int) in numberedValue(number, bytes: 5_000) }
      try await withStore(place.store) { store in
        let spool = try await RocksSpool(store: store, name: "main")
        for number in 0..<8 {
          ids.append(spool.makeID())
          try await spool.store(ids[number], value(number), forceSync: false, deadline: nil)
          if number < 6 { try await spool.quarantine(ids[number], reason: "a test") }
        }
        let family = try #require(store.existingFamily("spool:main.quarantine")).columnFamily
        try await store.blocking {
          // The end of the spool's view of its opening is the beginning of one.
          try store.database.setOptions(["disable_auto_compactions": "true"], of: family)
          try store.database.flush(family)
        }
        table = try #require(try store.database.tableFiles(of: family).first).number
      }
      let path = place.store + "/rocks/" + Database.tableFileName(table)
      var bytes = try Files.read(path, limit: .max)
      bytes[try #require(bytes.firstRange(of: value(3))).lowerBound] ^= 0xFF
      try writeFile(bytes, to: path)
      for verb in ["verify", "stats"] {
        let found = try await spool(place, verb, "--json")
        #expect(found.status == 2, "\(verb)")
        let report = try found.object()
        #expect((report["lostRanges"] as? [Any])?.isEmpty == true)
        #expect((report["quarantineLostRanges"] as? [Any])?.count == 1)
        let text = try await spool(place, verb)
        #expect(text.status == 2 && text.text.contains("the keys of the quarantine from "))
      }
      let list = try await spool(place, "quarantine", "list")
      #expect(list.status == 2 && list.text.split(separator: "\n").count == 5)
      #expect(list.problems.contains("the keys from "))
      #expect(!list.text.contains(ids[3].description))
      // Moves of what is intact go on, one command each.
      for (verb, number) in [("add", 6), ("restore", 0), ("purge", 1)] {
        let moved = try await spool(place, "quarantine", verb, ids[number].description)
        #expect(moved.status == 0, "\(moved.problems)")
      }
      try await spool(place, "quarantine", "restore", ids[3].description)
        .expectRefusal("the quarantine of spool main is damaged")
      #expect(try await spool(place, "repair", "--apply").status == 0)
      #expect(try await spool(place, "verify").status == 0)
      #expect(try await spool(place, "quarantine", "list").status == 0)
    }
  }

  @Test func namesGatesAndPermissionsAreToldInAnOperatorsWords() async throws {
    try await withPlace { place in
      let (ids, table) = try await fill(place, 50)
      for verb in ["list", "repair", "verify"] {
        try await spool(place, verb, "--name", "main.quarantine")
          .expectRefusal("\"spindle spool quarantine\" with --name main")
      }
      // The greatest id, which an opening reads, is in the table: the gate is shut.
      try TableFault.noFooter.strike(table)
      try await spool(place, "quarantine", "add", ids[0].description).expectRefusal("Corruption")
      let put = try await spool(place, "put", try place.file("message", "hello"))
      put.expectRefusal("the spool is not accepting writes: ", place.store, "(corruption)")
      guard getuid() == 0 else { return }
      let program = place.directory + "/program"
      #expect(try await RunningCommand(["cp", spindleProgram, program]).result().status == 0)
      try FileManager.default.setAttributes(
        [.posixPermissions: 0o777], ofItemAtPath: place.directory)
      try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: place.store)
      for verb in ["list", "remove", "repair"] {
        let other = try await RunningCommand(
          [
            "setpriv", "--reuid", "65534", "--clear-groups", program, "spool", verb, "--store",
            place.store,
          ] + (verb == "remove" ? [ids[0].description] : [])
        ).result()
        other.expectRefusal("Permission denied", place.store)
      }
    }
  }
}
