import Metrics
import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

@testable import SpindleSpool

/// Damage in a quarantine costs what lies in it, and stops nothing else.
@Suite("Quarantine, damage")
struct QuarantineDamageTests {
  private let ids = (0..<9).map { numberedID($0) }
  /// Too long for two of them in one block.
  private func value(_ number: Int) -> Bytes { numberedValue(number, bytes: 5_000) }

  /// Six messages in quarantine and three in the spool; gives the quarantine's table.
  private func fill(_ place: TestPlace) async throws -> String {
    try await place.withSpool { spool in
      for (number, id) in ids.enumerated() { try await spool.put(id, value(number)) }
      for id in ids[..<6] { try await spool.quarantine(id, reason: "a test") }
      let quarantine = try #require(spool.quarantineFamily)
      try await spool.storage.blocking {
        let database = spool.storage.database
        // The end of the spool's view of its opening is the beginning of one.
        try database.setOptions(
          ["disable_auto_compactions": "true"], of: quarantine.columnFamily)
        try database.flush(quarantine.columnFamily)
      }
      let tables = try spool.storage.database.tableFiles(of: quarantine.columnFamily)
      #expect(tables.count == 1)
      return place.pathOfTable(tables[0].number)
    }
  }

  /// Flips a byte of one message; gives the file as it was.
  private func strike(_ path: String, _ number: Int) throws -> Bytes {
    let whole = try Files.read(path, limit: .max)
    var bytes = whole
    bytes[try #require(bytes.firstRange(of: value(number))).lowerBound] ^= 0xFF
    try writeFile(bytes, to: path)
    return whole
  }

  @Test("A damaged block stops no move of what is intact, and is told")
  func movesGoOn() async throws {
    try await withPlace { place in
      _ = try strike(try await fill(place), 3)
      try await place.withSpool { spool in
        var events = spool.storage.eventsFromNowOn.makeAsyncIterator()
        try await spool.quarantine(ids[6], reason: "a test")
        try await spool.restoreQuarantined(ids[0])
        try await spool.purgeQuarantined(ids[1])
        #expect(try await spool.load(ids[0]) == value(0))
        let listed = try await spool.quarantined(after: nil, limit: 9).map(\.id)
        #expect(listed == [ids[2], ids[4], ids[5], ids[6]])
        #expect(try await spool.quarantineUsage().entries == 4)
        #expect(spool.quarantineGateStatus?.causes.isEmpty == true)
        while let event = await events.next() {
          guard case .quarantineCountPartial(let name, let detail) = event else { continue }
          #expect(name == "main" && detail.contains("main.quarantine"))
          break
        }
      }
    }
  }

  @Test("A damaged block is told by verify, stats and every list")
  func readsTell() async throws {
    for access in [Store.Access.owner, .reader] {
      try await withPlace { place in
        let path = try await fill(place)
        _ = try strike(path, 3)
        try await place.withSpool("main", access) { spool in
          let found = try await spool.verify()
          #expect(!found.isIntact && found.intact == 3 && found.lostRanges.isEmpty)
          #expect(found.quarantine.usage.entries == 5)
          #expect(found.quarantine.lostRanges.count == 1)
          let stats = try await spool.stats()
          #expect(stats.count == 3 && stats.lostRanges.isEmpty)
          #expect(stats.quarantine == found.quarantine)
          var listed: [SpoolID] = []
          var lost: [SpoolLostRange] = []
          while true {
            let page = try await spool.quarantinePage(after: listed.last, limit: 2)
            lost += page.lostRanges
            if page.messages.isEmpty { break }
            listed += page.messages.map(\.id)
          }
          #expect(listed == [ids[0], ids[1], ids[2], ids[4], ids[5]])
          #expect(lost == found.quarantine.lostRanges)
          #expect(spool.quarantineGateStatus?.causes.isEmpty == true)
        }
      }
    }
  }

  @Test("The quarantine's gate is seen, counted and opened through its spool")
  func gate() async throws {
    let factory = MemoryMetrics()
    try await withPlace { place in
      let path = try await fill(place)
      let whole = try strike(path, 3)
      try await withMetricsFactory(factory) {
        try await place.withSpool { spool in
          do {
            try await spool.restoreQuarantined(ids[3])
            Issue.record("expected damage")
          } catch let error as SpindleError {
            #expect(error.kind == .corruption && error.reason == "quarantine_damaged")
          }
          #expect(spool.quarantineGateStatus?.causes.map(\.reason) == ["corruption"])
          #expect(spool.gateStatus.causes.isEmpty && spool.unhealthyReason == nil)
          func transitions(_ to: String) -> Int {
            factory.count(
              "spool_gate_transitions_total",
              ["spool": "main", "reason": "corruption", "to": to])
          }
          try await eventually { transitions("shut") == 1 }
          // The spool goes on; a move is refused, and a worker's message stays.
          try await spool.put(numberedID(20), [1])
          await expectError(.unavailable) {
            try await spool.quarantine(ids[6], reason: "a test")
          }
          #expect(spool.claim(ids[7]))
          var events = spool.storage.eventsFromNowOn.makeAsyncIterator()
          let isMoved = try await spool.storage.blocking {
            try spool.quarantineBlocking(ids[7], reason: "a test")
          }
          #expect(!isMoved)
          var told: [String] = []
          if case .notQuarantined(let name, let id, _)? = await events.next() {
            told = [name, id]
          }
          #expect(told == ["main", ids[7].description])
          spool.release(ids[7])
          #expect(try await spool.load(ids[7]) == value(7))
          // Not while the damage is there.
          await expectError(.corruption) { try await spool.clearGate() }
          try writeFile(whole, to: path)
          try await spool.clearGate()
          #expect(spool.quarantineGateStatus?.causes.isEmpty == true)
          try await eventually { transitions("open") == 1 }
          try await spool.restoreQuarantined(ids[3])
          #expect(try await spool.load(ids[3]) == value(3))
        }
      }
    }
  }

  @Test("A move that a gate refused which is open by then is tried once more")
  func openedMeanwhile() async throws {
    try await withNewSpool { spool in
      let id = ids[0]
      try await spool.put(id, [1])
      let health = spool.storage.health
      let moves = try await spool.storage.blocking {
        var moves = 0
        let isMoved = try spool.retryingOnceOpen {
          moves += 1
          if moves == 1 { health.shutForOperator(note: "a test") }
          defer { health.openForOperator() }
          return try spool.quarantineBlocking(id, reason: "a test")
        }
        #expect(isMoved)
        // Where it stays shut, and for any other error, there is one attempt.
        health.shutForOperator(note: "a test")
        defer { health.openForOperator() }
        #expect(throws: SpindleError.self) {
          try spool.retryingOnceOpen {
            moves += 10
            _ = try spool.quarantineBlocking(ids[0], reason: "a test")
            var batch = Batch()
            batch.put(spool.family, key: [1], value: [1])
            try spool.storage.commitBlocking(batch)
          }
        }
        return moves
      }
      #expect(moves == 12)
      #expect(try await spool.isQuarantined(id))
    }
  }

  @Test("A worker's message that the quarantine has another of stays in the spool")
  func anotherUnderTheID() async throws {
    try await withNewSpool { spool in
      let id = ids[0]
      try await spool.put(id, [1])
      try await spool.quarantine(id, reason: "a test")
      try await spool.put(id, [2])
      #expect(spool.claim(id))
      let isMoved = try await spool.storage.blocking {
        try spool.quarantineBlocking(id, reason: "a test")
      }
      #expect(!isMoved)
      spool.release(id)
      #expect(try await spool.load(id) == [2])
      #expect(try await spool.loadQuarantined(id).bytes == [1])
    }
  }
}
