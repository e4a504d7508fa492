internal import SpindleCore
internal import SpindleStore

extension Processor {
  /// What a caller wants.
  enum Request: Sendable {
    case exec(ExecRequest)
    case apply(ApplyRequest)
    case exclusive(@Sendable () async throws -> Void)
  }

  struct ExecRequest: Sendable {
    var ops: [R.Op]
    var serverUser: UserID?
    var expectedCursor: UInt64?
    var durability: Durability
    var token: IdempotencyToken?
    /// Whether an op that fails takes back itself alone.
    var isolatesFailures = false
  }

  struct ApplyRequest: Sendable {
    /// One entry is the usual case, and dearer as an array of one.
    enum Entries: Sendable {
      case one(index: UInt64, DecodedEntry<R.Op>)
      case several(ArraySlice<(index: UInt64, entry: DecodedEntry<R.Op>)>)
    }

    var peer: PeerID
    var entries: Entries
    /// Whether the entries are recorded without looking at the peer's cursor.
    var isRaw = false
    var durability: Durability
  }

  /// Serves a request by whoever is to lead.
  func submit(_ request: Request) async throws -> Reply {
    guard var bench = try combiner.lead() else {
      let reply = try await combiner.wait(request, service: service)
      return reply
    }
    let reply = await serveAlone(request, &bench)
    combiner.release(bench, service: service)
    outbox?.deliver()
    return reply
  }

  private var service: Group.Service {
    { [self] requests, bench in
      let replies = await serve(requests, &bench)
      if let outbox {
        // Behind the replies, so that no caller waits for a publisher.
        Task { outbox.deliver() }
      }
      return replies
    }
  }

  // MARK: One request

  /// Serves one request in a commit of its own.
  ///
  /// Where a row has come past the processor, so that its cursor is behind, the cursor is read
  /// again and the request served anew. Others may go on adding rows; after three times the caller
  /// gets the refusal. An expired token that is swept at the same time is tried once more.
  ///
  /// Entries that are too large for one commit are halved until they fit; the caller comes back
  /// with the rest.
  private func serveAlone(_ whole: Request, _ bench: inout Bench) async -> Reply {
    if case .exclusive(let body) = whole { return await run(body, &bench) }
    var request = whole
    var repairs = 0
    var hasSwept = false
    while true {
      do {
        try await settle(&bench)
        try await know(request, &bench)
        var turn = try beginTurn()
        let reply = await process(request, &turn, &bench)
        do {
          try await commit(turn, request.durability, &bench)
          return reply
        } catch let error as SpindleError
          where error.kind == .uniqueViolation && repairs < 3 && !request.isRaw
        {
          repairs += 1
          try await repair(request.peer(selfID), &bench)
        } catch let error as SpindleError
          where error.kind == .conflict && request.hasToken && !hasSwept
        {
          hasSwept = true
        } catch let error as SpindleError
          where error.kind == .invalidArgument || error.kind == .tooLarge
        {
          guard let half = request.half else { throw error }
          request = half
        }
      } catch {
        return request.failure(error)
      }
    }
  }

  private func run(
    _ body: @Sendable () async throws -> Void, _ bench: inout Bench
  ) async -> Reply {
    do {
      // What it looks at is to agree with the cursors, also after a commit with an open outcome.
      try await settle(&bench)
      try await body()
      return .done
    } catch {
      return .failed(error)
    }
  }

  /// Reads again what a commit that failed may have stored, and begins the rows' memory anew where
  /// it was left behind. Once no batch is in the making.
  private func settle(_ bench: inout Bench) async throws {
    if let rows, !rows.memory.isCurrent {
      rows.memory.begin()
      bench.forget()
    }
    for peer in bench.doubtful { try await repair(peer, &bench) }
  }

  /// Reads a request's peer again where rows may have come past the processor. Once no batch is in
  /// the making.
  private func know(_ request: Request, _ bench: inout Bench) async throws {
    let peer = request.peer(selfID)
    if bench.knows(peer) || request.isRaw { return }
    let position = try await tracker.position(of: peer)
    if position.next > bench[peer].next { try await repair(peer, &bench) }
    bench.know(peer)
  }

  /// Reads one peer's cursor from the rows, and the clock's register that came with them.
  private func repair(_ peer: PeerID, _ bench: inout Bench) async throws {
    counters.repairs.add()
    metrics?.repaired()
    try await clock.reload()
    let position = try await tracker.position(of: peer)
    bench.repair(peer, position)
    board.advance(peer, to: position.next)
  }

  // MARK: Groups

  private func serve(_ requests: [Request], _ bench: inout Bench) async -> [Reply] {
    if requests.count == 1 { return [await serveAlone(requests[0], &bench)] }
    var replies: [Reply] = []
    replies.reserveCapacity(requests.count)
    while replies.count < requests.count {
      if case .exclusive(let body) = requests[replies.count] {
        replies.append(await run(body, &bench))
      } else {
        await serveTurn(requests, &bench, into: &replies)
      }
    }
    return replies
  }

  /// Serves as many of the requests that have no reply yet as fit in one commit.
  ///
  /// A request that fails takes back only its own changes. When the commit itself fails and one of
  /// the requests may be the reason, nothing is stored and each is served again alone; if it is the
  /// store, all of them fail.
  ///
  /// Where only some of the requests ask for it, the log is synced behind the commit: when the sync
  /// fails the entries are stored, and a caller who did not ask for it must not be told otherwise,
  /// or it makes its call again and has it recorded twice.
  private func serveTurn(
    _ requests: [Request], _ bench: inout Bench, into replies: inout [Reply]
  ) async {
    let first = replies.count
    do {
      try await settle(&bench)
      let unknown = await knowAll(requests, from: first, &bench)
      var turn = try beginTurn()
      // Those that added something. Who repeats a call sees to the sync of the first one itself.
      var synced: [Int] = []
      for index in first..<requests.count {
        let request = requests[index]
        if case .exclusive = request { break }
        if let error = unknown[index] {
          replies.append(request.failure(error))
          continue
        }
        let before = turn.entryCount
        replies.append(await process(request, &turn, &bench))
        if turn.entryCount > before, request.durability == .synced { synced.append(index) }
        if turn.isFull { break }
      }
      let allAreSynced = !synced.isEmpty && synced.count == replies.count - first
      try await commit(turn, allAreSynced ? .synced : .buffered, &bench)
      if !synced.isEmpty, !allAreSynced {
        do {
          try await store.synchronize()
          writerMemory.synced(to: bench[selfID].next)
        } catch {
          for index in synced { replies[index] = requests[index].failure(error) }
        }
      }
    } catch {
      let count = max(replies.count - first, 1)
      replies.removeLast(replies.count - first)
      let isOwn = Self.mayBeOwn(error)
      for request in requests[first..<(first + count)] {
        replies.append(isOwn ? await serveAlone(request, &bench) : request.failure(error))
      }
    }
  }

  /// Reads again the peers of the requests that have no reply yet, where rows may have come past
  /// the processor. Before a turn begins, because the clock that the turn begins with may be read
  /// again with them.
  ///
  /// - Returns: Why a request's peer could not be read, by the request's place.
  private func knowAll(
    _ requests: [Request], from first: Int, _ bench: inout Bench
  ) async -> [Int: any Error] {
    var failures: [Int: any Error] = [:]
    if bench.knowsAll { return failures }
    for index in first..<requests.count {
      if case .exclusive = requests[index] { break }
      do { try await know(requests[index], &bench) } catch { failures[index] = error }
    }
    return failures
  }

  /// Whether a failed commit may be the fault of one request among several.
  static func mayBeOwn(_ error: any Error) -> Bool {
    guard let error = error as? SpindleError else { return false }
    return [.uniqueViolation, .conflict, .invalidArgument, .tooLarge].contains(error.kind)
  }

  /// Whether a failed commit has certainly stored nothing. Of the others, a batch whose sync
  /// failed or was refused is in the store already, and the store may well keep it: the cure of a
  /// failed log writes everything in memory to tables.
  private static func leavesNothing(_ error: any Error) -> Bool {
    guard let error = error as? SpindleError else { return error is CancellationError }
    return [
      .uniqueViolation, .conflict, .invalidArgument, .tooLarge, .overloaded, .deadlineExceeded,
    ].contains(error.kind)
  }

  // MARK: Commits

  private func beginTurn() throws -> Turn {
    Turn(data, try clock.begin(), wall: store.clock.wallMilliseconds)
  }

  /// Commits a turn and tells who watches. On failure everything in memory is as before it, or,
  /// where the batch may be stored all the same, as the store says.
  ///
  /// Nothing here looks at cancellation between the commit and the last of what follows from it.
  private func commit(
    _ turn: consuming Turn, _ durability: Durability, _ bench: inout Bench
  ) async throws {
    if turn.entryCount == 0 { return }
    let start = metrics == nil ? nil : store.clock.now
    defer { if let start { metrics?.commitTook(store.clock.now - start) } }
    do {
      turn.clock.saveIfBehind(into: &turn.pending.batch)
      if let rows, turn.followsCursors { turn.pending.batch.rely(on: rows) }
      try await store.commit(turn.takeBatch(), durability: durability)
    } catch {
      if Self.leavesNothing(error) {
        bench.rollBack(to: 0)
      } else {
        bench.doubt()
        // What cannot be read now is read before anybody else is served.
        try? await settle(&bench)
      }
      throw error
    }
    if durability == .synced { writerMemory.synced(to: bench[selfID].next) }
    let (states, skipped) = (turn.states, turn.skippedCount)
    metrics?.committed(
      entries: turn.entryCount, calls: turn.callCount, skipped: turn.skippedCount)
    clock.committed(turn.clock)
    if bench.changes.count == 1 {
      board.advance(bench.changes[0].peer, to: bench.changes[0].next)
    } else {
      board.advance(bench.changes.map { (peer: $0.peer, next: $0.next) })
    }
    bench.keep()
    counters.commits.add()
    counters.skipped.add(skipped)
    makeEvents(states)
  }

  /// An entry is applied whatever becomes of its event.
  private func makeEvents(_ states: [R.ApplyState]) {
    if states.isEmpty { return }
    var lost = 0
    if let outbox {
      lost = add(states, to: outbox)
    } else {
      for index in states.indices {
        do { _ = try reducer.postApply(states[index]) } catch { lost += 1 }
      }
    }
    if lost == 0 { return }
    counters.eventsLost.add(lost)
    metrics?.lostEvents(lost)
  }

  /// Makes events for a publisher; a function of its own, because nobody specializes it, and then
  /// all that it names is looked up though it may not be used.
  ///
  /// - Returns: How many were lost.
  private func add(_ states: [R.ApplyState], to outbox: EventOutbox<R.Event>) -> Int {
    var events: [R.Event] = []
    var lost = 0
    for state in states {
      do {
        if let event = try reducer.postApply(state) { events.append(event) }
      } catch {
        lost += 1
      }
    }
    return events.isEmpty ? lost : lost + outbox.add(events)
  }

  // MARK: Entries

  private func process(
    _ request: Request, _ turn: inout Turn, _ bench: inout Bench
  ) async -> Reply {
    do { try requireWholeState() } catch { return request.failure(error) }
    let before = turn.entryCount
    defer { if turn.entryCount > before { turn.callCount += 1 } }
    if request.isRaw { turn.followsCursors = false }
    return switch request {
    case .exec(let request): await execute(request, &turn, &bench)
    case .apply(let request): await apply(request, &turn, &bench)
    case .exclusive: .done
    }
  }

  /// Records one op and applies it.
  ///
  /// - Returns: The chain's head with it.
  func ingest(
    _ op: R.Op, _ context: OpContext, following head: ChainHead?, _ turn: inout Turn
  ) async throws -> ChainHead? {
    let outcome = try await reducer.prepare(op, context, turn.view(of: store))
    if case .block(let reason, let isRetryable) = outcome {
      throw BlockedOp(reason: reason, isRetryable: isRetryable)
    }
    let head = try tracker.trackOne(
      peer: context.peer, index: context.index, timestamp: context.timestamp,
      serverUser: context.serverUser, op: op, following: head, into: &turn.pending.batch)
    if case .proceed(let state) = outcome {
      turn.states.append(try reducer.apply(op, context, state, into: &turn.pending))
    } else {
      turn.skippedCount += 1
    }
    turn.entryCount += 1
    return head
  }
}

/// A reducer's refusal on its way to the caller.
struct BlockedOp: Error {
  var reason: String
  var isRetryable: Bool

  var spindleError: SpindleError {
    SpindleError(
      isRetryable ? .unavailable : .invalidArgument, "the reducer refuses the op: \(reason)",
      reason: "blocked")
  }
}

extension Processor.Request {
  var durability: Durability {
    switch self {
    case .exec(let request): request.durability
    case .apply(let request): request.durability
    case .exclusive: .buffered
    }
  }

  var hasToken: Bool { if case .exec(let request) = self { request.token != nil } else { false } }

  /// The first half of several entries; nil for anything else.
  var half: Self? {
    guard case .apply(var request) = self, case .several(let entries) = request.entries,
      entries.count > 1
    else { return nil }
    request.entries = .several(entries.prefix(entries.count / 2))
    return .apply(request)
  }

  var isRaw: Bool { if case .apply(let request) = self { request.isRaw } else { false } }

  func peer(_ selfID: PeerID) -> PeerID {
    if case .apply(let request) = self { request.peer } else { selfID }
  }

  func failure(_ error: any Error) -> Reply {
    if case .apply = self { return .applied(count: 0, .failed(.backend(error))) }
    return .failed(error)
  }
}

/// What a caller gets.
enum Reply: Sendable {
  case executed(Executed)
  /// One for each op, in their order.
  case executedEach([Result<Executed, any Error>])
  /// So many entries were taken.
  case applied(count: Int, ApplyEnd)
  case done
  case failed(any Error)
}

/// Why a run of entries ended.
enum ApplyEnd: Sendable {
  case complete
  /// The rest is to be looked at again: it came before, or did not fit.
  case more
  case failed(SyncError)
}
