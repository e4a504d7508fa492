import SpindleCore
import SpindleOpLog
import SpindleRocks
import SpindleStore
import Synchronization

/// The jobs of `spindle bench oplog`.
final class BenchOpLog: Sendable {
  private typealias Log = Processor<BenchCells, LogIndexTracker<BenchCellOp>>

  private let directory: String
  private let plan: BenchOpLogCommand.Plan
  private let ops: Int
  private let seconds: Double
  private let payloads: BenchPayloads
  private let cells: [[UInt8]]

  /// Peers of `apply` with one caller, and of `cursors`.
  private static let peersOfApply = 16
  private static let peersOfCursors = 10_000
  private static let entriesAPeer = 10

  init(
    directory: String, plan: BenchOpLogCommand.Plan, ops: Int, seconds: Double, valueBytes: Int,
    cells: Int
  ) {
    self.directory = directory
    self.plan = plan
    self.ops = ops
    self.seconds = seconds
    payloads = BenchPayloads(.random, bytes: valueBytes)
    self.cells = (0..<cells).map(Self.cell)
  }

  func run() async throws -> BenchOpLogCommand.Result {
    switch plan.job {
    case .apply, .all: try await apply()
    case .exec: try await exec(.buffered)
    case .synced: try await exec(.synced)
    case .read: try await read()
    case .cursors: try await cursors()
    }
  }

  // MARK: The log

  /// The options of the raw program.
  private func withStore<Value>(_ body: (Store) async throws -> Value) async throws -> Value {
    var settings = StoreSettings()
    settings.ballastBytes = 0
    settings.database.maxOpenFiles = 512
    var family = BenchStore.familyOptions
    family.writeBufferBytes = 64 << 20
    settings.familyOptions = ["oplog": family, "data": family]
    let store = try await Store.open(at: directory, settings: settings)
    do {
      let value = try await body(store)
      try await store.close()
      return value
    } catch {
      try? await store.close()
      throw error
    }
  }

  private func withLog<Value>(_ body: (Log) async throws -> Value) async throws -> Value {
    try await withStore { store in
      let log = try await Log(
        reducer: BenchCells(), store: store, prefix: "bench", selfID: Self.peer(0))
      let value = try await body(log)
      await log.close()
      return value
    }
  }

  private static func peer(_ number: Int) -> PeerID {
    PeerID(UUIDValue(high: benchMix(UInt64(number)), low: UInt64(number)))
  }

  private static func cell(_ number: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(benchMix(UInt64(number)))
    bytes.appendBigEndian(UInt64(number))
    return bytes + [UInt8](repeating: 0, count: 8)
  }

  private func op(_ number: Int) -> BenchCellOp {
    BenchCellOp(cell: cells[number % cells.count], value: payloads[number])
  }

  private func entry(_ number: Int) -> DecodedEntry<BenchCellOp> {
    .logEntry(
      LogEntry(serverUser: nil, timestamp: Timestamp(packed: UInt64(number) + 1), op: op(number)))
  }

  private func fill(_ log: Log, peer: PeerID, count: Int) async throws {
    for first in stride(from: 0, to: count, by: LogPage.entryLimit) {
      let page = (first..<min(first + LogPage.entryLimit, count)).map {
        (index: UInt64($0), entry: entry($0))
      }
      _ = try await log.apply(peer: peer, entries: page)
    }
  }

  private func flush(_ log: Log) async throws {
    let (database, family) = (log.store.database, log.tracker.logFamily.columnFamily)
    try await log.store.blocking { try database.flush(family) }
  }

  private func result(
    _ measured: BenchRun.Measured, fsyncs: Int = 0
  ) -> BenchOpLogCommand.Result {
    BenchOpLogCommand.Result(
      job: plan.job.rawValue, batch: plan.batch, threads: plan.tasks, ops: measured.ops,
      seconds: measured.seconds, opsPerSecond: measured.opsPerSecond,
      p50us: measured.percentile(0.5), p99us: measured.percentile(0.99), fsyncs: fsyncs)
  }

  private static var surprise: SpindleError {
    SpindleError(.corruption, "the op-log gave other entries than were recorded")
  }

  // MARK: Jobs

  /// One caller serves all peers in turn; of several each has a peer of its own.
  private func apply() async throws -> BenchOpLogCommand.Result {
    try await withLog { log in
      let syncs = log.store.commitSyncCount
      let parts = try await withThrowingTaskGroup(of: BenchRun.Measured.self) { group in
        for task in 0..<plan.tasks {
          group.addTask { [self] in try await apply(log, task) }
        }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      let all = BenchRun.Measured(
        ops: parts.reduce(0) { $0 + $1.ops }, seconds: parts.map(\.seconds).max() ?? 0,
        latencies: parts.flatMap(\.latencies).sorted())
      return result(all, fsyncs: log.store.commitSyncCount - syncs)
    }
  }

  private func apply(_ log: Log, _ task: Int) async throws -> BenchRun.Measured {
    let peers = plan.tasks == 1 ? (0..<Self.peersOfApply).map(Self.peer) : [Self.peer(task)]
    let next = Mutex((turn: 0, indices: [UInt64](repeating: 0, count: peers.count)))
    let batch = plan.batch
    return try await BenchRun(perCall: batch, limit: ops / plan.tasks, seconds: seconds)
      .measure { [self] number in
        let (turn, index) = next.withLock { next in
          let turn = next.turn % peers.count
          next.turn += 1
          defer { next.indices[turn] += UInt64(batch) }
          return (turn, next.indices[turn])
        }
        if batch == 1 {
          let applied = try await log.apply(peer: peers[turn], index: index, entry: entry(number))
          guard applied.new else { throw Self.surprise }
        } else {
          let entries = (0..<batch).map {
            (index: index + UInt64($0), entry: entry(number + $0))
          }
          guard try await log.apply(peer: peers[turn], entries: entries) == batch else {
            throw Self.surprise
          }
        }
      }
  }

  private func exec(_ durability: Durability) async throws -> BenchOpLogCommand.Result {
    try await withLog { log in
      let syncs = log.store.commitSyncCount
      let measured = try await BenchRun(tasks: plan.tasks, limit: ops, seconds: seconds)
        .measure { [self] number in try await log.exec(op(number), durability: durability) }
      return result(measured, fsyncs: log.store.commitSyncCount - syncs)
    }
  }

  private func read() async throws -> BenchOpLogCommand.Result {
    try await withLog { log in
      let peer = Self.peer(0)
      try await fill(log, peer: peer, count: ops)
      try await flush(log)
      let measured = try await BenchRun(perCall: plan.batch, limit: ops, seconds: seconds)
        .measure { first in
          let page = try await log.readSince(peer: peer, from: UInt64(first))
          guard page.count >= 1, page[0].index == first else { throw Self.surprise }
        }
      return result(measured)
    }
  }

  private func cursors() async throws -> BenchOpLogCommand.Result {
    try await withLog { log in
      for number in 0..<Self.peersOfCursors {
        try await fill(log, peer: Self.peer(number), count: Self.entriesAPeer)
      }
      try await flush(log)
      let start = ContinuousClock.now
      let cursors = try await log.tracker.allCursors()
      let elapsed = (ContinuousClock.now - start) / .seconds(1)
      guard cursors.count == Self.peersOfCursors else { throw Self.surprise }
      return result(BenchRun.Measured(ops: cursors.count, seconds: elapsed, latencies: []))
    }
  }
}
