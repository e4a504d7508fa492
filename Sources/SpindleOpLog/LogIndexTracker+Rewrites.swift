public import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// Which entries were removed from the log and may still be in the files that were published. Noted
/// in the batch that removes the entry, so that no crash between the two lets the files keep it.
extension LogIndexTracker {
  /// Entries of a peer that were removed since ``rewritten(peer:index:)`` was told of them, in the
  /// order of their indices.
  public func pendingRewrites(
    of peer: PeerID, limit: Int
  ) async throws -> [(index: UInt64, hash: EntryHash)] {
    guard limit > 0 else { return [] }
    let start = OpLogKeys.rewrites(of: peer)
    return try await space.store.blocking {
      var pending: [(index: UInt64, hash: EntryHash)] = []
      try space.store.scan(
        space.log,
        IterationOptions(
          lowerBound: start, upperBound: OpLogIndexKey.end(ofKeysWithStart: start))
      ) { key, value in
        guard let (_, index) = OpLogKeys.decodeRewrite(key),
          let hash = EntryHash(bytes: copyBytes(value))
        else {
          throw LogTrackerError.damagedMeta(
            prefix: prefix, "a note of an entry to be removed from files cannot be read"
          ).spindleError
        }
        pending.append((index, hash))
        return pending.count < limit
      }
      return pending
    }
  }

  /// Notes that no published file holds a removed entry any more. Repeats do nothing.
  public func rewritten(peer: PeerID, index: UInt64) async throws {
    var batch = Batch()
    batch.delete(space.log, key: OpLogKeys.rewrite(peer, index))
    // A note that comes back is looked at once more, and the files are right.
    try await space.store.commit(batch, durability: .buffered)
  }
}
