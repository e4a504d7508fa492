internal import SpindleCore
internal import SpindleStore

/// Changes of a pair in one store: each is one batch over both spools.
///
/// Crash windows: before the batch is written nothing changed, afterwards everything has. A pair
/// that asked for a sync is acknowledged after the sync, which covers both halves as they are in
/// one log record; without it a power loss takes both or none.
struct PairInOneStore: PairChanges {
  let meta: RocksSpool
  let data: RocksSpool
  private var storage: Store { meta.storage }

  func store(
    _ id: SpoolID, meta metaBytes: Bytes, data dataBytes: Bytes, forceSync: Bool,
    deadline: ContinuousClock.Instant?
  ) async throws {
    try check(meta, metaBytes)
    try check(data, dataBytes)
    let metaRecord = try await meta.encoded(metaBytes)
    let dataRecord = try await data.encoded(dataBytes)
    var batch = Batch(reservingBytes: metaRecord.body.count + dataRecord.body.count + 128)
    meta.stage(id, metaRecord, into: &batch)
    data.stage(id, dataRecord, into: &batch)
    guard batch.byteCount <= storage.settings.valueByteLimit else {
      throw SpindleError(
        .tooLarge,
        "meta and data have \(metaBytes.count) and \(dataBytes.count) bytes; expected at most "
          + "\(storage.settings.valueByteLimit) together with their headers")
    }
    try await commit(
      id, batch,
      [Change(meta, metaRecord, of: metaBytes), Change(data, dataRecord, of: dataBytes)],
      syncs: forceSync || flushesStores, deadline: deadline)
  }

  func replaceMeta(
    _ id: SpoolID, _ metaBytes: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws {
    try check(meta, metaBytes)
    let record = try await meta.encoded(metaBytes)
    var batch = Batch(reservingBytes: record.body.count + 64)
    // Any value begins with nothing: this demands that there be one.
    batch.requirePrefix(meta.family, key: id.bytes, bytes: [])
    meta.stage(id, record, into: &batch)
    do {
      try await commit(
        id, batch, [Change(meta, record, of: metaBytes)], syncs: forceSync || flushesStores,
        deadline: deadline)
    } catch let error as SpindleError where error.kind == .conflict {
      throw SpindleError(.notFound, "no such key \(id)")
    }
  }

  func remove(_ id: SpoolID) async throws {
    var batch = Batch()
    batch.delete(meta.family, key: id.bytes)
    batch.delete(data.family, key: id.bytes)
    let syncs = [meta, data].contains { $0.settings.flush && $0.settings.syncsRemoves }
    try await commit(
      id, batch, [Change(removalFrom: meta), Change(removalFrom: data)], syncs: syncs, deadline: nil
    )
  }

  func quarantine(_ id: SpoolID, reason: String) async throws {
    try await holding(id) {
      let moves = try await meta.commitMove(
        syncs: flushesStores, counting: { [(meta, $0.meta), (data, $0.data)] }
      ) { batch in
        guard let meta = try meta.stageQuarantineBlocking(id, reason: reason, into: &batch) else {
          throw SpindleError(.notFound, "no such key \(id)")
        }
        let data = try data.stageQuarantineBlocking(id, reason: reason, into: &batch)
        return (meta: meta, data: data)
      }
      meta.tellQuarantine(of: id, reason: reason)
      if moves.data != nil { data.tellQuarantine(of: id, reason: reason) }
    }
  }

  func restoreQuarantined(_ id: SpoolID) async throws {
    try await holding(id) {
      try await notingStore(of: id, in: [meta, data]) {
        _ = try await meta.commitMove(
          syncs: flushesStores, counting: { [(meta, $0.meta), (data, $0.data)] }
        ) { batch in
          guard let meta = try meta.stageRestorationBlocking(id, into: &batch) else {
            throw SpindleError(.notFound, "no such key \(id) in quarantine")
          }
          return (meta: meta, data: try data.stageRestorationBlocking(id, into: &batch))
        }
      }
    }
  }

  func purgeQuarantined(_ id: SpoolID) async throws {
    try await holding(id) {
      _ = try await meta.commitMove(
        syncs: flushesStores, counting: { [(meta, $0.meta), (data, $0.data)] }
      ) { batch in
        guard let meta = try meta.stagePurgeBlocking(id, into: &batch) else {
          throw SpindleError(.notFound, "no such key \(id) in quarantine")
        }
        return (meta: meta, data: try data.stagePurgeBlocking(id, into: &batch))
      }
    }
  }

  // MARK: Helpers

  /// Whether a half asks for every store to be durable; they share the sync.
  private var flushesStores: Bool { meta.settings.flush || data.settings.flush }

  /// One half of a change: the new record, or none for a removal.
  private struct Change {
    let spool: RocksSpool
    /// Of the payload before compression; 0 for a removal.
    let payloadBytes: Int
    let recordBytes: Int?

    init(_ spool: RocksSpool, _ record: SpoolRecord.Encoded, of payload: Bytes) {
      self.spool = spool
      payloadBytes = payload.count
      recordBytes = record.header.count + record.body.count
    }

    init(removalFrom spool: RocksSpool) {
      self.spool = spool
      payloadBytes = 0
      recordBytes = nil
    }
  }

  /// Commits a change of one id under the rules for a change in one spool: both count it as a call,
  /// wait as the meta spool's settings say, and keep their quotas.
  private func commit(
    _ id: SpoolID, _ batch: Batch, _ changes: [Change], syncs: Bool,
    deadline: ContinuousClock.Instant?
  ) async throws {
    let isRemoval = changes.allSatisfy { $0.recordBytes == nil }
    let operation: SpoolOperation = isRemoval ? .remove : .store
    let metaCall = try meta.begin(operation)
    let dataCall: SpoolCall
    do { dataCall = try data.begin(operation) } catch { throw meta.fail(metaCall, error) }
    do {
      let stores = changes.filter { $0.recordBytes != nil }.map(\.spool)
      try await notingStore(of: id, in: stores) {
        try await commitCounted(
          id, batch, changes, syncs: syncs, deadline: deadline,
          policy: isRemoval ? meta.removePolicy : meta.storePolicy)
      }
      meta.end(metaCall, bytes: changes.first { $0.spool === meta }?.payloadBytes ?? 0)
      data.end(dataCall, bytes: changes.first { $0.spool === data }?.payloadBytes ?? 0)
    } catch {
      _ = data.fail(dataCall, error)
      throw meta.fail(metaCall, error)
    }
  }

  /// Runs what stores a message in each of the spools.
  private func notingStore(
    of id: SpoolID, in spools: [RocksSpool], _ body: () async throws -> Void
  ) async throws {
    let noted = spools.map { (spool: $0, isLate: $0.lateStores.begin(id)) }
    do {
      try await body()
      for (spool, isLate) in noted { spool.noteStored(id, isLate: isLate) }
    } catch {
      for (spool, isLate) in noted { spool.noteNotStored(id, isLate: isLate) }
      throw error
    }
  }

  private func commitCounted(
    _ id: SpoolID, _ batch: Batch, _ changes: [Change], syncs: Bool,
    deadline: ContinuousClock.Instant?, policy: WritePolicy
  ) async throws {
    var batch = batch
    let isMetaClaimed = meta.beginChange(id)
    let isDataClaimed = data.beginChange(id)
    defer {
      meta.endChange(id)
      data.endChange(id)
    }
    batch.joinsGroupLane = isMetaClaimed || isDataClaimed
    let limit = SpoolCallLimit(policy: policy, caller: deadline, storage.clock)
    var counts: [SpoolCount] = []
    do {
      // In the order of their names, so that two pairs over the same spools cannot wait for each
      // other.
      for change in changes.sorted(by: { $0.spool.name < $1.spool.name }) {
        // Who holds the message may change its size before this is written.
        if batch.joinsGroupLane, change.spool.ledger != nil {
          throw change.spool.heldByAnother(id)
        }
        let count = try await change.spool.beginCount(
          id, after: change.recordBytes, until: limit)
        if let count { counts.append(count) }
      }
      try await limit.commit(batch, syncs ? .synced : .buffered, to: storage)
    } catch {
      for count in counts { count.giveBack() }
      throw error
    }
    for count in counts { count.settle() }
  }

  private func check(_ spool: RocksSpool, _ payload: Bytes) throws {
    try spool.checkOpen()
    guard payload.count <= spool.settings.payloadByteLimit else {
      throw SpindleError(
        .tooLarge,
        "the half for spool \(spool.name) has \(payload.count) bytes; expected at most "
          + "\(spool.settings.payloadByteLimit)")
    }
  }

  /// Runs a move while this call holds both halves; see ``RocksSpool/quarantine(_:reason:)``.
  private func holding(_ id: SpoolID, _ body: () async throws -> Void) async throws {
    try await meta.working {
      // Errors are counted for the first.
      try data.enter()
      defer { data.leave() }
      guard meta.claim(id) else { throw meta.heldByAnother(id) }
      defer { meta.release(id) }
      guard data.claim(id) else { throw data.heldByAnother(id) }
      defer { data.release(id) }
      try await body()
    }
  }
}
