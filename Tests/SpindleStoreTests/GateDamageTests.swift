import Logging
import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

/// Real damage of table files, seen by reads, compactions, conditions and probes.
@Suite(.temporaryDirectory) struct GateDamageTests {
  private func damage(_ fixture: GateFixture) throws -> TableDamage {
    let tables = try fixture.store.tablePaths(of: fixture.family)
    return try TableDamage(truncating: try #require(tables.first))
  }

  private func readDamaged(_ fixture: GateFixture) async {
    let error = await refusal {
      _ = try await fixture.store.get(fixture.family, key: numberedKey(1))
    }
    #expect(error?.kind == .corruption)
  }

  @Test("A-G-7: a gate that damage shut stays shut, even after the damage is gone")
  func damageWaitsForTheOperator() async throws {
    let fixture = try await GateFixture()
    try await fixture.makeTables()
    let damage = try damage(fixture)
    await readDamaged(fixture)
    await fixture.expectShut("corruption")
    #expect(fixture.gate.status.lastError?.kind == "corruption")
    // The operator's wish is not enough while the table does not read.
    let refused = await refusal { try await fixture.store.clearGate(of: fixture.family) }
    #expect(refused?.kind == .corruption)
    #expect(fixture.gate.isShut)
    try damage.mend()
    try await fixture.pass(1000)
    await fixture.expectShut("corruption")
    try await fixture.store.clearGate(of: fixture.family)
    try await fixture.store.put(fixture.family, 2000)
    let all = Array(0..<50) + Array(1000..<1050) + [2000]
    #expect(try fixture.store.numbers(fixture.family) == all)
    #expect(fixture.told == ["error corruption", "info corruption"])
    try await fixture.store.close()
  }

  /// The probe used to end the process: it read ahead in a table that no error had named.
  @Test("A-G-7: the probe meets a second table that was cut short, over the same keys")
  func probeLooksAtEveryTable() async throws {
    let fixture = try await GateFixture()
    for start in 0..<2 {
      for number in stride(from: start, to: 1_000, by: 2) {
        try await fixture.store.put(fixture.family, number, bytes: 2_000)
      }
      try await fixture.store.flush(fixture.family)
    }
    let paths = try fixture.store.tablePaths(of: fixture.family)
    try #require(paths.count == 2)
    // Both are open.
    for number in 0..<2 {
      _ = try await fixture.store.get(fixture.family, key: numberedKey(number))
    }
    let named = try TableDamage(truncating: paths[0])
    let error = await refusal {
      _ = try await fixture.store.get(fixture.family, key: numberedKey(500))
    }
    #expect(error?.kind == .corruption)
    try named.mend()
    let bytes = try Files.read(paths[1], limit: .max)
    try writeFile(Array(bytes.prefix(bytes.count / 2)), to: paths[1])
    let refused = await refusal { try await fixture.store.clearGate(of: fixture.family) }
    #expect(refused?.kind == .corruption)
    #expect(refused?.message.contains("has \(bytes.count / 2) bytes") == true)
    #expect(fixture.gate.isShut)
    try writeFile(bytes, to: paths[1])
    try await fixture.store.clearGate(of: fixture.family)
    #expect(!fixture.gate.isShut)
    try await fixture.store.close()
  }

  @Test("A-G-7: with unlatchesOnCorruption the gate opens once the damaged range reads again")
  func damageOpensOnceItReads() async throws {
    var settings = GateSettings()
    settings.unlatchesOnCorruption = true
    let fixture = try await GateFixture(settings)
    try await fixture.makeTables()
    let damage = try damage(fixture)
    await readDamaged(fixture)
    // Each try reads the table, fails, and starts the quiet time anew.
    try await fixture.pass(700)
    await fixture.expectShut("corruption")
    #expect(fixture.gate.status.errors["corruption"] == 3)
    try damage.mend()
    try await fixture.pass(300)
    #expect(!fixture.gate.isShut)
    try await fixture.store.put(fixture.family, 2000)
    #expect(fixture.told == ["error corruption", "info corruption"])
    try await fixture.store.close()
  }

  @Test("A condition that meets damage shuts the gate of its family")
  func conditionsMeetDamage() async throws {
    let fixture = try await GateFixture()
    try await fixture.makeTables()
    let damage = try damage(fixture)
    let other = try await fixture.store.family("oplog:a")
    var batch = Batch()
    batch.requireEqual(fixture.family, key: numberedKey(1), bytes: numberedValue(1, bytes: 300))
    batch.put(other, key: numberedKey(1), value: numberedValue(1))
    let error = await refusal { try await fixture.store.commit(batch, durability: .buffered) }
    #expect(error?.kind == .corruption)
    await fixture.expectShut("corruption")
    #expect(!other.health.isShut)
    #expect(try fixture.store.numbers(other).isEmpty)
    try damage.mend()
    try await fixture.store.clearGate(of: fixture.family)
    try await fixture.store.commit(batch, durability: .buffered)
    try await fixture.store.close()
  }

  @Test(
    "A-G-7, A-G-10: failing compactions shut the gate, those of before the first look do not"
  )
  func onlyNewCompactionFailuresCount() async throws {
    var settings = StoreSettings.small
    let log = LogCapture()
    settings.logger = log.logger
    let clock = ManualClock()
    let store = try await Store.small(
      at: TestDirectory.path("store"), settings: settings, clock: clock)
    let family = try await store.family("spool:a")
    for start in [0, 1000] {
      for number in start..<(start + 50) { try await store.put(family, number, bytes: 300) }
      try await store.flush(family)
    }
    func compact() async throws {
      _ = try? await store.blocking {
        try store.database.compact(family.columnFamily)
        return try store.database.waitForCompaction(idleMilliseconds: 5)
      }
    }
    func pass(_ seconds: Int) async throws {
      for _ in 0..<seconds {
        clock.advance(by: .seconds(1))
        try await store.checkHealth()
      }
    }
    let damage = try TableDamage(
      truncating: try #require(try store.tablePaths(of: family).first))
    // Before the first look: history.
    for _ in 0..<2 { try await compact() }
    #expect(store.database.listener.compactionFailures(of: "spool:a") == 2)
    #expect(store.database.listener.compactionFailures(of: "default") == 0)
    try await pass(60)
    #expect(!family.health.isShut)
    #expect(family.health.status.backgroundErrors == 0)
    // One is a blip. Those that go on are not, though writes succeed all the while.
    try await compact()
    try await pass(30)
    #expect(!family.health.isShut)
    for _ in 0..<4 {
      try await compact()
      try await pass(5)
      family.health.recordSuccess()
    }
    #expect(family.health.status.causes.map(\.reason) == ["background_error"])
    #expect(family.health.status.backgroundErrors == 5)
    #expect(store.health.status.backgroundErrors == 7)
    #expect(store.health.unhealthyReason == nil)
    try damage.mend()
    try await pass(300)
    #expect(!family.health.isShut)
    try await pass(60)
    #expect(!family.health.isShut)
    // What failed before the opening counts no more, what fails now does.
    let again = try TableDamage(
      truncating: try #require(try store.tablePaths(of: family).first))
    for _ in 0..<4 {
      try await compact()
      try await pass(5)
    }
    #expect(family.health.isShut)
    #expect(family.health.status.transitions == ["background_error": 2])
    try again.mend()
    // The same failure again and again is told once a minute, the gate at each turn.
    let told = log.all().filter { $0.message.contains("flush or compaction") }
    #expect((2...5).contains(told.count), "\(told.count)")
    try await store.clearGate(of: family)
    try await store.put(family, 1)
    try await store.close()
  }

  @Test("A-G-11: the log tells each transition once, with the path, the family and a hint at LOG")
  func transitionsAreToldOnce() async throws {
    let fixture = try await GateFixture()
    try await fixture.makeTables()
    let damage = try damage(fixture)
    let events = fixture.store.events
    for _ in 0..<5 { await readDamaged(fixture) }
    try await fixture.pass(20)
    let lines = fixture.log.all(.error)
    #expect(lines.count == 1)
    let line = try #require(lines.first)
    #expect(line.facts["spindle.store.path"] == fixture.store.path)
    #expect(line.facts["spindle.family"] == "spool:a")
    #expect(line.facts["spindle.reason"] == "corruption")
    #expect(line.facts["spindle.engine.log"]?.contains("LOG") == true)
    #expect(line.text.contains(damage.path))
    // What goes out says none of it.
    let error = await refusal { try await fixture.store.put(fixture.family, 1) }
    let text = "\(String(describing: error))"
    for secret in [fixture.store.path, "Corruption", "rocks", "sst", "LOG"] {
      #expect(!text.contains(secret), "\(text)")
    }
    #expect(error?.message == "the spool is not accepting writes")
    try damage.mend()
    try await fixture.store.clearGate(of: fixture.family)
    try await fixture.store.close()
    var told: [StoreEvent] = []
    for await event in events { told.append(event) }
    #expect(told.count == fixture.log.all().count)
    let opened = told.contains(.partOpened(family: "spool:a", reason: "corruption"))
    #expect(opened)
    let shuts = told.filter { if case .partShut = $0 { true } else { false } }
    #expect(shuts.count == 1)
  }

  @Test("A-G-4: writes in flight during a stall end when the gate shuts")
  func aShutGateEndsTheWaiting() async throws {
    let fixture = try await GateFixture()
    try await fixture.makeTables()
    try await fixture.setStopped(true)
    let (store, family) = (fixture.store, fixture.family)
    let tasks = [
      Task { try await store.put(family, 5000) },
      Task { try await store.put(family, 5001, .synced) },
      Task { try await store.put(family, 5002, bytes: 100_000) },
    ]
    try await eventually { fixture.clock.sleeperCount == 2 }
    fixture.fail("Corruption: test")
    // What the longest pause between two attempts may add.
    fixture.clock.advance(by: .milliseconds(50))
    for task in tasks {
      let error = await refusal { try await task.value }
      #expect(error?.kind == .unavailable)
      #expect(error?.reason == "corruption")
    }
    try await fixture.setStopped(false)
    try await store.clearGate(of: family)
    try await store.close()
    let again = try await Store.small(at: store.path)
    let found = try await again.numbers(again.family("spool:a"))
    #expect(found == Array(0..<50) + Array(1000..<1050))
    try await again.close()
  }
}
