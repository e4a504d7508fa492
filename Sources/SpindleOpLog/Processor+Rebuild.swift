internal import SpindleCore
internal import SpindleRocks
internal import SpindleStore

extension Processor where T: HistoryTracker<R.Op> {
  /// Makes the state anew from the rows, as a reducer needs that has learned to do its work
  /// otherwise. Rows, cursors and clock stay as they are; there are no events. What followed from
  /// an entry that was expunged since is gone afterwards.
  ///
  /// Writing calls wait until it is done; reads see a state that is not whole.
  ///
  /// Crash windows. A mark is committed first and removed last. A crash in between leaves the mark,
  /// and the next open begins the work again before anything is written.
  ///
  /// - Returns: How many entries were applied.
  /// - Throws: ``SpindleError``: `conflict` with the reason `compacted` for a log whose first rows
  ///   were trimmed away or came as a snapshot, before anything is changed; `conflict`, reason
  ///   `blocked`, where the reducer refuses an entry that is in the log; what the reducer and the
  ///   store throw. After a failure in between the processor must be opened again.
  /// - Complexity: O(bytes of the log and the state), a page of entries a commit.
  @discardableResult
  public func rebuildState() async throws -> UInt64 {
    try await exclusively { [self] in try await rebuild(from: tracker) }
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

  private func rebuild(from history: any HistoryTracker<R.Op>) async throws -> UInt64 {
    let cursors = try await history.allCursors().sorted
    for (peer, _) in cursors {
      let floor = try await history.floor(of: peer)
      guard floor == 0 else {
        throw SpindleError(
          .conflict,
          "the state of the op-log \(prefix) cannot be made anew: the entries of peer \(peer) "
            + "below index \(floor) are gone", reason: "compacted")
      }
    }
    let log = try await store.family("oplog:" + prefix)
    var mark = Batch()
    mark.put(log, key: OpLogKeys.rebuildingKey, value: [])
    try await store.commit(mark, durability: .buffered)
    try await removeState()
    var count: UInt64 = 0
    for (peer, next) in cursors {
      var index: UInt64 = 0
      while index < next {
        let page = try await history.readPage(
          peer: peer, from: index, limit: LogPage.entryLimit, byteLimit: LogPage.byteLimit)
        guard let last = page.last?.index else { break }
        count += try await apply(page, of: peer)
        index = last + 1
      }
    }
    var end = Batch()
    end.delete(log, key: OpLogKeys.rebuildingKey)
    try await store.commit(end, durability: .buffered)
    return count
  }

  private func removeState() async throws {
    let (store, data) = (store, data)
    var last: Bytes? = []
    while let lower = last {
      let (batch, end) = try await store.blocking {
        var batch = Batch()
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

  /// Applies the entries of a page once more, in one commit.
  private func apply(
    _ page: [(index: UInt64, entry: DecodedEntry<R.Op>)], of peer: PeerID
  ) async throws -> UInt64 {
    var pending = ReducerBatch(Batch(), family: data)
    var index = WriteRecordIndex(family: data.id)
    var count: UInt64 = 0
    for (place, entry) in page {
      guard case .logEntry(let entry) = entry else { continue }
      let context = OpContext(
        peer: peer, index: place, timestamp: entry.timestamp, serverUser: entry.serverUser)
      index.extend(over: pending.batch.record)
      let view = ReducerView(
        store, data, pending: ReducerView.Pending(index: index, record: pending.batch.record))
      switch try await reducer.prepare(entry.op, context, view) {
      case .proceed(let state):
        _ = try reducer.apply(entry.op, context, state, into: &pending)
        count += 1
      case .skip: continue
      case .block(let reason, _):
        throw SpindleError(
          .conflict,
          "the reducer refuses index \(place) of peer \(peer), which is in the log: \(reason)",
          reason: "blocked")
      }
    }
    if !pending.batch.isEmpty { try await store.commit(pending.batch, durability: .buffered) }
    return count
  }
}
