public import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// What other replicas said they have: how far the log may be trimmed, and what is "synced".
extension LogIndexTracker {
  /// Notes that a replica has each peer's log up to a cursor. Only its own word counts, and the
  /// last one: one that was restored from a backup has less than it had, and needs it again. Of a
  /// peer that the word does not name it has nothing. What is stored already costs no write. Of
  /// what is not here yet nothing is noted: a cursor above the end of the log is lowered to it. So
  /// an acknowledgement above the end tells the verifier that the log was longer. That the log of
  /// the peer which writes here is told to be longer fences it: see
  /// ``Processor/noteAcknowledged(_:except:)``.
  ///
  /// Nobody can tell an old word from one of a replica that was restored. So a place that holds an
  /// old copy of a live replica's word, such as a folder that is no longer shared, holds the log
  /// back as often as it is heard, until it is no source any more.
  ///
  /// The words that a replica had given when it was forgotten are not noted again, however often
  /// they are repeated: see ``forget(replica:)``.
  ///
  /// - Parameters:
  ///   - replica: Who has it: the peer id under which the replica writes.
  ///   - doubtful: Peers such as those whose log could not be compared, of which the word may be
  ///     one about another log: what was noted of them is lowered where the word names less, and
  ///     stays otherwise. The default is none.
  public func acknowledge(
    replica: PeerID, cursors: PeerCursors, except doubtful: Set<PeerID> = []
  ) async throws {
    try await changeWords { batch in
      if let forgotten = try forgottenWords(of: replica) {
        if let words = try repeating(cursors, except: doubtful, among: forgotten) {
          if words != forgotten { try keep(words, isForgotten: true, of: replica, in: &batch) }
          return
        }
        // What brings it back is heard again where it was heard, also when it is forgotten anew.
        try keep([cursors] + forgotten, isForgotten: false, of: replica, in: &batch)
      }
      let start = OpLogKeys.acknowledgements(of: replica)
      let stored = try words(startingWith: start)[replica]
      if stored == nil {
        // A replica that has nothing yet holds the log back, too.
        batch.put(
          space.log, key: OpLogKeys.acknowledgement(replica, replica), value: Self.encode(0))
      }
      let known = stored ?? PeerCursors()
      for peer in Self.peers(of: cursors, known, except: doubtful) {
        let (told, known) = (cursors[peer], known[peer])
        // A lower word says nothing of the end: what was noted above it stays a mark of the loss.
        let next = told > known ? min(told, try positionBlocking(of: peer).next) : told
        guard told < known || next > known else { continue }
        batch.put(
          space.log, key: OpLogKeys.acknowledgement(replica, peer), value: Self.encode(next))
      }
      // Whatever the history, more than it names the replica has not.
      for peer in doubtful where (1..<max(known[peer], 1)).contains(cursors[peer]) {
        batch.put(
          space.log, key: OpLogKeys.acknowledgement(replica, peer),
          value: Self.encode(cursors[peer]))
      }
    }
  }

  /// Commits what follows from the words that are stored. One call at a time, so that none is built
  /// on words that another one changes: the owner of the store is the only one that writes. The
  /// others wait as tasks: in a stall the store's few threads have other work.
  private func changeWords(
    _ body: @escaping @Sendable (inout Batch) throws -> Void
  ) async throws {
    let space = space
    _ = try await space.memory.words.acquire(until: nil)
    defer { space.memory.words.release() }
    let batch = try await space.store.blocking { () throws -> Batch in
      // The words of a replica are bounded by themselves.
      var batch = Batch.upkeep
      try body(&batch)
      if !batch.isEmpty { batch.keepMemory(of: space.log) }
      return batch
    }
    if !batch.isEmpty { try await space.store.commit(batch, durability: .buffered) }
  }

  private static func peers(
    of one: PeerCursors, _ other: PeerCursors, except doubtful: Set<PeerID>
  ) -> [PeerID] {
    var both = one
    both.merge(other)
    return both.leavingOut(doubtful).sorted.map(\.peer)
  }

  // MARK: Forgotten replicas

  /// The words that a forgotten replica had given, the last one first; nil for one that is not
  /// forgotten.
  private func forgottenWords(of replica: PeerID) throws -> [PeerCursors]? {
    let given = try words(startingWith: OpLogKeys.forgotten(replica))[replica]
    return try given.map { [$0] + (try refusedWords(of: replica)) }
  }

  private func refusedWords(of replica: PeerID) throws -> [PeerCursors] {
    guard let bytes = try space.store.getBlocking(space.log, key: OpLogKeys.refused(replica))
    else { return [] }
    guard let words = RefusedWords.decode(bytes) else {
      throw LogTrackerError.damagedMeta(
        prefix: prefix, "the words of a forgotten replica cannot be read"
      ).spindleError
    }
    return words
  }

  /// Replaces the words of a replica that is forgotten, or was and is back.
  private func keep(
    _ words: [PeerCursors], isForgotten: Bool, of replica: PeerID, in batch: inout Batch
  ) throws {
    for key in try keys(startingWith: OpLogKeys.forgotten(replica)) {
      batch.delete(space.log, key: key)
    }
    var others = words[...]
    if isForgotten {
      let given = others.removeFirst()
      batch.put(space.log, key: OpLogKeys.forgotten(replica, replica), value: Self.encode(0))
      for (peer, next) in given.sorted {
        batch.put(space.log, key: OpLogKeys.forgotten(replica, peer), value: Self.encode(next))
      }
    }
    var rest: [PeerCursors] = []
    for word in others where !rest.contains(word) { rest.append(word) }
    rest = Array(rest.prefix(RefusedWords.limit))
    if rest.isEmpty { return }
    batch.put(space.log, key: OpLogKeys.refused(replica), value: RefusedWords.encode(rest))
  }

  /// Tells whether a word is one of those that a replica had given when it was forgotten.
  ///
  /// The one that it was forgotten with was noted up to the end of the log as it was then. So the
  /// first word that is above a peer's cursor where the log still ends is the one that was given.
  /// It is kept among the refused words, too, which are those that were told: a second one is new.
  ///
  /// - Returns: The words as they are known now; nil where it is none of them.
  private func repeating(
    _ told: PeerCursors, except doubtful: Set<PeerID>, among words: [PeerCursors]
  ) throws -> [PeerCursors]? {
    let told = told.leavingOut(doubtful)
    if words.contains(where: { $0.leavingOut(doubtful) == told }) { return words }
    guard let given = words.first, !words.dropFirst().contains(given) else { return nil }
    var word = given
    for peer in Self.peers(of: told, given, except: doubtful) where told[peer] > given[peer] {
      if try positionBlocking(of: peer).next == given[peer] { word.advance(peer, to: told[peer]) }
    }
    guard word.leavingOut(doubtful) == told else { return nil }
    return [word, word] + words.dropFirst()
  }

  private static func encode(_ cursor: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(cursor)
    return bytes
  }

  /// What each known replica has.
  public func acknowledgements() async throws -> [PeerID: PeerCursors] {
    try await space.store.blocking {
      try words(startingWith: [OpLogKeys.acknowledgementSubspace])
    }
  }

  private func words(startingWith start: [UInt8]) throws -> [PeerID: PeerCursors] {
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

  private func keys(startingWith start: [UInt8]) throws -> [[UInt8]] {
    var keys: [[UInt8]] = []
    try space.store.scan(space.log, Self.options(startingWith: start)) { key, _ in
      keys.append(copyBytes(key))
      return true
    }
    return keys
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
  /// Its last word may stay where others read it, such as in a folder that they share, and an older
  /// one in another. So that word is kept, in the same commit, and a repeat of it changes nothing.
  /// What differs from it is new: the replica is back and noted again. Where that was an old word,
  /// forgetting it once more keeps both; up to 8 words are kept. Entries that were trimmed
  /// meanwhile a replica that is back must get from a snapshot.
  public func forget(replica: PeerID) async throws {
    try await changeWords { batch in
      let start = OpLogKeys.acknowledgements(of: replica)
      guard let given = try words(startingWith: start)[replica] else { return }
      for key in try keys(startingWith: start) { batch.delete(space.log, key: key) }
      let former = try forgottenWords(of: replica) ?? refusedWords(of: replica)
      try keep([given] + former, isForgotten: true, of: replica, in: &batch)
    }
  }

  /// Lets the next word of a forgotten replica count, whatever it is.
  package func remember(replica: PeerID) async throws {
    try await changeWords { batch in
      for key in try keys(startingWith: OpLogKeys.forgotten(replica)) {
        batch.delete(space.log, key: key)
      }
      let key = OpLogKeys.refused(replica)
      guard try space.store.getBlocking(space.log, key: key) != nil else { return }
      batch.delete(space.log, key: key)
    }
  }
}
