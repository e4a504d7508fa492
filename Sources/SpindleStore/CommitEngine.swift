internal import SpindleCore
internal import SpindleIO
internal import SpindleRocks
internal import Synchronization

/// Checks and writes batches; knows no queue and no waiting.
final class CommitEngine: Sendable {
  private let database: Database
  private let guardian: WALGuard
  private let health: StoreHealth
  private let registry: FamilyRegistry
  private let highWater: HighWaterFile
  let clock: any StoreClock
  private let beforeSync: @Sendable () -> Void
  private let beforeGroupWrite: @Sendable () -> Void
  private let afterWrite: @Sendable () -> Void
  private let paused = ThreadSemaphore()
  private let syncs = Atomic<Int>(0)
  /// The last sequence number that a sync has covered for certain.
  private let syncedSequence = Atomic<UInt64>(0)
  private let groupAttempts = Atomic<Int>(0)
  private let groupRecords = Atomic<Int>(0)

  init(
    database: Database, guardian: WALGuard, health: StoreHealth, registry: FamilyRegistry,
    highWater: HighWaterFile, clock: any StoreClock, beforeSync: @escaping @Sendable () -> Void,
    beforeGroupWrite: @escaping @Sendable () -> Void, afterWrite: @escaping @Sendable () -> Void
  ) {
    self.beforeSync = beforeSync
    self.beforeGroupWrite = beforeGroupWrite
    self.afterWrite = afterWrite
    self.database = database
    self.guardian = guardian
    self.health = health
    self.registry = registry
    self.highWater = highWater
    self.clock = clock
  }

  /// How many log syncs were done for commits.
  var syncCount: Int { syncs.load(ordering: .relaxed) }
  /// How often the writing of a group was tried, and how many records were built for it.
  var groupCounts: (attempts: Int, records: Int) {
    (groupAttempts.load(ordering: .relaxed), groupRecords.load(ordering: .relaxed))
  }

  /// Throws while removals are refused, too.
  func checkGate() throws { if let refusal = health.refusal(isRemoval: true) { throw refusal } }

  enum Outcome {
    case written
    /// RocksDB would have slowed the write down, or the gate was shut meanwhile; nothing was
    /// written.
    case stalled
    case failed(any Error)
  }

  /// Writes an unconditional batch on the calling thread.
  ///
  /// - Returns: false when RocksDB is stalled; nothing was written.
  func writeInline(_ record: inout WriteRecord) throws -> Bool {
    try health.beginWrite(isRemoval: record.onlyRemoves)
    defer { health.endWrite() }
    do throws(RocksError) {
      try database.write(&record)
      afterWrite()
      return true
    } catch {
      if error.kind == .incomplete { return false }
      tellFamilies(of: record, error)
      throw health.recordFailure(ofWrite: error)
    }
  }

  /// The same for one change that needs no batch.
  func writeInline(_ change: borrowing SingleChange, to family: StoreFamily) throws -> Bool {
    try health.beginWrite(isRemoval: change.isRemoval)
    defer { health.endWrite() }
    do throws(RocksError) {
      try database.write(change, to: family.columnFamily)
      afterWrite()
      return true
    } catch {
      if error.kind == .incomplete { return false }
      if Self.isOfFamily(error) { family.health.record(error) }
      throw health.recordFailure(ofWrite: error)
    }
  }

  /// Whether a failed write says anything of the family it was for. A failure of the log is the
  /// store's alone.
  private static func isOfFamily(_ error: RocksError) -> Bool {
    error.kind != .ioError && error.kind != .corruption
  }

  /// Tells the gates of the families that a failed write was for.
  private func tellFamilies(of record: WriteRecord, _ error: RocksError) {
    if !Self.isOfFamily(error) { return }
    var ids: Set<UInt32> = []
    record.forEach { _, family, _, _ in ids.insert(family) }
    for family in registry.all where ids.contains(family.id) { family.health.record(error) }
  }

  /// Checks and writes one batch without waiting for the disk. The caller holds the commit lock.
  ///
  /// - Returns: false when a condition needs the disk or RocksDB is stalled; nothing was written.
  func commitWithoutWaiting(_ batch: inout Batch) throws -> Bool {
    var overlay = Overlay()
    let raised: [Batch.Raise]
    do {
      if let refusal = try check(batch, overlay: &overlay, tier: .cache) { throw refusal }
      raised = try raises(of: batch, over: overlay, tier: .cache)
    } catch let error as RocksError {
      if error.kind == .incomplete { return false }
      throw error.spindleError
    }
    let mark = batch.record.mark
    for raise in raised {
      batch.record.put(raise.family.id, key: raise.key.span, value: raise.value.span)
    }
    guard !batch.record.isEmpty else { return true }
    do {
      if try writeInline(&batch.record) {
        moved(batch, raised, isStored: true)
        return true
      }
    } catch {
      moved(batch, raised, isStored: false)
      throw error
    }
    batch.record.rollBack(to: mark)
    return false
  }

  /// Tells the memories of guarded families of a batch that was written, or may have been. The
  /// caller holds the commit lock since the batch was checked.
  private func moved(_ batch: Batch, _ raised: [Batch.Raise], isStored: Bool) {
    let remembered = batch.rememberedFamily
    batch.forEachFamily { family in
      guard family.isGuarded else { return }
      family.memory.move(
        follows: isStored && family === remembered, raised: raised.last { $0.family === family })
    }
  }

  /// Checks and writes a group as one record. The caller holds the commit lock and may block.
  ///
  /// - Parameter record: What an earlier attempt built of the same batches, or nil. Gets the record
  ///   of those whose precondition held, for the next attempt. The conditions are judged anew each
  ///   time, because others may have committed meanwhile.
  /// - Returns: A refusal for each batch whose precondition failed or that the gate does not let
  ///   through, and what became of the others.
  func commitGroup(
    _ batches: [Batch], record: inout WriteRecord?
  ) -> (refusals: [(any Error)?], outcome: Outcome) {
    groupAttempts.add(1, ordering: .relaxed)
    var refusals: [(any Error)?] = []
    refusals.reserveCapacity(batches.count)
    var raises: [[Batch.Raise]] = []
    raises.reserveCapacity(batches.count)
    var overlay = Overlay()
    let needsOverlay =
      batches.count > 1 && batches.contains { !$0.preconditions.isEmpty || !$0.raises.isEmpty }
    for batch in batches {
      var raised: [Batch.Raise] = []
      defer { raises.append(raised) }
      do {
        // One by one: below the floor of free space removals are let through beside the others.
        if let refusal = try health.refusal(isRemoval: batch.onlyRemoves)
          ?? check(batch, overlay: &overlay, tier: .all)
        {
          refusals.append(refusal)
          continue
        }
        raised = try self.raises(of: batch, over: overlay, tier: .all)
        if needsOverlay { overlay.add(batch.record) }
        overlay.add(raised)
        refusals.append(nil)
      } catch {
        refusals.append((error as? RocksError)?.spindleError ?? error)
      }
    }
    if record == nil || refusals.contains(where: { $0 != nil }) {
      record = joined(zip(batches, refusals).filter { $1 == nil }.map(\.0))
    }
    guard var whole = record.take() else { return (refusals, .written) }
    let mark = whole.mark
    // Back in its place whatever comes, without a second owner while it is written. What was raised
    // is judged anew by the next attempt.
    defer {
      whole.rollBack(to: mark)
      record = whole
    }
    overlay.appendRaised(to: &whole)
    if whole.isEmpty { return (refusals, .written) }
    beforeGroupWrite()
    let outcome: Outcome
    do {
      guard try writeInline(&whole) else { return (refusals, .stalled) }
      outcome = .written
    } catch let error as SpindleError where error.isGateRefusal {
      // Shut since the batches were judged, and nothing was written. Who only removes may be let
      // through where others are not, so the next attempt judges them one by one again.
      return (refusals, .stalled)
    } catch {
      outcome = .failed(error)
    }
    // One after the other, as if each had been committed alone.
    for index in batches.indices where refusals[index] == nil {
      if case .written = outcome {
        moved(batches[index], raises[index], isStored: true)
      } else {
        moved(batches[index], raises[index], isStored: false)
      }
    }
    return (refusals, outcome)
  }

  private func joined(_ batches: [Batch]) -> WriteRecord {
    groupRecords.add(1, ordering: .relaxed)
    var record = WriteRecord(reservingBytes: batches.reduce(0) { $0 + $1.byteCount })
    for batch in batches { record.append(batch.record) }
    return record
  }

  /// Syncs the log. A failed sync shuts the gate until the store is opened anew; a sync that was
  /// refused because an append had failed before shuts it until the log is replaced.
  func syncLog() -> SpindleError? {
    beforeSync()
    do throws(RocksError) {
      // Read before the sync: everything up to this number is in the log already, so the sync
      // covers it.
      let sequence = try database.latestSequenceNumber()
      try database.syncLog()
      syncs.add(1, ordering: .relaxed)
      syncedSequence.max(sequence, ordering: .relaxed)
      highWater.record(sequence)
      return nil
    } catch {
      if error.kind == .closed { return error.spindleError }
      // The guard refuses a sync of a log whose append failed. Nothing was tried then, so nothing
      // is known to be lost, and the cure flushes what the log did not sync.
      if let failure = guardian.failure, !failure.isSync {
        return health.recordFailure(ofWrite: error, noSpace: failure.isNoSpace)
      }
      return health.recordFailure(ofSync: error)
    }
  }

  /// Syncs the log when something was written since the last sync, and the log is whole. What
  /// stands in the way is told by the gate.
  func syncLogIfNeeded() {
    guard guardian.failure == nil, let sequence = try? database.latestSequenceNumber(),
      sequence > syncedSequence.load(ordering: .relaxed)
    else { return }
    _ = syncLog()
  }

  /// Holds the writer thread back between two attempts at a stalled write.
  func pause(_ duration: Duration) {
    let (seconds, attoseconds) = duration.components
    let milliseconds = Int(seconds) * 1000 + Int(attoseconds / 1_000_000_000_000_000)
    _ = paused.wait(milliseconds: max(milliseconds, 1))
  }

  /// Holds any thread that may block back between two attempts at a stalled write.
  func pauseCaller(_ duration: Duration) {
    let (seconds, attoseconds) = duration.components
    let milliseconds = Int(seconds) * 1000 + Int(attoseconds / 1_000_000_000_000_000)
    _ = ThreadSemaphore().wait(milliseconds: max(milliseconds, 1))
  }

  // MARK: Preconditions

  /// Changes of the batches already taken into the group, for the conditions of the later ones.
  private struct Overlay {
    struct Key: Hashable {
      var family: UInt32
      var bytes: [UInt8]

      /// Word by word: an array would hash each byte apart, and groups have many keys.
      func hash(into hasher: inout Hasher) {
        hasher.combine(family)
        var word: UInt64 = 0
        for index in bytes.indices {
          word = word << 8 | UInt64(bytes[index])
          if index % 8 == 7 { hasher.combine(word) }
        }
        hasher.combine(word)
        hasher.combine(bytes.count)
      }
    }
    enum Change {
      case value([UInt8])
      case deleted
    }
    private var changes: [Key: Change] = [:]
    private var ranges: [(family: UInt32, lower: [UInt8], upper: [UInt8])] = []

    /// Keys whose value a batch raised.
    private var raised: [Key] = []

    mutating func add(_ record: WriteRecord) {
      // In the order of the operations: a range removes the puts before it and not those after.
      record.forEach { operation, family, key, value in
        let own = Key(family: family, bytes: copyBytes(key))
        switch operation {
        case .put: changes[own] = .value(copyBytes(value))
        case .delete: changes[own] = .deleted
        case .deleteRange: remove(family, from: own.bytes, to: copyBytes(value))
        }
      }
    }

    mutating func add(_ raises: [Batch.Raise]) {
      for raise in raises {
        let key = Key(family: raise.family.id, bytes: raise.key)
        changes[key] = .value(raise.value)
        if !raised.contains(key) { raised.append(key) }
      }
    }

    /// Adds what was raised behind all else, with the last value that the group gives it.
    func appendRaised(to record: inout WriteRecord) {
      for key in raised {
        guard case .value(let bytes) = changes[key] else { continue }
        record.put(key.family, key: key.bytes.span, value: bytes.span)
      }
    }

    private mutating func remove(_ family: UInt32, from lower: [UInt8], to upper: [UInt8]) {
      ranges.append((family, lower, upper))
      for key in changes.keys
      where key.family == family && !key.bytes.lexicographicallyPrecedes(lower)
        && key.bytes.lexicographicallyPrecedes(upper)
      {
        changes[key] = .deleted
      }
    }

    /// What the group says of a key; nil when it says nothing.
    func change(_ family: UInt32, _ key: [UInt8]) -> Change? {
      if let change = changes[Key(family: family, bytes: key)] { return change }
      let isRemoved = ranges.contains { range in
        range.family == family && !key.lexicographicallyPrecedes(range.lower)
          && key.lexicographicallyPrecedes(range.upper)
      }
      return isRemoved ? .deleted : nil
    }
  }

  /// Checks a batch's conditions.
  ///
  /// - Returns: The refusal of the first condition that does not hold; nil when all hold.
  private func check(
    _ batch: Batch, overlay: inout Overlay, tier: Database.ReadTier
  ) throws -> SpindleError? {
    if batch.preconditions.isEmpty { return nil }
    let known = batch.knownFamily
    if let owner = Self.ownerOfRepeat(batch.preconditions) { return violation(owner) }
    for condition in batch.preconditions {
      if let change = overlay.change(condition.family.id, condition.key) {
        switch change {
        case .value(let bytes):
          if let refusal = judge(condition.demand, bytes.span, isPresent: true) { return refusal }
        case .deleted:
          if let refusal = judge(condition.demand, Span(), isPresent: false) { return refusal }
        }
        continue
      }
      if case .absent = condition.demand, condition.family === known { continue }
      if let stored = try read(condition.family, condition.key, tier: tier) {
        if let refusal = judge(condition.demand, stored.bytes, isPresent: true) { return refusal }
      } else if let refusal = judge(condition.demand, Span(), isPresent: false) {
        return refusal
      }
    }
    return nil
  }

  /// The owner of a key that is demanded absent twice; nil when none is.
  private static func ownerOfRepeat(_ conditions: [Batch.Precondition]) -> String? {
    // Keys mostly come in rising order, and then none comes twice.
    let rises = conditions.indices.dropFirst().allSatisfy { index in
      let (before, condition) = (conditions[index - 1], conditions[index])
      return before.family === condition.family
        && before.key.lexicographicallyPrecedes(condition.key)
    }
    if rises { return nil }
    var demanded: Set<Overlay.Key> = []
    for condition in conditions {
      guard case .absent(let owner) = condition.demand else { continue }
      let key = Overlay.Key(family: condition.family.id, bytes: condition.key)
      if !demanded.insert(key).inserted { return owner }
    }
    return nil
  }

  /// The values that a batch raises above what is there.
  private func raises(
    of batch: Batch, over overlay: Overlay, tier: Database.ReadTier
  ) throws(RocksError) -> [Batch.Raise] {
    if batch.raises.isEmpty { return [] }
    var wanted: [Batch.Raise] = []
    for raise in batch.raises {
      if let place = wanted.firstIndex(where: { $0.family === raise.family && $0.key == raise.key })
      {
        if Self.isGreater(wanted[place].value, raise.value) { continue }
        wanted[place] = raise
      } else {
        wanted.append(raise)
      }
    }
    var raised: [Batch.Raise] = []
    for raise in wanted {
      switch overlay.change(raise.family.id, raise.key) {
      case .value(let bytes):
        if Self.isGreater(bytes, raise.value) { continue }
      case .deleted: break
      case nil:
        if batch.reliesOnMemory, raise.family === batch.rememberedFamily,
          let known = raise.family.memory.value(raised: raise.key)
        {
          if Self.isGreater(known, raise.value) { continue }
        } else if let stored = try read(raise.family, raise.key, tier: tier),
          Self.isGreater(copyBytes(stored.bytes), raise.value)
        {
          continue
        }
      }
      raised.append(raise)
    }
    return raised
  }

  private static func isGreater(_ stored: [UInt8], _ value: [UInt8]) -> Bool {
    stored.count == value.count && value.lexicographicallyPrecedes(stored)
  }

  private func read(
    _ family: StoreFamily, _ key: [UInt8], tier: Database.ReadTier
  ) throws(RocksError) -> PinnedValue? {
    if tier == .cache, family.largeValues.mayHold(key.span) {
      throw RocksError(kind: .incomplete, message: "a large value may be in memory")
    }
    do throws(RocksError) {
      return try database.get(family.columnFamily, key.span, tier: tier)
    } catch {
      family.health.record(error)
      throw error
    }
  }

  private func violation(_ owner: String) -> SpindleError {
    SpindleError(
      .uniqueViolation, "a key of \(owner) that must be new exists already; nothing was stored",
      reason: owner)
  }

  private func judge(
    _ demand: Batch.Precondition.Demand, _ stored: Span<UInt8>, isPresent: Bool
  ) -> SpindleError? {
    let holds: Bool
    switch demand {
    case .absent(let owner): return isPresent ? violation(owner) : nil
    case .equal(let bytes): holds = isPresent && bytesEqual(stored, bytes.span)
    case .prefix(let bytes):
      holds =
        isPresent && stored.count >= bytes.count
        && bytesEqual(stored.extracting(0..<bytes.count), bytes.span)
    }
    if holds { return nil }
    return SpindleError(
      .conflict, "a stored value is not what the batch demands; nothing was stored",
      reason: isPresent ? "changed" : "absent")
  }
}
