public import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// What other replicas said they have: how far the log may be trimmed, and what is "synced".
extension LogIndexTracker {
  /// Notes that a replica has each peer's log up to a cursor. A cursor below the one that is stored
  /// changes nothing, and what is stored already costs no write. Of what is not here yet nothing is
  /// noted: a cursor above the end of the log is lowered to it. So an acknowledgement above the end
  /// tells the verifier that the log was longer. That the log of the peer which writes here is told
  /// to be longer fences it: see ``Processor/noteAcknowledged(_:)``.
  ///
  /// Two calls for the same replica at the same time may leave the lower cursor. That holds the log
  /// back until the next call and does no harm.
  ///
  /// - Parameter replica: Who has it: the peer id under which the replica writes.
  public func acknowledge(replica: PeerID, cursors: PeerCursors) async throws {
    var batch = Batch()
    let stored = try await acknowledgements()[replica]
    for (peer, told) in cursors.sorted where told > stored?[peer] ?? 0 {
      let next = min(told, try await position(of: peer).next)
      guard next > stored?[peer] ?? 0 else { continue }
      batch.put(
        space.log, key: OpLogKeys.acknowledgement(replica, peer), value: Self.encode(next))
    }
    if stored == nil, batch.isEmpty {
      // A replica that has nothing yet holds the log back, too.
      batch.put(
        space.log, key: OpLogKeys.acknowledgement(replica, replica), value: Self.encode(0))
    }
    if batch.isEmpty { return }
    batch.keepMemory(of: space.log)
    try await space.store.commit(batch, durability: .buffered)
  }

  private static func encode(_ cursor: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(cursor)
    return bytes
  }

  /// What each known replica has.
  public func acknowledgements() async throws -> [PeerID: PeerCursors] {
    try await space.store.blocking {
      var replicas: [PeerID: PeerCursors] = [:]
      let subspace = OpLogKeys.acknowledgementSubspace
      try space.store.scan(
        space.log, IterationOptions(lowerBound: [subspace], upperBound: [subspace + 1])
      ) { key, value in
        var reader = ByteReader(key.extracting(1..<key.count))
        var cursor = ByteReader(value)
        guard let replica = try? PeerID(reader.readUUID()),
          let peer = try? PeerID(reader.readUUID()),
          reader.remaining == 0, let next = try? cursor.readBigEndian(UInt64.self),
          cursor.remaining == 0
        else {
          throw LogTrackerError.damagedMeta(
            prefix: prefix, "an acknowledgement cannot be read"
          ).spindleError
        }
        replicas[replica, default: PeerCursors()].advance(peer, to: next)
        return true
      }
      return replicas
    }
  }

  /// What every known replica has: per peer the least cursor. Empty when none is known.
  public func leastAcknowledged() async throws -> PeerCursors {
    let replicas = try await acknowledgements()
    guard var least = replicas.first?.value else { return PeerCursors() }
    for cursors in replicas.values {
      least = PeerCursors(
        Dictionary(
          uniqueKeysWithValues: least.sorted.map { ($0.peer, min($0.next, cursors[$0.peer])) }))
    }
    return least
  }

  /// Forgets a replica that will not come back, so that it does not hold the log back.
  public func forget(replica: PeerID) async throws {
    let start = OpLogKeys.acknowledgements(of: replica)
    let keys = try await space.store.blocking {
      var keys: [[UInt8]] = []
      try space.store.scan(
        space.log,
        IterationOptions(
          lowerBound: start, upperBound: OpLogIndexKey.end(ofKeysWithStart: start))
      ) { key, _ in
        keys.append(copyBytes(key))
        return true
      }
      return keys
    }
    var batch = Batch()
    for key in keys { batch.delete(space.log, key: key) }
    if batch.isEmpty { return }
    try await space.store.commit(batch, durability: .buffered)
  }
}
