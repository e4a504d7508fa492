public import SpindleCore
internal import SpindleStore

extension LogIndexTracker {
  /// Removes one entry's content from the log: a marker with the entry's hash takes its place, and
  /// its keys leave the indexes, in one batch.
  ///
  /// Index, cursor and chain stay as they are, so replicas agree about the log whether they have
  /// the entry or its marker. What was derived from the entry is *not* undone, replicas that have
  /// it keep it until they expunge it themselves, and files that were published hold it until
  /// ``Publisher/expunge(index:hash:)`` or the next ``Publisher/sync()``: that they are to be
  /// rewritten is noted in the same batch. The bytes leave the disk when their tables are compacted
  /// and their part of the write-ahead log is deleted.
  ///
  /// - Parameter durability: The default is `.synced`: what was to be gone does not come back.
  /// - Returns: The entry's hash; for an index that holds a marker already, the marker's.
  /// - Throws: ``SpindleError``: `notFound` without an entry at the index, with the reason
  ///   `compacted` below the floor; `corruption`; `conflict` when the row changed meanwhile.
  @discardableResult
  public func expunge(
    peer: PeerID, index: UInt64, durability: Durability = .synced
  ) async throws -> EntryHash {
    let floor = try await space.cachedFloor(of: peer)
    guard index >= floor else {
      throw LogTrackerError.compacted(peer: peer, oldest: floor).spindleError
    }
    let key = OpLogKeys.entry(peer, index)
    guard let bytes = try await space.store.get(space.log, key: key) else {
      throw LogTrackerError.missingEntry(peer: peer, index: index).spindleError
    }
    let (row, hash) = try await space.takingApart(bytes) { bytes in
      let row: OpLogRow = try Self.decode(bytes, peer: peer, index: index)
      return (row, row.hash(peer: peer, index: index))
    }
    if row.isExpunged {
      // The marker may have come by a call that asked for less.
      if durability == .synced { try await space.store.synchronize() }
      return hash
    }
    var marker = OpLogRow(expunged: hash)
    if let chain = row.chain { marker = marker.chained(chain) }
    var batch = Batch()
    batch.requireEqual(space.log, key: key, bytes: bytes)
    batch.put(space.log, key: key, value: marker.encoded)
    for key in OpLogIndexKey.keys(of: row, peer: peer, index: index, in: space.memory.indexes) {
      batch.delete(space.log, key: key)
    }
    batch.put(space.log, key: OpLogKeys.rewrite(peer, index), value: hash.bytes)
    try await space.store.commit(batch, durability: durability)
    return hash
  }
}
