import SpindleCore
import SpindleDiagnostics
import SpindleIO
import SpindleOpLog
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

@testable import SpindlePipeline

@Suite struct DrainTests {
  @Test func aRepeatWithEqualContentIsRemovedWithoutASecondApply() async throws {
    try await withPlace { place in
      var maker = MessageMaker("p")
      let messages = (0..<3).map { maker.next(line($0)) }
      // Twice in one group, and again after a restart.
      try await place.leave(messages + messages)
      try await place.withPipeline { pipeline in
        try await pipeline.drain()
        #expect(pipeline.nextIndex("p") == 3)
      }
      try await place.leave([messages[1], messages[0]])
      try await place.withPipeline { pipeline in
        try await pipeline.drain()
        #expect(try await pipeline.ids().isEmpty)
        #expect(try await pipeline.quarantinedIDs().isEmpty)
        #expect(try await pipeline.summary().pointCount == 3)
        #expect(try await StoreCheck(pipeline.store).run().findings == [])
      }
    }
  }

  @Test func aRepeatOfWhatWasTrimmedOrExpungedIsRemoved() async throws {
    try await withPlace { place in
      var maker = MessageMaker("p")
      let messages = (0..<3).map { maker.next(line($0)) }
      try await place.leave(messages)
      try await place.withPipeline { pipeline in
        try await pipeline.drain()
        let peer = IngestPipeline.peer(of: "p")
        let tracker = try await LogIndexTracker<EncodedIngestOp>(
          store: pipeline.store, prefix: IngestPipeline.name)
        _ = try await tracker.trim(below: PeerCursors([peer: 1]), forced: true)
        try await tracker.expunge(peer: peer, index: 1)
      }
      try await place.leave(messages)
      try await place.withPipeline { pipeline in
        try await pipeline.drain()
        #expect(try await pipeline.ids().isEmpty)
        #expect(try await pipeline.quarantinedIDs().isEmpty)
        #expect(pipeline.nextIndex("p") == 3)
      }
    }
  }

  @Test func aStoreHasOnePipelineAtATime() async throws {
    try await withPlace { place in
      try await place.withPipeline { pipeline in
        let error = await #expect(throws: SpindleError.self) {
          _ = try await IngestPipeline(store: pipeline.store)
        }
        #expect(error?.reason == "prefix_in_use")
        await pipeline.close()
        await (try IngestPipeline(store: pipeline.store)).close()
      }
    }
  }

  @Test func aRepeatWithOtherContentGoesToQuarantineUnchanged() async throws {
    try await withPlace { place in
      var maker = MessageMaker("p")
      var liar = MessageMaker("p")
      let good = [maker.next(line(0)), maker.next(line(1))]
      let other = liar.next("m v=9 9\n")
      try await place.leave([good[0], other, good[1]])
      try await place.withPipeline { pipeline in
        try await pipeline.drain()
        #expect(try await pipeline.ids().isEmpty)
        let set = try await pipeline.quarantinedIDs()
        #expect(set.count == 1)
        let id = try #require(set.first)
        try await pipeline.spool.restoreQuarantined(id)
        #expect(try await pipeline.spool.load(id) == other)
        #expect(try await pipeline.summary().pointCount == 2)
        #expect(pipeline.nextIndex("p") == 2)
      }
    }
  }

  @Test func anOpAheadOfItsPredecessorWaitsForIt() async throws {
    try await withPlace { place in
      var maker = MessageMaker("p")
      let messages = (0..<5).map { maker.next(line($0)) }
      try await place.leave([messages[4], messages[2], messages[2], messages[1]])
      try await place.withPipeline { pipeline in
        try await pipeline.drain()
        #expect(pipeline.nextIndex("p") == 0)
        #expect(pipeline.worker.waitingCount(of: IngestPipeline.peer(of: "p")) == 4)
        await #expect(throws: SpindleError.self) { _ = try await pipeline.ingest(producer: "p") }
        #expect(try await pipeline.ids().count == 4)
      }
      try await place.leave([messages[0]])
      try await place.withPipeline { pipeline in
        try await pipeline.drain()
        #expect(pipeline.nextIndex("p") == 3)
        #expect(pipeline.worker.waitingCount(of: IngestPipeline.peer(of: "p")) == 1)
      }
      try await place.leave([messages[3]])
      try await place.withPipeline { pipeline in
        try await pipeline.drain()
        #expect(pipeline.nextIndex("p") == 5)
        #expect(try await pipeline.ids().isEmpty)
        #expect(try await pipeline.quarantinedIDs().isEmpty)
        #expect(try await pipeline.summary().pointCount == 5)
      }
    }
  }

  @Test func anyOrderOfALongBacklogAppliesEverythingOnce() async throws {
    for seed in UInt64(1)...4 {
      try await withPlace { place in
        var random = SeededGenerator(seed: seed)
        var makers = ["p", "q", "r"].map { MessageMaker($0) }
        var messages = (0..<longBacklog).map { makers[$0 % 3].next(line($0)) }
        if seed > 1 { messages.shuffle(using: &random) }
        try await place.leave(messages)
        try await place.withPipeline { pipeline in
          try await pipeline.drain()
          for producer in ["p", "q", "r"] { #expect(pipeline.nextIndex(producer) == 100) }
          #expect(try await pipeline.ids().isEmpty, "seed \(seed)")
          #expect(try await pipeline.quarantinedIDs().isEmpty)
          #expect(try await pipeline.summary().pointCount == UInt64(longBacklog))
          #expect(try await StoreCheck(pipeline.store).run().findings == [])
        }
      }
    }
  }

  @Test func badMessagesAmongGoodOnesCostOnlyThemselves() async throws {
    try await withPlace { place in
      var maker = MessageMaker("p")
      var other = MessageMaker("q")
      var liar = MessageMaker("r")
      let undecodable: [UInt8] = [9, 9, 9]
      var damaged = other.next(line(50))
      damaged[damaged.count - 6] ^= 1
      // The op claims one point and its payload has none.
      let lying = liar.next("# no point\n")
      let good = (0..<20).map { maker.next(line($0)) }
      try await place.leave(
        Array(good[..<3]) + [undecodable] + good[3..<9] + [damaged, lying, []] + good[9...])
      try await place.withPipeline { pipeline in
        try await pipeline.drain()
        #expect(pipeline.nextIndex("p") == 20)
        #expect(pipeline.nextIndex("q") == 0 && pipeline.nextIndex("r") == 0)
        #expect(try await pipeline.ids().isEmpty)
        #expect(try await pipeline.quarantinedIDs().count == 4)
        #expect(try await pipeline.summary().pointCount == 20)
        let report = try await StoreCheck(pipeline.store).run()
        #expect(report.findings == [] && report.spooledMessages == 4)
      }
    }
  }

  @Test func successorsThatWaitedAreAppliedAlsoBehindABadMessage() async throws {
    try await withPlace { place in
      var maker = MessageMaker("p")
      let messages = (0..<40).map { maker.next(line($0)) }
      // The successors wait through several groups; the group of the first has a bad message.
      try await place.leave(Array(messages[1...]) + [[7]] + [messages[0]])
      try await place.withPipeline { pipeline in
        try await pipeline.drain()
        #expect(pipeline.nextIndex("p") == 40)
        #expect(try await pipeline.ids().isEmpty)
        #expect(pipeline.worker.waitingCount(of: IngestPipeline.peer(of: "p")) == 0)
      }
    }
  }

  @Test func aDamagedRecordGoesToQuarantineAndTheRestGoesOn() async throws {
    try await withPlace { place in
      var maker = MessageMaker("p")
      try await place.leave([maker.next(line(0)), [1, 2, 3], maker.next(line(1))])
      try await place.withStore { store in
        let spool = try await RocksSpool(store: store, name: IngestPipeline.name)
        let ids = try await spool.ids(from: nil, limit: 10)
        let family = try await store.family("spool:ingest")
        var record = try #require(try await store.get(family, key: ids[1].bytes))
        record[record.count - 1] ^= 1
        var batch = Batch()
        batch.put(family, key: ids[1].bytes, value: record)
        try await store.commit(batch, durability: .buffered)
      }
      try await place.withPipeline { pipeline in
        try await pipeline.drain()
        #expect(pipeline.nextIndex("p") == 2)
        #expect(try await pipeline.quarantinedIDs().count == 1)
      }
    }
  }

  @Test func whatAFullQuarantineRefusesStaysSpooledAndTheRestGoesOn() async throws {
    try await withPlace { place in
      var maker = MessageMaker("p")
      let messages = (0..<30).map { maker.next(line($0)) }
      var other = MessageMaker("p")
      let conflicting = other.next(line(77))
      // Damage, junk, and another op under an index that is applied, between good messages.
      try await place.leave(
        [[1, 2, 3]] + messages[..<10] + [conflicting, [4]] + messages[10...] + [[5]])
      try await place.withStore { store in
        var settings = SpoolSettings()
        settings.quarantineQuota = SpoolQuota(entries: 1)
        let spool = try await RocksSpool(
          store: store, name: IngestPipeline.name, settings: settings)
        let pipeline = try await IngestPipeline(store: store, spool: spool)
        try await pipeline.drain()
        #expect(pipeline.nextIndex("p") == 30)
        #expect(try await pipeline.summary().pointCount == 30)
        #expect(try await pipeline.quarantinedIDs().count == 1)
        let held = try await pipeline.ids()
        #expect(held.count == 3 && pipeline.heldCount == 3)
        // Nobody claims them: an operator may act.
        for id in held {
          #expect(spool.claim(id))
          spool.release(id)
        }
        // What comes later is applied, and nothing is applied twice.
        let ingest = try await pipeline.ingest(producer: "q")
        try await ingest.store(Array(line(1).utf8), durability: .buffered)
        try await ingest.drained()
        #expect(try await pipeline.ids() == held)
        await ingest.close()
        await pipeline.close()
        try await spool.shutdown()
      }
      // With room the next run sets them aside.
      try await place.withPipeline { pipeline in
        try await pipeline.drain()
        #expect(try await pipeline.ids().isEmpty)
        #expect(pipeline.heldCount == 0)
        #expect(try await pipeline.quarantinedIDs().count == 4)
        #expect(pipeline.nextIndex("p") == 30)
        #expect(try await StoreCheck(pipeline.store).run().findings == [])
      }
    }
  }

  @Test(arguments: ["taken", "damaged", "shut"])
  func whatAQuarantineDoesNotTakeStaysSpooledAndTheRestGoesOn(_ cause: String) async throws {
    try await withPlace { place in
      var maker = MessageMaker("p")
      let messages = (0..<10).map { maker.next(line($0)) }
      let refused = numberedID(cause == "shut" ? 3 : 1)
      let junk = numberedValue(1, bytes: 5_000)
      let quarantineName = "spool:" + IngestPipeline.name + ".quarantine"
      let table = try await place.withStore { store in
        let spool = try await RocksSpool(store: store, name: IngestPipeline.name)
        func put(_ id: SpoolID, _ bytes: [UInt8]) async throws {
          try await spool.store(id, bytes, forceSync: false, deadline: nil)
        }
        for number in 0..<3 {
          try await put(numberedID(number), junk)
          try await spool.quarantine(numberedID(number), reason: "a test")
        }
        try await put(refused, [9])
        for (number, message) in messages.enumerated() {
          try await put(numberedID(10 + number), message)
        }
        let family = try #require(store.existingFamily(quarantineName)).columnFamily
        try await store.blocking {
          // The end of the spool's view of its opening is the beginning of one.
          try store.database.setOptions(["disable_auto_compactions": "true"], of: family)
          try store.database.flush(family)
        }
        return try #require(try store.database.tableFiles(of: family).first).number
      }
      if cause == "damaged" {
        let path = place.path + "/rocks/" + Database.tableFileName(table)
        var bytes = try Files.read(path, limit: .max)
        // That of the message in the middle, whose id the refused one has.
        let key = try #require(bytes.firstRange(of: refused.bytes)).upperBound
        bytes[key + 100] ^= 0xFF
        try writeFile(bytes, to: path)
      }
      try await place.withStore { store in
        if cause == "shut" {
          store.existingFamily(quarantineName)?.health.shutForOperator(note: "a test")
        }
        let spool = try await RocksSpool(store: store, name: IngestPipeline.name)
        let pipeline = try await IngestPipeline(store: store, spool: spool)
        try await pipeline.drain()
        #expect(pipeline.nextIndex("p") == 10)
        #expect(try await pipeline.ids() == [refused])
        #expect(pipeline.heldCount == 1)
        // What comes later is applied.
        let ingest = try await pipeline.ingest(producer: "q")
        try await ingest.store(Array(line(1).utf8), durability: .buffered)
        try await ingest.drained()
        #expect(try await pipeline.ids() == [refused])
        await ingest.close()
        await pipeline.close()
        try await spool.shutdown()
      }
    }
  }

  @Test(arguments: [0, 1, 2, 3, 5]) func aFailingCommitLeavesTheRestSpooledAndARestartAppliesItOnce(
    _ skipped: UInt64
  ) async throws {
    try await withPlace { place in
      var maker = MessageMaker("p")
      let messages = (0..<70).map { maker.next(line($0)) }
      // One waits from the beginning on, so that it is in hand when the commit fails.
      try await place.leave(Array(messages[1...2]) + [messages[0]] + messages[3...])
      try await place.withPipeline { pipeline in
        // Opening commits nothing in a store that has the families; the drain is under way.
        try await pipeline.drain()
        let guardian = try #require(pipeline.store.guardian)
        let ingest = try await pipeline.ingest(producer: "p")
        guardian.inject(.logAppend, skipping: skipped, count: 1, error: .io, partialBytes: 7)
        var stored = 70
        for number in 70..<90 {
          do {
            try await ingest.store(Array(line(number).utf8), durability: .buffered)
            stored += 1
          } catch {
            break
          }
        }
        // The drain met the failure, or one of the stores; the store may be well again by now.
        _ = await pipeline.drainFailure()
        guardian.clearFaults()
        // The store heals by itself; then everything acknowledged is applied.
        try await eventually { pipeline.store.health.unhealthyReason == nil }
        try await pipeline.drain()
        #expect(pipeline.nextIndex("p") == UInt64(stored))
        #expect(try await pipeline.ids().isEmpty)
        #expect(try await pipeline.summary().pointCount == UInt64(stored))
        // The handle goes on where it was.
        try await ingest.store(Array(line(stored).utf8), durability: .synced)
        try await ingest.drained()
        #expect(pipeline.nextIndex("p") == UInt64(stored) + 1)
      }
      try await place.withPipeline { pipeline in
        try await pipeline.drain()
        #expect(try await StoreCheck(pipeline.store).run().findings == [])
      }
    }
  }

  @Test func aFailureDuringTheBacklogIsContinuedByARestart() async throws {
    try await withPlace { place in
      var maker = MessageMaker("p")
      let messages = (0..<longBacklog).map { maker.next(line($0)) }
      try await place.leave(messages.reversed())
      try await place.withStore { store in
        // The families exist, so that the first append is that of the drain.
        _ = try await LogIndexTracker<EncodedIngestOp>(store: store, prefix: "ingest")
        let guardian = try #require(store.guardian)
        guardian.inject(.logAppend, skipping: 6, count: 1, error: .noSpace, partialBytes: 3)
        let pipeline = try await IngestPipeline(store: store)
        let failure = await pipeline.drainFailure()
        #expect(failure?.kind == .unavailable, "\(String(describing: failure))")
        #expect(try await !pipeline.ids().isEmpty)
        try await eventually { store.health.unhealthyReason == nil }
        try await pipeline.drain()
        #expect(pipeline.nextIndex("p") == UInt64(longBacklog))
        #expect(try await pipeline.ids().isEmpty)
        await pipeline.close()
      }
    }
  }

  @Test func aClosedPipelineRefusesAndNothingHangs() async throws {
    try await withPlace { place in
      try await place.withPipeline { pipeline in
        let ingest = try await pipeline.ingest(producer: "p")
        try await ingest.store(Array(line(0).utf8), durability: .buffered)
        await pipeline.close()
        await #expect(throws: SpindleError.self) {
          for number in 1..<200 {
            try await ingest.store(Array(line(number).utf8), durability: .buffered)
          }
        }
      }
    }
  }
}
