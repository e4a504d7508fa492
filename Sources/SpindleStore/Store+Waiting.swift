package import SpindleCore
internal import SpindleIO
internal import SpindleRocks
internal import Synchronization

extension Store {
  /// Commits what could not be written at once.
  ///
  /// Crash windows: none of its own. Nothing is in flight while a caller waits for a permit or
  /// sleeps; a call that gave up there wrote nothing and never will.
  func commitWaiting(
    _ batch: consuming Batch, _ durability: Durability, _ deadline: ContinuousClock.Instant?,
    _ policy: WritePolicy
  ) async throws {
    guard let engine else { throw Self.readOnly(path) }
    let limit = WriteDeadline(caller: deadline, policy: policy)
    defer { limit.waitEnded(clock) }
    do {
      if durability == .synced || batch.needsGroupLane
        || batch.byteCount <= settings.inlineByteLimit
      {
        try await commitBuilt(consume batch, durability, limit, engine)
      } else {
        var batch = batch
        let isWritten = try await writeLarge(&batch, engine) { limit.effective(from: clock.now) }
        if !isWritten { try await writeAgain(&batch, limit, engine) }
      }
    } catch {
      throw told(error, policy)
    }
    policy.health?.recordSuccess()
  }

  /// Makes a large batch and commits it. It is made, and written where it is buffered, in one piece
  /// of work on a thread that may block, so that no more are made than are written at once.
  ///
  /// Crash windows: as of a commit.
  ///
  /// - Parameters:
  ///   - family: What the batch writes to; its gate is looked at before anything is made.
  ///   - inGroup: Whether the batch is to take the group lane, whatever its durability.
  package func commitMade(
    for family: StoreFamily, durability: Durability, inGroup: Bool,
    deadline: ContinuousClock.Instant?, policy: WritePolicy,
    _ make: @escaping @Sendable () throws -> Batch
  ) async throws {
    guard let largeWrites, let engine else { throw Self.readOnly(path) }
    try checkOpen()
    let checkGates = { [health] in
      if let refusal = health.refusal(isRemoval: false) ?? family.gateRefusal { throw refusal }
    }
    try checkGates()
    let limit = WriteDeadline(caller: deadline, policy: policy)
    defer { limit.waitEnded(clock) }
    do {
      let (batch, isWritten) = try await largeWrites.run(
        until: { limit.effective(from: clock.now) }, check: checkGates
      ) { [self] in
        var batch = try make()
        batch.joinsGroupLane = inGroup
        try check(batch)
        let isWritten =
          try durability == .buffered && !batch.needsGroupLane && engine.writeInline(&batch.record)
        return (batch, isWritten)
      }
      if !isWritten { try await commitBuilt(consume batch, durability, limit, engine) }
    } catch {
      throw told(error, policy)
    }
    policy.health?.recordSuccess()
  }

  /// Commits a batch by the group lane, or by trying again what RocksDB did not take.
  private func commitBuilt(
    _ batch: consuming Batch, _ durability: Durability, _ limit: WriteDeadline,
    _ engine: CommitEngine
  ) async throws {
    guard let lane else { throw Self.readOnly(path) }
    if durability == .synced || batch.needsGroupLane {
      // One thread writes for all who wait there, so the permits of pollers do not apply. Given
      // away: a second owner would make the writer copy the payload.
      return try await lane.commit(consume batch, durability: durability, deadline: limit)
    }
    var batch = batch
    try await writeAgain(&batch, limit, engine)
  }

  /// Tells the part's health of a write that failed.
  ///
  /// - Returns: What its caller is told.
  private func told(_ error: any Error, _ policy: WritePolicy) -> any Error {
    if let noThread = error as? LargeWrites.NoThread { return noThread.error }
    if (error as? SpindleError)?.isWriteTimeout == true {
      policy.health?.recordBackpressureTimeout(at: clock.now)
    }
    return error
  }

  /// Tries a stalled write again until it is accepted or its time is over.
  private func writeAgain(
    _ batch: inout Batch, _ limit: WriteDeadline, _ engine: CommitEngine
  ) async throws {
    let effective = limit.effective(from: clock.now)
    try checkGates(batch)
    guard let permits = limit.policy.permits else {
      return try await poll(&batch, effective, engine)
    }
    guard try await permits.acquire(until: effective.instant) else { throw effective.error }
    defer { permits.release() }
    try checkGates(batch)
    try await poll(&batch, effective, engine)
  }

  private func poll(
    _ batch: inout Batch, _ effective: WriteDeadline.Effective, _ engine: CommitEngine
  ) async throws {
    var backoff = WriteBackoff()
    while true {
      guard clock.now < effective.instant else { throw effective.error }
      try await clock.sleep(until: min(clock.now + backoff.next(), effective.instant))
      try Task.checkCancellation()
      try checkGates(batch)
      if batch.byteCount <= settings.inlineByteLimit {
        if try engine.writeInline(&batch.record) { return }
      } else if try await writeLarge(&batch, engine, until: { effective }) {
        return
      }
    }
  }

  /// Throws while the store or a part that the batch writes to refuses writes.
  func checkGates(_ batch: borrowing Batch) throws {
    if let refusal = health.refusal(isRemoval: batch.onlyRemoves) ?? batch.gateRefusal {
      throw refusal
    }
  }

  /// A large copy into the log takes milliseconds: not on a cooperative thread. Who waits for a
  /// thread can leave; a write that has begun is one piece, and a cancelled caller gets its outcome
  /// all the same.
  private func writeLarge(
    _ batch: inout Batch, _ engine: CommitEngine,
    until effective: () -> WriteDeadline.Effective
  ) async throws -> Bool {
    guard let largeWrites else { throw Self.readOnly(path) }
    let isRemoval = batch.onlyRemoves
    // Lent, not captured: a second owner would make every attempt copy the payload.
    let loan = RecordLoan(batch.takeRecord())
    defer { batch.record = loan.take() }
    return try await largeWrites.run(
      until: effective,
      check: {
        if let refusal = health.refusal(isRemoval: isRemoval) ?? batch.gateRefusal {
          throw refusal
        }
      }
    ) {
      try loan.use { try engine.writeInline(&$0) }
    }
  }
}

/// Carries a record to a thread of the pool and back.
private final class RecordLoan: Sendable {
  private let record: Mutex<WriteRecord>

  init(_ record: consuming WriteRecord) { self.record = Mutex(record) }

  /// Nobody else looks at the record meanwhile, so the lock is never waited for.
  func use<Result>(_ body: (inout WriteRecord) throws -> Result) rethrows -> Result {
    try record.withLock { try body(&$0) }
  }

  func take() -> WriteRecord {
    record.withLock { record in
      defer { record = WriteRecord() }
      return record
    }
  }
}
