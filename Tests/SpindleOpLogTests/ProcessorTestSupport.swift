import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

typealias RegisterTracker = LogIndexTracker<MaxRegisterOp>
typealias Registers = Processor<TestReducer, RegisterTracker>

/// A ``MaxRegister`` that fails or waits where a test wants it to.
struct TestReducer: Reducer {
  let base = MaxRegister()
  let trap: Trap

  init(_ trap: Trap = Trap()) { self.trap = trap }

  func prepare(
    _ op: MaxRegisterOp, _ context: OpContext, _ view: ReducerView
  ) async throws -> PrepareOutcome<RegisterRaised?> {
    try await trap.prepare(op)
    if let outcome = trap.refusal(of: op) { return outcome }
    return try await base.prepare(op, context, view)
  }

  func apply(
    _ op: MaxRegisterOp, _ context: OpContext, _ state: RegisterRaised?,
    into batch: inout ReducerBatch
  ) throws -> RegisterRaised? {
    let raised = try base.apply(op, context, state, into: &batch)
    try trap.check(.apply, op)
    return raised
  }

  func postApply(_ state: RegisterRaised?) throws -> RegisterRaised? {
    try trap.check(.postApply, nil)
    return try base.postApply(state)
  }
}

struct TrapError: Error, Equatable {}

final class Trap: Sendable {
  enum Phase: Sendable { case prepare, apply, postApply }

  private struct State {
    var failing: Phase?
    var failingName: String?
    var refusals: [[UInt8]: PrepareOutcome<RegisterRaised?>] = [:]
    var arrived = 0
  }
  private let state = Mutex(State())
  private let hold = PrepareHold()

  /// Lets one phase fail: for every op, or for those on one register.
  func fail(_ phase: Phase?, on name: String? = nil) {
    state.withLock {
      $0.failing = phase
      $0.failingName = name
    }
  }

  func refuse(_ name: String, _ outcome: PrepareOutcome<RegisterRaised?>?) {
    state.withLock { $0.refusals[Array(name.utf8)] = outcome }
  }

  func refusal(of op: MaxRegisterOp) -> PrepareOutcome<RegisterRaised?>? {
    state.withLock { $0.refusals[op.name] }
  }

  /// Holds the next ones who come to `prepare`.
  func shut() { hold.shut() }

  func open() { hold.open() }

  /// Waits for something that must happen while calls are held here. When it does not they are let
  /// go, or the test would wait for them for ever.
  func eventually(
    _ location: SourceLocation = #_sourceLocation, _ condition: () async throws -> Bool
  ) async throws {
    do {
      try await SpindleTestKit.eventually(location, condition)
    } catch {
      open()
      throw error
    }
  }

  /// How many came to `prepare`.
  var arrivedCount: Int { state.withLock { $0.arrived } }

  func prepare(_ op: MaxRegisterOp) async throws {
    state.withLock { $0.arrived += 1 }
    await hold.pass()
    try check(.prepare, op)
  }

  func check(_ phase: Phase, _ op: MaxRegisterOp?) throws {
    let fails = state.withLock { state in
      guard state.failing == phase else { return false }
      guard let name = state.failingName, let op else { return true }
      return op.name == Array(name.utf8)
    }
    if fails { throw TrapError() }
  }
}

let me = peer(100)

extension TestPlace {
  /// A processor over an open store, closed at the end.
  func withRegisters<Result>(
    _ trap: Trap = Trap(), settings: ProcessorSettings = ProcessorSettings(),
    publisher: (any EventPublisher<RegisterRaised>)? = nil,
    _ body: (Registers, Store) async throws -> Result
  ) async throws -> Result {
    try await withStore { store in
      let log = try await Registers(
        reducer: TestReducer(trap), store: store, prefix: "app", selfID: me, settings: settings,
        publisher: publisher)
      do {
        let result = try await body(log, store)
        await log.close()
        return result
      } catch {
        await log.close()
        throw error
      }
    }
  }
}

func entry(
  _ name: String, _ value: UInt64, at timestamp: UInt64 = 5, user: UserID? = nil
) -> DecodedEntry<MaxRegisterOp> {
  .logEntry(
    LogEntry(
      serverUser: user, timestamp: Timestamp(packed: timestamp), op: MaxRegisterOp(name, value)))
}

extension Processor {
  func register(_ name: String) async throws -> UInt64? {
    guard case .unsigned(let value) = try await view.register(name) else { return nil }
    return value
  }
}

/// The error that a call throws, which must be one of synchronisation.
@discardableResult
func syncError(
  location: SourceLocation = #_sourceLocation, _ body: () async throws -> some Any
) async -> SyncError? {
  do {
    _ = try await body()
    Issue.record("expected an error", sourceLocation: location)
  } catch let error as SyncError {
    return error
  } catch {
    Issue.record("unexpected error \(error)", sourceLocation: location)
  }
  return nil
}

func expectMismatch(
  _ expected: UInt64, _ actual: UInt64, location: SourceLocation = #_sourceLocation,
  _ body: () async throws -> some Any
) async {
  guard case .cursorMismatch(_, let wanted, let given) = await syncError(body) else {
    Issue.record("expected a cursor mismatch", sourceLocation: location)
    return
  }
  #expect(wanted == expected && given == actual, sourceLocation: location)
}

/// Keeps every event, in the order in which they came.
final class Recorder: EventPublisher {
  private let state = Mutex<[RegisterRaised]>([])
  private let lost = Atomic<Int>(0)
  var events: [RegisterRaised] { state.withLock { $0 } }
  var lostCount: Int { lost.load(ordering: .relaxed) }
  func publish(_ event: RegisterRaised) { state.withLock { $0.append(event) } }
  func lostEvents() { lost.add(1, ordering: .relaxed) }
}

/// A register that asks a test before it takes an entry.
struct ScriptedReducer: IdempotentReducer {
  typealias Event = RegisterRaised
  /// What becomes of an entry; nil leaves it to the register.
  typealias Script =
    @Sendable (MaxRegisterOp, OpContext, ReducerView) async throws -> PrepareOutcome<
      RegisterRaised?
    >?

  let base = MaxRegister()
  let script: Shared<Script?>

  func prepare(
    _ op: MaxRegisterOp, _ context: OpContext, _ view: ReducerView
  ) async throws -> PrepareOutcome<RegisterRaised?> {
    if let script = script.value, let outcome = try await script(op, context, view) {
      return outcome
    }
    return try await base.prepare(op, context, view)
  }

  func apply(
    _ op: MaxRegisterOp, _ context: OpContext, _ state: RegisterRaised?,
    into batch: inout ReducerBatch
  ) throws -> RegisterRaised? { try base.apply(op, context, state, into: &batch) }

  func postApply(_ state: RegisterRaised?) throws -> RegisterRaised? { state }
}

typealias ScriptedLog = Processor<ScriptedReducer, RegisterTracker>

extension TestPlace {
  /// Lends a log of its own whose reducer asks the script, and closes it.
  func withScriptedLog(
    _ script: Shared<ScriptedReducer.Script?>, _ body: (ScriptedLog, Store) async throws -> Void
  ) async throws {
    try await withStore { store in
      let log = try await ScriptedLog(
        reducer: ScriptedReducer(script: script), store: store, prefix: "app", selfID: me)
      do { try await body(log, store) } catch {
        await log.close()
        throw error
      }
      await log.close()
    }
  }
}
