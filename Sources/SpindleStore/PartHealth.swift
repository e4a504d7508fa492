internal import SpindleCore
package import SpindleRocks
internal import Synchronization

/// When errors of one part stop its writes, and when they are taken again.
public struct GateSettings: Sendable, Equatable {
  /// How long errors that may pass must persist before they shut the gate. The default is 15 s.
  public var errorLatchDuration = Duration.seconds(15)
  /// How long no error may occur before a shut gate is tried again. The default is 5 min.
  public var errorUnlatchDuration = Duration.seconds(300)
  /// How long after a backpressure timeout writes must succeed before its gate opens again. The
  /// default is 30 s.
  public var backpressureUnlatchDuration = Duration.seconds(30)
  /// Whether a shut gate opens by itself. The default is true.
  public var allowsErrorUnlatch = true
  /// Whether a gate that damage shut opens by itself once the damaged range reads again. The
  /// default is false.
  public var unlatchesOnCorruption = false

  public init() {}

  /// The longest duration of a setting: 100 years of 365.25 days. More is a slip, and sums with a
  /// time must not overflow.
  package static let durationLimit = Duration.seconds(3_155_760_000)

  package func validate() throws {
    for (name, value) in [
      ("errorLatchDuration", errorLatchDuration), ("errorUnlatchDuration", errorUnlatchDuration),
      ("backpressureUnlatchDuration", backpressureUnlatchDuration),
    ] where value < .zero || value > Self.durationLimit {
      throw SpindleError(
        .invalidArgument, "the setting \(name) is \(value); expected 0 s to 100 years")
    }
  }
}

/// The gate that stops the writes of one part, a column family, when its data cannot be trusted.
/// Reads go on.
///
/// Damage and I/O errors of a read shut it at once. Other errors, failed compactions and writes
/// that ran out of time shut it only when they persist. It opens by itself after a time without
/// errors, once a probe on the database has succeeded; a gate that damage shut stays shut unless
/// ``GateSettings/unlatchesOnCorruption`` says otherwise. ``Store/clearGate(of:)`` is how an
/// operator opens it.
///
/// Counting an error and shutting the gate are one step under one lock, as are forgetting errors
/// and opening it; so an error that arrives while the gate is about to open keeps it shut.
public final class PartHealth: Sendable {
  /// Why writes are refused, the gravest first.
  public enum Cause: UInt8, Sendable, CaseIterable {
    /// A read found damage.
    case damage = 1
    /// The disk refused a read.
    case readFailed = 2
    /// Compactions fail again and again.
    case backgroundError = 4
    /// Calls fail again and again.
    case errors = 8
    /// Writes run out of their time again and again, because RocksDB is stalled.
    case backpressure = 16
    /// The operator shut the gate.
    case operatorRequest = 32

    /// The fixed word for machines: ``SpindleError/reason``.
    public var reason: String {
      switch self {
      case .damage: "corruption"
      case .readFailed: "io_error"
      case .backgroundError: "background_error"
      case .errors: "errors"
      case .backpressure: "backpressure"
      case .operatorRequest: "operator"
      }
    }
  }

  /// Why and since when the gate is shut, for one cause.
  private struct Standing {
    var detail: String
    var noSpace: Bool
    var since: ContinuousClock.Instant
    var sinceMilliseconds: UInt64
  }

  private struct State {
    var settings = GateSettings()
    var standing: [Cause: Standing] = [:]
    /// Rises with every error, so that whoever wants to open the gate sees that one came meanwhile.
    var generation: UInt64 = 0
    /// The last error of any class but backpressure.
    var lastErrorAt: ContinuousClock.Instant?
    var foreground = GateEvidence()
    var background = GateEvidence()
    var backpressure = GateEvidence()
    /// RocksDB's count at the last tick; what it was at the first does not count.
    var backgroundCount: UInt64?
    var lastTickAt: ContinuousClock.Instant?
    var backgroundError: RocksError?
    var suspects = GateSuspects()
    var status = GateStatus()
  }

  /// A try to open the gate: what would be opened, and what must read again before.
  package struct Attempt: Sendable {
    package let causes: [Cause]
    package let suspects: GateSuspects
    fileprivate let generation: UInt64
  }

  private let name: String
  private let events: EventBroadcaster
  private let clock: any StoreClock
  /// The causes that stand. Written under the lock of `state`.
  private let bits = Atomic<UInt8>(0)
  /// Whether an error came after the last success. Written under the lock of `state`.
  private let awaitsSuccess = Atomic<Bool>(false)
  private let state = Mutex(State())

  init(name: String, events: EventBroadcaster, clock: any StoreClock) {
    self.name = name
    self.events = events
    self.clock = clock
  }

  /// Sets when the gate shuts and opens, from the next tick on.
  package func configure(_ settings: GateSettings) { state.withLock { $0.settings = settings } }

  /// Whether writes are refused. One atomic load.
  public var isShut: Bool { bits.load(ordering: .acquiring) != 0 }

  /// Causes, last error and counters.
  public var status: GateStatus {
    state.withLock { state in
      var status = state.status
      status.causes = Cause.allCases.compactMap { cause in
        state.standing[cause].map {
          GateStatus.Cause(
            reason: reason(cause, $0), detail: $0.detail, sinceMilliseconds: $0.sinceMilliseconds)
        }
      }
      return status
    }
  }

  /// The machine's word and the details of the gravest cause; nil while the gate is open.
  var refusal: (reason: String, detail: String)? {
    guard isShut else { return nil }
    return state.withLock { state in
      for cause in Cause.allCases {
        if let standing = state.standing[cause] {
          return (reason(cause, standing), standing.detail)
        }
      }
      return nil
    }
  }

  private func reason(_ cause: Cause, _ standing: Standing) -> String {
    standing.noSpace ? "disk_full" : cause.reason
  }

  // MARK: Errors and successes

  /// Notes a failed call: damage and I/O errors shut the gate at once, others are counted.
  ///
  /// Refusals that say nothing of the data (closed, shutting down, a read that needs the disk, an
  /// absent key) are no errors.
  package func record(_ error: RocksError) {
    switch error.kind {
    case .closed, .shutdown, .incomplete, .notFound: return
    default: break
    }
    let now = clock.now
    send { state in
      note(error, at: now, in: &state)
      state.status.errors[error.kind.word, default: 0] += 1
      switch error.kind {
      case .corruption, .ioError:
        state.suspects.add(error.message)
        return shut(
          error.kind == .corruption ? .damage : .readFailed, error.message,
          noSpace: error.isNoSpace, at: now, in: &state)
      default:
        state.foreground.record(at: now, window: state.settings.errorLatchDuration)
        awaitsSuccess.store(true, ordering: .relaxed)
        return nil
      }
    }
  }

  /// Notes that a write ran out of its time because RocksDB was stalled.
  package func recordBackpressureTimeout(at now: ContinuousClock.Instant) {
    state.withLock { state in
      state.generation &+= 1
      state.status.backpressureTimeouts += 1
      state.backpressure.record(at: now, window: state.settings.errorLatchDuration)
      awaitsSuccess.store(true, ordering: .relaxed)
    }
  }

  /// Notes a write that succeeded. Called on every write: costs one relaxed load while no error
  /// stands.
  package func recordSuccess() {
    guard awaitsSuccess.load(ordering: .relaxed) else { return }
    state.withLock { state in
      state.foreground.recordSuccess(endsRun: true)
      state.backpressure.recordSuccess(endsRun: true)
      // Writes go on for long while compactions fail; only the errors' end is an end.
      state.background.recordSuccess(endsRun: false)
      awaitsSuccess.store(false, ordering: .relaxed)
    }
  }

  private func note(
    _ error: RocksError, at now: ContinuousClock.Instant, in state: inout State
  ) {
    state.generation &+= 1
    state.lastErrorAt = now
    state.status.lastError = GateStatus.LastError(
      kind: error.kind.word, detail: error.message, atMilliseconds: clock.wallMilliseconds)
  }

  // MARK: The operator

  /// Shuts the gate at an operator's wish, until ``Store/clearGate(of:)``.
  public func shutForOperator(note: String) {
    let now = clock.now
    send { shut(.operatorRequest, note, at: now, in: &$0) }
  }

  // MARK: Ticks

  /// Takes one look: judges what persists and shuts the gate for it.
  ///
  /// - Parameters:
  ///   - count: The family's failed compactions since the open; those of before the first tick are
  ///     history.
  ///   - lastBackgroundError: Asked when the count grew.
  /// - Returns: What may be opened if the probe succeeds; nil when it is not time.
  package func tick(
    backgroundErrors count: UInt64, lastBackgroundError: () -> RocksError?
  ) -> Attempt? {
    let now = clock.now
    let isNew = state.withLock { $0.backgroundCount.map { count > $0 } ?? false }
    let failure = isNew ? lastBackgroundError() : nil
    // One tick at a time runs, so what was read above still holds.
    send { state in
      let grown = count - min(state.backgroundCount ?? count, count)
      state.backgroundCount = count
      let window = state.settings.errorLatchDuration
      let pause = state.lastTickAt.map { now - $0 } ?? .zero
      state.lastTickAt = now
      if grown > 0 {
        let error = failure ?? RocksError(message: "unknown")
        state.backgroundError = error
        note(error, at: now, in: &state)
        // What a full disk names is the table that was to be written.
        if !error.isNoSpace { state.suspects.add(error.message) }
        state.status.backgroundErrors += grown
        // When they happened since the last look is not known: those of two looks in a row have no
        // pause between them, however short the window is.
        state.background.record(grown, at: now, window: max(window, pause))
        awaitsSuccess.store(true, ordering: .relaxed)
      }
      guard state.background.tick(at: now, window: window) else {
        if state.background.count == 0, state.standing.isEmpty { state.suspects = GateSuspects() }
        return nil
      }
      return shut(
        .backgroundError, "compactions fail (\(state.backgroundError?.message ?? "unknown"))",
        noSpace: state.backgroundError?.isNoSpace ?? false, at: now, in: &state)
    }
    send { state in
      guard state.foreground.tick(at: now, window: state.settings.errorLatchDuration) else {
        return nil
      }
      let error = state.status.lastError?.detail ?? "unknown"
      return shut(
        .errors, "\(state.foreground.count) calls failed, the last with: \(error)", at: now,
        in: &state)
    }
    send { state in
      guard state.backpressure.tick(at: now, window: state.settings.errorLatchDuration) else {
        return nil
      }
      return shut(
        .backpressure, "\(state.backpressure.count) writes were not accepted in time", at: now,
        in: &state)
    }
    return state.withLock { dueAttempt(at: now, in: $0) }
  }

  private func dueAttempt(at now: ContinuousClock.Instant, in state: State) -> Attempt? {
    let settings = state.settings
    guard settings.allowsErrorUnlatch, !state.standing.isEmpty else { return nil }
    var causes: [Cause] = []
    if let standing = state.standing[.backpressure],
      now - max(standing.since, state.backpressure.lastAt ?? standing.since)
        >= settings.backpressureUnlatchDuration
    {
      causes.append(.backpressure)
    }
    var classes: [Cause] = [.readFailed, .backgroundError, .errors]
    if settings.unlatchesOnCorruption { classes.append(.damage) }
    let standing = classes.filter { state.standing[$0] != nil }
    // Of the stamps that exist only: a class without errors does not keep the others from resting.
    var stamps = standing.compactMap { state.standing[$0]?.since }
    if let last = state.lastErrorAt, !stamps.isEmpty { stamps.append(last) }
    if let stableSince = stamps.max(), now - stableSince >= settings.errorUnlatchDuration {
      causes.append(contentsOf: standing)
    }
    return causes.isEmpty ? nil : attempt(causes, state)
  }

  /// The try to open the gate for whatever cause, at an operator's wish.
  package func attemptForOperator() -> Attempt {
    state.withLock { state in attempt(Cause.allCases.filter { state.standing[$0] != nil }, state) }
  }

  private func attempt(_ causes: [Cause], _ state: State) -> Attempt {
    // A stall says nothing of the tables.
    let suspects = causes == [.backpressure] ? GateSuspects() : state.suspects
    return Attempt(causes: causes, suspects: suspects, generation: state.generation)
  }

  /// Opens the gate after a probe that succeeded, unless an error came since the try began.
  ///
  /// - Parameter count: The family's failed compactions as they are now.
  /// - Returns: Whether the causes of the try are gone.
  @discardableResult
  package func finish(_ attempt: Attempt, backgroundErrors count: UInt64) -> Bool {
    let opened = state.withLock { state -> [String]? in
      guard state.generation == attempt.generation, count == state.backgroundCount ?? count else {
        return nil
      }
      let opened = attempt.causes.compactMap { cause in
        state.standing.removeValue(forKey: cause).map { reason(cause, $0) }
      }
      // Only what comes from now on counts against what was opened.
      if attempt.causes.contains(.backpressure) { state.backpressure = GateEvidence() }
      if attempt.causes != [.backpressure] {
        state.foreground = GateEvidence()
        state.background = GateEvidence()
        if state.standing[.damage] == nil, state.standing[.readFailed] == nil {
          state.suspects = GateSuspects()
        }
      }
      bits.store(state.standing.keys.reduce(0) { $0 | $1.rawValue }, ordering: .releasing)
      return opened
    }
    for reason in opened ?? [] { events.send(.partOpened(family: name, reason: reason)) }
    return opened != nil
  }

  // MARK: Shutting

  /// Shuts the gate for a cause, within the lock. Repeats keep the first detail.
  ///
  /// - Returns: What to tell when the cause is new.
  private func shut(
    _ cause: Cause, _ detail: String, noSpace: Bool = false, at now: ContinuousClock.Instant,
    in state: inout State
  ) -> StoreEvent? {
    guard state.standing[cause] == nil else { return nil }
    let standing = Standing(
      detail: detail, noSpace: noSpace, since: now, sinceMilliseconds: clock.wallMilliseconds)
    state.standing[cause] = standing
    // An error that stands now: a gate about to open for others must see it.
    state.generation &+= 1
    bits.store(bits.load(ordering: .relaxed) | cause.rawValue, ordering: .releasing)
    let reason = reason(cause, standing)
    state.status.transitions[reason, default: 0] += 1
    return .partShut(family: name, reason: reason, detail: detail)
  }

  /// Runs a body under the lock, and tells its event after it: listeners log.
  private func send(_ body: (inout State) -> StoreEvent?) {
    let event = state.withLock { state in body(&state) }
    if let event { events.send(event) }
  }
}

extension RocksError.Kind {
  /// The fixed word for machines, such as a metric's label.
  package var word: String {
    switch self {
    case .corruption: "corruption"
    case .ioError: "io_error"
    case .incomplete: "incomplete"
    case .shutdown: "shutdown"
    case .busy: "busy"
    case .timedOut: "timed_out"
    case .aborted: "aborted"
    case .tryAgain: "try_again"
    case .invalidArgument: "invalid_argument"
    case .notSupported: "not_supported"
    case .notFound: "not_found"
    case .closed: "closed"
    case .other: "other"
    }
  }
}
