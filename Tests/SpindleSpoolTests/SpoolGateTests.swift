import Logging
import Metrics
import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// What the outside hears while writes are refused.
private let refusalText = "the spool is not accepting writes"

/// A spool in a store on a clock that the test moves.
struct GatedSpool {
  let store: Store
  let spool: RocksSpool
  let clock = ManualClock()
  let log = LogCapture()

  init(
    at path: String? = nil, hooks: StoreHooks = .manual, gate: GateSettings = GateSettings(),
    floor: StoreSettings.CapacityFloor = .none, writeBuffer: Int = 1 << 20,
    familyBuffer: Int? = nil, storeDeadline: Duration = .seconds(30)
  ) async throws {
    var settings = StoreSettings.small
    settings.database.writeBufferBytes = writeBuffer
    settings.logger = log.logger
    settings.capacityFloor = floor
    var options = ColumnFamilyOptions()
    options.level0CompactionTrigger = 100
    options.level0SlowdownTrigger = 200
    options.level0StopTrigger = 300
    if let familyBuffer { options.writeBufferBytes = familyBuffer }
    settings.familyOptions = ["spool": options]
    store = try await Store.small(
      at: path ?? TestDirectory.path("store"), settings: settings, clock: clock, hooks: hooks)
    var spoolSettings = SpoolSettings()
    spoolSettings.gate = gate
    spoolSettings.storeDeadline = storeDeadline
    spool = try await RocksSpool(store: store, name: "main", settings: spoolSettings)
    try await store.checkHealth()
  }

  func pass(_ seconds: Int) async throws {
    for _ in 0..<seconds {
      clock.advance(by: .seconds(1))
      try await store.checkHealth()
    }
  }

  /// Stores messages and writes them to a table; gives their ids.
  func makeTable(_ count: Int = 20) async throws -> [SpoolID] {
    var ids: [SpoolID] = []
    for _ in 0..<count {
      let id = spool.makeID()
      try await spool.put(id, Self.payload(id))
      ids.append(id)
    }
    try await flush()
    return ids
  }

  func flush() async throws {
    try await store.blocking { try store.database.flush(spool.family.columnFamily) }
  }

  static func payload(_ id: SpoolID) -> Bytes {
    Array("message \(id) ".utf8) + [UInt8](repeating: 7, count: 300)
  }

  /// Checks that each message is there, byte for byte.
  func expectStored(
    _ ids: [SpoolID], location: SourceLocation = #_sourceLocation
  ) async throws {
    for id in ids {
      #expect(try await spool.load(id) == Self.payload(id), sourceLocation: location)
    }
    #expect(Set(try await spool.allIDs()) == Set(ids), sourceLocation: location)
  }

  /// Checks that stores and removes are refused, blandly.
  func expectShut(
    _ reason: String, _ id: SpoolID, location: SourceLocation = #_sourceLocation
  ) async {
    #expect(spool.unhealthyReason?.description == refusalText, sourceLocation: location)
    let calls: [() async throws -> Void] = [
      { try await spool.put(spool.makeID(), [1]) },
      { try await spool.put(spool.makeID(), [1], forceSync: true) },
      { try await spool.remove(id) },
    ]
    for call in calls {
      do {
        try await call()
        Issue.record("the call was not refused", sourceLocation: location)
      } catch let error as SpindleError {
        #expect(error.kind == .unavailable, sourceLocation: location)
        #expect(error.reason == reason, sourceLocation: location)
      } catch {
        Issue.record("unexpected error \(error)", sourceLocation: location)
      }
    }
  }

  func truncateFirstTable() throws -> TableDamage {
    try TableDamage(truncating: try #require(try store.tablePaths(of: spool.family).first))
  }

  /// Closes the store and opens it again; gives what the spool holds.
  func reopened() async throws -> [SpoolID: Bytes] {
    try await store.close()
    return try await stored(at: store.path)
  }
}

/// What an operator sees of a spool.
struct Dashboard {
  let factory: MemoryMetrics
  var fixture: GatedSpool

  enum Gauge: String {
    case loadShedActive = "rocks_spool_load_shed_active"
    case writeStopped = "rocks_spool_write_stopped"
    case backgroundErrors = "rocks_spool_background_errors"
    case memTableUnflushed = "rocks_spool_mem_table_unflushed"
  }

  /// A gauge, refreshed.
  func value(_ gauge: Gauge) async throws -> Double {
    try await fixture.spool.publishMetrics()
    let labels = ["path": fixture.store.path, "spool": "main"]
    return try #require(factory.gauge(gauge.rawValue, labels))
  }

  func expect(
    shut: Bool, stopped: Bool = false, location: SourceLocation = #_sourceLocation
  ) async throws {
    #expect((fixture.spool.unhealthyReason != nil) == shut, sourceLocation: location)
    #expect(try await value(.loadShedActive) == (shut ? 1 : 0), sourceLocation: location)
    #expect(try await value(.writeStopped) == (stopped ? 1 : 0), sourceLocation: location)
  }

  func errors(_ kind: String) -> Int {
    factory.count("spool_foreground_errors_total", ["spool": "main", "kind": kind])
  }

  func transitions(_ reason: String, to state: String) -> Int {
    factory.count(
      "spool_gate_transitions_total", ["spool": "main", "reason": reason, "to": state])
  }
}

extension LogCapture {
  /// Why gates shut, in order.
  var reasons: [String] { all(.error).compactMap { $0.facts["spindle.reason"] } }
}

/// What the spool of a store holds.
private func stored(at path: String) async throws -> [SpoolID: Bytes] {
  let store = try await Store.small(at: path)
  let spool = try await RocksSpool(store: store, name: "main")
  var found: [SpoolID: Bytes] = [:]
  for id in try await spool.allIDs() { found[id] = try await spool.load(id) }
  try await store.close()
  return found
}

/// The gate as the users of a spool meet it.
@Suite(.temporaryDirectory) struct SpoolGateTests {
  @Test("A-G-1: a load of a truncated table shuts the gate before it returns; the rest still loads")
  func truncatedTableShutsTheGate() async throws {
    let fixture = try await GatedSpool()
    let (first, second) = (try await fixture.makeTable(), try await fixture.makeTable())
    let spool = fixture.spool
    #expect(spool.unhealthyReason == nil)
    let damage = try fixture.truncateFirstTable()
    await expectError(.corruption) { _ = try await spool.load(first[3]) }
    await fixture.expectShut("corruption", second[0])
    // No time passed on the clock of the store: nobody waited.
    #expect(fixture.clock.sleeperCount == 0)
    for id in second { #expect(try await spool.load(id) == GatedSpool.payload(id)) }
    #expect(spool.gateStatus.causes.map(\.reason) == ["corruption"])
    #expect(spool.gateStatus.causes[0].detail.contains(damage.path))
    let message = await expectError(.unavailable) { try await spool.put(spool.makeID(), [1]) }
    #expect(message == refusalText)
    // Other spools go on.
    let other = try await RocksSpool(store: fixture.store, name: "other")
    #expect(other.unhealthyReason == nil)
    try await other.put(other.makeID(), [1])
    try damage.mend()
    try await spool.clearGate()
    #expect(spool.unhealthyReason == nil)
    try await fixture.expectStored(first + second)
    try await fixture.store.close()
  }

  @Test("A-G-2: a store whose table was deleted opens, and its first load shuts the gate")
  func deletedTableShutsTheGate() async throws {
    // Room for all of it, so that nothing is flushed before its time, into a table of its own.
    let fixture = try await GatedSpool(writeBuffer: 8 << 20)
    let ids = try await fixture.makeTable()
    let database = fixture.store.database
    try await fixture.store.blocking { _ = try database.waitForCompaction() }
    let table = try #require(try fixture.store.tablePaths(of: fixture.spool.family).first)
    try await fixture.store.close()
    let content = try Files.read(table, limit: .max)
    try Files.remove(table)
    let again = try await GatedSpool(at: fixture.store.path)
    let events = again.store.events
    let loads = await Task { try await again.spool.load(ids[0]) }.result
    #expect(throws: SpindleError.self) { try loads.get() }
    await again.expectShut("io_error", ids[0])
    // No time opens it while the table is missing.
    try await again.pass(1000)
    await again.expectShut("io_error", ids[0])
    await expectError(.io) { try await again.spool.clearGate() }
    // Put back, it reads again, and the gate opens by itself.
    try writeFile(content, to: table)
    try await again.pass(301)
    #expect(again.spool.unhealthyReason == nil)
    try await again.expectStored(ids)
    let id = again.spool.makeID()
    try await again.spool.put(id, [1])
    #expect(try await again.reopened().count == ids.count + 1)
    #expect(await gateEvents(events) == ["part shut io_error", "part open io_error"])
    #expect(again.log.all(.error).count == 1)
  }

  @Test("A-DF-1: a full disk: the store throws the disk's words, the gate says disk_full, all live")
  func aFullDiskShutsTheGate() async throws {
    try await withFullDisk { (fixture, disk, ids, failure) async throws in
      #expect(failure.message.contains("No space left on device"))
      #expect(failure.reason == "disk_full")
      await fixture.expectShut("disk_full", ids[0])
      #expect(fixture.store.health.status.causes.map(\.reason) == ["disk_full"])
      #expect(fixture.store.health.status.errors["io_error"] == 1)
      for id in ids { #expect(try await fixture.spool.load(id).count == 4000) }
      let lines = fixture.log.all(.error)
      #expect(lines.count == 1)
      #expect(lines[0].facts["spindle.reason"] == "disk_full")
      #expect(lines[0].facts["spindle.store.path"] == fixture.store.path)
    }
  }

  @Test(
    "A-DF-2, A-DF-3: what was acknowledged before and after a full disk survives close and kill")
  func nothingAcknowledgedIsLost() async throws {
    try await withFullDisk { (fixture, disk, ids, _) async throws in
      try disk.removeFiller()
      try await heal(fixture)
      var all = Set(ids)
      for number in 0..<50 {
        let id = fixture.spool.makeID()
        try await fixture.spool.put(
          id, [UInt8](repeating: 9, count: 4000), forceSync: number % 2 == 0)
        all.insert(id)
      }
      let copy = try TestDirectory.path("killed")
      try await fixture.store.copyAsKilled(to: copy)
      #expect(Set(try await fixture.reopened().keys) == all)
      #expect(Set(try await stored(at: copy).keys) == all)
      #expect(Set(try await stored(at: copy).keys) == all)
    }
  }

  @Test("A-DF-5: too little free space shuts the gate and more opens it; no inodes is not full")
  func theFloorTripsAndClears() async throws {
    let shared = SharedSpace(disk(free: 500_000_000))
    var hooks = StoreHooks.manual
    hooks.diskSpace = { shared.value }
    var floor = StoreSettings.CapacityFloor()
    floor.bytes = 100_000_000
    floor.percent = 5
    floor.inodes = 1000
    let fixture = try await GatedSpool(hooks: hooks, floor: floor)
    let ids = try await fixture.makeTable(1)
    for _ in 0..<3 {
      shared.value = disk(free: 49_000_000)
      try await fixture.pass(1)
      #expect(fixture.spool.unhealthyReason != nil)
      // Below a tenth of the floor removals are refused too.
      shared.value = disk(free: 4_900_000)
      try await fixture.pass(1)
      await fixture.expectShut("disk_full", ids[0])
      shared.value = disk(free: 61_000_000)
      try await fixture.pass(1)
      #expect(fixture.spool.unhealthyReason == nil)
    }
    shared.value = disk(free: 500_000_000, inodes: 99, of: 100_000)
    try await fixture.pass(1)
    await fixture.expectShut("disk_full", ids[0])
    // A file system that counts no inodes says zero of zero.
    shared.value = disk(free: 500_000_000, inodes: 0, of: 0)
    try await fixture.pass(1)
    #expect(fixture.spool.unhealthyReason == nil)
    // An answer that fails leaves things as they are.
    shared.value = nil
    try await fixture.pass(1)
    #expect(fixture.spool.unhealthyReason == nil)
    // Told at each transition, once.
    #expect(fixture.log.all(.error).count == 4)
    #expect(fixture.store.health.status.transitions == ["disk_full": 4])
    try await fixture.expectStored(ids)
    try await fixture.store.close()
  }

  @Test(
    "A-G-11: the unhealthy life, told by metrics, reason, error and log, and healed without loss")
  func theUnhealthyLife() async throws {
    let factory = MemoryMetrics()
    try await withMetricsFactory(factory) { try await self.liveUnhealthily(factory) }
  }

  private func liveUnhealthily(_ factory: MemoryMetrics) async throws {
    var gate = GateSettings()
    gate.unlatchesOnCorruption = true
    let first = try await GatedSpool(gate: gate, writeBuffer: 8 << 20)
    let firstEvents = first.store.events
    var dashboard = Dashboard(factory: factory, fixture: first)
    try await dashboard.expect(shut: false)
    var ids = try await first.makeTable()

    // A truncated table.
    let damage = try first.truncateFirstTable()
    await expectError(.corruption) { _ = try await first.spool.load(ids[0]) }
    await first.expectShut("corruption", ids[0])
    try await dashboard.expect(shut: true)
    #expect(dashboard.errors("corruption") == 1)
    try damage.mend()
    try await first.pass(301)
    try await dashboard.expect(shut: false)
    ids += try await first.makeTable()
    #expect(first.log.reasons == ["corruption"])

    // A table that is deleted while the store is closed.
    try await first.store.close()
    #expect(await gateEvents(firstEvents) == ["part shut corruption", "part open corruption"])
    let table = try #require(try Self.tables(in: first.store.path).first)
    let content = try Files.read(table, limit: .max)
    try Files.remove(table)
    let fixture = try await GatedSpool(at: first.store.path, gate: gate, writeBuffer: 8 << 20)
    let (store, spool) = (fixture.store, fixture.spool)
    let events = store.events
    dashboard.fixture = fixture
    await expectError(.io) { _ = try await spool.load(ids[0]) }
    await fixture.expectShut("io_error", ids[0])
    try await dashboard.expect(shut: true)
    #expect(dashboard.errors("io") == 1)
    try writeFile(content, to: table)
    try await fixture.pass(301)
    try await dashboard.expect(shut: false)
    ids += try await fixture.makeTable()

    // A full disk, as the log meets it.
    store.guardian?.inject(.logAppend, error: .noSpace, partialBytes: 9)
    let text = await expectError(.unavailable) { try await spool.put(spool.makeID(), [1]) }
    #expect(text.contains("No space left on device"))
    await fixture.expectShut("disk_full", ids[0])
    try await dashboard.expect(shut: true)
    // Of the call that met it; what the gate refused is no error of the engine.
    #expect(dashboard.errors("unavailable") == 1)
    try await fixture.pass(1)
    try await dashboard.expect(shut: false)
    ids += try await fixture.makeTable()

    // A stall that goes on and on.
    try await store.setWritesStopped(true, by: spool.family)
    try await dashboard.expect(shut: false, stopped: true)
    for _ in 0..<16 {
      let late = Task {
        try await spool.store(
          spool.makeID(), [1], forceSync: false, deadline: fixture.clock.now - .seconds(1))
      }
      await #expect(throws: SpindleError.self) { try await late.value }
      try await fixture.pass(1)
    }
    // Through an open gate the next stores would wait for ever.
    try #require(spool.unhealthyReason != nil)
    await fixture.expectShut("backpressure", ids[0])
    try await dashboard.expect(shut: true, stopped: true)
    // The first second shuts nothing, so all of them met the stall but the last.
    #expect(dashboard.errors("deadlineExceeded") >= 15)
    try await store.setWritesStopped(false, by: spool.family)
    try await fixture.pass(31)
    try await dashboard.expect(shut: false)
    ids += try await fixture.makeTable()

    // Memory runs low, and what would free it fails.
    let large = spool.makeID()
    try await spool.put(large, Bytes(repeating: 7, count: 2 << 20))
    try await spool.remove(large)
    let background = try await dashboard.value(.backgroundErrors)
    store.guardian?.inject(.tableAppend, count: nil, error: .io)
    await expectError(.io) { _ = try await spool.adviseLowMemory() }
    try await store.checkHealth()
    await fixture.expectShut("background_error", ids[0])
    try await dashboard.expect(shut: true)
    #expect(dashboard.errors("io") == 2)
    #expect(try await dashboard.value(.backgroundErrors) > background)
    store.guardian?.clearFaults()
    try await heal(fixture)
    try await dashboard.expect(shut: false)
    #expect(try await dashboard.value(.memTableUnflushed) < 1_000_000)
    ids += try await fixture.makeTable()

    // The operator.
    spool.shutGate(note: "moving house")
    await fixture.expectShut("operator", ids[0])
    try await dashboard.expect(shut: true)
    try await spool.clearGate()
    try await dashboard.expect(shut: false)
    ids += try await fixture.makeTable()

    try await fixture.expectStored(ids)
    let found = try await fixture.reopened()
    #expect(found.count == ids.count)
    for id in ids { #expect(found[id] == GatedSpool.payload(id)) }
    let expected = [
      "part shut io_error", "part open io_error", "shut disk_full", "open disk_full",
      "part shut backpressure", "part open backpressure", "shut background_error",
      "open background_error", "part shut operator", "part open operator",
    ]
    #expect(await gateEvents(events) == expected)
    let reasons = ["io_error", "disk_full", "backpressure", "background_error", "operator"]
    #expect(fixture.log.reasons == reasons)
    for reason in ["corruption"] + reasons {
      try await eventually { dashboard.transitions(reason, to: "open") == 1 }
      #expect(dashboard.transitions(reason, to: "shut") == 1, "\(reason)")
    }
  }

  private static func tables(in path: String) throws -> [String] {
    try Files.names(in: path + "/rocks").filter { $0.hasSuffix(".sst") }.sorted()
      .map { path + "/rocks/" + $0 }
  }

  // MARK: Help

  /// What the gates did until the store was closed.
  private func gateEvents(_ events: AsyncStream<StoreEvent>) async -> [String] {
    var told: [String] = []
    for await event in events {
      switch event {
      case .partShut(_, let reason, _): told.append("part shut \(reason)")
      case .partOpened(_, let reason): told.append("part open \(reason)")
      case .gateShut(let reason, _): told.append("shut \(reason)")
      case .gateOpened(let reason): told.append("open \(reason)")
      default: break
      }
    }
    return told
  }

  private func heal(_ fixture: GatedSpool) async throws {
    for _ in 0..<5 where fixture.spool.unhealthyReason != nil {
      try? await fixture.store.heal()
    }
    #expect(fixture.spool.unhealthyReason == nil, "\(fixture.store.health.causes)")
  }

  /// A disk of 12 MB, filled by a spool until a store fails; gives the disk, what was acknowledged,
  /// and that failure.
  private func withFullDisk(
    _ body: (GatedSpool, SmallDisk, [SpoolID], SpindleError) async throws -> Void
  ) async throws {
    let disk = try await SmallDisk.mount(at: TestDirectory.path("disk"), bytes: 12 << 20)
    do {
      let fixture = try await GatedSpool(at: disk.path + "/store")
      var ids: [SpoolID] = []
      for _ in 0..<100 {
        let id = fixture.spool.makeID()
        try await fixture.spool.put(id, [UInt8](repeating: 9, count: 4000))
        ids.append(id)
      }
      try disk.fill(leaving: 300_000)
      var failure: SpindleError?
      while failure == nil {
        let id = fixture.spool.makeID()
        do {
          try await fixture.spool.put(id, [UInt8](repeating: 9, count: 4000))
          ids.append(id)
        } catch let error as SpindleError {
          failure = error
        }
      }
      try await body(fixture, disk, ids, try #require(failure))
      try await fixture.store.close()
    } catch {
      try? await disk.unmount()
      throw error
    }
    try await disk.unmount()
  }
}
