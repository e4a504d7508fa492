internal import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// What a trim did.
public struct OpLogTrim: Sendable, Hashable {
  /// The floor of every peer that has one.
  public internal(set) var floors = PeerCursors()
  /// Rows removed, those that an interrupted trim had left included.
  public internal(set) var rows: UInt64 = 0
}

extension LogIndexTracker {
  /// Removes the rows of each peer below an index, for good. What reducers made of them stays;
  /// state cannot be rebuilt from this log any more, and a replica that lacks these entries must
  /// start from a snapshot.
  ///
  /// Cursors and chains go on where they were. Reading below the floor throws `notFound` with the
  /// reason `compacted`. A trimmed index stays taken.
  ///
  /// Crash windows. The floor is committed first, then the rows below it go in batches of at most
  /// 1,024 rows. A crash in between leaves rows below the floor: no read shows them, no query finds
  /// them, and the next trim removes them. A floor is never above the rows that are gone.
  ///
  /// - Parameters:
  ///   - cursors: Per peer the first index to keep. What is above a peer's end, or above what every
  ///     known replica has acknowledged, is lowered to that; see
  ///     ``acknowledge(replica:cursors:except:)``. Without any acknowledgement nothing is trimmed.
  ///   - forced: Whether acknowledgements are left out of account.
  /// - Throws: ``SpindleError``: `corruption` for a row that cannot be read and `notFound` for a
  ///   hole where the floor is to be, `conflict` when another trim ran at the same time,
  ///   `unavailable` with the reason `rebuild_unfinished` while the state is made anew, which needs
  ///   every row; or `CancellationError` between two batches. What was removed until then stays
  ///   removed.
  /// - Complexity: O(bytes of the rows removed), and a step for each row of the same peers that
  ///   earlier trims removed: what they deleted is passed again until a compaction has taken it
  ///   away, which also gives the disk space back.
  public func trim(below cursors: PeerCursors, forced: Bool = false) async throws -> OpLogTrim {
    let acknowledged = forced ? nil : try await leastAcknowledged()
    for (peer, next) in cursors.sorted {
      let wanted = min(next, acknowledged?[peer] ?? .max)
      try await space.store.blocking { try raiseFloor(of: peer, to: wanted) }
    }
    var trim = OpLogTrim()
    for (peer, floor) in try await floors().sorted {
      var lower: UInt64? = 0
      while let start = lower {
        try Task.checkCancellation()
        let (count, next) = try await space.store.blocking {
          try removeRows(of: peer, from: start, below: floor)
        }
        trim.rows += count
        lower = next
      }
      trim.floors.advance(peer, to: floor)
    }
    return trim
  }

  private func raiseFloor(of peer: PeerID, to wanted: UInt64) throws {
    let target = try min(wanted, positionBlocking(of: peer).next)
    let present = try space.floor(of: peer)
    guard target > present.next else { return }
    guard let last = try rowBlocking(peer: peer, index: target - 1) else {
      throw LogTrackerError.missingEntry(peer: peer, index: target - 1).spindleError
    }
    var floor = LogPosition(next: target, head: last.chain)
    floor.startsLate =
      try present.next > 0
      ? present.hasLateChain
      : rowBlocking(peer: peer, index: 0).map { $0.chain == nil } ?? false
    let key = OpLogKeys.floor(peer)
    var batch = Batch()
    // Half a state needs every row.
    batch.requireAbsent(space.log, key: OpLogKeys.rebuildingKey, owner: "rebuilding")
    if present.next == 0 {
      batch.requireAbsent(space.log, key: key, owner: "floor")
    } else {
      batch.requireEqual(space.log, key: key, bytes: OpLogSpace.encode(present))
    }
    batch.put(space.log, key: key, value: OpLogSpace.encode(floor))
    // A row that was there is taken still.
    batch.keepMemory(of: space.log)
    do {
      try space.store.commitBlocking(batch)
    } catch let error as SpindleError where error.reason == "rebuilding" {
      throw LogTrackerError.unfinishedRebuild(prefix).spindleError
    }
    space.memory.raise([peer: floor])
  }

  /// Removes one batch of rows.
  ///
  /// - Returns: How many, and from where on the next batch looks; nil when all are gone.
  private func removeRows(
    of peer: PeerID, from start: UInt64, below floor: UInt64
  ) throws -> (count: UInt64, next: UInt64?) {
    var options = IterationOptions(
      lowerBound: OpLogKeys.entry(peer, start), upperBound: OpLogKeys.entry(peer, floor))
    options.fillsCache = false
    var batch = Batch.upkeep
    var count: UInt64 = 0
    var next: UInt64?
    try space.store.scan(space.log, options) { key, value in
      let index = try decodeKey(key).index
      let row: OpLogRow = try Self.decode(value, peer: peer, index: index)
      batch.delete(space.log, key: copyBytes(key))
      for key in OpLogIndexKey.keys(of: row, peer: peer, index: index, in: space.memory.indexes) {
        batch.delete(space.log, key: key)
      }
      count += 1
      guard count < OpLogSpace.rowsPerBatch, batch.byteCount < OpLogSpace.bytesPerBatch else {
        next = index + 1
        return false
      }
      return true
    }
    batch.keepMemory(of: space.log)
    try space.store.commitBlocking(batch)
    return (count, next)
  }
}
