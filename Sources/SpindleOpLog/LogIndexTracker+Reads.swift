public import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// Reads. Each exists twice: an async call, which suspends the task while a thread of the store
/// reads, and a `Blocking` one for callers on a thread that may wait for the disk.
extension LogIndexTracker {
  // MARK: Cursors

  /// Every peer's next index.
  ///
  /// - Throws: ``SpindleError`` with `corruption`, `io` or `closed`.
  /// - Complexity: one seek per peer, whatever the length of its log.
  public func allCursors() async throws -> PeerCursors {
    try await space.store.blocking { try allCursorsBlocking() }
  }

  package func allCursorsBlocking() throws -> PeerCursors {
    var cursors = PeerCursors()
    try forEachLastRow { peer, next, _ in cursors.advance(peer, to: next) }
    for (peer, floor) in try space.floors() { cursors.advance(peer, to: floor.next) }
    return cursors
  }

  /// Every peer's next index and chain head.
  ///
  /// - Throws: ``SpindleError`` with `corruption` (also for a last row that is damaged), `io` or
  ///   `closed`.
  /// - Complexity: one seek per peer, whatever the length of its log.
  public func allPositions() async throws -> [PeerID: LogPosition] {
    try await space.store.blocking {
      var positions: [PeerID: LogPosition] = [:]
      try forEachLastRow { peer, next, row in
        let row = try Self.decode(row, peer: peer, index: next - 1) as OpLogRow
        positions[peer] = LogPosition(after: row, next: next)
      }
      // After the rows: a floor that rises meanwhile is not missed, and a row below one tells less.
      positions.merge(try space.floors()) { $0.next >= $1.next ? $0 : $1 }
      return positions
    }
  }

  /// Visits the last row of every peer that has rows, in falling order of the peers.
  func forEachLastRow(
    in snapshot: Snapshot? = nil,
    _ body: (PeerID, _ next: UInt64, _ row: Span<UInt8>) throws -> Void
  ) throws {
    var options = IterationOptions(
      lowerBound: [OpLogKeys.entrySubspace], upperBound: [OpLogKeys.entrySubspace + 1])
    options.snapshot = snapshot
    var iterator = try space.store.iterator(space.log, options)
    iterator.seekToLast()
    while iterator.isValid {
      let (peer, index) = try decodeKey(iterator.key)
      try body(peer, try next(after: index, of: peer), iterator.value)
      // Below all rows of this peer and above those of the one before.
      iterator.seekForPrevious(OpLogKeys.entries(of: peer).span)
    }
    try checkStatus(iterator)
  }

  /// One peer's next index; 0 for a peer never seen.
  ///
  /// - Complexity: one seek.
  public func cursor(of peer: PeerID) async throws -> UInt64 {
    try await space.store.blocking { try cursorBlocking(of: peer) }
  }

  package func cursorBlocking(of peer: PeerID) throws -> UInt64 {
    let next = try withLastRow(of: peer) { next, _ in next } ?? 0
    return max(next, try space.floor(of: peer).next)
  }

  /// One peer's next index and chain head; ``LogPosition/start`` for a peer never seen.
  ///
  /// - Complexity: one seek.
  public func position(of peer: PeerID) async throws -> LogPosition {
    try await space.store.blocking { try positionBlocking(of: peer) }
  }

  package func positionBlocking(of peer: PeerID) throws -> LogPosition {
    let last = try withLastRow(of: peer) { next, row in
      LogPosition(after: try Self.decode(row, peer: peer, index: next - 1), next: next)
    }
    let floor = try space.floor(of: peer)
    guard let last, last.next >= floor.next else { return floor }
    return last
  }

  /// Below which index a peer's log was trimmed; 0 for one that was not.
  public func floor(of peer: PeerID) async throws -> UInt64 {
    try await space.store.blocking { try floorBlocking(of: peer) }
  }

  package func floorBlocking(of peer: PeerID) throws -> UInt64 { try space.floor(of: peer).next }

  /// The floor of every peer that has one.
  public func floors() async throws -> PeerCursors {
    try await space.store.blocking { PeerCursors(try space.floors().mapValues(\.next)) }
  }

  private func withLastRow<Result>(
    of peer: PeerID, _ body: (_ next: UInt64, _ row: Span<UInt8>) throws -> Result
  ) throws -> Result? {
    var iterator = try space.store.iterator(
      space.log,
      IterationOptions(
        lowerBound: OpLogKeys.entries(of: peer), upperBound: OpLogKeys.upperBound(of: peer)))
    iterator.seekToLast()
    guard iterator.isValid else {
      try checkStatus(iterator)
      return nil
    }
    return try body(
      try next(after: try decodeKey(iterator.key).index, of: peer), iterator.value)
  }

  private func next(after index: UInt64, of peer: PeerID) throws -> UInt64 {
    guard index < .max else {
      throw LogTrackerError.corruptRow(
        peer: peer, index: index, .invalid("no index can follow this one")
      ).spindleError
    }
    return index + 1
  }

  // MARK: Rows and entries

  /// Up to `limit` entries of one peer from an index on, ascending, markers included.
  ///
  /// - Parameter limit: 0 or less gives nothing. The whole page is held in memory.
  /// - Throws: ``SpindleError`` with `corruption` (`unsupportedFormat` for an unknown tag) naming
  ///   peer and index, when a row or its op cannot be read; nothing is skipped, because a skipped
  ///   row would look like a hole. `notFound` with the reason `compacted` for an index below the
  ///   peer's floor.
  /// - Complexity: one seek and O(bytes of the page).
  public func readEntries(
    peer: PeerID, from index: UInt64, limit: Int
  ) async throws -> [(UInt64, DecodedEntry<Op>)] {
    try await readPage(peer: peer, from: index, limit: limit, byteLimit: .max)
      .map { ($0.index, $0.entry) }
  }

  public func readPage(
    peer: PeerID, from index: UInt64, limit: Int, byteLimit: Int
  ) async throws -> [(index: UInt64, entry: DecodedEntry<Op>)] {
    try await read(peer, from: index, limit: limit, byteLimit: byteLimit) { rows in
      try Op.entries(of: rows)
    }
  }

  /// The same without rebuilding the ops, for tools that know only the log.
  public func readRows(
    peer: PeerID, from index: UInt64, limit: Int
  ) async throws -> [IndexedOpLogRow] {
    try await read(peer, from: index, limit: limit, byteLimit: .max) { rows in try rows.rows() }
  }

  /// Reads rows on a thread of the store and decodes them: on the caller's thread what is small, on
  /// that of the store what is large.
  private func read<Page: Sendable>(
    _ peer: PeerID, from index: UInt64, limit: Int, byteLimit: Int,
    _ decode: @escaping @Sendable (StoredRows) throws -> Page
  ) async throws -> Page {
    let space = space
    let (rows, large) = try await space.store.blocking { () throws -> (StoredRows?, Page?) in
      let rows = try space.rows(of: peer, from: index, limit: limit, byteLimit: byteLimit)
      return rows.isLarge ? (nil, try decode(rows)) : (rows, nil)
    }
    if let large { return large }
    return try decode(rows ?? StoredRows(of: peer))
  }

  package func readRowsBlocking(
    peer: PeerID, from index: UInt64, limit: Int
  ) throws -> [IndexedOpLogRow] {
    try space.rows(of: peer, from: index, limit: limit, byteLimit: .max).rows()
  }

  /// The row at one index; nil where there is none, or none any more.
  public func row(peer: PeerID, index: UInt64) async throws -> OpLogRow? {
    try await withRow(peer: peer, index: index) { $0 }
  }

  /// Gives what a body makes of the row at one index, on the thread where it was taken apart.
  func withRow<Value: Sendable>(
    peer: PeerID, index: UInt64, _ body: @escaping @Sendable (OpLogRow) -> Value
  ) async throws -> Value? {
    let bytes = try await space.store.get(space.log, key: OpLogKeys.entry(peer, index))
    guard let bytes, try await index >= space.cachedFloor(of: peer) else { return nil }
    return try await space.takingApart(bytes) { bytes in
      body(try Self.decode(bytes, peer: peer, index: index))
    }
  }

  package func rowBlocking(peer: PeerID, index: UInt64) throws -> OpLogRow? {
    let bytes = try space.store.getBlocking(space.log, key: OpLogKeys.entry(peer, index))
    guard let bytes, try index >= space.floor(of: peer).next else { return nil }
    return try Self.decode(bytes.span, peer: peer, index: index)
  }

  // MARK: Decoding

  func decodeKey(_ key: Span<UInt8>) throws -> (peer: PeerID, index: UInt64) {
    try space.decodeKey(key)
  }

  static func decode(
    _ bytes: Span<UInt8>, peer: PeerID, index: UInt64
  ) throws(SpindleError) -> OpLogRow {
    do throws(DecodingFailure) {
      return try OpLogRow(decoding: bytes)
    } catch {
      throw LogTrackerError.corruptRow(peer: peer, index: index, error).spindleError
    }
  }

  static func decode(
    _ row: OpLogRow, peer: PeerID, index: UInt64
  ) throws(SpindleError) -> DecodedEntry<Op> {
    if let hash = row.expungedHash { return .expunged(hash) }
    do throws(CodecError) {
      let op = try Op.fromIndexParts(tag: row.tag, key: row.key, value: row.value)
      return .logEntry(
        LogEntry(serverUser: row.serverUser, timestamp: row.timestamp, op: op))
    } catch {
      throw LogTrackerError.unreadableOp(peer: peer, index: index, error).spindleError
    }
  }

  /// Tells the end of the data from a read that failed.
  func checkStatus(_ iterator: borrowing DatabaseIterator) throws {
    try space.checkStatus(iterator)
  }
}

extension OpLogSpace {
  /// Reads rows of one peer from an index on, as many as there are up to a limit; the last is the
  /// one that reaches the limit of bytes.
  fileprivate func rows(
    of peer: PeerID, from index: UInt64, limit: Int, byteLimit: Int
  ) throws -> StoredRows {
    var rows = StoredRows(of: peer)
    guard limit > 0 else { return rows }
    var byteCount = 0
    var options = IterationOptions(
      lowerBound: OpLogKeys.entry(peer, index), upperBound: OpLogKeys.upperBound(of: peer))
    // A log is read from one end to the other, and what was read is not soon read again: it is not
    // to push the state out of the cache.
    options.fillsCache = false
    // A whole page in one read or two, where RocksDB would read block after block.
    if limit >= LogPage.entryLimit { options.readaheadBytes = 64 << 10 }
    var iterator = try store.iterator(log, options)
    // After the view of the rows was taken: a row that is gone from it is below this floor.
    let floor = try floor(of: peer).next
    guard index >= floor else {
      throw LogTrackerError.compacted(peer: peer, oldest: floor).spindleError
    }
    iterator.seekToFirst()
    while iterator.isValid {
      let index = try decodeKey(iterator.key).index
      byteCount += OpLogKeys.entryByteCount + rows.append(iterator.value, at: index, limit: limit)
      guard rows.count < limit, byteCount < byteLimit else { return rows }
      iterator.next()
    }
    try checkStatus(iterator)
    return rows
  }

  fileprivate func decodeKey(_ key: Span<UInt8>) throws -> (peer: PeerID, index: UInt64) {
    guard let decoded = OpLogKeys.decodeEntry(key) else {
      throw LogTrackerError.corruptKey(prefix: prefix, byteCount: key.count).spindleError
    }
    return decoded
  }

  /// Tells the end of the data from a read that failed.
  fileprivate func checkStatus(_ iterator: borrowing DatabaseIterator) throws {
    do throws(RocksError) {
      try iterator.checkStatus()
    } catch {
      throw store.failure(error, reading: log)
    }
  }
}

extension LogPosition {
  /// The position behind a row.
  fileprivate init(after row: OpLogRow, next: UInt64) {
    self.init(
      next: next, head: row.chain, timestamp: row.isExpunged ? nil : row.timestamp)
  }
}
