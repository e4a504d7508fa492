internal import SpindleCore
public import SpindleOpLog
public import SpindleStore
internal import Synchronization

extension IngestPipeline {
  /// Adds the entries of an exported ingest log to that of a store: rows, positions and series, as
  /// if they had been ingested here. What is there already is left alone, so doing it again adds
  /// nothing.
  ///
  /// Every entry is tried before the first is added: an export that cannot be added whole changes
  /// nothing. Where the store fails in between, what was added stays and doing it again adds the
  /// rest.
  ///
  /// - Parameter progress: Called after each page that was added.
  /// - Returns: How many entries were new.
  /// - Throws: ``SyncError``: `conflict` where the log has another entry at an index, `compacted`
  ///   where the export begins behind its end, `blocked` for a marker in the place of an entry,
  ///   whose lines nobody knows any more, and for damaged lines, `skew`; ``SpindleError`` as
  ///   ``OpLogArchive/apply(to:)`` does, and with `conflict`, reason `prefix_in_use`, while a
  ///   pipeline has the log open.
  public static func add(
    _ archive: OpLogArchive, to store: Store,
    progress: @escaping @Sendable (OpLogArchive.Progress) -> Void = { _ in }
  ) async throws -> UInt64 {
    let claim = try WriterClaim(store, prefix: Self.name)
    defer { withExtendedLifetime(claim) {} }
    let (log, positions) = try await IngestLog.open(store)
    _ = try await archive.apply(to: IngestTarget(store, log, positions, isRehearsal: true))
    return try await archive.apply(
      to: IngestTarget(store, log, positions, isRehearsal: false), progress: progress)
  }
}

/// Takes the entries of other ingest logs, a page in one commit with what follows from it. The log
/// must not have another writer.
private final class IngestTarget: LogProcessor {
  typealias Op = EncodedIngestOp

  private struct State {
    var positions: [PeerID: ProducerPosition]
    /// Ends of chains that this object moved.
    var heads: [PeerID: ChainHead?] = [:]
    /// Where the stored log of a peer ends.
    var stored: PeerCursors
  }

  private let store: Store
  private let log: IngestLog
  /// Whether entries are only tried: everything is done but the commit.
  private let isRehearsal: Bool
  /// Calls come one after the other; the lock is held for reading and writing the state only.
  private let state: Mutex<State>

  init(
    _ store: Store, _ log: IngestLog, _ positions: [PeerID: ProducerPosition], isRehearsal: Bool
  ) {
    self.store = store
    self.log = log
    self.isRehearsal = isRehearsal
    state = Mutex(
      State(positions: positions, stored: PeerCursors(positions.mapValues(\.nextIndex))))
  }

  func cursors() -> PeerCursors {
    PeerCursors(state.withLock { $0.positions.mapValues(\.nextIndex) })
  }

  func cursor(of peer: PeerID) -> UInt64 {
    state.withLock { $0.positions[peer]?.nextIndex ?? 0 }
  }

  func watchCursors() -> CursorWatch { CursorBoard(cursors()).watch() }

  func chainHead(of peer: PeerID, before index: UInt64) async throws -> ChainHead? {
    try await log.tracker.chainHead(of: peer, before: index)
  }

  func apply(
    peer: PeerID, index: UInt64, entry: DecodedEntry<EncodedIngestOp>
  ) async throws -> Applied {
    Applied(new: try await apply(peer: peer, entries: [(index, entry)]) > 0)
  }

  func apply(
    peer: PeerID, entries: [(index: UInt64, entry: DecodedEntry<EncodedIngestOp>)]
  ) async throws -> Int {
    try await store.blocking { try self.take(entries, of: peer) }
  }

  private func take(
    _ entries: [(index: UInt64, entry: DecodedEntry<EncodedIngestOp>)], of peer: PeerID
  ) throws -> Int {
    var (position, head, stored) = state.withLock {
      ($0.positions[peer], $0.heads[peer], $0.stored[peer])
    }
    if head == nil { head = .some(try log.tracker.positionBlocking(of: peer).head) }
    var batch = Batch()
    var reducer = LastValueReducer(store: store, family: log.data)
    var clock = try log.clock.begin()
    let wall = store.clock.wallMilliseconds
    var count = 0
    for (index, entry) in entries {
      let next = position?.nextIndex ?? 0
      if index < stored { try checkRepeat(peer, index, entry) }
      if index < next { continue }
      guard index == next else {
        throw SyncError.cursorMismatch(peer: peer, expected: next, actual: index)
      }
      let (given, op, after) = try read(entry, after: position, peer, index)
      do {
        try reducer.add(op)
      } catch let failure as DecodingFailure {
        throw refusal(peer, index, "\(failure)")
      }
      do throws(HybridClockError) {
        try clock.observe(given.timestamp, wall: wall, into: &batch)
      } catch {
        throw SyncError.skew(peer: peer, index: index, error)
      }
      head = .some(
        try log.tracker.trackOne(
          peer: peer, index: index, timestamp: given.timestamp, serverUser: given.serverUser,
          op: given.op, following: head ?? nil, into: &batch))
      position = after
      count += 1
    }
    guard count > 0, let position else { return count }
    try reducer.stage(into: &batch)
    batch.put(log.data, key: IngestKeys.position(of: peer), value: position.encoded())
    if !isRehearsal {
      try store.commitBlocking(batch)
      log.clock.committed(clock)
      stored = position.nextIndex
    }
    state.withLock { [stored, head] in
      $0.positions[peer] = position
      $0.heads[peer] = head
      $0.stored.advance(peer, to: stored)
    }
    return count
  }

  /// Compares an entry with the row at its index.
  private func checkRepeat(
    _ peer: PeerID, _ index: UInt64, _ entry: DecodedEntry<EncodedIngestOp>
  ) throws {
    guard let row = try log.tracker.rowBlocking(peer: peer, index: index) else {
      // What was trimmed away cannot be compared any more.
      if try index < log.tracker.floorBlocking(of: peer) { return }
      throw LogTrackerError.lostEntry(peer: peer, index: index).spindleError
    }
    guard
      try log.tracker.hash(peer: peer, index: index, entry: entry)
        == row.hash(peer: peer, index: index)
    else { throw SyncError.conflict(peer: peer, index: index) }
  }

  /// What an entry says, and how far its producer is with it.
  private func read(
    _ entry: DecodedEntry<EncodedIngestOp>, after position: ProducerPosition?, _ peer: PeerID,
    _ index: UInt64
  ) throws -> (entry: LogEntry<EncodedIngestOp>, op: IngestOp, after: ProducerPosition) {
    guard case .logEntry(let entry) = entry else {
      throw refusal(peer, index, "it was expunged, so nobody knows what followed from it")
    }
    let op: IngestOp
    do throws(CodecError) {
      op = try entry.op.decoded()
    } catch {
      throw refusal(peer, index, "its op is damaged: \(error)")
    }
    let before = position ?? ProducerPosition(producer: op.producer)
    guard IngestPipeline.peer(of: op.producer) == peer,
      let after = before.advanced(by: op, at: index)
    else {
      throw refusal(
        peer, index, "its source position does not follow byte \(before.byteCount) of its producer")
    }
    return (entry, op, after)
  }

  private func refusal(_ peer: PeerID, _ index: UInt64, _ reason: String) -> SyncError {
    .blocked(peer: peer, index: index, reason: reason, isRetryable: false)
  }
}
