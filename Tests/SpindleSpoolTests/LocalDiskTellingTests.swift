import Logging
import Metrics
import SpindleCore
import SpindleIO
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

@testable import SpindleSpool

/// What a spool on files tells of itself: log lines and metrics.
@Suite("What a spool on files tells", .temporaryDirectory)
struct LocalDiskTellingTests {
  private func settings(_ log: LogCapture) -> LocalDiskSettings {
    var settings = LocalDiskSettings()
    settings.logger = log.logger
    settings.capacityFloor = .none
    return settings
  }

  @Test("A store that waits while the gate shuts is refused, and leaves nothing")
  func waitingStoresAreRefused() async throws {
    let spools = Mutex<LocalDiskSpool?>(nil)
    try await withDiskSpool(
      LocalDiskSettings(), clock: ManualClock(),
      { step in
        guard case .written = step else { return }
        let full = DiskSpace(freeBytes: 0, totalBytes: 100, freeInodes: 0, totalInodes: 100)
        _ = spools.withLock { $0?.gate.judge(full) }
      }
    ) { (spool) async throws in
      spools.withLock { $0 = spool }
      defer { spools.withLock { $0 = nil } }
      await expectError(.unavailable) { try await spool.put(newIDs.next(), [1]) }
      #expect(spool.gateStatus.causes.map(\.reason) == ["disk_full"])
      #expect(try spool.namesInNew().isEmpty)
      #expect(try await spool.allIDs().isEmpty)
    }
  }

  @Test(
    "A-G-11: failures that shut the gate are told once, with the details, and so is its opening")
  func theGateIsTold() async throws {
    let (factory, log, clock) = (MemoryMetrics(), LogCapture(), ManualClock())
    try await withMetricsFactory(factory) {
      try await withSmallDisk(bytes: 4 << 20) { (disk) async throws in
        let path = disk.path + "/mail"
        try await withDiskSpool(settings(log), clock: clock, at: path) { (spool) async throws in
          #expect(spool.name == "mail")
          try disk.fill(leaving: 64 << 10)
          for _ in 0..<4 {
            let large = Bytes(repeating: 7, count: 1 << 20)
            await #expect(throws: SpindleError.self) {
              try await spool.put(newIDs.next(), large)
            }
          }
          let lines = log.all(.error)
          #expect(lines.count == 1)
          let line = try #require(lines.first)
          #expect(line.message == "the spool stopped accepting writes")
          #expect(line.facts["spindle.reason"] == "disk_full")
          #expect(line.facts["spindle.spool"] == "mail")
          #expect(line.facts["spindle.spool.path"] == path)
          #expect(line.facts["spindle.detail"]?.contains("No space left on device") == true)
          let status = spool.gateStatus
          #expect(status.causes.map(\.reason) == ["disk_full"])
          #expect(status.errors == ["disk_full": 3])
          #expect(status.lastError?.detail.contains("No space left on device") == true)
          func transitions(to state: String) -> Int {
            factory.count(
              "spool_gate_transitions_total",
              ["spool": "mail", "reason": "disk_full", "to": state])
          }
          #expect(transitions(to: "shut") == 1)
          // The three that met the disk; what the gate refuses is no error of the disk.
          #expect(
            factory.count("spool_foreground_errors_total", ["spool": "mail", "kind": "io"]) == 3)
          #expect(
            factory.count(
              "spool_ops_total", ["spool": "mail", "op": "store", "result": "unavailable"]) == 1)
          try await spool.publishMetrics()
          #expect(factory.gauge("spool_load_shed_active", ["spool": "mail"]) == 1)
          try disk.removeFiller()
          #expect(await spool.heal())
          #expect(transitions(to: "open") == 1)
          #expect(
            log.all(.info).map(\.message) == ["a cause that stopped the spool's writes is gone"])
          #expect(spool.gateStatus.causes.isEmpty)
          try await spool.publishMetrics()
          #expect(factory.gauge("spool_load_shed_active", ["spool": "mail"]) == 0)
        }
      }
    }
  }

  @Test("A-E-6: bad entries of a walk are told one by one, up to a few, and counted")
  func badEntriesAreTold() async throws {
    let (factory, log) = (MemoryMetrics(), LogCapture())
    try await withMetricsFactory(factory) {
      try await withDiskSpool(settings(log)) { (spool) async throws in
        let labels = ["spool": "spool"]
        #expect(factory.gauge("spool_enumeration_state", labels) == 0)
        let ids = (0..<4).map { id(atMilliseconds: 1_000, $0) }
        for id in ids { try await spool.put(id, [1, 2, 3]) }
        _ = try await spool.all()
        #expect(log.all(.warning).isEmpty)
        #expect(log.all(.info).map(\.message) == ["a walk over a spool ended"])
        #expect(log.all(.info).last?.facts["spindle.count"] == "4")
        #expect(factory.gauge("spool_enumeration_state", labels) == 2)
        #expect(factory.gauge("spool_enumeration_entries", labels) == 4)
        #expect(factory.counters(named: "spool_enumeration_errors_total").isEmpty)

        try writeFile([1], to: spool.file(ids[1]))
        try writeFile([1], to: spool.path + "/data/README")
        let (_, outcome) = try await spool.all()
        #expect(outcome.count == 3)
        #expect(outcome.corrupt == 1)
        #expect(outcome.skipped == 1)
        #expect(outcome.stray == 1)
        let lines = log.all(.warning)
        #expect(lines.count == 3)
        #expect(lines.contains { $0.text.contains(spool.file(ids[1])) })
        #expect(lines.contains { $0.text.contains("/data/README") })
        #expect(lines.last?.message == "a walk over a spool ended")
        #expect(lines.last?.facts["spindle.corrupt"] == "1")
        #expect(lines.last?.facts["spindle.stray"] == "1")
        #expect(factory.count("spool_enumeration_errors_total", labels) == 1)

        // However many there are.
        for number in 0..<50 {
          try writeFile([1], to: spool.path + "/data/00/00/00/00/stray \(number)")
        }
        let before = log.all(.warning).count
        #expect(try await spool.all().outcome.stray == 51)
        #expect(log.all(.warning).count == before + 17)
        #expect(log.all(.warning).last?.facts["spindle.stray"] == "51")
      }
    }
  }

  @Test func aRemoveThatFindsNothingAndAQuarantineAreTold() async throws {
    let (factory, log) = (MemoryMetrics(), LogCapture())
    try await withMetricsFactory(factory) {
      try await withDiskSpool(settings(log)) { (spool) async throws in
        let id = newIDs.next()
        await expectError(.notFound) { try await spool.remove(id) }
        #expect(
          factory.count(
            "spool_ops_total", ["spool": "spool", "op": "remove", "result": "not_found"]) == 1)
        try await spool.put(id, [1])
        try await spool.quarantine(id, reason: "cannot be parsed")
        let line = try #require(log.all(.warning).first)
        #expect(line.message == "a message was moved to quarantine")
        #expect(line.facts["spindle.id"] == "\(id)")
        #expect(line.facts["spindle.reason"] == "cannot be parsed")
        try await spool.publishMetrics()
        #expect(factory.gauge("spool_quarantine_entries", ["spool": "spool"]) == 1)
      }
    }
  }

  @Test func aRiskyDirectoryIsTold() async throws {
    let log = LogCapture()
    try await withSmallDisk(bytes: 4 << 20) { (disk) async throws in
      let path = disk.path + "/spool"
      try await withDiskSpool(settings(log), at: path) { (spool) async throws in }
      try disk.fill()
      try await withDiskSpool(settings(log), at: path) { (spool) async throws in
        #expect(log.all(.warning).map { $0.facts["spindle.detail"] } == ["the disk is full"])
      }
    }
  }

  @Test("The gauges and counters of a spool on files, by kind, name and labels")
  func names() async throws {
    let factory = MemoryMetrics()
    try await withMetricsFactory(factory) {
      try await withDiskSpool { try await $0.publishMetrics() }
    }
    let gauges =
      ["bytes", "inodes", "inodes_percent", "percent"]
      .map { "gauge disk_free_\($0) name=spool spool" }
      + [
        "calls_in_flight", "enumeration_entries", "enumeration_state", "load_shed_active",
        "quarantine_entries",
      ].map { "gauge spool_\($0) spool=spool" }
    let operations = ["load", "remove", "store"].flatMap { operation in
      [
        "counter spool_ops_total op=\(operation),result=ok,spool=spool",
        "timer spool_op_duration op=\(operation),spool=spool",
      ]
    }
    let bytes = ["load", "store"].map { "counter spool_bytes_total op=\($0),spool=spool" }
    #expect(factory.names == (gauges + operations + bytes).sorted())
  }
}
