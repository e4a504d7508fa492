import SpindleCore
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

@testable import SpindleSpool

/// Tools keep to the quota that an application gave its spool.
@Suite("Recorded quota", .temporaryDirectory)
struct RecordedQuotaTests {
  private let path: String
  private let limit = SpoolQuota(bytes: 1_000, entries: 2)

  init() throws { path = try TestDirectory.path("store") }

  private func with(
    _ quota: SpoolQuota? = nil, usesRecorded: Bool = false, _ access: Store.Access = .owner,
    _ body: (RocksSpool) async throws -> Void
  ) async throws {
    let store = try await Store.open(
      at: path, settings: .small, access: access, clock: SystemClock(), hooks: .manual)
    var settings = SpoolSettings()
    if let quota { settings.quota = quota }
    settings.usesRecordedQuota = usesRecorded
    do {
      try await body(try await RocksSpool(store: store, name: "main", settings: settings))
      try await store.close()
    } catch {
      try? await store.close()
      throw error
    }
  }

  @Test("A tool that opens without a quota keeps to the recorded one and leaves it")
  func toolsKeepToIt() async throws {
    try await with(limit) { #expect($0.quota == limit) }
    for _ in 0..<2 {
      try await with(usesRecorded: true) { (spool) async throws in
        #expect(spool.quota == limit)
        #expect(spool.usage != nil)
        await expectError(.quotaExceeded) {
          try await spool.put(numberedID(9), [UInt8](repeating: 0, count: 1_000))
        }
      }
    }
    try await with(usesRecorded: true, .reader) { #expect($0.quota == limit) }
    // A quota of its own wins, and is recorded by nobody.
    let other = SpoolQuota(entries: 7)
    try await with(other, usesRecorded: true) { #expect($0.quota == other) }
    try await with(usesRecorded: true) { #expect($0.quota == limit) }
  }

  @Test("The application's last opening is what counts", arguments: [nil, SpoolQuota(entries: 5)])
  func theLastOpeningCounts(quota: SpoolQuota?) async throws {
    try await with(limit) { _ in }
    try await with(quota) { #expect($0.quota == quota ?? SpoolQuota()) }
    try await with(usesRecorded: true) { #expect($0.quota == quota ?? SpoolQuota()) }
  }

  @Test("A spool's record is its own, and equal openings write nothing")
  func recordsAreApart() async throws {
    try await with(limit) { (spool) async throws in
      let other = try await RocksSpool(store: spool.storage, name: "other")
      #expect(other.quota == SpoolQuota())
      let before = try spool.storage.database.latestSequenceNumber()
      try await other.shutdown()
      try await spool.shutdown()
      var settings = SpoolSettings()
      settings.quota = limit
      _ = try await RocksSpool(store: spool.storage, name: "main", settings: settings)
      #expect(try spool.storage.database.latestSequenceNumber() == before)
    }
  }

  @Test("A damaged record is an error for tools, and recorded anew by the application")
  func damagedRecords() async throws {
    try await with(limit) { (spool) async throws in
      try await spool.put(numberedID(1), [1])
      let family = try #require(spool.storage.existingFamily("default"))
      var batch = Batch()
      batch.put(family, key: RecordedQuota.key(of: "main"), value: [1, 2, 3])
      try await spool.storage.commit(batch, durability: .buffered)
    }
    await expectError(.corruption) { try await with(usesRecorded: true) { _ in } }
    // A reader would only show it; the messages are intact.
    try await with(usesRecorded: true, .reader) { (spool) async throws in
      #expect(spool.quota == SpoolQuota())
      #expect(spool.quotaProblem?.kind == .corruption)
      #expect(try await spool.load(numberedID(1)) == [1])
    }
    try await with(limit) { #expect($0.quota == limit && $0.quotaProblem == nil) }
    try await with(usesRecorded: true) { #expect($0.quota == limit) }
  }

  @Test func recordsAreReadBackAndOtherBytesAreNone() throws {
    let quotas = [
      SpoolQuota(bytes: 0), SpoolQuota(entries: .max), SpoolQuota(bytes: 5, entries: 6),
    ]
    for quota in quotas {
      let bytes = RecordedQuota.encode(quota)
      #expect(RecordedQuota.decode(bytes) == quota)
      for index in bytes.indices {
        var damaged = bytes
        damaged[index] ^= 0x40
        #expect(RecordedQuota.decode(damaged) == nil, "byte \(index)")
        #expect(RecordedQuota.decode(Array(bytes[..<index])) == nil)
      }
      #expect(RecordedQuota.decode(bytes + [0]) == nil)
    }
  }
}
