internal import SpindleCore
internal import SpindleOpLog
package import SpindleStore

/// Compares the ingest log with the state derived from it.
package struct IngestAudit: Sendable {
  package struct Result: Sendable {
    package var summary = IngestState.Summary()
    package var findings: [String] = []
  }

  private let store: Store
  private let state: IngestState
  private let space: IngestLogReader

  /// - Returns: nil when nothing was ever ingested into the store.
  package init?(store: Store) throws {
    guard let state = IngestState(store: store), let space = IngestLogReader(store: store) else {
      return nil
    }
    self.store = store
    self.state = state
    self.space = space
  }

  /// Replays the positions from the log, op by op, and sums the points of the series. Of a producer
  /// whose log was trimmed or has expunged ops only the end can be compared.
  package func runBlocking() throws -> Result {
    var result = Result()
    let recorded = try state.positionsBlocking()
    var replayed: [PeerID: ProducerPosition] = [:]
    var partial = try space.floorsBlocking()
    try space.forEachRow { peer, index, row in
      if row.isExpunged || partial[peer] != nil {
        partial[peer] = max(partial[peer] ?? 0, index + 1)
        return
      }
      let op: IngestOp
      do throws(CodecError) {
        op = try IngestOp.fromIndexParts(tag: row.tag, key: row.key, value: row.value)
      } catch {
        result.findings.append("op \(index) of peer \(peer) is damaged: \(error)")
        return
      }
      let start = replayed[peer] ?? ProducerPosition(producer: op.producer)
      guard let next = start.advanced(by: op, at: index) else {
        result.findings.append(
          "op \(index) of producer \(op.producer) does not follow byte \(start.byteCount)")
        return
      }
      replayed[peer] = next
    }
    for (peer, next) in partial {
      replayed[peer] = nil
      let known = recorded[peer]?.nextIndex ?? 0
      guard known != next else { continue }
      result.findings.append(
        "the recorded position of producer \(recorded[peer]?.producer ?? peer.description) (batch "
          + "\(known)) is not where its log ends (batch \(next))")
    }
    for peer in Set(recorded.keys).union(replayed.keys)
    where partial[peer] == nil && recorded[peer] != replayed[peer] {
      let name = recorded[peer]?.producer ?? replayed[peer]?.producer ?? peer.description
      result.findings.append(
        "the recorded position of producer \(name) (batch \(recorded[peer]?.nextIndex ?? 0), byte "
          + "\(recorded[peer]?.byteCount ?? 0)) is not what its log gives (batch "
          + "\(replayed[peer]?.nextIndex ?? 0), byte \(replayed[peer]?.byteCount ?? 0))")
    }
    result.summary = try state.summaryBlocking()
    let points = replayed.values.reduce(0) { $0 + $1.pointCount }
    if partial.isEmpty ? points != result.summary.pointCount : points > result.summary.pointCount {
      result.findings.append(
        "the series count \(result.summary.pointCount) points, the log has \(points)")
    }
    return result
  }
}

/// Walks the rows of the ingest log.
struct IngestLogReader: Sendable {
  private let store: Store
  private let family: StoreFamily

  init?(store: Store) {
    guard let family = store.existingFamily("oplog:" + IngestPipeline.name) else { return nil }
    self.store = store
    self.family = family
  }

  /// Below which index the logs of producers were trimmed.
  func floorsBlocking() throws -> [PeerID: UInt64] {
    try OpLogVerifier(store: store, prefix: IngestPipeline.name).storedFloors()
      .mapValues(\.next)
  }

  /// Every row that decodes, in the order of peers and indices. Those that do not are findings of
  /// the op-log's own verifier.
  func forEachRow(_ body: (PeerID, UInt64, OpLogRow) throws -> Void) throws {
    try store.scan(family) { key, value in
      if let (peer, index) = OpLogKeys.decodeEntry(key),
        let row = try? OpLogRow(decoding: value)
      {
        try body(peer, index, row)
      }
      return true
    }
  }
}
