internal import Glibc
internal import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// One walk that sends what it finds into a channel, on its own thread.
struct SpoolDelivery {
  /// How long a full channel may hold up a walk that holds an iterator; longer, the tables that
  /// the iterator pins could not be dropped for as long as the reader likes.
  static let longestStall = Duration.seconds(10)
  /// How far a message may be ahead of the wall clock without being remarkable: clocks of several
  /// hosts differ by less.
  static let aheadMilliseconds: UInt64 = 60_000

  /// Progress is told, and what was read so far handed over, every so many keys: either takes a
  /// lock.
  private static let publishMask = 255
  /// The first batch that is sent this long after a wake-up wakes a reader that waits, however
  /// little has come together.
  private static let longestDelay = Duration.milliseconds(2)
  /// The most messages put off because they were being stored: 64 KiB. More are given at once, as
  /// rather given twice than missed; hardly ever as many stores under old ids are under way.
  static let undecidedLimit = 4_096
  /// How often the end of a store is looked for, in microseconds.
  static let lookInterval: UInt32 = 2_000

  let spool: RocksSpool
  let queue: SpoolEntryQueue
  let handle: SpoolEnumeration
  let selection: SpoolSelection

  private var outcome = SpoolEnumeration.Outcome()
  private var stray = StrayKeys()
  private var seen = 0
  /// Taken from the store, and not yet by the channel.
  private var batch = SpoolEntryQueue.Batch()
  private var batchCorrupt = 0
  /// When a reader that waited was last to be woken; nil before the first messages.
  private var handedOver: ContinuousClock.Instant?
  /// Left out because they were being stored; a store that fails has no other to give them.
  private var undecided: [SpoolID] = []
  /// Whether those are being judged once more.
  private var decides = false
  /// The first of those that could not be read.
  private var undecidedFailure: SpindleError?

  init(
    spool: RocksSpool, queue: SpoolEntryQueue, handle: SpoolEnumeration, selection: SpoolSelection
  ) {
    self.spool = spool
    self.queue = queue
    self.handle = handle
    self.selection = selection
  }

  mutating func run(snapshot: Snapshot?) -> SpoolEnumeration.Outcome {
    spool.metrics?.enumerationStarted()
    // What ended the walk early, and each stretch that it could not read.
    var failures = 0
    var walk = SpoolWalk(spool.storage, spool.family, snapshot: snapshot) { [spool] in
      spool.stopReason()
    }
    do {
      try drive(&walk)
    } catch {
      failures = 1
      outcome.error =
        error as? SpindleError ?? SpindleError(.unavailable, "\(error)", path: spool.storage.path)
    }
    outcome.lostRanges = walk.lostRanges
    if let undecidedFailure {
      failures += 1
      if outcome.error == nil { outcome.error = undecidedFailure }
      spool.metrics?.met(undecidedFailure)
    }
    if outcome.error == nil { outcome.error = walk.damage }
    if let damage = walk.damage { spool.metrics?.met(damage) }
    failures += outcome.corrupt + outcome.lostRanges.count
    spool.metrics?.enumerationFinished(
      state: outcome.error == nil ? .finished : .failed, count: outcome.count, errors: failures)
    tell()
    return outcome
  }

  private mutating func drive(_ walk: inout SpoolWalk) throws {
    // Two closures of one call cannot both change `self`, so the state moves through a box.
    let box = Box(self)
    defer { self = box.value }
    do {
      try walk.run(released: { try box.value.handOver() }) { key, record in
        try box.value.take(key, record)
      }
    } catch {
      // What was read before the damage is given all the same, and what was put off.
      try? box.value.decide()
      throw error
    }
    try box.value.decide()
  }

  private final class Box {
    var value: SpoolDelivery
    init(_ value: SpoolDelivery) { self.value = value }
  }

  private mutating func take(_ key: Span<UInt8>, _ record: Span<UInt8>) throws -> SpoolWalk.Step {
    seen &+= 1
    if seen & Self.publishMask == 0 {
      // Where the walk leaves most keys out, a batch may never become full.
      switch queue.offerAtOnce(batch, isLate: isLate()) {
      case .sent: countBatch()
      case .refused: throw ended()
      case .stalled: break
      }
      publish()
    }
    guard let id = SpoolID(bytes: key) else {
      stray.note(key)
      if !StrayKeys.isProbe(key) {
        outcome.stray += 1
        outcome.skipped += 1
      }
      return .next
    }
    guard try selects(id, key) else {
      outcome.skipped += 1
      let limit = spool.storage.clock.wallMilliseconds &+ Self.aheadMilliseconds
      if id.created > SpoolInstant(unixMilliseconds: limit) { outcome.ahead += 1 }
      return .next
    }
    do {
      if let payload = try SpoolRecord.decompressed(record) {
        batch.append(.item(id: id, data: payload))
      } else {
        let payload = record.extracting(droppingFirst: SpoolRecord.headerBytes)
        if payload.count <= SpoolEntryBatch.packedLimit {
          batch.append(id, payload)
        } else {
          batch.append(.item(id: id, data: copyBytes(payload)))
        }
      }
    } catch {
      batch.append(.corrupt(id: id, error: "\(error)"))
      batchCorrupt += 1
    }
    guard batch.count >= queue.batchCount || batch.byteCount >= queue.batchBytes else {
      return .next
    }
    let clock = spool.storage.clock
    // Read at the first wait: most batches find room at once.
    var start: ContinuousClock.Instant?
    let result = queue.offer(batch, isLate: isLate(), isStopped: { spool.stopReason() != nil }) {
      let now = clock.now
      let since = start ?? now
      start = since
      return now - since >= Self.longestStall
    }
    switch result {
    case .sent: countBatch()
    case .refused: throw ended()
    case .stalled:
      publish()
      return .release
    }
    return .next
  }

  private mutating func selects(_ id: SpoolID, _ key: Span<UInt8>) throws -> Bool {
    if selection.leavesOutRemoved, try !contains(key, in: nil) { return false }
    if selection.isBefore(id) {
      guard let startTime = selection.startTime else { return true }
      switch spool.lateStores.find(id, storedFrom: startTime) {
      case .neither: return true
      case .stored: return false
      case .underWay:
        if decides || undecided.count == Self.undecidedLimit { return true }
        undecided.append(id)
        return false
      }
    }
    guard let opening = selection.opening else { return false }
    return try contains(key, in: opening)
  }

  /// Whether a view has a key; nil is the present.
  private func contains(_ key: Span<UInt8>, in view: Snapshot?) throws -> Bool {
    do throws(RocksError) {
      return try spool.storage.database.contains(spool.family.columnFamily, key, in: view)
    } catch {
      let failure = spool.storage.failure(error, reading: spool.family)
      guard error.kind == .corruption || error.kind == .ioError else { throw failure }
      // What the view had is not known any more: rather given than missed.
      return true
    }
  }

  /// Sends the rest, waits for the end of the stores that messages were put off for, each of which
  /// has a deadline, and gives those messages that are there and were not stored. One that cannot
  /// be read keeps none of the others back.
  private mutating func decide() throws {
    try sendBatch()
    guard !undecided.isEmpty else { return }
    publish()
    decides = true
    for id in undecided {
      while spool.lateStores.isUnderWay(id) {
        guard spool.stopReason() == nil, queue.offerAtOnce(.init(), isLate: true) != .refused else {
          throw ended()
        }
        usleep(Self.lookInterval)
      }
      let record: [UInt8]?
      do {
        record = try spool.storage.getBlocking(spool.family, key: id.bytes)
      } catch let error as SpindleError where error.kind == .corruption || error.kind == .io {
        if undecidedFailure == nil { undecidedFailure = error }
        continue
      }
      guard let record else { continue }
      outcome.skipped -= 1
      if try take(id.bytes.span, record.span) == .release { try sendBatch() }
    }
    try sendBatch()
  }

  /// Hands over what was read, to every reader that waits: what the walk does next may take long.
  private mutating func handOver() throws {
    try sendBatch()
    queue.wakeReaders()
  }

  /// Waits without an iterator until the channel takes the batch.
  private mutating func sendBatch() throws {
    guard !batch.isEmpty else { return }
    let result = queue.offer(
      batch, isStopped: { spool.stopReason() != nil }, isStalled: { false })
    guard result == .sent else { throw ended() }
    countBatch()
    publish()
  }

  /// Whether readers were left to wait long enough; begins the next wait then.
  private mutating func isLate() -> Bool {
    let now = spool.storage.clock.now
    if let handedOver, now - handedOver < Self.longestDelay { return false }
    handedOver = now
    return true
  }

  private func publish() {
    handle.publish(outcome)
    spool.metrics?.enumerationProgressed(count: outcome.count)
  }

  private mutating func countBatch() {
    outcome.count += batch.count - batchCorrupt
    outcome.corrupt += batchCorrupt
    batchCorrupt = 0
    batch = queue.nextBatch(after: batch)
  }

  private func ended() -> SpindleError {
    SpindleError(
      .closed,
      "the enumeration of spool \(spool.name) ended before its last message: "
        + (spool.stopReason() != nil ? "the spool was closed" : "its reader is gone"))
  }

  /// Once for the walk, however much it met.
  private func tell() {
    if stray.count > 0 {
      spool.storage.send(
        .strayKeys(spool: spool.name, count: stray.count, examples: stray.examples))
    }
    spool.storage.send(
      .enumerated(
        spool: spool.name, count: outcome.count, skipped: outcome.skipped, ahead: outcome.ahead,
        corrupt: outcome.corrupt, lostRanges: outcome.lostRanges.count,
        error: outcome.error?.message))
  }
}
