package import SpindleCore
package import SpindleRocks

extension Store {
  /// How far a batch came on its caller's thread.
  package enum Attempt: Sendable {
    case written
    /// Another buffered batch is being written.
    case crowded
    /// The batch must take the group lane or the pool, or RocksDB is stalled.
    case waits
  }

  /// Commits one buffered change where nothing can make it wait, without a batch: the first half of
  /// a commit. Unless it was written, a batch with the change goes on with
  /// ``commit(_:after:durability:deadline:policy:)``.
  ///
  /// - Returns: nil where it was not tried, because it is too large or its family takes no inline
  ///   commits.
  package func writeAtOnce(
    _ change: borrowing SingleChange, to family: StoreFamily, policy: WritePolicy
  ) throws -> Attempt? {
    guard let engine, let combiner else { throw Self.readOnly(path) }
    try checkOpen()
    try checkOrigin(family)
    if let refusal = family.gateRefusal { throw refusal }
    guard mayWriteAtOnce(change.byteCount), !family.isGuarded else { return nil }
    let takesTurn = change.byteCount <= WriteCombiner.batchLimit
    if takesTurn, !combiner.begin() { return .crowded }
    defer { if takesTurn { combiner.end() } }
    guard try engine.writeInline(change, to: family) else { return .waits }
    policy.health?.recordSuccess()
    return .written
  }

  /// Whether a change of so many bytes is short enough to be written on its caller's thread.
  package func mayWriteAtOnce(_ byteCount: Int) -> Bool {
    byteCount
      <= min(settings.inlineByteLimit, settings.valueByteLimit, LargeValues.copyingByteLimit)
  }

  /// Writes a change together with those that came while another was being written: what follows
  /// the attempt that said `crowded`.
  package func writeTogether(
    _ change: borrowing SingleChange, to family: StoreFamily, policy: WritePolicy
  ) async throws -> Attempt {
    guard let engine, let combiner else { throw Self.readOnly(path) }
    var attempt = try Self.attempt(of: await combiner.join(change, to: family))
    if attempt == nil {
      try checkOpen()
      if let refusal = family.gateRefusal { throw refusal }
      let hasTurn = combiner.begin()
      defer { if hasTurn { combiner.end() } }
      attempt = try engine.writeInline(change, to: family) ? .written : .waits
    }
    if attempt == .written { policy.health?.recordSuccess() }
    return attempt ?? .waits
  }

  /// How far a round took its members; nil where each has to write by itself.
  private static func attempt(of outcome: WriteCombiner.Outcome) throws -> Attempt? {
    switch outcome {
    case .written: .written
    case .stalled: .waits
    case .failed(let error): throw error
    case .alone: nil
    }
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

  /// Commits a batch with a part's own way of waiting, or goes on with one whose change was not
  /// written at once. What becomes of the write is told to the part's health.
  ///
  /// - Parameter attempt: How far ``writeAtOnce(_:to:policy:)`` came; nil where it was not tried.
  package func commit(
    _ batch: consuming Batch, after attempt: Attempt? = nil, durability: Durability,
    deadline: ContinuousClock.Instant?, policy: WritePolicy
  ) async throws {
    var batch = batch
    let attempt = try attempt ?? commitAtOnce(&batch, durability)
    if attempt == .written {
      policy.health?.recordSuccess()
      return
    }
    if attempt == .crowded, try await commitTogether(&batch) == .written {
      policy.health?.recordSuccess()
      return
    }
    try await commitWaiting(batch, durability, deadline, policy)
  }

  /// Writes a batch together with those that came while another was being written.
  func commitTogether(_ batch: inout Batch) async throws -> Attempt {
    guard let engine, let combiner else { throw Self.readOnly(path) }
    if let attempt = try Self.attempt(of: await combiner.join(batch)) { return attempt }
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
