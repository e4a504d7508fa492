import Foundation
import SpindleCore
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

/// Rounds of the tests that repeat; many more with `SPINDLE_SOAK` set.
let soakFactor = ProcessInfo.processInfo.environment["SPINDLE_SOAK"] == nil ? 1 : 50

/// A killed process loses nothing that was acknowledged, whatever the durability.
@Suite(.temporaryDirectory) struct CrashTests {
  private func start(
    _ arguments: String..., fate: ChildProcess.Fate = .free
  ) throws -> ChildProcess {
    try ChildProcess(ChildProcess.builtProgram("CrashWorker"), arguments, fate: fate)
  }

  private func stored(at path: String) async throws -> (plain: [Int], guarded: [Int], store: Store)
  {
    let store = try await Store.small(at: path)
    let plain = try await store.numbers(store.family("spool:crash"))
    let guarded = try await store.numbers(store.family("oplog:crash"))
    return (plain, guarded, store)
  }

  @Test(arguments: ["inline", "group", "synced"])
  func acknowledgedBatchesSurviveKill(mode: String) async throws {
    let path = try TestDirectory.path("store")
    for round in 0..<(2 * soakFactor) {
      let place = path + "\(round)"
      let worker = try start(mode, place, fate: .death(lines: 100 + 137 * (round % 10)))
      let acknowledged = try await worker.linesUntilDeath().compactMap { Int($0) }
      #expect(acknowledged.count >= 100)
      let found = try await stored(at: place)
      #expect(!found.store.recovery.wasClean)
      let numbers = mode == "group" ? found.guarded : found.plain
      // Numbers rise by one, so what is there is a prefix: the acknowledged ones, and at most the
      // one whose acknowledgement the kill cut off.
      #expect(numbers == Array(0..<numbers.count))
      #expect(numbers.count >= acknowledged.count)
      #expect(numbers.count <= acknowledged.count + 1)
      try await found.store.close()
    }
  }

  @Test func combinedWritesSurviveKill() async throws {
    for round in 0..<(2 * soakFactor) {
      let place = try TestDirectory.path("store\(round)")
      let worker = try start("crowd", place, fate: .death(lines: 3000))
      let lines = try await worker.linesUntilDeath()
      let acknowledged = Set(lines.compactMap { Int($0) })
      #expect(acknowledged.count == lines.count)
      let found = try await stored(at: place)
      #expect(acknowledged.isSubset(of: found.plain))
      // Each of the 64 callers stores its numbers in order, and may have had one more under way.
      let counts = Dictionary(grouping: found.plain) { $0 % 64 }
      for (caller, numbers) in counts {
        #expect(numbers == numbers.indices.map { caller + 64 * $0 })
      }
      #expect(found.plain.count <= acknowledged.count + 64)
      try await found.store.close()
    }
  }

  @Test func concurrentLanesSurviveKill() async throws {
    for round in 0..<(2 * soakFactor) {
      let place = try TestDirectory.path("store\(round)")
      let worker = try start("many", place, fate: .death(lines: 2000))
      let lines = try await worker.linesUntilDeath()
      let acknowledged = Set(lines.compactMap { Int($0) })
      #expect(acknowledged.count == lines.count)
      let found = try await stored(at: place)
      let numbers = found.plain + found.guarded
      #expect(acknowledged.isSubset(of: numbers))
      // Each of the eight tasks may have had one more under way.
      #expect(numbers.count <= acknowledged.count + 8)
      // A second crash right after the recovery loses nothing either.
      try copyFolder(place, to: place + "-again")
      try await found.store.close()
      let again = try await stored(at: place + "-again")
      #expect(again.plain == found.plain)
      #expect(again.guarded == found.guarded)
      try await again.store.close()
    }
  }

  @Test func killedAfterAFailedAppendNothingIsLost() async throws {
    let place = try TestDirectory.path("store")
    let worker = try start("append", place)
    #expect(try await worker.ending() == .signal(9))
    let acknowledged = worker.lines.compactMap { Int($0) }
    #expect(acknowledged == Array(0..<200))
    let found = try await stored(at: place)
    #expect(found.plain == acknowledged)
    #expect(found.store.recovery.droppedTailBytes > 0)
    try await found.store.close()
  }

  @Test(arguments: [
    "quiesce", "retire", "resume", "marker", "flush-default", "check-rotation", "flush-families",
    "clear", "none",
  ])
  func killedAtAnyStepOfTheCureNothingIsLost(step: String) async throws {
    let place = try TestDirectory.path("store")
    let worker = try start("cure", place, step)
    #expect(try await worker.ending() == .signal(9))
    let acknowledged = worker.lines.compactMap { Int($0) }
    let expected = Array(0..<200) + (step == "none" ? Array(201..<300) : [])
    #expect(acknowledged == expected)
    for _ in 0..<2 {
      let found = try await stored(at: place)
      #expect(found.plain == expected)
      try await found.store.put(await found.store.family("oplog:crash"), 1, .synced)
      try await found.store.close()
    }
  }

  @Test func killedBetweenWriteAndSyncTheBatchIsWholeAndTheAcknowledgedOnesAreThere() async throws {
    let place = try TestDirectory.path("store")
    let worker = try start("sync", place)
    #expect(try await worker.ending() == .signal(9))
    #expect(worker.lines.compactMap { Int($0) } == Array(0..<100))
    let found = try await stored(at: place)
    // The page cache survives the process, so the batch nobody was told of is there as well.
    #expect(found.plain == Array(0...100))
    try await found.store.close()
  }

  @Test("A-L-1, A-L-2: a second process is refused by pid; the lock of a killed owner is free")
  func theLockOfAKilledOwnerIsFree() async throws {
    let place = try TestDirectory.path("store")
    let worker = try start("hold", place, "10")
    try await worker.waitForLines(11)
    let error = await refusal { _ = try await Store.small(at: place) }
    #expect(error?.kind == .unavailable)
    #expect(error?.reason == "locked")
    #expect(error?.message.contains("process \(worker.pid)") == true)
    _ = try await worker.killAndCollect()
    let found = try await stored(at: place)
    #expect(found.plain == Array(0..<10))
    try await found.store.close()
  }

  @Test("A-L-2: a process that was started meanwhile does not keep the lock of a killed owner")
  func aChildDoesNotKeepTheLock() async throws {
    let place = try TestDirectory.path("store")
    let worker = try start("parent", place)
    try await worker.waitForLines(2)
    let child = try #require(worker.lines.first.flatMap { Int32($0) })
    defer { kill(child, SIGKILL) }
    _ = try await worker.killAndCollect()
    let store = try await Store.small(at: place)
    // Alive at the end, it was alive when the lock was taken.
    #expect(kill(child, 0) == 0)
    try await store.close()
  }

  @Test func aReaderFollowsARunningOwner() async throws {
    let place = try TestDirectory.path("store")
    let worker = try start("hold", place, "10")
    try await worker.waitForLines(11)
    let reader = try await Store.open(at: place, settings: .small, access: .reader)
    #expect(reader.view == .following(pid: worker.pid))
    let family = try #require(reader.existingFamily("spool:crash"))
    #expect(try reader.numbers(family) == Array(0..<10))
    #expect(await refusal { try await reader.put(family, 1) }?.kind == .unavailable)
    #expect(await refusal { _ = try await reader.family("spool:new") }?.kind == .notFound)
    try await reader.close()
    _ = try await worker.killAndCollect()
  }
}
