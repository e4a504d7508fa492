internal import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// Which optional indexes a prefix keeps, and how one is added.
extension OpLogSpace {
  /// The most rows whose index keys are committed together: enough that a commit's fixed cost does
  /// not count, few enough that the batch stays small.
  static let rowsPerBatch = 1_024
  /// The most bytes of a batch of upkeep.
  static let bytesPerBatch = 1 << 20

  /// The indexes that a meta key names; an absent key names none.
  func storedIndexes(_ key: [UInt8]) async throws -> OpLogIndexes {
    guard let bytes = try await store.get(log, key: key) else { return [] }
    guard let indexes = OpLogIndexes(name: String(decoding: bytes, as: UTF8.self)) else {
      throw LogTrackerError.damagedMeta(
        prefix: prefix, "a key that lists its indexes cannot be read"
      ).spindleError
    }
    return indexes
  }

  /// Adds the indexes that are missing.
  ///
  /// Crash windows. The key `building` is committed first, and the key `indexes` replaces it in the
  /// commit after the last row. A crash in between leaves an index that no query uses; the next
  /// open builds it from the start, whatever its settings, and writing the same keys again changes
  /// nothing. Entries that come in meanwhile enter it themselves.
  func build(_ wanted: OpLogIndexes) async throws {
    let kept = try await storedIndexes(OpLogKeys.indexesKey)
    let interrupted = try await storedIndexes(OpLogKeys.buildingKey)
    let missing = wanted.union(interrupted).subtracting(kept)
    guard !missing.isEmpty else { return }
    memory.keep(missing)
    try await store.blocking {
      var start = Batch()
      start.put(log, key: OpLogKeys.buildingKey, value: Array(missing.description.utf8))
      try store.commitBlocking(start)
      try addRows(to: missing)
      var end = Batch()
      end.put(
        log, key: OpLogKeys.indexesKey, value: Array(kept.union(missing).description.utf8))
      end.delete(log, key: OpLogKeys.buildingKey)
      try store.commitBlocking(end)
      memory.complete(missing)
    }
  }

  private func addRows(to indexes: OpLogIndexes) throws {
    let floors = try storedFloors()
    var options = IterationOptions(
      lowerBound: [OpLogKeys.entrySubspace], upperBound: [OpLogKeys.entrySubspace + 1])
    options.fillsCache = false
    var batch = Batch.upkeep
    try store.scan(log, options) { key, value in
      guard let (peer, index) = OpLogKeys.decodeEntry(key) else {
        throw LogTrackerError.corruptKey(prefix: prefix, byteCount: key.count).spindleError
      }
      guard index >= floors[peer]?.next ?? 0 else { return true }
      let row = try withSpindleErrors { () throws(LogTrackerError) -> OpLogRow in
        do throws(DecodingFailure) {
          return try OpLogRow(decoding: value)
        } catch {
          throw .corruptRow(peer: peer, index: index, error)
        }
      }
      for key in OpLogIndexKey.keys(of: row, peer: peer, index: index, in: indexes) {
        batch.put(log, key: key, value: [])
      }
      if batch.count >= Self.rowsPerBatch || batch.byteCount >= Self.bytesPerBatch {
        try store.commitBlocking(batch)
        batch = .upkeep
      }
      return true
    }
    try store.commitBlocking(batch)
  }
}

extension Batch {
  /// A batch that is made from what the store holds and must not be refused for its size: its
  /// bounds are ours, and the limit of a value may be lower or have been lowered since.
  static var upkeep: Batch {
    var batch = Batch()
    batch.movesStoredValues = true
    return batch
  }
}
