public import SpindleCore
public import SpindleStore

/// The op-log proper: one row per entry under (peer, index), each of which can be taken once.
///
/// A batch that offers an index again is refused as a whole at its commit, whatever it carries:
/// `uniqueViolation` with the reason `oplog`. The first row stays as it is, and all other changes
/// of that batch are absent too. This holds for markers over entries and the reverse. To tell an
/// entry that came twice from another entry for the same index, read ``row(peer:index:)`` and ask
/// ``OpLogRow/hasSameOperation(as:)``.
///
/// Indices run from 0 to 2^64 - 2 in the whole unsigned range. The tracker does not demand that
/// they follow each other; its caller does, by ``cursor(of:)``.
public struct LogIndexTracker<Op: IndexableOp>: HistoryTracker, DuplicateRejecting {
  let space: OpLogSpace
  private let isSQLCompatible: Bool

  /// Opens the op-log of a prefix with the settings' defaults, and the indexes that it has.
  public init(store: Store, prefix: String) async throws {
    try await self.init(store: store, prefix: prefix, settings: OpLogSettings())
  }

  /// Opens the op-log of a prefix, and creates it where the store is owned and the prefix is new.
  ///
  /// - Parameters:
  ///   - prefix: 1 to 64 characters of `A-Z a-z 0-9 . _ -`. Prefixes are isolated from each other,
  ///     also where one starts like the other.
  ///   - settings: A reader of a store that it does not own builds no index. Nobody may write to
  ///     the prefix while an index is built.
  /// - Throws: ``SpindleError``: `invalidArgument` for a name that is not valid, `notFound` for a
  ///   reader of a prefix that nobody made, `unsupportedFormat` for a newer one, `unavailable` with
  ///   the reason `import_unfinished` for one whose import was interrupted, `corruption` for
  ///   damaged meta keys.
  /// - Complexity: two column families and one commit for a new prefix; else a few point reads, and
  ///   one row for each peer that was trimmed. O(bytes of the log) when an index is built.
  public init(store: Store, prefix: String, settings: OpLogSettings) async throws {
    space = try await OpLogSpace.open(store: store, prefix: prefix, settings: settings)
    isSQLCompatible = settings.sqlCompatible
  }

  public var prefix: String { space.prefix }

  /// The family `data:<prefix>`, for the state that a reducer derives from the log. It commits in
  /// the same batch as the entries.
  public var dataFamily: StoreFamily { space.data }

  /// The family `oplog:<prefix>`.
  package var logFamily: StoreFamily { space.log }

  /// Adds one entry's row to a batch, with the demand that its index be free.
  ///
  /// - Parameters:
  ///   - index: 0 to 2^64 - 2.
  ///   - serverUser: Whom a server vouched for, if there is one.
  /// - Throws: ``SpindleError`` with `invalidArgument`, reason `index_overflow`, `reserved_tag`,
  ///   `codec` or `integer_out_of_range`; `uniqueViolation`, reason `oplog`, for an index below the
  ///   peer's floor. Nothing was added to the batch then.
  public func trackOne(
    peer: PeerID, index: UInt64, timestamp: Timestamp, serverUser: UserID?, op: Op,
    into batch: inout Batch
  ) throws {
    try withSpindleErrors { () throws(LogTrackerError) in
      let row = try row(of: op, timestamp, serverUser, peer: peer, index: index)
      try add(row, peer: peer, index: index, to: &batch)
    }
  }

  /// Adds one entry's row as the next link of its peer's chain.
  ///
  /// - Parameter head: The chain's head before this entry. Nil starts a chain: at index 0, and
  ///   behind rows that were recorded without one.
  /// - Complexity: two SHA-256 over the entry and 65 bytes.
  public func trackOne(
    peer: PeerID, index: UInt64, timestamp: Timestamp, serverUser: UserID?, op: Op,
    following head: ChainHead?, into batch: inout Batch
  ) throws -> ChainHead? {
    try withSpindleErrors { () throws(LogTrackerError) in
      let row = try row(of: op, timestamp, serverUser, peer: peer, index: index)
      return try addLink(row, peer: peer, index: index, following: head, to: &batch)
    }
  }

  /// Adds an expunged marker to a batch, with the demand that its index be free.
  ///
  /// - Throws: ``SpindleError`` with `invalidArgument`, reason `index_overflow`.
  public func trackExpunged(
    peer: PeerID, index: UInt64, hash: EntryHash, into batch: inout Batch
  ) throws {
    try withSpindleErrors { () throws(LogTrackerError) in
      try add(OpLogRow(expunged: hash), peer: peer, index: index, to: &batch)
    }
  }

  public func trackExpunged(
    peer: PeerID, index: UInt64, hash: EntryHash, following head: ChainHead?,
    into batch: inout Batch
  ) throws -> ChainHead? {
    try withSpindleErrors { () throws(LogTrackerError) in
      try addLink(
        OpLogRow(expunged: hash), peer: peer, index: index, following: head, to: &batch)
    }
  }

  public func hash(
    peer: PeerID, index: UInt64, entry: DecodedEntry<Op>
  ) throws -> EntryHash? {
    switch entry {
    case .expunged(let hash): hash
    case .logEntry(let entry):
      try withSpindleErrors { () throws(LogTrackerError) in
        try row(of: entry.op, entry.timestamp, entry.serverUser, peer: peer, index: index)
      }.hash(peer: peer, index: index)
    }
  }

  public func recordedHash(peer: PeerID, index: UInt64) async throws -> EntryHash? {
    try await withRow(peer: peer, index: index) { $0.hash(peer: peer, index: index) }
  }

  /// The greatest value of a signed column.
  private static var sqlMax: UInt64 { UInt64(Int64.max) }

  private func row(
    of op: Op, _ timestamp: Timestamp, _ serverUser: UserID?, peer: PeerID, index: UInt64
  ) throws(LogTrackerError) -> OpLogRow {
    do throws(CodecError) {
      return try OpLogRow(
        timestamp: timestamp, serverUser: serverUser, entry: try op.toIndexEntry())
    } catch {
      throw .unwritableOp(peer: peer, index: index, error)
    }
  }

  private func addLink(
    _ row: OpLogRow, peer: PeerID, index: UInt64, following head: ChainHead?,
    to batch: inout Batch
  ) throws(LogTrackerError) -> ChainHead {
    let head = (head ?? .seed(of: peer)).appending(row.hash(peer: peer, index: index))
    try add(row, chain: head, peer: peer, index: index, to: &batch)
    return head
  }

  private func add(
    _ row: OpLogRow, chain: ChainHead? = nil, peer: PeerID, index: UInt64, to batch: inout Batch
  ) throws(LogTrackerError) {
    guard index < .max else { throw .indexOverflow(peer: peer) }
    if isSQLCompatible,
      let value = [index, row.timestamp.packed].first(where: { $0 > Self.sqlMax })
    {
      throw .integerOutOfRange(peer: peer, value: value)
    }
    // The rows below a floor are gone, so the commit could not see that they were there.
    let (floor, indexes) = space.memory.state(for: peer)
    guard index >= floor else { throw .takenBelowFloor(peer: peer, index: index, floor: floor) }
    let key = OpLogKeys.entry(peer, index)
    let value = row.value ?? []
    batch.requireAbsent(space.log, key: key, owner: "oplog")
    batch.put(space.log, key: key.span, header: row.header(chain).span, payload: value.span)
    if indexes.isEmpty { return }
    for key in OpLogIndexKey.keys(of: row, peer: peer, index: index, in: indexes) {
      batch.put(space.log, key: key, value: [])
    }
  }
}
