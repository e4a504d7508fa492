internal import SpindleCore
internal import Synchronization

/// Changes of a pair whose halves share no batch.
///
/// The meta is the commit record. It is written last and taken away first, so that a crash leaves
/// a body without meta and never a meta without body:
///
/// | crash after | state | who ends it |
/// |---|---|---|
/// | store: body | body alone; nobody was told of it | the sweep removes it |
/// | remove: meta | body alone; the message is not delivered again | the sweep removes it |
/// | quarantine: meta | meta in quarantine, body in the spool | a second quarantine, or restore |
/// | restore: body | the same | the same |
/// | purge: body | meta in quarantine, no body | a second purge |
///
/// The sweep keeps a body whose meta is in quarantine. Spools with logs of their own lose their
/// unsynced ends to a power cut independently: without a sync a meta may survive its body then.
struct PairApart: PairChanges {
  let halves: PairHalves
  let rollbacks: PairRollbacks

  func store(
    _ id: SpoolID, meta: Bytes, data: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws {
    do {
      try await halves.data.store(id, data, forceSync: forceSync, deadline: deadline)
    } catch {
      // Written and not synced, it may be there.
      if Self.leavesDoubt(error) { rollbacks.add(id) }
      throw error
    }
    do {
      try await halves.meta.store(id, meta, forceSync: forceSync, deadline: deadline)
    } catch {
      await removeOrphan(id)
      throw error
    }
  }

  func replaceMeta(
    _ id: SpoolID, _ meta: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws {
    // Nobody removes it between this and the store: the caller has the id's turn.
    _ = try await halves.meta.load(id)
    try await halves.meta.store(id, meta, forceSync: forceSync, deadline: deadline)
  }

  func remove(_ id: SpoolID) async throws {
    let isThere: Bool
    do {
      isThere = try await halves.hasMeta(id)
    } catch let error as SpindleError where error.kind == .io {
      // A meta that cannot be read can be removed. Whether the body goes with it is judged then.
      try await halves.meta.remove(id)
      return await removeOrphan(id)
    }
    guard isThere else {
      // A body that is there may belong to a meta in quarantine.
      await removeOrphan(id)
      return try await halves.meta.remove(id)
    }
    try await halves.meta.remove(id)
    do {
      try await ignoringAbsence { try await halves.data.remove(id) }
    } catch {
      rollbacks.add(id)
    }
  }

  func quarantine(_ id: SpoolID, reason: String) async throws {
    let (meta, data) = try halves.quarantines()
    var hasMovedMeta = true
    do {
      try await meta.quarantine(id, reason: reason)
    } catch let error as SpindleError where error.kind == .notFound {
      // An earlier call may have ended between the halves.
      guard try await meta.isQuarantined(id) else { throw error }
      hasMovedMeta = false
    }
    do {
      try await ignoringAbsence { try await data.quarantine(id, reason: reason) }
    } catch {
      // Where the body did not go, such as for want of room, the message stays where it was. Where
      // that fails too it is as after a crash between the halves.
      if hasMovedMeta { await restoreMeta(id, meta) }
      throw error
    }
  }

  func restoreQuarantined(_ id: SpoolID) async throws {
    let (meta, data) = try halves.quarantines()
    guard try await meta.isQuarantined(id) else { throw Self.notQuarantined(id) }
    guard try await !halves.hasMeta(id) else {
      throw SpindleError(.conflict, "there is a message \(id) by now")
    }
    // Absent from the quarantine is a body that an earlier call moved, or that never was.
    try await ignoringAbsence { try await data.restoreQuarantined(id) }
    try await meta.restoreQuarantined(id)
  }

  func purgeQuarantined(_ id: SpoolID) async throws {
    let (meta, data) = try halves.quarantines()
    guard try await meta.isQuarantined(id) else { throw Self.notQuarantined(id) }
    try await ignoringAbsence { try await data.purgeQuarantined(id) }
    try await meta.purgeQuarantined(id)
    // The body that an interrupted quarantine or restore left in the spool.
    await removeOrphan(id)
  }

  // MARK: Helpers

  /// Removes a body that has no meta, now or later. A cancelled caller stops no work that takes
  /// something back.
  private func removeOrphan(_ id: SpoolID) async {
    await Task { [halves, rollbacks] in
      do { _ = try await halves.removeOrphan(id) } catch { rollbacks.add(id) }
    }.value
  }

  /// Takes a meta back from quarantine whose body is still in its spool; cancelled or not.
  private func restoreMeta(_ id: SpoolID, _ meta: any QuarantiningSpool) async {
    await Task { if await hasBody(id) { try? await meta.restoreQuarantined(id) } }.value
  }

  /// Whether a body is known to be in its spool, damaged or not.
  private func hasBody(_ id: SpoolID) async -> Bool {
    do {
      _ = try await halves.data.load(id)
      return true
    } catch {
      return (error as? SpindleError)?.kind == .corruption
    }
  }

  private func ignoringAbsence(_ body: () async throws -> Void) async throws {
    do {
      try await body()
    } catch let error as SpindleError where error.kind == .notFound {}
  }

  /// Whether something may have been stored by a call that failed.
  private static func leavesDoubt(_ error: any Error) -> Bool {
    guard let error = error as? SpindleError else { return !(error is CancellationError) }
    return error.kind == .unavailable || error.kind == .io
  }

  private static func notQuarantined(_ id: SpoolID) -> SpindleError {
    SpindleError(.notFound, "no such key \(id) in quarantine")
  }
}

/// The two spools of a pair, and what one says of the other.
struct PairHalves: Sendable {
  let meta: any Spool
  let data: any Spool

  /// Both as spools with quarantines.
  func quarantines() throws -> (meta: any QuarantiningSpool, data: any QuarantiningSpool) {
    guard let meta = meta as? any QuarantiningSpool, let data = data as? any QuarantiningSpool
    else {
      throw SpindleError(
        .invalidArgument, "a spool of the pair has no quarantine; expected two that have one")
    }
    return (meta, data)
  }

  /// Whether the meta of a message is in its spool, damaged or not.
  func hasMeta(_ id: SpoolID) async throws -> Bool {
    do {
      _ = try await meta.load(id)
      return true
    } catch let error as SpindleError where error.kind == .notFound {
      return false
    } catch let error as SpindleError where error.kind == .corruption {
      return true
    }
  }

  /// Whether a body under this id belongs to no message, not even to one in quarantine.
  func isOrphan(_ id: SpoolID) async throws -> Bool {
    if try await hasMeta(id) { return false }
    guard let quarantine = meta as? any QuarantiningSpool else { return true }
    return try await !quarantine.isQuarantined(id)
  }

  /// Removes a body that belongs to no message. The caller has the id's turn.
  ///
  /// - Returns: false when it does belong to one.
  func removeOrphan(_ id: SpoolID) async throws -> Bool {
    guard try await isOrphan(id) else { return false }
    do {
      try await data.remove(id)
    } catch let error as SpindleError where error.kind == .notFound {}
    return true
  }
}

/// Ids whose body may stand without meta since a removal failed, or the look for the meta. They are
/// looked at again; nothing is removed because it is in this list.
final class PairRollbacks: Sendable {
  /// The most ids kept: 16 KiB, and as many as fail at once while a spool refuses. What does not
  /// fit is left to a sweep of everything.
  static let limit = 1_024

  private struct State {
    var ids: [SpoolID] = []
    var hasOverflowed = false
  }
  private let state = Mutex(State())

  var count: Int { state.withLock { $0.ids.count } }

  func add(_ id: SpoolID) {
    state.withLock { state in
      if state.ids.contains(id) { return }
      if state.ids.count < Self.limit { state.ids.append(id) } else { state.hasOverflowed = true }
    }
  }

  /// Takes all ids out.
  func take() -> [SpoolID] {
    state.withLock { state in
      defer { state.ids = [] }
      return state.ids
    }
  }

  /// Whether an id did not fit since the last call.
  func takeOverflow() -> Bool {
    state.withLock { state in
      defer { state.hasOverflowed = false }
      return state.hasOverflowed
    }
  }
}
