import Glibc
import SpindleCore
import Testing

/// One step of a run of replicas.
enum Step: CustomStringConvertible {
  /// A replica writes; times are few, so that many are equal.
  case write(Int, CellOp, at: UInt64)
  /// A replica takes an index for an entry that was removed at once.
  case remove(Int)
  /// One replica offers another so many entries of its peer from an index on: a repeat, the next
  /// ones, or too far ahead.
  case offer(from: Int, to: Int, peer: Int, index: UInt64, count: Int)
  /// One replica pulls from another.
  case pull(from: Int, to: Int)
  /// A replica writes while it pulls twice from another, all at once.
  case crowd(Int, [CellOp], from: Int)
  /// A replica removes the content of an entry that all have.
  case expunge(Int, peer: Int, index: UInt64)
  /// All replicas are closed and opened again, seldom their store, too, which costs more.
  case reopen(store: Bool)

  /// - Parameter isStored: Whether the replicas are on disk, and take the steps that need it.
  static func random(
    replicas: Int, isStored: Bool = false, _ random: inout SeededGenerator
  ) -> Step {
    let first = Int.random(in: 0..<replicas, using: &random)
    let second = (first + Int.random(in: 1..<replicas, using: &random)) % replicas
    switch Int.random(in: 0..<(isStored ? 14 : 10), using: &random) {
    case 0..<4: return .write(first, .random(&random), at: UInt64.random(in: 0..<6, using: &random))
    case 4: return .remove(first)
    case 5..<8:
      return .offer(
        from: first, to: second, peer: Int.random(in: 0..<replicas, using: &random),
        index: UInt64.random(in: 0..<9, using: &random),
        count: Int.random(in: 1..<6, using: &random))
    case 10:
      let count = Int.random(in: 1..<5, using: &random)
      return .crowd(first, (0..<count).map { _ in .random(&random) }, from: second)
    case 11, 12:
      return .expunge(
        first, peer: Int.random(in: 0..<replicas, using: &random),
        index: UInt64.random(in: 0..<6, using: &random))
    case 13: return .reopen(store: Int.random(in: 0..<20, using: &random) == 0)
    default: return .pull(from: first, to: second)
    }
  }

  var description: String {
    switch self {
    case .write(let replica, let op, let time): "\(replica) writes \(op) at \(time)"
    case .remove(let replica): "\(replica) writes a marker"
    case .offer(let from, let to, let peer, let index, let count):
      "\(from) offers \(to) \(count) entries of \(peer) from \(index) on"
    case .pull(let from, let to): "\(to) pulls from \(from)"
    case .crowd(let replica, let ops, let from):
      "\(replica) writes \(ops.map(\.description).joined(separator: ", ")) while it pulls twice "
        + "from \(from)"
    case .expunge(let replica, let peer, let index):
      "\(replica) expunges \(index) of \(peer), if all have it"
    case .reopen(let isStore):
      "all are closed and opened again\(isStore ? ", with their store" : "")"
    }
  }
}

extension CellOp: CustomStringConvertible {
  static func random(_ random: inout SeededGenerator) -> CellOp {
    let value = UInt8.random(in: 0..<4, using: &random)
    return CellOp(cell: UInt8.random(in: 0..<3, using: &random), value: value == 0 ? nil : value)
  }

  var description: String { "\(value.map { "\($0)" } ?? "nothing") to \(cell)" }
}

/// The seeds of random runs. `SPINDLE_OPLOG_SEEDS` says how many, `SPINDLE_OPLOG_SEED` names a
/// single one.
enum Seeds {
  static var all: [UInt64] {
    if let seed = number("SPINDLE_OPLOG_SEED") { return [seed] }
    return Array(0..<(number("SPINDLE_OPLOG_SEEDS") ?? 500))
  }

  private static func number(_ name: String) -> UInt64? {
    unsafe getenv(name).flatMap { UInt64(unsafe String(cString: $0)) }
  }
}

/// Runs the elements that each seed makes; what fails is shrunk and told with the line that runs it
/// again.
///
/// - Parameter judge: What is wrong; nil when nothing is.
func check<Element: CustomStringConvertible>(
  _ seeds: [UInt64], filter: String, elements: (inout SeededGenerator) -> [Element],
  judge: ([Element]) async throws -> String?
) async throws {
  for seed in seeds {
    var random = SeededGenerator(seed: seed)
    let all = elements(&random)
    guard let failure = try await judge(all) else { continue }
    let least = try await shrink(all) { try await judge($0) != nil }
    Issue.record(
      """
      \(failure). Again: SPINDLE_OPLOG_SEED=\(seed) swift test --filter \(filter)
      \(least.map { "  \($0)" }.joined(separator: "\n"))
      """)
    return
  }
}

/// Leaves out elements for as long as the rest still fails.
func shrink<Element>(
  _ elements: [Element], _ fails: ([Element]) async throws -> Bool
) async throws -> [Element] {
  var least = elements
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

/// Runs random steps over replicas, for each seed.
///
/// - Parameters:
///   - count: How many replicas there are.
///   - isStored: Whether they are on disk, and take the steps that need it.
func checkSteps(
  _ seeds: [UInt64], filter: String, replicas count: Int, isStored: Bool = false,
  judge: ([Step]) async throws -> String?
) async throws {
  try await check(
    seeds, filter: filter,
    elements: { random in
      (0..<Int.random(in: 1..<60, using: &random)).map { _ in
        Step.random(replicas: count, isStored: isStored, &random)
      }
    }, judge: judge)
}

/// Lets each replica pull along the links until all have everything.
///
/// - Parameter pull: Pulls from one replica into another and tells how much was new.
/// - Returns: What is wrong; nil when a last pull along each link finds nothing.
func converge(
  _ count: Int, _ links: [(Int, Int)], pull: (Int, Int) async throws -> Int
) async throws -> String? {
  // A relay passes on what it has, so as many rounds as replicas are enough.
  for _ in 0..<count { for (from, to) in links { _ = try await pull(from, to) } }
  for (from, to) in links where try await pull(from, to) != 0 {
    return "\(to) still lacked something of \(from)"
  }
  return nil
}
