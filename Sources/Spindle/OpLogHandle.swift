public import SpindleCore
public import SpindleOpLog
public import SpindlePipeline
public import SpindleStore

/// Reads one op-log, whatever its ops mean.
public struct OpLogHandle: Sendable {
  private let tracker: LogIndexTracker<IngestOp>

  /// Opens the log of a prefix, created when the store is owned and it is missing.
  public init(store: Store, prefix: String) async throws {
    tracker = try await LogIndexTracker(store: store, prefix: prefix)
  }

  public var prefix: String { tracker.prefix }

  /// Every peer's next index.
  public func cursors() async throws -> PeerCursors { try await tracker.allCursors() }

  /// Below which index each peer's log was trimmed; peers whose log is whole are not in it.
  public func floors() async throws -> PeerCursors { try await tracker.floors() }

  /// Up to `limit` rows of a peer from an index on, ascending, as they are stored.
  public func readRows(
    peer: PeerID, from index: UInt64, limit: Int
  ) async throws -> [IndexedOpLogRow] {
    try await tracker.readRows(peer: peer, from: index, limit: limit)
  }

  /// Up to `limit` entries of the `ingest` log, decoded.
  public func readEntries(
    peer: PeerID, from index: UInt64, limit: Int
  ) async throws -> [(UInt64, DecodedEntry<IngestOp>)] {
    try await tracker.readEntries(peer: peer, from: index, limit: limit)
  }
}
