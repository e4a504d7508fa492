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

  /// The same with settings; a tracker that has no use for them need not define it.
  init(store: Store, prefix: String, settings: OpLogSettings) async throws

  /// Adds the record of one real entry to a batch. Drop the batch when this throws.
  func trackOne(
    peer: PeerID, index: UInt64, timestamp: Timestamp, serverUser: UserID?, op: Op,
    into batch: inout Batch
  ) throws

  /// Adds an expunged marker to a batch: it takes the index, and has no time and no user.
  func trackExpunged(peer: PeerID, index: UInt64, hash: EntryHash, into batch: inout Batch) throws

  /// Every peer with at least one record: its greatest index plus one.
  func allCursors() async throws -> PeerCursors

  /// The same as ``trackOne(peer:index:timestamp:serverUser:op:into:)``, as the next link of the
  /// peer's chain. A tracker without chains has no need to define it.
  ///
  /// - Parameter head: The chain's head before this entry; nil starts a chain.
  /// - Returns: The head with this entry in it; nil from a tracker without chains.
  func trackOne(
    peer: PeerID, index: UInt64, timestamp: Timestamp, serverUser: UserID?, op: Op,
    following head: ChainHead?, into batch: inout Batch
  ) throws -> ChainHead?

  /// The same as ``trackExpunged(peer:index:hash:into:)``, as the next link of the peer's chain.
  func trackExpunged(
    peer: PeerID, index: UInt64, hash: EntryHash, following head: ChainHead?,
    into batch: inout Batch
  ) throws -> ChainHead?

  /// Where each peer's log ends: what ``allCursors()`` tells, with the chain's head.
  func allPositions() async throws -> [PeerID: LogPosition]

  /// Where one peer's log ends; ``LogPosition/start`` for a peer never seen.
  func position(of peer: PeerID) async throws -> LogPosition

  /// The head of a peer's chain before an index; nil where it is not known, as in a tracker without
  /// chains.
  func chainHead(of peer: PeerID, before index: UInt64) async throws -> ChainHead?

  /// What identifies the entry offered for an index, to tell an entry that came again from another
  /// one; nil when the tracker cannot tell.
  func hash(
    peer: PeerID, index: UInt64, entry: DecodedEntry<Op>
  ) throws -> EntryHash?

  /// What identifies the entry recorded at an index; nil when the tracker does not know.
  func recordedHash(peer: PeerID, index: UInt64) async throws -> EntryHash?

  /// Up to which index a peer's log is known to exist elsewhere; 0 when nothing is known of it, or
  /// from a tracker that does not note it.
  func fence(of peer: PeerID) async throws -> UInt64

  /// Notes durably that another place knows a peer's log up to a cursor.
  func raiseFence(of peer: PeerID, to cursor: UInt64) async throws

  /// Forgets what ``raiseFence(of:to:)`` noted.
  func resetFence(of peer: PeerID) async throws
}

/// The end of one peer's log.
public struct LogPosition: Sendable, Hashable {
  /// The next index.
  public var next: UInt64
  /// The chain's head; nil where the last row is in no chain.
  public var head: ChainHead?
  /// The last entry's timestamp; nil where it is not known, such as behind an expunged marker.
  public var timestamp: Timestamp?
  /// Of a floor: whether the chain began behind rows that were in none.
  var startsLate = false

  public init(next: UInt64, head: ChainHead? = nil, timestamp: Timestamp? = nil) {
    self.next = next
    self.head = head
    self.timestamp = timestamp
  }

  /// The position of a peer never seen.
  public static let start = LogPosition(next: 0)
}

/// What a tracker without chains does about them.
extension LogTracker {
  public init(store: Store, prefix: String, settings: OpLogSettings) async throws {
    try await self.init(store: store, prefix: prefix)
  }

  public func trackOne(
    peer: PeerID, index: UInt64, timestamp: Timestamp, serverUser: UserID?, op: Op,
    following head: ChainHead?, into batch: inout Batch
  ) throws -> ChainHead? {
    try trackOne(
      peer: peer, index: index, timestamp: timestamp, serverUser: serverUser, op: op, into: &batch)
    return nil
  }

  public func trackExpunged(
    peer: PeerID, index: UInt64, hash: EntryHash, following head: ChainHead?,
    into batch: inout Batch
  ) throws -> ChainHead? {
    try trackExpunged(peer: peer, index: index, hash: hash, into: &batch)
    return nil
  }

  public func allPositions() async throws -> [PeerID: LogPosition] {
    try await allCursors().sorted.reduce(into: [:]) { positions, cursor in
      positions[cursor.peer] = LogPosition(next: cursor.next)
    }
  }

  public func position(of peer: PeerID) async throws -> LogPosition {
    LogPosition(next: try await allCursors()[peer])
  }

  public func chainHead(of peer: PeerID, before index: UInt64) async throws -> ChainHead? { nil }

  public func hash(
    peer: PeerID, index: UInt64, entry: DecodedEntry<Op>
  ) throws -> EntryHash? { nil }

  public func recordedHash(peer: PeerID, index: UInt64) async throws -> EntryHash? { nil }

  public func fence(of peer: PeerID) async throws -> UInt64 { 0 }

  public func raiseFence(of peer: PeerID, to cursor: UInt64) async throws {}

  public func resetFence(of peer: PeerID) async throws {}
}

extension LogTracker {
  /// Compares an entry with what is recorded at its index, which is below the peer's cursor.
  ///
  /// - Throws: ``SyncError/conflict(peer:index:)`` where another entry is recorded there;
  ///   ``SpindleError`` with `corruption`, reason `lost_entry`, where none is and none was trimmed.
  func checkRepeat(of entry: DecodedEntry<Op>, peer: PeerID, index: UInt64) async throws {
    guard let offered = try hash(peer: peer, index: index, entry: entry) else { return }
    if let recorded = try await recordedHash(peer: peer, index: index) {
      guard offered == recorded else { throw SyncError.conflict(peer: peer, index: index) }
    } else if let history = self as? any HistoryTracker<Op>,
      // Read after the row: a trim that came between is seen here.
      try await history.floor(of: peer) <= index
    {
      // Not taken into the hole: the state of what came later would be another in that order.
      throw LogTrackerError.lostEntry(peer: peer, index: index).spindleError
    }
  }
}

/// A tracker that refuses a batch which offers a taken index. The reducer beside it need not be
/// idempotent.
public protocol DuplicateRejecting: LogTracker {}

/// A tracker that keeps what it recorded and gives it back.
public protocol HistoryTracker<Op>: LogTracker {
  /// Up to `limit` entries of one peer from an index on, ascending, markers included.
  ///
  /// One consistent view. Empty for a limit of 0, a start beyond the end, or an unknown peer. Holes
  /// are returned as they are: the indices then are not consecutive.
  func readEntries(
    peer: PeerID, from index: UInt64, limit: Int
  ) async throws -> [(UInt64, DecodedEntry<Op>)]

  /// The same, ended after about `byteLimit` bytes of keys and values; the first entry is always
  /// given. The default does not count bytes.
  func readPage(
    peer: PeerID, from index: UInt64, limit: Int, byteLimit: Int
  ) async throws -> [(index: UInt64, entry: DecodedEntry<Op>)]

  /// Entries of a peer that were removed and may be in published files, at most `limit`, in the
  /// order of their indices. None in a tracker that removes nothing.
  func pendingRewrites(
    of peer: PeerID, limit: Int
  ) async throws -> [(index: UInt64, hash: EntryHash)]

  /// Notes that no published file holds a removed entry any more.
  func rewritten(peer: PeerID, index: UInt64) async throws

  /// Below which index a peer's history is gone; 0 where all of it is kept, and in a tracker that
  /// removes nothing.
  func floor(of peer: PeerID) async throws -> UInt64
}

extension HistoryTracker {
  public func floor(of peer: PeerID) async throws -> UInt64 { 0 }

  public func readPage(
    peer: PeerID, from index: UInt64, limit: Int, byteLimit: Int
  ) async throws -> [(index: UInt64, entry: DecodedEntry<Op>)] {
    try await readEntries(peer: peer, from: index, limit: limit).map { (index: $0, entry: $1) }
  }

  public func pendingRewrites(
    of peer: PeerID, limit: Int
  ) async throws -> [(index: UInt64, hash: EntryHash)] { [] }

  public func rewritten(peer: PeerID, index: UInt64) async throws {}
}
