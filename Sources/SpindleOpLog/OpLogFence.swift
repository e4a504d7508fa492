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
    guard let bytes = try await space.store.get(space.log, key: OpLogKeys.fenceKey) else {
      return 0
    }
    let fence = try decodeFence(bytes)
    return fence.peer == peer ? fence.cursor : 0
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
  /// - Throws: ``SpindleError`` with `conflict` when another call changed the fence meanwhile.
  public func raiseFence(of peer: PeerID, to cursor: UInt64) async throws {
    var batch = Batch()
    if let bytes = try await space.store.get(space.log, key: OpLogKeys.fenceKey) {
      let fence = try decodeFence(bytes)
      if fence.peer == peer, fence.cursor >= cursor { return }
      batch.requireEqual(space.log, key: OpLogKeys.fenceKey, bytes: bytes)
    } else {
      batch.requireAbsent(space.log, key: OpLogKeys.fenceKey, owner: "fence")
    }
    batch.put(
      space.log, key: OpLogKeys.fenceKey, value: OpLogFence(peer: peer, cursor: cursor).bytes)
    try await space.store.commit(batch, durability: .synced)
  }
}
