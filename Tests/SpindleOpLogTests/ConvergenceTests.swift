import Glibc
import SpindleCore
import SpindleOpLog
import Testing

/// One step of a run of replicas.
private enum Step: CustomStringConvertible {
  /// A replica writes; times are few, so that many are equal.
  case write(Int, CellOp, at: UInt64)
  /// A replica takes an index for an entry that was removed at once.
  case remove(Int)
  /// One replica offers another so many entries of its peer from an index on: a repeat, the next
  /// ones, or too far ahead.
  case offer(from: Int, to: Int, peer: Int, index: UInt64, count: Int)
  /// One replica pulls from another.
  case pull(from: Int, to: Int)

  static func random(replicas: Int, _ random: inout SeededGenerator) -> Step {
    let first = Int.random(in: 0..<replicas, using: &random)
    let second = (first + Int.random(in: 1..<replicas, using: &random)) % replicas
    switch Int.random(in: 0..<10, using: &random) {
    case 0..<4:
      let value = UInt8.random(in: 0..<4, using: &random)
      return .write(
        first,
        CellOp(cell: UInt8.random(in: 0..<3, using: &random), value: value == 0 ? nil : value),
        at: UInt64.random(in: 0..<6, using: &random))
    case 4: return .remove(first)
    case 5..<8:
      return .offer(
        from: first, to: second, peer: Int.random(in: 0..<replicas, using: &random),
        index: UInt64.random(in: 0..<9, using: &random),
        count: Int.random(in: 1..<6, using: &random))
    default: return .pull(from: first, to: second)
    }
  }

  var description: String {
    switch self {
    case .write(let replica, let op, let time):
      "\(replica) writes \(op.value.map { "\($0)" } ?? "nothing") to \(op.cell) at \(time)"
    case .remove(let replica): "\(replica) writes a marker"
    case .offer(let from, let to, let peer, let index, let count):
      "\(from) offers \(to) \(count) entries of \(peer) from \(index) on"
    case .pull(let from, let to): "\(to) pulls from \(from)"
    }
  }
}

/// Replicas that take steps and must agree in the end.
private struct ConvergenceRun {
  let replicas: [ModelReplica]

  init(_ count: Int) {
    replicas = (0..<count).map { ModelReplica(peer(UInt64($0)), pageLimit: 3) }
  }

  /// Takes the steps, then lets each replica pull along the links.
  ///
  /// - Returns: What is wrong; nil when all agree.
  func judge(_ steps: [Step], links: [(Int, Int)]) async throws -> String? {
    for step in steps { try await take(step) }
    // A relay passes on what it has, so as many rounds as replicas are enough.
    for _ in replicas { for (from, to) in links { _ = try await pull(from, to) } }
    for (from, to) in links where try await pull(from, to) != 0 {
      return "\(to) still lacked something of \(from)"
    }
    let image = replicas[0].image
    for (number, replica) in replicas.enumerated().dropFirst() {
      if await replica.cursors() != replicas[0].cursors() {
        return "the cursors of \(number) differ"
      }
      if replica.image != image { return "the state of \(number) differs" }
    }
    return nil
  }

  private func pull(_ from: Int, _ to: Int) async throws -> Int {
    try await PullDriver(from: replicas[from], into: replicas[to]).run().newCount
  }

  private func take(_ step: Step) async throws {
    switch step {
    case .write(let replica, let op, let time): replicas[replica].exec(op, at: time)
    case .remove(let replica): replicas[replica].execMarker()
    case .pull(let from, let to): _ = try await pull(from, to)
    case .offer(let from, let to, let number, let index, let count):
      let origin = peer(UInt64(number))
      let page = try await replicas[from].readSince(peer: origin, from: index).prefix(count)
      do {
        _ = try await replicas[to].apply(peer: origin, entries: Array(page))
      } catch SyncError.cursorMismatch(_, let expected, let actual) where actual > expected {
        // Too far ahead; refused as it has to be.
      }
    }
  }
}

/// Runs many seeds; `SPINDLE_OPLOG_SEEDS` says how many, `SPINDLE_OPLOG_SEED` names a single one.
@Suite struct ConvergenceTests {
  private static func number(_ name: String) -> UInt64? {
    unsafe getenv(name).flatMap { UInt64(unsafe String(cString: $0)) }
  }

  private static var seeds: Range<UInt64> {
    if let seed = number("SPINDLE_OPLOG_SEED") { return seed..<(seed + 1) }
    return 0..<(number("SPINDLE_OPLOG_SEEDS") ?? 500)
  }

  @Test("O-73, O-76: two replicas agree after any order of writes, pulls and repeats")
  func twoReplicasAgree() async throws {
    try await check(replicas: 2, links: [(0, 1), (1, 0)])
  }

  @Test("O-74: three replicas in a ring agree, markers among their entries")
  func aRingOfReplicasAgrees() async throws {
    try await check(replicas: 3, links: [(0, 1), (1, 2), (2, 0)])
  }

  private func check(replicas: Int, links: [(Int, Int)]) async throws {
    for seed in Self.seeds {
      var random = SeededGenerator(seed: seed)
      let steps = (0..<Int.random(in: 1..<60, using: &random)).map { _ in
        Step.random(replicas: replicas, &random)
      }
      guard let failure = try await ConvergenceRun(replicas).judge(steps, links: links) else {
        continue
      }
      let least = try await shrink(steps) {
        try await ConvergenceRun(replicas).judge($0, links: links) != nil
      }
      Issue.record(
        """
        \(failure). Again: SPINDLE_OPLOG_SEED=\(seed) swift test --filter ConvergenceTests
        \(least.map { "  \($0)" }.joined(separator: "\n"))
        """)
      return
    }
  }

  /// Leaves out steps for as long as the rest still fails.
  private func shrink<Element>(
    _ steps: [Element], _ fails: ([Element]) async throws -> Bool
  ) async throws -> [Element] {
    var least = steps
    var size = max(least.count / 2, 1)
    while true {
      var start = 0
      while start < least.count {
        var fewer = least
        fewer.removeSubrange(start..<min(start + size, least.count))
        if try await fails(fewer) { least = fewer } else { start += size }
      }
      if size == 1 { return least }
      size /= 2
    }
  }

  @Test func aFailureIsShrunkToWhatItNeeds() async throws {
    let least = try await shrink(Array(0..<57)) { $0.contains(13) && $0.contains(40) }
    #expect(least == [13, 40])
  }
}
