internal import SpindleCore
internal import Synchronization

/// Lets one task at a time through, in the order of arrival.
final class SpoolTurn: Sendable {
  /// The most tasks that wait. Each waits for as long as those before it take; more of them could
  /// not be served in a useful time.
  static let waiterLimit = 64

  private struct State {
    var isTaken = false
    var nextID = 0
    var waiting: [(id: Int, wake: CheckedContinuation<Void, any Error>)] = []
  }
  private let state = Mutex(State())

  /// Waits for the turn. Each success must be matched by ``leave()``.
  ///
  /// - Throws: `CancellationError`, or ``SpindleError`` with `overloaded` when too many wait.
  func take() async throws {
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (wake: CheckedContinuation<Void, any Error>) in
        enum Next {
          case go, wait
          case refuse(any Error)
        }
        let next = state.withLock { state -> Next in
          // The handler below finds nobody when it comes before this.
          if Task.isCancelled { return .refuse(CancellationError()) }
          if !state.isTaken {
            state.isTaken = true
            return .go
          }
          guard state.waiting.count < Self.waiterLimit else {
            return .refuse(
              SpindleError(.overloaded, "\(Self.waiterLimit) calls wait for the compaction already")
            )
          }
          state.waiting.append((id, wake))
          return .wait
        }
        switch next {
        case .go: wake.resume()
        case .wait: break
        case .refuse(let error): wake.resume(throwing: error)
        }
      }
    } onCancel: {
      let waiter = state.withLock { state in
        state.waiting.firstIndex { $0.id == id }.map { state.waiting.remove(at: $0) }
      }
      waiter?.wake.resume(throwing: CancellationError())
    }
  }

  /// Hands the turn to the next.
  func leave() {
    let next = state.withLock { state -> CheckedContinuation<Void, any Error>? in
      guard !state.waiting.isEmpty else {
        state.isTaken = false
        return nil
      }
      return state.waiting.removeFirst().wake
    }
    next?.resume()
  }
}
