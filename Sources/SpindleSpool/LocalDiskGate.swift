internal import Glibc
internal import SpindleCore
internal import SpindleIO
internal import SpindleStore
internal import Synchronization

/// Stops the stores of a spool on files while the disk takes none, or has too little left.
///
/// It shuts after some failures in a row and opens after a write that succeeded; one failure alone
/// is the caller's to hear. It shuts as well while the file system is below the floor. Either cause
/// holds it shut, and opens for itself.
final class LocalDiskGate: Sendable {
  /// What is to be told of the gate.
  enum Transition: Sendable {
    case shut(GateStatus.Cause)
    case opened(reason: String)
  }

  private struct State {
    var failuresInARow = 0
    /// Rises with each failure, to tell whether one came between a probe and its verdict.
    var failures: UInt64 = 0
    /// Bytes of the largest write that failed since the gate was open.
    var failedBytes = 0
    /// What holds the gate shut.
    var failure: GateStatus.Cause?
    var shortage: GateStatus.Cause?
    /// Errors and transitions.
    var status = GateStatus()

    var causes: [GateStatus.Cause] { [failure, shortage].compactMap { $0 } }
  }
  private let state = Mutex(State())
  private let shut = Atomic<Bool>(false)
  /// Whether a success has something to put right.
  private let hasFailures = Atomic<Bool>(false)
  private let limit: Int
  private let floor: StoreSettings.CapacityFloor
  private let clock: any StoreClock

  init(
    failuresToShut: Int, floor: StoreSettings.CapacityFloor, clock: any StoreClock
  ) {
    limit = failuresToShut
    self.floor = floor
    self.clock = clock
  }

  /// One atomic load.
  var isShut: Bool { shut.load(ordering: .acquiring) }

  /// Causes, last error and counters.
  var status: GateStatus {
    state.withLock { state in
      var status = state.status
      status.causes = state.causes
      return status
    }
  }

  /// The error of a store while the gate is shut.
  var refusal: SpindleError? {
    guard isShut, let cause = state.withLock({ $0.causes.first }) else { return nil }
    var refusal = SpindleError(
      .unavailable, "\(LocalDiskSpool.refusalText)", reason: cause.reason)
    refusal.isGateRefusal = true
    return refusal
  }

  /// Costs one atomic load while all is well.
  func recordSuccess() {
    guard hasFailures.load(ordering: .acquiring), !isShut else { return }
    state.withLock { state in
      guard state.failure == nil else { return }
      state.failuresInARow = 0
      state.failedBytes = 0
      hasFailures.store(false, ordering: .releasing)
    }
  }

  /// Notes a write that failed. Failures that say nothing about the disk are not counted.
  func recordFailure(_ failure: IOFailure, bytes: Int) -> Transition? {
    guard let reason = Self.reason(failure) else { return nil }
    return state.withLock { state in
      state.failuresInARow += 1
      state.failures += 1
      state.failedBytes = max(state.failedBytes, bytes)
      hasFailures.store(true, ordering: .releasing)
      state.status.errors[reason, default: 0] += 1
      state.status.lastError = GateStatus.LastError(
        kind: reason, detail: "\(failure)", atMilliseconds: clock.wallMilliseconds)
      guard state.failuresInARow >= limit, state.failure == nil else { return nil }
      let detail = "\(state.failuresInARow) writes in a row failed, the last with: \(failure)"
      let cause = cause(reason, detail)
      state.failure = cause
      return shut(for: cause, &state)
    }
  }

  /// Compares what is free with the floor.
  func judge(_ space: DiskSpace) -> Transition? {
    state.withLock { state in
      let shortage = floor.shortage(in: space, isShut: state.shortage != nil)
      switch (state.shortage, shortage) {
      case (nil, let detail?):
        let cause = cause("disk_full", detail)
        state.shortage = cause
        return shut(for: cause, &state)
      case (let cause?, nil):
        state.shortage = nil
        return opened(cause, &state)
      default: return nil
      }
    }
  }

  /// What a probe has to write to be believed, as much as failed, 4 KiB to 1 MiB; nil when no
  /// failure holds the gate shut.
  var probe: (bytes: Int, failures: UInt64)? {
    state.withLock { state in
      state.failure == nil ? nil : (min(max(state.failedBytes, 4 << 10), 1 << 20), state.failures)
    }
  }

  /// Takes the failures back after a successful probe, unless another write failed since it began.
  func forgive(ifFailuresAre failures: UInt64) -> Transition? {
    state.withLock { state in
      guard state.failures == failures, let cause = state.failure else { return nil }
      state.failuresInARow = 0
      state.failedBytes = 0
      state.failure = nil
      hasFailures.store(false, ordering: .releasing)
      return opened(cause, &state)
    }
  }

  private func cause(_ reason: String, _ detail: String) -> GateStatus.Cause {
    GateStatus.Cause(reason: reason, detail: detail, sinceMilliseconds: clock.wallMilliseconds)
  }

  private func shut(for cause: GateStatus.Cause, _ state: inout State) -> Transition {
    state.status.transitions[cause.reason, default: 0] += 1
    shut.store(true, ordering: .releasing)
    return .shut(cause)
  }

  private func opened(_ cause: GateStatus.Cause, _ state: inout State) -> Transition {
    shut.store(!state.causes.isEmpty, ordering: .releasing)
    return .opened(reason: cause.reason)
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
