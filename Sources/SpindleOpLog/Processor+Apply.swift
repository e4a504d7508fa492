public import SpindleCore
internal import SpindleStore

/// What became of a run of entries.
public struct AppliedRun: Sendable {
  /// One for each entry that was taken or was there, from the first on.
  public var outcomes: [Applied] = []
  /// Why the entry behind them was not taken; nil when all were.
  public var failure: SyncError?

  /// How many entries were new.
  public var newCount: Int { outcomes.count { $0.new } }
}

extension Processor: LogProcessor {
  public typealias Op = R.Op

  /// Applies one entry at its index, which must be the peer's next one or one that was taken
  /// before.
  ///
  /// A repeat of what is recorded changes nothing and is told by ``Applied/new``; another entry for
  /// a taken index is a conflict. One whose row was lost, as a recovery may leave it, is
  /// `corruption`, reason `lost_entry`: the log cannot take it again. Entries of this processor's
  /// own peer are taken too, to restore its log: `exec` goes on behind them.
  ///
  /// - Throws: ``SyncError``; nothing was changed then. ``SyncError/backend(_:)`` carries what the
  ///   store or the reducer threw, or `CancellationError`.
  /// - Complexity: O(bytes of the entry): it is encoded and hashed on the thread of whoever serves
  ///   the call, as with ``exec(_:serverUser:expectedCursor:durability:token:)``.
  public func apply(
    peer: PeerID, index: UInt64, entry: DecodedEntry<R.Op>
  ) async throws -> Applied {
    try await apply(peer: peer, index: index, entry: entry, durability: .buffered)
  }

  public func apply(
    peer: PeerID, index: UInt64, entry: DecodedEntry<R.Op>, durability: Durability
  ) async throws -> Applied {
    let start = metrics == nil ? nil : store.clock.now
    var run = AppliedRun()
    var applied = Applied(new: false)
    do {
      var hasReply = false
      while !hasReply {
        if index < board[peer] {
          try await checkRepeat(peer, index, entry)
          if durability == .synced { try await store.synchronize() }
          break
        }
        hasReply = try await submitRun(peer, .one(index: index, entry), durability) > 0
        applied.new = hasReply
      }
    } catch {
      run.failure = failure(error)
    }
    if let metrics, let start {
      if run.failure == nil { run.outcomes = [applied] }
      measure(run, since: start, metrics)
    }
    if let failure = run.failure { throw failure }
    return applied
  }

  /// Has entries applied that are not recorded yet, as far as this processor knows.
  ///
  /// - Returns: How many were taken, from the first on.
  private func submitRun(
    _ peer: PeerID, _ entries: ApplyRequest.Entries, _ durability: Durability,
    _ taken: (Int) -> Void = { _ in }
  ) async throws -> Int {
    switch try await submit(
      .apply(ApplyRequest(peer: peer, entries: entries, durability: durability)))
    {
    case .applied(let count, let end):
      counters.applied.add(count)
      metrics?.recorded(.apply, count)
      taken(count)
      if case .failed(let failure) = end { throw failure }
      return count
    case .failed(let error): throw error
    case .executed, .executedEach, .done:
      throw SpindleError(.unavailable, "the op-log \(prefix) mixed up its replies")
    }
  }

  public func apply(
    peer: PeerID, entries: [(index: UInt64, entry: DecodedEntry<R.Op>)]
  ) async throws -> Int {
    let run = await applyRun(peer: peer, entries: entries)
    if let failure = run.failure { throw failure }
    return run.newCount
  }

  /// Applies entries of one peer in order, up to ``LogPage/entryLimit`` in one commit, and tells
  /// the outcome of each. Stops at the first that fails; those before it are applied.
  ///
  /// - Parameter durability: `.synced` holds for repeats, too: what was there is synced then.
  public func applyRun(
    peer: PeerID, entries: [(index: UInt64, entry: DecodedEntry<R.Op>)],
    durability: Durability = .buffered
  ) async -> AppliedRun {
    let start = metrics == nil ? nil : store.clock.now
    var run = AppliedRun()
    run.outcomes.reserveCapacity(entries.count)
    do {
      while run.outcomes.count < entries.count {
        let (index, entry) = entries[run.outcomes.count]
        // Takes no turn: it is not held up by who writes.
        if index < board[peer] {
          try await checkRepeat(peer, index, entry)
          run.outcomes.append(Applied(new: false))
          continue
        }
        let rest = entries[run.outcomes.count...].prefix(LogPage.entryLimit)
        _ = try await submitRun(peer, .several(rest), durability) { count in
          for _ in 0..<count { run.outcomes.append(Applied(new: true)) }
        }
      }
    } catch {
      run.failure = failure(error)
    }
    // An entry that was there already may have come by a call that asked for less.
    if durability == .synced, run.outcomes.contains(where: { !$0.new }) {
      do { try await store.synchronize() } catch { run.failure = run.failure ?? .backend(error) }
    }
    if let metrics, let start { measure(run, since: start, metrics) }
    return run
  }

  private func measure(
    _ run: AppliedRun, since start: ContinuousClock.Instant, _ metrics: OpLogMetrics
  ) {
    metrics.took(.apply, store.clock.now - start)
    metrics.repeated(.apply, run.outcomes.count { !$0.new })
    if let failure = run.failure { metrics.refused(.apply, failure) }
  }

  /// Compares an entry with what is recorded at its index, which is below the peer's cursor.
  private func checkRepeat(
    _ peer: PeerID, _ index: UInt64, _ entry: DecodedEntry<R.Op>
  ) async throws {
    try await tracker.checkRepeat(of: entry, peer: peer, index: index)
    counters.repeated.add()
  }

  private func failure(_ error: any Error) -> SyncError {
    let failure = error as? SyncError ?? .backend(error)
    switch failure {
    case .cursorMismatch: counters.mismatched.add()
    case .conflict: counters.conflicts.add()
    case .skew: counters.skewed.add()
    case .blocked: counters.blocked.add()
    case .nonMonotonicTimestamp, .compacted, .codec, .backend: break
    }
    return failure
  }

  /// Adds entries to a turn, as many as fit; one that fails leaves the turn as it was before it.
  func apply(
    _ request: ApplyRequest, _ turn: inout Turn, _ bench: inout Bench
  ) async -> Reply {
    let peer = request.peer
    var position = bench[peer]
    var count = 0
    var end = ApplyEnd.complete
    switch request.entries {
    case .one(let index, let entry):
      end = await add(entry, index, request, &position, &count, &turn) ?? .complete
    case .several(let entries):
      end = await add(entries, request, &position, &count, &turn)
    }
    if count > 0 { bench.move(peer, to: position) }
    return .applied(count: count, end)
  }

  /// Adds entries to a turn until one cannot be added; apart from ``apply(_:_:_:)`` so that one
  /// entry pays nothing for what only several need.
  private func add(
    _ entries: ArraySlice<(index: UInt64, entry: DecodedEntry<R.Op>)>, _ request: ApplyRequest,
    _ position: inout LogPosition, _ count: inout Int, _ turn: inout Turn
  ) async -> ApplyEnd {
    for place in entries.indices {
      let reason = await add(
        entries[place].entry, entries[place].index, request, &position, &count, &turn)
      if let reason { return reason }
    }
    return .complete
  }

  /// Adds one entry to a turn, if it is the next.
  ///
  /// - Returns: Why the run ends before the entry; nil when it was added.
  private func add(
    _ entry: DecodedEntry<R.Op>, _ index: UInt64, _ request: ApplyRequest,
    _ position: inout LogPosition, _ count: inout Int, _ turn: inout Turn
  ) async -> ApplyEnd? {
    let peer = request.peer
    if !request.isRaw {
      if index < position.next || count > 0 && turn.isFull { return .more }
      guard index == position.next else {
        return .failed(.cursorMismatch(peer: peer, expected: position.next, actual: index))
      }
    }
    let savepoint = turn.savepoint
    do {
      position = try await take(entry, peer, index, position, &turn)
      count += 1
      return nil
    } catch {
      turn.rollBack(to: savepoint)
      return .failed(describe(error, peer, index))
    }
  }

  /// Adds one entry to a turn.
  ///
  /// - Returns: Where the peer's log ends with it.
  private func take(
    _ entry: DecodedEntry<R.Op>, _ peer: PeerID, _ index: UInt64, _ position: LogPosition,
    _ turn: inout Turn
  ) async throws -> LogPosition {
    guard index < .max else { throw LogTrackerError.indexOverflow(peer: peer).spindleError }
    let next = max(position.next, index + 1)
    switch entry {
    case .expunged(let hash):
      let head = try tracker.trackExpunged(
        peer: peer, index: index, hash: hash, following: position.head,
        into: &turn.pending.batch)
      turn.entryCount += 1
      return LogPosition(next: next, head: head, timestamp: position.timestamp)
    case .logEntry(let entry):
      if settings.refusesFallingTimestamps, let last = position.timestamp, entry.timestamp < last {
        throw SyncError.nonMonotonicTimestamp(peer: peer, index: index)
      }
      try turn.clock.absorb(entry.timestamp, wall: turn.wall)
      let context = OpContext(
        peer: peer, index: index, timestamp: entry.timestamp, serverUser: entry.serverUser)
      let head = try await ingest(entry.op, context, following: position.head, &turn)
      return LogPosition(next: next, head: head, timestamp: entry.timestamp)
    }
  }

  private func describe(_ error: any Error, _ peer: PeerID, _ index: UInt64) -> SyncError {
    switch error {
    case let error as SyncError: error
    case let error as HybridClockError: .skew(peer: peer, index: index, error)
    case let error as BlockedOp:
      .blocked(peer: peer, index: index, reason: error.reason, isRetryable: error.isRetryable)
    default: .backend(error)
    }
  }

  // MARK: For maintenance and tests

  /// Records an entry without looking at the peer's cursor: it may leave holes, and a repeat is a
  /// `uniqueViolation`.
  package func processOne(
    peer: PeerID, index: UInt64, entry: DecodedEntry<R.Op>
  ) async throws {
    let reply = try await submit(
      .apply(
        ApplyRequest(
          peer: peer, entries: .one(index: index, entry), isRaw: true, durability: .buffered)))
    switch reply {
    case .applied(_, .failed(.backend(let error))): throw error
    case .applied(_, .failed(let error)): throw error
    default: return
    }
  }

  /// Runs work that changes rows while nobody writes: it waits for its turn, and others for its
  /// end. Must not call the processor's own writing functions.
  package func exclusively<Value: Sendable>(
    _ body: @escaping @Sendable () async throws -> Value
  ) async throws -> Value {
    let result = ResultBox<Value>()
    let reply = try await submit(
      .exclusive {
        let value = try await body()
        result.set(value)
      })
    if case .failed(let error) = reply { throw error }
    return try result.get()
  }
}

extension Processor: HasCursors {
  public func chainHead(of peer: PeerID, before index: UInt64) async throws -> ChainHead? {
    try await tracker.chainHead(of: peer, before: index)
  }
}

extension Processor: LogSource where T: HistoryTracker<R.Op> {
  /// A page of one peer's entries from an index on, up to its cursor.
  ///
  /// Own entries are synced before they are shown: another replica must not know one whose index is
  /// used again here after a power loss. So a page with new ones waits for the disk, and so does
  /// the first page of other peers' entries: one of them may have been written here, by a processor
  /// that had the log open before.
  ///
  /// - Throws: ``SpindleError`` with `corruption`, `unsupportedFormat`, `io` or `closed`;
  ///   `unavailable` for entries that cannot be synced; `notFound`, reason `compacted`.
  public func readSince(
    peer: PeerID, from index: UInt64
  ) async throws -> [(index: UInt64, entry: DecodedEntry<R.Op>)] {
    let end = board[peer]
    // Rows beyond the cursor belong to a commit whose outcome is not known yet.
    guard index < end else { return [] }
    if peer == selfID ? end > writerMemory.synced : !writerMemory.areOthersSynced {
      let own = board[selfID]
      try await store.synchronize()
      writerMemory.synced(to: own)
      writerMemory.noteOthersSynced()
    }
    var page = try await tracker.readPage(
      peer: peer, from: index, limit: LogPage.entryLimit, byteLimit: LogPage.byteLimit)
    while let last = page.last, last.index >= end { page.removeLast() }
    return page
  }
}

extension Processor: Replica where T: HistoryTracker<R.Op> {}
