internal import SpindleCore
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
    guard let lane, let engine else { throw Self.readOnly(path) }
    var batch = batch
    let limit = WriteDeadline(caller: deadline, policy: policy)
    defer { limit.waitEnded(clock) }
    do {
      if durability == .synced || batch.needsGroupLane {
        // One thread writes for all who wait there, so the permits of pollers do not apply.
        try await lane.commit(consume batch, durability: durability, deadline: limit)
      } else if batch.byteCount <= settings.inlineByteLimit {
        try await writeAgain(&batch, limit, engine)
      } else if try await !writeLarge(&batch, limit, engine) {
        try await writeAgain(&batch, limit, engine)
      }
    } catch let error as SpindleError where error.isWriteTimeout {
      policy.health?.recordBackpressureTimeout(at: clock.now)
      throw error
    }
    policy.health?.recordSuccess()
  }

  /// Tries a stalled write again until it is accepted or its time is over.
  private func writeAgain(
    _ batch: inout Batch, _ limit: WriteDeadline, _ engine: CommitEngine
  ) async throws {
    let effective = limit.effective(from: clock.now)
    try checkGates(batch)
    guard let permits = limit.policy.permits else {
      return try await poll(&batch, limit, effective, engine)
    }
    guard try await permits.acquire(until: effective.instant) else { throw effective.error }
    defer { permits.release() }
    try checkGates(batch)
    try await poll(&batch, limit, effective, engine)
  }

  private func poll(
    _ batch: inout Batch, _ limit: WriteDeadline, _ effective: WriteDeadline.Effective,
    _ engine: CommitEngine
  ) async throws {
    var backoff = WriteBackoff()
    while true {
      guard clock.now < effective.instant else { throw effective.error }
      try await clock.sleep(until: min(clock.now + backoff.next(), effective.instant))
      try Task.checkCancellation()
      try checkGates(batch)
      if batch.byteCount <= settings.inlineByteLimit {
        if try engine.writeInline(&batch.record) { return }
      } else if try await writeLarge(&batch, limit, engine) {
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
    _ batch: inout Batch, _ limit: WriteDeadline, _ engine: CommitEngine
  ) async throws -> Bool {
    guard let largeWrites else { throw Self.readOnly(path) }
    let isRemoval = batch.onlyRemoves
    // Lent, not captured: a second owner would make every attempt copy the payload.
    let loan = RecordLoan(batch.takeRecord())
    defer { batch.record = loan.take() }
    return try await largeWrites.run(
      until: limit,
      check: {
        if let refusal = health.refusal(isRemoval: isRemoval) ?? batch.gateRefusal {
          throw refusal
        }
      }
    ) {
      try loan.use { try engine.writeInline(&$0) }
    }
  }

  /// Runs work that prepares a large write, on a thread that may block.
  ///
  /// - Throws: what `body` throws; what a write throws that found no thread in its time; `closed`
  ///   and `CancellationError`.
  package func preparing<Value: Sendable>(
    deadline: ContinuousClock.Instant?, policy: WritePolicy,
    _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    guard let largeWrites else { throw Self.readOnly(path) }
    try checkOpen()
    let limit = WriteDeadline(caller: deadline, policy: policy)
    defer { limit.waitEnded(clock) }
    return try await largeWrites.run(until: limit, body)
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
