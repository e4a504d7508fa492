import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// A reader beside a running owner gives what is intact, and says what is not.
@Suite("Readers beside a running owner")
struct FollowingReaderTests {
  /// Opens the spool of a running store once more, for reading.
  private func withReader<Result>(
    of place: TestPlace, _ body: (RocksSpool) async throws -> Result
  ) async throws -> Result {
    try await place.withSpool("main", .reader) { (spool) async throws in
      guard case .following = spool.storage.view else {
        throw TestKitError("the reader does not follow: \(spool.storage.view)")
      }
      return try await body(spool)
    }
  }

  @Test(
    "A-E-5: a reader beside a running owner gives all but a table of level 0 that does not open",
    arguments: [TableFault.noFooter, .cutShort, .missing])
  func unreadableFirstLevelIsTold(kind: TableFault) async throws {
    try await withPlace { (place) async throws in
      let ids = (0...40).map { id(atMilliseconds: UInt64($0 * 1_000 + 1_000)) }
      try await place.withSpool { (owner) async throws in
        try owner.setOptions(["disable_auto_compactions": "true"])
        for part in [0..<20, 20..<40] {
          for number in part { try await owner.put(ids[number], payload(number)) }
          try await owner.flush()
        }
        // In the log alone.
        try await owner.remove(ids[3])
        try await owner.put(ids[40], payload(40))
        let table = try #require(try owner.tables.max { $0.number < $1.number })
        #expect(table.level == 0)
        // One that was opened before reads on in the file that it has open, or says what it meets.
        let early = try await place.open(.reader)
        try place.damage(table.number, kind)
        let kept = (Array(0..<3) + Array(4..<20) + [40]).map {
          SpoolEntry.item(id: ids[$0], data: payload($0))
        }
        let lost = SpoolLostRange(
          file: table.number, from: table.smallestKey, to: table.largestKey + [0])
        try await withReader(of: place) { (reader) async throws in
          let (entries, outcome) = try await reader.all()
          #expect(entries == kept)
          #expect(outcome.error?.kind == .corruption || outcome.error?.kind == .io)
          #expect(outcome.lostRanges == [lost])
          let found = try await reader.verify()
          #expect(found.intact == UInt64(kept.count) && found.lostRanges == [lost])
          #expect(try await reader.stats().lostRanges == [lost])
          let export = try await reader.export(to: place.path + ".export")
          #expect(export.messages == UInt64(kept.count) && export.lostRanges == [lost])
          // It shows one moment, and says so.
          #expect(try await reader.storage.catchUp() == false)
        }
        do {
          let (entries, outcome) = try await RocksSpool(store: early, name: "main").all()
          #expect(entries.count >= kept.count)
          #expect(entries.count == 40 || outcome.lostRanges == [lost])
        }
        try await early.close()
      }
    }
  }

  @Test(
    "A-E-5: a reader beside a running owner loses one table of a higher level alone",
    arguments: [TableFault.noFooter, .cutShort, .missing])
  func unreadableTableIsTold(kind: TableFault) async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (owner) async throws in
        let ids = try await storeInTables(owner, 300)
        let tables = try owner.tables
        let table = tables[tables.count / 2]
        #expect(table.level > 0)
        try place.damage(table.number, kind)
        try await withReader(of: place) { (reader) async throws in
          let (entries, outcome) = try await reader.all()
          let given = entries.compactMap { if case .item(let id, _) = $0 { id } else { nil } }
          let missing = Set(ids).subtracting(given)
          let held = ids.filter {
            !$0.bytes.lexicographicallyPrecedes(table.smallestKey)
              && !table.largestKey.lexicographicallyPrecedes($0.bytes)
          }
          #expect(missing == Set(held))
          #expect(outcome.lostRanges.map(\.file) == [table.number])
          #expect(outcome.error != nil)
          // A single read says so, too, and never that there is no such message.
          for id in held.prefix(1) {
            do {
              _ = try await reader.load(id)
              Issue.record("a lost message was loaded")
            } catch let error as SpindleError {
              #expect(error.kind == .corruption || error.kind == .io, "\(error)")
            }
          }
        }
      }
    }
  }

  @Test("A-E-5: a reader that follows says when a new table does not open")
  func damageWhileFollowingIsTold() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (owner) async throws in
        try owner.setOptions(["disable_auto_compactions": "true"])
        let ids = (0..<3).map { id(atMilliseconds: UInt64($0 * 1_000 + 1_000)) }
        try await owner.put(ids[0], payload(0))
        try await owner.flush()
        try await withReader(of: place) { (reader) async throws in
          #expect(try await reader.storage.catchUp())
          try await owner.put(ids[1], payload(1))
          #expect(try await reader.storage.catchUp())
          #expect(try await reader.allIDs() == Array(ids[0...1]))
          try await owner.flush()
          let table = try #require(try owner.tables.max { $0.number < $1.number })
          try place.damage(table.number, .missing)
          try await owner.put(ids[2], payload(2))
          #expect(try await reader.storage.catchUp() == false)
        }
        // Opened anew, it gives what there is.
        try await withReader(of: place) { (reader) async throws in
          let (entries, outcome) = try await reader.all()
          #expect(
            entries == [0, 2].map { SpoolEntry.item(id: ids[$0], data: payload($0)) })
          #expect(outcome.error != nil && outcome.lostRanges.count == 1)
        }
      }
    }
  }

  /// A log may be deleted after the manifest was read, and a table before it is opened.
  @Test("A reader of a busy owner gives everything that was stored before it was opened")
  func busyOwnerHidesNothing() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (owner) async throws in
        // However long the process's threads are busy with others, no flush waits for a compaction.
        try owner.setOptions([
          "level0_file_num_compaction_trigger": "2", "level0_slowdown_writes_trigger": "1000",
          "level0_stop_writes_trigger": "1000",
        ])
        let stored = Tally()
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask {
            var number = 0
            while !Task.isCancelled {
              try await owner.put(
                id(atMilliseconds: UInt64(number * 1_000 + 1_000)), payload(number, bytes: 100))
              number += 1
              stored.increment()
              if number % 7 == 0 { try await owner.flush() }
            }
          }
          for _ in 0..<12 {
            let before = stored.count
            try await eventually { stored.count > before + 20 }
            let count = stored.count
            // One that is slower than the owner is told so, and tries again.
            try await eventually {
              do {
                try await withReader(of: place) { (reader) async throws in
                  let given = Set(try await reader.allIDs())
                  let missing = (0..<count).filter {
                    !given.contains(id(atMilliseconds: UInt64($0 * 1_000 + 1_000)))
                  }
                  #expect(missing.isEmpty)
                }
                return true
              } catch let error as SpindleError where error.kind == .unavailable {
                return false
              }
            }
          }
          group.cancelAll()
          // The writer ends by its cancellation.
          _ = await group.nextResult()
        }
      }
    }
  }
}
