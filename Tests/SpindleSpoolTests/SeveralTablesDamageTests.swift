import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// The damage of a table costs what that table held there: it hides nothing that others hold, from
/// no walk and from no repair.
@Suite("Damage of several tables", .serialized)
struct SeveralTablesDamageTests {
  /// Messages by their numbers, which rise with their ids.
  struct Layout: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// In some tables of the last level.
    var bottom: [Int] = []
    /// In one table of level 0 each, the oldest first.
    var top: [[Int]] = []
    /// Messages whose block is struck.
    let struck: [Int]

    var numbers: [Int] { (bottom + top.joined()).sorted() }

    /// The messages that may share a block of 4 KiB with a struck one.
    var endangered: Set<Int> {
      var found: Set<Int> = []
      for part in [bottom] + top {
        for number in struck {
          guard let place = part.firstIndex(of: number) else { continue }
          found.formUnion(part[max(place - 4, 0)..<min(place + 5, part.count)])
        }
      }
      return found
    }
  }

  private static func every(_ step: Int, from start: Int) -> [Int] {
    Array(stride(from: start, to: 180, by: step))
  }

  private static let inOrder = [Array(0..<100), Array(100..<200)]
  private static let inTurn = [every(2, from: 0), every(2, from: 1)]
  private static let threeInTurn = (0..<3).map { every(3, from: $0) }

  static let layouts = [
    Layout(testDescription: "the first block of the newer", top: inOrder, struck: [100]),
    Layout(
      testDescription: "a middle block of the older, the first of the newer", top: inOrder,
      struck: [40, 100]),
    Layout(testDescription: "the first blocks of two", top: inOrder, struck: [0, 100]),
    Layout(
      testDescription: "blocks that meet, of two", top: inOrder, struck: [91, 95, 99, 100, 104]),
    Layout(
      testDescription: "the newer keys in the older table", top: inOrder.reversed(),
      struck: [0, 60, 100]),
    Layout(testDescription: "in turn, the first blocks", top: inTurn, struck: [0, 1]),
    Layout(testDescription: "in turn, the same stretch", top: inTurn, struck: [90, 91, 140, 151]),
    Layout(
      testDescription: "in turn, a block within two others", top: inTurn,
      struck: [80, 88, 85]),
    Layout(
      testDescription: "three in order", top: [Array(0..<70), Array(70..<140), Array(140..<210)],
      struck: [30, 70, 105, 140]),
    Layout(
      testDescription: "three in turn, first, middle and last blocks", top: threeInTurn,
      struck: [0, 1, 2, 60, 73, 86, 90, 91, 92, 177, 178, 179]),
    Layout(
      testDescription: "the first of the last level", bottom: Array(100..<200),
      top: [Array(0..<100)], struck: [100]),
    Layout(
      testDescription: "the last level and level 0 in turn", bottom: every(2, from: 0),
      top: [every(4, from: 1), every(4, from: 3)], struck: [0, 1, 3, 60, 90, 91, 178, 179]),
  ]

  private func id(_ number: Int) -> SpoolID { SpindleSpoolTests.id(atMilliseconds: time(number)) }
  private func time(_ number: Int) -> UInt64 { UInt64(number) * 1_000 + 1_000 }
  private func value(_ number: Int) -> Bytes { numberedValue(number, bytes: 1_000) }

  /// The spool's tables, with the messages of some of them struck.
  private func store(_ layout: Layout, in place: TestPlace) async throws {
    let tables = try await place.withSpool { spool in
      try spool.setOptions(["target_file_size_base": "32768", "disable_auto_compactions": "true"])
      for number in layout.bottom { try await spool.put(id(number), value(number)) }
      if !layout.bottom.isEmpty { try await spool.compact() }
      for part in layout.top {
        for number in part { try await spool.put(id(number), value(number)) }
        try await spool.flush()
      }
      return try spool.tables
    }
    #expect(tables.count { $0.level == 0 } == layout.top.count)
    try strike(layout.struck.map { value($0) }, in: tables.map(\.number), of: place)
  }

  private func strike(_ values: [Bytes], in tables: [UInt64], of place: TestPlace) throws {
    var left = values
    for table in tables {
      let path = place.pathOfTable(table)
      var bytes = try Files.read(path, limit: .max)
      var isStruck = false
      left.removeAll { value in
        guard let range = bytes.firstRange(of: value) else { return false }
        bytes[range.lowerBound] ^= 0xFF
        isStruck = true
        return true
      }
      if isStruck { try writeFile(bytes, to: path) }
    }
    #expect(left.isEmpty)
  }

  private func isInside(_ id: SpoolID, _ ranges: [SpoolLostRange]) -> Bool {
    ranges.contains { range in
      !id.bytes.lexicographicallyPrecedes(range.from)
        && range.to.map { id.bytes.lexicographicallyPrecedes($0) } ?? true
    }
  }

  /// The messages that a walk gives, with their bytes.
  private func given(_ entries: [SpoolEntry]) -> [SpoolID: Bytes] {
    var found: [SpoolID: Bytes] = [:]
    for case .item(let id, let data) in entries { found[id] = data }
    return found
  }

  private func leftovers(_ spool: RocksSpool) async throws -> [SpoolEntry] {
    let channel = SpoolEntryChannel(capacity: 100)
    _ = try spool.enumerateLeftovers(into: channel)
    var entries: [SpoolEntry] = []
    for await entry in channel { entries.append(entry) }
    return entries
  }

  private func repair(_ place: TestPlace, applies: Bool) async throws -> SpoolRepair {
    try await RocksSpool.repair(
      storeAt: place.path, name: "main", applies: applies, settings: settings)
  }

  private var settings: StoreSettings {
    var settings = StoreSettings.quiet
    settings.capacityFloor = .none
    settings.ballastBytes = 0
    return settings
  }

  /// Expects a sound spool that holds exactly these messages.
  private func expectHealed(_ place: TestPlace, _ stored: [SpoolID: Bytes]) async throws {
    try await place.withSpool { spool in
      let found = try await spool.verify()
      #expect(found.isIntact, "\(found)")
      #expect(try await given(spool.all().entries) == stored)
      for (id, bytes) in stored { #expect(try await spool.loadIfPresent(id) == bytes) }
    }
  }

  @Test(
    "A-E-5: bad blocks cost the messages in them, of a walk and of a repair", arguments: layouts)
  func blocksCostTheirMessages(layout: Layout) async throws {
    try await withPlace { (place) async throws in
      try await store(layout, in: place)
      var stored: [SpoolID: Bytes] = [:]
      for number in layout.numbers { stored[id(number)] = value(number) }
      let kept = try await place.withSpool { (spool) async throws in
        let (entries, outcome) = try await spool.all()
        let kept = given(entries)
        #expect(entries.count == kept.count)
        for (id, bytes) in kept { #expect(stored[id] == bytes) }
        let missing = Set(stored.keys).subtracting(kept.keys)
        #expect((layout.struck.count...4 * layout.struck.count).contains(missing.count))
        #expect(missing.isSubset(of: layout.endangered.map { id($0) }))
        for id in missing { #expect(isInside(id, outcome.lostRanges), "\(id) is not told") }
        // No stretch is told in which only sound blocks are.
        let told = stored.keys.filter { isInside($0, outcome.lostRanges) }
        let near = Set(layout.endangered.map { id($0).bytes.prefix(6) }).sorted {
          $0.lexicographicallyPrecedes($1)
        }
        for id in told {
          #expect(!id.bytes.prefix(6).lexicographicallyPrecedes(near[0]))
          #expect(!near[near.count - 1].lexicographicallyPrecedes(id.bytes.prefix(6)))
        }
        for (next, range) in zip(outcome.lostRanges.dropFirst(), outcome.lostRanges) {
          #expect(range.to.map { !next.from.lexicographicallyPrecedes($0) } ?? false)
        }
        for id in stored.keys where (try? await spool.load(id)) != nil {
          #expect(kept[id] != nil, "\(id) can be loaded and is not listed")
        }
        #expect(try await leftovers(spool) == entries)
        let found = try await spool.verify()
        #expect(found.intact == UInt64(kept.count) && found.lostRanges == outcome.lostRanges)
        #expect(try await spool.stats().count == UInt64(kept.count))
        let export = try await spool.export(to: place.path + ".export")
        #expect(export.messages == kept.count)
        return kept
      }
      let read = try await place.withSpool("main", .reader) { spool in
        given(try await spool.all().entries)
      }
      #expect(read == kept)
      let trial = try await repair(place, applies: false)
      let report = try await repair(place, applies: true)
      #expect(report.lost == UInt64(stored.count - kept.count))
      #expect(report.intact == UInt64(kept.count))
      #expect(trial.lost == report.lost && trial.intact == report.intact)
      #expect(trial.rescued == report.rescued && trial.lostRanges == report.lostRanges)
      #expect(!Files.exists(place.path + "/quarantine/repair.work"))
      try await expectHealed(place, kept)
    }
  }

  /// Messages are replaced and removed across three tables of level 0 and some of the last level.
  @Test(
    "Whatever blocks are bad, what can be loaded is listed and outlives a repair",
    arguments: 0..<8 as Range<UInt64>)
  func whatLoadsStays(seed: UInt64) async throws {
    var random = SeededGenerator(seed: seed)
    let ids = (0..<150).map { id($0) }
    try await withPlace { (place) async throws in
      var next = 0
      let tables = try await place.withSpool { (spool) async throws in
        try spool.setOptions(["target_file_size_base": "32768", "disable_auto_compactions": "true"])
        for part in 0..<4 {
          for id in ids where part == 0 || random.next() % 3 == 0 {
            next += 1
            if part > 0, random.next() % 4 == 0 {
              try await spool.remove(id)
            } else {
              try await spool.put(id, value(next))
            }
          }
          if part == 0 { try await spool.compact() } else { try await spool.flush() }
        }
        return try spool.tables
      }
      let top = tables.filter { $0.level == 0 }
      #expect(top.count == 3 && tables.count > 5)
      // In all three tables of level 0, in every other case also in their first blocks, and below.
      for table in top + [tables[Int(random.next() % UInt64(tables.count))]] {
        let path = place.pathOfTable(table.number)
        var bytes = try Files.read(path, limit: .max)
        if seed % 2 == 0 { bytes[100] ^= 1 }
        for _ in 0..<2 { bytes[Int(random.next() % UInt64(bytes.count - 4_000))] ^= 1 }
        try writeFile(bytes, to: path)
      }
      var loaded: [SpoolID: Bytes] = [:]
      var removed: [SpoolID] = []
      try await place.withSpool { (spool) async throws in
        for id in ids {
          do {
            loaded[id] = try await spool.load(id)
          } catch let error as SpindleError where error.kind == .notFound {
            removed.append(id)
          } catch let error as SpindleError {
            #expect(error.kind == .corruption || error.kind == .io)
          }
        }
        #expect(loaded.count > 20 && !removed.isEmpty)
        let (entries, outcome) = try await spool.all()
        let given = given(entries)
        for (id, bytes) in loaded { #expect(given[id] == bytes, "\(id)") }
        for id in removed { #expect(given[id] == nil, "\(id)") }
        for id in ids where loaded[id] == nil && !removed.contains(id) {
          #expect(isInside(id, outcome.lostRanges))
        }
      }
      let report = try await repair(place, applies: true)
      #expect(report.isApplied && report.tables.count >= 3)
      try await place.withSpool { (spool) async throws in
        for (id, bytes) in loaded { #expect(try await spool.loadIfPresent(id) == bytes, "\(id)") }
        for id in removed { #expect(try await spool.loadIfPresent(id) == nil, "\(id)") }
        let found = try await spool.verify()
        #expect(found.isIntact && found.intact == report.intact, "\(found)")
      }
    }
  }

  /// Where a table of removals is struck, and what was not removed.
  struct Removals: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// In sixteenths of the table's blocks.
    let struck: [Int]
    /// Every so many messages one stays.
    let stays: Int
  }

  static let removals = [
    Removals(testDescription: "a block, all else removed", struck: [8], stays: .max),
    Removals(testDescription: "two blocks, all else removed", struck: [4, 9], stays: .max),
    Removals(
      testDescription: "the first block and one, all else removed", struck: [0, 8], stays: .max),
    Removals(testDescription: "two blocks, some stay", struck: [3, 8], stays: 700),
    Removals(testDescription: "two blocks, many stay", struck: [3, 8], stays: 3),
  ]

  /// The messages stand in tables below, their removals in one of level 0.
  @Test(
    "A-E-5: a bad block of removals gives again what was removed in it, and nothing beside it",
    arguments: removals)
  func removalsOutsideOfBlocksCount(removals: Removals) async throws {
    // The most removals in a block of 4 KiB: each takes 11 bytes and what its key does not share
    // with the last, 11 bytes more.
    let blockLimit = 200
    let count = 2_400
    try await withPlace { (place) async throws in
      let table = try await place.withSpool { (spool) async throws -> Database.TableFile in
        try spool.setOptions(["disable_auto_compactions": "true"])
        for number in 0..<count { try await spool.put(id(number), [UInt8(number & 0xFF)]) }
        try await spool.compact()
        for number in 0..<count where number % removals.stays != 1 {
          try await spool.remove(id(number))
        }
        try await spool.flush()
        return try #require(try spool.tables.first { $0.level == 0 })
      }
      let path = place.pathOfTable(table.number)
      var bytes = try Files.read(path, limit: .max)
      // The index, the filter and the properties stand behind the blocks, within the last third.
      for part in removals.struck { bytes[100 + bytes.count / 3 * 2 * part / 16] ^= 1 }
      try writeFile(bytes, to: path)

      let stay = (0..<count).filter { $0 % removals.stays == 1 }.map { id($0) }
      let outcome = try await place.withSpool {
        (spool) async throws -> (kept: [SpoolID: Bytes], ranges: [SpoolLostRange]) in
        let (entries, outcome) = try await spool.all()
        let kept = given(entries)
        #expect(entries.count == kept.count && outcome.error?.kind == .corruption)
        #expect(Set(stay).isSubset(of: kept.keys))
        let back = Set(kept.keys).subtracting(stay)
        for id in back { #expect(isInside(id, outcome.lostRanges), "\(id) is not told") }
        #expect(outcome.lostRanges.count == removals.struck.count)
        for range in outcome.lostRanges {
          #expect(range.file == table.number)
          #expect((1...blockLimit).contains(back.count { isInside($0, [range]) }))
        }
        let found = try await spool.verify()
        #expect(found.intact == UInt64(kept.count) && found.lostRanges == outcome.lostRanges)
        #expect(try await spool.stats().count == UInt64(kept.count))
        #expect(try await leftovers(spool) == entries)
        return (kept, outcome.lostRanges)
      }
      let trial = try await repair(place, applies: false)
      let report = try await repair(place, applies: true)
      #expect(report.intact == UInt64(outcome.kept.count) && trial.intact == report.intact)
      #expect(trial.lostRanges == outcome.ranges && report.lostRanges == outcome.ranges)
      try await expectHealed(place, outcome.kept)
    }
  }

  /// What is read again in a repair may be worse than it was at the look.
  @Test("A repair that reads less while it merges than before is refused and loses nothing")
  func mergeReadsLess() async throws {
    let numbers = Self.inTurn.joined().sorted()
    try await withPlace { (place) async throws in
      let layout = Layout(testDescription: "", top: Self.inTurn, struck: [90])
      try await store(layout, in: place)
      let kept = try await place.withSpool { given(try await $0.all().entries) }
      #expect(kept.count >= numbers.count - 4)
      let tables = try await place.withSpool { try $0.tables }
      var paths = tables.map { place.pathOfTable($0.number) }
      try paths.removeAll {
        try Files.read($0, limit: .max).firstRange(of: value(91)) == nil
      }
      let path = try #require(paths.first)
      let sound = try Files.read(path, limit: .max)
      let damaged = try {
        var bytes = sound
        bytes[try #require(bytes.firstRange(of: value(91))).lowerBound] ^= 0xFF
        return bytes
      }()
      var hooks = RecoveryHooks()
      // Another file under the name: the repair's copy keeps the sound one.
      hooks.beforeStep = { step in
        guard step == "fill" || step == "check" else { return }
        try Files.remove(path)
        try writeFile(step == "fill" ? damaged : sound, to: path)
      }
      await expectError(.corruption) {
        _ = try await RocksSpool.repair(
          storeAt: place.path, name: "main", applies: true, settings: settings, hooks: hooks)
      }
      try Files.remove(path)
      try writeFile(sound, to: path)
      #expect(!Files.exists(place.path + "/quarantine/repair.work"))
      #expect(try await repair(place, applies: true).isApplied)
      try await expectHealed(place, kept)
    }
  }
}
