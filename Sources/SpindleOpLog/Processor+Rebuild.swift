internal import SpindleCore
internal import SpindleRocks
internal import SpindleStore
internal import Synchronization

extension Processor where T: HistoryTracker<R.Op> {
  /// Makes the state anew from the rows, as a reducer needs that has learned to do its work
  /// otherwise. Rows, cursors and clock stay as they are; there are no events. What followed from
  /// an entry that was expunged since is gone afterwards.
  ///
  /// The order in which the log took the entries of several peers is not stored. So they are
  /// applied in the order of their timestamps, then of the peers' bytes, and those of one peer in
  /// their own. Whoever made an entry had a clock above all that it knew of. An entry that the
  /// reducer blocks all the same waits, and those of its peer behind it, and is tried again after
  /// each of others. So a reducer whose refusals depend on an order that no clock tells may refuse
  /// an entry that it once took.
  ///
  /// Writing calls wait until it is done; reads see a state that is not whole. Once it has its turn
  /// it goes on whoever cancels the call. After a failure that leaves half a state, writing calls
  /// and ``snapshot()`` are refused with `unavailable`, reason `rebuild_unfinished`, until this
  /// call or the next open completes the work.
  ///
  /// Crash windows. All rows are read before anything is changed. A mark is committed then, on the
  /// condition that no peer has a floor, and removed last; while it is there no floor can rise. A
  /// crash in between leaves the mark and any part of the old state or of the new one, and the next
  /// open begins the work again before anything is written.
  ///
  /// - Returns: How many entries were applied.
  /// - Throws: ``SpindleError``: `conflict` with the reason `compacted` for a log whose first rows
  ///   were trimmed away or came as a snapshot, `corruption` (reason `lost_entry` for a hole) or
  ///   `unsupportedFormat` for one with rows that cannot be read, all before anything is changed;
  ///   `conflict`, reason `blocked`, where the reducer still refuses an entry when all that does
  ///   not wait was applied; what the reducer and the store throw.
  /// - Complexity: O(bytes of the log and the state); the log is read twice, and what is large in
  ///   it more often. An entry that waits costs a call of the reducer for each that is applied
  ///   meanwhile, and where it is large or the last that was read ahead a read, too. Commits are of
  ///   ``LogPage/entryLimit`` entries or ``LogPage/byteLimit`` bytes and the last entry's writes at
  ///   most. About 16 MiB of entries are in memory, and one that is larger.
  @discardableResult
  public func rebuildState() async throws -> UInt64 {
    try await exclusively { [self] in
      // Half of it is no state, so it is no caller's to cancel.
      try await Task { try await rebuildAndTell(from: tracker) }.value
    }
  }
}

extension Processor {
  /// Does what a crash interrupted, before anybody reads or writes.
  func completeRebuild() async throws {
    let log = try await store.family("oplog:" + prefix)
    guard try await store.get(log, key: OpLogKeys.rebuildingKey) != nil else { return }
    guard let history = tracker as? any HistoryTracker<R.Op> else {
      throw SpindleError(
        .invalidArgument,
        "the state of the op-log \(prefix) is being made anew, and its tracker gives no entries "
          + "back"
      )
    }
    _ = try await rebuild(from: history)
  }

  /// Refuses work over half a state.
  func requireWholeState() throws {
    guard isStateWhole.load(ordering: .relaxed) else {
      throw LogTrackerError.unfinishedRebuild(prefix).spindleError
    }
  }

  private func rebuildAndTell(from history: any HistoryTracker<R.Op>) async throws -> UInt64 {
    do {
      let count = try await rebuild(from: history)
      isStateWhole.store(true, ordering: .relaxed)
      return count
    } catch {
      isStateWhole.store(await isUnmarked(), ordering: .relaxed)
      throw error
    }
  }

  /// Whether the state is certainly whole: a commit that failed may have stored the mark all the
  /// same.
  private func isUnmarked() async -> Bool {
    do {
      let log = try await store.family("oplog:" + prefix)
      return try await store.get(log, key: OpLogKeys.rebuildingKey) == nil
    } catch {
      return false
    }
  }

  private func rebuild(from history: any HistoryTracker<R.Op>) async throws -> UInt64 {
    let cursors = try await history.allCursors()
    for (peer, _) in cursors.sorted {
      let floor = try await history.floor(of: peer)
      guard floor == 0 else { throw incomplete("peer \(peer) below index \(floor)") }
    }
    for (peer, end) in cursors.sorted {
      var next: UInt64 = 0
      while next < end {
        next += UInt64(try await page(of: peer, from: next, to: end, in: history).count)
      }
    }
    let log = try await store.family("oplog:" + prefix)
    try await setMark(in: log, cursors)
    try await removeState()
    let count = try await replay(cursors, of: history)
    var end = Batch()
    end.delete(log, key: OpLogKeys.rebuildingKey)
    try await store.commit(end, durability: .buffered)
    return count
  }

  private func incomplete(_ what: String) -> SpindleError {
    SpindleError(
      .conflict,
      "the state of the op-log \(prefix) cannot be made anew: entries of \(what) are gone",
      reason: "compacted")
  }

  /// Keeps floors from rising until the mark is removed, unless one has risen since it was looked
  /// at.
  private func setMark(in log: StoreFamily, _ cursors: PeerCursors) async throws {
    var mark = Batch()
    for (peer, _) in cursors.sorted {
      mark.requireAbsent(log, key: OpLogKeys.floor(peer), owner: "floor")
    }
    mark.put(log, key: OpLogKeys.rebuildingKey, value: [])
    do {
      try await store.commit(mark, durability: .buffered)
    } catch let error as SpindleError where error.kind == .uniqueViolation {
      throw incomplete("a peer whose log was trimmed meanwhile")
    }
  }

  private func removeState() async throws {
    let (store, data) = (store, data)
    var last: Bytes? = []
    while let lower = last {
      let (batch, end) = try await store.blocking {
        var batch = Batch.upkeep
        var end: Bytes?
        // From the last key on: what was removed before costs a walk each time otherwise.
        try store.scan(data, IterationOptions(lowerBound: lower)) { key, _ in
          batch.delete(data, key: copyBytes(key))
          if batch.byteCount >= OpLogSpace.bytesPerBatch { end = copyBytes(key) }
          return end == nil
        }
        return (batch, end)
      }
      if !batch.isEmpty { try await store.commit(batch, durability: .buffered) }
      last = end
    }
  }

  /// Some of a peer's entries from an index on, without a hole.
  ///
  /// - Throws: ``SpindleError`` with `corruption`, reason `lost_entry`, for one.
  func page(
    of peer: PeerID, from start: UInt64, to end: UInt64, limit: Int = LogPage.entryLimit,
    byteLimit: Int = LogPage.byteLimit, in history: any HistoryTracker<R.Op>
  ) async throws -> [(index: UInt64, entry: DecodedEntry<R.Op>)] {
    var page = try await history.readPage(
      peer: peer, from: start, limit: limit, byteLimit: byteLimit)
    while let last = page.last, last.index >= end { page.removeLast() }
    var next = start
    for place in page.indices where page[place].index == next { next += 1 }
    // What came back in another order has a hole where it begins.
    guard next > start, next - start == UInt64(page.count) else {
      throw LogTrackerError.lostEntry(peer: peer, index: next).spindleError
    }
    return page
  }
}
