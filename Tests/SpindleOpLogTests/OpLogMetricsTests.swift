import Metrics
import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

@Suite struct OpLogMetricsTests {
  private let exec = ["oplog": "app", "op": "exec"]
  private let apply = ["oplog": "app", "op": "apply"]
  private let log = ["oplog": "app"]

  private func refused(_ op: String, _ kind: String) -> [String: String] {
    ["oplog": "app", "op": op, "kind": kind]
  }

  @Test("The metrics of a processor, by kind, name and labels; all are gone with it")
  func names() async throws {
    let factory = MemoryMetrics()
    try await withMetricsFactory(factory) {
      try await withPlace { place in
        try await place.withRegisters { log, _ in log.publishMetrics() }
      }
    }
    let calls = ["apply", "exec"].flatMap { op in
      [
        "counter oplog_entries_total op=\(op),oplog=app",
        "counter oplog_repeats_total op=\(op),oplog=app",
        "timer oplog_call_duration op=\(op),oplog=app",
      ]
    }
    let counters = ["commits", "events_lost", "repairs", "shared_commits", "skips"]
      .map { "counter oplog_\($0)_total oplog=app" }
    let gauges = ["calls_in_flight", "clock_ahead_seconds", "fenced", "peers"]
      .map { "gauge oplog_\($0) oplog=app" }
    let others = [
      "recorder oplog_commit_calls oplog=app", "recorder oplog_commit_entries oplog=app",
      "timer oplog_commit_duration oplog=app",
    ]
    #expect(factory.names == (calls + counters + gauges + others).sorted())
    try await eventually { factory.isAllDestroyed }
    try expectListed(factory)
  }

  /// The page that lists them.
  private static let page =
    Files.directory(of: Files.directory(of: Files.directory(of: #filePath)))
    + "/Documentation/oplog.md"

  /// Every name of a metric must stand in a row of the page.
  private func expectListed(
    _ factory: MemoryMetrics, location: SourceLocation = #_sourceLocation
  ) throws {
    let text = String(decoding: try Files.read(Self.page), as: UTF8.self)
    let rows = text.split(separator: "\n").filter { $0.hasPrefix("| `oplog_") }
    for name in Set(factory.names.map { $0.split(separator: " ")[1] }) {
      #expect(
        rows.contains { $0.contains("`\(name)`") }, "\(name) is not listed",
        sourceLocation: location)
    }
  }

  @Test("A process without a metrics backend measures nothing and counts all the same")
  func withoutABackend() async throws {
    try await withPlace { place in
      try await place.withRegisters { log, _ in
        try await log.exec(MaxRegisterOp("a", 1))
        log.publishMetrics()
        #expect(log.counts.executed == 1)
      }
    }
  }

  @Test("Entries, repeats and refusals are counted by call and kind, as the counts are")
  func calls() async throws {
    let factory = MemoryMetrics()
    let trap = Trap()
    try await withMetricsFactory(factory) {
      try await withPlace { place in
        try await place.withRegisters(trap) { log, _ in
          try await log.exec([MaxRegisterOp("a", 1), MaxRegisterOp("b", 2)])
          trap.refuse("skip", .skip(reason: "a test"))
          try await log.exec(MaxRegisterOp("skip", 3))
          let token = try #require(IdempotencyToken("one"))
          for _ in 0..<2 { try await log.exec(MaxRegisterOp("c", 3), token: token) }
          trap.refuse("bad", .block(reason: "a test", isRetryable: false))
          await expectError(.invalidArgument, reason: "blocked") {
            try await log.exec(MaxRegisterOp("bad", 3))
          }
          await expectError(.conflict, reason: "cursor_mismatch") {
            try await log.exec(MaxRegisterOp("c", 3), expectedCursor: 99)
          }
          let page = (0..<3).map { (index: UInt64($0), entry: entry("x", UInt64($0))) }
          #expect(try await log.apply(peer: peer(1), entries: page) == 3)
          #expect(try await log.apply(peer: peer(1), entries: page) == 0)
          await syncError { try await log.apply(peer: peer(1), index: 1, entry: entry("y", 9)) }
          await syncError { try await log.apply(peer: peer(1), index: 9, entry: entry("y", 9)) }
          let late = Timestamp(
            wallMilliseconds: place.wall.wallMilliseconds + 60_001, counter: 0)!
          await syncError {
            try await log.apply(peer: peer(1), index: 3, entry: entry("y", 9, at: late.packed))
          }
          let counts = log.counts
          #expect((counts.executed, counts.applied, counts.repeated) == (4, 3, 3))
          #expect((counts.conflicts, counts.mismatched, counts.skewed) == (1, 1, 1))
        }
      }
    }
    #expect(factory.count("oplog_entries_total", exec) == 4)
    #expect(factory.count("oplog_entries_total", apply) == 3)
    #expect(factory.count("oplog_repeats_total", exec) == 1)
    #expect(factory.count("oplog_repeats_total", apply) == 3)
    #expect(factory.count("oplog_skips_total", log) == 1)
    // A page is one call of a handler, not one for each entry.
    let applied = factory.counters(named: "oplog_entries_total").first { $0.labels == apply }
    #expect(applied?.values == [3])
    for (op, kind) in [
      ("exec", "blocked"), ("exec", "cursor_mismatch"), ("apply", "conflict"),
      ("apply", "cursor_mismatch"), ("apply", "clock_skew"),
    ] {
      #expect(factory.count("oplog_refusals_total", refused(op, kind)) == 1, "\(op) \(kind)")
    }
    #expect(factory.counters(named: "oplog_refusals_total").count == 5)
    try expectListed(factory)
    #expect(factory.count("oplog_commits_total", log) == 4)
    #expect(factory.records("oplog_commit_entries", log) == [2, 1, 1, 3])
    #expect(factory.times("oplog_call_duration", exec)?.count == 6)
    #expect(factory.times("oplog_call_duration", apply)?.count == 5)
    #expect(factory.times("oplog_commit_duration", log)?.allSatisfy { $0 > 0 } == true)
  }

  @Test("Ops that fail alone are counted one by one, their call is timed once")
  func callsOfManyOps() async throws {
    let factory = MemoryMetrics()
    let trap = Trap()
    try await withMetricsFactory(factory) {
      try await withPlace { place in
        try await place.withRegisters(trap) { log, _ in
          trap.refuse("bad", .block(reason: "a test", isRetryable: false))
          let names = ["a", "bad", "b", "bad", "c"]
          let results = try await log.exec(each: names.map { MaxRegisterOp($0, 1) })
          #expect(results.count { (try? $0.get()) != nil } == 3)
          let cancelled = Task {
            while !Task.isCancelled { await Task.yield() }
            return try await log.exec(each: [MaxRegisterOp("a", 2)])
          }
          cancelled.cancel()
          await #expect(throws: CancellationError.self) { try await cancelled.value }
          #expect(log.counts.executed == 3)
        }
      }
    }
    #expect(factory.count("oplog_entries_total", exec) == 3)
    #expect(factory.count("oplog_refusals_total", refused("exec", "blocked")) == 2)
    #expect(factory.count("oplog_refusals_total", refused("exec", "cancelled")) == 1)
    #expect(factory.times("oplog_call_duration", exec)?.count == 2)
  }

  @Test("Calls that share a commit are told, and those that wait are seen")
  func sharedCommits() async throws {
    let factory = MemoryMetrics()
    let trap = Trap()
    try await withMetricsFactory(factory) {
      try await withPlace { place in
        try await place.withRegisters(trap) { log, _ in
          trap.shut()
          try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await log.exec(MaxRegisterOp("first", 1)) }
            try await trap.eventually { trap.arrivedCount == 1 }
            for number in 0..<UInt64(4) {
              group.addTask { try await log.exec(MaxRegisterOp("n\(number)", number)) }
            }
            try await trap.eventually {
              log.publishMetrics()
              return factory.gauge("oplog_calls_in_flight", self.log) == 5
            }
            trap.open()
            try await group.waitForAll()
          }
          log.publishMetrics()
          #expect(factory.gauge("oplog_calls_in_flight", self.log) == 0)
          #expect(factory.gauge("oplog_peers", self.log) == 1)
        }
      }
    }
    #expect(factory.records("oplog_commit_calls", log) == [1, 4])
    #expect(factory.records("oplog_commit_entries", log) == [1, 4])
    #expect(factory.count("oplog_shared_commits_total", log) == 1)
  }

  @Test("A fence and a clock that is ahead are seen")
  func fenceAndClock() async throws {
    let factory = MemoryMetrics()
    try await withMetricsFactory(factory) {
      try await withPlace { place in
        try await place.withRegisters { log, _ in
          let ahead = Timestamp(
            wallMilliseconds: place.wall.wallMilliseconds + 30_000, counter: 0)!
          _ = try await log.apply(
            peer: peer(1), index: 0, entry: entry("x", 1, at: ahead.packed))
          log.publishMetrics()
          #expect(factory.gauge("oplog_clock_ahead_seconds", self.log) == 30)
          #expect(factory.gauge("oplog_fenced", self.log) == 0)
          try await log.noteElsewhere(PeerCursors([me: 3]))
          log.publishMetrics()
          #expect(factory.gauge("oplog_fenced", self.log) == 1)
          await expectError(.unavailable, reason: "fenced") {
            try await log.exec(MaxRegisterOp("a", 1))
          }
          try await log.resetFence()
          log.publishMetrics()
          #expect(factory.gauge("oplog_fenced", self.log) == 0)
        }
      }
    }
    #expect(factory.count("oplog_refusals_total", refused("exec", "fenced")) == 1)
  }

  @Test("A pull tells what it brought, what stopped it and the lag of a bounded number of peers")
  func pulls() async throws {
    let factory = MemoryMetrics()
    let driver = ["driver": "from-cellar"]
    let (source, target) = (ModelReplica(peer(1)), ModelReplica(peer(2)))
    for number in 0..<UInt64(5) { source.exec(CellOp(cell: 1, value: UInt8(number)), at: number) }
    for other in 3..<UInt64(8) {
      let entry = LogEntry(
        serverUser: nil, timestamp: Timestamp(packed: 1), op: CellOp(cell: 2, value: 1))
      _ = try await source.apply(peer: peer(other), index: 0, entry: .logEntry(entry))
      target.state.withLock {
        $0.refusals[peer(other)] = .blocked(
          peer: peer(other), index: 0, reason: "a test", isRetryable: true)
      }
    }
    var settings = ConvergenceSettings()
    settings.name = "from-cellar"
    settings.measuredPeerLimit = 2
    try await withMetricsFactory(factory) {
      let convergence = ConvergenceDriver(
        from: source, into: target, settings: settings, clock: ManualClock())
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await convergence.run() }
        try await eventually {
          convergence.progress.values.count { $0.pause != nil } == 5 && convergence.newCount == 5
        }
        convergence.publishMetrics()
        group.cancelAll()
        try? await group.waitForAll()
      }
      let once = try await PullDriver(from: source, into: target, name: "once").run()
      #expect(once.newCount == 0 && once.peers.count == 5)
    }
    #expect(factory.count("oplog_pulled_entries_total", driver) == 5)
    #expect(
      factory.count("oplog_pull_stops_total", ["driver": "from-cellar", "reason": "blocked"]) == 5)
    #expect(factory.count("oplog_pull_stops_total", ["driver": "once", "reason": "blocked"]) == 5)
    #expect(factory.gauge("oplog_pull_peers", driver) == 6)
    #expect(factory.gauge("oplog_pull_paused_peers", driver) == 5)
    #expect(factory.gauge("oplog_pull_lag_entries", driver) == 5)
    let lags = factory.names.filter { $0.hasPrefix("gauge oplog_peer_lag_entries") }
    #expect(lags.count == 3)
    try expectListed(factory)
    #expect(
      factory.gauge("oplog_peer_lag_entries", ["driver": "from-cellar", "peer": "other"]) == 1)
  }

  /// A source whose cursors are what anybody wrote into a folder.
  private struct HugeLogs: LogSource {
    typealias Op = CellOp
    let next: PeerCursors
    private let board = CursorBoard(PeerCursors())

    init(_ next: PeerCursors) { self.next = next }

    func cursors() async throws -> PeerCursors { next }
    func cursor(of peer: PeerID) async throws -> UInt64 { next[peer] }
    func watchCursors() -> CursorWatch { board.watch() }
    func readSince(
      peer: PeerID, from index: UInt64
    ) async throws -> [(index: UInt64, entry: DecodedEntry<CellOp>)] { [] }
  }

  @Test("Lags that are together more than an integer holds are summed all the same")
  func hugeLags() async throws {
    let factory = MemoryMetrics()
    let source = HugeLogs(PeerCursors([peer(3): 1 << 63, peer(4): 1 << 63, peer(5): .max - 1]))
    var settings = ConvergenceSettings()
    settings.name = "huge"
    try await withMetricsFactory(factory) {
      let convergence = ConvergenceDriver(
        from: source, into: ModelReplica(peer(2)), settings: settings, clock: ManualClock())
      let run = Task { try await convergence.run() }
      defer { run.cancel() }
      try await eventually { convergence.progress.count == 3 }
      convergence.publishMetrics()
      run.cancel()
      _ = await run.result
    }
    let sum = try #require(factory.gauge("oplog_pull_lag_entries", ["driver": "huge"]))
    #expect(sum > 3.6e19 && sum < 3.7e19)
  }

  @Test("Publishing tells what it wrote and why it failed; verifying tells its findings")
  func publishingAndVerifying() async throws {
    let factory = MemoryMetrics()
    try await withMetricsFactory(factory) {
      try await withPlace { place in
        try await place.withRegisters { log, store in
          try await log.exec([MaxRegisterOp("a", 1), MaxRegisterOp("b", 2)])
          let sink = try await FileLogSink<MaxRegisterOp>(
            root: place.path + "-logs", selfID: me,
            settings: FileLogSettings(magic: testMagic), store: store)
          let publisher = try Publisher(log: log, sink: sink)
          #expect(try await publisher.sync() == 2)
          #expect(try await publisher.sync() == 0)
          let verifier = try OpLogVerifier(store: store, prefix: "app")
          #expect(try await verifier.verify().findings == [])
          #expect(factory.gauge("oplog_verify_findings", self.log) == 0)
          var batch = Batch()
          batch.delete(log.tracker.logFamily, key: OpLogKeys.entry(me, 0))
          try await store.commit(batch, durability: .buffered)
          #expect(try await verifier.verify().findings.count == 1)
          try sink.close()
          _ = try? await publisher.sync()
        }
      }
    }
    let own = ["peer": me.description]
    #expect(factory.count("oplog_published_entries_total", own) == 2)
    #expect(factory.times("oplog_publish_duration", own)?.count == 3)
    #expect(factory.gauge("oplog_verify_findings", log) == 1)
    #expect(factory.count("oplog_verify_runs_total", log) == 2)
    try expectListed(factory)
  }
}
