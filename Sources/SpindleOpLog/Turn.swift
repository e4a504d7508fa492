internal import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// What the leader alone may touch.
struct Bench: Sendable {
  /// Where each peer's log ends, with what the batch in the making adds.
  private(set) var positions: [PeerID: LogPosition]
  /// What the batch in the making changed, to take it back.
  private(set) var changes: [(peer: PeerID, before: LogPosition?, next: UInt64)] = []

  /// Peers whose rows may be other than their positions say, because a commit failed that may be
  /// stored all the same. Nobody is served before they were read again.
  private(set) var doubtful: Set<PeerID> = []

  /// Peers whose rows were read since the memory of their family was begun; nil while all were.
  private var knownPeers: Set<PeerID>?

  init(positions: [PeerID: LogPosition]) { self.positions = positions }

  /// Whether the rows of a peer are what its position says, unless the family's memory was left
  /// behind.
  func knows(_ peer: PeerID) -> Bool { knownPeers?.contains(peer) ?? true }

  /// Whether ``knows(_:)`` holds for every peer.
  var knowsAll: Bool { knownPeers == nil }

  mutating func know(_ peer: PeerID) { knownPeers?.insert(peer) }

  /// Says that somebody else may have added rows.
  mutating func forget() { knownPeers = [] }

  subscript(peer: PeerID) -> LogPosition { positions[peer] ?? .start }

  mutating func move(_ peer: PeerID, to position: LogPosition) {
    changes.append((peer, positions.updateValue(position, forKey: peer), position.next))
  }

  /// Takes back the changes from a number on.
  mutating func rollBack(to count: Int) {
    while changes.count > count, let change = changes.popLast() {
      positions[change.peer] = change.before
    }
  }

  /// Takes back every change of a batch of which nobody knows whether it is stored.
  mutating func doubt() {
    for change in changes { doubtful.insert(change.peer) }
    rollBack(to: 0)
  }

  /// Makes the changes final.
  mutating func keep() { changes.removeAll(keepingCapacity: true) }

  /// Takes what the tracker says, once no batch is in the making.
  mutating func repair(_ peer: PeerID, _ position: LogPosition) {
    positions[peer] = position.next == 0 ? nil : position
    doubtful.remove(peer)
  }
}

extension Processor {
  /// One batch in the making: entries of several callers, each of which can be taken back alone.
  struct Turn: ~Copyable {
    var pending: ReducerBatch
    var clock: ClockStage
    /// One reading for all entries of the turn.
    let wall: UInt64
    /// What reducers made of the entries, in order.
    var states: [R.ApplyState] = []
    var entryCount = 0
    var skippedCount = 0
    /// Requests that added entries.
    var callCount = 0
    /// Whether every entry is at its peer's cursor, so that the cursors say that its index is free.
    var followsCursors = true
    /// The idempotency tokens of the turn, few beside what their entries cost.
    var tokens: [(token: IdempotencyToken, receipt: TokenReceipt)] = []
    private var index: WriteRecordIndex

    init(_ data: StoreFamily, _ clock: consuming ClockStage, wall: UInt64) {
      pending = ReducerBatch(Batch(reservingBytes: 512), family: data)
      index = WriteRecordIndex(family: data.id)
      self.clock = clock
      self.wall = wall
    }

    struct Savepoint {
      let batch: Batch.Savepoint
      let clock: HybridClock
      let stateCount: Int
      let entryCount: Int
      let skippedCount: Int
      let tokenCount: Int
    }

    var savepoint: Savepoint {
      Savepoint(
        batch: pending.batch.savepoint, clock: clock.savepoint, stateCount: states.count,
        entryCount: entryCount, skippedCount: skippedCount, tokenCount: tokens.count)
    }

    mutating func rollBack(to savepoint: Savepoint) {
      pending.batch.rollBack(to: savepoint.batch)
      clock.rollBack(to: savepoint.clock)
      states.removeLast(states.count - savepoint.stateCount)
      entryCount = savepoint.entryCount
      skippedCount = savepoint.skippedCount
      tokens.removeLast(tokens.count - savepoint.tokenCount)
      index.removeAll()
    }

    /// The state with every entry of the turn in it.
    mutating func view(of store: Store) -> ReducerView {
      if entryCount == 0 { return ReducerView(store, pending.family) }
      index.extend(over: pending.batch.record)
      return ReducerView(
        store, pending.family,
        pending: ReducerView.Pending(index: index, record: pending.batch.record))
    }

    /// Takes the batch out, so that the commit has it alone and adds to it without a copy.
    mutating func takeBatch() -> Batch {
      var batch = Batch()
      swap(&batch, &pending.batch)
      return batch
    }

    /// Whether another request should wait for the next turn.
    var isFull: Bool {
      entryCount >= LogPage.entryLimit || pending.batch.byteCount >= LogPage.byteLimit
    }
  }
}
