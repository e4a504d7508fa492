public import SpindleCore
public import SpindleStore

/// Records what was ingested, so that nothing is applied twice.
///
/// A tracker touches neither the clock nor a reducer's data nor another prefix. It is shared freely
/// between tasks and holds no state of single entries. Adding to a batch neither reads nor commits:
/// whoever owns the batch commits it, and a violated index surfaces then, at the commit.
public protocol LogTracker<Op>: Sendable {
  associatedtype Op: Sendable

  /// Binds a tracker to a prefix, creating what it keeps there if missing; repeats are harmless.
  init(store: Store, prefix: String) async throws

  /// Adds the record of one real entry to a batch. Drop the batch when this throws.
  func trackOne(
    peer: PeerID, index: UInt64, timestamp: Timestamp, serverUser: UserID?, op: Op,
    into batch: inout Batch
  ) throws

  /// Adds an expunged marker to a batch: it takes the index, and has no time and no user.
  func trackExpunged(peer: PeerID, index: UInt64, hash: EntryHash, into batch: inout Batch) throws

  /// Every peer with at least one record: its greatest index plus one.
  func allCursors() async throws -> PeerCursors
}

/// A tracker that keeps what it recorded and gives it back.
public protocol HistoryTracker<Op>: LogTracker {
  /// Up to `limit` entries of one peer from an index on, ascending, markers included.
  ///
  /// One consistent view. Empty for a limit of 0, a start beyond the end, or an unknown peer. Holes
  /// are returned as they are: the indices then are not consecutive.
  func readEntries(
    peer: PeerID, from index: UInt64, limit: Int
  ) async throws -> [(UInt64, DecodedEntry<Op>)]
}
