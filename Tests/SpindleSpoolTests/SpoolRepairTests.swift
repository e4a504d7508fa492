import Foundation
import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// A repair keeps every message that an intact block holds, and makes the spool whole for good.
@Suite("Repair of a spool", .serialized)
struct SpoolRepairTests {
  private struct Stop: Error {}

  private func repair(
    _ place: TestPlace, applies: Bool = true, stopBefore step: String? = nil
  ) async throws -> SpoolRepair {
    var hooks = RecoveryHooks()
    hooks.beforeStep = { if $0 == step { throw Stop() } }
    return try await RocksSpool.repair(
      storeAt: place.path, name: "main", applies: applies, settings: settings, hooks: hooks)
  }

  private var settings: StoreSettings {
    var settings = StoreSettings.quiet
    settings.capacityFloor = .none
    settings.ballastBytes = 0
    return settings
  }

  /// Expects a sound spool that holds exactly these messages, byte for byte, and takes more.
  private func expectHealed(
    _ place: TestPlace, _ stored: [SpoolID: Bytes], location: SourceLocation = #_sourceLocation
  ) async throws {
    try await place.withSpool { spool in
      let found = try await spool.verify()
      #expect(found.isIntact, "\(found)", sourceLocation: location)
      #expect(found.intact == UInt64(stored.count), sourceLocation: location)
      for (id, bytes) in stored {
        #expect(try await spool.loadIfPresent(id) == bytes, sourceLocation: location)
      }
      let id = spool.makeID()
      try await spool.put(id, [1, 2, 3], forceSync: true)
      #expect(try await spool.load(id) == [1, 2, 3], sourceLocation: location)
      try await spool.remove(id)
      try await spool.compact()
    }
  }

  /// Everything below a directory, as path and contents.
  private func contents(_ path: String) throws -> [String: [UInt8]] {
    var found: [String: [UInt8]] = [:]
    for name in try Files.names(in: path) {
      let child = path + "/" + name
      if Files.isDirectory(child) {
        found.merge(try contents(child)) { first, _ in first }
      } else if !name.hasPrefix("LOG"), name != "owner.pid" {
        found[child] = try Files.read(child, limit: .max)
      }
    }
    return found
  }

  private func isInside(_ id: SpoolID, _ ranges: [SpoolLostRange]) -> Bool {
    ranges.contains { range in
      !id.bytes.lexicographicallyPrecedes(range.from)
        && range.to.map { id.bytes.lexicographicallyPrecedes($0) } ?? true
    }
  }

  @Test("A repair that meets a damaged or missing blob file is refused and changes nothing")
  func damagedBlobFile() async throws {
    try await withPlace { place in
      var settings = settings
      var options = settings.options(forFamily: "spool:main")
      options.blobs = ColumnFamilyOptions.Blobs()
      options.blobs?.minimumBytes = 1_000
      settings.familyOptions["spool:main"] = options
      let store = try await Store.open(at: place.path, settings: settings)
      let spool = try await RocksSpool(store: store, name: "main")
      let ids = (0..<20).map { numberedID($0) }
      for (number, id) in ids.enumerated() {
        try await spool.put(id, numberedValue(number, bytes: 5_000))
      }
      try await spool.compact()
      try await store.close()
      let database = place.path + "/rocks"
      let name = try #require(try Files.names(in: database).first { $0.hasSuffix(".blob") })
      let file = database + "/" + name
      let whole = try Files.read(file, limit: .max)
      for damage in [true, false] {
        if damage {
          var bytes = whole
          bytes[bytes.count / 2] ^= 0x10
          try writeFile(bytes, to: file)
        } else {
          try Files.remove(file)
        }
        let before = try contents(place.path)
        for applies in [false, true] {
          do {
            _ = try await RocksSpool.repair(
              storeAt: place.path, name: "main", applies: applies, settings: settings)
            Issue.record("expected a refusal")
          } catch let error as SpindleError {
            #expect(error.kind == .corruption || error.kind == .io, "\(error)")
          }
          #expect(try contents(place.path) == before)
        }
      }
      // With the file as it was everything is there.
      try writeFile(whole, to: file)
      let again = try await Store.open(at: place.path, settings: settings)
      let found = try await RocksSpool(store: again, name: "main").verify()
      #expect(found.isIntact && found.intact == 20)
      try await again.close()
    }
  }

  @Test(
    "A damaged or missing table is taken out, and what it did not hit is kept",
    arguments: TableFault.allCases)
  func damagedTable(kind: TableFault) async throws {
    try await withPlace { place in
      // In one run: the next would compact the tables, whose targets are small in this one alone.
      let (ids, table) = try await place.withSpool { spool in
        let ids = try await storeInTables(spool, 300)
        let tables = try spool.tables
        // One message more that is in the log alone.
        let id = spool.makeID()
        try await spool.put(id, payload(300))
        return (ids + [id], tables[tables.count / 2])
      }
      let whole = try Files.read(place.pathOfTable(table.number), limit: .max)
      try place.damage(table.number, kind)
      let damaged = try? Files.read(place.pathOfTable(table.number), limit: .max)
      let before = try contents(place.path)

      let trial = try await repair(place, applies: false)
      #expect(try contents(place.path) == before)
      #expect(trial.isNeeded && !trial.isApplied && trial.quarantine == nil)
      #expect(trial.tables.map(\.number) == [table.number])
      #expect(trial.tables.first?.isMissing == (kind == .missing))
      #expect(trial.tables.first?.family == "spool:main")

      let report = try await repair(place)
      #expect(report.isApplied)
      let lost = ids.filter { isInside($0, report.lostRanges) }
      #expect(!lost.isEmpty && lost.count < (kind == .flippedBit ? 6 : 100))
      #expect(report.intact == UInt64(ids.count - lost.count))
      #expect(report.intact == trial.intact && report.rescued == trial.rescued)
      #expect(report.uncertain == 0 && report.damaged == 0)
      if kind == .flippedBit {
        #expect(report.rescued > 20)
        #expect(report.lost == UInt64(lost.count))
      }
      // The table as it was damaged is kept; a missing one cannot be.
      let quarantine = try #require(report.quarantine)
      let kept = quarantine + "/" + Database.tableFileName(table.number)
      #expect((try? Files.read(kept, limit: .max)) == damaged)
      #expect(damaged != whole)
      let text = String(decoding: try Files.read(quarantine + "/REPORT"), as: UTF8.self)
      #expect(text.contains("The table \(table.number) of spool:main is damaged"))
      #expect(!Files.exists(place.path + "/quarantine/repair.work"))
      var stored: [SpoolID: Bytes] = [:]
      for (number, id) in ids.enumerated() where !lost.contains(id) {
        stored[id] = payload(number)
      }
      try await expectHealed(place, stored)
      let again = try await repair(place)
      #expect(!again.isNeeded && !again.isApplied && again.tables.isEmpty)
      #expect(again.intact == report.intact)
    }
  }

  @Test("A repair stopped at any step is repeated, and nothing that was intact is lost")
  func stopsAtEachStep() async throws {
    for step in ["look", "link", "drop", "fill", "check", "keep", "unmark", "exchange", "discard"] {
      try await withPlace { place in
        let (ids, table) = try await place.withSpool { spool in
          let ids = try await storeInTables(spool, 100)
          return (ids, try spool.tables[1])
        }
        try place.damage(table.number, .flippedBit)
        await #expect(throws: Stop.self, "\(step)") {
          try await repair(place, stopBefore: step)
        }
        // Whoever opens the store now finds the old database or the new one, whole.
        let (intact, lostRanges) = try await place.withSpool { spool in
          let found = try await spool.verify()
          return (found.intact, found.lostRanges)
        }
        #expect(lostRanges.isEmpty == (step == "discard"), "\(step)")
        let report = try await repair(place)
        #expect(report.isApplied == (step != "discard"), "\(step)")
        #expect(report.intact == intact, "\(step)")
        #expect(intact > 90)
        #expect(!Files.exists(place.path + "/quarantine/repair.work"))
        var stored: [SpoolID: Bytes] = [:]
        try await place.withSpool { spool in
          for (number, id) in ids.enumerated() where try await spool.contains(id) {
            stored[id] = payload(number)
          }
        }
        #expect(UInt64(stored.count) == intact)
        try await expectHealed(place, stored)
      }
    }
  }

  @Test("Tombstones in the intact blocks of a damaged table still hold: the removed stay removed")
  func removedStayRemoved() async throws {
    try await withPlace { place in
      let (ids, table) = try await place.withSpool { spool in
        let ids = try await storeInTables(spool, 200)
        // Over the messages in the last level: their tombstones, and large messages between them.
        for number in stride(from: 0, to: 200, by: 2) { try await spool.remove(ids[number]) }
        for number in stride(from: 1, to: 200, by: 2) {
          try await spool.put(ids[number], payload(number + 1, bytes: 2_000))
        }
        try await spool.flush()
        return (ids, try #require(try spool.tables.first { $0.level == 0 }))
      }
      try place.damage(table.number, .flippedBit)
      let report = try await repair(place)
      #expect(report.isApplied && report.rescued > 50)
      #expect(report.uncertain > 0 && report.uncertain < 20)
      #expect(report.uncertainIDs.count == Int(report.uncertain))
      let uncertain = Set(report.uncertainIDs)
      var stored: [SpoolID: Bytes] = [:]
      for (number, id) in ids.enumerated() {
        if uncertain.contains(id) {
          // What the lost block said of it is not known: the elder is kept.
          stored[id] = payload(number)
        } else if number % 2 == 1 {
          stored[id] = payload(number + 1, bytes: 2_000)
        }
      }
      try await expectHealed(place, stored)
    }
  }

  @Test("What one damaged table hides of another is found, also where one of level 0 is missing")
  func tablesHideEachOther() async throws {
    try await withPlace { place in
      let (ids, tables) = try await place.withSpool { spool in
        try spool.setOptions(["disable_auto_compactions": "true"])
        let ids = (0..<90).map { id(atMilliseconds: UInt64($0 * 1_000 + 1_000)) }
        // Three tables of level 0 over the same stretch of keys.
        for part in 0..<3 {
          for number in stride(from: part, to: 90, by: 3) {
            try await spool.put(ids[number], payload(number))
          }
          try await spool.flush()
        }
        return (ids, try spool.tables.sorted { $0.number < $1.number })
      }
      #expect(tables.count == 3)
      try place.damage(tables[0].number, .missing)
      try place.damage(tables[1].number, .flippedBit)
      let report = try await repair(place)
      #expect(report.tables.map(\.number).sorted() == tables.prefix(2).map(\.number))
      #expect(report.tables.contains { $0.isMissing })
      var stored: [SpoolID: Bytes] = [:]
      try await place.withSpool { spool in
        for (number, id) in ids.enumerated() where try await spool.contains(id) {
          stored[id] = payload(number)
          #expect(number % 3 != 0)
        }
      }
      // All of the third table, and of the second all but a block of 4 KiB.
      #expect(stored.count >= 30 + 25 && stored.count < 60, "\(stored.count)")
      try await expectHealed(place, stored)
    }
  }

  @Test(
    "What one damaged table gave is not taken away for its lack in the next",
    arguments: [TableFault.missing, .noFooter], 0..<3)
  func rescuedStaysRescued(kind: TableFault, hiding: Int) async throws {
    try await withPlace { place in
      let ids = (0..<300).map { id(atMilliseconds: UInt64($0 * 1_000 + 1_000)) }
      let value = { (number: Int) in numberedValue(number, bytes: 1_000) }
      // Stored in the elder of the two tables that open and removed in the younger; and the other
      // way round, over a message in a sound table.
      let removed = id(atMilliseconds: 31_500)
      let restored = id(atMilliseconds: 61_500)
      let readable = (0..<3).filter { $0 != hiding }
      let tables = try await place.withSpool { spool in
        try spool.setOptions(["disable_auto_compactions": "true"])
        try await spool.put(restored, value(1_001))
        try await spool.compact()
        for part in 0..<3 {
          for number in stride(from: part, to: 300, by: 3) {
            try await spool.put(ids[number], value(number))
          }
          if part == readable[0] {
            try await spool.put(removed, value(1_000))
            try await spool.remove(restored)
          } else if part == readable[1] {
            try await spool.remove(removed)
            try await spool.put(restored, value(1_001))
          }
          try await spool.flush()
        }
        return try spool.tables.filter { $0.level == 0 }.sorted { $0.number < $1.number }
      }
      #expect(tables.count == 3)
      try place.damage(tables[hiding].number, kind)
      // In blocks of different keys, and in two of the same.
      let struck = [
        90 + readable[0], 150 + readable[1], 240 + readable[0], 240 + readable[1],
      ]
      for part in readable {
        let path = place.pathOfTable(tables[part].number)
        var bytes = try Files.read(path, limit: .max)
        for number in struck where number % 3 == part {
          bytes[try #require(bytes.firstRange(of: value(number))).lowerBound] ^= 0xFF
        }
        try writeFile(bytes, to: path)
      }
      let given = try await place.withSpool("main", .reader) { spool in
        try await spool.all().entries.compactMap { entry in
          if case .item(let id, _) = entry { id } else { nil }
        }
      }
      #expect(given.count > 150)
      let trial = try await repair(place, applies: false)
      let report = try await repair(place)
      #expect(report.tables.count == 3)
      #expect(trial.intact == report.intact && trial.rescued == report.rescued)
      var stored = [restored: value(1_001)]
      for number in ids.indices where number % 3 != hiding {
        // A block has four messages of its table.
        if struck.contains(where: { $0 % 3 == number % 3 && abs($0 - number) <= 9 }) { continue }
        stored[ids[number]] = value(number)
      }
      #expect(stored.count >= 173)
      try await place.withSpool { spool in
        for number in ids.indices where stored[ids[number]] == nil {
          guard let bytes = try await spool.loadIfPresent(ids[number]) else { continue }
          #expect(number % 3 != hiding && bytes == value(number))
          stored[ids[number]] = bytes
        }
      }
      #expect(stored.count == 185)
      #expect(Set(given).subtracting(stored.keys).isEmpty)
      // Each once; what the sound table has is no more than kept.
      #expect(report.rescued == UInt64(stored.count - 1))
      #expect(report.intact == UInt64(stored.count))
      try await expectHealed(place, stored)
    }
  }

  @Test("What lies between two damaged blocks is listed and kept, however narrow")
  func intactBlockBetweenDamagedOnes() async throws {
    try await withPlace { place in
      // Two messages in each block; those of the block between come within a millisecond.
      let ids = (0..<60).map { number in
        let milliseconds: Int = number < 23 ? number * 150 : number * 150 - 149
        return id(atMilliseconds: UInt64(milliseconds))
      }
      let table = try await place.withSpool { spool in
        for (number, id) in ids.enumerated() {
          try await spool.put(id, payload(number, bytes: 3_000))
        }
        try await spool.compact()
        return try #require(try spool.tables.first)
      }
      let path = place.pathOfTable(table.number)
      var bytes = try Files.read(path, limit: .max)
      for number in [20, 24] {
        let start = try #require(bytes.firstRange(of: payload(number, bytes: 3_000))).lowerBound
        bytes[start] ^= 0xFF
      }
      try writeFile(bytes, to: path)
      let readable = Set(ids).subtracting([20, 21, 24, 25].map { ids[$0] })
      try await place.withSpool { spool in
        for id in ids {
          let isRead = (try? await spool.load(id)) != nil
          #expect(isRead == readable.contains(id))
        }
        let given = try await spool.all().entries.compactMap { entry in
          if case .item(let id, _) = entry { id } else { nil }
        }
        #expect(Set(given) == readable)
        let found = try await spool.verify()
        #expect(found.intact == 56 && found.lostRanges.count == 2)
      }
      let report = try await repair(place)
      #expect(report.isApplied && report.intact == 56 && report.lost == 4)
      var stored: [SpoolID: Bytes] = [:]
      for (number, id) in ids.enumerated() where readable.contains(id) {
        stored[id] = payload(number, bytes: 3_000)
      }
      try await expectHealed(place, stored)
    }
  }

  @Test("A record that fails its checks goes to the spool's quarantine as it is")
  func damagedRecord() async throws {
    try await withPlace { place in
      let ids = try await place.withSpool { spool in
        let ids = (0..<3).map { _ in spool.makeID() }
        for id in ids { try await spool.put(id, [1]) }
        try await spool.putRaw(ids[1].bytes, [9, 9, 9])
        return ids
      }
      let report = try await repair(place)
      #expect(report.isApplied && report.tables.isEmpty && report.quarantine == nil)
      #expect(report.damagedIDs == [ids[1]] && report.damaged == 1 && report.intact == 2)
      try await expectHealed(place, [ids[0]: [1], ids[2]: [1]])
      try await place.withSpool { spool in
        let contents = try await spool.loadQuarantined(ids[1])
        #expect(contents.form == .record && contents.bytes == [9, 9, 9])
        #expect(contents.damage != nil)
        #expect(contents.reason?.hasPrefix("found damaged by a repair") == true)
      }
    }
  }

  @Test("Other families stay as they are, a damaged one among them")
  func otherFamiliesAreLeft() async throws {
    try await withPlace { place in
      let (table, other) = try await place.withSpool { spool in
        _ = try await storeInTables(spool, 100)
        let second = try await RocksSpool(store: spool.storage, name: "other")
        try await second.put(second.makeID(), payload(1, bytes: 20_000))
        try await second.flush()
        return (try spool.tables[1].number, try #require(try second.tables.first).number)
      }
      try place.damage(table, .flippedBit)
      try place.damage(other, .flippedBit)
      let bytes = try Files.read(place.pathOfTable(other), limit: .max)
      let report = try await repair(place)
      #expect(report.isApplied && report.tables.map(\.number) == [table])
      #expect(try Files.read(place.pathOfTable(other), limit: .max) == bytes)
      try await place.withSpool("other") { (spool) async throws in
        let numbers = try spool.tables.map(\.number)
        #expect(numbers == [other])
        let found = try await spool.verify()
        #expect(found.lostRanges.count == 1)
      }
    }
  }

  @Test("A repair refuses a running store, an absent spool and an absent store")
  func refusals() async throws {
    try await withPlace { place in
      await expectError(.notFound) { _ = try await repair(place) }
      try await place.withSpool { spool in
        try await spool.put(spool.makeID(), [1])
        let text = await expectError(.unavailable) { _ = try await repair(place) }
        #expect(text.contains("held by"))
      }
      await expectError(.notFound) {
        _ = try await RocksSpool.repair(storeAt: place.path, name: "none", applies: true)
      }
      await expectError(.invalidArgument) {
        _ = try await RocksSpool.repair(storeAt: place.path, name: "a b", applies: true)
      }
    }
  }

  @Test("A message in a damaged block can be removed, also with a quota")
  func removeInABadBlock() async throws {
    try await withPlace { place in
      let (ids, table) = try await place.withSpool { spool in
        (try await storeInTables(spool, 100), try spool.tables[1])
      }
      try place.damage(table.number, .flippedBit)
      let store = try await place.open()
      let missing = try await place.hidden(ids, store)
      try await store.close()
      #expect(missing.count > 1)
      // With a quota: the damage comes after the opening, which counts all messages.
      try place.damage(table.number, .flippedBit)
      let counting = try await place.open()
      var settings = SpoolSettings()
      settings.quota = SpoolQuota(entries: 1_000)
      let spool = try await RocksSpool(store: counting, name: "main", settings: settings)
      try spool.setOptions(["disable_auto_compactions": "true"])
      #expect(spool.usage?.entries == 100)
      try place.damage(table.number, .flippedBit)
      try await spool.remove(missing[1])
      // Its size is not known, so it stays counted; and the gate was told.
      #expect(spool.usage?.entries == 100)
      #expect(spool.gateStatus.causes.map(\.reason) == ["corruption"])
      await expectError(.unavailable) { try await spool.remove(ids[0]) }
      try await counting.close()
      let anew = try await place.open()
      let family = try #require(anew.existingFamily("spool:main"))
      #expect(try await RocksSpool.remove(missing[0], from: family, of: anew, looks: true) == nil)
      #expect(try await RocksSpool.remove(ids[0], from: family, of: anew, looks: true) == true)
      #expect(try await RocksSpool.remove(ids[0], from: family, of: anew, looks: true) == false)
      #expect(try await RocksSpool.remove(ids[1], from: family, of: anew, looks: false) == nil)
      try await anew.close()
    }
  }
}

extension TestPlace {
  /// The messages that cannot be read.
  fileprivate func hidden(_ ids: [SpoolID], _ store: Store) async throws -> [SpoolID] {
    let spool = try await RocksSpool(store: store, name: "main")
    var hidden: [SpoolID] = []
    for id in ids where (try? await spool.load(id)) == nil { hidden.append(id) }
    return hidden
  }
}
