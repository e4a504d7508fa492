import Glibc
import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit

/// The modes that work on an op-log:
///
/// - `oplog STORE`: eight tasks execute and apply registers, singly, several at once and by pages;
///   each line says how far a peer is acknowledged, `PEER NEXT`;
/// - `oplog-die STORE PHASE COUNT`: executes until the given phase of a reducer has run COUNT
///   times, then dies in it.
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
    guard arguments.count == 5, let count = Int(arguments[4]) else { exit(64) }
    let log = try await Processor<MortalReducer, LogIndexTracker<MaxRegisterOp>>(
      reducer: MortalReducer(phase: arguments[3], count: count), store: store, prefix: "crash",
      selfID: crashPeer(0))
    for number in 0... {
      try await log.exec(MaxRegisterOp("r", UInt64(number)))
      CrashWorker.say("\(crashPeer(0)) \(number + 1)")
    }
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

/// A register that kills the process in one of its phases.
private final class MortalReducer: Reducer {
  private let base = MaxRegister()
  private let phase: String
  private let left: Countdown

  init(phase: String, count: Int) {
    self.phase = phase
    left = Countdown(count)
  }

  private func pass(_ phase: String) {
    if phase == self.phase, left.isOver() { CrashWorker.die() }
  }

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
    pass("apply")
    return result
  }

  func postApply(_ state: RegisterRaised?) throws -> RegisterRaised? {
    pass("postApply")
    return state
  }
}
