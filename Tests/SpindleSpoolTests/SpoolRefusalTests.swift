import SpindleCore
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// What callers are told while the gate is shut: the same bland words, whatever happened.
@Suite("Spool refusals", .temporaryDirectory) struct SpoolRefusalTests {
  private func expectBland(
    _ reason: String, location: SourceLocation = #_sourceLocation,
    _ body: () async throws -> Void
  ) async {
    do {
      try await body()
      Issue.record("expected a refusal", sourceLocation: location)
    } catch let error as SpindleError {
      #expect(error.kind == .unavailable, sourceLocation: location)
      #expect(error.message == "the spool is not accepting writes", sourceLocation: location)
      #expect(error.reason == reason, sourceLocation: location)
      #expect(error.path == nil, sourceLocation: location)
    } catch {
      Issue.record("unexpected error \(error)", sourceLocation: location)
    }
  }

  @Test(
    "A-G-11: a shut gate refuses every kind of write in the same words",
    arguments: [false, true])
  func refusalsAreBland(hasQuota: Bool) async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    var settings = SpoolSettings()
    if hasQuota { settings.quota = SpoolQuota(entries: 100) }
    let spool = try await RocksSpool(store: store, name: "main", settings: settings)
    let id = spool.makeID()
    try await spool.put(id, [1])
    store.health.shutForOperator(note: "disk sdb is being replaced")
    #expect(spool.unhealthyReason?.description == "the spool is not accepting writes")
    await expectBland("operator") { try await spool.put(id, [2]) }
    await expectBland("operator") { try await spool.put(id, [2], forceSync: true) }
    await expectBland("operator") { try await spool.put(id, Bytes(repeating: 2, count: 1 << 20)) }
    await expectBland("operator") { try await spool.remove(id) }
    await expectBland("operator") {
      _ = try await spool.storeClaimed(spool.makeID(), [2], forceSync: false, deadline: nil)
    }
    await expectBland("operator") { try await spool.quarantine(id, reason: "a test") }
    #expect(try await spool.load(id) == [1])
    store.health.openForOperator()
    try await spool.quarantine(id, reason: "a test")
    store.health.shutForOperator(note: "disk sdb is being replaced")
    await expectBland("operator") { try await spool.restoreQuarantined(id) }
    await expectBland("operator") { try await spool.purgeQuarantined(id) }
    store.health.openForOperator()
    try await spool.restoreQuarantined(id)
    try await spool.put(id, [2])
    #expect(spool.usage?.entries == (hasQuota ? 1 : nil))
    try await store.close()
  }

  @Test("A-DF-1, A-G-11: the write that fails says why, those after it do not")
  func theFirstFailureSaysWhy() async throws {
    let disk = try await SmallDisk.mount(at: TestDirectory.path("disk"), bytes: 12 << 20)
    // The store keeps files of the disk open until it is gone.
    do { try await fillAndStore(on: disk) } catch {
      try? await disk.unmount()
      throw error
    }
    try await disk.unmount()
  }

  private func fillAndStore(on disk: SmallDisk) async throws {
    let store = try await Store.small(at: disk.path + "/store")
    let spool = try await RocksSpool(store: store, name: "main")
    try disk.fill()
    var failure: SpindleError?
    for _ in 0..<1_000 where failure == nil {
      do {
        try await spool.put(spool.makeID(), Bytes(repeating: 1, count: 4_096))
      } catch {
        failure = error as? SpindleError
      }
    }
    let first = try #require(failure)
    #expect(first.kind == .unavailable)
    #expect(first.reason == "disk_full")
    #expect(first.message.contains("No space left on device"))
    await expectBland("disk_full") { try await spool.put(spool.makeID(), [1]) }
    await expectBland("disk_full") { try await spool.put(spool.makeID(), [1], forceSync: true) }
    try await store.close()
  }
}
