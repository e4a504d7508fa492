internal import SpindleCore
internal import Synchronization

/// Makes one call out of those that overlap: who comes while one runs gets its result.
final class SharedCall<Value: Sendable>: Sendable {
  /// The most tasks that wait for one result.
  static var waiterLimit: Int { 1_024 }

  /// nil while no call runs.
  private let waiting = Mutex<[CheckedContinuation<Value?, any Error>]?>(nil)

  func run(_ body: () async throws -> Value) async throws -> Value {
    if let shared = try await join() { return shared }
    let result: Result<Value, any Error>
    do {
      result = .success(try await body())
    } catch {
      result = .failure(error)
    }
    let joined = waiting.withLock { waiting in
      defer { waiting = nil }
      return waiting ?? []
    }
    for waiter in joined { waiter.resume(with: result.map { $0 }) }
    return try result.get()
  }

  /// - Returns: nil when no call ran: the caller's own is the one that others join.
  private func join() async throws -> Value? {
    try await withCheckedThrowingContinuation { (waiter: CheckedContinuation<Value?, any Error>) in
      let count = waiting.withLock { waiting in
        guard let count = waiting?.count else {
          waiting = []
          return -1
        }
        if count < Self.waiterLimit { waiting?.append(waiter) }
        return count
      }
      if count < 0 {
        waiter.resume(returning: nil)
      } else if count >= Self.waiterLimit {
        waiter.resume(
          throwing: SpindleError(
            .overloaded, "\(Self.waiterLimit) calls wait for the same result already"))
      }
    }
  }
}
