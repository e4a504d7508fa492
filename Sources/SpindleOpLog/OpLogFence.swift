public import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// How far the log of a peer that writes here is known elsewhere. Each peer has a record of its
/// own, so that opening the prefix as another peer and coming back leaves every fence where it was.
struct OpLogFence: Equatable {
  var peer: PeerID
  var cursor: UInt64

  // Part of the format; must not be changed: the cursor as u64, under a key with the peer.
  var bytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(cursor)
    return bytes
  }

  init(peer: PeerID, cursor: UInt64) {
    self.peer = peer
    self.cursor = cursor
  }

  static func isKey(_ key: [UInt8]) -> Bool { key.starts(with: OpLogKeys.fenceKey) }

  /// Reads a record; nil for what is none. Before each peer had a key, the one record was
  /// `peer 16 | cursor 8` under the key without a peer.
  init?(key: [UInt8], value: [UInt8]) {
    let bytes = Array(key.dropFirst(OpLogKeys.fenceKey.count) + value)
    var reader = ByteReader(bytes.span)
    guard Self.isKey(key), bytes.count == 24, [8, 24].contains(value.count),
      let peer = try? reader.readUUID(), let cursor = try? reader.readBigEndian(UInt64.self)
    else { return nil }
    self.peer = PeerID(peer)
    self.cursor = cursor
  }
}

/// The fence keeps a restored backup from writing under indices that other replicas know with other
/// content: own entries exist elsewhere, so none is made here until they were pulled back.
extension LogIndexTracker {
  /// Up to which index the log of a peer that writes here is known to exist elsewhere; 0 when
  /// nothing is known of it.
  public func fence(of peer: PeerID) async throws -> UInt64 {
    try await fenceRecords(of: peer).cursor
  }

  /// Of each peer that wrote here when more of its log was known elsewhere, up to which index. For
  /// tools that do not know who writes.
  public func fences() async throws -> PeerCursors {
    try await space.store.blocking {
      var fences = PeerCursors()
      try space.store.scan(
        space.log,
        IterationOptions(
          lowerBound: OpLogKeys.fenceKey,
          upperBound: OpLogIndexKey.end(ofKeysWithStart: OpLogKeys.fenceKey))
      ) { key, value in
        let fence = try decodeFence(copyBytes(key), copyBytes(value))
        fences.advance(fence.peer, to: fence.cursor)
        return true
      }
      return fences
    }
  }

  private func decodeFence(_ key: [UInt8], _ value: [UInt8]) throws -> OpLogFence {
    guard let fence = OpLogFence(key: key, value: value) else {
      throw LogTrackerError.damagedMeta(prefix: prefix, "its fence has \(value.count) bytes")
        .spindleError
    }
    return fence
  }

  /// A peer's record and the one of former times, as they are stored; the greater cursor of what
  /// they say of the peer, 0 for nothing.
  private func fenceRecords(
    of peer: PeerID
  ) async throws -> (own: [UInt8]?, former: [UInt8]?, cursor: UInt64) {
    let own = try await space.store.get(space.log, key: OpLogKeys.fence(peer))
    var former = try await space.store.get(space.log, key: OpLogKeys.fenceKey)
    var cursor = try own.map { try decodeFence(OpLogKeys.fence(peer), $0).cursor } ?? 0
    if let bytes = former {
      let fence = try decodeFence(OpLogKeys.fenceKey, bytes)
      // Another peer's stays as it is.
      if fence.peer == peer { cursor = max(cursor, fence.cursor) } else { former = nil }
    }
    return (own, former, cursor)
  }

  /// Notes that another place knows the log of a peer that writes here up to a cursor. Synced when
  /// it rises above what is stored; a lower cursor changes nothing, and no other peer's fence does.
  ///
  /// - Throws: ``SpindleError`` with `conflict` when other calls changed the fence meanwhile, each
  ///   time that it was tried.
  public func raiseFence(of peer: PeerID, to cursor: UInt64) async throws {
    try await changeFence(of: peer) { $0 < cursor ? .put(cursor) : nil }
  }

  /// Forgets the fence of a peer; see ``Processor/resetFence()``. Synced.
  public func resetFence(of peer: PeerID) async throws {
    try await changeFence(of: peer) { $0 > 0 ? .delete : nil }
  }

  private enum FenceChange { case put(UInt64), delete }

  /// How often a change of the fence is tried again. Each refusal means that another call's change
  /// went through, and few calls change it at the same time.
  private static var fenceAttemptLimit: Int { 64 }

  /// - Parameter change: Gets the cursor that is stored.
  private func changeFence(
    of peer: PeerID, _ change: (UInt64) -> FenceChange?
  ) async throws {
    let key = OpLogKeys.fence(peer)
    var attempts = 0
    while true {
      attempts += 1
      let stored = try await fenceRecords(of: peer)
      guard let change = change(stored.cursor) else { return }
      var batch = Batch()
      if let own = stored.own {
        batch.requireEqual(space.log, key: key, bytes: own)
      } else {
        batch.requireAbsent(space.log, key: key, owner: "fence")
      }
      // The record of former times goes with the first change.
      if let former = stored.former {
        batch.requireEqual(space.log, key: OpLogKeys.fenceKey, bytes: former)
        batch.delete(space.log, key: OpLogKeys.fenceKey)
      }
      switch change {
      case .put(let cursor):
        batch.put(space.log, key: key, value: OpLogFence(peer: peer, cursor: cursor).bytes)
      case .delete: batch.delete(space.log, key: key)
      }
      do {
        return try await space.store.commit(batch, durability: .synced)
      } catch let error as SpindleError
        where [.conflict, .uniqueViolation].contains(error.kind)
        && attempts < Self.fenceAttemptLimit
      {
        continue
      }
    }
  }
}
