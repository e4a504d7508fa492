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

  /// Replays the positions from the log, op by op, and sums the points of the series.
  package func runBlocking() throws -> Result {
    var result = Result()
    let recorded = try state.positionsBlocking()
    var replayed: [PeerID: ProducerPosition] = [:]
    try space.forEachRow { peer, index, row in
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
    for peer in Set(recorded.keys).union(replayed.keys) where recorded[peer] != replayed[peer] {
      let name = recorded[peer]?.producer ?? replayed[peer]?.producer ?? peer.description
      result.findings.append(
        "the recorded position of producer \(name) (batch \(recorded[peer]?.nextIndex ?? 0), byte "
          + "\(recorded[peer]?.byteCount ?? 0)) is not what its log gives (batch "
          + "\(replayed[peer]?.nextIndex ?? 0), byte \(replayed[peer]?.byteCount ?? 0))")
    }
    result.summary = try state.summaryBlocking()
    let points = replayed.values.reduce(0) { $0 + $1.pointCount }
    if points != result.summary.pointCount {
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
