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
    var batch = Batch(reservingBytes: metaBytes.count + dataBytes.count + 128)
    meta.stage(id, metaBytes, into: &batch)
    data.stage(id, dataBytes, into: &batch)
    guard batch.byteCount <= storage.settings.valueByteLimit else {
      throw SpindleError(
        .tooLarge,
        "meta and data have \(metaBytes.count) and \(dataBytes.count) bytes; expected at most "
          + "\(storage.settings.valueByteLimit) together with their headers")
    }
    try await commit(id, batch, syncs: forceSync || flushesStores, deadline: deadline)
  }

  func replaceMeta(
    _ id: SpoolID, _ metaBytes: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws {
    try check(meta, metaBytes)
    var batch = Batch(reservingBytes: metaBytes.count + 64)
    // Any value begins with nothing: this demands that there be one.
    batch.requirePrefix(meta.family, key: id.bytes, bytes: [])
    meta.stage(id, metaBytes, into: &batch)
    do {
      try await commit(id, batch, syncs: forceSync || flushesStores, deadline: deadline)
    } catch let error as SpindleError where error.kind == .conflict {
      throw SpindleError(.notFound, "no such key \(id)")
    }
  }

  func remove(_ id: SpoolID) async throws {
    try meta.checkOpen()
    try data.checkOpen()
    var batch = Batch()
    batch.delete(meta.family, key: id.bytes)
    batch.delete(data.family, key: id.bytes)
    let syncs = [meta, data].contains { $0.settings.flush && $0.settings.syncsRemoves }
    try await commit(id, batch, syncs: syncs, deadline: nil)
  }

  func quarantine(_ id: SpoolID, reason: String) async throws {
    try await holding(id) {
      let bytes = try await meta.commitMove { batch in
        guard let meta = try meta.stageQuarantineBlocking(id, reason: reason, into: &batch) else {
          throw SpindleError(.notFound, "no such key \(id)")
        }
        let data = try data.stageQuarantineBlocking(id, reason: reason, into: &batch)
        return (meta: meta, data: data)
      }
      meta.tellQuarantine(of: id, reason: reason)
      if bytes.data != nil { data.tellQuarantine(of: id, reason: reason) }
    }
  }

  func restoreQuarantined(_ id: SpoolID) async throws {
    try await holding(id) {
      _ = try await meta.commitMove { batch in
        guard let meta = try meta.stageRestorationBlocking(id, into: &batch) else {
          throw SpindleError(.notFound, "no such key \(id) in quarantine")
        }
        return (meta: meta, data: try data.stageRestorationBlocking(id, into: &batch))
      }
    }
  }

  func purgeQuarantined(_ id: SpoolID) async throws {
    try await holding(id) {
      try await meta.commitMove { batch in
        guard try meta.stagePurgeBlocking(id, into: &batch) != nil else {
          throw SpindleError(.notFound, "no such key \(id) in quarantine")
        }
        _ = try data.stagePurgeBlocking(id, into: &batch)
      }
    }
  }

  // MARK: Helpers

  /// Whether a half asks for every store to be durable; they share the sync.
  private var flushesStores: Bool { meta.settings.flush || data.settings.flush }

  /// Commits a change of one id in both spools under the rules for a change in one.
  private func commit(
    _ id: SpoolID, _ batch: Batch, syncs: Bool, deadline: ContinuousClock.Instant?
  ) async throws {
    var batch = batch
    let isMetaClaimed = meta.beginChange(id)
    let isDataClaimed = data.beginChange(id)
    defer {
      meta.endChange(id)
      data.endChange(id)
    }
    batch.joinsGroupLane = isMetaClaimed || isDataClaimed
    try await storage.commit(batch, durability: syncs ? .synced : .buffered, deadline: deadline)
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
    try meta.checkOpen()
    try data.checkOpen()
    guard meta.claim(id) else { throw meta.heldByAnother(id) }
    defer { meta.release(id) }
    guard data.claim(id) else { throw data.heldByAnother(id) }
    defer { data.release(id) }
    try await body()
  }
}
