import Foundation
import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

@Suite("Export and import of a spool")
struct SpoolExportTests {
  private func fill(_ spool: RocksSpool) async throws -> [SpoolID: Bytes] {
    var stored: [SpoolID: Bytes] = [:]
    for number in 0..<50 {
      let id = spool.makeID()
      stored[id] = payload(number, bytes: number * 300)
      try await spool.put(id, payload(number, bytes: number * 300))
    }
    return stored
  }

  @Test func comesBackByteForByteAndOnce() async throws {
    try await withPlace { place in
      let file = Files.directory(of: place.path) + "/export"
      let stored = try await place.withSpool { spool in
        let stored = try await fill(spool)
        let result = try await spool.export(to: file)
        #expect(result.messages == 50 && result.isComplete)
        #expect(result.bytes == UInt64(stored.values.reduce(0) { $0 + $1.count }))
        // What is there is not written over.
        await expectError(.io) { _ = try await spool.export(to: file) }
        return stored
      }
      try await place.withSpool("copy") { spool in
        #expect(try await spool.importMessages(from: file) == imported(stored: 50))
        for (id, bytes) in stored { #expect(try await spool.load(id) == bytes) }
        #expect(try await spool.importMessages(from: file) == imported(skipped: 50))
        let changed = try #require(stored.keys.sorted().first)
        try await spool.put(changed, [7])
        var result = imported(skipped: 49)
        result.conflicts = 1
        result.conflictingIDs = [changed]
        #expect(try await spool.importMessages(from: file) == result)
        #expect(try await spool.load(changed) == [7])
      }
    }
  }

  private func imported(stored: UInt64 = 0, skipped: UInt64 = 0) -> SpoolImport {
    var result = SpoolImport()
    result.stored = stored
    result.skipped = skipped
    return result
  }

  @Test("The bytes of an export are those of the format page")
  func bytesOfTheFormat() async throws {
    try await withPlace { place in
      let file = Files.directory(of: place.path) + "/export"
      try await place.withSpool { spool in
        try await spool.put(id(atMilliseconds: 1), Array("hello".utf8))
        _ = try await spool.export(to: file)
      }
      let page = try String(
        contentsOfFile: Files.directory(
          of: Files.directory(of: Files.directory(of: #filePath)))
          + "/Documentation/Formats/spool-export.md", encoding: .utf8)
      let block = try #require(page.components(separatedBy: "### Example").last)
      let digits = block.components(separatedBy: "```")[1].split(separator: "\n")
        .map { $0.prefix { $0 != "#" } }.joined().filter(\.isHexDigit)
      #expect(hexString(try Files.read(file)) == digits)
    }
  }

  @Test("A flipped bit or a cut anywhere in the file is damage, and nothing is stored")
  func damagedFile() async throws {
    try await withPlace { place in
      let file = Files.directory(of: place.path) + "/export"
      try await place.withSpool { spool in
        for number in 0..<3 { try await spool.put(spool.makeID(), payload(number, bytes: 20)) }
        _ = try await spool.export(to: file)
      }
      let bytes = try Files.read(file)
      try await place.withSpool("copy") { spool in
        for offset in bytes.indices {
          var damaged = bytes
          damaged[offset] ^= 0x10
          try Files.writeAtomically(damaged, to: file)
          let text = await expectError(.corruption) {
            _ = try await spool.importMessages(from: file)
          }
          #expect(text.contains("is damaged at byte"))
        }
        for end in [0, 5, 16, 40, bytes.count - 1] {
          try Files.writeAtomically(Array(bytes.prefix(end)), to: file)
          await expectError(.corruption) { _ = try await spool.importMessages(from: file) }
        }
        try Files.writeAtomically(bytes + [0], to: file)
        await expectError(.corruption) { _ = try await spool.importMessages(from: file) }
        #expect(try await spool.allIDs().isEmpty)
      }
    }
  }

  @Test("An export goes on behind damage and says what it lacks", arguments: TableFault.allCases)
  func worksBesideDamage(kind: TableFault) async throws {
    try await withPlace { place in
      let file = Files.directory(of: place.path) + "/export"
      // In one run: the next would compact the tables, whose targets are small in this one alone.
      let (ids, table) = try await place.withSpool { spool in
        let ids = try await storeInTables(spool, 200)
        try await spool.putRaw(ids[0].bytes, [9, 9])
        return (ids, try spool.tables[1])
      }
      try place.damage(table.number, kind)
      let result = try await place.withSpool("main", .reader) { try await $0.export(to: file) }
      #expect(!result.isComplete && result.damagedIDs == [ids[0]])
      #expect(result.lostRanges.map(\.file) == [table.number])
      #expect(result.messages > 100 && result.messages < 199)
      try await place.withSpool("copy") { spool in
        let imported = try await spool.importMessages(from: file)
        #expect(imported.stored == result.messages)
      }
    }
  }
}
