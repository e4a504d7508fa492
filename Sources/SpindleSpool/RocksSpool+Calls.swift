internal import SpindleCore
internal import SpindleStore
internal import Synchronization

/// One call of a spool that is under way.
struct SpoolCall {
  let operation: SpoolOperation
  /// When it began, in the time of the spool's metrics; nil where nobody measures. A moment of a
  /// clock has no fixed layout, and each call would ask its task for memory to keep one.
  let start: Duration?
}

extension RocksSpool {
  /// How long ``shutdown()`` waits for the calls under way: as long as a stalled write may wait by
  /// default, so that a call ends by itself first.
  static let shutdownLimit = Duration.seconds(30)

  /// Lets a call in. Each success must be matched by ``leave()``.
  ///
  /// The count rises before the flag is read, and ``shutdown()`` sets the flag before it reads the
  /// count; so a call that was let in is always waited for.
  func enter() throws {
    calls.wrappingAdd(1, ordering: .sequentiallyConsistent)
    if closed.load(ordering: .sequentiallyConsistent) {
      leave()
      throw closedError
    }
  }

  func leave() { calls.wrappingSubtract(1, ordering: .sequentiallyConsistent) }

  /// Lets a store, load or remove in. Each success must be matched by ``end(_:bytes:)`` or
  /// ``fail(_:_:)``.
  func begin(_ operation: SpoolOperation) throws -> SpoolCall {
    try enter()
    return SpoolCall(operation: operation, start: metrics?.time)
  }

  /// Runs a call of another kind, which only its errors are measured of.
  func working<Value>(_ body: () async throws -> Value) async throws -> Value {
    try enter()
    defer { leave() }
    do {
      return try await body()
    } catch {
      metrics?.met(error)
      throw bland(error)
    }
  }

  /// Ends a call that succeeded.
  ///
  /// - Parameter bytes: Of the payload; nil for a load that found nothing.
  func end(_ call: SpoolCall, bytes: Int? = 0) {
    leave()
    if let metrics, let start = call.start {
      metrics.succeeded(call.operation, bytes: bytes, after: metrics.time - start)
    }
  }

  /// Ends a call that failed, and gives the error for its caller.
  func fail(_ call: SpoolCall, _ error: any Error) -> any Error {
    leave()
    if let metrics, let start = call.start {
      metrics.failed(call.operation, error, after: metrics.time - start)
    }
    return bland(error)
  }

  /// What a caller is told: a shut gate says neither why nor where, except in the machine's word.
  func bland(_ error: any Error) -> any Error {
    guard let refusal = error as? SpindleError, refusal.isGateRefusal else { return error }
    var told = SpindleError(refusal.kind, "\(Self.refusalText)", reason: refusal.reason)
    told.isGateRefusal = true
    return told
  }

  func checkOpen() throws {
    if closed.load(ordering: .acquiring) { throw closedError }
  }

  private var closedError: SpindleError { SpindleError(.closed, "the spool \(name) is closed") }

  /// Refuses new calls with `closed`, ends walks and compactions, waits for the calls under way and
  /// makes what was stored durable.
  /// Repeats do nothing more.
  ///
  /// - Throws: ``SpindleError``: `unavailable` when calls or walks are still under way after
  ///   30 s, or what made the sync of the log fail; or `CancellationError`. The spool takes no
  ///   calls any more all the same, and the shutdown may be tried again.
  public func shutdown() async throws {
    closed.store(true, ordering: .sequentiallyConsistent)
    endPublishing()
    upkeep.opening.release()
    if isShutDown.load(ordering: .acquiring) { return }
    let limit = storage.clock.now + Self.shutdownLimit
    while calls.load(ordering: .sequentiallyConsistent) > 0, storage.clock.now < limit {
      try await storage.clock.sleep(until: min(storage.clock.now + .milliseconds(10), limit))
    }
    // Walks of enumerations, which no call waits for. A call that started one was waited for above,
    // so none comes now.
    await upkeep.becomesIdle(until: limit, storage.clock)
    do {
      if storage.view == .owned { try await storage.synchronize() }
    } catch let error as SpindleError {
      // A store that is closed has synced its log. One whose gate is shut may not be able to, and
      // must be closed all the same: its own close tries, and says by the missing mark that the
      // next open has to look.
      if error.kind != .closed, !error.isGateRefusal { throw error }
    }
    let left = calls.load(ordering: .sequentiallyConsistent)
    let threads = upkeep.runningCount
    guard left == 0, threads == 0 else {
      throw SpindleError(
        .unavailable,
        "the spool \(name) takes no calls any more, but \(left) calls and \(threads) walks or "
          + "compactions are still under way after 30 s", reason: "in_flight")
    }
    isShutDown.store(true, ordering: .releasing)
    right.withLock { $0 = nil }
  }
}
