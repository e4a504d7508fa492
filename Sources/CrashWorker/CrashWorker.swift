import Glibc
import SpindleCore
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Synchronization

/// Opens a store, writes, and says what was acknowledged, until somebody kills it or it dies at a
/// point it was told.
///
/// `CrashWorker MODE STORE [ARGUMENT]...`. Each acknowledged number is one line on standard output,
/// written after the commit returned and before the next begins.
@main
enum CrashWorker {
  static func main() async throws {
    let arguments = CommandLine.arguments
    guard arguments.count >= 3 else {
      say(
        "usage: CrashWorker inline|crowd|group|synced|many|hold|parent|append|cure|sync|spool|pair"
          + "|apart|full|health|oplog|oplog-die|oplog-upkeep|replica STORE [ARGUMENT]...")
      exit(64)
    }
    try ChildProcess.endWithReader()
    let argument = arguments.count > 3 ? arguments[3] : ""
    if arguments[1].hasPrefix("disk-") {
      try await DiskWorker.run(arguments[1], arguments[2], ids: argument)
      _exit(0)
    }
    var hooks = StoreHooks.manual
    if arguments[1] == "cure" {
      hooks.beforeCureStepNamed = { if $0 == argument { die() } }
    }
    hooks.afterWrite = {
      // Only one write brings it to zero.
      if writesLeft.subtract(1, ordering: .relaxed).newValue == 0 { die() }
    }
    let store = try await Store.small(at: arguments[2], hooks: hooks)
    if let worker = SpoolWorker(store, arguments) { return try await worker.run() }
    if let worker = OpLogWorker(store, arguments) { return try await worker.run() }
    if let worker = ReplicaWorker(store, arguments) { return try await worker.run() }
    let plain = try await store.family("spool:crash")
    let guarded = try await store.family("oplog:crash")
    switch arguments[1] {
    case "inline": try await write(store, plain, .buffered, conditional: false)
    case "crowd": try await writeInCrowd(store, plain)
    case "group": try await write(store, guarded, .buffered, conditional: true)
    case "synced": try await write(store, plain, .synced, conditional: false)
    case "many": try await writeMany(store, plain, guarded)
    case "hold": try await hold(store, plain, count: Int(argument) ?? 0)
    case "parent":
      // The child outlives this process until the test kills it; what it started with is what it
      // would keep.
      say("\(try ChildProcess("/bin/sleep", ["86400"]).pid)")
      try await hold(store, plain, count: 0)
    case "append": try await failAppend(store, plain, heals: false)
    case "cure": try await failAppend(store, plain, heals: true)
    case "sync": try await dieBeforeSync(store, plain)
    default: exit(64)
    }
  }

  /// After how many more writes of batches the process dies; below zero for none.
  static let writesLeft = Atomic(-1)

  /// A worker whose test gets no turn to kill it must not fill the disk: after so many lines, ten
  /// times what the longest test waits for, it only waits.
  private static let maxLineCount = 100_000
  private static let lineCount = Atomic(0)

  /// One line, at once.
  static func say(_ text: String) {
    if lineCount.add(1, ordering: .relaxed).oldValue >= maxLineCount { while true { pause() } }
    let line = Array((text + "\n").utf8)
    _ = unsafe line.withUnsafeBytes { unsafe Glibc.write(1, $0.baseAddress, $0.count) }
  }

  static func die() {
    kill(getpid(), SIGKILL)
    while true { pause() }
  }

  static func put(
    _ store: Store, _ family: StoreFamily, _ number: Int, _ durability: Durability,
    conditional: Bool = false
  ) async throws {
    var batch = Batch()
    if conditional { batch.requireAbsent(family, key: numberedKey(number), owner: "crash") }
    batch.put(family, key: numberedKey(number), value: numberedValue(number))
    try await store.commit(batch, durability: durability)
    say("\(number)")
  }

  static func write(
    _ store: Store, _ family: StoreFamily, _ durability: Durability, conditional: Bool
  ) async throws {
    var number = 0
    while true {
      try await put(store, family, number, durability, conditional: conditional)
      number += 1
    }
  }

  /// Both lanes and both durabilities at once, each task with its own numbers.
  static func writeMany(_ store: Store, _ plain: StoreFamily, _ guarded: StoreFamily) async throws {
    await withTaskGroup(of: Void.self) { group in
      for task in 0..<8 {
        group.addTask {
          var number = task
          while true {
            let family = task % 2 == 0 ? plain : guarded
            do {
              try await put(
                store, family, number, task % 4 < 2 ? .buffered : .synced,
                conditional: task % 2 == 1)
            } catch {
              say("failed \(error)")
              exit(1)
            }
            number += 8
            // Inline commits never suspend; let the other tasks have their turn.
            await Task.yield()
          }
        }
      }
    }
  }

  /// Many buffered callers at once, which meet each other.
  static func writeInCrowd(_ store: Store, _ family: StoreFamily) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for task in 0..<64 {
        group.addTask {
          var number = task
          while true {
            try await put(store, family, number, .buffered)
            number += 64
          }
        }
      }
      try await group.waitForAll()
    }
  }

  static func hold(_ store: Store, _ family: StoreFamily, count: Int) async throws {
    for number in 0..<count { try await put(store, family, number, .buffered) }
    try await store.blocking { try store.database.flush(family.columnFamily) }
    say("ready")
    while true { try await Task.sleep(for: .seconds(3600)) }
  }

  /// Lets an append fail halfway; then dies, or goes on to the cure, whose hook kills it.
  static func failAppend(_ store: Store, _ family: StoreFamily, heals: Bool) async throws {
    for number in 0..<200 { try await put(store, family, number, .buffered) }
    store.guardian?.inject(.logAppend, partialBytes: 20)
    do {
      try await put(store, family, 200, .buffered)
      exit(2)
    } catch {}
    if heals { try await store.heal() }
    // A step that does not exist never kills: then writing goes on for a while.
    if heals { for number in 201..<300 { try await put(store, family, number, .buffered) } }
    die()
  }

  /// Dies after a synced batch was written and before its sync ended.
  static func dieBeforeSync(_ store: Store, _ family: StoreFamily) async throws {
    for number in 0..<100 { try await put(store, family, number, .synced) }
    store.guardian?.setSyncDelay(microseconds: 500_000)
    Task { try await put(store, family, 100, .synced) }
    while try await store.get(family, key: numberedKey(100)) == nil {
      try await Task.sleep(for: .milliseconds(1))
    }
    die()
  }
}
