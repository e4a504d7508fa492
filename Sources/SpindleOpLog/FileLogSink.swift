public import SpindleCore
internal import SpindleIO
public import SpindleStore
internal import Synchronization

/// The files of one peer's own log. It writes no other peer's.
///
/// Crash windows:
/// - *While entries are added to the open segment*: what was not synced may be missing, torn or
///   zeros after power loss; none of it was acknowledged. Readers take a torn end for one that has
///   not arrived; the next sink cuts it off and goes on where the last whole entry ends.
/// - *While a segment is made*: it is written and synced under another name, then renamed, then the
///   directory is synced. A crash leaves the other name, which nobody reads and the next writer of
///   that segment replaces, or the whole segment.
/// - *After the sync, before the acknowledged mark is written*: the mark is behind. The entries are
///   there and are counted.
/// - *Before the mark reaches the disk*, which is certain only where a segment ends and after
///   ``close()``: power loss leaves an older one. The same holds.
///
/// An entry below the mark that cannot be read was acknowledged and is damaged: the sink is refused
/// then, and nothing is cut. It is refused also at any end that does not look torn, mark or not:
/// damage, or what a newer version wrote. With the op-log at hand it mends its files instead: see
/// ``init(root:settings:store:repairingFrom:)``.
public final class FileLogSink<Op: IndexableOp>: Sendable {
  /// Whose entries these are.
  public let selfID: PeerID
  let settings: FileLogSettings
  private let store: Store
  private let files: SegmentFiles<Op>
  private let lock: Mutex<FileLock?>
  /// Held while the file of acknowledgements is written.
  private let acknowledging = Mutex(())
  private let tail: Mutex<Tail>
  /// Whether all files were compared with the op-log since they were opened.
  let isExamined = Atomic<Bool>(false)

  /// What is known of the last segment.
  enum Tail: Sendable {
    /// Nothing yet, or nothing for certain after a write that failed.
    case unknown
    /// Nil before the first segment.
    case known(SegmentState?)
    /// A call works on it.
    case taken
    case closed
  }

  /// Opens a peer's files for writing, and makes their directory.
  ///
  /// - Parameters:
  ///   - root: The folder of all peers.
  ///   - store: Whose threads write the files, so that no task waits for the disk.
  /// - Throws: ``SpindleError`` with `invalidArgument` for an empty mark, `unavailable`, reason
  ///   `locked`, while another sink on this machine has the peer's files, `io`; `corruption`,
  ///   reason `corrupt_segment`, when acknowledged entries are damaged or gone.
  public convenience init(
    root: String, selfID: PeerID, settings: FileLogSettings, store: Store
  ) async throws {
    try await self.init(locking: root, selfID: selfID, settings: settings, store: store)
    try await closingOnFailure { _ = try await position() }
  }

  /// Opens the files of an op-log's own peer, and mends what is missing or damaged in them from
  /// the op-log before anything is added: see ``Publisher/repair()``. Files that do not agree with
  /// the op-log are opened as they are, so that what it lacks can be pulled; ``Publisher/sync()``
  /// tells of them. Where they are ahead of it, it takes no new entries from this call on, until
  /// the missing ones were pulled back.
  ///
  /// - Throws: as ``init(root:selfID:settings:store:)``, and what the op-log throws.
  /// - Complexity: O(bytes of the files).
  public convenience init(
    root: String, settings: FileLogSettings, store: Store,
    repairingFrom log: any PublishedLog<Op>
  ) async throws {
    try await self.init(locking: root, selfID: log.selfID, settings: settings, store: store)
    try await closingOnFailure {
      do { _ = try await repair(from: log) } catch let error as SpindleError
        where error.kind == .conflict
      {
        // No file was changed, and an op-log that is behind is fenced. The first publishing tries
        // again and tells.
      }
      _ = try await position()
    }
  }

  private func closingOnFailure(_ body: () async throws -> Void) async throws {
    do { try await body() } catch {
      try? close()
      throw error
    }
  }

  private init(
    locking root: String, selfID: PeerID, settings: FileLogSettings, store: Store
  ) async throws {
    guard !settings.magic.isEmpty else {
      throw SpindleError(
        .invalidArgument, "the mark of a log's files is empty; expected one byte at least",
        reason: "bad_magic")
    }
    self.selfID = selfID
    self.settings = settings
    self.store = store
    let files = SegmentFiles<Op>(FileLogFolder(root: root), settings: settings)
    self.files = files
    lock = Mutex(try await store.blocking { try files.lock(selfID) })
    tail = Mutex(.unknown)
  }

  /// Lets another sink have the files. Repeats do nothing. Waits for the disk, at most one sync of
  /// a file of 28 bytes.
  ///
  /// - Throws: ``SpindleError`` with `conflict`, reason `sink_busy`, while a call is not finished;
  ///   `io` when the mark of what was acknowledged could not be synced. It is closed then.
  public func close() throws {
    let hasMark = try tail.withLock { tail in
      if case .taken = tail { throw isBusy }
      defer { tail = .closed }
      if case .known(.some) = tail { return true }
      return false
    }
    defer {
      lock.withLock { lock in
        lock?.release()
        lock = nil
      }
    }
    guard hasMark else { return }
    do throws(IOFailure) {
      let mark = files.folder.mark(of: selfID)
      if try Files.isThere(mark) { try Files.synchronize(mark) }
    } catch {
      throw error.spindleError
    }
  }

  /// Where the files end: the next index to write, and the chain's head there. Read from the disk
  /// where a write has failed.
  public func position() async throws -> LogPosition {
    try await withTail { files, state in
      LogPosition(next: state?.next ?? 0, head: state.map(\.head) ?? .seed(of: self.selfID))
    }
  }

  /// Adds entries, which must follow each other and the last one written. They are durable when the
  /// call returns.
  ///
  /// When it throws, none of the entries were written, or ``position()`` tells how many. One call
  /// at a time.
  ///
  /// - Throws: ``SyncError/cursorMismatch(peer:expected:actual:)``, ``SpindleError`` with
  ///   `invalidArgument` for an entry that cannot be encoded, `conflict`, reason `sink_busy`, while
  ///   another call is not finished, `io`.
  /// - Complexity: one sync of a file; two more, and one of the directory, per segment begun. Each
  ///   change between entries with and without users begins one, and each fall of the timestamp.
  public func write(_ entries: [(index: UInt64, entry: DecodedEntry<Op>)]) async throws {
    try await write(entries, startingAt: nil)
  }

  /// The same for an op-log whose beginning was trimmed.
  ///
  /// - Parameter start: Where it begins, with the chain's head there. Files that end before it get
  ///   a segment that starts there; what lies between is in none.
  func write(
    _ entries: [(index: UInt64, entry: DecodedEntry<Op>)], startingAt start: LogPosition?
  ) async throws {
    try await withTail { files, state in
      let plan = try self.plan(entries, from: state, startingAt: start)
      for piece in plan {
        try self.write(piece, to: files)
        try self.mark(piece.end, isSynced: piece.offset == nil, in: files)
        state = piece.end
      }
    }
  }

  /// Puts the marker of a removed entry in its place, after the op-log has done so: see
  /// ``Publisher/expunge(index:hash:)``, which no publishing overtakes. The segment is
  /// written anew; all other hashes, and the chain, stay as they are.
  ///
  /// - Parameter hash: The removed entry's hash, as the op-log tells it.
  /// - Returns: Whether the entry was in the files and no marker yet.
  /// - Throws: ``SpindleError`` with `conflict`, reason `chain_mismatch`, when the files hold an
  ///   entry with another hash there; `corruption`; `io`.
  @discardableResult
  package func expunge(index: UInt64, hash: EntryHash) async throws -> Bool {
    try await withTail { files, state in
      guard let last = state, index < last.next else { return false }
      guard let end = try self.rewrite(index, hash, in: files) else { return false }
      if end.header.start == last.header.start {
        state = end
        try self.mark(end, isSynced: false, in: files)
      }
      return true
    }
  }

  /// Tells the others of the folder what this replica has and keeps. Goes beside any other call:
  /// its file is none of the log's.
  ///
  /// - Parameter doubtful: Peers of which the file goes on telling what it told before, but no more
  ///   than is named: whoever reads it takes a peer that is not in it for one of which nothing is
  ///   here.
  func acknowledge(_ cursors: PeerCursors, except doubtful: Set<PeerID>) async throws {
    try await store.blocking { [self] in
      try acknowledging.withLock { _ in
        if tail.withLock({ if case .closed = $0 { true } else { false } }) {
          throw SpindleError(.closed, "the log files of peer \(selfID) are closed")
        }
        let path = files.folder.acknowledgement(of: selfID)
        do throws(IOFailure) {
          var word = cursors.leavingOut(doubtful)
          if !doubtful.isEmpty, let before = try FileLogAcknowledgement.read(path) {
            for peer in doubtful {
              let here = cursors[peer]
              word.advance(peer, to: here == 0 ? before[peer] : min(before[peer], here))
            }
          }
          try Files.writeAtomically(FileLogAcknowledgement.encode(word), to: path)
        } catch {
          throw error.spindleError
        }
      }
    }
  }

  /// Runs a call on one of the store's threads with the last segment's end, which it may move.
  private func withTail<Result: Sendable>(
    _ body: @escaping @Sendable (SegmentFiles<Op>, inout SegmentState?) throws -> Result
  ) async throws -> Result {
    try await withFiles { [self] files, tail in
      var state: SegmentState?
      if case .known(let known) = tail { state = known } else { state = try recover(files) }
      let result = try body(files, &state)
      tail = .known(state)
      return result
    }
  }

  /// The same for a call that looks after the last segment itself. One call at a time; after one
  /// that failed nothing is known of the last segment.
  func withFiles<Result: Sendable>(
    _ body: @escaping @Sendable (SegmentFiles<Op>, inout Tail) throws -> Result
  ) async throws -> Result {
    try await store.blocking { [self] in
      var taken = tail.withLock { tail in
        let before = tail
        if case .closed = tail { return before }
        tail = .taken
        return before
      }
      switch taken {
      case .taken: throw isBusy
      case .closed: throw SpindleError(.closed, "the log files of peer \(selfID) are closed")
      case .known, .unknown: break
      }
      do {
        let result = try body(files, &taken)
        tail.withLock { $0 = taken }
        return result
      } catch {
        tail.withLock { $0 = .unknown }
        throw error
      }
    }
  }

  private func recover(_ files: SegmentFiles<Op>) throws -> SegmentState? {
    try files.recover(selfID, beforeSync: settings.hooks.beforeSync)
  }

  private var isBusy: SpindleError {
    SpindleError(
      .conflict, "the log files of peer \(selfID) are being written by another call",
      reason: "sink_busy")
  }

  // MARK: Writing

  /// One file's share of a call.
  struct Piece {
    var bytes: [UInt8]
    /// Where they go in a segment that is there; nil for a new one.
    var offset: Int?
    var end: SegmentState
  }

  /// Encodes everything before anything is written, so that a bad entry costs nothing.
  func plan(
    _ entries: [(index: UInt64, entry: DecodedEntry<Op>)], from state: SegmentState?,
    startingAt start: LogPosition?
  ) throws -> [Piece] {
    var pieces: [Piece] = []
    var next = state?.next ?? 0
    var encoder = state.map { SegmentEncoder<Op>(continuing: $0) }
    var offset = state?.byteCount
    var firstHead: ChainHead? = .seed(of: selfID)
    if let start, start.next > next {
      (next, encoder, firstHead) = (start.next, nil, start.head)
    }
    func finish() {
      guard var encoder, encoder.pendingByteCount > 0 else { return }
      pieces.append(
        Piece(bytes: encoder.takeBytes(), offset: offset, end: encoder.state))
    }
    for (index, entry) in entries {
      guard index == next else {
        throw SyncError.cursorMismatch(peer: selfID, expected: next, actual: index)
      }
      do throws(CodecError) {
        if encoder.map({ !takes(entry, at: $0.state) }) ?? true {
          finish()
          let header = SegmentHeader(
            mode: entry.mode ?? settings.mode, peer: selfID, start: next,
            head: encoder.map { $0.state.head } ?? firstHead)
          encoder = try SegmentEncoder(magic: settings.magic, header: header)
          offset = nil
        }
        try encoder?.append(entry)
      } catch {
        throw LogTrackerError.unwritableOp(peer: selfID, index: index, error).spindleError
      }
      if let size = encoder?.state.byteCount, size > settings.fileByteLimit {
        throw SpindleError(
          .invalidArgument,
          "the entry at index \(index) makes a log file of \(size) bytes; by the settings a "
            + "segment has \(settings.fileByteLimit) at most", reason: "segment_limit")
      }
      next += 1
    }
    finish()
    return pieces
  }

  /// Whether an entry goes into a segment. A new one is begun where it is full, or where the entry
  /// needs the other mode or is older than the last, which no segment can hold.
  private func takes(_ entry: DecodedEntry<Op>, at state: SegmentState) -> Bool {
    guard state.entryCount < UInt64(max(settings.rotationEntryCount, 1)),
      state.byteCount < settings.rotationLimit
    else { return false }
    guard case .logEntry(let real) = entry else { return true }
    return entry.mode == state.header.mode && real.timestamp >= state.lastTimestamp
  }

  func write(_ piece: Piece, to files: SegmentFiles<Op>) throws {
    let path = files.folder.segment(of: selfID, start: piece.end.header.start)
    do throws(IOFailure) {
      if let offset = piece.offset {
        try Files.append(piece.bytes, to: path, at: UInt64(offset))
      } else {
        try Files.writeAtomically(piece.bytes, to: path)
      }
    } catch {
      throw error.spindleError
    }
    try settings.hooks.afterWrite(path)
  }

  func mark(
    _ end: SegmentState, isSynced: Bool, in files: SegmentFiles<Op>
  ) throws(SpindleError) {
    do throws(IOFailure) {
      try AcknowledgedMark(end).write(to: files.folder.mark(of: selfID), isSynced: isSynced)
    } catch {
      throw error.spindleError
    }
  }

  /// - Returns: The end of the new segment; nil when the marker is there already.
  private func rewrite(
    _ index: UInt64, _ hash: EntryHash, in files: SegmentFiles<Op>
  ) throws -> SegmentState? {
    guard let segment = try files.segment(of: selfID, holding: index) else { return nil }
    let header = segment.content.state.header
    let place = Int(index - header.start)
    let known = try files.hash(of: segment.content.entries[place], selfID, index)
    guard known == hash else {
      throw SpindleError(
        .conflict,
        "the log file \(segment.path) holds another entry at index \(index) than was removed",
        path: segment.path, reason: "chain_mismatch")
    }
    if case .expunged = segment.content.entries[place] { return nil }
    var entries = segment.content.entries
    entries[place] = .expunged(hash)
    let (bytes, end) = try encode(entries, header)
    do throws(IOFailure) { try Files.writeAtomically(bytes, to: segment.path) } catch {
      throw error.spindleError
    }
    return end
  }

  func encode(
    _ entries: [DecodedEntry<Op>], _ header: SegmentHeader
  ) throws -> (bytes: [UInt8], end: SegmentState) {
    var index = header.start
    do throws(CodecError) {
      var encoder = try SegmentEncoder<Op>(magic: settings.magic, header: header)
      for entry in entries {
        try encoder.append(entry)
        index += 1
      }
      return (encoder.takeBytes(), encoder.state)
    } catch {
      throw LogTrackerError.unwritableOp(peer: selfID, index: index, error).spindleError
    }
  }
}

extension DecodedEntry {
  /// The mode that carries the entry; nil for a marker, which any does.
  fileprivate var mode: SegmentMode? {
    switch self {
    case .expunged: nil
    case .logEntry(let entry): entry.serverUser == nil ? .device : .server
    }
  }
}

extension SegmentFiles {
  /// Makes a peer's directory and takes its lock.
  fileprivate func lock(_ peer: PeerID) throws -> FileLock {
    do throws(IOFailure) {
      try Files.createDirectory(folder.directory(of: peer))
      if let lock = try FileLock.acquire(folder.lock(of: peer), writesOwner: true) { return lock }
    } catch {
      throw error.spindleError
    }
    let path = folder.directory(of: peer)
    throw SpindleError(
      .unavailable, "the log files in \(path) are open for writing already", path: path,
      reason: "locked")
  }

  /// Where a peer's own writer goes on: the end of the last segment, whose torn end the next write
  /// cuts off. Nil before the first segment.
  fileprivate func recover(
    _ peer: PeerID, beforeSync: (String) throws -> Void
  ) throws -> SegmentState? {
    let acknowledged = try AcknowledgedMark.read(folder.mark(of: peer))?.next ?? 0
    do {
      var starts = try folder.starts(of: peer)
      while let start = starts.popLast() {
        let path = folder.segment(of: peer, start: start)
        guard let segment = try load(peer, start: start) else {
          // A sink renames whole segments only, so these bytes are no entry that it ever wrote.
          if acknowledged > start { throw damage(of: path) }
          try Files.move(path, to: path + ".torn")
          continue
        }
        try check(segment, acknowledged)
        if let previous = starts.last { try checkLink(segment, after: previous, of: peer) }
        // What an earlier run added, or another program put there, is counted from here on.
        try beforeSync(path)
        try Files.synchronize(path)
        try synchronizeDirectories(of: peer, beforeSync)
        return segment.content.state
      }
    } catch let error as IOFailure {
      throw error.spindleError
    }
    guard acknowledged == 0 else { throw damage(of: folder.segment(of: peer, start: 0)) }
    try synchronizeDirectories(of: peer, beforeSync)
    return nil
  }

  /// Makes the names durable that lead to a peer's segments: a crash may have come between their
  /// making and the sync.
  private func synchronizeDirectories(
    of peer: PeerID, _ beforeSync: (String) throws -> Void
  ) throws {
    let paths = [folder.directory(of: peer), folder.root, Files.directory(of: folder.root)]
    for path in paths {
      try beforeSync(path)
      do throws(IOFailure) { try Files.synchronizeDirectory(path) } catch {
        throw error.spindleError
      }
    }
  }

  /// Only an end that looks torn may be cut off, and only what was not acknowledged.
  private func check(_ segment: LoadedSegment<Op>, _ acknowledged: UInt64) throws(SpindleError) {
    let failure = segment.content.failure
    guard segment.next >= acknowledged, failure == nil || segment.isTorn else {
      throw segment.damage(failure ?? .unexpectedEnd)
    }
  }

  private func damage(of path: String) -> SpindleError {
    Self.damage(.unexpectedEnd, path: path, offset: 0)
  }

  /// The segment that holds an index, all of it readable; nil where there is none.
  fileprivate func segment(
    of peer: PeerID, holding index: UInt64
  ) throws -> LoadedSegment<Op>? {
    let starts: [UInt64]
    do throws(IOFailure) { starts = try folder.starts(of: peer) } catch { throw error.spindleError }
    guard let start = starts.last(where: { $0 <= index }),
      let segment = try load(peer, start: start), index < segment.next
    else { return nil }
    if let failure = segment.content.failure, !segment.isTorn { throw segment.damage(failure) }
    return segment
  }

  fileprivate func hash(
    of entry: DecodedEntry<Op>, _ peer: PeerID, _ index: UInt64
  ) throws -> EntryHash {
    do throws(CodecError) { return try entry.hash(peer: peer, index: index) } catch {
      throw LogTrackerError.unwritableOp(peer: peer, index: index, error).spindleError
    }
  }
}
