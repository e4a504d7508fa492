internal import SpindleCore
internal import SpindleIO
internal import SpindleRocks
internal import SpindleStore

extension LogIndexTracker {
  /// Writes the log to a file, as it is at one moment. Writers go on meanwhile.
  ///
  /// What is in the file survives power loss here, too: another replica must not know an own entry
  /// whose index is used again. So everything in it is synced before the first byte is written; a
  /// reader of a store that runs elsewhere, or was killed, syncs the log files that it has read.
  ///
  /// - Parameters:
  ///   - path: Must not exist. It appears when the file is complete and durable.
  ///   - contents: The default is rows and state.
  ///   - progress: Called now and then with what was written so far, on a thread that the export
  ///     needs: return soon. How much there is, is an estimate.
  /// - Throws: ``SpindleError``: `corruption` for a log that is damaged (see ``OpLogVerifier``): a
  ///   row, the chain over the rows that are written, the clock; `unavailable` for state that is
  ///   being made anew (reason `rebuild_unfinished`); `io` (reason `disk_full` where
  ///   that is so), `closed`; `unavailable` where an owned store cannot sync. No file is left then.
  /// - Complexity: O(bytes of the log and the state), in bounded memory, on one thread of the
  ///   store.
  @discardableResult
  public func export(
    to path: String, contents: OpLogArchive.Contents = .everything,
    progress: @escaping @Sendable (OpLogArchive.Progress) -> Void = { _ in }
  ) async throws -> OpLogManifest {
    guard !contents.isEmpty else {
      throw SpindleError(.invalidArgument, "an export must hold rows or state")
    }
    // A store that is not owned stands still while it is read.
    let snapshot = try await space.store.blocking { try view() }
    try await space.store.synchronizeRead()
    return try await space.store.blocking {
      if contents.contains(.state) { try requireWholeState(in: snapshot) }
      let writer = try ArchiveWriter(path, progress: progress)
      let peers = try exportedPeers(contents, in: snapshot)
      let created = space.store.clock.wallMilliseconds
      let stateName = try exportedStateName(in: snapshot)
      try writer.add(
        .header(contents: contents, prefix: prefix, created: created, state: stateName))
      for peer in peers { try writer.add(.peer(peer)) }
      writer.expect(elementCount(contents, peers))
      if contents.contains(.rows) {
        for peer in peers { try exportRows(of: peer, in: snapshot, to: writer) }
      }
      if contents.contains(.state) { try exportState(in: snapshot, to: writer) }
      let clock = try exportedClock(in: snapshot)
      let digest = try writer.finish(clock: clock, peers: UInt64(peers.count))
      return OpLogManifest(
        contents: contents, prefix: prefix, stateName: stateName, created: created, peers: peers,
        clock: clock, rows: writer.rows, stateKeys: writer.stateKeys, digest: digest)
    }
  }

  /// Refuses a state that ``Processor/rebuildState()`` has not finished.
  private func requireWholeState(in snapshot: Snapshot?) throws {
    let key = OpLogKeys.rebuildingKey
    try space.store.scan(space.log, options(from: key, to: key + [0], in: snapshot)) { _, _ in
      throw SpindleError(
        .unavailable,
        "the state of the op-log \(printable(prefix)) is being made anew; open the log with the "
          + "program that writes it first", reason: "rebuild_unfinished")
    }
  }

  private func exportedStateName(in snapshot: Snapshot?) throws -> String? {
    let key = OpLogKeys.stateKey
    var name: String?
    try space.store.scan(space.log, options(from: key, to: key + [0], in: snapshot)) { _, value in
      name = String(decoding: copyBytes(value), as: UTF8.self)
      return false
    }
    return name
  }

  /// About how many rows and keys of state there are.
  private func elementCount(
    _ contents: OpLogArchive.Contents, _ peers: [OpLogManifest.Peer]
  ) -> UInt64 {
    // Without rows each peer's first index is its next.
    let rows = peers.reduce(UInt64(0)) { $0 &+ ($1.next - $1.first) }
    guard contents.contains(.state) else { return rows }
    let keys = try? space.store.database.property(
      "rocksdb.estimate-num-keys", of: space.data.columnFamily)
    return rows &+ ((keys ?? nil) ?? 0)
  }

  private func view() throws -> Snapshot? {
    guard space.store.view == .owned else { return nil }
    do throws(RocksError) {
      return try space.store.database.snapshot()
    } catch {
      throw space.store.failure(error, reading: space.log)
    }
  }

  private func options(
    from lower: [UInt8]?, to upper: [UInt8]?, in snapshot: Snapshot?
  ) -> IterationOptions {
    var options = IterationOptions(lowerBound: lower, upperBound: upper)
    options.fillsCache = false
    options.snapshot = snapshot
    return options
  }

  private func exportedPeers(
    _ contents: OpLogArchive.Contents, in snapshot: Snapshot?
  ) throws -> [OpLogManifest.Peer] {
    let floors = try space.storedFloors(in: snapshot)
    var positions = floors
    try forEachLastRow(in: snapshot) { peer, next, row in
      if let floor = floors[peer], floor.next >= next { return }
      positions[peer] = LogPosition(
        next: next, head: (try Self.decode(row, peer: peer, index: next - 1) as OpLogRow).chain)
    }
    return try PeerCursors(positions.mapValues(\.next)).sorted.compactMap { peer, next in
      guard let position = positions[peer] else { return nil }
      let floor = floors[peer] ?? .start
      let first = contents.contains(.rows) ? floor : position
      let isLate =
        try floor.next > 0 ? floor.hasLateChain : beginsUnchained(peer, in: snapshot)
      return OpLogManifest.Peer(
        peer: peer, first: first.next, next: next, firstHead: first.head, head: position.head,
        startsLate: isLate && position.head != nil)
    }
  }

  /// Whether a log that was never trimmed begins with rows in no chain.
  private func beginsUnchained(_ peer: PeerID, in snapshot: Snapshot?) throws -> Bool {
    var isUnchained = false
    try space.store.scan(
      space.log,
      options(from: OpLogKeys.entry(peer, 0), to: OpLogKeys.entry(peer, 1), in: snapshot)
    ) { _, value in
      isUnchained = try (Self.decode(value, peer: peer, index: 0) as OpLogRow).chain == nil
      return false
    }
    return isUnchained
  }

  private func exportRows(
    of peer: OpLogManifest.Peer, in snapshot: Snapshot?, to writer: ArchiveWriter
  ) throws {
    var page = ArchivePage(peer: peer.peer, first: peer.first)
    var bytes = 0
    func flush() throws {
      guard !page.rows.isEmpty else { return }
      let next = page.first + UInt64(page.rows.count)
      try writer.add(.rows(page))
      page = ArchivePage(peer: peer.peer, first: next)
      bytes = 0
    }
    try space.store.scan(
      space.log,
      options(
        from: OpLogKeys.entry(peer.peer, peer.first), to: OpLogKeys.upperBound(of: peer.peer),
        in: snapshot)
    ) { key, value in
      let index = try decodeKey(key).index
      let wanted = page.first + UInt64(page.rows.count)
      guard index == wanted else {
        throw LogTrackerError.corruptRow(
          peer: peer.peer, index: wanted, .invalid("it is missing")
        ).spindleError
      }
      page.rows.append(try Self.decode(value, peer: peer.peer, index: index))
      bytes += value.count
      if page.rows.count >= ArchiveBlock.elementsPerBlock || bytes >= ArchiveBlock.bytesPerBlock {
        try flush()
      }
      return true
    }
    try flush()
  }

  private func exportState(in snapshot: Snapshot?, to writer: ArchiveWriter) throws {
    var pairs: [(key: [UInt8], value: [UInt8])] = []
    var bytes = 0
    func flush() throws {
      guard !pairs.isEmpty else { return }
      try writer.add(.state(pairs))
      pairs = []
      bytes = 0
    }
    try space.store.scan(space.data, options(from: nil, to: nil, in: snapshot)) { key, value in
      pairs.append((copyBytes(key), copyBytes(value)))
      bytes += key.count + value.count
      if pairs.count >= ArchiveBlock.elementsPerBlock || bytes >= ArchiveBlock.bytesPerBlock {
        try flush()
      }
      return true
    }
    try flush()
  }

  private func exportedClock(in snapshot: Snapshot?) throws -> Timestamp? {
    var register: Timestamp?
    try space.store.scan(
      space.log,
      options(from: OpLogKeys.clockKey, to: [OpLogKeys.clockSubspace + 1], in: snapshot)
    ) { key, value in
      guard let decoded = ClockService.decode(value), key.count == 1 else {
        throw LogTrackerError.damagedMeta(
          prefix: prefix, "its clock register has \(value.count) bytes; expected 8"
        ).spindleError
      }
      register = decoded
      return false
    }
    return register
  }
}

extension OpLogArchive {
  /// Writes the file of a log that is not there yet, as that of an empty one, on the calling
  /// thread.
  package static func writeEmpty(
    to path: String, prefix: String, contents: Contents, created: UInt64
  ) throws -> OpLogManifest {
    let writer = try ArchiveWriter(path) { _ in }
    try writer.add(.header(contents: contents, prefix: prefix, created: created, state: nil))
    return OpLogManifest(
      contents: contents, prefix: prefix, created: created, peers: [], clock: nil,
      digest: try writer.finish(clock: nil, peers: 0))
  }
}

/// Writes an archive. Used by one thread.
final class ArchiveWriter {
  private var file: NewFile
  private var digest: EntryHash
  /// Judges what is written as a reader will, so that no export is made that cannot be imported.
  private var audit = ArchiveAudit()
  private let report: (OpLogArchive.Progress) -> Void
  private var progress = OpLogArchive.Progress()
  private var expected: UInt64 = 0
  private(set) var rows: UInt64 = 0
  private(set) var stateKeys: UInt64 = 0

  init(_ path: String, progress: @escaping (OpLogArchive.Progress) -> Void) throws {
    digest = ArchiveReader.firstDigest
    report = progress
    file = try Self.create(path)
    try write(ArchiveBlock.signature)
  }

  /// Tells how much is to come, for the progress.
  func expect(_ count: UInt64) { expected = count }

  private static func create(_ path: String) throws(SpindleError) -> NewFile {
    do throws(IOFailure) { return try NewFile(path) } catch { throw error.spindleError }
  }

  func add(_ block: ArchiveBlock) throws {
    try judge(block)
    let bytes = block.encoded
    digest = ArchiveReader.digest(digest, bytes)
    try write(bytes)
    switch block {
    case .rows(let page): rows += UInt64(page.rows.count)
    case .state(let pairs): stateKeys += UInt64(pairs.count)
    case .header, .peer, .end: return
    }
    progress.count = rows + stateKeys
    progress.fraction = min(Double(progress.count) / Double(max(expected, 1)), 1)
    report(progress)
  }

  /// Ends the file and gives it its name.
  func finish(clock: Timestamp?, peers: UInt64) throws -> EntryHash {
    let end = ArchiveBlock.end(
      clock: clock, peers: peers, rows: rows, stateKeys: stateKeys, digest: digest)
    try judge(end)
    try write(end.encoded)
    do throws(IOFailure) {
      try file.finish()
    } catch {
      throw error.spindleError
    }
    return digest
  }

  private func judge(_ block: ArchiveBlock) throws(SpindleError) {
    do throws(DecodingFailure) { try audit.add(block, digest: digest) } catch {
      throw SpindleError(
        .corruption, "the op-log is damaged and cannot be exported: \(error)",
        reason: "corrupt_oplog")
    }
  }

  private func write(_ bytes: [UInt8]) throws {
    do throws(IOFailure) {
      try file.write(bytes)
    } catch {
      throw error.spindleError
    }
    progress.bytes += UInt64(bytes.count)
  }
}
