import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// Pairs whose bodies are files, and whose metas are files or in a store.
@Suite("Paired spool on files", .temporaryDirectory)
struct PairedSpoolLocalDiskTests {
  /// Opens a pair, runs the body and closes everything.
  private func withPair(
    metaInStore: Bool,
    _ body: (PairedSpool, (meta: FaultySpool, data: FaultySpool)) async throws -> Void
  ) async throws {
    let store = metaInStore ? try await Store.small(at: TestDirectory.path("store")) : nil
    let meta: any QuarantiningSpool =
      if let store {
        try await RocksSpool(store: store, name: "meta")
      } else {
        try LocalDiskSpool(path: TestDirectory.path("meta"), flush: false)
      }
    let data = try LocalDiskSpool(path: TestDirectory.path("data"), flush: false)
    let halves = (meta: FaultySpool(meta), data: FaultySpool(data))
    let pair = try PairedSpool(meta: halves.meta, data: halves.data)
    let result: Result<Void, any Error>
    do { result = .success(try await body(pair, halves)) } catch { result = .failure(error) }
    try await pair.shutdown()
    try await store?.close()
    try result.get()
  }

  private func put(_ pair: PairedSpool, _ number: Int, forceSync: Bool = false) async throws {
    try await pair.store(
      numberedID(number), meta: numberedMeta(number), data: numberedValue(number),
      forceSync: forceSync, deadline: nil)
  }

  private func numbers(_ spool: any Spool) async throws -> [Int] {
    let channel = SpoolEntryChannel()
    let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
    var found: [Int] = []
    for await entry in channel {
      if case .item(let id, _) = entry { found.append(number(ofID: id)) }
    }
    #expect(await walk.finished().error == nil)
    return found.sorted()
  }

  private func expect(
    _ pair: PairedSpool, _ halves: (meta: FaultySpool, data: FaultySpool), _ expected: [Int],
    location: SourceLocation = #_sourceLocation
  ) async throws {
    #expect(try await numbers(halves.meta) == expected, sourceLocation: location)
    #expect(try await numbers(halves.data) == expected, sourceLocation: location)
    for number in expected {
      let (meta, data) = try await pair.load(numberedID(number))
      #expect(meta == numberedMeta(number), sourceLocation: location)
      #expect(data == numberedValue(number), sourceLocation: location)
    }
  }

  @Test("What a cancelled call has to take back is taken back", arguments: [true, false])
  func cancelledCallsLeaveNothingHalf(metaInStore: Bool) async throws {
    try await withPair(metaInStore: metaInStore) { (pair, halves) async throws in
      let cancelAndFail: FaultySpool.Hook = { _ in
        unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
        throw SpindleError(.unavailable, "a test refuses", reason: "test")
      }
      halves.meta.before(.store, cancelAndFail)
      let store = Task { try await put(pair, 1) }
      #expect((await store.result.error as? SpindleError)?.reason == "test")
      halves.meta.heal()
      try await expect(pair, halves, [])
      try await put(pair, 2)
      halves.data.before(.quarantine, cancelAndFail)
      let move = Task { try await pair.quarantine(numberedID(2), reason: "a test") }
      #expect((await move.result.error as? SpindleError)?.reason == "test")
      halves.data.heal()
      try await expect(pair, halves, [2])
      #expect(try await pair.quarantinedCount() == 0)
    }
  }

  @Test("Messages are stored, removed, and there after a restart", arguments: [true, false])
  func storeRemoveReopen(metaInStore: Bool) async throws {
    try await withPair(metaInStore: metaInStore) { (pair, halves) async throws in
      for number in 0..<6 { try await put(pair, number, forceSync: number == 2) }
      try await pair.remove(numberedID(3))
      try await expect(pair, halves, [0, 1, 2, 4, 5])
      await expectError(.notFound) { _ = try await pair.load(numberedID(3)) }
      await expectError(.notFound) {
        try await pair.replaceMeta(numberedID(3), [], forceSync: false, deadline: nil)
      }
      if !metaInStore { await expectError(.notFound) { try await pair.remove(numberedID(3)) } }
      try await pair.replaceMeta(numberedID(1), [1], forceSync: false, deadline: nil)
      #expect(try await pair.loadMeta(numberedID(1)) == [1])
      try await pair.replaceMeta(
        numberedID(1), numberedMeta(1), forceSync: false, deadline: nil)
      try await pair.cleanup()
      try await pair.compact()
    }
    try await withPair(metaInStore: metaInStore) { (pair, halves) async throws in
      try await expect(pair, halves, [0, 1, 2, 4, 5])
    }
  }

  @Test("A-T-1, A-T-2: a half that fails leaves no message", arguments: [true, false])
  func failedHalves(metaInStore: Bool) async throws {
    try await withPair(metaInStore: metaInStore) { (pair, halves) async throws in
      try await put(pair, 1)
      halves.meta.fail(.store)
      await expectError(.unavailable) { try await put(pair, 2) }
      try await expect(pair, halves, [1])
      halves.data.fail(.remove)
      await expectError(.unavailable) { try await put(pair, 3) }
      try await pair.remove(numberedID(1))
      #expect(try await numbers(halves.meta).isEmpty)
      #expect(try await numbers(halves.data) == [1, 3])
    }
    // The next run knows of no rollback, and sweeps.
    try await withPair(metaInStore: metaInStore) { (pair, halves) async throws in
      try await put(pair, 4)
      let found = try await pair.sweepOrphans(dryRun: true)
      #expect(Set(found.ids) == [numberedID(1), numberedID(3)])
      #expect(found.removed == 0)
      #expect(try await numbers(halves.data) == [1, 3, 4])
      try await pair.cleanup()
      try await expect(pair, halves, [4])
    }
  }

  @Test("A-T-3: both halves are set aside and come back", arguments: [true, false])
  func quarantine(metaInStore: Bool) async throws {
    try await withPair(metaInStore: metaInStore) { (pair, halves) async throws in
      for number in 0..<3 { try await put(pair, number) }
      try await pair.quarantine(numberedID(1), reason: "its meta cannot be understood")
      try await expect(pair, halves, [0, 2])
    }
    try await withPair(metaInStore: metaInStore) { (pair, halves) async throws in
      let listed = try await pair.quarantined(after: nil, limit: 10)
      #expect(listed.map(\.id) == [numberedID(1)])
      #expect(listed.map(\.reason) == ["its meta cannot be understood"])
      // Interrupted on the way back: kept, and finished later.
      halves.meta.fail(.restore)
      await expectError(.unavailable) { try await pair.restoreQuarantined(numberedID(1)) }
      #expect(try await pair.sweepOrphans(olderThan: .zero).orphans == 0)
      halves.meta.heal()
      try await pair.restoreQuarantined(numberedID(1))
      try await expect(pair, halves, [0, 1, 2])
      try await pair.quarantine(numberedID(1), reason: "again")
      try await pair.purgeQuarantined(numberedID(1))
      #expect(try await pair.quarantined(after: nil, limit: 10).isEmpty)
      try await expect(pair, halves, [0, 2])
    }
  }

  @Test("A-T-3: a restore that was killed between its steps ends with the next open")
  func interruptedRestores() async throws {
    func linkBack(_ half: String, _ number: Int) throws {
      let path = try TestDirectory.path(half)
      let id = numberedID(number)
      try Files.link(path + "/quarantine/\(id)", to: id.path(under: path + "/data"))
    }
    try await withPair(metaInStore: false) { (pair, halves) async throws in
      for number in 0..<3 {
        try await put(pair, number)
        try await pair.quarantine(numberedID(number), reason: "a test")
      }
      // In the body's restore, and in the meta's, which comes after.
      try linkBack("data", 0)
      try await halves.data.restoreQuarantined(numberedID(1))
      try linkBack("meta", 1)
      // The same without a restart.
      try linkBack("data", 2)
      try await pair.restoreQuarantined(numberedID(2))
    }
    try await withPair(metaInStore: false) { (pair, halves) async throws in
      #expect(try await pair.quarantined(after: nil, limit: 9).map(\.id) == [numberedID(0)])
      try await pair.restoreQuarantined(numberedID(0))
      #expect(try await pair.sweepOrphans(olderThan: .zero).orphans == 0)
      try await expect(pair, halves, [0, 1, 2])
      try await pair.quarantine(numberedID(1), reason: "again")
      try await pair.restoreQuarantined(numberedID(1))
      try await expect(pair, halves, [0, 1, 2])
    }
  }

  @Test("A-T-3: a sweep removes no body whose meta cannot be looked for")
  func unreadableQuarantines() async throws {
    try await withPair(metaInStore: false) { (pair, halves) async throws in
      for number in 0..<2 { try await put(pair, number) }
      // As a quarantine leaves it that ended between the halves.
      try await halves.meta.quarantine(numberedID(0), reason: "a test")
      let folder = try TestDirectory.path("meta/quarantine")
      try Files.move(folder, to: folder + ".aside")
      try writeFile([1], to: folder)
      let sweep = try await pair.sweepOrphans(olderThan: .zero)
      #expect(sweep.unjudged == 1 && sweep.orphans == 0 && sweep.removed == 0)
      #expect(sweep.firstProblem?.contains("Not a directory") == true)
      try Files.remove(folder)
      try Files.move(folder + ".aside", to: folder)
      #expect(try await pair.sweepOrphans(olderThan: .zero).orphans == 0)
      try await pair.restoreQuarantined(numberedID(0))
      try await expect(pair, halves, [0, 1])
    }
  }
}

extension Result {
  /// What a call threw; nil when it succeeded.
  fileprivate var error: Failure? { if case .failure(let error) = self { error } else { nil } }
}
