public import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// The quarantine of a spool is a family of its own, so that nothing that reads the spool meets
/// what is in it.
///
/// Every move is ONE batch on the condition that what it moves is still what was read, and that
/// nothing stands where it goes. Crash windows: before the batch is written the message is where
/// it was, afterwards it is where it went; it is never in both places and never in none. Without a
/// sync a power loss may undo a move as part of a lost suffix, and the message is where it was.
///
/// A store that does not pass through the group lane would slip between the check of a condition
/// and the write. So a move claims its message, as a drain worker does: see ``SpoolClaims``.
extension RocksSpool: QuarantiningSpool {
  /// The end of the names of quarantines; no spool's own name ends like that.
  static let quarantineSuffix = StoreFamily.quarantineSuffix

  /// The name of the family, after `spool:`, that takes what could not be used.
  package var quarantineName: String { Self.quarantineName(of: name) }

  /// nil while nothing was ever set aside.
  var quarantineFamily: StoreFamily? { storage.existingFamily("spool:" + quarantineName) }

  /// The name of a spool's quarantine, at most 64 characters. Names that are too long for the
  /// suffix are cut, and told apart by a checksum of the whole.
  static func quarantineName(of name: String) -> String {
    if name.utf8.count + quarantineSuffix.utf8.count <= 64 { return name + quarantineSuffix }
    var checksum: [UInt8] = []
    checksum.appendBigEndian(CRC32C.checksum(Array(name.utf8)))
    return name.prefix(44) + "-" + hexString(checksum) + quarantineSuffix
  }

  // MARK: QuarantiningSpool

  /// Sets a message aside. Throws `conflict` while another call or a drain worker holds it, and,
  /// reason `quarantine_taken`, when the quarantine has another message under its id;
  /// `quotaExceeded`, reason `quarantine_full`, when there is no room for it; `corruption` or `io`,
  /// reason `quarantine_damaged`, when the quarantine cannot be read under its id. It stays in the
  /// spool then. Damage elsewhere in the quarantine stops no move.
  public func quarantine(_ id: SpoolID, reason: String) async throws {
    try await holding(id) {
      let move = try await commitMove(counting: { [(self, $0)] }) { batch in
        try self.stageQuarantineBlocking(id, reason: reason, into: &batch)
      }
      guard move != nil else { throw absent(id, in: "spool \(name)") }
      tellQuarantine(of: id, reason: reason)
    }
  }

  /// What is in quarantine. What damage hides is left out; ``verify()`` and ``stats()`` tell of it.
  ///
  /// - Complexity: O(bytes of the messages given): each is checked.
  public func quarantined(after id: SpoolID?, limit: Int) async throws -> [QuarantinedMessage] {
    try await quarantinePage(after: id, limit: limit).messages
  }

  /// The same with what could not be read on the way to the last message given.
  package func quarantinePage(
    after id: SpoolID?, limit: Int
  ) async throws -> (messages: [QuarantinedMessage], lostRanges: [SpoolLostRange]) {
    try await working {
      try await storage.blocking {
        var found: [QuarantinedMessage] = []
        var lost: [SpoolLostRange] = []
        for source in self.quarantineSources where limit > 0 {
          let page = try self.quarantinedBlocking(source, after: id, limit: limit)
          found += page.messages
          lost += page.lostRanges
        }
        found.sort { $0.id.bytes.lexicographicallyPrecedes($1.id.bytes) }
        return (Array(found.prefix(max(limit, 0))), lost)
      }
    }
  }

  public func isQuarantined(_ id: SpoolID) async throws -> Bool {
    try await working {
      // Most spools have no quarantine; that costs no hop to another thread.
      if quarantineSources.isEmpty { return false }
      return try await storage.blocking { try self.findQuarantinedBlocking(id) != nil }
    }
  }

  /// Reads a message in quarantine, also a damaged one: as much as is there, and what it is.
  /// Throws `notFound` when it is not in quarantine.
  public func loadQuarantined(_ id: SpoolID) async throws -> QuarantinedContents {
    try await working {
      let contents = try await storage.blocking {
        try self.findQuarantinedBlocking(id).map { Self.contents($0) }
      }
      guard let contents else { throw absent(id, in: "the quarantine of spool \(name)") }
      return contents
    }
  }

  private static func contents(_ found: Found) -> QuarantinedContents {
    if let damage = found.damage {
      return QuarantinedContents(form: .envelope, bytes: found.value, damage: "\(damage)")
    }
    let record = found.value.span.extracting(droppingFirst: found.recordStart)
    let reason = (try? QuarantineEnvelope(decoding: found.value.span))?.reason
    do throws(DecodingFailure) {
      let payload = try SpoolRecord.payload(of: record)
      return QuarantinedContents(form: .payload, bytes: payload, reason: reason)
    } catch {
      return QuarantinedContents(
        form: .record, bytes: copyBytes(record), damage: "\(error)", reason: reason)
    }
  }

  /// How many messages are in quarantine; see ``quarantineUsage()``.
  public func quarantinedCount() async throws -> Int {
    Int(clamping: try await quarantineUsage().entries)
  }

  /// What is in quarantine, moves under way included, but for what damage hides; no message is
  /// checked.
  ///
  /// - Complexity: O(bytes in quarantine) for the first move or count of an owner, which is kept
  ///   from then on, and for each of a reader.
  public func quarantineUsage() async throws -> SpoolUsage {
    try await working {
      try await storage.blocking {
        if let usage = self.quarantineLedger.usage { return usage }
        guard self.storage.view == .owned else {
          return try self.walkQuarantineBlocking { self.stopReason() }.found.usage
        }
        return try self.countQuarantineBlocking()
      }
    }
  }

  /// Counts what is in quarantine for its limit, unless that was done.
  @discardableResult
  private func countQuarantineBlocking() throws -> SpoolUsage {
    var damage: SpindleError?
    let usage = try quarantineLedger.count {
      let (found, met) = try walkQuarantineBlocking { nil }
      damage = met
      return found.usage
    }
    if let damage {
      metrics?.met(damage)
      storage.send(.quarantineCountPartial(spool: name, detail: damage.message))
    }
    return usage
  }

  /// Walks the quarantine and goes on behind damage, which does not shut the quarantine's gate: the
  /// moves of what is intact must go on, and each begins with a count.
  ///
  /// - Returns: What was found, and the first damage.
  func walkQuarantineBlocking(
    stopReason: @escaping () -> (any Error)?
  ) throws -> (found: QuarantineStatistics, damage: SpindleError?) {
    var found = QuarantineStatistics()
    var damage: SpindleError?
    for source in quarantineSources {
      var walk = SpoolWalk(storage, source.family, shutsGate: false, stopReason: stopReason)
      try walk.runReadable { key, value in
        let isAnothers = source.isFormer && QuarantineEnvelope.stands(in: value)
        if SpoolID(bytes: key) != nil, !isAnothers {
          found.usage.bytes += UInt64(SpoolLedger.keyBytes + value.count)
          found.usage.entries += 1
        }
        return .next
      }
      found.lostRanges += walk.lostRanges
      damage = damage ?? walk.damage
    }
    return (found, damage)
  }

  /// Moves a message back. Throws `quotaExceeded` when the spool has no room for it by now, and it
  /// stays in quarantine.
  public func restoreQuarantined(_ id: SpoolID) async throws {
    try await holding(id) {
      try await notingStore(of: id) {
        let move = try await commitMove(counting: { [(self, $0)] }) { batch in
          try self.stageRestorationBlocking(id, into: &batch)
        }
        guard move != nil else { throw absent(id, in: "the quarantine of spool \(name)") }
      }
    }
  }

  public func purgeQuarantined(_ id: SpoolID) async throws {
    try await working {
      let move = try await commitMove(counting: { [(self, $0)] }) { batch in
        try self.stagePurgeBlocking(id, into: &batch)
      }
      guard move != nil else { throw absent(id, in: "the quarantine of spool \(name)") }
    }
  }

  /// Moves a message that the caller has claimed, on a thread that may block. One that is gone is
  /// no error.
  ///
  /// - Returns: false when the quarantine does not take it: it is full, has another message under
  ///   the id, cannot be read there, or its own gate is shut. The message stays in the spool, and
  ///   that is told.
  package func quarantineBlocking(_ id: SpoolID, reason: String) throws -> Bool {
    do {
      let isMoved = try retryingOnceOpen {
        try moveToQuarantineBlocking(id, reason: reason)
      }
      if !isMoved { return true }
    } catch let error as SpindleError where isRefusalOfQuarantine(error) {
      if error.reason != QuarantineLedger.fullReason {
        metrics?.quarantineRefused()
        storage.send(
          .notQuarantined(spool: name, id: id.description, detail: error.message))
      }
      return false
    }
    tellQuarantine(of: id, reason: reason)
    return true
  }

  /// - Returns: false when the message is gone.
  private func moveToQuarantineBlocking(_ id: SpoolID, reason: String) throws -> Bool {
    var batch = Batch()
    guard let move = try stageQuarantineBlocking(id, reason: reason, into: &batch) else {
      return false
    }
    try begin(move)
    do {
      try storage.commitBlocking(batch)
    } catch {
      giveBack(move)
      throw error
    }
    settle(move)
    return true
  }

  /// Runs a move, and once more where a gate refused it that is open by now: whose it was cannot be
  /// told any more.
  package func retryingOnceOpen<Result>(_ move: () throws -> Result) throws -> Result {
    do {
      return try move()
    } catch let error as SpindleError where error.isGateRefusal {
      guard unhealthyReason == nil, quarantineFamily?.health.isShut != true else { throw error }
      return try move()
    }
  }

  /// Whether the quarantine alone is why a move failed, so that the spool's other messages can go
  /// on.
  private func isRefusalOfQuarantine(_ error: SpindleError) -> Bool {
    switch error.reason {
    case QuarantineLedger.fullReason, QuarantineLedger.damagedReason,
      QuarantineLedger.takenReason:
      true
    default:
      // Also where the quarantine's has opened since.
      error.isGateRefusal && unhealthyReason == nil
    }
  }

  func tellQuarantine(of id: SpoolID, reason: String) {
    storage.send(.quarantined(spool: name, id: id.description, reason: reason))
  }

  // MARK: Staging

  /// Adds the move of a claimed message to a batch.
  ///
  /// - Returns: What goes; nil when there is none in the spool.
  /// - Throws: `conflict` when the quarantine has another message under the id, which would be
  ///   lost; what is thrown where it cannot be read there.
  func stageQuarantineBlocking(
    _ id: SpoolID, reason: String, into batch: inout Batch
  ) throws -> QuarantineMove? {
    guard let record = try storage.getBlocking(family, key: id.bytes) else { return nil }
    let quarantine = try storage.familyBlocking("spool:" + quarantineName)
    try countQuarantineBlocking()
    var replaced: Int?
    if let earlier = try findQuarantinedBlocking(id) {
      let isSame =
        earlier.damage == nil
        && bytesEqual(
          earlier.value.span.extracting(droppingFirst: earlier.recordStart), record.span)
      guard isSame else {
        throw SpindleError(
          .conflict,
          "the quarantine of spool \(name) has another message \(id); restore or purge that first",
          reason: QuarantineLedger.takenReason)
      }
      batch.requireEqual(earlier.family, key: id.bytes, bytes: earlier.value)
      batch.delete(earlier.family, key: id.bytes)
      replaced = earlier.value.count
    } else {
      batch.requireAbsent(quarantine, key: id.bytes, owner: quarantineName)
    }
    let header = QuarantineEnvelope.header(
      reason: reason, since: storage.clock.wallMilliseconds, record: record.span)
    batch.requireEqual(family, key: id.bytes, bytes: record)
    batch.put(quarantine, key: id.bytes.span, header: header.span, payload: record.span)
    batch.delete(family, key: id.bytes)
    batch.movesStoredValues = true
    return QuarantineMove(
      spool: SpoolLedger.Change(before: record.count, after: nil),
      quarantine: SpoolLedger.Change(before: replaced, after: header.count + record.count))
  }

  /// Adds the way back of a claimed message to a batch.
  ///
  /// - Returns: What comes; nil when there is none in quarantine.
  func stageRestorationBlocking(
    _ id: SpoolID, into batch: inout Batch
  ) throws -> QuarantineMove? {
    try countQuarantineBlocking()
    guard let found = try findQuarantinedBlocking(id) else { return nil }
    if let damage = found.damage {
      throw SpindleError(
        .corruption,
        "the message \(id) in the quarantine of spool \(name) cannot be restored: \(damage)",
        path: storage.path)
    }
    batch.requireEqual(found.family, key: id.bytes, bytes: found.value)
    batch.requireAbsent(family, key: id.bytes, owner: name)
    batch.put(
      family, key: id.bytes.span,
      value: found.value.span.extracting(droppingFirst: found.recordStart))
    batch.delete(found.family, key: id.bytes)
    batch.movesStoredValues = true
    return QuarantineMove(
      spool: SpoolLedger.Change(before: nil, after: found.value.count - found.recordStart),
      quarantine: SpoolLedger.Change(before: found.value.count, after: nil))
  }

  /// Adds the end of a message in quarantine to a batch.
  ///
  /// - Returns: What ends; nil when there is none in quarantine.
  func stagePurgeBlocking(_ id: SpoolID, into batch: inout Batch) throws -> QuarantineMove? {
    try countQuarantineBlocking()
    guard let found = try findQuarantinedBlocking(id) else { return nil }
    batch.requireEqual(found.family, key: id.bytes, bytes: found.value)
    batch.delete(found.family, key: id.bytes)
    return QuarantineMove(
      spool: SpoolLedger.Change(),
      quarantine: SpoolLedger.Change(before: found.value.count, after: nil))
  }

  // MARK: Counting

  /// Counts the growth of a move that is about to be written.
  ///
  /// - Throws: ``SpindleError`` with `quotaExceeded` when the quarantine or the spool has no room;
  ///   nothing is counted then.
  func begin(_ move: QuarantineMove) throws {
    do {
      try quarantineLedger.reserve(move.quarantine)
    } catch {
      metrics?.quarantineRefused()
      if error.isNew {
        storage.send(.quarantineFull(spool: name, detail: error.refusal.message))
      }
      throw error.refusal
    }
    do {
      try ledger?.reserve(move.spool)
    } catch {
      quarantineLedger.giveBack(move.quarantine)
      throw error
    }
  }

  /// Takes back the growth of a move that was not written.
  func giveBack(_ move: QuarantineMove) {
    quarantineLedger.giveBack(move.quarantine)
    ledger?.giveBack(move.spool)
  }

  /// Counts what a written move has freed.
  func settle(_ move: QuarantineMove) {
    quarantineLedger.settle(move.quarantine)
    ledger?.settle(move.spool)
  }

  /// Stages on a thread that may block, and commits.
  ///
  /// - Parameters:
  ///   - syncs: Whether the move is durable when the call returns; nil is as the spool's stores.
  ///   - counts: The moves that were staged, and of which spools; nil ones are none.
  /// - Returns: What staging gave. An empty batch is no commit.
  func commitMove<Staged: Sendable>(
    syncs: Bool? = nil, counting counts: (Staged) -> [(RocksSpool, QuarantineMove?)],
    _ stage: @escaping @Sendable (inout Batch) throws -> Staged
  ) async throws -> Staged {
    let (batch, staged) = try await storage.blocking {
      var batch = Batch()
      let staged = try stage(&batch)
      return (batch, staged)
    }
    var begun: [(spool: RocksSpool, move: QuarantineMove)] = []
    do {
      do {
        for case (let spool, let move?) in counts(staged) {
          try spool.begin(move)
          begun.append((spool, move))
        }
        try await storage.commit(batch, durability: syncs ?? settings.flush ? .synced : .buffered)
      } catch {
        for counted in begun { counted.spool.giveBack(counted.move) }
        throw error
      }
      for counted in begun { counted.spool.settle(counted.move) }
      return staged
    } catch let error as SpindleError where error.kind == .uniqueViolation {
      throw SpindleError(
        .conflict, "the spool \(error.reason ?? name) has a message under this id by now")
    } catch let error as SpindleError where error.kind == .conflict {
      throw SpindleError(
        .conflict, "the message was changed meanwhile; nothing was moved", reason: error.reason)
    }
  }

  /// Runs a body while this call holds a message: what is stored under its id meanwhile meets the
  /// body's conditions.
  private func holding(_ id: SpoolID, _ body: () async throws -> Void) async throws {
    try await working {
      guard claim(id) else { throw heldByAnother(id) }
      defer { release(id) }
      try await body()
    }
  }

  func heldByAnother(_ id: SpoolID) -> SpindleError {
    SpindleError(
      .conflict, "the message \(id) of spool \(name) is in use at this moment", reason: "in_use")
  }

  private func absent(_ id: SpoolID, in place: String) -> SpindleError {
    SpindleError(.notFound, "no such key \(id) in \(place)")
  }

  // MARK: Reading

  /// A family that holds messages of this spool's quarantine.
  private struct Source {
    var family: StoreFamily
    /// Whether only records that stand alone are this spool's.
    var isFormer: Bool
  }

  /// Where messages in quarantine are: in the family of the present name, and for long names in
  /// that of the former one, their last 64 characters. Another spool's quarantine may have that
  /// name as its present one; envelopes in it are that spool's.
  private var quarantineSources: [Source] {
    let former = String((name + Self.quarantineSuffix).suffix(64))
    var names = [(quarantineName, false)]
    if former != quarantineName { names.append((former, true)) }
    return names.compactMap { name, isFormer in
      storage.existingFamily("spool:" + name).map { Source(family: $0, isFormer: isFormer) }
    }
  }

  /// A stored value of the quarantine.
  private struct Found {
    var family: StoreFamily
    var value: Bytes
    /// Where the message's record begins; the end when the envelope is damaged.
    var recordStart: Int
    var damage: DecodingFailure?
  }

  private func findQuarantinedBlocking(_ id: SpoolID) throws -> Found? {
    for source in quarantineSources {
      guard let value = try readQuarantineBlocking(source.family, id) else { continue }
      do throws(DecodingFailure) {
        let envelope = try QuarantineEnvelope(decoding: value.span)
        if envelope != nil, source.isFormer { continue }
        return Found(family: source.family, value: value, recordStart: envelope?.recordStart ?? 0)
      } catch {
        if source.isFormer { continue }
        return Found(
          family: source.family, value: value, recordStart: value.count, damage: error)
      }
    }
    return nil
  }

  /// Reads a stored value. Damage is told with a reason of its own: it is not the spool's.
  private func readQuarantineBlocking(_ family: StoreFamily, _ id: SpoolID) throws -> Bytes? {
    do {
      return try storage.getBlocking(family, key: id.bytes)
    } catch let error as SpindleError where error.kind == .corruption || error.kind == .io {
      throw SpindleError(
        error.kind, "the quarantine of spool \(name) is damaged: \(error.message)",
        path: error.path, reason: QuarantineLedger.damagedReason)
    }
  }

  private func quarantinedBlocking(
    _ source: Source, after id: SpoolID?, limit: Int
  ) throws -> (messages: [QuarantinedMessage], lostRanges: [SpoolLostRange]) {
    var found: [QuarantinedMessage] = []
    // The first key behind the id's is the id's with one byte more.
    var walk = SpoolWalk(
      storage, source.family, from: id.map { $0.bytes + [0] } ?? [], shutsGate: false
    ) { self.stopReason() }
    try walk.runReadable { key, value in
      guard let id = SpoolID(bytes: key) else { return .next }
      if let message = Self.described(id, value, isFormer: source.isFormer) {
        found.append(message)
      }
      return found.count < limit ? .next : .stop
    }
    return (found, walk.lostRanges)
  }

  /// What a list says of a stored value; nil for another spool's message.
  private static func described(
    _ id: SpoolID, _ value: Span<UInt8>, isFormer: Bool
  ) -> QuarantinedMessage? {
    do throws(DecodingFailure) {
      let envelope = try QuarantineEnvelope(decoding: value)
      if envelope != nil, isFormer { return nil }
      let record = value.extracting(droppingFirst: envelope?.recordStart ?? 0)
      let payload = try? SpoolRecord.payload(of: record)
      return QuarantinedMessage(
        id: id, bytes: record.count, reason: envelope?.reason ?? "no reason was recorded",
        since: envelope.map { SpoolInstant(unixMilliseconds: $0.since) },
        isDamaged: payload == nil)
    } catch {
      if isFormer { return nil }
      return QuarantinedMessage(
        id: id, bytes: value.count, reason: "the quarantine's own record is damaged: \(error)",
        since: nil, isDamaged: true)
    }
  }
}
