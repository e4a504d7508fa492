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
  }

  /// The longest pause between two attempts at a cure: long enough not to wear out a sick disk,
  /// short enough that freed space is noticed while someone watches.
  private static let longestCurePause = Duration.seconds(30)

  private let directory: StoreDirectory
  private let database: Database
  private let guardian: WALGuard
  private let health: StoreHealth
  private let events: EventBroadcaster
  private let settings: StoreSettings
  private let clock: any StoreClock
  private let hooks: StoreHooks
  private let state: Mutex<State>
  /// One attempt at a time.
  private let curing = Mutex(())
  private let wake = ThreadSemaphore()
  private let stopping = Atomic<Bool>(false)
  private let thread = Mutex<NamedThread?>(nil)

  init(
    directory: StoreDirectory, database: Database, guardian: WALGuard, health: StoreHealth,
    events: EventBroadcaster, settings: StoreSettings, clock: any StoreClock, hooks: StoreHooks
  ) throws {
    self.directory = directory
    self.database = database
    self.guardian = guardian
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
    checkCapacity()
    checkBackgroundErrors()
    checkLog()
    let isDue = state.withLock { clock.now >= $0.nextCure }
    if isDue, needsCure { _ = attemptCure() }
  }

  private var needsCure: Bool {
    (health.isLatched(.logFailed) || health.isLatched(.backgroundError))
      && !health.isLatched(.logSyncFailed)
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
    let grew = state.withLock { state in
      defer { state.backgroundErrors = count }
      return count > state.backgroundErrors
    }
    if grew || database.listener.isInBackgroundError {
      let error = database.listener.lastError
      let detail = error?.message ?? "unknown"
      if grew { events.send(.backgroundError(detail)) }
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

  /// Compares free space and inodes with the floor. Below it the gate shuts; it opens again one
  /// percent of the whole above, so that it does not flap.
  func checkCapacity() {
    guard let space = hooks.diskSpace?() ?? (try? DiskSpace(of: directory.path)) else { return }
    let floor = settings.capacityFloor
    let byteFloor = min(floor.bytes, space.totalBytes / 100 * floor.percent)
    let inodeFloor =
      space.totalInodes == 0 ? 0 : min(floor.inodes, space.totalInodes / 100 * floor.inodePercent)
    let isShut = health.isLatched(.capacity)
    let byteMargin = isShut ? space.totalBytes / 100 : 0
    let inodeMargin = isShut ? space.totalInodes / 100 : 0
    if byteFloor > 0, space.freeBytes < byteFloor + byteMargin {
      health.latch(
        .capacity,
        detail: "the disk is full: \(space.freeBytes) bytes are free, the floor is \(byteFloor)",
        noSpace: true)
    } else if inodeFloor > 0, space.freeInodes < inodeFloor + inodeMargin {
      health.latch(
        .capacity,
        detail: "the disk is full: \(space.freeInodes) inodes are free, the floor is \(inodeFloor)",
        noSpace: true)
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
}

/// What tests inject into a store.
package struct StoreHooks: Sendable {
  /// Called with the name of each step of a cure; throwing makes the step fail.
  package var beforeCureStepNamed: @Sendable (String) throws -> Void = { _ in }
  /// Stands in for the file system's answer.
  package var diskSpace: (@Sendable () -> DiskSpace?)?
  /// Called on the thread that is about to sync the log for a commit.
  package var beforeSync: @Sendable () -> Void = {}
  /// The test calls ``Store/checkHealth()`` itself.
  package var disablesMonitorThread = false

  package init() {}

  var beforeCureStep: @Sendable (LogCure.Step) throws -> Void {
    { [beforeCureStepNamed] in try beforeCureStepNamed($0.rawValue) }
  }
}
