import Glibc
import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Synchronization

/// The modes that work on an op-log:
///
/// - `oplog STORE`: eight tasks execute and apply registers, singly, several at once and by pages;
///   each line says how far a peer is acknowledged, `PEER NEXT`;
/// - `oplog-die STORE apply|commit COUNT`: executes until an entry was applied COUNT times, then
///   dies before its batch is committed, or as soon as that was written;
/// - `oplog-upkeep STORE trim|index|import|rebuild WRITES [FILE]`: says `ready`, does it and says
///   `done`; dies behind the given number of written batches, or waits to be killed for 0.
struct OpLogWorker {
  let store: Store
  let arguments: [String]

  init?(_ store: Store, _ arguments: [String]) {
    guard arguments[1].hasPrefix("oplog") else { return nil }
    self.store = store
    self.arguments = arguments
  }

  func run() async throws {
    if arguments[1] == "oplog" { return try await writeMany() }
    guard arguments.count >= 5, let count = Int(arguments[4]) else { exit(64) }
    if arguments[1] == "oplog-upkeep" { return try await upkeep(arguments[3], dyingAfter: count) }
    let reducer = MortalReducer(count: arguments[3] == "apply" ? count : .max)
    let log = try await Processor<MortalReducer, LogIndexTracker<MaxRegisterOp>>(
      reducer: reducer, store: store, prefix: "crash", selfID: crashPeer(0))
    for number in 0... {
      if arguments[3] == "commit", number == count - 1 {
        CrashWorker.writesLeft.store(1, ordering: .relaxed)
      }
      try await log.exec(MaxRegisterOp("r", UInt64(number)))
      CrashWorker.say("\(crashPeer(0)) \(number + 1)")
    }
  }

  private func upkeep(_ kind: String, dyingAfter count: Int) async throws {
    typealias Tracker = LogIndexTracker<MaxRegisterOp>
    // Made before the first write is counted.
    let trimmed = kind == "trim" ? try await Tracker(store: store, prefix: "crash") : nil
    let log =
      kind == "rebuild"
      ? try await Processor<MaxRegister, Tracker>(
        reducer: MaxRegister(), store: store, prefix: "crash", selfID: crashPeer(0)) : nil
    CrashWorker.say("ready")
    if count > 0 { CrashWorker.writesLeft.store(count, ordering: .relaxed) }
    switch kind {
    case "trim":
      let cursors = try await trimmed?.allCursors() ?? PeerCursors()
      let half = cursors.sorted.map { ($0.peer, $0.next - 100) }
      _ = try await trimmed?.trim(
        below: PeerCursors(Dictionary(uniqueKeysWithValues: half)), forced: true)
    case "index":
      _ = try await Tracker(
        store: store, prefix: "crash", settings: OpLogSettings(indexes: [.byTime, .byUser, .byKey]))
    case "import":
      try await OpLogArchive(path: arguments[5], store: store).install(
        prefix: "copy", indexes: .byTime)
    case "rebuild": try await log?.rebuildState()
    default: exit(64)
    }
    CrashWorker.say("done")
    if count > 0 { exit(0) }
    while true { try await Task.sleep(for: .seconds(3600)) }
  }

  private func writeMany() async throws {
    let log = try await Processor<MaxRegister, LogIndexTracker<MaxRegisterOp>>(
      reducer: MaxRegister(), store: store, prefix: "crash", selfID: crashPeer(0))
    await withTaskGroup(of: Void.self) { group in
      for task in UInt64(0)..<8 {
        group.addTask {
          do {
            try await write(task, log)
          } catch {
            CrashWorker.say("failed \(error)")
            exit(1)
          }
        }
      }
    }
  }

  private func write(
    _ task: UInt64, _ log: Processor<MaxRegister, LogIndexTracker<MaxRegisterOp>>
  ) async throws {
    let peer = crashPeer(task < 4 ? 0 : task)
    let durability: Durability = task % 4 == 3 ? .synced : .buffered
    for round in UInt64(0)... {
      let ops = (0..<(task % 2 == 0 ? 1 : 5)).map { MaxRegisterOp("r\(task)", round * 5 + $0) }
      let next: UInt64
      if task < 4 {
        next = try await log.exec(ops, durability: durability).indices.upperBound
      } else {
        let start = log.cursor(of: peer)
        let entries = ops.enumerated().map { offset, op in
          (
            index: start + UInt64(offset),
            entry: DecodedEntry.logEntry(
              LogEntry(
                serverUser: nil, timestamp: Timestamp(packed: (start + UInt64(offset)) << 20),
                op: op))
          )
        }
        let run = await log.applyRun(peer: peer, entries: entries, durability: durability)
        if let failure = run.failure { throw failure }
        next = start + UInt64(entries.count)
      }
      CrashWorker.say("\(peer) \(next)")
      await Task.yield()
    }
  }
}

func crashPeer(_ number: UInt64) -> PeerID { PeerID(UUIDValue(high: 0xC, low: number)) }

/// A register that kills the process when it has applied so many entries.
private final class MortalReducer: Reducer {
  private let base = MaxRegister()
  private let left: Countdown

  init(count: Int) { left = Countdown(count) }

  func prepare(
    _ op: MaxRegisterOp, _ context: OpContext, _ view: ReducerView
  ) async throws -> PrepareOutcome<RegisterRaised?> {
    try await base.prepare(op, context, view)
  }

  func apply(
    _ op: MaxRegisterOp, _ context: OpContext, _ state: RegisterRaised?,
    into batch: inout ReducerBatch
  ) throws -> RegisterRaised? {
    let result = try base.apply(op, context, state, into: &batch)
    if left.isOver() { CrashWorker.die() }
    return result
  }

  func postApply(_ state: RegisterRaised?) throws -> RegisterRaised? { state }
}
