internal import SpindleCore

/// A suspended caller of the group lane, resumed exactly once with the outcome of its commit.
///
/// It holds no batch: what waits only for a sync keeps none of its bytes in memory.
@safe struct CommitWaiter: Sendable {
  private let continuation: UnsafeContinuation<Result<Void, any Error>, Never>

  init(_ continuation: UnsafeContinuation<Result<Void, any Error>, Never>) {
    unsafe self.continuation = unsafe continuation
  }

  func resume(_ result: Result<Void, any Error>) { unsafe continuation.resume(returning: result) }
}
