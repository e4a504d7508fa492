public import SpindleCore
internal import SpindleStore

/// How far the log of the peer that writes here is known elsewhere: `peer 16 | cursor 8`.
struct OpLogFence: Equatable {
  var peer: PeerID
  var cursor: UInt64

  var bytes: [UInt8] {
    var bytes = peer.uuid.bytes
    bytes.appendBigEndian(cursor)
    return bytes
  }

  init(peer: PeerID, cursor: UInt64) {
    self.peer = peer
    self.cursor = cursor
  }

  /// Reads a record; nil for bytes that none encodes to.
  init?(decoding bytes: Span<UInt8>) {
    var reader = ByteReader(bytes)
    guard bytes.count == 24, let peer = try? reader.readUUID(),
      let cursor = try? reader.readBigEndian(UInt64.self)
    else { return nil }
    self.peer = PeerID(peer)
    self.cursor = cursor
  }
}

/// The fence keeps a restored backup from writing under indices that other replicas know with other
/// content: own entries exist elsewhere, so none is made here until they were pulled back.
extension LogIndexTracker {
  /// Up to which index the log of the peer that writes here is known to exist elsewhere; 0 when
  /// nothing is known of it.
  public func fence(of peer: PeerID) async throws -> UInt64 {
    guard let fence = try await fence(), fence.peer == peer else { return 0 }
    return fence.cursor
  }

  /// Which peer wrote here when more of its log was known elsewhere, and up to which index; nil
  /// when nothing is known. For tools that do not know who writes.
  public func fence() async throws -> (peer: PeerID, cursor: UInt64)? {
    guard let bytes = try await space.store.get(space.log, key: OpLogKeys.fenceKey) else {
      return nil
    }
    let fence = try decodeFence(bytes)
    return (fence.peer, fence.cursor)
  }

  private func decodeFence(_ bytes: [UInt8]) throws -> OpLogFence {
    guard let fence = OpLogFence(decoding: bytes.span) else {
      throw LogTrackerError.damagedMeta(prefix: prefix, "its fence has \(bytes.count) bytes")
        .spindleError
    }
    return fence
  }

  /// Notes that another place knows the log of the peer that writes here up to a cursor. Synced
  /// when it rises above what is stored; a lower cursor of the same peer changes nothing.
  ///
  /// - Throws: ``SpindleError`` with `conflict` when other calls changed the fence meanwhile, each
  ///   time that it was tried.
  public func raiseFence(of peer: PeerID, to cursor: UInt64) async throws {
    try await changeFence { stored in
      if let stored, stored.peer == peer, stored.cursor >= cursor { return nil }
      return .put(OpLogFence(peer: peer, cursor: cursor))
    }
  }

  /// Forgets the fence of a peer; see ``Processor/resetFence()``. Synced.
  public func resetFence(of peer: PeerID) async throws {
    try await changeFence { stored in stored?.peer == peer ? .delete : nil }
  }

  private enum FenceChange { case put(OpLogFence), delete }

  /// How often a change of the fence is tried again. Each refusal means that another call's change
  /// went through, and few calls change it at the same time.
  private static var fenceAttemptLimit: Int { 64 }

  private func changeFence(_ change: (OpLogFence?) -> FenceChange?) async throws {
    var attempts = 0
    while true {
      attempts += 1
      var batch = Batch()
      let bytes = try await space.store.get(space.log, key: OpLogKeys.fenceKey)
      switch change(try bytes.map(decodeFence)) {
      case nil: return
      case .put(let fence): batch.put(space.log, key: OpLogKeys.fenceKey, value: fence.bytes)
      case .delete: batch.delete(space.log, key: OpLogKeys.fenceKey)
      }
      if let bytes {
        batch.requireEqual(space.log, key: OpLogKeys.fenceKey, bytes: bytes)
      } else {
        batch.requireAbsent(space.log, key: OpLogKeys.fenceKey, owner: "fence")
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
