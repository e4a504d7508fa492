import Glibc
import SpindleCore
import SpindleSpool
import SpindleStore
import SpindleTestKit

/// The modes that work on spools:
///
/// - `spool STORE SCRIPT DURABILITY BYTES FIRST`: takes the steps of a script from number FIRST on,
///   each acknowledged by its number;
/// - `pair STORE SCRIPT DURABILITY BYTES FIRST`: the same with messages of two halves;
/// - `apart STORE STEP`: twenty pairs over halves that share no batch, then one step that dies when
///   it comes to its second half;
/// - `full STORE`: stores until the disk refuses, which it says, and goes on once there is room;
/// - `health STORE`: counts the allocations of asking for the health, with `allocations.cc`.
struct SpoolWorker {
  let store: Store
  let arguments: [String]

  init?(_ store: Store, _ arguments: [String]) {
    guard ["spool", "pair", "apart", "full", "health"].contains(arguments[1]) else { return nil }
    self.store = store
    self.arguments = arguments
  }

  func run() async throws {
    switch arguments[1] {
    case "spool": try await follow(on: OneSpool(spool: RocksSpool(store: store, name: "main")))
    case "pair":
      let meta = try await RocksSpool(store: store, name: "meta")
      let data = try await RocksSpool(store: store, name: "data")
      try await follow(on: Pair(spool: PairedSpool(meta: meta, data: data)))
    case "full": try await fillDisk()
    case "health": try await countAllocations()
    default: try await dieApart(arguments[3])
    }
  }

  /// Each message that was acknowledged is one line, its number.
  private func fillDisk() async throws {
    let spool = try await RocksSpool(store: store, name: "main")
    var number = 0
    var wasFull = false
    while true {
      do {
        try await spool.store(
          numberedID(number), numberedValue(number, bytes: 4_000), forceSync: number % 16 == 0,
          deadline: nil)
        CrashWorker.say("\(number)")
        // Not faster than the test can follow.
        try await Task.sleep(for: .milliseconds(1))
      } catch let error as SpindleError where error.reason == "disk_full" {
        if !wasFull { CrashWorker.say("full") }
        wasFull = true
        // Until somebody makes room.
        while spool.unhealthyReason != nil {
          try? await store.heal()
          try await Task.sleep(for: .milliseconds(20))
        }
        CrashWorker.say("healed")
      }
      number += 1
    }
  }

  private func countAllocations() async throws {
    typealias Counter = @convention(c) () -> UInt
    guard let symbol = unsafe dlsym(nil, "spindle_allocations") else { exit(65) }
    let counter = unsafe unsafeBitCast(symbol, to: Counter.self)
    let spool = try await RocksSpool(store: store, name: "main")
    measure("counts", counter, 1_000) { withExtendedLifetime(Leaf()) {} }
    var shutCount = 0
    let isShut = { if spool.unhealthyReason != nil { shutCount += 1 } }
    measure("good", counter, 1_000_000, isShut)
    spool.shutGate(note: "a test")
    measure("shut", counter, 1_000_000, isShut)
    guard shutCount == 1_000_000 else { exit(66) }
    try await store.close()
    _exit(0)
  }

  private final class Leaf {}

  private func measure(
    _ name: String, _ counter: @convention(c) () -> UInt, _ count: Int, _ body: () -> Void
  ) {
    let before = counter()
    for _ in 0..<count { body() }
    let after = counter()
    CrashWorker.say("\(name) \(after - before)")
  }

  private func follow(on target: some ScriptTarget) async throws {
    guard arguments.count == 7, let script = SpoolScript(rawValue: arguments[3]),
      let durability = Durability(rawValue: arguments[4]), let bytes = Int(arguments[5]),
      var index = Int(arguments[6])
    else { exit(64) }
    while true {
      switch script.step(index) {
      case .store(let number):
        try await target.store(number, bytes: bytes, forceSync: durability == .synced)
      case .remove(let number): try await target.remove(number)
      case .quarantine(let number): try await target.quarantine(number)
      case .restore(let number): try await target.restore(number)
      }
      CrashWorker.say("\(index)")
      index += 1
    }
  }

  private func dieApart(_ step: String) async throws {
    let meta = MortalSpool(try await RocksSpool(store: store, name: "meta"))
    let data = MortalSpool(try await RocksSpool(store: store, name: "data"))
    let pair = try PairedSpool(meta: meta, data: data)
    for number in 0..<20 {
      try await pair.store(
        numberedID(number), meta: numberedMeta(number), data: numberedValue(number),
        forceSync: false, deadline: nil)
      CrashWorker.say("\(number)")
    }
    if step == "restore" { try await pair.quarantine(numberedID(7), reason: "a test") }
    // The second half of each step, in the order of the steps.
    for spool in step == "store" || step == "restore" ? [meta] : [data] { spool.kill() }
    switch step {
    case "store":
      try await pair.store(
        numberedID(20), meta: numberedMeta(20), data: numberedValue(20), forceSync: false,
        deadline: nil)
    case "remove": try await pair.remove(numberedID(7))
    case "quarantine": try await pair.quarantine(numberedID(7), reason: "a test")
    case "restore": try await pair.restoreQuarantined(numberedID(7))
    default: exit(64)
    }
    exit(2)
  }
}

/// What a script's steps are taken on.
private protocol ScriptTarget: Sendable {
  func store(_ number: Int, bytes: Int, forceSync: Bool) async throws
  func remove(_ number: Int) async throws
  func quarantine(_ number: Int) async throws
  func restore(_ number: Int) async throws
}

private struct OneSpool: ScriptTarget {
  let spool: RocksSpool

  func store(_ number: Int, bytes: Int, forceSync: Bool) async throws {
    try await spool.store(
      numberedID(number), numberedValue(number, bytes: bytes), forceSync: forceSync, deadline: nil)
  }
  func remove(_ number: Int) async throws { try await spool.remove(numberedID(number)) }
  func quarantine(_ number: Int) async throws {
    try await spool.quarantine(numberedID(number), reason: "a test")
  }
  func restore(_ number: Int) async throws {
    try await spool.restoreQuarantined(numberedID(number))
  }
}

private struct Pair: ScriptTarget {
  let spool: PairedSpool

  func store(_ number: Int, bytes: Int, forceSync: Bool) async throws {
    try await spool.store(
      numberedID(number), meta: numberedMeta(number), data: numberedValue(number, bytes: bytes),
      forceSync: forceSync, deadline: nil)
  }
  func remove(_ number: Int) async throws { try await spool.remove(numberedID(number)) }
  func quarantine(_ number: Int) async throws {
    try await spool.quarantine(numberedID(number), reason: "a test")
  }
  func restore(_ number: Int) async throws {
    try await spool.restoreQuarantined(numberedID(number))
  }
}
