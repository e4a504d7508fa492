import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleTestKit
import Testing

@Suite("The quarantine of a spool on files", .temporaryDirectory)
struct LocalDiskQuarantineTests {
  private let clock = ManualClock(wallMilliseconds: 1_234_567)

  @Test("A quarantined message leaves the spool, is listed with its reason, and comes back whole")
  func messagesGoAndComeBack() async throws {
    try await withDiskSpool(clock: clock) { (spool) async throws in
      let id = newIDs.next()
      try await spool.put(id, [1, 2, 3])
      let file = try Files.read(spool.file(id))
      try await spool.quarantine(id, reason: "it cannot be parsed")
      #expect(try await spool.loadOrNil(id) == nil)
      #expect(try await spool.all().entries.isEmpty)
      let expected = QuarantinedMessage(
        id: id, bytes: file.count, reason: "it cannot be parsed",
        since: SpoolInstant(unixMilliseconds: 1_234_567), isDamaged: false)
      #expect(try await spool.quarantined(after: nil, limit: 10) == [expected])
      #expect(try Files.read(spool.path + "/quarantine/\(id)") == file)
      try await spool.restoreQuarantined(id)
      #expect(try Files.read(spool.file(id)) == file)
      #expect(try await spool.load(id) == [1, 2, 3])
      #expect(try await spool.quarantined(after: nil, limit: 10) == [])
      #expect(try Files.names(in: spool.path + "/quarantine") == [])
    }
  }

  @Test func damagedMessagesAreKeptAsTheyAre() async throws {
    let id = newIDs.next()
    try await withDiskSpool(clock: clock) { (spool) async throws in
      try await spool.put(id, [1, 2, 3])
      try writeFile([7, 7], to: spool.file(id))
      try await spool.quarantine(id, reason: "it is damaged")
    }
    try await withDiskSpool(clock: clock) { (spool) async throws in
      let listed = try await spool.quarantined(after: nil, limit: 10)
      #expect(listed.map(\.isDamaged) == [true])
      #expect(listed.map(\.bytes) == [2])
      try await spool.restoreQuarantined(id)
      #expect(try Files.read(spool.file(id)) == [7, 7])
      await expectError(.corruption) { _ = try await spool.load(id) }
    }
  }

  @Test func listsGoOnBehindAnID() async throws {
    try await withDiskSpool(clock: clock) { (spool) async throws in
      let ids = (1...5).map { id(atMilliseconds: $0 << 20) }
      for id in ids.reversed() {
        try await spool.put(id, [])
        try await spool.quarantine(id, reason: "\(id)")
      }
      #expect(try await spool.quarantined(after: nil, limit: 2).map(\.id) == Array(ids[..<2]))
      #expect(
        try await spool.quarantined(after: ids[1], limit: 2).map(\.id) == Array(ids[2..<4]))
      #expect(try await spool.quarantined(after: ids[4], limit: 2).isEmpty)
      #expect(try await spool.quarantined(after: nil, limit: 0).isEmpty)
    }
  }

  @Test func nothingIsReplaced() async throws {
    try await withDiskSpool(clock: clock) { (spool) async throws in
      let id = newIDs.next()
      try await spool.put(id, [1])
      try await spool.quarantine(id, reason: "first")
      try await spool.put(id, [2])
      // Neither the quarantined message by another, nor the stored one by a restored.
      await expectError(.conflict) { try await spool.quarantine(id, reason: "second") }
      await expectError(.conflict) { try await spool.restoreQuarantined(id) }
      #expect(try await spool.load(id) == [2])
      #expect(try await spool.quarantined(after: nil, limit: 9).map(\.reason) == ["first"])
      try await spool.remove(id)
      try await spool.restoreQuarantined(id)
      #expect(try await spool.load(id) == [1])
    }
  }

  @Test func absentMessagesAreNotFound() async throws {
    try await withDiskSpool(clock: clock) { (spool) async throws in
      let id = newIDs.next()
      for message in [
        await expectError(.notFound) { try await spool.quarantine(id, reason: "") },
        await expectError(.notFound) { try await spool.restoreQuarantined(id) },
        await expectError(.notFound) { try await spool.purgeQuarantined(id) },
      ] {
        #expect(message.contains(id.description))
      }
      #expect(try Files.names(in: spool.path + "/quarantine") == [])
      try await spool.put(id, [1])
      try await spool.quarantine(id, reason: "")
      try await spool.purgeQuarantined(id)
      await expectError(.notFound) { try await spool.purgeQuarantined(id) }
      #expect(try Files.names(in: spool.path + "/quarantine") == [])
    }
  }

  @Test func longReasonsAreCutBetweenCharacters() async throws {
    try await withDiskSpool(clock: clock) { (spool) async throws in
      let id = newIDs.next()
      try await spool.put(id, [1])
      try await spool.quarantine(id, reason: "a" + String(repeating: "\u{20AC}", count: 1_000))
      let listed = try await spool.quarantined(after: nil, limit: 9)
      #expect(listed.first?.reason == "a" + String(repeating: "\u{20AC}", count: 341))
    }
  }

  @Test("Every step is synced before the next, whatever the settings")
  func stepsAreDurable() async throws {
    let log = StepLog()
    try await withDiskSpool(LocalDiskSettings(), clock: clock, log.add) { (spool) async throws in
      let id = id(atMilliseconds: 1_000)
      try await spool.put(id, [1])
      log.clear()
      let quarantine = LocalDiskHooks.Step.synchronized(spool.path + "/quarantine")
      let leaf = LocalDiskHooks.Step.synchronized(spool.path + "/data/00/00/00/00")
      try await spool.quarantine(id, reason: "a test")
      #expect(log.all == [.written(synced: true), quarantine, quarantine, leaf])
      log.clear()
      try await spool.restoreQuarantined(id)
      #expect(log.all.first == .placing(attempt: 1))
      #expect(log.all.suffix(3) == [leaf, quarantine, quarantine])
    }
  }

  /// What a process that was killed between two steps leaves.
  @Test func interruptedStepsAreFinishedOrSweptAtOpen() async throws {
    let (id, replaced) = (newIDs.next(), newIDs.next())
    try await withDiskSpool(clock: clock) { (spool) async throws in
      try await spool.put(id, [1])
      try await spool.quarantine(id, reason: "a test")
      // A restore gives the second name and dies.
      try Files.link(spool.path + "/quarantine/\(id)", to: spool.file(id))
      // Another message of the id is none of a restore's.
      try await spool.put(replaced, [2])
      try await spool.quarantine(replaced, reason: "a test")
      try await spool.put(replaced, [3])
      // A quarantine writes the reason and dies.
      let other = newIDs.next()
      try writeFile([1], to: spool.path + "/quarantine/\(other).reason")
    }
    try await withDiskSpool(clock: clock) { (spool) async throws in
      let left = ["\(replaced)", "\(replaced).reason"]
      #expect(try Files.names(in: spool.path + "/quarantine") == left)
      #expect(try await spool.load(id) == [1])
      await expectError(.notFound) { try await spool.restoreQuarantined(id) }
      await expectError(.conflict) { try await spool.restoreQuarantined(replaced) }
      #expect(try await spool.load(replaced) == [3])
    }
  }

  @Test func restoresThatFailedBehindTheirFirstStepAreFinished() async throws {
    try await withDiskSpool(clock: clock) { (spool) async throws in
      let id = newIDs.next()
      try await spool.put(id, [1])
      try await spool.quarantine(id, reason: "a test")
      try Files.link(spool.path + "/quarantine/\(id)", to: spool.file(id))
      try await spool.restoreQuarantined(id)
      #expect(try await spool.load(id) == [1])
      #expect(try Files.names(in: spool.path + "/quarantine") == [])
    }
  }

  @Test func whatCannotBeLookedForIsNotAbsent() async throws {
    try await withDiskSpool(clock: clock) { (spool) async throws in
      let id = newIDs.next()
      try await spool.put(id, [1])
      try await spool.quarantine(id, reason: "a test")
      let folder = spool.path + "/quarantine"
      try Files.move(folder, to: folder + ".aside")
      try writeFile([1], to: folder)
      await expectError(.io) { _ = try await spool.isQuarantined(id) }
      await expectError(.io) { try await spool.restoreQuarantined(id) }
      await expectError(.io) { try await spool.purgeQuarantined(id) }
      try Files.remove(folder)
      try Files.move(folder + ".aside", to: folder)
      #expect(try await spool.isQuarantined(id))
      try await spool.restoreQuarantined(id)
      #expect(try await spool.load(id) == [1])
    }
  }
}
