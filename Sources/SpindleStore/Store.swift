public import SpindleCore
internal import Glibc
internal import SpindleIO
package import SpindleRocks
internal import Synchronization

/// The one store: a directory with a RocksDB in it, shared by every part of Spindle.
///
/// All parts write through ``commit(_:durability:deadline:)``, so that one batch can carry a
/// message from one part to another, exactly once. Commits travel in two lanes:
///
/// - *inline*: buffered batches without conditions, on unguarded families, up to 64 KiB, on the
///   caller's thread, or together with those of others that come meanwhile;
/// - *group*: everything else, through one writer thread that shares syncs between callers.
///
/// Order in the group lane is the order of enqueueing. No order is promised between the lanes for
/// calls that overlap.
///
/// One process owns a store. Others may look: ``open(at:settings:access:clock:)`` with
/// ``Access/reader`` reads a store that is shut, or follows a running owner.
public final class Store: Sendable {
  /// What the opener may do.
  public enum Access: Sendable, Equatable {
    /// Read and write; refused while another process owns the store.
    case owner
    /// Read only, changing nothing on disk.
    case reader
  }

  /// How a reader reads.
  public enum View: Sendable, Equatable {
    /// This process owns the store.
    case owned
    /// The store is shut and stays so while this reader lives.
    case shut
    /// The store is running; what is read moves with its owner. Where tables are damaged it is
    /// that of the opening.
    case following(pid: Int32?)
  }

  public let path: String
  public let view: View
  public let health: StoreHealth
  package let settings: StoreSettings
  package let clock: any StoreClock
  package let database: Database
  package let guardian: WALGuard?
  /// How the last run ended and what the open recovered.
  public let recovery: RecoverySummary

  private let directory: StoreDirectory
  private let registry: FamilyRegistry
  /// One family is created at a time: two creators of one name must get one family.
  private let creating = Mutex(())
  private let broadcaster: EventBroadcaster
  let pool: BlockingPool
  /// nil for a reader.
  let largeWrites: LargeWrites?
  let engine: CommitEngine?
  package let combiner: WriteCombiner?
  private let ownPolicy: WritePolicy
  let lane: GroupLane?
  let monitor: HealthMonitor?
  /// nil unless the settings ask for it.
  private let intervalSyncer: IntervalSyncer?
  private let lock: Mutex<FileLock?>
  /// nil for an owner, for a reader of a store that is shut, and where tables are damaged.
  let follower: Follower?
  private let closed = Atomic<Bool>(false)
  private let isClosingDone = Atomic<Bool>(false)
  /// Held while closing is under way, on a thread of the pool.
  private let closing = Mutex(())

  /// What an open found.
  public struct RecoverySummary: Sendable, Equatable {
    /// Whether the last run closed the store.
    public var wasClean: Bool
    /// Bytes of a torn last record of the log: a write that was cut short and never acknowledged
    /// as synced.
    public var droppedTailBytes: UInt64
  }

  // MARK: Opening

  /// Opens a store, or creates it.
  ///
  /// An owner first checks the write-ahead log without writing anything. A torn last record is
  /// normal after a crash; other damage refuses the open, because RocksDB would skip the damaged
  /// records and keep later ones.
  ///
  /// - Parameters:
  ///   - path: The store's directory.
  ///   - access: What the opener may do. The default is `.owner`.
  ///   - clock: The clock for deadlines and wall time.
  /// - Throws: ``SpindleError``: `unavailable` when another process owns the store,
  ///   `unsupportedFormat` for a newer store, `corruption` with file and offset for damage,
  ///   `invalidArgument` for a path that is no store and cannot become one, `notFound` for a
  ///   reader of a missing store.
  /// - Complexity: O(bytes of the log) to check and replay it; at most `max_total_wal_size`.
  public static func open(
    at path: String, settings: StoreSettings = StoreSettings(), access: Access = .owner,
    clock: any StoreClock = SystemClock()
  ) async throws -> Store {
    try await open(at: path, settings: settings, access: access, clock: clock, hooks: StoreHooks())
  }

  package static func open(
    at path: String, settings: StoreSettings = StoreSettings(), access: Access = .owner,
    clock: any StoreClock = SystemClock(), hooks: StoreHooks
  ) async throws -> Store {
    try settings.validate()
    let pool = BlockingPool(name: "spindle-pool", threads: settings.blockingThreads)
    do {
      return try await pool.run {
        let directory = StoreDirectory(path)
        return switch access {
        case .owner:
          try Store(
            owning: directory, settings: settings, clock: clock, hooks: hooks, pool: pool)
        case .reader:
          try Store(reading: directory, settings: settings, clock: clock, pool: pool)
        }
      }
    } catch {
      await onOwnThread { pool.stop() }
      throw error
    }
  }

  /// Ends the threads of pools: joining must not block a cooperative thread.
  private static func onOwnThread(_ stop: @escaping @Sendable () -> Void) async {
    await withCheckedContinuation { continuation in
      do {
        _ = try NamedThread(name: "spindle-stop") {
          stop()
          continuation.resume()
        }
      } catch {
        continuation.resume()
      }
    }
  }

  private init(
    owning directory: StoreDirectory, settings: StoreSettings, clock: any StoreClock,
    hooks: StoreHooks, pool: BlockingPool
  ) throws {
    if !directory.isStore {
      guard settings.createsIfMissing else { throw directory.missing }
      try directory.checkCreatable()
      try withSpindleErrors { () throws(IOFailure) in try Files.createDirectory(directory.path) }
    } else {
      try directory.checkFormat()
    }
    let lock = try DirectoryProbe.explaining(directory.path) {
      try directory.lock(writesOwner: true)
    }
    try DirectoryProbe.checkViews(of: directory.database + "/CURRENT")
    var warnings: [DirectoryProbe.Warning] = []
    let isNew = !directory.isStore
    if isNew {
      warnings = try DirectoryProbe.run(directory.path)
      try directory.create()
    }
    let cleanSequence = directory.readCleanMarker()
    let probe = try OpenProbe(directory).run(cleanSequence: cleanSequence)
    // A store that is refused for its log is left as it is, so the directory is tried out now.
    if !isNew { warnings = try DirectoryProbe.run(directory.path) }
    // From here on the directory changes.
    try directory.createParts()
    directory.removeOldProbes()
    try withSpindleErrors { () throws(IOFailure) in try directory.removeCleanMarker() }
    var options = settings.database
    options.createIfMissing = true
    let guardian = WALGuard()
    let database = try Self.openDatabase(directory) {
      try Database(
        at: directory.database, mode: .readWrite, options: options, guardian: guardian,
        familyOptions: settings.options(forFamily:))
    }
    let broadcaster = EventBroadcaster(log: StoreLog(settings.logger, path: directory.path))
    let health = StoreHealth(events: broadcaster, clock: clock)
    let registry = FamilyRegistry()
    let highWater = try withSpindleErrors { () throws(IOFailure) in try HighWaterFile(directory) }
    let engine = CommitEngine(
      database: database, guardian: guardian, health: health, registry: registry,
      highWater: highWater, clock: clock, beforeSync: hooks.beforeSync,
      beforeGroupWrite: hooks.beforeGroupWrite, afterWrite: hooks.afterWrite)
    path = directory.path
    view = .owned
    self.directory = directory
    self.settings = settings
    self.clock = clock
    self.database = database
    self.guardian = guardian
    self.health = health
    self.registry = registry
    self.pool = pool
    largeWrites = LargeWrites(settings.blockingThreads, clock: clock)
    self.broadcaster = broadcaster
    self.engine = engine
    combiner = WriteCombiner(engine: engine)
    ownPolicy = WritePolicy(subject: "store", limit: settings.writeDeadline)
    self.lock = Mutex(lock)
    follower = nil
    recovery = RecoverySummary(
      wasClean: cleanSequence != nil || probe.isNew, droppedTailBytes: probe.tornTailBytes)
    lane = try GroupLane(engine: engine, settings: settings)
    let monitor = try HealthMonitor(
      directory: directory, database: database, guardian: guardian, engine: engine,
      registry: registry, health: health, events: broadcaster, settings: settings, clock: clock,
      hooks: hooks)
    self.monitor = monitor
    intervalSyncer = try settings.walSyncInterval.map {
      try IntervalSyncer(engine: engine, interval: $0, afterLook: hooks.afterIntervalSync)
    }
    if let space = try? DiskSpace(of: directory.path) {
      directory.createBallast(bytes: settings.ballastBytes, space: space)
    }
    monitor.checkCapacity()
    adoptFamilies()
    for warning in warnings {
      broadcaster.send(.directoryWarning(path: path, warning: "\(warning)"))
    }
    broadcaster.send(
      .opened(
        path: path, wasClean: recovery.wasClean, droppedTailBytes: recovery.droppedTailBytes))
  }

  private init(
    reading directory: StoreDirectory, settings: StoreSettings, clock: any StoreClock,
    pool: BlockingPool
  ) throws {
    guard directory.isStore else { throw directory.missing }
    try directory.checkFormat()
    // A store without the file, such as a copy, has no owner.
    let hasOwnerFile = Files.exists(directory.owner)
    let lock = try withSpindleErrors { () throws(IOFailure) in
      hasOwnerFile ? try FileLock.acquire(directory.owner, writesOwner: false) : nil
    }
    var options = settings.database
    options.createIfMissing = false
    var tornTailBytes: UInt64 = 0
    if lock != nil || !hasOwnerFile {
      // Absence is known only where it may be looked for.
      let current = directory.database + "/CURRENT"
      _ = try withSpindleErrors { () throws(IOFailure) in try Files.isThere(current) }
      let probe = try OpenProbe(directory).run(cleanSequence: directory.readCleanMarker())
      guard !probe.isNew else {
        throw SpindleError(
          .notFound, "the store \(directory.path) was never opened for writing: it holds nothing",
          path: directory.path)
      }
      tornTailBytes = probe.tornTailBytes
      view = .shut
      follower = nil
      database = try Self.openDatabase(directory) {
        try Database(
          at: directory.database, mode: .readOnly, options: options,
          familyOptions: settings.options(forFamily:))
      }
    } else {
      view = .following(pid: FileLock.owner(directory.owner))
      follower = Follower(
        at: directory.database, options: options, familyOptions: settings.options(forFamily:))
      database =
        if let follower {
          follower.database
        } else {
          try Self.openDatabase(directory) {
            try Follower.openMoment(
              at: directory.database, options: options,
              familyOptions: settings.options(forFamily:))
          }
        }
    }
    path = directory.path
    self.directory = directory
    self.settings = settings
    self.clock = clock
    guardian = nil
    broadcaster = EventBroadcaster(log: StoreLog(settings.logger, path: directory.path))
    health = StoreHealth(events: broadcaster, clock: clock)
    registry = FamilyRegistry()
    self.pool = pool
    largeWrites = nil
    self.lock = Mutex(lock)
    engine = nil
    combiner = nil
    ownPolicy = WritePolicy(subject: "store", limit: settings.writeDeadline)
    lane = nil
    monitor = nil
    intervalSyncer = nil
    recovery = RecoverySummary(
      wasClean: directory.readCleanMarker() != nil, droppedTailBytes: tornTailBytes)
    adoptFamilies()
  }

  /// Tells why a database does not open.
  private static func openDatabase(
    _ directory: StoreDirectory, _ open: () throws -> Database
  ) throws -> Database {
    do {
      return try open()
    } catch let error as RocksError {
      if error.isLocked { throw directory.heldByAnother() }
      let plain = error.spindleError
      throw SpindleError(
        plain.kind, "the store \(directory.path) does not open: \(error.message)",
        path: directory.path, reason: plain.reason)
    } catch let error as IOFailure {
      throw error.spindleError
    }
  }

  private func adoptFamilies() {
    for family in database.columnFamilies { registry.add(adopt(family)) }
  }

  private func adopt(_ family: ColumnFamily) -> StoreFamily {
    StoreFamily(
      family, of: database,
      largeValues: LargeValues(
        settings.options(forFamily: family.name), settings, isOwned: view == .owned),
      events: broadcaster, clock: clock)
  }

  deinit {
    // Owners close explicitly. A store that was dropped open is closed as after a crash: without
    // the marker of a clean end, so the next open checks the log.
    guard !closed.load(ordering: .acquiring) else { return }
    lane?.stop()
    intervalSyncer?.stop()
    monitor?.stop()
    // On a thread of its own: this one may be one of the pool's.
    _ = try? NamedThread(name: "spindle-stop") { [pool, largeWrites] in
      pool.stop()
      largeWrites?.stop()
    }
    follower?.removeScratch()
  }

  // MARK: Closing

  /// Closes the store: refuses new calls, lets running ones end, syncs the log, closes RocksDB and
  /// marks the clean end.
  ///
  /// Repeats do nothing. After a failed log the marker is left out, and the next open checks the
  /// log.
  ///
  /// - Throws: ``SpindleError`` with `unavailable` when reads are still in use after 30 s. The
  ///   store takes no calls any more but stays locked; closing may be tried again.
  public func close() async throws {
    closed.store(true, ordering: .sequentiallyConsistent)
    if isClosingDone.load(ordering: .acquiring) { return }
    // On a thread of its own: closing waits for reads, which may wait for a thread of the pool.
    try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
      do throws(IOFailure) {
        _ = try NamedThread(name: "spindle-close") { [self] in
          done.resume(with: Result { try closing.withLock { _ in try closeBlocking() } })
        }
      } catch {
        done.resume(throwing: error.spindleError)
      }
    }
    await Self.onOwnThread { [pool, largeWrites] in
      pool.stop()
      largeWrites?.stop()
    }
  }

  /// Whether closing has begun.
  package var isClosed: Bool { closed.load(ordering: .acquiring) }

  private func closeBlocking() throws {
    if isClosingDone.load(ordering: .acquiring) { return }
    lane?.stop()
    intervalSyncer?.stop()
    monitor?.stop()
    let mayBeClean = guardian?.failure == nil && !health.isDamaged
    // Writes that passed the gate end first, so that the sync below covers all of them.
    health.shutForClosing()
    while !health.isQuiet { usleep(1000) }
    var isClean = false
    var sequence: UInt64 = 0
    if let engine, mayBeClean {
      isClean = engine.syncLog() == nil
      sequence = (try? database.latestSequenceNumber()) ?? 0
    }
    do throws(RocksError) {
      try database.close()
    } catch {
      throw SpindleError(
        .unavailable, "the store \(path) cannot be closed: \(error.message)", path: path)
    }
    isClosingDone.store(true, ordering: .releasing)
    follower?.removeScratch()
    if isClean {
      // On a full disk the marker may not fit. Everything is stored all the same, and the next
      // open checks the log.
      do throws(IOFailure) {
        try directory.writeCleanMarker(sequence: sequence)
      } catch {
        isClean = false
      }
    }
    broadcaster.send(.closed(clean: isClean))
    broadcaster.finish()
    lock.withLock { lock in
      lock?.release()
      lock = nil
    }
  }

  /// Throws once the store is closed.
  func checkOpen() throws {
    if closed.load(ordering: .acquiring) {
      throw SpindleError(.closed, "the store \(path) is closed", path: path)
    }
  }

  // MARK: Families

  /// The names of all column families.
  public var familyNames: [String] { registry.names }

  /// A family that exists, or nil.
  public func existingFamily(_ name: String) -> StoreFamily? { registry[name] }

  /// A family of the store, created when it is missing.
  ///
  /// - Parameter name: A kind and a name, such as `spool:main`.
  /// - Throws: ``SpindleError``: `invalidArgument` for a name that is not valid or beyond the
  ///   limit of families (128 by default), `notFound` for a reader.
  public func family(_ name: String) async throws -> StoreFamily {
    if let family = existingFamily(name) { return family }
    try StoreFamily.validate(name)
    try checkOpen()
    guard view == .owned else {
      throw SpindleError(.notFound, "the store \(path) has no \(name)", path: path)
    }
    return try await pool.run { try self.createFamily(name) }
  }

  /// The same on the calling thread, which may block.
  package func familyBlocking(_ name: String) throws -> StoreFamily {
    if let family = existingFamily(name) { return family }
    try StoreFamily.validate(name)
    try checkOpen()
    return try createFamily(name)
  }

  private func createFamily(_ name: String) throws -> StoreFamily {
    try creating.withLock { _ in
      if let family = existingFamily(name) { return family }
      // A quarantine comes with its spool: that something must be set aside is no time to refuse.
      let isQuarantine = StoreFamily.isQuarantine(name)
      let count = familyNames.count { !StoreFamily.isQuarantine($0) } - 1
      guard isQuarantine || count < settings.familyLimit else {
        throw SpindleError(
          .invalidArgument,
          "the store \(path) has \(settings.familyLimit) spools and prefixes, which is its limit",
          path: path)
      }
      if let refusal = health.refusal() { throw refusal }
      do throws(RocksError) {
        let created = try database.createColumnFamily(
          named: name, options: settings.options(forFamily: name))
        let family = adopt(created)
        registry.add(family)
        return family
      } catch {
        throw error.spindleError
      }
    }
  }

  // MARK: Commits

  /// Commits a batch: all of it or nothing.
  ///
  /// With ``Durability/synced`` the batch survives power loss when the call returns; with
  /// ``Durability/buffered`` it survives a killed process. Waiting suspends the task and blocks no
  /// thread. Cancelling while the batch waits stores nothing; once the writer has taken it, the
  /// call waits for the outcome.
  ///
  /// - Parameters:
  ///   - deadline: Until when the store may put the batch off because RocksDB is stalled or the
  ///     lane is full. The store's own bound (30 s by default) applies as well. The first attempt
  ///     is made whatever the deadline.
  /// - Throws: ``SpindleError``: `uniqueViolation` or `conflict` for a precondition,
  ///   `deadlineExceeded` or `overloaded` when the deadline or the store's bound passed,
  ///   `unavailable` while the gate is shut, `closed`, `invalidArgument` for a batch over the
  ///   limit; or `CancellationError`. Nothing was stored then, with one exception: when the log
  ///   failed between a synced batch's write and its sync, the batch may or may not be found later.
  public func commit(
    _ batch: consuming Batch, durability: Durability,
    deadline: ContinuousClock.Instant? = nil
  ) async throws {
    var batch = batch
    var attempt = try commitAtOnce(&batch, durability)
    if attempt == .crowded { attempt = try await commitTogether(&batch) }
    if attempt == .written { return }
    try await commitWaiting(batch, durability, deadline, ownPolicy)
  }

  /// A family's number means another family in another store.
  func checkOrigin(_ family: StoreFamily) throws {
    guard family.origin == ObjectIdentifier(database) else {
      throw SpindleError(
        .invalidArgument, "the batch writes to \(family.name) of a store other than \(path)")
    }
  }

  /// Commits a buffered batch on the calling thread, one of our own that may block. The order with
  /// other conditional commits is that in which they take the commit lock.
  package func commitBlocking(_ batch: Batch) throws {
    guard let lane else { throw Self.readOnly(path) }
    if batch.isEmpty { return }
    try checkOpen()
    try check(batch)
    try lane.commitBlocking(
      batch, deadline: WriteDeadline(caller: nil, policy: ownPolicy))
  }

  static func readOnly(_ path: String) -> SpindleError {
    SpindleError(.unavailable, "the store \(path) is open for reading only", reason: "read_only")
  }

  /// Makes everything committed before the call durable.
  public func synchronize() async throws {
    try checkOpen()
    guard let engine, let largeWrites else { throw Self.readOnly(path) }
    if let refusal = health.refusal() { throw refusal }
    let failure = try await largeWrites.sync { engine.syncLog() }
    if let failure { throw failure }
  }

  /// Makes everything that can be read now survive power loss, also where the store is not owned.
  ///
  /// A reader syncs the owner's log files itself: all that it has read came from them or from
  /// tables, which are synced when they are made. A log that is gone is in tables.
  package func synchronizeRead() async throws {
    guard view != .owned else { return try await synchronize() }
    try checkOpen()
    let folder = directory.database
    try await blocking {
      do throws(IOFailure) {
        for name in try Files.names(in: folder) where name.hasSuffix(".log") {
          do throws(IOFailure) { try Files.synchronize(folder + "/" + name) } catch {
            guard error.isNotFound else { throw error }
          }
        }
        try Files.synchronizeDirectory(folder)
      } catch {
        throw error.spindleError
      }
    }
  }

  // MARK: Health and events

  /// What happens to the store, from now on. A listener that falls behind loses the oldest events.
  public var events: AsyncStream<StoreEvent> { broadcaster.subscribe() }

  /// The same for a part that only counts: what happened before anybody listened is left to the
  /// first who asks for ``events``.
  package var eventsFromNowOn: AsyncStream<StoreEvent> {
    broadcaster.subscribe(takesBacklog: false)
  }

  package func send(_ event: StoreEvent) { broadcaster.send(event) }

  /// Batches that wait for the group lane's writer.
  package var waitingCommits: Int { lane?.waitingCount ?? 0 }
  /// Calls that wait for one of the threads that may block.
  package var waitingBlockingCalls: Int { pool.queuedCount }
  /// Writes that wait for one of the threads of large ones.
  package var waitingLargeWrites: Int { largeWrites?.waitingCount ?? 0 }

  /// Syncs that commits caused.
  package var commitSyncCount: Int { engine?.syncCount ?? 0 }

  /// How often the writing of a group was tried, and how many records were built for it.
  package var groupCounts: (attempts: Int, records: Int) { engine?.groupCounts ?? (0, 0) }

  /// Runs a call that may block, such as a scan, on the store's own threads.
  package func blocking<Value: Sendable>(
    _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    try checkOpen()
    return try await pool.run(body)
  }
}
