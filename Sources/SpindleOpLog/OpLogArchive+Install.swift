internal import SpindleCore
internal import SpindleRocks
internal import SpindleStore

extension OpLogArchive {
  /// Puts rows, state, cursors, chains and clock into a prefix that is new, so that it goes on
  /// where the exported one was. Entries that are newer come by replication afterwards. Survives a
  /// killed process; ``Store/synchronize()`` makes it survive power loss.
  ///
  /// Crash windows. The file's digest is committed first, under a key that keeps the prefix from
  /// being opened; the commit that removes it also stores the floors, the clock and the name of the
  /// reducer that makes the state. A crash in
  /// between leaves a prefix that refuses to open, until the same file is installed again: that
  /// writes the same keys once more and loses nothing. Where the file itself fails in between,
  /// because it was replaced or damaged after it was looked at, all that was stored is removed and
  /// the key last, so the prefix is empty again; a crash on the way leaves it refusing as above.
  ///
  /// - Parameters:
  ///   - prefix: A prefix without any entry and state, created if it is missing. A processor has it
  ///     open or the import runs, not both.
  ///   - indexes: What the prefix keeps; see ``OpLogSettings/indexes``.
  ///   - progress: Called now and then with what was stored so far, on a thread that the import
  ///     needs: return soon.
  /// - Throws: ``SpindleError`` as ``verify()`` does, before anything is stored; `conflict` with
  ///   the reason `not_empty` for a prefix that holds something, or another import's half;
  ///   `invalidArgument` with the reason `no_state` for a file without state.
  @discardableResult
  public func install(
    prefix: String, indexes: OpLogIndexes = [],
    progress: @escaping @Sendable (Progress) -> Void = { _ in }
  ) async throws -> OpLogManifest {
    let (path, limit) = (path, valueByteLimit)
    let manifest = try await store.blocking {
      try Self.verifyInstallable(at: path, valueByteLimit: limit)
    }
    try await install(manifest, prefix: prefix, indexes: indexes, progress: progress)
    return manifest
  }

  /// Reads the whole file as ``verify()`` does, on the calling thread, and says whether it can be
  /// installed.
  package static func verifyInstallable(
    at path: String, valueByteLimit: Int = StoreSettings().valueByteLimit,
    progress: (Progress) -> Void = { _ in }
  ) throws -> OpLogManifest {
    let manifest = try read(path, valueByteLimit: valueByteLimit) { _, now in progress(now) }
    guard manifest.contents.contains(.state) else {
      throw SpindleError(
        .invalidArgument,
        "\(path) holds rows without the state that follows from them; apply it to a log in use",
        path: path, reason: "no_state")
    }
    return manifest
  }

  /// Installs a file that was looked at before.
  package func install(
    _ manifest: OpLogManifest, prefix: String, indexes: OpLogIndexes = [],
    progress: @escaping @Sendable (Progress) -> Void = { _ in }
  ) async throws {
    let claim = try WriterClaim(store, prefix: prefix)
    defer { withExtendedLifetime(claim) {} }
    let space = try await OpLogSpace.open(
      store: store, prefix: prefix, settings: OpLogSettings(indexes: indexes),
      isInstalling: true)
    let installation = ArchiveInstallation(space: space, archive: self, manifest: manifest)
    try await store.blocking { try installation.run(progress: progress) }
  }
}

/// One import into an empty prefix, on a thread that may block.
struct ArchiveInstallation: Sendable {
  let space: OpLogSpace
  let archive: OpLogArchive
  let manifest: OpLogManifest

  func run(progress: (OpLogArchive.Progress) -> Void) throws {
    try begin()
    var isStoreSound = true
    do { try storeContent(progress: progress, isStoreSound: &isStoreSound) } catch {
      // What the store could not take is left for the next attempt.
      if isStoreSound { try? undo() }
      throw error
    }
    try end()
  }

  private func storeContent(
    progress: (OpLogArchive.Progress) -> Void, isStoreSound: inout Bool
  ) throws {
    var batch = Batch.upkeep
    var now = OpLogArchive.Progress()
    func flush() throws {
      isStoreSound = false
      try space.store.commitBlocking(batch)
      isStoreSound = true
      batch = Batch.upkeep
      progress(now)
    }
    let indexes = space.memory.indexes
    let limit = archive.valueByteLimit
    let read = try OpLogArchive.read(archive.path, valueByteLimit: limit) { block, read in
      now = read
      switch block {
      case .rows(let page):
        for (offset, row) in page.rows.enumerated() {
          let index = page.first + UInt64(offset)
          batch.put(space.log, key: OpLogKeys.entry(page.peer, index), value: row.encoded)
          for key in OpLogIndexKey.keys(of: row, peer: page.peer, index: index, in: indexes) {
            batch.put(space.log, key: key, value: [])
          }
          if batch.byteCount >= OpLogSpace.bytesPerBatch { try flush() }
        }
      case .state(let pairs):
        for (key, value) in pairs {
          batch.put(space.data, key: key, value: value)
          if batch.byteCount >= OpLogSpace.bytesPerBatch { try flush() }
        }
      case .header, .peer, .end: break
      }
    }
    try OpLogArchive.check(read, is: manifest, path: archive.path)
    try flush()
  }

  /// Empties the prefix again.
  private func undo() throws {
    var batch = Batch.upkeep
    for (family, lower) in [(space.log, [OpLogKeys.metaSubspace + 1]), (space.data, nil)] {
      var isDone = false
      while !isDone {
        isDone = true
        try space.store.scan(family, IterationOptions(lowerBound: lower)) { key, _ in
          batch.delete(family, key: copyBytes(key))
          isDone = batch.byteCount < OpLogSpace.bytesPerBatch
          return isDone
        }
        try space.store.commitBlocking(batch)
        batch = Batch.upkeep
      }
    }
    batch.delete(space.log, key: OpLogKeys.installingKey)
    try space.store.commitBlocking(batch)
  }

  private func begin() throws {
    let mark = manifest.digest.bytes
    if let stored = try space.store.getBlocking(space.log, key: OpLogKeys.installingKey) {
      guard stored == mark else {
        throw SpindleError(
          .conflict,
          "an import of another file into the op-log \(space.prefix) was interrupted; finish that "
            + "one first", reason: "not_empty")
      }
      return
    }
    guard try isEmpty(space.log, from: [OpLogKeys.metaSubspace + 1]), try isEmpty(space.data)
    else {
      throw SpindleError(
        .conflict,
        "the op-log \(space.prefix) holds something already; a snapshot goes into a new prefix",
        reason: "not_empty")
    }
    var batch = Batch()
    batch.requireAbsent(space.log, key: OpLogKeys.installingKey, owner: "import")
    batch.put(space.log, key: OpLogKeys.installingKey, value: mark)
    // A processor that had the empty prefix open may have been another reducer's.
    batch.delete(space.log, key: OpLogKeys.stateKey)
    try space.store.commitBlocking(batch)
  }

  private func isEmpty(_ family: StoreFamily, from lower: [UInt8]? = nil) throws -> Bool {
    var isEmpty = true
    try space.store.scan(family, IterationOptions(lowerBound: lower)) { _, _ in
      isEmpty = false
      return false
    }
    return isEmpty
  }

  private func end() throws {
    var batch = Batch()
    for (peer, floor) in manifest.floors {
      batch.put(space.log, key: OpLogKeys.floor(peer), value: OpLogSpace.encode(floor))
    }
    if let clock = manifest.clock {
      var bytes: [UInt8] = []
      bytes.appendBigEndian(clock.packed)
      batch.put(space.log, key: OpLogKeys.clockKey, value: bytes)
    }
    if let name = manifest.stateName {
      batch.put(space.log, key: OpLogKeys.stateKey, value: Array(name.utf8))
    }
    // So may its making anew of no state, which would find floors now.
    batch.delete(space.log, key: OpLogKeys.rebuildingKey)
    batch.delete(space.log, key: OpLogKeys.installingKey)
    try space.store.commitBlocking(batch)
    space.memory.raise(manifest.floors)
  }
}
