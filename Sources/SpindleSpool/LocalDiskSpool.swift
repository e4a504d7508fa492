internal import Logging
public import SpindleCore
package import SpindleIO
public import SpindleStore
internal import Synchronization

/// A spool of files, one for each message: to be looked at, copied and repaired with the tools of
/// every system, at the price of several file operations a message.
///
/// A message stored with `forceSync: false` survives a killed process; with true, or with the
/// setting ``LocalDiskSettings/flush``, power loss. Each file begins with a checksummed header, so
/// that one that is short or garbled is an error and never a message.
///
/// One process has a spool at a time. All file operations run on the spool's own threads; only the
/// initializers use the caller's.
public final class LocalDiskSpool: Spool, QuarantiningSpool {
  /// What metrics and log lines call the spool: ``LocalDiskSettings/name``, or the name of its
  /// directory.
  public let name: String
  public let path: String
  public let settings: LocalDiskSettings
  /// What should be known about the directory, a sentence each: that every user may read it, that
  /// it is on a network file system, or that its disk is full.
  public let warnings: [String]

  private let generator: SpoolIDGenerator
  let directory: LocalDiskDirectory
  let clock: any StoreClock
  let hooks: LocalDiskHooks
  let gate: LocalDiskGate
  let calls = LocalDiskCalls()
  let durable = DurableDirectories()
  let lateStores: LateStores
  /// Names this opening in the files that it writes.
  let run: UInt32
  /// Numbers the files in `new`, so that two stores of one id do not meet there.
  let nextTemporary = Atomic<UInt64>(0)
  /// What the quarantine holds; nil before it is counted. One call changes the quarantine at a
  /// time, on a thread that may block, and holds this.
  let quarantining = Mutex<SpoolUsage?>(nil)
  /// Whether the quarantine refused a message since something was taken out.
  let hasRefusedQuarantine = Atomic<Bool>(false)
  private let pool: BlockingPool
  private let lock: Mutex<FileLock?>
  /// One shutdown waits for the calls at a time; held on a thread of its own.
  private let closing = Mutex(())
  /// Looks at the disk from time to time.
  private let upkeep = Mutex<Task<Void, Never>?>(nil)
  /// Counts for the quota; nil without one.
  let ledger: SpoolLedger?
  /// nil when the process had no metrics backend when the spool was opened.
  let metrics: SpoolMetrics?
  let log: LocalDiskLog

  /// The largest payload in bytes, 1 GiB: a message is held in memory as a whole.
  public static let payloadByteLimit = 1 << 30

  /// The most walks at once, 16: each has a thread, which waits for its reader.
  public static let walkLimit = 16

  /// A new id, greater than those made since the opening. A clock that was set back may put it
  /// before what earlier runs stored: files have no order.
  public func makeID() -> SpoolID { generator.next() }

  static let refusalText: StaticString = "the spool is not accepting writes"

  /// How long a shutdown waits for the calls under way.
  private static let shutdownPatience = 30_000

  /// Opens a spool, or creates it; with missing parents, mode 0750 less the umask. Blocks the
  /// calling thread for some file operations.
  ///
  /// - Parameters:
  ///   - path: The spool's directory.
  ///   - flush: Whether every store and remove is made durable before it returns.
  /// - Throws: ``SpindleError``: `unavailable` with the reason `locked`, naming the process that
  ///   has the spool; `invalidArgument` for a path that is no directory; `io` when the directory
  ///   cannot be used, with the reason `directory_probe` and what failed in it.
  public convenience init(path: String, flush: Bool) throws {
    try self.init(path: path, settings: LocalDiskSettings(flush: flush))
  }

  /// The same with all settings, and a clock that stands for the system's.
  ///
  /// - Throws: As ``init(path:flush:)``, `invalidArgument` for a setting out of its range, and with
  ///   a quota `io` when what is there cannot be counted.
  /// - Complexity: With a quota, every file is looked at once.
  public convenience init(
    path: String, settings: LocalDiskSettings, clock: any StoreClock = SystemClock()
  ) throws {
    try self.init(path: path, settings: settings, clock: clock, hooks: LocalDiskHooks())
  }

  /// Opens the spool that a configuration defines, or creates it.
  ///
  /// - Parameters:
  ///   - definition: Of the kind `local_disk`. Its name, its path, flush and what is to stay free
  ///     are taken.
  ///   - settings: The rest.
  /// - Throws: As ``init(path:settings:clock:)``, and `invalidArgument` for a definition that is
  ///   not valid or of another kind.
  public convenience init(
    definition: SpoolDefinition, settings: LocalDiskSettings = LocalDiskSettings(),
    clock: any StoreClock = SystemClock()
  ) throws {
    try definition.validate()
    guard definition.kind == .localDisk, let path = definition.path else {
      throw SpindleError(
        .invalidArgument,
        "the spool \(printable(definition.name)) is of the kind \(definition.kind.rawValue); "
          + "expected local_disk, as others live in a store")
    }
    var settings = settings
    settings.name = definition.name
    settings.flush = definition.flush
    settings.capacityFloor.apply(definition)
    try self.init(path: path, settings: settings, clock: clock)
  }

  /// Opens a spool that is there, for a tool. A directory that is no spool is refused before
  /// anything in it is touched.
  ///
  /// - Parameter onlyLooks: Whether the caller changes nothing: what a killed process left stays
  ///   too.
  /// - Throws: As ``init(path:flush:)``, and `notFound` where there is no spool.
  package convenience init(existingAt path: String, onlyLooks: Bool) throws {
    try self.init(
      path: path, settings: LocalDiskSettings(flush: true), clock: SystemClock(),
      hooks: LocalDiskHooks(), isExpected: true, keepsLeftovers: onlyLooks)
  }

  package init(
    path: String, settings: LocalDiskSettings, clock: any StoreClock, hooks: LocalDiskHooks,
    isExpected: Bool = false, keepsLeftovers: Bool = false
  ) throws {
    try settings.validate()
    let directory = LocalDiskDirectory(path)
    let (lock, warnings) = try directory.open(
      isExpected: isExpected, keepsLeftovers: keepsLeftovers)
    self.path = directory.path
    self.settings = settings
    self.warnings = warnings.map(\.description)
    self.directory = directory
    self.clock = clock
    lateStores = LateStores(clock: clock)
    self.hooks = hooks
    self.lock = Mutex(lock)
    name = settings.name ?? directory.name
    gate = LocalDiskGate(
      failuresToShut: settings.failuresToShut, floor: settings.capacityFloor, clock: clock)
    if settings.quota.isUnlimited {
      ledger = nil
    } else {
      ledger = SpoolLedger(
        of: "the spool \(name)", quota: settings.quota,
        holding: try withSpindleErrors { try directory.usage() }, clock: clock)
    }
    metrics = SpoolMetrics(
      spool: name, path: directory.path, kind: .localDisk, clock: clock)
    log = LocalDiskLog(settings.logger, spool: name, path: directory.path)
    generator = SpoolIDGenerator(clock: clock, seed: SeededGenerator.systemSeed())
    run = UInt32(truncatingIfNeeded: SeededGenerator.systemSeed())
    pool = BlockingPool(name: "spindle-disk", threads: settings.threads)
    for warning in self.warnings {
      log.write(.warning, "a directory is risky", [("detail", warning)])
    }
    judgeSpace()
    beginUpkeep()
  }

  deinit {
    upkeep.withLock { $0?.cancel() }
    // On a thread of its own: this one may be one of the pool's.
    _ = try? NamedThread(name: "spindle-stop") { [pool] in pool.stop() }
  }

  // MARK: Calls

  func checkOpen() throws {
    if calls.isClosed { throw closedError }
  }

  var closedError: SpindleError {
    SpindleError(.closed, "the spool \(path) is closed", path: path)
  }

  /// Runs file operations on the spool's threads.
  func blocking<Value: Sendable>(
    _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    guard calls.begin() else { throw closedError }
    defer { calls.end() }
    return try await pool.run(body)
  }

  /// Runs file operations whose outcome nobody needs once the caller is cancelled. The call counts
  /// until they have ended: a shutdown waits for them.
  private func reading<Value: Sendable>(
    _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    guard calls.begin() else { throw closedError }
    return try await pool.runUntilCancelled(atEnd: { [calls] in calls.end() }, body)
  }

  /// The error of a file operation, with the message that it was for.
  func failure(_ verb: String, _ id: SpoolID, _ failure: IOFailure) -> SpindleError {
    SpindleError(
      .io, "cannot \(verb) the message \(id): \(failure)", path: failure.path,
      reason: failure.spindleError.reason)
  }

  public func load(_ id: SpoolID) async throws -> Bytes {
    try await measured(.load, bytes: \.count) {
      try await reading { [self] in
        let path = id.path(under: directory.data)
        do {
          return try LocalDiskRecord.read(path).payload
        } catch let error as IOFailure {
          if error.isNotFound {
            throw SpindleError(.notFound, "no such key \(id): \(error)", path: path)
          }
          throw failure("load", id, error)
        } catch let error as DecodingFailure {
          throw SpindleError(
            .corruption, "the message \(id) is damaged: \(path): \(error)", path: path)
        }
      }
    }
  }

  // MARK: Health

  public var unhealthyReason: StaticString? { gate.isShut ? Self.refusalText : nil }

  /// What holds the gate shut, its last error and its counters, for operators; it may name files.
  public var gateStatus: GateStatus { gate.status }

  /// What the spool holds of its quota, with the writes under way; nil without a quota.
  public var usage: SpoolUsage? { ledger?.usage }

  /// Notes a write that failed.
  func recordFailure(_ failure: IOFailure, bytes: Int) {
    tell(gate.recordFailure(failure, bytes: bytes))
  }

  /// Looks at what is free. Blocks for one call of the file system.
  private func judgeSpace() {
    // An answer that fails leaves things as they are.
    let space = if let answer = hooks.diskSpace { answer() } else { try? DiskSpace(of: path) }
    guard let space else { return }
    tell(gate.judge(space))
  }

  private func tell(_ transition: LocalDiskGate.Transition?) {
    switch transition {
    case nil: return
    case .shut(let cause)?:
      log.write(
        .error, "the spool stopped accepting writes",
        [("reason", cause.reason), ("detail", cause.detail)])
      metrics?.gateShut(reason: cause.reason)
    case .opened(let reason)?:
      log.write(
        .info, "a cause that stopped the spool's writes is gone", [("reason", reason)])
      metrics?.gateOpened(reason: reason)
    }
  }

  /// Looks at what is free, and tries a write where failures shut the gate.
  ///
  /// - Returns: Whether there is nothing left to heal.
  @discardableResult
  package func heal() async -> Bool {
    do {
      try await blocking { [self] in
        judgeSpace()
        guard let (bytes, failures) = gate.probe else { return }
        let path = temporaryPath(LocalDiskDirectory.probeName)
        try Files.create(
          path, parts: [[UInt8](repeating: 0x5A, count: bytes)], sync: true)
        try Files.remove(path)
        tell(gate.forgive(ifFailuresAre: failures))
      }
    } catch {
      // Closed: nobody waits for it. Otherwise it is tried again.
      return calls.isClosed
    }
    return !gate.isShut
  }

  /// Starts the task that looks at the disk. It holds the spool only while it does so.
  private func beginUpkeep() {
    let task = Task { [weak self, clock, interval = settings.probeInterval] in
      while !Task.isCancelled {
        // What cannot be asked now is published the next time.
        try? await self?.publishMetrics()
        do { try await clock.sleep(until: clock.now + interval) } catch { return }
        await self?.heal()
      }
    }
    upkeep.withLock { $0 = task }
  }

  func temporaryPath(_ name: String) -> String {
    let number = nextTemporary.add(1, ordering: .relaxed).newValue
    return "\(directory.new)/\(name).\(number)"
  }

  // MARK: Shutdown

  /// Refuses further calls, waits for those under way, and gives the directory up to others.
  /// Repeats do nothing.
  ///
  /// - Throws: ``SpindleError`` with `unavailable` when calls are under way after 30 s. The spool
  ///   takes no calls any more but stays locked; the shutdown may be tried again.
  public func shutdown() async throws {
    calls.close()
    upkeep.withLock { $0?.cancel() }
    try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
      do throws(IOFailure) {
        _ = try NamedThread(name: "spindle-close") { [self] in
          done.resume(with: Result { try closing.withLock { _ in try closeBlocking() } })
        }
      } catch {
        done.resume(throwing: error.spindleError)
      }
    }
  }

  private func closeBlocking() throws {
    guard calls.waitUntilQuiet(milliseconds: Self.shutdownPatience) else {
      throw SpindleError(
        .unavailable, "the spool \(path) cannot be closed: calls are still under way", path: path)
    }
    pool.stop()
    lock.withLock { lock in
      lock?.release()
      lock = nil
    }
  }
}

/// Points inside a write, for tests: to see that what must be durable is synced, and in which
/// order, and to come between two steps. Called on the spool's threads.
package struct LocalDiskHooks: Sendable {
  package enum Step: Sendable, Equatable {
    /// A file in `new` is written; `synced` when its contents are durable.
    case written(synced: Bool)
    /// The file is about to get its name, for the first time or again.
    case placing(attempt: Int)
    /// The names in a directory are durable.
    case synchronized(String)
  }
  package var atStep: @Sendable (Step) -> Void = { _ in }
  /// Answers for the file system how much is free; nil from it is an answer that failed.
  package var diskSpace: (@Sendable () -> DiskSpace?)?
  package init() {}
}
