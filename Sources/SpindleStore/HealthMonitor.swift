internal import SpindleCore
package import SpindleIO
internal import SpindleRocks
internal import Synchronization

/// Looks at the disk and at RocksDB from time to time, shuts the gate and opens it again.
final class HealthMonitor: Sendable {
  private struct State {
    var nextCure = ContinuousClock.Instant.now
    var cureBackoff = Duration.seconds(1)
    var backgroundErrors: UInt64 = 0
    /// The last background error that was told, and when.
    var told: (text: String, at: ContinuousClock.Instant)?
  }

  /// The longest pause between two attempts at a cure: long enough not to wear out a sick disk,
  /// short enough that freed space is noticed while someone watches.
  private static let longestCurePause = Duration.seconds(30)

  private let directory: StoreDirectory
  private let database: Database
  private let guardian: WALGuard
  private let engine: CommitEngine
  private let registry: FamilyRegistry
  private let health: StoreHealth
  private let events: EventBroadcaster
  private let settings: StoreSettings
  private let clock: any StoreClock
  private let hooks: StoreHooks
  private let state: Mutex<State>
  /// One attempt at a time.
  private let curing = Mutex(())
  /// One look at the families' gates at a time.
  private let judging = Mutex(())
  private let wake = ThreadSemaphore()
  private let stopping = Atomic<Bool>(false)
  private let thread = Mutex<NamedThread?>(nil)

  init(
    directory: StoreDirectory, database: Database, guardian: WALGuard, engine: CommitEngine,
    registry: FamilyRegistry, health: StoreHealth, events: EventBroadcaster,
    settings: StoreSettings, clock: any StoreClock, hooks: StoreHooks
  ) throws {
    self.directory = directory
    self.database = database
    self.guardian = guardian
    self.engine = engine
    self.registry = registry
    self.health = health
    self.events = events
    self.settings = settings
    self.clock = clock
    self.hooks = hooks
    state = Mutex(State(nextCure: clock.now))
    guard !hooks.disablesMonitorThread else { return }
    let milliseconds = max(Int(settings.healthInterval / .milliseconds(1)), 1)
    let thread = try withSpindleErrors { () throws(IOFailure) in
      try NamedThread(name: "spindle-health") { [self] in
        while !stopping.load(ordering: .acquiring) {
          _ = wake.wait(milliseconds: milliseconds)
          if stopping.load(ordering: .acquiring) { return }
          tick()
        }
      }
    }
    self.thread.withLock { $0 = thread }
  }

  /// Ends the thread. Call it where blocking is allowed.
  func stop() {
    stopping.store(true, ordering: .releasing)
    wake.signal()
    let thread = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    thread?.join()
  }

  /// One look at everything.
  func tick() {
    checkStore()
    let isDue = state.withLock { clock.now >= $0.nextCure }
    if isDue, needsCure { _ = attemptCure() }
    checkGates()
  }

  /// What may need an answer at once; quick.
  private func checkStore() {
    checkCapacity()
    checkBackgroundErrors()
    checkLog()
  }

  private var needsCure: Bool {
    (health.isLatched(.logFailed) || health.isLatched(.backgroundError)) && !needsReopening
  }

  /// Whether something stands that no cure ends.
  private var needsReopening: Bool {
    health.isLatched(.logSyncFailed) || health.isLatched(.engineFailed)
  }

  // MARK: Looking

  /// A log failure that no write reported, such as one of RocksDB's own.
  private func checkLog() {
    guard let failure = guardian.failure else { return }
    health.latch(
      failure.isSync ? .logSyncFailed : .logFailed,
      detail: "the write-ahead log failed (\(failure.message))", noSpace: failure.isNoSpace)
  }

  private func checkBackgroundErrors() {
    let count = database.listener.counters.backgroundErrors
    let grown = state.withLock { state in
      defer { state.backgroundErrors = max(count, state.backgroundErrors) }
      return count - min(state.backgroundErrors, count)
    }
    if grown > 0 || database.listener.isInBackgroundError {
      let error = database.listener.lastError
      let detail = error?.message ?? "unknown"
      if grown > 0 {
        health.recordBackgroundErrors(grown, error)
        if isWorthTelling(detail) { events.send(.backgroundError(detail)) }
      }
      if database.listener.isInBackgroundError {
        health.latch(
          .backgroundError, detail: "a flush or compaction failed (\(detail))",
          noSpace: error?.isNoSpace ?? false)
      }
    } else if health.isLatched(.backgroundError), !health.isLatched(.logFailed) {
      // RocksDB recovered by itself.
      health.unlatch(.backgroundError)
    }
  }

  /// A compaction that fails is tried again every second, each time with the same words.
  private func isWorthTelling(_ text: String) -> Bool {
    let now = clock.now
    return state.withLock { state in
      if let told = state.told, told.text == text, now - told.at < .seconds(60) { return false }
      state.told = (text, now)
      return true
    }
  }

  /// Compares free space and inodes with the floor: below it the gate shuts, but for removals while
  /// there is room for them.
  func checkCapacity() {
    guard let space = hooks.diskSpace?() ?? (try? DiskSpace(of: directory.path)) else { return }
    let isShut = health.isLatched(.capacity)
    if let shortage = settings.capacityFloor.shortage(in: space, isShut: isShut) {
      health.noteRoomForRemovals(settings.capacityFloor.hasRoomForRemovals(in: space))
      health.latch(.capacity, detail: shortage, noSpace: true)
    } else if isShut {
      health.unlatch(.capacity)
    }
  }

  // MARK: Healing

  /// Tries to replace a failed log, or to resume after a background error.
  ///
  /// - Returns: nil on success, else what stands in the way.
  func attemptCure() -> SpindleError? {
    curing.withLock { _ -> SpindleError? in
      guard !health.isLatched(.logSyncFailed) else {
        return SpindleError(
          .unavailable,
          "a sync of the write-ahead log failed; the store must be closed and opened again",
          reason: "wal_sync_failed")
      }
      if health.isLatched(.engineFailed) { return Self.engineFailed }
      guard needsCure else { return nil }
      // What the ballast held lets the flushes finish.
      directory.releaseBallast()
      let cure = LogCure(
        database: database, guardian: guardian, health: health, beforeStep: hooks.beforeCureStep)
      do throws(LogCure.Failure) {
        let rotation = try cure.run()
        state.withLock { $0.cureBackoff = .seconds(1) }
        events.send(.logRotated(from: rotation.from, to: rotation.to))
        health.unlatch(.backgroundError)
        health.unlatch(.logFailed)
        if let space = try? DiskSpace(of: directory.path) {
          directory.createBallast(bytes: settings.ballastBytes, space: space)
        }
        return nil
      } catch {
        events.send(.cureFailed(step: error.step.rawValue, detail: error.detail))
        if giveUp(after: error) { return Self.engineFailed }
        state.withLock { state in
          state.nextCure = clock.now + state.cureBackoff
          state.cureBackoff = min(state.cureBackoff * 2, Self.longestCurePause)
        }
        return SpindleError(
          .unavailable,
          "the failed log could not be replaced yet (step \(error.step.rawValue)): \(error.detail)",
          reason: "wal_failed")
      }
    }
  }

  private static let engineFailed = SpindleError(
    .unavailable, "RocksDB stopped for good; the store must be closed and opened again",
    reason: "engine_failed")

  /// RocksDB does not resume after some errors, such as a failed sync of its manifest: it answers
  /// each try with that same error.
  ///
  /// - Returns: Whether nothing is left to try.
  private func giveUp(after failure: LogCure.Failure) -> Bool {
    guard failure.step == .resume, database.listener.isInFatalError,
      let error = database.listener.lastError, failure.detail == error.message
    else { return false }
    health.latch(
      .engineFailed,
      detail: "RocksDB stopped for good and the store must be closed and opened again "
        + "(\(error.message))", noSpace: error.isNoSpace)
    return true
  }

  // MARK: The gates of the families

  private func checkGates() {
    // While an operator opens a gate the others wait for the next tick: that may take long, and the
    // disk must be looked at meanwhile.
    judging.withLockIfAvailable { _ in
      for family in registry.all {
        // A probe needs a store that takes writes.
        guard let attempt = judge(family), health.refusal() == nil else { continue }
        do throws(GateProbe.Failure) {
          try open(family, attempt)
        } catch {
          // A part that still fails told its gate so; the rest is tried at the next tick.
        }
      }
    }
  }

  private func judge(_ family: StoreFamily) -> PartHealth.Attempt? {
    let listener = database.listener
    return family.health.tick(
      backgroundErrors: listener.compactionFailures(of: family.name),
      lastBackgroundError: { listener.lastCompactionError(of: family.name) })
  }

  /// Runs the probe, and opens the gate when it succeeds.
  ///
  /// - Returns: false when an error came meanwhile.
  @discardableResult
  private func open(
    _ family: StoreFamily, _ attempt: PartHealth.Attempt
  ) throws(GateProbe.Failure) -> Bool {
    let probe = GateProbe(database: database, engine: engine, family: family) {
      // Reading tables again may take long. A store that failed meanwhile is cured first.
      self.checkStore()
      return self.health.refusal() == nil && !self.stopping.load(ordering: .acquiring)
    }
    try probe.run(rereading: attempt.suspects)
    return family.health.finish(
      attempt, backgroundErrors: database.listener.compactionFailures(of: family.name))
  }

  /// Opens a family's gate for the operator.
  func clearGate(of family: StoreFamily) throws {
    try judging.withLock { _ in
      if let refusal = health.refusal() { throw refusal }
      _ = judge(family)
      let isOpen: Bool
      do throws(GateProbe.Failure) {
        isOpen = try open(family, family.health.attemptForOperator())
      } catch {
        switch error {
        case .failed(let cause): throw cause
        case .interrupted(let why): throw Self.notCleared(family, why)
        }
      }
      if !isOpen { throw Self.notCleared(family, "an error came meanwhile") }
    }
  }

  private static func notCleared(_ family: StoreFamily, _ why: String) -> SpindleError {
    SpindleError(.unavailable, "the gate of \(family.name) stays shut: \(why)")
  }
}

/// What tests inject into a store.
package struct StoreHooks: Sendable {
  /// Called with the name of each step of a cure; throwing makes the step fail.
  package var beforeCureStepNamed: @Sendable (String) throws -> Void = { _ in }
  /// Stands in for the file system's answer.
  package var diskSpace: (@Sendable () -> DiskSpace?)?
  /// Called on the thread that is about to sync the log for a commit.
  package var beforeSync: @Sendable () -> Void = {}
  /// Called on the thread of ``StoreSettings/walSyncInterval`` when it has synced what was due.
  package var afterIntervalSync: @Sendable () -> Void = {}
  /// Called on the thread that has judged a group of batches, before it writes them.
  package var beforeGroupWrite: @Sendable () -> Void = {}
  /// Called on the thread that wrote a batch or a group of them, before anything else learns of it.
  package var afterWrite: @Sendable () -> Void = {}
  /// The test calls ``Store/checkHealth()`` itself.
  package var disablesMonitorThread = false

  package init() {}

  var beforeCureStep: @Sendable (LogCure.Step) throws -> Void {
    { [beforeCureStepNamed] in try beforeCureStepNamed($0.rawValue) }
  }
}
