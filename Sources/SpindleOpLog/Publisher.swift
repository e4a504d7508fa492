public import SpindleCore
internal import Synchronization

/// A local op-log as a ``Publisher`` sees it: one with a writer on this machine.
public protocol PublishedLog<Op>: LogSource {
  /// Whose entries this machine makes.
  var selfID: PeerID { get }

  /// Below which index a peer's log was trimmed; 0 for one that was not, which is the default.
  func floor(of peer: PeerID) async throws -> UInt64

  /// Refuses new entries of ``selfID`` until its log has reached a cursor, also after the next
  /// open.
  func raiseFence(to cursor: UInt64) async throws

  /// Makes every entry that was committed before the call survive power loss.
  func synchronize() async throws

  /// Entries of ``selfID`` that were removed and may be in the files; see
  /// ``LogIndexTracker/pendingRewrites(of:limit:)``. The default knows of none.
  func pendingRewrites() async throws -> [(index: UInt64, hash: EntryHash)]

  /// Notes that the files hold a removed entry no more.
  func rewritten(index: UInt64) async throws
}

extension PublishedLog {
  public func floor(of peer: PeerID) async throws -> UInt64 { 0 }

  public func pendingRewrites() async throws -> [(index: UInt64, hash: EntryHash)] { [] }

  public func rewritten(index: UInt64) async throws {}
}

/// Copies the entries that this machine makes from its op-log to its files.
///
/// An entry that left the machine must never be lost on it: its index would be used again for
/// another. So the op-log is synced before anything is published, and what is committed meanwhile
/// waits for the next call.
///
/// Crash windows:
/// - *Between the op-log's commit and the write of the file*: the next call finds the file behind
///   and fills it.
/// - *While the file is written*: see ``FileLogSink``; the next call goes on where the file ends.
/// - *Between an entry's expunging in the op-log and in the files*: the op-log has a note of it,
///   and the next call removes the entry from the files before it forgets the note.
///
/// A file that is ahead of the op-log is the mark of a restored backup, or of another machine that
/// writes under the same name. The op-log is fenced then: it takes no new entries of its own until
/// the missing ones were pulled back. A file with another history is refused likewise, and only a
/// new peer id helps.
///
/// What the op-log was trimmed below cannot be published: files that end before that go on where
/// the op-log begins. A replica that has all up to there, from a snapshot, follows them; one that
/// has less is told that the history is missing.
public actor Publisher<Op: IndexableOp> {
  private let log: any PublishedLog<Op>
  private let sink: FileLogSink<Op>
  private let clock: any StoreClock
  private let metrics: PublishMetrics?
  /// The end of the last call. Each waits for the one before it; callers are suspended, so nothing
  /// else grows.
  private var last: Task<Void, Never>?
  /// What was told to be lost between the files and the op-log: once, not with each call until more
  /// is published.
  private var lost: Range<UInt64>?

  /// - Parameters:
  ///   - sink: Of the same peer as the log.
  ///   - clock: Times calls for the metrics that `Documentation/oplog.md` lists. The default is the
  ///     system's.
  /// - Throws: ``SpindleError`` with `invalidArgument` when the peers differ.
  public init(
    log: any PublishedLog<Op>, sink: FileLogSink<Op>, clock: any StoreClock = SystemClock()
  ) throws {
    guard log.selfID == sink.selfID else {
      throw SpindleError(
        .invalidArgument,
        "the op-log of peer \(log.selfID) cannot be published in the files of \(sink.selfID)",
        reason: "wrong_peer")
    }
    self.log = log
    self.sink = sink
    self.clock = clock
    metrics = PublishMetrics(peer: sink.selfID)
  }

  /// Publishes every entry that was committed before the call, and removes from the files what was
  /// expunged from the op-log since. The first call looks through all
  /// own files before, unless they were when they were opened, as ``repair()`` does.
  ///
  /// Cancelling it stops between two pages; what was written stays.
  ///
  /// - Returns: How many entries were written.
  /// - Throws: ``SpindleError`` with `conflict`, reason `fenced`, when the files are ahead of the
  ///   op-log, reason `chain_mismatch` when they hold other entries; what the op-log and the sink
  ///   throw. ``SyncError/cursorMismatch(peer:expected:actual:)`` for a hole in the op-log.
  /// - Complexity: one sync of the op-log, and one of the file per 256 entries. Nothing to write
  ///   costs no sync. The first call reads the files: O(their bytes).
  public func sync() async throws -> Int {
    try await inTurn { publisher in
      let count = try await publisher.measuredPublish()
      try await publisher.removeExpunged()
      return count
    }
  }

  /// Looks through the own files, and writes what is missing or damaged in them once more from the
  /// op-log. Call it when a reader of the folder tells of damage or of a hole.
  ///
  /// A damaged file is kept under the name `<name>.damaged`, which nobody reads. It may hold what
  /// is expunged later: remove it when it is of no more use. What neither the files nor the op-log
  /// has, because it was trimmed there, is told and stays missing; publishing goes on.
  ///
  /// No publishing runs meanwhile. Readers that follow find the old files or the new ones, or for a
  /// moment a log that ends earlier.
  ///
  /// - Returns: What was mended, and what could not be. Each is a line in the log, too.
  /// - Throws: ``SpindleError`` with `conflict`: reason `fenced` when the files have acknowledged
  ///   more than the op-log holds, reason `chain_mismatch` when they hold other entries than it;
  ///   `io`; what the op-log throws. What was mended until then stays, and the next call goes on.
  /// - Complexity: O(bytes of the files), one segment and one page in memory.
  @discardableResult
  public func repair() async throws -> FileLogRepair {
    try await inTurn { publisher in try await publisher.sink.repair(from: publisher.log) }
  }

  /// Puts the marker of a removed entry into the files, after the op-log has done so.
  ///
  /// No publishing runs meanwhile: a page that was read before the entry was removed is in the
  /// files when they are searched for it.
  ///
  /// - Parameter hash: The removed entry's hash, as the op-log tells it.
  /// - Returns: Whether the entry was in the files and no marker yet.
  /// - Throws: ``SpindleError`` with `conflict`, reason `chain_mismatch`, when the files hold an
  ///   entry with another hash there; `corruption`; `io`.
  /// - Complexity: the segment is written anew.
  @discardableResult
  public func expunge(index: UInt64, hash: EntryHash) async throws -> Bool {
    try await inTurn { publisher in try await publisher.remove(index, hash) }
  }

  /// Removes what was expunged and is in the files yet, because whoever expunged it did not say so
  /// here, or crashed before.
  private func removeExpunged() async throws {
    while true {
      let pending = try await log.pendingRewrites()
      if pending.isEmpty { return }
      for (index, hash) in pending {
        try Task.checkCancellation()
        _ = try await remove(index, hash)
      }
    }
  }

  private func remove(_ index: UInt64, _ hash: EntryHash) async throws -> Bool {
    // An index behind the files' end is published as a marker.
    let isRemoved = try await sink.expunge(index: index, hash: hash)
    try await log.rewritten(index: index)
    return isRemoved
  }

  /// Runs a call when those before it have ended.
  private func inTurn<Result: Sendable>(
    _ body: @escaping @Sendable (isolated Publisher) async throws -> Result
  ) async throws -> Result {
    let previous = last
    let task = Task { [self] in
      await previous?.value
      return try await body(self)
    }
    last = Task { _ = await task.result }
    return try await withTaskCancellationHandler {
      try await task.value
    } onCancel: {
      task.cancel()
    }
  }

  private func measuredPublish() async throws -> Int {
    guard let metrics else { return try await publish() }
    let start = clock.now
    defer { metrics.took(clock.now - start) }
    do {
      return try await publish()
    } catch {
      metrics.failed(error)
      throw error
    }
  }

  private func publish() async throws -> Int {
    if !sink.isExamined.load(ordering: .relaxed) { _ = try await sink.repair(from: log) }
    let target = try await log.cursor(of: log.selfID)
    let position = try await sink.position()
    try await log.checkEnd(ofFiles: position.next)
    try await check(position)
    let start = try await begin(behind: position.next)
    let first = max(position.next, start?.next ?? 0)
    guard first < target else { return 0 }
    // Covers all that is below the target; what is committed from here on is not published now.
    try await log.synchronize()
    var written = first
    while written < target {
      try Task.checkCancellation()
      let page = try await log.readSince(peer: log.selfID, from: written)
        .prefix { $0.index < target }
      guard let found = page.first?.index else { break }
      guard found == written else {
        throw SyncError.cursorMismatch(peer: log.selfID, expected: written, actual: found)
      }
      try await sink.write(Array(page), startingAt: start)
      written += UInt64(page.count)
      metrics?.published(page.count)
    }
    return Int(written - first)
  }

  /// Where the op-log begins, when the files end before that.
  private func begin(behind written: UInt64) async throws -> LogPosition? {
    let floor = try await log.floor(of: log.selfID)
    guard floor > written else { return nil }
    if written > 0, lost != written..<floor {
      sink.tell(lost: written..<floor)
      lost = written..<floor
    }
    return LogPosition(
      next: floor, head: try await log.chainHead(of: log.selfID, before: floor))
  }

  /// Compares the chain's head at the end of the files with that of the op-log.
  private func check(_ position: LogPosition) async throws {
    guard let published = position.head,
      let recorded = try await log.chainHead(of: log.selfID, before: position.next)
    else { return }
    guard published == recorded else {
      throw SpindleError(
        .conflict,
        "the files of peer \(log.selfID) hold other entries below index \(position.next) than its "
          + "op-log", reason: "chain_mismatch")
    }
  }
}

extension PublishedLog {
  /// Compares the end of the own files with that of the op-log, which is fenced where it ends
  /// before them: it was restored from a backup, or has lost entries that others may have.
  func checkEnd(ofFiles next: UInt64) async throws {
    let end = try await cursor(of: selfID)
    guard next > end else { return }
    try await raiseFence(to: next)
    throw SpindleError(
      .conflict,
      "the files of peer \(selfID) tell of entries below index \(next), its op-log ends at \(end); "
        + "pull the missing entries back before new ones are made", reason: "fenced")
  }
}
