internal import Glibc
internal import SpindleCore
internal import SpindleIO
internal import Synchronization

/// Stops the stores of a spool on files while the disk takes none.
///
/// It shuts after some failures in a row and opens after a write that succeeded. One failure alone
/// is the caller's to hear.
final class LocalDiskGate: Sendable {
  private struct State {
    var failuresInARow = 0
    /// Rises with each failure, to tell whether one came between a probe and its verdict.
    var failures: UInt64 = 0
    var refusal: SpindleError?
    /// Bytes of the largest write that failed since the gate was open.
    var failedBytes = 0
  }
  private let state = Mutex(State())
  private let shut = Atomic<Bool>(false)
  /// Whether a success has something to put right.
  private let hasFailures = Atomic<Bool>(false)
  private let limit: Int

  init(failuresToShut: Int) { limit = failuresToShut }

  /// One atomic load.
  var isShut: Bool { shut.load(ordering: .acquiring) }

  /// The error of a store while the gate is shut.
  var refusal: SpindleError? { isShut ? state.withLock { $0.refusal } : nil }

  /// Costs one atomic load while all is well.
  func recordSuccess() {
    guard hasFailures.load(ordering: .acquiring), !isShut else { return }
    state.withLock { state in
      guard state.refusal == nil else { return }
      state.failuresInARow = 0
      state.failedBytes = 0
      hasFailures.store(false, ordering: .releasing)
    }
  }

  /// Notes a write that failed. Failures that say nothing about the disk are not counted.
  ///
  /// - Returns: Whether this one shut the gate.
  func recordFailure(_ failure: IOFailure, bytes: Int) -> Bool {
    guard let reason = Self.reason(failure) else { return false }
    return state.withLock { state in
      state.failuresInARow += 1
      state.failures += 1
      state.failedBytes = max(state.failedBytes, bytes)
      hasFailures.store(true, ordering: .releasing)
      guard state.failuresInARow >= limit, state.refusal == nil else { return false }
      state.refusal = SpindleError(.unavailable, "\(LocalDiskSpool.refusalText)", reason: reason)
      shut.store(true, ordering: .releasing)
      return true
    }
  }

  /// What a probe has to write to be believed: as much as failed, 4 KiB to 1 MiB.
  var probe: (bytes: Int, failures: UInt64) {
    state.withLock { (min(max($0.failedBytes, 4 << 10), 1 << 20), $0.failures) }
  }

  /// Opens the gate after a successful probe, unless another write failed since it began.
  func open(ifFailuresAre failures: UInt64) {
    state.withLock { state in
      guard state.failures == failures else { return }
      state.failuresInARow = 0
      state.failedBytes = 0
      state.refusal = nil
      hasFailures.store(false, ordering: .releasing)
      shut.store(false, ordering: .releasing)
    }
  }

  private static func reason(_ failure: IOFailure) -> String? {
    switch failure.code {
    case ENOSPC, EDQUOT: "disk_full"
    case EROFS: "read_only"
    case EIO: "io"
    default: nil
    }
  }
}
