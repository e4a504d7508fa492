internal import SpindleCore
internal import SpindleOpLog
internal import SpindleStore

/// The parts of the store that applying an op writes to.
struct IngestLog: Sendable {
  let tracker: LogIndexTracker<EncodedIngestOp>
  let clock: ClockService
  /// `data:ingest`.
  let data: StoreFamily

  /// Opens the log for its writer, and reads how far each producer's ops are applied.
  ///
  /// - Throws: ``SpindleError`` with `corruption` when the log and the positions disagree.
  static func open(_ store: Store) async throws -> (IngestLog, [PeerID: ProducerPosition]) {
    let tracker = try await LogIndexTracker<EncodedIngestOp>(
      store: store, prefix: IngestPipeline.name)
    let clock = try await ClockService(claimedIn: store, prefix: IngestPipeline.name)
    let data = tracker.dataFamily
    let state = IngestState(store: store, data: data)
    let positions = try await store.blocking { try state.positionsBlocking() }
    try await state.prepareFormat()
    let cursors = try await tracker.allCursors()
    let recorded = PeerCursors(positions.mapValues(\.nextIndex))
    guard cursors == recorded else {
      let peer = Set(cursors.sorted.map(\.peer)).union(positions.keys)
        .first { cursors[$0] != recorded[$0] }
      throw SpindleError(
        .corruption,
        "\(store.path) is damaged: the op-log \(IngestPipeline.name) reaches index "
          + "\(peer.map { cursors[$0] } ?? 0) for peer \(peer?.description ?? ""), but its "
          + "recorded position is \(peer.map { recorded[$0] } ?? 0)", path: store.path)
    }
    return (IngestLog(tracker: tracker, clock: clock, data: data), positions)
  }
}
