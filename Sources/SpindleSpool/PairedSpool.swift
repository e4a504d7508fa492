public import SpindleCore
internal import Synchronization

/// Two spools that hold the halves of messages under one id: a small `meta`, which is enumerated,
/// and a `data`, which may be large and is read when it is needed.
///
/// A message is there when its meta is there: the meta is the commit record.
///
/// - Two ``RocksSpool``s of one store: a change is one batch over both halves, all or nothing,
///   whatever happens.
/// - Any others: the body is stored before the meta and goes after it. A crash in between leaves a
///   body without meta, never the opposite; ``sweepOrphans(olderThan:dryRun:)`` removes it.
///
/// Changes of one id take turns. Reads do not: a message that is replaced at this moment may be
/// read with the meta of one and the body of the other. Use one pair for two spools, and make
/// every change of either through it.
public final class PairedSpool: Sendable {
  public let meta: any Spool
  public let data: any Spool
  let clock: any StoreClock
  let turns: PairTurns
  let rollbacks = PairRollbacks()
  let schedule: PairSweepSchedule
  private let changes: any PairChanges
  private let isInOneStore: Bool
  private let closed = Atomic<Bool>(false)

  /// How long ``shutdown()`` waits for changes that run: longer than a store's own bound.
  private static let shutdownLimit = Duration.seconds(35)

  /// Pairs two spools that are open.
  ///
  /// - Parameter clock: Tells how old a message without meta is. The default is the system's.
  /// - Throws: ``SpindleError`` with `invalidArgument` when both are the same spool.
  public init(
    meta: any Spool, data: any Spool, clock: any StoreClock = SystemClock()
  ) throws {
    guard !Self.isSame(meta, data) else {
      throw SpindleError(
        .invalidArgument,
        "meta and data are the same spool; expected two, as both have a value under one id")
    }
    self.meta = meta
    self.data = data
    self.clock = clock
    turns = PairTurns(clock: clock)
    schedule = PairSweepSchedule(opened: clock.wallMilliseconds)
    if let meta = meta as? RocksSpool, let data = data as? RocksSpool,
      meta.storage === data.storage
    {
      changes = PairInOneStore(meta: meta, data: data)
      isInOneStore = true
    } else {
      isInOneStore = false
      changes = PairApart(halves: PairHalves(meta: meta, data: data), rollbacks: rollbacks)
    }
  }

  private static func isSame(_ meta: any Spool, _ data: any Spool) -> Bool {
    if let meta = meta as? RocksSpool, let data = data as? RocksSpool {
      return meta.family === data.family
    }
    return (meta as AnyObject) === (data as AnyObject)
  }

  // MARK: Messages

  /// Stores a message, or replaces the one there.
  ///
  /// In one store both halves together may be as large as one value may be. Over other halves a
  /// replacement that fails may leave the new body under the old meta.
  ///
  /// - Parameters:
  ///   - forceSync: True: the message survives power loss when the call returns. False: it
  ///     survives a killed process.
  ///   - deadline: Until when the spools may wait for room; their own bounds apply as well.
  /// - Throws: what the spools throw. The message is not there then, or, after an error that leaves
  ///   that open, whole or not at all.
  public func store(
    _ id: SpoolID, meta: Bytes, data: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws {
    try await changing(id, until: deadline) {
      try await changes.store(
        id, meta: meta, data: data, forceSync: forceSync, deadline: deadline)
    }
  }

  /// Replaces the meta of a message. Throws `notFound` when there is none: it may have been removed
  /// meanwhile, and must not come back without its body.
  public func replaceMeta(
    _ id: SpoolID, _ meta: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws {
    try await changing(id, until: deadline) {
      try await changes.replaceMeta(id, meta, forceSync: forceSync, deadline: deadline)
    }
  }

  /// Reads a message. Throws `notFound` when a half is absent.
  public func load(_ id: SpoolID) async throws -> (meta: Bytes, data: Bytes) {
    let meta = try await loadMeta(id)
    return (meta, try await loadData(id))
  }

  /// Reads the meta of a message. An absent id throws `notFound`, naming it.
  public func loadMeta(_ id: SpoolID) async throws -> Bytes {
    try checkOpen()
    return try await meta.load(id)
  }

  /// Reads the body of a message. An absent id throws `notFound`, naming it.
  public func loadData(_ id: SpoolID) async throws -> Bytes {
    try checkOpen()
    return try await data.load(id)
  }

  /// Removes a message.
  ///
  /// Over halves apart the message is gone with its meta; a body that stays is removed later. A
  /// meta that is absent is an error where the meta's spool says so.
  public func remove(_ id: SpoolID) async throws {
    try await changing(id) { try await changes.remove(id) }
  }

  /// Sends the meta of every message made before `startTime`; see
  /// ``Spool/enumerate(into:startTime:)``.
  public func enumerate(
    into channel: SpoolEntryChannel, startTime: SpoolInstant
  ) throws -> SpoolEnumeration {
    try checkOpen()
    return try meta.enumerate(into: channel, startTime: startTime)
  }

  /// Sends the meta of exactly the messages that the last run left; see
  /// ``RocksSpool/enumerateLeftovers(into:)``.
  ///
  /// - Throws: what that throws, and `invalidArgument` when the meta is in another kind of spool.
  public func enumerateLeftovers(into channel: SpoolEntryChannel) throws -> SpoolEnumeration {
    try checkOpen()
    guard let meta = meta as? RocksSpool else {
      throw SpindleError(
        .invalidArgument,
        "the meta spool keeps no view of what the last run left; expected a RocksSpool")
    }
    return try meta.enumerateLeftovers(into: channel)
  }

  // MARK: Quarantine

  /// Sets a message aside, both halves as they are stored, such as one whose meta cannot be
  /// understood. A body that is absent is no error; a meta that is absent throws `notFound`.
  ///
  /// - Throws: ``SpindleError``: `invalidArgument` when a half has no quarantine, and what
  ///   ``QuarantiningSpool/quarantine(_:reason:)`` throws, such as `quotaExceeded` when one of the
  ///   quarantines is full; both halves stay then. Over halves apart, a call that failed in
  ///   the middle is finished by another, or undone by ``restoreQuarantined(_:)``.
  public func quarantine(_ id: SpoolID, reason: String) async throws {
    try await changing(id) { try await changes.quarantine(id, reason: reason) }
  }

  /// The metas in quarantine, in the order of the ids' keys.
  public func quarantined(after id: SpoolID?, limit: Int) async throws -> [QuarantinedMessage] {
    try checkOpen()
    return try await PairHalves(meta: meta, data: data).quarantines().meta.quarantined(
      after: id, limit: limit)
  }

  /// How many messages are in quarantine, by their metas.
  ///
  /// - Throws: ``SpindleError``: `invalidArgument` when a half has no quarantine, and what
  ///   ``QuarantiningSpool/quarantinedCount()`` throws.
  public func quarantinedCount() async throws -> Int {
    try checkOpen()
    return try await PairHalves(meta: meta, data: data).quarantines().meta.quarantinedCount()
  }

  /// Moves a message back, both halves byte for byte as they were. Throws `notFound` when its meta
  /// is not in quarantine, and `conflict` when there is a message under its id by now.
  public func restoreQuarantined(_ id: SpoolID) async throws {
    try await changing(id) { try await changes.restoreQuarantined(id) }
  }

  /// Deletes both halves of a message in quarantine for good. Throws `notFound` when its meta is
  /// not there.
  public func purgeQuarantined(_ id: SpoolID) async throws {
    try await changing(id) { try await changes.purgeQuarantined(id) }
  }

  // MARK: Both spools

  /// Refuses further calls, waits for changes that run, and shuts both spools down. Repeats do
  /// nothing.
  ///
  /// - Throws: the first error of a spool; the other was shut down all the same.
  public func shutdown() async throws {
    closed.store(true, ordering: .sequentiallyConsistent)
    await turns.waitUntilIdle(atMost: Self.shutdownLimit)
    try await both { try await $0.shutdown() }
  }

  /// Periodic housekeeping: tries failed rollbacks again, sweeps bodies without meta when they are
  /// due, and cleans up both spools.
  ///
  /// Bodies without meta are left by crashes. So they are swept once early, and once more when
  /// everything that was there at the start is older than the limit of an hour; not each time,
  /// since a sweep reads the data spool. Not at all in one store: no crash parts the halves there,
  /// so a body without meta tells of a meta that was lost to damage, and it may be all that is left
  /// of the message. Who knows better calls ``sweepOrphans(olderThan:dryRun:)``.
  public func cleanup() async throws {
    try checkOpen()
    await retryRollbacks()
    var failure: (any Error)?
    if !isInOneStore, schedule.isDue(at: clock.wallMilliseconds, overflow: rollbacks.takeOverflow())
    {
      do {
        let sweep = try await sweepOrphans()
        if let problem = sweep.firstProblem {
          throw SpindleError(
            .io,
            "\(sweep.orphans - sweep.removed) bodies without meta were not removed, and the metas "
              + "of \(sweep.unjudged) bodies cannot be read; the first: \(problem)")
        }
      } catch {
        failure = error
      }
    }
    try await both { try await $0.cleanup() }
    if let failure { throw failure }
  }

  /// Flushes and drops caches of both spools.
  ///
  /// - Returns: Bytes of memory saved; may be negative.
  public func adviseLowMemory() async throws -> Int {
    try checkOpen()
    var saved = 0
    try await both { saved += try await $0.adviseLowMemory() }
    return saved
  }

  /// Flushes and compacts both spools; errors surface.
  public func compact() async throws {
    try checkOpen()
    try await both { try await $0.compact() }
  }

  /// A fixed, bland text while one of the spools refuses writes; nil otherwise. No I/O.
  public var unhealthyReason: StaticString? { meta.unhealthyReason ?? data.unhealthyReason }

  // MARK: Helpers

  /// Runs a call for each spool, the second whatever became of the first; gives the first error.
  private func both(_ body: (any Spool) async throws -> Void) async throws {
    var failure: (any Error)?
    for spool in [meta, data] {
      do { try await body(spool) } catch { failure = failure ?? error }
    }
    if let failure { throw failure }
  }

  func checkOpen() throws {
    if closed.load(ordering: .sequentiallyConsistent) {
      throw SpindleError(.closed, "the paired spool is closed")
    }
  }

  /// Runs a change when no other change of the id runs.
  private func changing(
    _ id: SpoolID, until deadline: ContinuousClock.Instant? = nil,
    _ body: () async throws -> Void
  ) async throws {
    try await turns.enter(id, until: deadline)
    defer { turns.leave(id) }
    // Behind the turn: a shutdown that no longer waits for it has closed before.
    try checkOpen()
    try await body()
  }
}

/// How the changes of a pair are made; one implementation for each kind of pair that
/// ``PairedSpool`` names. The caller has the id's turn.
protocol PairChanges: Sendable {
  func store(
    _ id: SpoolID, meta: Bytes, data: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws
  func replaceMeta(
    _ id: SpoolID, _ meta: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws
  func remove(_ id: SpoolID) async throws
  func quarantine(_ id: SpoolID, reason: String) async throws
  func restoreQuarantined(_ id: SpoolID) async throws
  func purgeQuarantined(_ id: SpoolID) async throws
}
