public import SpindleCore
internal import SpindleStore

extension Processor: PublishedLog where T: HistoryTracker<R.Op> {
  public func floor(of peer: PeerID) async throws -> UInt64 {
    try await tracker.floor(of: peer)
  }

  public func pendingRewrites() async throws -> [(index: UInt64, hash: EntryHash)] {
    try await tracker.pendingRewrites(of: selfID, limit: LogPage.entryLimit)
  }

  public func rewritten(index: UInt64) async throws {
    try await tracker.rewritten(peer: selfID, index: index)
  }

  public func raiseFence(to cursor: UInt64) async throws {
    try await noteElsewhere(PeerCursors([selfID: cursor]))
  }

  public func synchronize() async throws { try await store.synchronize() }
}
