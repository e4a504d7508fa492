internal import SpindleCore
internal import SpindleOpLog
internal import SpindleSpool
internal import SpindleStore

/// Turns spooled messages into committed ops. Used by one thread, which may block.
struct OpApplier: ~Copyable {
  private struct Entry {
    var item: DrainWorker.Item
    var message: IngestMessage
  }

  /// The content of one message is at fault, not the store.
  private struct BadMessage: Error {
    var id: SpoolID
    var reason: String
  }

  private let store: Store
  private let spool: RocksSpool
  private let log: IngestLog
  /// Told of a message that stays in the spool because the quarantine does not take it.
  private let hold: (SpoolID) -> Void
  private var reducer: LastValueReducer
  /// Messages whose predecessor has not come yet.
  private var parked: [PeerID: [UInt64: [Entry]]] = [:]
  /// The positions that the last ``apply(_:positions:)`` moved.
  private(set) var applied: [PeerID: ProducerPosition] = [:]

  /// The heads of the chains of producers seen so far, as they are stored; nil where the last row
  /// is in no chain. This worker alone writes their logs. About 50 bytes a producer.
  private var heads: [PeerID: ChainHead?] = [:]

  private var waitingCount = 0

  /// How many messages of each producer wait for their predecessor.
  var waiting: [PeerID: Int] {
    parked.mapValues { $0.values.reduce(0) { $0 + $1.count } }
  }

  init(
    store: Store, spool: RocksSpool, log: IngestLog, seriesLimit: Int,
    hold: @escaping (SpoolID) -> Void
  ) {
    self.hold = hold
    self.store = store
    self.spool = spool
    self.log = log
    reducer = LastValueReducer(store: store, family: log.data, cacheLimit: seriesLimit)
  }

  /// Forgets everything that is not in the store, and lets go of the messages held back.
  mutating func reset() {
    reducer.reset()
    for entry in parked.values.flatMap(\.values).joined() { spool.release(entry.item.id) }
    parked = [:]
    waitingCount = 0
    applied = [:]
    heads = [:]
  }

  /// Applies messages, and those they let go on.
  ///
  /// - Parameter positions: How far each producer's ops are applied.
  /// - Throws: what stopped the commit; the messages that were not applied are still spooled, and
  ///   released.
  mutating func apply(
    _ items: [DrainWorker.Item], positions: [PeerID: ProducerPosition]
  ) throws {
    applied = [:]
    var unfinished = items.map(\.id)
    defer { for id in unfinished { spool.release(id) } }
    var ready = try items.compactMap { item -> Entry? in
      do throws(DecodingFailure) {
        return Entry(item: item, message: try IngestMessage(decoding: item.payload))
      } catch {
        try setAside(item.id, reason: "not an ingest message: \(error)")
        return nil
      }
    }
    while !ready.isEmpty {
      do {
        let group = Array(ready.prefix(DrainWorker.groupLimit))
        let successors = try applyOrderly(group, positions: positions)
        ready.removeFirst(group.count)
        ready += successors
      } catch {
        // They may have waited since an earlier call, so nothing else knows of them any more.
        for entry in ready { spool.release(entry.item.id) }
        throw error
      }
    }
    guard waitingCount > 0 else { return }
    // What waits for its predecessor stays claimed.
    let waiting = Set(parked.values.flatMap(\.values).joined().map(\.item.id))
    unfinished.removeAll { waiting.contains($0) }
  }

  /// Applies what follows its predecessor, in one commit if possible.
  ///
  /// - Returns: Parked messages that may go on now.
  private mutating func applyOrderly(
    _ entries: [Entry], positions: [PeerID: ProducerPosition]
  ) throws -> [Entry] {
    do {
      try commit(entries, positions: positions)
    } catch is BadMessage where entries.count > 1 {
      return try applySingly(entries, positions: positions)
    } catch let bad as BadMessage {
      reducer.reset()
      try setAside(bad.id, reason: bad.reason)
    } catch let error as SpindleError where error.kind == .conflict {
      reducer.reset()
      if entries.count > 1 {
        return try applySingly(entries, positions: positions)
      } else if let gone = entries.first?.item.id,
        try spool.loadRecordBlocking(gone) != nil
      {
        throw error
      }
      // Otherwise the operator removed the message while it waited: there is nothing to apply.
    }
    return takeSuccessors(positions)
  }

  /// Applies each entry in a commit of its own, so that a bad one costs only itself.
  private mutating func applySingly(
    _ entries: [Entry], positions: [PeerID: ProducerPosition]
  ) throws -> [Entry] {
    reducer.reset()
    var successors: [Entry] = []
    do {
      for entry in entries { successors += try applyOrderly([entry], positions: positions) }
    } catch {
      for entry in successors { spool.release(entry.item.id) }
      throw error
    }
    return successors
  }

  private func position(
    of message: IngestMessage, _ positions: [PeerID: ProducerPosition]
  ) -> ProducerPosition? {
    applied[message.peer] ?? positions[message.peer]
  }

  /// Commits the entries that are due as one batch.
  private mutating func commit(
    _ entries: [Entry], positions: [PeerID: ProducerPosition]
  ) throws {
    var batch = Batch(reservingBytes: entries.reduce(4096) { $0 + $1.item.payload.count })
    var moved: [PeerID: ProducerPosition] = [:]
    var movedHeads: [PeerID: ChainHead?] = [:]
    var done: [SpoolID] = []
    var clock = try log.clock.begin()
    let timestamp = try clock.now(into: &batch)
    for entry in entries {
      let message = entry.message
      let known = moved[message.peer] ?? position(of: message, positions)
      let next = known?.nextIndex ?? 0
      if message.index < next {
        let applied = position(of: message, positions)?.nextIndex ?? 0
        try dropRepeat(entry, isInBatch: message.index >= applied)
        continue
      }
      if message.index > next {
        try park(entry)
        continue
      }
      let op = try decode(entry)
      let start = known ?? ProducerPosition(producer: op.producer)
      guard let after = start.advanced(by: op, at: message.index) else {
        throw BadMessage(
          id: entry.item.id,
          reason: "its source position does not follow byte \(start.byteCount) of its producer")
      }
      do {
        try reducer.add(op)
      } catch let failure as DecodingFailure {
        throw BadMessage(id: entry.item.id, reason: "\(failure)")
      }
      let head = try movedHeads[message.peer] ?? head(of: message.peer)
      movedHeads[message.peer] = try log.tracker.trackOne(
        peer: message.peer, index: message.index, timestamp: timestamp, serverUser: nil,
        op: message.op, following: head, into: &batch)
      spool.stageRemoval(entry.item.id, header: entry.item.header, into: &batch)
      moved[message.peer] = after
      done.append(entry.item.id)
    }
    guard !done.isEmpty else { return }
    try reducer.stage(into: &batch)
    for (peer, position) in moved {
      batch.put(log.data, key: IngestKeys.position(of: peer), value: position.encoded())
    }
    try store.commitBlocking(batch)
    log.clock.committed(clock)
    for (peer, position) in moved { applied[peer] = position }
    heads.merge(movedHeads) { $1 }
    for id in done { spool.releaseRemoved(id) }
  }

  /// The head of a producer's chain; read from its last row the first time.
  private mutating func head(of peer: PeerID) throws -> ChainHead? {
    if let head = heads[peer] { return head }
    let head = try log.tracker.positionBlocking(of: peer).head
    heads[peer] = .some(head)
    return head
  }

  private func decode(_ entry: Entry) throws -> IngestOp {
    do throws(CodecError) {
      return try entry.message.op.decoded()
    } catch {
      throw BadMessage(id: entry.item.id, reason: "its op is damaged: \(error)")
    }
  }

  /// Handles a message whose index is taken: by the same op, then the message goes; by another,
  /// then it moves to quarantine. What was trimmed or expunged meanwhile cannot be compared any
  /// more; it was applied, so the message goes.
  private func dropRepeat(_ entry: Entry, isInBatch: Bool) throws {
    if isInBatch {
      throw BadMessage(
        id: entry.item.id, reason: "another message has index \(entry.message.index) already")
    }
    let row = try log.tracker.rowBlocking(peer: entry.message.peer, index: entry.message.index)
    let offered = try OpLogRow(
      timestamp: .zero, serverUser: nil, entry: entry.message.op.entry)
    let isSame: Bool
    if let row {
      isSame = row.isExpunged || row.hasSameOperation(as: offered)
    } else {
      isSame = try entry.message.index < log.tracker.floorBlocking(of: entry.message.peer)
    }
    guard isSame else {
      try setAside(
        entry.item.id,
        reason: "another op was applied under index \(entry.message.index) already")
      return
    }
    var batch = Batch()
    spool.stageRemoval(entry.item.id, header: entry.item.header, into: &batch)
    try store.commitBlocking(batch)
    spool.releaseRemoved(entry.item.id)
  }

  /// Moves a message to quarantine, or leaves it in the spool while that does not take it.
  private func setAside(_ id: SpoolID, reason: String) throws {
    if try !spool.quarantineBlocking(id, reason: reason) { hold(id) }
  }

  private mutating func park(_ entry: Entry) throws {
    let (peer, index) = (entry.message.peer, entry.message.index)
    var others = parked[peer]?[index] ?? []
    // A group that is tried again one by one parks its entries again.
    if others.contains(where: { $0.item.id == entry.item.id }) { return }
    guard waitingCount < DrainWorker.parkedLimit else {
      throw SpindleError(
        .conflict,
        "\(waitingCount) spooled batches wait for a predecessor that is not there")
    }
    others.append(entry)
    parked[peer, default: [:]][index] = others
    waitingCount += 1
  }

  /// Takes out the parked entries whose turn has come. Of several for one index the first is
  /// applied; the others then meet what it left.
  private mutating func takeSuccessors(_ positions: [PeerID: ProducerPosition]) -> [Entry] {
    guard waitingCount > 0 else { return [] }
    var ready: [Entry] = []
    for (peer, waiting) in parked {
      var next = (applied[peer] ?? positions[peer])?.nextIndex ?? 0
      while let entries = waiting[next] {
        parked[peer]?.removeValue(forKey: next)
        ready += entries
        waitingCount -= entries.count
        next += 1
      }
      if parked[peer]?.isEmpty == true { parked.removeValue(forKey: peer) }
    }
    return ready
  }
}
