import Logging
import Metrics
import SpindleCore
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// RocksDB stalls for real, for each of its causes. Nobody feeds the gate but the writes that run
/// out of their time. Flushes that stand still keep those of other stores waiting, whose threads
/// are the same.
@Suite("Stalls by each cause", .temporaryDirectory, .serialized) struct SpoolStallTests {
  @Test(
    "A-D-12, A-G-6: a stall by each cause is told, shuts the gate when it persists, and heals",
    arguments: WriteStopCause.allCases)
  func stallsByEachCause(cause: WriteStopCause) async throws {
    let factory = MemoryMetrics()
    try await withMetricsFactory(factory) { try await self.stall(cause, factory) }
  }

  private func stall(_ cause: WriteStopCause, _ factory: MemoryMetrics) async throws {
    let fixture = try await GatedSpool(
      familyBuffer: 64 << 10, storeDeadline: .milliseconds(500))
    let (store, spool) = (fixture.store, fixture.spool)
    // Or a failed test would wait for ever at its end.
    defer { store.guardian?.holdTables(false) }
    let dashboard = Dashboard(factory: factory, fixture: fixture)
    var ids = try await fixture.makeTable()
    // In the second table as well: without an overlap a compaction only renames.
    try await spool.put(ids[0], GatedSpool.payload(ids[0]))
    ids += try await fixture.makeTable()
    try await dashboard.expect(shut: false)
    #expect(try counts(of: fixture) == [:])

    try await store.stopWrites(for: cause, by: spool.family) {
      let id = spool.makeID()
      do {
        try await spool.store(
          id, GatedSpool.payload(id), forceSync: false, deadline: fixture.clock.now)
        ids.append(id)
      } catch let error as SpindleError where error.kind == .deadlineExceeded {
        // The write that fills the last memtable meets the stall itself.
      }
    }
    let met = spool.gateStatus.backpressureTimeouts
    #expect(met <= 1)
    #expect(try counts(of: fixture).keys.sorted() == [cause.rawValue])
    // A stall alone shuts nothing, and one write that ran out of its time does not either.
    try await dashboard.expect(shut: false, stopped: true)
    try await runOutOfTheSpoolsTime(fixture)
    try await fixture.pass(1)
    try await dashboard.expect(shut: false, stopped: true)
    #expect(spool.gateStatus.backpressureTimeouts == met + 1)

    var timeouts = 0
    while spool.unhealthyReason == nil, timeouts < 30 {
      await expectError(.deadlineExceeded) {
        try await spool.store(
          spool.makeID(), [1], forceSync: timeouts % 2 == 1, deadline: fixture.clock.now)
      }
      timeouts += 1
      try await fixture.pass(1)
    }
    // As long as errors have to persist.
    #expect((14...17).contains(timeouts))
    // Through an open gate the next stores would wait for ever.
    try #require(spool.unhealthyReason != nil)
    await fixture.expectShut("backpressure", ids[0])
    try await dashboard.expect(shut: true, stopped: true)
    #expect(spool.gateStatus.backpressureTimeouts == met + UInt64(timeouts + 1))
    #expect(dashboard.errors("deadlineExceeded") == timeouts + Int(met))
    #expect(dashboard.errors("overloaded") == 1)
    #expect(spool.gateStatus.transitions == ["backpressure": 1])
    #expect(fixture.log.reasons == ["backpressure"])
    let line = try #require(fixture.log.all(.error).first)
    #expect(line.facts["spindle.family"] == "spool:main")
    #expect(line.facts["spindle.detail"]?.contains("were not accepted in time") == true)
    try await eventually { dashboard.transitions("backpressure", to: "shut") == 1 }
    // Loads go on.
    #expect(try await spool.load(ids[0]) == GatedSpool.payload(ids[0]))

    try await store.endWriteStop(for: cause, by: spool.family)
    // The stall is over, and the gate waits whether it comes back.
    try await dashboard.expect(shut: true)
    try await fixture.pass(31)
    try await dashboard.expect(shut: false)
    try await eventually { dashboard.transitions("backpressure", to: "open") == 1 }
    ids += try await fixture.makeTable()
    try await fixture.expectStored(ids)
    let found = try await fixture.reopened()
    #expect(found.count == ids.count)
    for id in ids { #expect(found[id] == GatedSpool.payload(id)) }
  }

  /// A store without a deadline of its caller's.
  private func runOutOfTheSpoolsTime(_ fixture: GatedSpool) async throws {
    let spool = fixture.spool
    let call = PendingCall { try await spool.put(spool.makeID(), [1]) }
    while !call.isDone {
      // The timer of the metrics sleeps as well.
      try await eventually { call.isDone || fixture.clock.sleeperCount >= 2 }
      if !call.isDone { fixture.clock.advance(by: .milliseconds(50)) }
    }
    let error = try #require(await call.failure as? SpindleError)
    #expect(error.kind == .overloaded)
    #expect(error.reason == "backpressure")
    #expect(error.message == "the spool did not accept the write within 0.5 seconds")
  }

  /// How often RocksDB stopped the writes of the spool's family, by cause, in its own words.
  private func counts(of fixture: GatedSpool) throws -> [String: Int] {
    let text = try #require(
      try fixture.store.database.propertyText(
        "rocksdb.cfstats", of: fixture.spool.family.columnFamily))
    let words = [
      WriteStopCause.level0: "level0_numfiles", .memtables: "memtable_compaction",
      .pendingCompaction: "stop for pending_compaction_bytes",
    ]
    let line = try #require(
      text.split(separator: "\n").first { $0.hasPrefix("Stalls(count): ") })
    let parts = line.dropFirst("Stalls(count): ".count).split(separator: ", ")
    var counts: [String: Int] = [:]
    for (cause, word) in words {
      let part = try #require(parts.first { $0.hasSuffix(" " + word) }, "\(line)")
      let count = try #require(part.split(separator: " ").first.flatMap { Int($0) })
      if count > 0 { counts[cause.rawValue] = count }
    }
    return counts
  }
}
