internal import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// Queries by time, user and key, over the optional indexes.
extension LogIndexTracker {
  /// The indexes that queries can use.
  public var indexes: OpLogIndexes { space.memory.completeIndexes }

  /// A page of the entries that a query finds.
  ///
  /// Each page is a view of its own: an entry that is recorded, trimmed or expunged between two
  /// pages may be found or not; every other one is found exactly once.
  ///
  /// - Parameters:
  ///   - limit: The most entries of the page. It also ends at about 4 MiB of ops, and after 65,536
  ///     keys of the index, so that a page takes bounded time and memory.
  ///   - continuation: ``OpLogQueryPage/next`` of the page before, of the same query. Nil starts.
  /// - Throws: ``SpindleError``: `invalidArgument` with the reason `missing_index` or
  ///   `bad_continuation`, `corruption` naming peer and index for an entry that cannot be read or
  ///   an index key without its entry, `io`, `closed`.
  /// - Complexity: one seek, and a point read for each entry.
  public func query(
    _ query: OpLogQuery, limit: Int = LogPage.entryLimit,
    after continuation: OpLogContinuation? = nil
  ) async throws -> OpLogQueryPage<Op> {
    guard indexes.contains(query.index) else {
      throw LogTrackerError.missingIndex(prefix: prefix, query.index).spindleError
    }
    guard continuation.map({ $0.belongs(to: query) }) ?? true else {
      throw SpindleError(
        .invalidArgument, "the continuation belongs to another query", reason: "bad_continuation")
    }
    guard limit > 0 else {
      throw SpindleError(.invalidArgument, "a page must have a limit above 0, not \(limit)")
    }
    return try await space.store.blocking {
      try page(of: query, limit: limit, after: continuation?.position)
    }
  }

  /// The most keys of an index that a page looks at. A query by key prefix passes over those
  /// outside its times.
  private static var keyLimit: Int { 65_536 }

  private func page(
    of query: OpLogQuery, limit: Int, after position: [UInt8]?
  ) throws -> OpLogQueryPage<Op> {
    var (lower, upper) = query.bounds
    if let position {
      if query.isReversed { upper = position } else { lower = position + [0] }
    }
    var page = OpLogQueryPage<Op>()
    if let upper, !lower.lexicographicallyPrecedes(upper) { return page }
    var iterator = try space.store.iterator(
      space.log, IterationOptions(lowerBound: lower, upperBound: upper))
    if query.isReversed { iterator.seekToLast() } else { iterator.seekToFirst() }
    var bytes = 0
    var keys = 0
    while iterator.isValid {
      let key = copyBytes(iterator.key)
      keys += 1
      if let (found, size) = try entry(at: key, of: query) {
        page.entries.append(found)
        bytes += size
      }
      guard page.entries.count < limit, bytes < LogPage.byteLimit, keys < Self.keyLimit else {
        page.next = OpLogContinuation(of: query, at: key)
        return page
      }
      if query.isReversed { iterator.previous() } else { iterator.next() }
    }
    try checkStatus(iterator)
    return page
  }

  /// The entry that an index key stands for; nil when it is outside the query, or gone by now.
  private func entry(
    at key: [UInt8], of query: OpLogQuery
  ) throws -> (found: FoundEntry<Op>, byteCount: Int)? {
    guard let place = OpLogIndexKey(decoding: key.span) else {
      throw LogTrackerError.damagedMeta(
        prefix: prefix, "a key of \(key.count) bytes among its indexes is none"
      ).spindleError
    }
    guard query.times.contains(place.timestamp) else { return nil }
    guard let row = try rowBlocking(peer: place.peer, index: place.index), place.matches(row)
    else {
      // The row is read after the key: it may have been trimmed or expunged in between, which
      // removes the key as well. What a trim left behind is below the floor.
      if try place.index < space.floor(of: place.peer).next { return nil }
      guard try space.store.getBlocking(space.log, key: key) != nil else { return nil }
      throw LogTrackerError.damagedMeta(
        prefix: prefix,
        "its index by \(place.kind) has a key for index \(place.index) of peer \(place.peer), "
          + "which holds no such entry"
      ).spindleError
    }
    let entry: DecodedEntry<Op> = try Self.decode(row, peer: place.peer, index: place.index)
    guard case .logEntry(let entry) = entry else { return nil }
    return (
      FoundEntry(peer: place.peer, index: place.index, entry: entry),
      (row.key?.count ?? 0) + (row.value?.count ?? 0)
    )
  }
}
