import SpindleCore
import SpindleOpLog
import Testing

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
    if let failure = try await converge(replicas.count, links, pull: pull) { return failure }
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
    // Only replicas on disk take these.
    case .crowd, .expunge, .reopen: break
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

/// Runs many seeds over replicas in memory.
@Suite struct ConvergenceTests {
  @Test("O-73, O-76: two replicas agree after any order of writes, pulls and repeats")
  func twoReplicasAgree() async throws {
    try await replicasAgree(2, links: [(0, 1), (1, 0)])
  }

  @Test("O-74: three replicas in a ring agree, markers among their entries")
  func aRingOfReplicasAgrees() async throws {
    try await replicasAgree(3, links: [(0, 1), (1, 2), (2, 0)])
  }

  private func replicasAgree(_ count: Int, links: [(Int, Int)]) async throws {
    try await checkSteps(Seeds.all, filter: "ConvergenceTests", replicas: count) {
      try await ConvergenceRun(count).judge($0, links: links)
    }
  }

  @Test func aFailureIsShrunkToWhatItNeeds() async throws {
    let least = try await shrink(Array(0..<57)) { $0.contains(13) && $0.contains(40) }
    #expect(least == [13, 40])
  }
}
