import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// A walk gives everything outside of what it reports as lost.
@Suite("Walks over damage")
struct DamagedWalkTests {
  /// Checks an enumeration against what is stored, and gives the ids that are missing.
  @discardableResult
  private func check(
    _ entries: [SpoolEntry], _ outcome: SpoolEnumeration.Outcome, _ stored: [SpoolID]
  ) -> [SpoolID] {
    let given = entries.compactMap { if case .item(let id, _) = $0 { id } else { nil } }
    #expect(given == given.sorted())
    #expect(Set(given).count == given.count)
    #expect(Set(given).isSubset(of: stored))
    #expect(outcome.count == given.count)
    #expect(outcome.error?.kind == .corruption || outcome.error?.kind == .io)
    let missing = Set(stored).subtracting(given)
    for id in missing {
      let isTold = outcome.lostRanges.contains { range in
        !id.bytes.lexicographicallyPrecedes(range.from)
          && range.to.map { id.bytes.lexicographicallyPrecedes($0) } ?? true
      }
      #expect(isTold, "\(id) is missing and not told")
    }
    for (range, next) in zip(outcome.lostRanges, outcome.lostRanges.dropFirst()) {
      // In order and apart.
      #expect(range.to.map { !next.from.lexicographicallyPrecedes($0) } ?? false)
    }
    return missing.sorted()
  }

  @Test(
    "A-E-5: damage of one table costs what it hit, is told, and shuts the gate",
    arguments: TableFault.allCases)
  func damagedTableIsPassed(kind: TableFault) async throws {
    try await withPlace { (place) async throws in
      let (ids, table) = try await place.withSpool { (spool) async throws in
        let ids = try await storeInTables(spool, 400)
        let tables = try spool.tables
        #expect(tables.count > 4)
        return (ids, tables[tables.count / 2])
      }
      try place.damage(table.number, kind)
      try await place.withSpool { (spool) async throws in
        let events = spool.storage.events
        let (entries, outcome) = try await spool.all()
        let missing = check(entries, outcome, ids)
        #expect(outcome.lostRanges.count == 1)
        #expect(outcome.lostRanges.first?.file == table.number)
        if kind == .flippedBit {
          // One block of 4 KiB, and those before it in the table are given.
          #expect((1...5).contains(missing.count))
        } else {
          let inTable = ids.filter {
            !$0.bytes.lexicographicallyPrecedes(table.smallestKey)
              && !table.largestKey.lexicographicallyPrecedes($0.bytes)
          }
          #expect(missing == inTable)
        }
        #expect(spool.unhealthyReason != nil)
        #expect(spool.family.health.isShut)
        await expectError(.unavailable) { try await spool.put(ids[0], [1]) }
        // Once more, the same.
        #expect(try await spool.all().outcome.lostRanges == outcome.lostRanges)
        let found = try await spool.verify()
        #expect(found.lostRanges == outcome.lostRanges)
        #expect(found.intact == UInt64(ids.count - missing.count))
        #expect(try await spool.stats().lostRanges == outcome.lostRanges)
        try await spool.storage.close()
        var told: [StoreEvent] = []
        for await event in events {
          if case .enumerated(_, _, _, _, _, 1, .some) = event { told.append(event) }
        }
        #expect(told.count == 2)
      }
    }
  }

  /// RocksDB ended the process in its read-ahead.
  @Test("A table that is cut short while the store is open is passed")
  func tableIsCutWhileOpen() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (spool) async throws in
        let ids = try await storeInTables(spool, 300)
        let tables = try spool.tables
        #expect(try await spool.all().outcome.count == 300)
        for table in [tables[1], tables[3]] { try place.damage(table.number, .cutShort) }
        let (entries, outcome) = try await spool.all()
        check(entries, outcome, ids)
        #expect(outcome.lostRanges.map(\.file) == [tables[1].number, tables[3].number])
        #expect(outcome.count > 150)
      }
    }
  }

  @Test("A first and a last table that do not open lose their own messages alone")
  func outerTablesArePassed() async throws {
    try await withPlace { (place) async throws in
      let (ids, tables) = try await place.withSpool { (spool) async throws in
        (try await storeInTables(spool, 300), try spool.tables)
      }
      try place.damage(tables[0].number, .noFooter)
      try place.damage(try #require(tables.last).number, .noFooter)
      try await place.withSpool { (spool) async throws in
        let (entries, outcome) = try await spool.all()
        let missing = check(entries, outcome, ids)
        #expect(missing.first == ids.first)
        #expect(missing.last == ids.last)
        #expect(outcome.lostRanges.count == 2)
        #expect(outcome.count > 150)
      }
    }
  }

  @Test("Messages of other tables in front of a damaged one are given")
  func otherTablesAreReadUpToTheDamage() async throws {
    try await withPlace { (place) async throws in
      let (ids, table) = try await place.withSpool { (spool) async throws in
        var ids = try await storeInTables(spool, 300)
        let tables = try spool.tables
        // Between the end of the third table and the beginning of the fourth.
        let key = tables[3].smallestKey
        let smallest = SpoolID(bytes: key.span)
        let border = try #require(smallest)
        let milliseconds = UInt64(border.created.ticks / 10_000)
        for number in 1...5 {
          let id = id(atMilliseconds: milliseconds - UInt64(number))
          try await spool.put(id, [1])
          ids.append(id)
        }
        try await spool.flush()
        return (ids, tables[3])
      }
      try place.damage(table.number, .noFooter)
      try await place.withSpool { (spool) async throws in
        let (entries, outcome) = try await spool.all()
        check(entries, outcome, ids)
        #expect(outcome.lostRanges.first?.from == table.smallestKey)
        let added = ids.suffix(5).map { SpoolEntry.item(id: $0, data: [1]) }
        let areGiven = added.allSatisfy { entries.contains($0) }
        #expect(areGiven)
      }
    }
  }

  @Test(
    "A-E-5: a table of level 0 that does not open hides nothing that others hold",
    arguments: [TableFault.noFooter, .cutShort, .missing])
  func unreadableFirstLevelIsLeftOut(kind: TableFault) async throws {
    try await withPlace { (place) async throws in
      let ids = (0...60).map { id(atMilliseconds: UInt64($0 * 1_000 + 1_000)) }
      let table = try await place.withSpool { (spool) async throws in
        try spool.setOptions(["disable_auto_compactions": "true"])
        for number in [0, 10, 20] { try await spool.put(ids[number], payload(number)) }
        try await spool.flush()
        // Over the same stretch: others, a replacement, and a removal.
        for number in 1..<60 where number != 20 {
          try await spool.put(ids[number], payload(number + 100))
        }
        try await spool.remove(ids[20])
        try await spool.flush()
        let table = try #require(try spool.tables.max { $0.number < $1.number })
        #expect(table.level == 0)
        // In the log alone.
        try await spool.remove(ids[0])
        try await spool.put(ids[30], payload(30))
        try await spool.put(ids[60], payload(60))
        return table
      }
      try place.damage(table.number, kind)
      // What was replaced or removed in the lost table is as it was before; the log still holds.
      let kept = [10, 20, 30, 60].map { SpoolEntry.item(id: ids[$0], data: payload($0)) }
      let lost = SpoolLostRange(
        file: table.number, from: table.smallestKey, to: table.largestKey + [0])
      try await place.withSpool { (spool) async throws in
        let (entries, outcome) = try await spool.all()
        #expect(entries == kept)
        #expect(outcome.error?.kind == .corruption || outcome.error?.kind == .io)
        #expect(outcome.lostRanges == [lost])
        #expect(spool.family.health.isShut)
        let channel = SpoolEntryChannel(capacity: 100)
        let leftovers = try spool.enumerateLeftovers(into: channel)
        var left: [SpoolEntry] = []
        for await entry in channel { left.append(entry) }
        #expect(left == kept)
        #expect(await leftovers.finished().lostRanges == [lost])
        let found = try await spool.verify()
        #expect(found.intact == 4 && found.lostRanges == [lost] && !found.isIntact)
        let statistics = try await spool.stats()
        #expect(statistics.count == 4 && statistics.lostRanges == [lost])
        let export = try await spool.export(to: place.path + ".export")
        #expect(export.messages == 4 && export.lostRanges == [lost])
      }
    }
  }

  @Test("A-E-5: a table of level 0 that is cut short while it is open is left out of each view")
  func shortFirstLevelIsLeftOut() async throws {
    try await withPlace { (place) async throws in
      let ids = (0...40).map { id(atMilliseconds: UInt64($0 * 1_000 + 1_000)) }
      let table = try await place.withSpool { (spool) async throws in
        for part in [0..<20, 20..<40] {
          for number in part { try await spool.put(ids[number], payload(number)) }
          try await spool.flush()
        }
        return try #require(try spool.tables.max { $0.number < $1.number })
      }
      try await place.withSpool { (spool) async throws in
        let damaged = try #require(try spool.tables.first { $0.number == table.number })
        #expect(damaged.level == 0)
        // Behind the view of the opening, in the log.
        try await spool.remove(ids[3])
        try await spool.put(ids[40], payload(40))
        try place.damage(table.number, .cutShort)
        let (entries, outcome) = try await spool.all()
        #expect(check(entries, outcome, Array(ids[0..<3] + ids[4...])) == Array(ids[20..<40]))
        let channel = SpoolEntryChannel(capacity: 100)
        _ = try spool.enumerateLeftovers(into: channel)
        var left: [SpoolEntry] = []
        for await entry in channel { left.append(entry) }
        #expect(left == (0..<20).map { .item(id: ids[$0], data: payload($0)) })
      }
    }
  }

  @Test("Whatever is damaged, what is missing is told", arguments: 0..<12 as Range<UInt64>)
  func randomDamageIsTold(seed: UInt64) async throws {
    var random = SeededGenerator(seed: seed)
    try await withPlace { (place) async throws in
      let (ids, tables) = try await place.withSpool { (spool) async throws in
        var ids = try await storeInTables(spool, 250)
        for number in 0..<40 {
          let milliseconds = UInt64(number) * 6_300 + 1_100
          let id = id(atMilliseconds: milliseconds, 1)
          try await spool.put(id, payload(number))
          ids.append(id)
          if number == 20 { try await spool.flush() }
        }
        return (ids, try spool.tables)
      }
      for _ in 0..<3 {
        let table = tables[Int(random.next() % UInt64(tables.count))]
        let path = place.pathOfTable(table.number)
        var bytes = try Files.read(path, limit: .max)
        // Up to the end of the index; later bytes may go unread.
        let place = Int(random.next() % UInt64(bytes.count - 2_000))
        bytes[place] ^= UInt8(truncatingIfNeeded: random.next() | 1)
        try writeFile(bytes, to: path)
      }
      try await place.withSpool { (spool) async throws in
        let (entries, outcome) = try await spool.all()
        let missing = check(entries, outcome, ids)
        #expect((1...60).contains(missing.count))
        #expect(outcome.error != nil)
      }
    }
  }

  @Test("However many tables are cut short while the store is open, one view passes them all")
  func manyTablesAreCutWhileOpen() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (spool) async throws in
        try spool.setOptions(["target_file_size_base": "8192", "disable_auto_compactions": "true"])
        let ids = (0..<1_600).map { id(atMilliseconds: UInt64($0 * 1_000 + 1_000)) }
        for (number, id) in ids.enumerated() { try await spool.put(id, payload(number)) }
        try await spool.compact()
        let tables = try spool.tables.sorted { $0.number < $1.number }
        #expect(tables.count > 150)
        let short = tables[5..<(tables.count - 5)]
        for table in short { try place.damage(table.number, .cutShort) }
        let (entries, outcome) = try await spool.all()
        let missing = check(entries, outcome, ids)
        #expect(missing.contains(ids[ids.count / 2]))
        #expect(Set(outcome.lostRanges.map(\.file)).isSubset(of: short.map(\.number)))
        #expect(outcome.lostRanges.count == short.count && outcome.count >= 50)
        #expect(entries.last == .item(id: ids[1_599], data: payload(1_599)))
      }
    }
  }

  @Test("Views are made where all of their tables fit beneath half of the limit of open files")
  func viewsLeaveDescriptors() {
    let budget = DescriptorBudget()
    #expect(budget.reserve(tables: 257, limit: 1_024) == nil)
    #expect(budget.reserve(tables: 1_000_000, limit: nil) != nil)
    // Of all walks together; what was let go can be had again.
    var views = (0..<2).map { _ in budget.reserve(tables: 256, limit: 1_024) }
    #expect(views.allSatisfy { $0 != nil })
    #expect(budget.reserve(tables: 1, limit: 1_024) == nil)
    views.removeLast()
    #expect(budget.reserve(tables: 257 - 1, limit: 1_024) != nil)
  }
}
