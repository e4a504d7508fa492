import Logging
import Metrics
import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// What both kinds of spool guard, bound, measure and tell, by the same words.
@Suite("Guards of spools of every kind", .temporaryDirectory)
struct SpoolKindsTests {
  private func payload(_ count: Int) -> Bytes { Bytes(repeating: 5, count: count) }

  // MARK: The floor

  @Test(
    "A-DF-5: too little free space or inodes refuses stores, and enough takes them again",
    arguments: Backend.allCases)
  func theFloorTripsAndClears(backend: Backend) async throws {
    let factory = MemoryMetrics()
    try await withMetricsFactory(factory) {
      let shared = SharedSpace(disk(free: 500_000_000))
      var wish = SpoolWish()
      wish.floor.bytes = 100_000_000
      wish.floor.percent = 5
      wish.floor.inodes = 1_000
      wish.space = { shared.value }
      try await backend.withSpool(wish) { (any) async throws in
        let spool = any.spool
        let id = newIDs.next()
        try await spool.put(id, [1])
        func expect(
          shut: Bool, location: SourceLocation = #_sourceLocation
        ) async throws {
          #expect((spool.unhealthyReason != nil) == shut, sourceLocation: location)
          try await any.publishMetrics()
          let gauge =
            backend == .rocks
            ? factory.gauge(
              "rocks_spool_load_shed_active",
              ["path": try TestDirectory.path("spool"), "spool": "main"])
            : factory.gauge("spool_load_shed_active", ["spool": "main"])
          #expect(gauge == (shut ? 1 : 0), sourceLocation: location)
        }
        func expectRefusal() async throws {
          try await expect(shut: true)
          do {
            try await spool.put(newIDs.next(), [1])
            Issue.record("stored below the floor")
          } catch let error as SpindleError {
            #expect(error.kind == .unavailable)
            #expect(error.reason == "disk_full")
            #expect(error.message == "the spool is not accepting writes")
          }
          #expect(any.gateStatus.causes.map(\.reason) == ["disk_full"])
          #expect(any.gateStatus.causes.first?.detail.contains("the floor is") == true)
          // What is there can be read.
          #expect(try await spool.load(id) == [1])
        }
        try await expect(shut: false)
        for _ in 0..<2 {
          shared.value = disk(free: 49_000_000)
          try await any.lookAtDisk()
          try await expectRefusal()
          // One percent above the floor, so that it does not flap.
          shared.value = disk(free: 59_000_000)
          try await any.lookAtDisk()
          try await expectRefusal()
          shared.value = disk(free: 61_000_000)
          try await any.lookAtDisk()
          try await expect(shut: false)
          try await spool.put(id, [1])
        }
        shared.value = disk(free: 500_000_000, inodes: 999)
        try await any.lookAtDisk()
        try await expectRefusal()
        // A file system that counts no inodes says zero of zero.
        shared.value = disk(free: 500_000_000, inodes: 0, of: 0)
        try await any.lookAtDisk()
        try await expect(shut: false)
        // An answer that fails leaves things as they are.
        shared.value = nil
        try await any.lookAtDisk()
        try await expect(shut: false)
        let lines = any.wish.log.all(.error)
        #expect(lines.count == 3)
        #expect(lines.allSatisfy { $0.facts["spindle.reason"] == "disk_full" })
        #expect(any.gateStatus.transitions == ["disk_full": 3])
        for state in ["shut", "open"] {
          try await eventually {
            factory.count(
              "spool_gate_transitions_total",
              ["spool": "main", "reason": "disk_full", "to": state]) == 3
          }
        }
      }
    }
  }

  @Test("A spool on files looks at the floor when it is opened, and then by itself")
  func theFloorIsLookedAtByItself() async throws {
    let shared = SharedSpace(disk(free: 1))
    var wish = SpoolWish()
    wish.floor.bytes = 100
    wish.floor.percent = 100
    wish.space = { shared.value }
    try await Backend.localDisk.withSpool(wish) { (any) async throws in
      await expectError(.unavailable) { try await any.spool.put(newIDs.next(), [1]) }
      shared.value = disk(free: 500_000_000)
      try await eventually {
        wish.clock.advance(by: .seconds(5))
        return any.spool.unhealthyReason == nil
      }
      shared.value = disk(free: 1)
      try await eventually {
        wish.clock.advance(by: .seconds(5))
        return any.spool.unhealthyReason != nil
      }
    }
  }

  @Test("A-DF-5: a definition sets the floor of a spool on files")
  func definitionsSetTheFloor() async throws {
    var definition = SpoolDefinition(name: "meta", kind: .localDisk)
    definition.path = try TestDirectory.path("spool")
    definition.minFreeSpace = .amount(.max)
    var settings = LocalDiskSettings()
    settings.capacityFloor = .none
    let full = try LocalDiskSpool(definition: definition, settings: settings)
    #expect(full.name == "meta")
    #expect(full.unhealthyReason != nil)
    try await full.shutdown()
    definition.minFreeSpace = .percent(0)
    definition.minFreeInodes = .percent(0)
    let roomy = try LocalDiskSpool(definition: definition)
    #expect(roomy.unhealthyReason == nil)
    #expect(roomy.settings.capacityFloor.percent == 0)
    #expect(roomy.settings.capacityFloor.inodePercent == 0)
    try await roomy.put(newIDs.next(), [1])
    try await roomy.shutdown()
  }

  // MARK: The quota

  @Test(
    "A full spool refuses, says its limit and what it holds, and stores nothing",
    arguments: Backend.allCases)
  func quotaRefuses(backend: Backend) async throws {
    let limit = 2 * (100 + backend.overhead) + 10
    var wish = SpoolWish()
    wish.quota = SpoolQuota(bytes: limit, entries: 3)
    try await backend.withSpool(wish) { (any) async throws in
      let spool = any.spool
      let ids = (0..<4).map { _ in newIDs.next() }
      try await spool.put(ids[0], payload(100))
      try await spool.put(ids[1], payload(100), forceSync: true)
      #expect(any.usage == SpoolUsage(bytes: limit - 10, entries: 2))
      for forceSync in [false, true] {
        let message = await expectError(.quotaExceeded) {
          try await spool.put(ids[2], payload(100), forceSync: forceSync)
        }
        #expect(message.contains("main may hold \(limit) bytes and holds \(limit - 10)"))
      }
      #expect(try await spool.loadOrNil(ids[2]) == nil)
      // A replacement counts with the difference.
      try await spool.put(ids[0], payload(110))
      #expect(any.usage == SpoolUsage(bytes: limit, entries: 2))
      await expectError(.quotaExceeded) { try await spool.put(ids[0], payload(111)) }
      #expect(try await spool.load(ids[0]) == payload(110))
      try await spool.put(ids[0], [])
      try await spool.remove(ids[1])
      #expect(any.usage == SpoolUsage(bytes: backend.overhead, entries: 1))
      for id in ids[1...2] { try await spool.put(id, []) }
      let message = await expectError(.quotaExceeded) { try await spool.put(ids[3], []) }
      #expect(message.contains("3 messages and holds 3"))
      #expect(spool.unhealthyReason == nil)
    }
    // Counted anew; with less than it holds, it may shrink and not grow.
    wish.quota = SpoolQuota(bytes: 50, entries: 2)
    try await backend.withSpool(wish) { (any) async throws in
      #expect(any.usage == SpoolUsage(bytes: 3 * backend.overhead, entries: 3))
      let ids = try await any.spool.allIDs()
      await expectError(.quotaExceeded) { try await any.spool.put(ids[0], [1]) }
      for id in ids.dropFirst() { try await any.spool.remove(id) }
      #expect(any.usage == SpoolUsage(bytes: backend.overhead, entries: 1))
    }
    try await backend.withSpool(SpoolWish()) { (any) async throws in #expect(any.usage == nil) }
  }

  @Test("Messages in quarantine are not counted for the quota", arguments: Backend.allCases)
  func quarantineIsNotCounted(backend: Backend) async throws {
    var wish = SpoolWish()
    wish.quota = SpoolQuota(entries: 1)
    try await backend.withSpool(wish) { (any) async throws in
      let spool = any.spool
      let (first, second) = (newIDs.next(), newIDs.next())
      try await spool.put(first, payload(10))
      try await spool.quarantine(first, reason: "a test")
      #expect(any.usage == SpoolUsage())
      #expect(try await spool.quarantinedCount() == 1)
      try await spool.put(second, [])
      // No room for what comes back: it stays in quarantine.
      await expectError(.quotaExceeded) { try await spool.restoreQuarantined(first) }
      #expect(try await spool.quarantinedCount() == 1)
      #expect(any.usage == SpoolUsage(bytes: backend.overhead, entries: 1))
      try await spool.remove(second)
      try await spool.restoreQuarantined(first)
      #expect(try await spool.quarantinedCount() == 0)
      #expect(any.usage == SpoolUsage(bytes: backend.overhead + 10, entries: 1))
      await expectError(.notFound) { try await spool.restoreQuarantined(second) }
      await expectError(.notFound) { try await spool.quarantine(newIDs.next(), reason: "") }
      try await spool.quarantine(first, reason: "again")
      try await spool.purgeQuarantined(first)
      #expect(any.usage == SpoolUsage())
    }
  }

  @Test(
    "Whatever many callers do to a few ids, the count is what is stored",
    arguments: Backend.allCases)
  func theCountIsExact(backend: Backend) async throws {
    var wish = SpoolWish()
    wish.quota = SpoolQuota(bytes: 2_000, entries: 6)
    let ids = (0..<10).map { _ in newIDs.next() }
    var counted: SpoolUsage?
    try await backend.withSpool(wish) { (any) async throws in
      let spool = any.spool
      await withTaskGroup(of: Void.self) { group in
        for task in 0..<8 {
          group.addTask {
            var random = SeededGenerator(seed: UInt64(task) + 5)
            for _ in 0..<60 {
              let id = ids[Int(random.next() % 10)]
              let data = Bytes(repeating: 1, count: Int(random.next() % 400))
              do {
                switch random.next() % 5 {
                case 0: try await spool.remove(id)
                case 1: try await spool.quarantine(id, reason: "a test")
                case 2: try await spool.restoreQuarantined(id)
                default: try await spool.put(id, data, forceSync: random.next() % 8 == 0)
                }
              } catch let error as SpindleError {
                let expected: Set<SpindleError.Kind> = [.quotaExceeded, .notFound, .conflict]
                #expect(expected.contains(error.kind), "\(error)")
              } catch {
                Issue.record("unexpected error \(error)")
              }
            }
          }
        }
      }
      counted = any.usage
      let stored = try await spool.all().entries.reduce(into: SpoolUsage()) { usage, entry in
        guard case .item(_, let data) = entry else { return }
        usage.bytes += UInt64(data.count) + backend.overhead
        usage.entries += 1
      }
      #expect(counted == stored)
    }
    try await backend.withSpool(wish) { (any) async throws in #expect(any.usage == counted) }
  }

  @Test("A store that fails for want of space gives its reservation back")
  func failuresGiveBack() async throws {
    try await withSmallDisk(bytes: 4 << 20) { (disk) async throws in
      var settings = LocalDiskSettings()
      settings.capacityFloor = .none
      settings.quota = SpoolQuota(bytes: 1 << 30)
      try await withDiskSpool(settings, clock: ManualClock(), at: disk.path + "/spool") {
        (spool) async throws in
        let id = newIDs.next()
        try await spool.put(id, [1])
        let before = spool.usage
        #expect(before == SpoolUsage(bytes: Backend.localDisk.overhead + 1, entries: 1))
        try disk.fill(leaving: 64 << 10)
        for other in [id, newIDs.next()] {
          await expectError(.io) { try await spool.put(other, payload(1 << 20)) }
          #expect(spool.usage == before)
        }
        // An absent one frees nothing.
        await expectError(.notFound) { try await spool.remove(newIDs.next()) }
        #expect(spool.usage == before)
      }
    }
  }

  // MARK: Compression

  @Test(
    "Payloads are stored smaller and come back, whatever the setting is then",
    arguments: Backend.allCases, PayloadCompression.allCases)
  func compressedPayloadsComeBack(
    backend: Backend, compression: PayloadCompression
  ) async throws {
    let payloads = [
      [], [1], SpoolCompressionTests.lines(3), SpoolCompressionTests.lines(4_000),
      SpoolCompressionTests.noise(20_000), Bytes(repeating: 0, count: 1 << 20),
    ]
    let stored = payloads.map { (newIDs.next(), $0) }
    var wish = SpoolWish()
    wish.compression = compression
    wish.quota = SpoolQuota(bytes: 1 << 30)
    try await backend.withSpool(wish) { (any) async throws in
      for (id, payload) in stored { try await any.spool.put(id, payload) }
      let whole = payloads.reduce(0) { $0 + UInt64($1.count) + backend.overhead }
      let usage = try #require(any.usage)
      if compression == .none {
        #expect(usage.bytes == whole)
      } else {
        #expect(usage.bytes < whole / 2)
      }
    }
    try await backend.withSpool(SpoolWish()) { (any) async throws in
      for (id, payload) in stored { #expect(try await any.spool.load(id) == payload) }
      let (entries, outcome) = try await any.spool.all()
      #expect(outcome.corrupt == 0)
      #expect(entries.count == stored.count)
      for (id, payload) in stored { #expect(entries.contains(.item(id: id, data: payload))) }
      // Its bytes go to quarantine and back as they are.
      try await any.spool.quarantine(stored[3].0, reason: "a test")
      #expect(try await any.spool.quarantined(after: nil, limit: 9).map(\.isDamaged) == [false])
      try await any.spool.restoreQuarantined(stored[3].0)
      #expect(try await any.spool.load(stored[3].0) == stored[3].1)
    }
  }

  // MARK: Metrics

  @Test(
    "Calls are counted by outcome, with their bytes and times", arguments: Backend.allCases)
  func callsAreMeasured(backend: Backend) async throws {
    let factory = MemoryMetrics()
    try await withMetricsFactory(factory) {
      var wish = SpoolWish()
      wish.quota = SpoolQuota(entries: 3)
      try await backend.withSpool(wish) { (any) async throws in
        let spool = any.spool
        let ids = (0..<4).map { _ in newIDs.next() }
        for id in ids.prefix(3) { try await spool.put(id, payload(100)) }
        await expectError(.quotaExceeded) { try await spool.put(ids[3], []) }
        #expect(try await spool.load(ids[0]).count == 100)
        await expectError(.notFound) { _ = try await spool.load(ids[3]) }
        try await spool.remove(ids[2])
        func count(_ operation: String, _ result: String) -> Int {
          factory.count(
            "spool_ops_total", ["spool": "main", "op": operation, "result": result])
        }
        #expect(count("store", "ok") == 3)
        #expect(count("store", "quotaExceeded") == 1)
        #expect(count("load", "ok") == 1)
        #expect(count("load", "not_found") == 1)
        #expect(count("remove", "ok") == 1)
        for (operation, bytes) in [("store", 300), ("load", 100)] {
          #expect(
            factory.count("spool_bytes_total", ["spool": "main", "op": operation]) == bytes)
        }
        for (operation, calls) in [("store", 4), ("load", 2), ("remove", 1)] {
          let times = factory.times("spool_op_duration", ["spool": "main", "op": operation])
          #expect(times?.count == calls)
        }
        #expect(factory.counters(named: "spool_foreground_errors_total").isEmpty)
        try await any.publishMetrics()
        #expect(factory.gauge("spool_calls_in_flight", ["spool": "main"]) == 0)
        #expect(factory.gauge("disk_free_bytes", ["name": "main spool"]) ?? 0 > 0)
        _ = try await spool.all()
        #expect(factory.gauge("spool_enumeration_state", ["spool": "main"]) == 2)
        #expect(factory.gauge("spool_enumeration_entries", ["spool": "main"]) == 2)
        try await spool.shutdown()
        await expectError(.closed) { _ = try await spool.load(ids[0]) }
        #expect(count("load", "closed") == 0)
      }
    }
    try await eventually { factory.isAllDestroyed }
  }
}
