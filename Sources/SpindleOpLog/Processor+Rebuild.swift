internal import SpindleCore
internal import SpindleRocks
internal import SpindleStore
internal import Synchronization

extension Processor where T: HistoryTracker<R.Op> {
  /// Makes the state anew from the rows, as a reducer needs that has learned to do its work
  /// otherwise. Rows, cursors and clock stay as they are; there are no events. What followed from
  /// an entry that was expunged since is gone afterwards.
  ///
  /// Entries of one peer are applied in their order. One that the reducer blocks waits for those of
  /// other peers, as it did when it came.
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
  ///   `conflict`, reason `blocked`, where the reducer refuses an entry whatever was applied
  ///   before; what the reducer and the store throw.
  /// - Complexity: O(bytes of the log and the state); the log is read twice. Commits are of
  ///   ``LogPage/entryLimit`` entries or ``LogPage/byteLimit`` bytes and the last entry's writes at
  ///   most.
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
        next += UInt64(
          try await page(of: peer, from: next, to: end, LogPage.entryLimit, in: history).count)
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

  // MARK: Replay

  /// What is still to be applied of a peer's log.
  private struct Rest {
    let peer: PeerID
    var next: UInt64 = 0
    let end: UInt64
  }

  /// A commit in the making.
  private struct Replay {
    var pending: ReducerBatch
    var index: WriteRecordIndex
    /// Entries applied since the last commit.
    var entryCount = 0
    /// Entries applied.
    var count: UInt64 = 0

    init(_ data: StoreFamily) {
      pending = ReducerBatch(.upkeep, family: data)
      index = WriteRecordIndex(family: data.id)
    }

    var isFull: Bool {
      entryCount >= LogPage.entryLimit || pending.batch.byteCount >= LogPage.byteLimit
    }

    mutating func takeBatch() -> Batch {
      var batch = Batch.upkeep
      swap(&batch, &pending.batch)
      index.removeAll()
      entryCount = 0
      return batch
    }
  }

  /// Applies the peers' logs one after the other, each as far as the reducer takes it, and round
  /// again while that gets on.
  private func replay(
    _ cursors: PeerCursors, of history: any HistoryTracker<R.Op>
  ) async throws -> UInt64 {
    var replay = Replay(data)
    var rests = cursors.sorted.map { Rest(peer: $0.peer, end: $0.next) }
    while !rests.isEmpty {
      var refusal: SpindleError?
      var getsOn = false
      for place in rests.indices {
        let start = rests[place].next
        refusal = try await advance(&rests[place], of: history, &replay) ?? refusal
        if rests[place].next > start { getsOn = true }
      }
      if let refusal, !getsOn { throw refusal }
      rests.removeAll { $0.next == $0.end }
    }
    try await store.commit(replay.takeBatch(), durability: .buffered)
    return replay.count
  }

  /// Applies a peer's log up to its end or to an entry that the reducer blocks.
  ///
  /// - Returns: The refusal.
  private func advance(
    _ rest: inout Rest, of history: any HistoryTracker<R.Op>, _ replay: inout Replay
  ) async throws -> SpindleError? {
    // A peer that waits for others may get on by a single entry: first a small page.
    var limit = 16
    while rest.next < rest.end {
      let page = try await page(of: rest.peer, from: rest.next, to: rest.end, limit, in: history)
      for (index, entry) in page {
        if case .logEntry(let entry) = entry,
          let reason = try await apply(entry, rest.peer, index, &replay)
        {
          return SpindleError(
            .conflict,
            "the reducer refuses index \(index) of peer \(rest.peer), which is in the log: "
              + reason, reason: "blocked")
        }
        rest.next = index + 1
        if replay.isFull { try await store.commit(replay.takeBatch(), durability: .buffered) }
      }
      limit = LogPage.entryLimit
    }
    return nil
  }

  /// Applies an entry once more.
  ///
  /// - Returns: Why the reducer blocks it; nil when it is done.
  private func apply(
    _ entry: LogEntry<R.Op>, _ peer: PeerID, _ index: UInt64, _ replay: inout Replay
  ) async throws -> String? {
    let context = OpContext(
      peer: peer, index: index, timestamp: entry.timestamp, serverUser: entry.serverUser)
    replay.index.extend(over: replay.pending.batch.record)
    let outcome = try await reducer.prepare(
      entry.op, context,
      ReducerView(
        store, data,
        pending: ReducerView.Pending(index: replay.index, record: replay.pending.batch.record)))
    switch outcome {
    case .proceed(let state):
      _ = try reducer.apply(entry.op, context, state, into: &replay.pending)
      replay.count += 1
      replay.entryCount += 1
    case .skip: break
    case .block(let reason, _): return reason
    }
    return nil
  }

  /// Some of a peer's entries from an index on, without a hole.
  ///
  /// - Throws: ``SpindleError`` with `corruption`, reason `lost_entry`, for one.
  private func page(
    of peer: PeerID, from start: UInt64, to end: UInt64, _ limit: Int,
    in history: any HistoryTracker<R.Op>
  ) async throws -> [(index: UInt64, entry: DecodedEntry<R.Op>)] {
    var page = try await history.readPage(
      peer: peer, from: start, limit: limit, byteLimit: LogPage.byteLimit)
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
