public import SpindleCore
internal import SpindleStore

/// Where local ops were recorded.
public struct Executed: Sendable, Hashable {
  /// The index of the first op.
  public var index: UInt64
  /// How many ops; they follow each other from ``index`` on.
  public var count: Int
  /// The timestamp of all of them.
  public var timestamp: Timestamp
  /// The ops that the reducer recorded without applying, by their place among the ops given.
  public var skipped: [Int] = []
  /// Whether an earlier call with the same idempotency token recorded them, and this one nothing.
  public var isRepeat = false

  public var indices: Range<UInt64> { index..<(index + UInt64(count)) }
}

extension Processor {
  /// Records one local op under the next index of this processor's own peer, and applies it.
  ///
  /// The entry and its state are readable by everyone when the call returns. A call that fails
  /// leaves no gap: the next one uses the same index. Cancelling while the call waits for its turn
  /// records nothing; afterwards the call waits for the outcome.
  ///
  /// - Parameters:
  ///   - serverUser: Whom a server vouched for, if there is one.
  ///   - expectedCursor: The index that the op must get; the default takes the next, whichever.
  ///   - durability: The default, `.buffered`, survives a killed process; `.synced` survives power
  ///     loss.
  ///   - token: Names the call, so that making it again records nothing and tells what the first
  ///     one did, whatever its op. Kept for ``ProcessorSettings/tokenLifetimeMilliseconds``.
  /// - Throws: ``SpindleError``: `conflict`, reason `cursor_mismatch`, when the next index is not
  ///   the expected one; `unavailable`, reason `fenced`, see ``noteElsewhere(_:)``; `unavailable`
  ///   or `invalidArgument`, reason `blocked`, when the reducer refuses the op; `invalidArgument`
  ///   for an op that cannot be recorded; otherwise what the store throws; what the reducer throws,
  ///   as it is; or `CancellationError`.
  /// - Complexity: O(bytes of the op): it is encoded and hashed with SHA-256 on the thread of
  ///   whoever serves the call, the caller's where nobody else writes, and every call behind it
  ///   waits. 16 MiB take some ten milliseconds where the processor has instructions for it.
  @discardableResult
  public func exec(
    _ op: R.Op, serverUser: UserID? = nil, expectedCursor: UInt64? = nil,
    durability: Durability = .buffered, token: IdempotencyToken? = nil
  ) async throws -> Executed {
    try await exec(
      [op], serverUser: serverUser, expectedCursor: expectedCursor, durability: durability,
      token: token)
  }

  /// Records several local ops: consecutive indices, one timestamp, one commit. All of them or
  /// nothing.
  ///
  /// - Parameter ops: At least one, together within the store's limit of a value.
  /// - Throws: What ``exec(_:serverUser:expectedCursor:durability:token:)`` throws for the first op
  ///   that fails.
  @discardableResult
  public func exec(
    _ ops: [R.Op], serverUser: UserID? = nil, expectedCursor: UInt64? = nil,
    durability: Durability = .buffered, token: IdempotencyToken? = nil
  ) async throws -> Executed {
    guard !ops.isEmpty else {
      throw SpindleError(.invalidArgument, "there is no op to execute; expected at least one")
    }
    let request = ExecRequest(
      ops: ops, serverUser: serverUser, expectedCursor: expectedCursor, durability: durability,
      token: token)
    return try await measured(.exec) { try await execute(request) }
  }

  private func execute(_ request: ExecRequest) async throws -> Executed {
    switch try await submit(.exec(request)) {
    case .executed(let executed):
      if executed.isRepeat {
        metrics?.repeated(.exec)
        // The first call may have asked for less.
        if request.durability == .synced { try await store.synchronize() }
        return executed
      }
      counters.executed.add(executed.count)
      metrics?.recorded(.exec, executed.count)
      if request.token != nil, writerMemory.countToken() { await sweepTokens() }
      return executed
    case .failed(let error): throw error
    case .executedEach, .applied, .done:
      throw SpindleError(.unavailable, "the op-log \(prefix) mixed up its replies")
    }
  }

  /// Records several local ops of which each fails alone: those that succeed have rising indices in
  /// the order given, and share commits, as if each had been executed by itself. Those of one
  /// commit, of up to ``LogPage/entryLimit`` ops, have one timestamp and consecutive indices;
  /// between two commits other calls may take indices.
  ///
  /// - Parameter ops: Any number. They are committed in runs of up to ``LogPage/entryLimit``.
  /// - Returns: For each op where it was recorded, or what
  ///   ``exec(_:serverUser:expectedCursor:durability:token:)`` would have thrown for it.
  /// - Throws: Nothing but `CancellationError`, before anything is recorded; a call that is
  ///   cancelled later has the error for the ops that were not.
  public func exec(
    each ops: [R.Op], serverUser: UserID? = nil, durability: Durability = .buffered
  ) async throws -> [Result<Executed, any Error>] {
    let results = try await measured(.exec) {
      try await executeEach(ops, serverUser, durability)
    }
    if let metrics {
      metrics.recorded(.exec, results.count { (try? $0.get()) != nil })
      for case .failure(let error) in results { metrics.refused(.exec, error) }
    }
    return results
  }

  private func executeEach(
    _ ops: [R.Op], _ serverUser: UserID?, _ durability: Durability
  ) async throws -> [Result<Executed, any Error>] {
    try Task.checkCancellation()
    var results: [Result<Executed, any Error>] = []
    results.reserveCapacity(ops.count)
    var runs = [ops[...]]
    while let run = runs.popLast() {
      guard run.count <= LogPage.entryLimit else {
        let split = run.startIndex + LogPage.entryLimit
        runs += [run[split...], run[..<split]]
        continue
      }
      if run.isEmpty { continue }
      do {
        try Task.checkCancellation()
        let reply = try await submit(
          .exec(
            ExecRequest(
              ops: Array(run), serverUser: serverUser, durability: durability,
              isolatesFailures: true)))
        switch reply {
        case .executedEach(let outcomes):
          counters.executed.add(outcomes.count { (try? $0.get()) != nil })
          results += outcomes
        case .failed(let error): throw error
        case .executed, .applied, .done:
          throw SpindleError(.unavailable, "the op-log \(prefix) mixed up its replies")
        }
      } catch let error where run.count > 1 && Self.mayBeOwn(error) {
        // The commit was refused whole: one of the ops may be the reason, and nothing is stored.
        let middle = run.startIndex + run.count / 2
        runs += [run[middle...], run[..<middle]]
      } catch {
        results += run.map { _ in .failure(error) }
      }
    }
    return results
  }

  /// Adds local ops to a turn; on failure the turn is as before.
  func execute(
    _ request: ExecRequest, _ turn: inout Turn, _ bench: inout Bench
  ) async -> Reply {
    let (savepoint, changeCount) = (turn.savepoint, bench.changes.count)
    do {
      if let token = request.token, let receipt = try await receipt(of: token, turn) {
        return .executed(
          Executed(
            index: receipt.index, count: Int(receipt.count), timestamp: receipt.timestamp,
            isRepeat: true))
      }
      var position = bench[selfID]
      try checkFence(position.next)
      if let expected = request.expectedCursor, expected != position.next {
        throw SpindleError(
          .conflict,
          "the next index of peer \(selfID) is \(position.next); the caller expected \(expected)",
          reason: "cursor_mismatch")
      }
      let first = position.next
      let timestamp = try tick(&turn)
      var skipped: [Int] = []
      var outcomes: [Result<Executed, any Error>] = []
      for offset in request.ops.indices {
        let index = position.next
        // Only here, since each op would pay for it.
        let savepoint = request.isolatesFailures ? turn.savepoint : nil
        do {
          guard index < .max else {
            throw LogTrackerError.indexOverflow(peer: selfID).spindleError
          }
          let before = turn.skippedCount
          let context = OpContext(
            peer: selfID, index: index, timestamp: timestamp, serverUser: request.serverUser)
          let head = try await ingest(
            request.ops[offset], context, following: position.head, &turn)
          position = LogPosition(next: index + 1, head: head, timestamp: timestamp)
          let isSkipped = turn.skippedCount > before
          if isSkipped { skipped.append(offset) }
          if savepoint != nil {
            outcomes.append(
              .success(
                Executed(
                  index: index, count: 1, timestamp: timestamp, skipped: isSkipped ? [0] : [])))
          }
        } catch {
          guard let savepoint else { throw error }
          turn.rollBack(to: savepoint)
          outcomes.append(.failure((error as? BlockedOp)?.spindleError ?? error))
        }
      }
      if let token = request.token {
        let receipt = TokenReceipt(
          index: first, count: UInt32(clamping: request.ops.count), timestamp: timestamp)
        try await stage(token, receipt, &turn)
      }
      if position.next > first { bench.move(selfID, to: position) }
      if request.isolatesFailures { return .executedEach(outcomes) }
      return .executed(
        Executed(index: first, count: request.ops.count, timestamp: timestamp, skipped: skipped))
    } catch {
      turn.rollBack(to: savepoint)
      bench.rollBack(to: changeCount)
      return .failed((error as? BlockedOp)?.spindleError ?? error)
    }
  }

  private func tick(_ turn: inout Turn) throws -> Timestamp {
    do throws(HybridClockError) {
      return try turn.clock.tick(wall: turn.wall)
    } catch {
      throw error.spindleError
    }
  }

  // MARK: Idempotency tokens

  /// What an earlier call with a token did, in this turn or before it.
  private func receipt(
    of token: IdempotencyToken, _ turn: borrowing Turn
  ) async throws -> TokenReceipt? {
    guard let records = tracker as? any WriteRecords else {
      throw SpindleError(
        .invalidArgument, "the tracker of the op-log \(prefix) keeps no idempotency tokens")
    }
    if let staged = turn.tokens.last(where: { $0.token == token }) { return staged.receipt }
    return try await records.receipt(of: token, now: turn.wall)
  }

  private func stage(
    _ token: IdempotencyToken, _ receipt: TokenReceipt, _ turn: inout Turn
  ) async throws {
    try await (tracker as? any WriteRecords)?.stage(
      token, receipt, lifetimeMilliseconds: settings.tokenLifetimeMilliseconds, now: turn.wall,
      into: &turn.pending.batch)
    turn.tokens.append((token, receipt))
  }

  /// Removes expired tokens. What fails here is tried again by a later call.
  private func sweepTokens() async {
    _ = try? await (tracker as? any WriteRecords)?.sweepTokens(
      now: store.clock.wallMilliseconds, limit: WriterMemory.sweepLimit)
  }
}
