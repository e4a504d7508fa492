import Metrics
import SpindleCore
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

@Suite("Spool metrics", .temporaryDirectory) struct SpoolMetricsTests {
  @Test("The metrics of a spool, by kind, name and labels")
  func names() async throws {
    let factory = MemoryMetrics()
    let path = try TestDirectory.path("store")
    try await withMetricsFactory(factory) {
      let store = try await Store.small(at: path)
      let spool = try await RocksSpool(store: store, name: "main")
      try await spool.publishMetrics()
      try await store.close()
    }
    let rocks = [
      "actual_delayed_write_rate", "background_errors", "cache_total", "compaction_pending",
      "estimate_pending_compaction_bytes", "load_shed_active", "mem_table_readers_total",
      "mem_table_total", "mem_table_unflushed", "num_running_compactions", "write_stopped",
    ].map { "gauge rocks_spool_\($0) path=\(path),spool=main" }
    let disk = ["bytes", "inodes", "inodes_percent", "percent"]
      .map { "gauge disk_free_\($0) name=main spool" }
    let own = [
      "calls_in_flight", "entries_estimate", "enumeration_entries", "enumeration_state",
      "oldest_entry_age_seconds", "quarantine_entries", "sst_bytes", "waiting_removes",
      "waiting_stores", "wal_bytes",
    ].map { "gauge spool_\($0) spool=main" }
    let operations = ["load", "remove", "store"].flatMap { operation in
      [
        "counter spool_ops_total op=\(operation),result=ok,spool=main",
        "timer spool_op_duration op=\(operation),spool=main",
      ]
    }
    let others = [
      "counter spool_bytes_total op=load,spool=main",
      "counter spool_bytes_total op=store,spool=main",
      "timer spool_backpressure_wait op=remove,spool=main",
      "timer spool_backpressure_wait op=store,spool=main",
    ]
    #expect(factory.names == (rocks + disk + own + operations + others).sorted())
  }

  @Test("Calls are counted by outcome, with their bytes and times")
  func calls() async throws {
    let factory = MemoryMetrics()
    let path = try TestDirectory.path("store")
    try await withMetricsFactory(factory) {
      let store = try await Store.small(at: path)
      var settings = SpoolSettings()
      settings.payloadByteLimit = 1000
      let spool = try await RocksSpool(store: store, name: "main", settings: settings)
      let ids = (0..<3).map { _ in spool.makeID() }
      for id in ids { try await spool.put(id, Bytes(repeating: 1, count: 100)) }
      _ = try await spool.load(ids[0])
      await expectError(.notFound) { _ = try await spool.load(spool.makeID()) }
      try await spool.remove(ids[2])
      await expectError(.tooLarge) {
        try await spool.put(ids[0], Bytes(repeating: 1, count: 1001))
      }
      store.health.shutForOperator(note: "a test")
      await expectError(.unavailable) { try await spool.put(ids[0], [1]) }
      store.health.openForOperator()
      try await store.close()
      await expectError(.closed) { _ = try await spool.load(ids[0]) }
    }
    func ops(_ operation: String, _ result: String) -> Int {
      factory.count("spool_ops_total", ["spool": "main", "op": operation, "result": result])
    }
    #expect(ops("store", "ok") == 3)
    #expect(ops("store", "tooLarge") == 1)
    #expect(ops("store", "unavailable") == 1)
    #expect(ops("load", "ok") == 1)
    #expect(ops("load", "not_found") == 1)
    #expect(ops("load", "closed") == 1)
    #expect(ops("remove", "ok") == 1)
    #expect(factory.count("spool_bytes_total", ["spool": "main", "op": "store"]) == 300)
    #expect(factory.count("spool_bytes_total", ["spool": "main", "op": "load"]) == 100)
    let times = try #require(factory.times("spool_op_duration", ["spool": "main", "op": "store"]))
    #expect(times.count == 5)
    #expect(times.allSatisfy { $0 > 0 })
    // Neither a refusal at the gate nor a caller's mistake is an error of the engine.
    #expect(factory.counters(named: "spool_foreground_errors_total").isEmpty)
  }

  @Test("A-D-12: write_stopped is 1 during a stall and 0 after it")
  func stall() async throws {
    let factory = MemoryMetrics()
    try await withMetricsFactory(factory) {
      let stalled = try await StalledSpool()
      let rocks = ["path": stalled.store.path, "spool": "main"]
      func stopped() async throws -> Double? {
        try await stalled.spool.publishMetrics()
        return factory.gauge("rocks_spool_write_stopped", rocks)
      }
      #expect(try await stopped() == 0)
      try await stalled.setStopped(true)
      let id = stalled.spool.makeID()
      let calls = [
        stalled.store(id, deadline: .milliseconds(100)),
        stalled.store(id, forceSync: true, deadline: .milliseconds(100)), stalled.remove(id),
      ]
      let policies = (stalled.spool.storePolicy, stalled.spool.removePolicy)
      try await eventually { policies.0.waitingCount == 2 && policies.1.waitingCount == 1 }
      #expect(try await stopped() == 1)
      #expect(factory.gauge("spool_waiting_stores", ["spool": "main"]) == 2)
      #expect(factory.gauge("spool_waiting_removes", ["spool": "main"]) == 1)
      #expect(factory.gauge("spool_calls_in_flight", ["spool": "main"]) == 3)
      // In small steps: the remove's own 30 s must not end while the commit's thread has none.
      for call in calls.prefix(2) {
        try await stalled.wait(forQueued: call, step: .milliseconds(1))
      }
      try await stalled.setStopped(false)
      try await stalled.wait(forQueued: calls[2])
      #expect(await calls[2].failure == nil)
      #expect(try await stopped() == 0)
      #expect(factory.gauge("spool_waiting_stores", ["spool": "main"]) == 0)
      #expect(factory.gauge("spool_waiting_removes", ["spool": "main"]) == 0)
      let waits = try #require(
        factory.times("spool_backpressure_wait", ["spool": "main", "op": "store"]))
      #expect(waits.count == 2)
      #expect(waits.allSatisfy { $0 >= 100_000_000 })
      #expect(
        factory.times("spool_backpressure_wait", ["spool": "main", "op": "remove"])?.count == 1)
      let errors = ["spool": "main", "kind": "deadlineExceeded"]
      #expect(factory.count("spool_foreground_errors_total", errors) == 2)
      try await stalled.store.close()
    }
  }

  @Test("The gauges tell what the spool holds, and follow the gate")
  func gauges() async throws {
    let factory = MemoryMetrics()
    let path = try TestDirectory.path("store")
    let clock = ManualClock()
    try await withMetricsFactory(factory) {
      let store = try await Store.small(at: path, clock: clock)
      let spool = try await RocksSpool(store: store, name: "main")
      let labels = ["spool": "main"]
      try await spool.publishMetrics()
      #expect(factory.gauge("spool_oldest_entry_age_seconds", labels) == 0)
      let ids = (0..<10).map { _ in spool.makeID() }
      for id in ids { try await spool.put(id, Bytes(repeating: 1, count: 1000)) }
      clock.advance(by: .seconds(60))
      try await spool.putRaw([1, 2], [3])
      try await spool.publishMetrics()
      #expect(factory.gauge("spool_oldest_entry_age_seconds", labels) == 60)
      #expect(factory.gauge("spool_entries_estimate", labels) == 11)
      #expect(try #require(factory.gauge("spool_wal_bytes", labels)) > 10_000)
      #expect(factory.gauge("spool_sst_bytes", labels) == 0)
      try await spool.compact()
      #expect(try await store.blocking { try spool.quarantineBlocking(ids[0], reason: "a test") })
      try await spool.publishMetrics()
      #expect(try #require(factory.gauge("spool_sst_bytes", labels)) > 10_000)
      #expect(factory.gauge("spool_quarantine_entries", labels) == 1)
      #expect(try #require(factory.gauge("disk_free_bytes", ["name": "main spool"])) > 0)
      let percent = try #require(factory.gauge("disk_free_percent", ["name": "main spool"]))
      #expect((0...100).contains(percent))
      let rocks = ["path": path, "spool": "main"]
      #expect(factory.gauge("rocks_spool_load_shed_active", rocks) == 0)
      store.health.shutForOperator(note: "a test")
      try await spool.publishMetrics()
      #expect(factory.gauge("rocks_spool_load_shed_active", rocks) == 1)
      store.health.openForOperator()
      func transitions(_ to: String) -> Int {
        factory.count(
          "spool_gate_transitions_total", ["spool": "main", "reason": "operator", "to": to])
      }
      try await eventually { transitions("open") == 1 }
      #expect(transitions("shut") == 1)
      try await store.close()
    }
  }

  @Test("The age of the oldest message falls when it goes, and rises when an older one comes")
  func oldestAge() async throws {
    let factory = MemoryMetrics()
    let path = try TestDirectory.path("store")
    let clock = ManualClock()
    try await withMetricsFactory(factory) {
      let store = try await Store.small(at: path, clock: clock)
      let spool = try await RocksSpool(store: store, name: "main")
      // The spool looks by itself as the clock moves, and may tell later what it saw before.
      func age() async throws -> Double? {
        try await spool.publishMetrics()
        return factory.gauge("spool_oldest_entry_age_seconds", ["spool": "main"])
      }
      // What the quarantine keeps from before anything was seen, and what was given.
      var ids: [SpoolID] = []
      for _ in 0..<5 {
        ids.append(spool.makeID())
        clock.advance(by: .seconds(10))
      }
      for id in ids[1...3] { try await spool.put(id, [1]) }
      try await eventually { try await age() == 40 }
      try await spool.remove(ids[1])
      try await eventually { try await age() == 30 }
      try await spool.quarantine(ids[2], reason: "a test")
      try await eventually { try await age() == 20 }
      try await spool.restoreQuarantined(ids[2])
      try await eventually { try await age() == 30 }
      try await spool.put(ids[0], [1], forceSync: true)
      try await eventually { try await age() == 50 }
      for id in [ids[0], ids[2], ids[3]] { try await spool.remove(id) }
      try await eventually { try await age() == 0 }
      // Nothing was there when it was looked for last.
      try await spool.put(ids[1], [1])
      try await eventually { try await age() == 40 }
      try await store.close()
    }
  }

  @Test("The gauges are refreshed each 5 s, until the shutdown")
  func timer() async throws {
    let factory = MemoryMetrics()
    let path = try TestDirectory.path("store")
    let clock = ManualClock()
    try await withMetricsFactory(factory) {
      let store = try await Store.small(at: path, clock: clock)
      let spool = try await RocksSpool(store: store, name: "main")
      let labels = ["spool": "main"]
      try await eventually { clock.sleeperCount == 1 }
      #expect(factory.gauge("spool_entries_estimate", labels) == 0)
      try await spool.put(spool.makeID(), [1])
      clock.advance(by: .milliseconds(4_999))
      #expect(clock.sleeperCount == 1)
      #expect(factory.gauge("spool_entries_estimate", labels) == 0)
      clock.advance(by: .milliseconds(1))
      try await eventually { clock.sleeperCount == 1 }
      #expect(factory.gauge("spool_entries_estimate", labels) == 1)
      try await spool.shutdown()
      try await eventually { clock.sleeperCount == 0 }
      try await store.close()
    }
  }

  @Test("The end of a spool ends its timer and its metrics; the timer does not keep it")
  func end() async throws {
    let factory = MemoryMetrics()
    let path = try TestDirectory.path("store")
    let clock = ManualClock()
    try await withMetricsFactory(factory) {
      let store = try await Store.small(at: path, clock: clock)
      var spool: RocksSpool? = try await RocksSpool(store: store, name: "main")
      try await eventually { clock.sleeperCount == 1 }
      weak let gone = spool
      spool = nil
      try await eventually { gone == nil && clock.sleeperCount == 0 && factory.isAllDestroyed }
      try await store.close()
    }
  }

  @Test("The metrics take no event from the listeners of the store")
  func eventsStay() async throws {
    let path = try TestDirectory.path("store")
    try await withMetricsFactory(MemoryMetrics()) {
      let store = try await Store.small(at: path)
      _ = try await RocksSpool(store: store, name: "main")
      let events = store.events
      try await store.close()
      let seen = await events.reduce(into: []) { $0.append($1) }
      #expect(seen.contains(.opened(path: store.path, wasClean: true, droppedTailBytes: 0)))
    }
  }

  @Test("Without a backend nothing is measured")
  func noBackend() async throws {
    let clock = ManualClock()
    let path = try TestDirectory.path("store")
    try await withMetricsFactory(NOOPMetricsHandler.instance) {
      let store = try await Store.small(at: path, clock: clock)
      let spool = try await RocksSpool(store: store, name: "main")
      try await spool.publishMetrics()
      #expect(clock.sleeperCount == 0)
      try await store.close()
    }
  }

  @Test("A walk tells its state and its progress while it runs, and what damage it met")
  func walk() async throws {
    let factory = MemoryMetrics()
    let labels = ["spool": "main"]
    func state() -> Double? { factory.gauge("spool_enumeration_state", labels) }
    func entries() -> Double? { factory.gauge("spool_enumeration_entries", labels) }
    func errors() -> Int { factory.count("spool_enumeration_errors_total", labels) }
    func corruptions() -> Int {
      factory.count("spool_foreground_errors_total", ["spool": "main", "kind": "corruption"])
    }
    try await withMetricsFactory(factory) {
      try await withPlace { (place) async throws in
        let (ids, table) = try await place.withSpool { (spool) async throws in
          let ids = try await storeInTables(spool, 600)
          #expect(state() == 0)
          let channel = SpoolEntryChannel(capacity: 300)
          let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
          // At every 256th key, before it is sent; and when the reader stalls.
          try await eventually { (255...300).contains(entries() ?? 0) }
          #expect(state() == 1)
          var count = 0
          for await _ in channel { count += 1 }
          #expect(await walk.finished().error == nil)
          #expect(count == 600)
          #expect(state() == 2)
          #expect(entries() == 600)
          #expect(errors() == 0)
          // A damaged record does not end a walk.
          try await spool.putRaw(ids[1].bytes, [1, 2, 3])
          #expect(try await spool.all().outcome.corrupt == 1)
          #expect(state() == 2)
          #expect(entries() == 599)
          #expect(errors() == 1)
          #expect(corruptions() == 0)
          let tables = try spool.tables
          return (ids, tables[tables.count / 2])
        }
        try place.damage(table.number, .flippedBit)
        try await place.withSpool { (spool) async throws in
          let (given, outcome) = try await spool.all()
          #expect(outcome.lostRanges.count == 1)
          #expect(given.count < ids.count)
          #expect(state() == 3)
          #expect(entries() == Double(outcome.count))
          // The record and the table.
          #expect(errors() == 1 + 2)
          #expect(corruptions() == 1)
          // The other walks tell the same damage.
          _ = try await spool.stats()
          _ = try await spool.verify()
          #expect(corruptions() == 3)
          try await eventually {
            factory.count(
              "spool_gate_transitions_total",
              ["spool": "main", "reason": "corruption", "to": "shut"]) == 1
          }
        }
      }
    }
  }

  @Test("An enumeration tells its state, its progress and its errors")
  func enumeration() throws {
    let factory = MemoryMetrics()
    let metrics = try #require(
      withMetricsFactory(factory) {
        SpoolMetrics(spool: "main", path: "/store", clock: SystemClock())
      })
    let labels = ["spool": "main"]
    func state() -> Double? { factory.gauge("spool_enumeration_state", labels) }
    #expect(state() == 0)
    metrics.enumerationStarted()
    #expect(state() == 1)
    metrics.enumerationProgressed(count: 5_000)
    #expect(factory.gauge("spool_enumeration_entries", labels) == 5_000)
    metrics.enumerationFinished(state: .finished, count: 5_100, errors: 0)
    #expect(state() == 2)
    #expect(factory.gauge("spool_enumeration_entries", labels) == 5_100)
    #expect(factory.counters(named: "spool_enumeration_errors_total").isEmpty)
    metrics.enumerationStarted()
    metrics.enumerationFinished(state: .failed, count: 7, errors: 2)
    #expect(state() == 3)
    #expect(factory.count("spool_enumeration_errors_total", labels) == 2)
  }
}
