public import SpindleCore
internal import SpindleRocks
package import SpindleStore
internal import Synchronization

extension RocksSpool {
  public func store(
    _ id: SpoolID, _ data: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws {
    let change = try storeAtOnce(id, data, syncs: forceSync || settings.flush)
    if change.isWritten { return }
    try await store(id, data, change, deadline)
  }

  /// A store or remove that is under way.
  private struct ChangeUnderWay {
    let call: SpoolCall
    /// Whether a drain worker claims the id.
    let isHeld: Bool
    /// Whether the id was old already; of stores.
    let isLate: Bool
    let durability: Durability
    /// How far it came at once; nil where that was not tried.
    var attempt: Store.Attempt?

    /// Whether it was written at once, and has ended.
    var isWritten: Bool { if case .written? = attempt { true } else { false } }
  }

  /// Begins a store, and ends it where nothing makes it wait. What a function holds that cannot
  /// suspend lies on the stack; an asynchronous one would ask its task for memory.
  private func storeAtOnce(
    _ id: SpoolID, _ data: Bytes, syncs: Bool
  ) throws -> ChangeUnderWay {
    let call = try begin(.store)
    let isLate = lateStores.begin(id)
    let isHeld = beginChange(id)
    var change = ChangeUnderWay(
      call: call, isHeld: isHeld, isLate: isLate, durability: syncs ? .synced : .buffered)
    do {
      try checkSize(data)
      // A large one is not written here, so nothing of it is computed here.
      guard ledger == nil, settings.compression == .none, !isHeld, !syncs,
        storage.mayWriteAtOnce(data.count)
      else { return change }
      let key = id.uuid.inlineBytes
      let header = SpoolRecord.inlineHeader(for: data.span)
      change.attempt = try storage.writeAtOnce(
        SingleChange(putting: header.span, data.span, under: key.span), to: family,
        policy: storePolicy)
    } catch {
      throw failStore(id, change, error)
    }
    if change.isWritten {
      noteStored(id, isLate: isLate, waited: false)
      endChange(id)
      end(call, bytes: data.count)
    }
    return change
  }

  private func failStore(
    _ id: SpoolID, _ change: ChangeUnderWay, _ error: any Error
  ) -> any Error {
    endChange(id)
    noteNotStored(id, isLate: change.isLate)
    return fail(change.call, error)
  }

  /// Goes on with a store that was not written at once.
  private func store(
    _ id: SpoolID, _ data: Bytes, _ change: ChangeUnderWay, _ deadline: ContinuousClock.Instant?
  ) async throws {
    var attempt = change.attempt
    do {
      if let ledger {
        _ = try await commitWithinQuota(
          ledger, id, data, durability: change.durability, deadline: deadline,
          isHeld: change.isHeld)
      } else {
        if attempt == .crowded {
          let key = id.uuid.inlineBytes
          let header = SpoolRecord.inlineHeader(for: data.span)
          attempt = try await storage.writeTogether(
            SingleChange(putting: header.span, data.span, under: key.span), to: family,
            policy: storePolicy)
        }
        if attempt != .written {
          let make = { @Sendable [self] in
            var batch = Batch(reservingBytes: data.count + 64)
            stage(id, data, into: &batch)
            return batch
          }
          if isQuicklyMade(data.count) {
            var batch = make()
            batch.joinsGroupLane = change.isHeld
            try await storage.commit(
              batch, after: attempt, durability: change.durability, deadline: deadline,
              policy: storePolicy)
          } else {
            try await storage.commitMade(
              for: family, durability: change.durability, inGroup: change.isHeld,
              deadline: deadline, policy: storePolicy, make)
          }
        }
      }
    } catch {
      throw failStore(id, change, error)
    }
    noteStored(id, isLate: change.isLate, waited: attempt != .written)
    endChange(id)
    end(change.call, bytes: data.count)
  }

  /// Removes a message; one that is not there is no error. The message is not read for it, so that
  /// one in a damaged block can be removed. With a quota its size is looked at; where that cannot
  /// be read it stays counted until the spool is opened again.
  public func remove(_ id: SpoolID) async throws {
    let change = try removeAtOnce(id)
    if change.isWritten { return }
    try await remove(id, change)
  }

  /// The same for a remove.
  private func removeAtOnce(_ id: SpoolID) throws -> ChangeUnderWay {
    let call = try begin(.remove)
    let isHeld = beginChange(id)
    let durability = settings.flush && settings.syncsRemoves ? Durability.synced : .buffered
    var change = ChangeUnderWay(
      call: call, isHeld: isHeld, isLate: false, durability: durability)
    guard ledger == nil, !isHeld, durability == .buffered else { return change }
    do {
      let key = id.uuid.inlineBytes
      change.attempt = try storage.writeAtOnce(
        SingleChange(removing: key.span), to: family, policy: removePolicy)
    } catch {
      endChange(id)
      throw fail(call, error)
    }
    if change.isWritten {
      endChange(id)
      end(call)
    }
    return change
  }

  /// Goes on with a remove that was not written at once.
  private func remove(_ id: SpoolID, _ change: ChangeUnderWay) async throws {
    do {
      if let ledger {
        _ = try await commitWithinQuota(
          ledger, id, nil, durability: change.durability, deadline: nil, isHeld: change.isHeld)
      } else {
        var attempt = change.attempt
        if attempt == .crowded {
          let key = id.uuid.inlineBytes
          attempt = try await storage.writeTogether(
            SingleChange(removing: key.span), to: family, policy: removePolicy)
        }
        if attempt != .written {
          var batch = Batch(reservingBytes: 32)
          batch.delete(family, key: id.bytes)
          batch.joinsGroupLane = change.isHeld
          try await storage.commit(
            batch, after: attempt, durability: change.durability, deadline: nil,
            policy: removePolicy)
        }
      }
    } catch {
      endChange(id)
      throw fail(change.call, error)
    }
    endChange(id)
    end(change.call)
  }

  private func checkSize(_ data: Bytes) throws {
    guard data.count <= settings.payloadByteLimit else {
      throw SpindleError(
        .tooLarge,
        "the message has \(data.count) bytes; the spool \(name) takes at most "
          + "\(settings.payloadByteLimit)")
    }
  }

  /// Stores a message, or removes it when `data` is nil, and counts the change.
  ///
  /// - Parameter isHeld: Whether a drain worker claims the id. It may remove the message between
  ///   the look and the write, so the write is made on the condition that what was seen is still
  ///   there, and the whole is done again when it is not.
  /// - Returns: The checksum header of the record stored, and its bytes.
  private func commitWithinQuota(
    _ ledger: SpoolLedger, _ id: SpoolID, _ data: Bytes?, durability: Durability,
    deadline: ContinuousClock.Instant?, isHeld: Bool
  ) async throws -> (header: [UInt8], bytes: Int) {
    let limit = SpoolCallLimit(
      policy: data == nil ? removePolicy : storePolicy, caller: deadline, storage.clock)
    guard try await ledger.lock(id, until: limit.instant) else { throw limit.error }
    defer { ledger.unlock(id) }
    // A claimed message is removed once, and what is stored after that is behind the id's lock:
    // the second attempt meets no other change. One more for an operator's hand.
    var attemptsLeft = 3
    let record: SpoolRecord.Encoded? = if let data { try await encoded(data) } else { nil }
    while true {
      attemptsLeft -= 1
      let look = try await look(at: id, passesDamage: data == nil && !isHeld)
      let before = look.found
      var batch = Batch(reservingBytes: (record?.body.count ?? 0) + 64)
      batch.joinsGroupLane = isHeld
      var header: [UInt8] = []
      if let record {
        header = stage(id, record, into: &batch)
      } else {
        batch.delete(family, key: id.bytes)
      }
      let bytes = batch.valueByteCount
      if isHeld {
        if let before {
          batch.requirePrefix(family, key: id.bytes, bytes: before.header)
        } else {
          batch.requireAbsent(family, key: id.bytes, owner: family.name)
        }
      }
      let change = SpoolLedger.Change(before: before?.bytes, after: data == nil ? nil : bytes)
      try ledger.reserve(change)
      do {
        try await limit.commit(batch, durability, to: storage)
      } catch {
        ledger.giveBack(change)
        guard isHeld, attemptsLeft > 0, let error = error as? SpindleError,
          error.kind == .conflict || error.kind == .uniqueViolation
        else { throw error }
        continue
      }
      ledger.settle(change)
      // Only now: it shuts the gate, and the removal is what helps.
      if let damage = look.damage { _ = storage.failure(damage, reading: family) }
      return (header, bytes)
    }
  }

  /// What stands under an id before a change that the quota counts.
  private struct Look: Sendable {
    var found: (bytes: Int, header: [UInt8])?
    /// Why that is not known; the gate was not told.
    var damage: RocksError?

    init(_ record: Span<UInt8>?) {
      guard let record else { return }
      let header = copyBytes(record.extracting(first: SpoolRecord.headerBytes))
      found = (record.count, header)
    }
  }

  /// Looks at what a change replaces or removes.
  ///
  /// - Parameter passesDamage: Whether a record that cannot be read is no error, as it is none for
  ///   a removal. It is not taken off the count then, which is too high by it until the spool is
  ///   opened again.
  private func look(at id: SpoolID, passesDamage: Bool) async throws -> Look {
    guard passesDamage else {
      return try await storage.withValueAnywhere(family, key: id.bytes) { Look($0) }
    }
    let key = id.uuid.inlineBytes
    switch try storage.cachedValue(family, key: key.span) {
    case .found(let value): return Look(value.bytes)
    case .absent: return Look(nil)
    case .elsewhere: break
    }
    return try await storage.blocking {
      do {
        let value = try self.storage.database.get(self.family.columnFamily, id.bytes.span)
        guard let value else { return Look(nil) }
        return Look(value.bytes)
      } catch let error as RocksError {
        guard error.kind == .corruption || error.kind == .ioError else {
          throw self.storage.failure(error, reading: self.family)
        }
        var look = Look(nil)
        look.damage = error
        return look
      }
    }
  }

  /// Removes a message of a spool that nobody has open, without opening it: that reads, and damage
  /// which is found so shuts the gate. The quota's next opening counts it.
  ///
  /// - Parameter looks: Whether to find out first if the message is there.
  /// - Returns: Whether it was; nil without a look, and where damage hides it.
  package static func remove(
    _ id: SpoolID, from family: StoreFamily, of store: Store, looks: Bool
  ) async throws -> Bool? {
    var wasThere: Bool?
    if looks {
      wasThere = try await store.blocking {
        do {
          return try store.database.get(family.columnFamily, id.bytes.span) != nil
        } catch let error as RocksError {
          guard error.kind == .corruption || error.kind == .ioError else {
            throw store.failure(error, reading: family)
          }
          return nil
        }
      }
    }
    var batch = Batch(reservingBytes: 32)
    batch.delete(family, key: id.bytes)
    try await store.commit(batch, durability: .buffered)
    return wasThere
  }

  /// Begins the count of a change that is part of somebody else's batch; nil without a quota.
  ///
  /// - Parameter recordBytes: Of the new record; nil for a removal.
  func beginCount(
    _ id: SpoolID, after recordBytes: Int?, until limit: SpoolCallLimit
  ) async throws -> SpoolCount? {
    guard let ledger else { return nil }
    guard try await ledger.lock(id, until: limit.instant) else { throw limit.error }
    do {
      let look = try await look(at: id, passesDamage: recordBytes == nil)
      let change = SpoolLedger.Change(before: look.found?.bytes, after: recordBytes)
      try ledger.reserve(change)
      let tellDamage = look.damage.map { [storage, family] damage in
        { _ = storage.failure(damage, reading: family) }
      }
      return SpoolCount(ledger: ledger, id: id, change: change, tellDamage: tellDamage)
    } catch {
      ledger.unlock(id)
      throw error
    }
  }

  // MARK: Drain workers

  /// Stores a message and claims it for the drain worker that will be handed it directly.
  ///
  /// - Returns: The record's checksum header, for ``stageRemoval(_:header:into:)``.
  package func storeClaimed(
    _ id: SpoolID, _ data: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws -> [UInt8] {
    guard claim(id) else { throw SpindleError(.conflict, "the message \(id) is being changed") }
    do {
      let call = try begin(.store)
      let isLate = lateStores.begin(id)
      do {
        try checkSize(data)
        let durability = forceSync || settings.flush ? Durability.synced : .buffered
        let header: [UInt8]
        if let ledger {
          let stored = try await commitWithinQuota(
            ledger, id, data, durability: durability, deadline: deadline, isHeld: false)
          noteClaimed(id, bytes: stored.bytes)
          header = stored.header
        } else {
          var batch = Batch(reservingBytes: data.count + 64)
          header = stage(id, try await encoded(data), into: &batch)
          try await storage.commit(
            batch, durability: durability, deadline: deadline, policy: storePolicy)
        }
        noteStored(id, isLate: isLate)
        end(call, bytes: data.count)
        return header
      } catch {
        noteNotStored(id, isLate: isLate)
        throw fail(call, error)
      }
    } catch {
      release(id)
      throw error
    }
  }

  /// Finds out whether a message is stored, and claims it.
  ///
  /// - Returns: nil when it is not there; else its checksum header, or nil in it when another
  ///   holds the message.
  package func claimStored(_ id: SpoolID) async throws -> [UInt8]?? {
    let record = try await storage.get(family, key: id.bytes)
    guard let record else { return nil }
    guard claim(id) else { return .some(nil) }
    noteClaimed(id, bytes: record.count)
    return Array(record.prefix(SpoolRecord.headerBytes))
  }

  /// Reads a claimed message with its checksum header, on a thread that may block; nil when it is
  /// gone.
  package func loadRecordBlocking(
    _ id: SpoolID
  ) throws -> (header: [UInt8], payload: Result<Bytes, DecodingFailure>)? {
    guard let record = try storage.getBlocking(family, key: id.bytes) else { return nil }
    noteClaimed(id, bytes: record.count)
    let header = Array(record.prefix(SpoolRecord.headerBytes))
    do throws(DecodingFailure) {
      return (header, .success(try SpoolRecord.payload(of: record.span)))
    } catch {
      return (header, .failure(error))
    }
  }

  /// Adds a store of a new id to a batch that somebody else commits. It is not counted for the
  /// quota. Compresses on the calling thread; for payloads above ``compressionByteLimit`` await
  /// ``encoded(_:)`` before.
  ///
  /// - Returns: The record's checksum header, which ``stageRemoval(_:header:into:)`` demands.
  @discardableResult
  package func stage(_ id: SpoolID, _ data: Bytes, into batch: inout Batch) -> [UInt8] {
    stage(id, SpoolRecord.encode(data, settings.compression), into: &batch)
  }

  /// The same for a record that is made already.
  @discardableResult
  package func stage(
    _ id: SpoolID, _ record: SpoolRecord.Encoded, into batch: inout Batch
  ) -> [UInt8] {
    let key = id.bytes
    batch.put(family, key: key.span, header: record.header.span, payload: record.body.span)
    return record.header
  }

  /// Adds the removal of a claimed message to a batch, on the condition that it is still the one
  /// that was read. Once the batch is committed the claim ends with ``releaseRemoved(_:)``.
  package func stageRemoval(_ id: SpoolID, header: [UInt8], into batch: inout Batch) {
    batch.requirePrefix(family, key: id.bytes, bytes: header)
    batch.delete(family, key: id.bytes)
  }

  // MARK: Claims

  /// Marks a message as held by a drain worker; false when another holds or changes it.
  package func claim(_ id: SpoolID) -> Bool {
    claims.withLock { claims in
      guard !claims.isChanging(id), claims.held[id] == nil else { return false }
      claims.held[id] = 0
      return true
    }
  }

  package func release(_ id: SpoolID) { claims.withLock { claims in claims.held[id] = nil } }

  /// Ends the claim of a message that the claimer's batch has removed, and counts it as gone.
  package func releaseRemoved(_ id: SpoolID) {
    let bytes = claims.withLock { claims in
      defer { claims.held[id] = nil }
      return claims.held[id]
    }
    if let bytes { ledger?.settle(SpoolLedger.Change(before: bytes, after: nil)) }
  }

  /// Keeps the size of a claimed message for ``releaseRemoved(_:)``.
  private func noteClaimed(_ id: SpoolID, bytes: Int) {
    guard ledger != nil else { return }
    claims.withLock { claims in if claims.held[id] != nil { claims.held[id] = bytes } }
  }

  /// Notes a store or remove that is under way.
  ///
  /// - Returns: Whether the id is claimed.
  func beginChange(_ id: SpoolID) -> Bool {
    claims.withLock { claims in
      claims.beginChange(id)
      return !claims.held.isEmpty && claims.held[id] != nil
    }
  }

  func endChange(_ id: SpoolID) {
    claims.withLock { claims in claims.endChange(id) }
  }
}
