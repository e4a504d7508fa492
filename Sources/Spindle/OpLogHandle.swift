public import SpindleCore
public import SpindleOpLog
public import SpindleStore

/// Reads one op-log, whatever its ops mean.
public struct OpLogHandle: Sendable {
  private let tracker: LogIndexTracker<RecordedOp>

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

  /// Up to `limit` entries of a peer from an index on, ascending, with what a row holds of each op.
  public func readEntries(
    peer: PeerID, from index: UInt64, limit: Int
  ) async throws -> [(UInt64, DecodedEntry<RecordedOp>)] {
    try await tracker.readEntries(peer: peer, from: index, limit: limit)
  }

  /// The same with ops of a type: those of the log `ingest` are `IngestOp`.
  ///
  /// - Throws: as ``readEntries(peer:from:limit:)``, and `corruption`, reason `codec`, or
  ///   `unsupportedFormat` for an op that the type cannot be made of.
  public func readEntries<Op: IndexableOp>(
    as type: Op.Type, peer: PeerID, from index: UInt64, limit: Int
  ) async throws -> [(UInt64, DecodedEntry<Op>)] {
    try await readEntries(peer: peer, from: index, limit: limit).map { index, entry in
      switch entry {
      case .expunged(let hash): return (index, .expunged(hash))
      case .logEntry(let entry):
        do throws(CodecError) {
          let op = try Op.fromIndexParts(
            tag: entry.op.tag, key: entry.op.key, value: entry.op.value)
          return (
            index,
            .logEntry(LogEntry(serverUser: entry.serverUser, timestamp: entry.timestamp, op: op))
          )
        } catch {
          throw LogTrackerError.unreadableOp(peer: peer, index: index, error).spindleError
        }
      }
    }
  }
}
