public import SpindleCore
internal import SpindleIO

/// Stores and removes.
///
/// A store writes a file in `new`, then moves it to its name below `data`; a remove takes the name
/// away. What a killed process leaves, by the point where it died:
///
/// 1. while the file is written: a file in `new`, removed by the next open; no message;
/// 2. before the move: the same, and perhaps empty directories, which a cleanup removes;
/// 3. after the move: the message, whole, in place of an older one of the id;
/// 4. before the removal of the name: the message; after it: none.
///
/// What power loss leaves in addition, when the call had not returned or was not to be synced: the
/// older message, none, or a file that is short or garbled, which its header tells. A synced store
/// makes durable, in this order: the contents; after the move, the names of the directories above
/// the file from `data` down; the file's own name.
extension LocalDiskSpool {
  /// Stores a message, or replaces the one there.
  ///
  /// Deadline and gate are looked at when a thread begins the store and again before the message
  /// gets its name; a store that is refused for it leaves nothing. One that was cancelled runs to
  /// its end before the call returns.
  ///
  /// - Throws: ``SpindleError``: `deadlineExceeded`, `tooLarge`, `quotaExceeded`, `overloaded`
  ///   while too many calls wait, `unavailable` after repeated failures of the disk or while it has
  ///   too little free, `io` for one failure, `closed`. With a quota also `CancellationError`,
  ///   while another change of the id is waited for. After an `io` error of a synced store the
  ///   message may be there all the same.
  /// - Complexity: O(bytes). With sync one fsync of the file, and one to five of directories.
  public func store(
    _ id: SpoolID, _ data: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws {
    try await measured(.store, bytes: { data.count }) {
      guard data.count <= settings.payloadByteLimit else {
        throw SpindleError(
          .tooLarge,
          "the message has \(data.count) bytes; the spool takes at most "
            + "\(settings.payloadByteLimit)")
      }
      if let refusal = gate.refusal { throw refusal }
      let sync = forceSync || settings.flush
      try await notingLateStore(of: id) {
        try await alone(with: id, until: deadline) {
          try await blocking { [self] in
            try storeBlocking(id, data, sync: sync, deadline: deadline)
          }
        }
      }
    }
  }

  /// Lets walks know of a store under an id that is old, or that grows old while it waits.
  func notingLateStore(of id: SpoolID, _ store: () async throws -> Void) async throws {
    let isLate = lateStores.begin(id)
    do {
      try await store()
    } catch {
      lateStores.end(id, isLate: isLate, isStored: false, waited: false)
      throw error
    }
    lateStores.end(id, isLate: isLate, isStored: true, waited: true)
  }

  private func storeBlocking(
    _ id: SpoolID, _ data: Bytes, sync: Bool, deadline: ContinuousClock.Instant?
  ) throws {
    // The call may have waited for its id and for a thread.
    try checkAcceptance(deadline)
    let temporary = temporaryPath(id.description)
    let file = encode(data, settings.compression)
    do {
      try counting(id, after: file.byteCount) {
        try write(file, to: temporary, sync: sync)
        do {
          try checkAcceptance(deadline)
          try place(id, sync: sync) { path throws(IOFailure) in
            try Files.move(temporary, to: path)
          }
        } catch {
          // Gone already when only a sync failed.
          try? Files.remove(temporary)
          throw error
        }
      }
    } catch let error as IOFailure {
      recordFailure(error, bytes: file.byteCount)
      throw failure("store", id, error)
    }
    gate.recordSuccess()
  }

  // MARK: The quota

  /// Runs a change of a message while no other change of its id is under way, where there is a
  /// quota: a replacement counts with the difference to what was there.
  func alone<Value>(
    with id: SpoolID, until deadline: ContinuousClock.Instant?, _ body: () async throws -> Value
  ) async throws -> Value {
    guard let ledger else { return try await body() }
    guard try await ledger.lock(id, until: deadline) else { throw lateError }
    defer { ledger.unlock(id) }
    return try await body()
  }

  /// Runs a change of a message's file and counts it, where there is a quota.
  ///
  /// - Parameter after: Bytes of the file after the change; nil where it takes the file away.
  func counting(_ id: SpoolID, after: Int?, _ body: () throws -> Void) throws {
    guard let ledger else { return try body() }
    let before = try directory.fileBytes(id)
    let change = SpoolLedger.Change(before: before, after: after)
    try ledger.reserve(change)
    do {
      try body()
    } catch {
      ledger.giveBack(change)
      // A failed sync comes after the change.
      var found = change
      do throws(IOFailure) {
        found.after = try directory.fileBytes(id)
      } catch {
        // Nobody can look: the file counts as changed.
      }
      ledger.expect(found)
      ledger.settle(found)
      throw error
    }
    ledger.settle(change)
  }

  private func checkAcceptance(_ deadline: ContinuousClock.Instant?) throws {
    if let refusal = gate.refusal { throw refusal }
    if let deadline, clock.now >= deadline { throw lateError }
  }

  private var lateError: SpindleError {
    SpindleError(.deadlineExceeded, "the caller-supplied deadline was reached before acceptance")
  }

  /// Makes the file of a payload, as of now.
  func encode(_ payload: Bytes, _ compression: PayloadCompression) -> LocalDiskRecord.Encoded {
    LocalDiskRecord.encode(
      payload, compression, run: run, storedMilliseconds: clock.wallMilliseconds)
  }

  /// Writes a file that does not have its name yet.
  func write(_ file: LocalDiskRecord.Encoded, to path: String, sync: Bool) throws(IOFailure) {
    try Files.create(path, parts: [file.header, file.body], sync: sync)
    hooks.atStep(.written(synced: sync))
  }

  /// How often a file is given its name, the directories made anew each time: a cleanup may remove
  /// them between. The last time it may not.
  private static let placeAttempts = 3

  /// Gives a message its name below `data`.
  ///
  /// - Parameter put: Gives a file the path that it gets.
  func place(
    _ id: SpoolID, sync: Bool, by put: (String) throws(IOFailure) -> Void
  ) throws(IOFailure) {
    let path = id.path(under: directory.data)
    let parents = directory.parents(of: id)
    // Asked before any directory is made; see DurableDirectories.
    let generation = durable.generation
    var attempt = 1
    func turn() throws(IOFailure) {
      // Mostly they are there: ids of the same minute share them.
      if !Files.isDirectory(parents[4]) {
        for parent in parents.dropFirst() { try Files.makeDirectory(parent) }
      }
      hooks.atStep(.placing(attempt: attempt))
      try put(path)
    }
    while true {
      do throws(IOFailure) {
        if attempt < Self.placeAttempts { try turn() } else { try durable.withoutRemovals(turn) }
        break
      } catch {
        guard error.isNotFound, attempt < Self.placeAttempts else { throw error }
        attempt += 1
      }
    }
    guard sync else { return }
    do throws(IOFailure) {
      let leaf = UInt32(id.uuid.high >> 32)
      if !durable.contains(leaf) {
        for parent in parents.dropLast() { try synchronize(parent) }
      }
      try synchronize(parents[4])
      durable.insert(leaf, since: generation)
    } catch {
      // The directories are gone: so is the message, removed by another call.
      guard error.isNotFound else { throw error }
    }
  }

  /// Makes the names in a directory durable.
  func synchronize(_ path: String) throws(IOFailure) {
    try Files.synchronizeDirectory(path)
    hooks.atStep(.synchronized(path))
  }

  /// Removes a message. With ``LocalDiskSettings/flush`` it does not come back after power loss.
  ///
  /// - Throws: ``SpindleError`` with `notFound` for an absent message, naming it; `io`, `closed`.
  public func remove(_ id: SpoolID) async throws {
    try await measured(.remove, bytes: { 0 }) {
      try await alone(with: id, until: nil) {
        try await blocking { [self] in try removeBlocking(id) }
      }
    }
  }

  private func removeBlocking(_ id: SpoolID) throws {
    do {
      try counting(id, after: nil) {
        try Files.remove(id.path(under: directory.data), mustExist: true)
        if settings.flush { try synchronizeRemoval(of: id) }
      }
    } catch let error as IOFailure {
      if error.isNotFound {
        throw SpindleError(
          .notFound, "cannot remove the message \(id): \(error)", path: error.path)
      }
      recordFailure(error, bytes: 0)
      throw failure("remove", id, error)
    }
  }

  /// Makes the absence of a name below `data` durable. Where a cleanup removed its directory, the
  /// absence of that is.
  func synchronizeRemoval(of id: SpoolID) throws(IOFailure) {
    for parent in directory.parents(of: id).reversed() {
      do throws(IOFailure) {
        return try synchronize(parent)
      } catch {
        guard error.isNotFound else { throw error }
      }
    }
  }
}
