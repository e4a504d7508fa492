import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// A write of a table with its time, for a judge that knows no log.
private struct TimedOp: Sendable {
  var time: Timestamp
  var op: TableOp
}

/// A row as a reader finds it.
private struct FoundRow: Equatable {
  var id: RowID
  var time: Timestamp
  var cells: [TableCell]
}

/// What the rules of ``LastWriterWinsTable`` make of a set of ops, worked out without it.
private func rows(of ops: [TimedOp]) -> [FoundRow] {
  var deletions: [RowID: Timestamp] = [:]
  for timed in ops {
    guard case .delete(let row) = timed.op else { continue }
    deletions[row] = max(deletions[row] ?? timed.time, timed.time)
  }
  var rows: [RowID: (time: Timestamp, cells: [UInt32: (time: Timestamp, value: [UInt8]?)])] = [:]
  for timed in ops {
    guard case .write(let id, let cells) = timed.op else { continue }
    if let deletion = deletions[id], timed.time <= deletion { continue }
    var row = rows[id] ?? (timed.time, [:])
    row.time = max(row.time, timed.time)
    for cell in cells {
      guard let known = row.cells[cell.column] else {
        row.cells[cell.column] = (timed.time, cell.value)
        continue
      }
      // NULL is below every value.
      let isGreater =
        known.time != timed.time
        ? known.time < timed.time
        : cell.value.map { new in
          known.value.map { $0.lexicographicallyPrecedes(new) } ?? true
        } ?? false
      if isGreater { row.cells[cell.column] = (timed.time, cell.value) }
    }
    rows[id] = row
  }
  return rows.sorted { $0.key.key.lexicographicallyPrecedes($1.key.key) }.map { id, row in
    FoundRow(
      id: id, time: row.time,
      cells: row.cells.sorted { $0.key < $1.key }.map { TableCell($0.key, $0.value.value) })
  }
}

/// Three cells in two rows; a cell that is deleted takes its row with it.
private func tableOp(_ op: CellOp) -> TableOp {
  let row = RowID(table: 1, key: [op.cell % 2])
  guard let value = op.value else { return .delete(row) }
  return .write(row, [TableCell(UInt32(op.cell / 2), value == 1 ? nil : [value])])
}

/// A store for many runs, one after the other: making one with its families costs more than a run.
private final class RunStore {
  /// Runs that one store serves, so that what they leave behind does not slow later ones: the
  /// engine keeps notes of removed keys.
  private static let runLimit = 100

  private let wall = ManualWall()
  private var directory: String?
  private var runCount = 0
  private var open: Store?

  /// The store, opened when it is not.
  var store: Store {
    get async throws {
      if let open { return open }
      let directory = directory ?? TemporaryDirectory.make(prefix: "spindle-converge")
      self.directory = directory
      let store = try await Store.small(at: directory + "/store", clock: wall)
      open = store
      return store
    }
  }

  func close() async throws {
    if let open { try await open.close() }
    open = nil
  }

  /// Closes the store and removes it.
  func remove() async throws {
    try await close()
    if let directory { TemporaryDirectory.remove(directory) }
    (directory, runCount) = (nil, 0)
  }

  /// Runs replicas in prefixes that hold nothing.
  ///
  /// - Returns: What is wrong, also what was thrown; nil when nothing is.
  func judge(
    _ count: Int, _ body: (inout StoredRun) async throws -> Void
  ) async throws -> String? {
    var run = try await StoredRun(count, in: self)
    var failure: String?
    do { try await body(&run) } catch { failure = "\(error)" }
    await run.close()
    runCount += 1
    if failure != nil || runCount == Self.runLimit {
      try await remove()
    } else {
      for name in run.families { try await clear(name) }
    }
    return failure
  }

  private func clear(_ name: String) async throws {
    let store = try await store
    let family = try await store.family(name)
    var batch = Batch()
    try store.scan(family) { key, _ in
      batch.delete(family, key: copyBytes(key))
      return true
    }
    if !batch.isEmpty { try await store.commit(batch, durability: .buffered) }
  }
}

/// Replicas of tables, each a prefix of one store, that take steps and must agree in the end.
private struct StoredRun {
  typealias Log = Processor<LastWriterWinsTable, LogIndexTracker<TableOp>>

  struct Wrong: Error, CustomStringConvertible {
    let description: String
  }

  private let place: RunStore
  private let prefixes: [String]
  private(set) var replicas: [Log] = []
  /// Everything that was ever written, by whomever.
  private var written: [TimedOp] = []

  init(_ count: Int, in place: RunStore) async throws {
    self.place = place
    prefixes = (0..<count).map { "replica-\($0)" }
    try await openReplicas()
  }

  /// What the replicas write to.
  var families: [String] { prefixes.flatMap { ["oplog:" + $0, "data:" + $0] } }

  private mutating func openReplicas() async throws {
    replicas = []
    for (number, prefix) in prefixes.enumerated() {
      replicas.append(
        try await Log(
          reducer: LastWriterWinsTable(), store: place.store, prefix: prefix,
          selfID: peer(UInt64(number))))
    }
  }

  func close() async { for replica in replicas { await replica.close() } }

  /// Few of them, so that many are equal.
  static func time(_ number: UInt64) -> Timestamp {
    Timestamp(packed: (1_700_000_000_000 + number) << 16)
  }

  // MARK: Steps

  mutating func take(_ step: Step) async throws {
    switch step {
    case .write(let number, let op, let time):
      // With a time of the test's choice, which `exec` would not take.
      let timed = TimedOp(time: Self.time(time), op: tableOp(op))
      try await record(
        .logEntry(LogEntry(serverUser: nil, timestamp: timed.time, op: timed.op)), number)
      written.append(timed)
    case .remove(let number): try await record(.expunged(someHash), number)
    case .pull(let from, let to): _ = try await Self.pull(replicas[from], replicas[to])
    case .offer(let from, let to, let number, let index, let count):
      let origin = peer(UInt64(number))
      let page = try await replicas[from].readSince(peer: origin, from: index).prefix(count)
      do {
        _ = try await replicas[to].apply(peer: origin, entries: Array(page))
      } catch SyncError.cursorMismatch(_, let expected, let actual) where actual > expected {
        // Too far ahead; refused as it has to be.
      }
    case .crowd(let number, let ops, let from):
      written += try await crowd(replicas[number], ops, from: replicas[from])
    case .expunge(let number, let peerNumber, let index):
      let origin = peer(UInt64(peerNumber))
      // A replica that gets a marker in place of an entry lacks its state, as it has to.
      guard replicas.allSatisfy({ $0.cursor(of: origin) > index }) else { return }
      try await replicas[number].tracker.expunge(
        peer: origin, index: index, durability: .buffered)
    case .reopen(let isStore):
      let cursors = replicas.map { $0.cursors() }
      await close()
      if isStore { try await place.close() }
      try await openReplicas()
      guard replicas.map({ $0.cursors() }) == cursors else {
        throw Wrong(description: "reopening changed the cursors")
      }
    }
  }

  private func record(_ entry: DecodedEntry<TableOp>, _ number: Int) async throws {
    let log = replicas[number]
    let applied = try await log.apply(
      peer: log.selfID, index: log.cursor(of: log.selfID), entry: entry)
    guard applied.new else { throw Wrong(description: "an own entry is a repeat") }
  }

  private func crowd(_ log: Log, _ ops: [CellOp], from source: Log) async throws -> [TimedOp] {
    try await withThrowingTaskGroup(of: TimedOp?.self) { group in
      for _ in 0..<2 {
        group.addTask {
          _ = try await Self.pull(source, log)
          return nil
        }
      }
      for op in ops.map(tableOp) {
        group.addTask { TimedOp(time: try await log.exec(op).timestamp, op: op) }
      }
      var timed: [TimedOp] = []
      for try await one in group { if let one { timed.append(one) } }
      return timed
    }
  }

  /// Applies an entry of a peer as its next one.
  mutating func deliver(_ timed: TimedOp, of origin: PeerID, to number: Int) async throws {
    let log = replicas[number]
    _ = try await log.apply(
      peer: origin, index: log.cursor(of: origin),
      entry: .logEntry(LogEntry(serverUser: nil, timestamp: timed.time, op: timed.op)))
  }

  private static func pull(_ source: Log, _ target: Log) async throws -> Int {
    let report = try await PullDriver(from: source, into: target).run()
    for outcome in report.peers.values {
      if let error = outcome.error { throw error }
    }
    return report.newCount
  }

  // MARK: Agreement

  func converge(_ links: [(Int, Int)]) async throws {
    let failure = try await SpindleOpLogTests.converge(replicas.count, links) {
      try await Self.pull(replicas[$0], replicas[$1])
    }
    if let failure { throw Wrong(description: failure) }
  }

  func demandAgreement() async throws { try await demandAgreement(on: written) }

  func demandAgreement(on ops: [TimedOp]) async throws {
    let first = try await image(of: 0)
    for (number, prefix) in prefixes.enumerated() {
      let image = try await image(of: number)
      if image.ends != first.ends {
        throw Wrong(description: "the cursors or chains of \(number) differ")
      }
      if image.state != first.state {
        throw Wrong(description: "the state of \(number) differs")
      }
      if image.rows != rows(of: ops) {
        throw Wrong(description: "the rows of \(number) are not those that the ops make")
      }
      let report = try await OpLogVerifier(store: place.store, prefix: prefix).verify()
      if !report.findings.isEmpty { throw Wrong(description: "\(number): \(report.findings)") }
    }
  }

  private func image(
    of number: Int
  ) async throws -> (ends: [PeerID: [String]], state: [[UInt8]], rows: [FoundRow]) {
    let log = replicas[number]
    // Whether the last entry is a marker, and so without a time, may differ.
    let ends = try await log.tracker.allPositions().mapValues {
      ["\($0.next)", $0.head?.description ?? "none"]
    }
    return (
      ends,
      try await log.view.scan(from: [], to: nil, limit: .max).flatMap { [$0.key, $0.value] },
      try await log.view.rows(of: 1, limit: .max).map {
        FoundRow(id: $0.id, time: $0.timestamp, cells: $0.cells)
      }
    )
  }
}

/// Runs every seed over the processor, tracker and tables that applications use, on disk.
@Suite struct StoredConvergenceTests {
  @Test("O-73, O-76: two replicas on disk agree after any order of steps")
  func twoReplicasAgree() async throws {
    try await replicasAgree(2, links: [(0, 1), (1, 0)])
  }

  @Test("O-74: three replicas on disk in a ring agree, expunged entries among theirs")
  func aRingOfReplicasAgrees() async throws {
    try await replicasAgree(3, links: [(0, 1), (1, 2), (2, 0)])
  }

  private func replicasAgree(_ count: Int, links: [(Int, Int)]) async throws {
    let place = RunStore()
    try await checkSteps(
      Seeds.all, filter: "StoredConvergenceTests", replicas: count, isStored: true
    ) { steps in
      try await place.judge(count) { run in
        for step in steps { try await run.take(step) }
        try await run.converge(links)
        try await run.demandAgreement()
      }
    }
    try await place.remove()
  }

  /// One entry of one of three peers.
  private struct Sent: CustomStringConvertible {
    var peer: UInt64
    var op: CellOp
    var time: UInt64
    var description: String { "\(peer) writes \(op) at \(time)" }
  }

  @Test("O-75: the state is that of the set of entries, whatever the order of the peers")
  func theOrderOfDeliveryDoesNotMatter() async throws {
    let place = RunStore()
    try await check(
      Seeds.all, filter: "StoredConvergenceTests",
      elements: { random in
        (0..<Int.random(in: 2..<30, using: &random)).map { _ in
          Sent(
            peer: UInt64.random(in: 10..<13, using: &random), op: .random(&random),
            time: UInt64.random(in: 0..<4, using: &random))
        }
      },
      judge: { sent in
        try await place.judge(4) { run in
          var random = SeededGenerator(seed: UInt64(sent.count))
          for number in run.replicas.indices {
            var left = Dictionary(grouping: sent, by: \.peer)
            while let origin = left.keys.sorted().randomElement(using: &random) {
              let next = left[origin]!.removeFirst()
              if left[origin]!.isEmpty { left[origin] = nil }
              try await run.deliver(
                TimedOp(time: StoredRun.time(next.time), op: tableOp(next.op)), of: peer(origin),
                to: number)
            }
          }
          try await run.demandAgreement(
            on: sent.map { TimedOp(time: StoredRun.time($0.time), op: tableOp($0.op)) })
        }
      })
    try await place.remove()
  }
}
