import SpindleCore
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

/// A store on a clock that the test moves, with a spool's family and all that the store logs.
struct GateFixture {
  let store: Store
  let clock = ManualClock()
  let log = LogCapture()
  let family: StoreFamily

  init(_ gate: GateSettings = GateSettings(), hooks: StoreHooks = .manual) async throws {
    var settings = StoreSettings.small
    settings.logger = log.logger
    var options = ColumnFamilyOptions()
    options.level0CompactionTrigger = 100
    options.level0SlowdownTrigger = 200
    options.level0StopTrigger = 300
    settings.familyOptions = ["spool": options]
    store = try await Store.small(
      at: TestDirectory.path("store"), settings: settings, clock: clock, hooks: hooks)
    family = try await store.family("spool:a")
    family.health.configure(gate)
    // Everything that a test does comes after the first look.
    try await store.checkHealth()
  }

  var gate: PartHealth { family.health }
  var reasons: [String] { gate.status.causes.map(\.reason) }

  /// Lets time pass, with a look at the store each second.
  func pass(_ seconds: Int) async throws {
    for _ in 0..<seconds {
      clock.advance(by: .seconds(1))
      try await store.checkHealth()
    }
  }

  /// A call that fails with these words of the engine.
  func fail(_ text: String = "Resource busy: test") {
    _ = store.failure(RocksError(message: text), reading: family)
  }

  /// Writes two tables: numbers from 0 and from 1,000 on.
  func makeTables() async throws {
    for start in [0, 1000] {
      for number in start..<(start + 50) { try await store.put(family, number, bytes: 300) }
      try await store.flush(family)
    }
  }

  /// Stops RocksDB's writes, or lets them go on; needs tables.
  func setStopped(_ stopped: Bool) async throws {
    let trigger = stopped ? "1" : "300"
    let names = ["level0_slowdown_writes_trigger", "level0_stop_writes_trigger"]
    let options = Dictionary(uniqueKeysWithValues: names.map { ($0, trigger) })
    try await store.blocking { try store.database.setOptions(options, of: family.columnFamily) }
  }

  func expectShut(
    _ reason: String, location: SourceLocation = #_sourceLocation
  ) async {
    #expect(gate.isShut, sourceLocation: location)
    let error = await refusal(location) { try await store.put(family, 77) }
    #expect(error?.kind == .unavailable, sourceLocation: location)
    #expect(error?.reason == reason, sourceLocation: location)
    #expect(error?.message == "the spool is not accepting writes", sourceLocation: location)
    #expect(error?.path == nil, sourceLocation: location)
  }

  /// The log's lines of the family's gate: level, reason.
  var told: [String] {
    log.all().compactMap { line in
      guard line.facts["spindle.family"] == "spool:a", let reason = line.facts["spindle.reason"]
      else { return nil }
      return "\(line.level) \(reason)"
    }
  }
}
