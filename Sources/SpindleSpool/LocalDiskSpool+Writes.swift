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
  /// The deadline is looked at when a thread begins the store and again before the message gets
  /// its name; a store that is refused for it leaves nothing. One that was cancelled runs to its
  /// end before the call returns.
  ///
  /// - Throws: ``SpindleError``: `deadlineExceeded`, `tooLarge`, `overloaded` while too many calls
  ///   wait, `unavailable` after repeated failures of the disk, `io` for one, `closed`. After an
  ///   `io` error of a synced store the message may be there all the same.
  /// - Complexity: O(bytes). With sync one fsync of the file, and one to five of directories.
  public func store(
    _ id: SpoolID, _ data: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws {
    try checkOpen()
    guard data.count <= settings.payloadByteLimit else {
      throw SpindleError(
        .tooLarge,
        "the message has \(data.count) bytes; the spool takes at most \(settings.payloadByteLimit)")
    }
    if let refusal = gate.refusal { throw refusal }
    let sync = forceSync || settings.flush
    try await blocking { [self] in try storeBlocking(id, data, sync: sync, deadline: deadline) }
  }

  private func storeBlocking(
    _ id: SpoolID, _ data: Bytes, sync: Bool, deadline: ContinuousClock.Instant?
  ) throws {
    try checkDeadline(deadline)
    let temporary = temporaryPath(id.description)
    do {
      try write(data, to: temporary, sync: sync)
      do {
        try checkDeadline(deadline)
        try place(id, sync: sync) { path throws(IOFailure) in
          try Files.move(temporary, to: path)
        }
      } catch {
        // Gone already when only a sync failed.
        try? Files.remove(temporary)
        throw error
      }
    } catch let error as IOFailure {
      recordFailure(error, bytes: data.count + LocalDiskRecord.headerBytes)
      throw failure("store", id, error)
    }
    gate.recordSuccess()
  }

  private func checkDeadline(_ deadline: ContinuousClock.Instant?) throws {
    if let deadline, clock.now >= deadline {
      throw SpindleError(
        .deadlineExceeded, "the caller-supplied deadline was reached before acceptance")
    }
  }

  /// Writes a payload with its header.
  func write(_ payload: [UInt8], to path: String, sync: Bool) throws(IOFailure) {
    let header = LocalDiskRecord.header(
      for: payload, run: run, storedMilliseconds: clock.wallMilliseconds)
    try Files.create(path, parts: [header, payload], sync: sync)
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
    try await blocking { [self] in
      do {
        try Files.remove(id.path(under: directory.data), mustExist: true)
        if settings.flush { try synchronizeRemoval(of: id) }
      } catch let error as IOFailure {
        if error.isNotFound {
          throw SpindleError(
            .notFound, "cannot remove the message \(id): \(error)", path: error.path)
        }
        recordFailure(error, bytes: 0)
        throw failure("remove", id, error)
      }
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
