internal import SpindleOpLog
internal import Synchronization

/// A ``ConformanceRegister`` whose calls can be held in `prepare`.
struct HeldRegister: IdempotentReducer {
  typealias Op = ConformanceOp
  typealias ReadState = RegisterRaised?
  typealias ApplyState = ConformanceRegister.ApplyState
  typealias Event = RegisterRaised

  private static let base = ConformanceRegister()

  let hold: PrepareHold

  func prepare(
    _ op: ConformanceOp, _ context: OpContext, _ view: ReducerView
  ) async throws -> PrepareOutcome<RegisterRaised?> {
    await hold.pass()
    return try await Self.base.prepare(op, context, view)
  }

  func apply(
    _ op: ConformanceOp, _ context: OpContext, _ state: RegisterRaised?,
    into batch: inout ReducerBatch
  ) throws -> ConformanceRegister.ApplyState {
    try Self.base.apply(op, context, state, into: &batch)
  }

  func postApply(_ state: ConformanceRegister.ApplyState) throws -> RegisterRaised? {
    try Self.base.postApply(state)
  }
}

/// Holds who comes to `prepare` while it is shut.
package final class PrepareHold: Sendable {
  private struct State {
    var isShut = false
    var waiting: [CheckedContinuation<Void, Never>] = []
  }
  private let state = Mutex(State())

  package init() {}

  /// How many are held.
  package var heldCount: Int { state.withLock { $0.waiting.count } }

  package func shut() { state.withLock { $0.isShut = true } }

  package func open() {
    let waiting = state.withLock { state in
      state.isShut = false
      defer { state.waiting = [] }
      return state.waiting
    }
    for continuation in waiting { continuation.resume() }
  }

  package func pass() async {
    await withCheckedContinuation { continuation in
      let isOpen = state.withLock { state in
        if state.isShut { state.waiting.append(continuation) }
        return !state.isShut
      }
      if isOpen { continuation.resume() }
    }
  }
}
