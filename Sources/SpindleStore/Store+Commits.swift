package import SpindleCore
internal import SpindleRocks

extension Store {
  /// How far a batch came on its caller's thread.
  package enum Attempt: Sendable {
    case written
    /// Another buffered batch is being written.
    case crowded
    /// The batch must take the group lane or the pool, or RocksDB is stalled.
    case waits
  }

  /// Commits a batch where nothing can make it wait: the first half of a commit, without a
  /// suspension. Unless it was written it goes on with
  /// ``commit(_:after:durability:deadline:policy:)``.
  package func commitAtOnce(
    _ batch: inout Batch, _ durability: Durability, policy: WritePolicy
  ) throws -> Attempt {
    let attempt = try commitAtOnce(&batch, durability)
    if attempt == .written { policy.health?.recordSuccess() }
    return attempt
  }

  /// Checks a batch and, where nothing can make it wait, writes it.
  func commitAtOnce(_ batch: inout Batch, _ durability: Durability) throws -> Attempt {
    guard let engine, let combiner else { throw Self.readOnly(path) }
    if batch.isEmpty { return .written }
    try checkOpen()
    try check(batch)
    guard durability == .buffered, !batch.needsGroupLane,
      batch.byteCount <= settings.inlineByteLimit
    else { return .waits }
    if batch.byteCount > WriteCombiner.batchLimit {
      return try engine.writeInline(&batch.record) ? .written : .waits
    }
    guard combiner.begin() else { return .crowded }
    defer { combiner.end() }
    return try engine.writeInline(&batch.record) ? .written : .waits
  }

  /// Commits a batch that was not written at once.
  package func commit(
    _ batch: consuming Batch, after attempt: Attempt, durability: Durability,
    deadline: ContinuousClock.Instant?, policy: WritePolicy
  ) async throws {
    var batch = batch
    if attempt == .crowded, try await commitTogether(&batch) == .written {
      policy.health?.recordSuccess()
      return
    }
    try await commitWaiting(batch, durability, deadline, policy)
  }

  /// Writes a batch together with those that came while another was being written.
  func commitTogether(_ batch: inout Batch) async throws -> Attempt {
    guard let engine, let combiner else { throw Self.readOnly(path) }
    switch await combiner.join(batch) {
    case .written: return .written
    case .stalled: return .waits
    case .failed(let error): throw error
    case .alone: break
    }
    try checkOpen()
    try checkGates(batch)
    let hasTurn = combiner.begin()
    defer { if hasTurn { combiner.end() } }
    return try engine.writeInline(&batch.record) ? .written : .waits
  }

  /// Refuses what could never be stored, before any lane sees it.
  func check(_ batch: borrowing Batch) throws {
    guard batch.movesStoredValues || batch.byteCount <= settings.valueByteLimit else {
      throw SpindleError(
        .invalidArgument,
        "the batch has \(batch.byteCount) bytes; the limit is \(settings.valueByteLimit)")
    }
    if let family = batch.familyWithoutRanges {
      throw SpindleError(
        .invalidArgument,
        "the batch deletes a range of \(family.name), which holds no range deletions; expected "
          + "deletes by key")
    }
    try batch.forEachFamily { family in
      try checkOrigin(family)
      if let refusal = family.gateRefusal { throw refusal }
    }
    for condition in batch.preconditions { try checkOrigin(condition.family) }
  }
}
