public import SpindleCore
internal import SpindleRocks
internal import SpindleStore
internal import Synchronization

extension RocksSpool {
  /// Sends every message made before `startTime` that the spool holds now, and besides every one
  /// made at or after it that was there when the spool was opened: a clock that was set back hides
  /// nothing. The second holds as long as the view of the opening is kept, see
  /// ``SpoolSettings/leftoversDuration``.
  ///
  /// Returns at once. Messages stored and removed meanwhile may or may not be given, with one
  /// exception: what was stored at `startTime` or later under an id more than a second old, such
  /// as a derived one, is left out, as whoever stored it has it. Such a store is known to the
  /// millisecond: one in the millisecond of `startTime` counts as later, also when it was before.
  /// Of such messages the last 32,768 are known. For one that is being stored the walk waits at its
  /// end, and gives what is there where the store failed. Damage shuts the spool's gate, and the
  /// walk goes on behind it.
  ///
  /// - Parameters:
  ///   - channel: Bounds the memory. While it is full for more than 10 s, the walk holds nothing
  ///     of the store, but for what damage has it hold, see ``SpoolLostRange``.
  ///   - startTime: Messages of this time are left out too. It has a resolution of 100 ns; of ids
  ///     of version 7, which have one of a millisecond, the whole millisecond is left out.
  /// - Throws: ``SpindleError``: `closed`, or `overloaded` when too many walks are under way.
  /// - Complexity: O(bytes stored). One thread.
  public func enumerate(
    into channel: SpoolEntryChannel, startTime: SpoolInstant
  ) throws -> SpoolEnumeration {
    try startWalk(
      into: channel, snapshot: nil,
      selection: SpoolSelection(startTime: startTime, opening: upkeep.opening.snapshot))
  }

  /// Sends exactly what the last run left: every message that was there when the spool was opened,
  /// as it was then, whatever was stored or removed since. No clock is involved.
  ///
  /// When the reader has met the end of the channel the view of the opening is given back, so this
  /// can be asked once; a walk that failed, or whose reader left before, may be asked again. The
  /// repeat leaves out what was removed since: the reader of the walk before has done it.
  ///
  /// - Throws: ``SpindleError``: `unavailable` with the reason `leftovers_released` when the view
  ///   was given back, with `read_only` for a reader of the store; `conflict` with the reason
  ///   `in_use` while another such walk is under way or its entries are not all taken; and as
  ///   ``enumerate(into:startTime:)``.
  /// - Complexity: O(bytes left). One thread.
  public func enumerateLeftovers(into channel: SpoolEntryChannel) throws -> SpoolEnumeration {
    try checkOpen()
    guard storage.view == .owned else {
      throw SpindleError(
        .unavailable, "the spool \(name) is open for reading only: no run of its own has begun",
        reason: "read_only")
    }
    let snapshot: Snapshot
    var selection = SpoolSelection()
    switch upkeep.opening.beginListing() {
    case .begun(let view, let again):
      snapshot = view
      selection.leavesOutRemoved = again
    case .inUse:
      throw SpindleError(
        .conflict,
        "what the last run left in the spool \(name) is being listed already; expected its reader "
          + "to take everything or to leave",
        reason: "in_use")
    case .released:
      throw SpindleError(
        .unavailable,
        "what the last run left in the spool \(name) can be listed no more: it was listed to the "
          + "end, or not within \(settings.leftoversDuration) of the opening",
        reason: "leftovers_released")
    }
    do {
      return try startWalk(into: channel, snapshot: snapshot, selection: selection)
    } catch {
      upkeep.opening.endListing(wasTaken: false)
      throw error
    }
  }

  private func startWalk(
    into channel: SpoolEntryChannel, snapshot: Snapshot?, selection: SpoolSelection
  ) throws -> SpoolEnumeration {
    // The shutdown waits for this call, and so sees the walk that it starts.
    try enter()
    defer { leave() }
    let handle = SpoolEnumeration()
    // Not the channel itself: the walk ends when its reader has let go of that.
    let queue = channel.queue
    try upkeep.start("spindle-walk") { [self] in
      var delivery = SpoolDelivery(spool: self, queue: queue, handle: handle, selection: selection)
      let outcome = delivery.run(snapshot: snapshot)
      if snapshot != nil {
        let opening = upkeep.opening
        // The walk's end is not the end: what waits in the channel may never be taken, and until it
        // is nobody else may list it.
        let isWhole = outcome.error == nil
        queue.whenEnded { wasGiven in opening.endListing(wasTaken: wasGiven && isWhole) }
      }
      // The handle first: who has met the end of the channel finds the outcome there.
      handle.finish(outcome)
      queue.finish()
    }
    return handle
  }

  /// Why a walk has to end; nil while spool and store are open.
  func stopReason() -> SpindleError? {
    guard closed.load(ordering: .acquiring) || storage.isClosed else { return nil }
    return SpindleError(.closed, "the walk of spool \(name) ended early: the spool was closed")
  }

  /// The same for work that its caller may cancel.
  func stopReason(_ flag: StopFlag) -> (any Error)? {
    flag.isSet ? CancellationError() : stopReason()
  }

  /// Calls the body with every id, in key order, on a thread of its own. Messages are not decoded,
  /// so a damaged one is given as any; the walk goes on behind what cannot be read.
  ///
  /// - Parameter body: Returns whether to go on.
  /// - Throws: the first damage that the walk met, when all the rest was given.
  package func forEachID(_ body: @escaping @Sendable (SpoolID) -> Bool) async throws {
    try await working {
      let damage = try await upkeep.run("spindle-list") { flag in
        var walk = SpoolWalk(self.storage, self.family) { self.stopReason(flag) }
        try walk.run { key, _ in
          guard let id = SpoolID(bytes: key) else { return .next }
          return body(id) ? .next : .stop
        }
        return walk.damage
      }
      if let damage { throw damage }
    }
  }

  /// The ids from `lower` on, at most `limit`, in key order. A bound keeps the walk from passing
  /// the tombstones of what was drained before.
  package func idsBlocking(from lower: SpoolID?, limit: Int) throws -> [SpoolID] {
    try checkOpen()
    var ids: [SpoolID] = []
    try storage.scan(family, IterationOptions(lowerBound: lower?.bytes)) { key, _ in
      if let id = SpoolID(bytes: key) { ids.append(id) }
      return ids.count < limit
    }
    return ids
  }

  /// The same for callers that must not block.
  package func ids(from lower: SpoolID?, limit: Int) async throws -> [SpoolID] {
    try await storage.blocking { try self.idsBlocking(from: lower, limit: limit) }
  }
}

/// Which messages a walk gives.
struct SpoolSelection: Sendable {
  /// Messages made at this time or later are left out; nil gives all.
  var startTime: SpoolInstant?
  /// Those in this view are given all the same.
  var opening: Snapshot?
  /// Whether messages are left out that the walk's view has and the present has not.
  var leavesOutRemoved = false

  /// Whether the id's own time puts it before the start.
  ///
  /// Version 7 says no more than the millisecond, so one of the start's millisecond may have been
  /// made after it: it is left out, as if it were.
  func isBefore(_ id: SpoolID) -> Bool {
    guard let startTime else { return true }
    guard id.uuid.version == 7, startTime.ticks > 0 else { return id.created < startTime }
    return id.uuid.high >> 16 < UInt64(startTime.ticks) / 10_000
  }
}
