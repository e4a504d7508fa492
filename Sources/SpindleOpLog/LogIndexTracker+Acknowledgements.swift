public import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// What other replicas said they have: how far the log may be trimmed, and what is "synced".
extension LogIndexTracker {
  /// Notes that a replica has each peer's log up to a cursor. Only its own word counts, and the
  /// last one: one that was restored from a backup has less than it had, and needs it again. Of
  /// peers that the word does not name nothing changes, and what is stored already costs no write.
  /// Of what is not here yet nothing is noted: a cursor above the end of the log is lowered to it.
  /// So an acknowledgement above the end tells the verifier that the log was longer. That the log
  /// of the peer which writes here is told to be longer fences it: see
  /// ``Processor/noteAcknowledged(_:)``.
  ///
  /// The word that a replica had given when it was forgotten is not noted again, however often it
  /// is repeated: see ``forget(replica:)``.
  ///
  /// Two calls for the same replica at the same time may leave the lower cursor. That holds the log
  /// back until the next call and does no harm.
  ///
  /// - Parameter replica: Who has it: the peer id under which the replica writes.
  public func acknowledge(replica: PeerID, cursors: PeerCursors) async throws {
    var batch = Batch()
    let stored = try await words(startingWith: OpLogKeys.acknowledgements(of: replica))[replica]
    var isRepeated = false
    if stored == nil {
      isRepeated = try await addRepeat(of: replica, saying: cursors, to: &batch)
      if !isRepeated {
        // A replica that has nothing yet holds the log back, too.
        batch.put(
          space.log, key: OpLogKeys.acknowledgement(replica, replica), value: Self.encode(0))
      }
    }
    for (peer, told) in cursors.sorted where !isRepeated {
      let known = stored?[peer] ?? 0
      // A lower word says nothing of the end: what was noted above it stays a mark of the loss.
      let next = told > known ? min(told, try await position(of: peer).next) : told
      guard told < known || next > known else { continue }
      batch.put(
        space.log, key: OpLogKeys.acknowledgement(replica, peer), value: Self.encode(next))
    }
    if batch.isEmpty { return }
    batch.keepMemory(of: space.log)
    try await space.store.commit(batch, durability: .buffered)
  }

  /// Tells whether a word is the one that a replica had given when it was forgotten.
  ///
  /// It was noted up to the end of the log as it was then. So the first word that is above a peer's
  /// cursor where the log still ends is kept as the one that was given.
  ///
  /// - Parameter batch: Gets what is to be stored: that word, or that the replica is back.
  /// - Returns: false also for a replica that was not forgotten.
  private func addRepeat(
    of replica: PeerID, saying cursors: PeerCursors, to batch: inout Batch
  ) async throws -> Bool {
    let start = OpLogKeys.forgotten(replica)
    guard let given = try await words(startingWith: start)[replica] else { return false }
    var raised = Batch()
    for (peer, told) in cursors.sorted where told != given[peer] {
      guard told > given[peer], try await position(of: peer).next == given[peer] else {
        for key in try await keys(startingWith: start) { batch.delete(space.log, key: key) }
        return false
      }
      raised.put(space.log, key: OpLogKeys.forgotten(replica, peer), value: Self.encode(told))
    }
    batch = raised
    return true
  }

  private static func encode(_ cursor: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(cursor)
    return bytes
  }

  /// What each known replica has.
  public func acknowledgements() async throws -> [PeerID: PeerCursors] {
    try await words(startingWith: [OpLogKeys.acknowledgementSubspace])
  }

  private func words(startingWith start: [UInt8]) async throws -> [PeerID: PeerCursors] {
    try await space.store.blocking {
      var replicas: [PeerID: PeerCursors] = [:]
      try space.store.scan(space.log, Self.options(startingWith: start)) { key, value in
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

  private func keys(startingWith start: [UInt8]) async throws -> [[UInt8]] {
    try await space.store.blocking {
      var keys: [[UInt8]] = []
      try space.store.scan(space.log, Self.options(startingWith: start)) { key, _ in
        keys.append(copyBytes(key))
        return true
      }
      return keys
    }
  }

  private static func options(startingWith start: [UInt8]) -> IterationOptions {
    IterationOptions(lowerBound: start, upperBound: OpLogIndexKey.end(ofKeysWithStart: start))
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
  ///
  /// Its last word may stay where others read it, such as in a folder that they share. So that word
  /// is kept, in the same commit, and a repeat of it changes nothing. What differs from it is new:
  /// the replica is back and noted again. Entries that were trimmed meanwhile it must get from a
  /// snapshot.
  public func forget(replica: PeerID) async throws {
    var batch = Batch()
    for key in try await keys(startingWith: OpLogKeys.acknowledgements(of: replica)) {
      batch.delete(space.log, key: key)
    }
    if batch.isEmpty { return }
    let given = try await acknowledgements()[replica] ?? PeerCursors()
    batch.put(space.log, key: OpLogKeys.forgotten(replica, replica), value: Self.encode(0))
    for (peer, next) in given.sorted {
      batch.put(space.log, key: OpLogKeys.forgotten(replica, peer), value: Self.encode(next))
    }
    try await space.store.commit(batch, durability: .buffered)
  }

  /// Lets the next word of a forgotten replica count, whatever it is.
  package func remember(replica: PeerID) async throws {
    var batch = Batch()
    for key in try await keys(startingWith: OpLogKeys.forgotten(replica)) {
      batch.delete(space.log, key: key)
    }
    if batch.isEmpty { return }
    try await space.store.commit(batch, durability: .buffered)
  }
}
