public import SpindleCore
internal import SpindleStore

extension LogIndexTracker {
  /// The head of a peer's chain before an index.
  ///
  /// - Returns: nil where it cannot be known: at an index behind a row that is gone or in no chain,
  ///   and in a log whose first rows were recorded without one, since another replica's chain began
  ///   with them.
  /// - Complexity: two point reads.
  public func chainHead(of peer: PeerID, before index: UInt64) async throws -> ChainHead? {
    if index == 0 { return .seed(of: peer) }
    let floor = try await space.store.blocking { try space.floor(of: peer) }
    if index < floor.next || floor.hasLateChain { return nil }
    if index == floor.next { return floor.head }
    if let first = try await row(peer: peer, index: 0), first.chain == nil { return nil }
    return try await row(peer: peer, index: index - 1)?.chain
  }
}
