public import SpindleCore
internal import SpindleIO
internal import SpindleRocks
internal import SpindleStore
internal import Synchronization

extension RocksSpool {
  public func enumerate(
    into channel: SpoolEntryChannel, startTime: SpoolInstant
  ) throws -> SpoolEnumeration {
    try checkOpen()
    let handle = SpoolEnumeration()
    // Not the channel itself: the walk ends when its reader has let go of that.
    let queue = channel.queue
    do throws(IOFailure) {
      // A thread of its own: the walk waits for its reader, and the store's few threads must stay
      // free for what the reader may call.
      _ = try NamedThread(name: "spindle-walk") { [self] in
        let outcome = walk(into: queue, startTime: startTime)
        queue.finish()
        handle.finish(outcome)
      }
    } catch {
      throw error.spindleError
    }
    return handle
  }

  private func plain(_ error: any Error) -> SpindleError {
    error as? SpindleError ?? SpindleError(.unavailable, "\(error)", path: storage.path)
  }

  /// Walks the whole spool on a thread that may block.
  private func walk(
    into queue: SpoolEntryQueue, startTime: SpoolInstant
  ) -> SpoolEnumeration.Outcome {
    var outcome = SpoolEnumeration.Outcome()
    var options = IterationOptions()
    options.fillsCache = false
    options.readaheadBytes = 2 << 20
    do {
      try storage.scan(family, options) { key, record in
        guard let id = SpoolID(bytes: key), id.created < startTime else {
          outcome.skipped += 1
          return true
        }
        let entry: SpoolEntry
        do {
          entry = .item(id: id, data: try SpoolRecord.payload(of: record))
        } catch {
          entry = .corrupt(id: id, error: "\(error)")
        }
        guard queue.send(entry, isStopped: { self.isStopped }) else {
          throw SpindleError(
            .closed,
            "the enumeration of spool \(name) ended before its last message: "
              + (isStopped ? "the spool was closed" : "its reader is gone"))
        }
        if case .item = entry { outcome.count += 1 } else { outcome.corrupt += 1 }
        return true
      }
    } catch {
      outcome.error = plain(error)
    }
    return outcome
  }

  /// Whether the spool or its store was closed.
  private var isStopped: Bool {
    closed.load(ordering: .acquiring) || storage.isClosed
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
