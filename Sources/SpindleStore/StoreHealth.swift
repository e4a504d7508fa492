package import SpindleCore
package import SpindleRocks
internal import Synchronization

/// The gate that stops every write of a store when writing is not safe; where only free space is
/// short, it lets removals through, see ``Cause/capacity``.
///
/// Several causes may hold the gate shut at once; it opens when the last is gone. Reading the gate
/// costs one atomic load.
public final class StoreHealth: Sendable {
  /// Why writes are refused.
  public enum Cause: UInt8, Sendable, CaseIterable {
    /// An append to the write-ahead log failed. Ends when the log was replaced.
    case logFailed = 1
    /// A sync of the write-ahead log failed. Lasts until the store is opened anew: after a failed
    /// fsync nobody knows what the disk holds.
    case logSyncFailed = 2
    /// A flush or compaction failed. Ends when RocksDB resumed.
    case backgroundError = 4
    /// Less is free on the disk than the floor demands. While this is the only cause and a tenth of
    /// the floor is free, batches that only delete are written all the same.
    case capacity = 8
    /// The operator shut the gate.
    case operatorRequest = 16
    /// RocksDB stopped for good, such as after a failed sync of its manifest. Lasts until the store
    /// is opened anew.
    case engineFailed = 32

    /// The fixed word for machines: ``SpindleError/reason``.
    public var reason: String {
      switch self {
      case .logFailed: "wal_failed"
      case .logSyncFailed: "wal_sync_failed"
      case .backgroundError: "background_error"
      case .capacity: "disk_full"
      case .operatorRequest: "operator"
      case .engineFailed: "engine_failed"
      }
    }
  }

  private struct Detail {
    var text: String
    var noSpace: Bool
    var sinceMilliseconds: UInt64
  }

  private let bits = Atomic<UInt8>(0)
  private let details = Mutex<[Cause: Detail]>([:])
  /// Counters and the last error; its causes are filled in when it is asked for.
  private let counted = Mutex(GateStatus())
  private let writing = Atomic<Int>(0)
  /// Whether there is room for removals below the floor of free space.
  private let hasRoomForRemovals = Atomic<Bool>(false)
  private let events: EventBroadcaster
  private let clock: any StoreClock

  init(events: EventBroadcaster, clock: any StoreClock) {
    self.events = events
    self.clock = clock
  }

  /// A fixed text while writes are refused, nil otherwise. No I/O, no allocation; it names neither
  /// paths nor engine errors.
  public var unhealthyReason: StaticString? {
    bits.load(ordering: .acquiring) == 0 ? nil : "the store is not accepting writes"
  }

  /// The causes that hold the gate shut, with details for people.
  public var causes: [(cause: Cause, detail: String)] {
    let current = bits.load(ordering: .acquiring)
    return details.withLock { details in
      Cause.allCases.filter { $0.rawValue & current != 0 }
        .map { ($0, details[$0]?.text ?? "") }
    }
  }

  /// Causes, last error and counters. Failed flushes and compactions of all parts are in its
  /// ``GateStatus/backgroundErrors``.
  public var status: GateStatus {
    var status = counted.withLock { $0 }
    let current = bits.load(ordering: .acquiring)
    status.causes = details.withLock { details in
      Cause.allCases.compactMap { cause in
        guard cause.rawValue & current != 0, let detail = details[cause] else { return nil }
        return GateStatus.Cause(
          reason: reason(cause, noSpace: detail.noSpace), detail: detail.text,
          sinceMilliseconds: detail.sinceMilliseconds)
      }
    }
    return status
  }

  func isLatched(_ cause: Cause) -> Bool {
    bits.load(ordering: .sequentiallyConsistent) & cause.rawValue != 0
  }

  /// Shuts the gate for a cause. Repeats keep the first detail.
  func latch(_ cause: Cause, detail: String, noSpace: Bool = false) {
    let isNew = details.withLock { details in
      // Both under one lock, so that a latch and an unlatch never interleave halfway.
      let old = bits.bitwiseOr(cause.rawValue, ordering: .sequentiallyConsistent).oldValue
      let isNew = old & cause.rawValue == 0
      if isNew {
        details[cause] = Detail(
          text: detail, noSpace: noSpace, sinceMilliseconds: clock.wallMilliseconds)
      }
      return isNew
    }
    guard isNew else { return }
    let reason = reason(cause, noSpace: noSpace)
    counted.withLock { $0.transitions[reason, default: 0] += 1 }
    events.send(.gateShut(reason: reason, detail: detail))
  }

  func unlatch(_ cause: Cause) {
    let old = details.withLock { details in
      let old = bits.bitwiseAnd(~cause.rawValue, ordering: .sequentiallyConsistent).oldValue
      let detail = details.removeValue(forKey: cause)
      return (wasSet: old & cause.rawValue != 0, noSpace: detail?.noSpace ?? false)
    }
    if old.wasSet { events.send(.gateOpened(reason: reason(cause, noSpace: old.noSpace))) }
  }

  /// Shuts the gate at an operator's wish, until ``openForOperator()``.
  public func shutForOperator(note: String) { latch(.operatorRequest, detail: note) }

  /// Ends the operator's wish; other causes stay.
  public func openForOperator() { unlatch(.operatorRequest) }

  /// Counts failures of background work.
  func recordBackgroundErrors(_ count: UInt64, _ error: RocksError?) {
    counted.withLock { status in
      status.backgroundErrors += count
      if let error { status.lastError = lastError(error) }
    }
  }

  private func count(_ error: RocksError) {
    counted.withLock { status in
      status.errors[error.kind.word, default: 0] += 1
      status.lastError = lastError(error)
    }
  }

  private func lastError(_ error: RocksError) -> GateStatus.LastError {
    GateStatus.LastError(
      kind: error.kind.word, detail: error.message, atMilliseconds: clock.wallMilliseconds)
  }

  private func reason(_ cause: Cause, noSpace: Bool) -> String {
    noSpace ? "disk_full" : cause.reason
  }

  /// The bit of the gate that no cause owns: the store is closing, for good.
  private static let closingBit: UInt8 = 128

  /// Shuts the gate for good, as the first step of closing.
  func shutForClosing() { bits.bitwiseOr(Self.closingBit, ordering: .sequentiallyConsistent) }

  /// Says whether removals may go on while the gate is shut for ``Cause/capacity`` alone.
  func noteRoomForRemovals(_ isThere: Bool) {
    hasRoomForRemovals.store(isThere, ordering: .sequentiallyConsistent)
  }

  /// The error that a refused write gets; nil while the gate is open, or open for it.
  ///
  /// - Parameter isRemoval: Whether the write deletes and does nothing else; asked for only where
  ///   it matters.
  func refusal(isRemoval: @autoclosure () -> Bool = false) -> SpindleError? {
    let current = bits.load(ordering: .sequentiallyConsistent)
    guard current != 0 else { return nil }
    if current == Cause.capacity.rawValue, hasRoomForRemovals.load(ordering: .relaxed),
      isRemoval()
    {
      return nil
    }
    if current & Self.closingBit != 0 { return SpindleError(.closed, "the store is closed") }
    return details.withLock { details in
      let cause = Cause.allCases.first { $0.rawValue & current != 0 } ?? .operatorRequest
      let detail = details[cause]
      var refusal = SpindleError(
        .unavailable, "the store is not accepting writes: \(detail?.text ?? cause.reason)",
        reason: reason(cause, noSpace: detail?.noSpace ?? false))
      refusal.isGateRefusal = true
      return refusal
    }
  }

  // MARK: Writes under way

  /// Starts a write, unless the gate is shut. Each success must be matched by ``endWrite()``.
  ///
  /// The count rises before the gate is read, and whoever heals the log shuts the gate before
  /// reading the count; so a write that passed the gate is always waited for.
  ///
  /// - Parameter isRemoval: As of ``refusal(isRemoval:)``.
  func beginWrite(isRemoval: @autoclosure () -> Bool = false) throws {
    // Looked at first without counting: refused callers that come again and again must not keep
    // a cure from seeing the last write end.
    if bits.load(ordering: .acquiring) != 0, let refusal = refusal(isRemoval: isRemoval()) {
      throw refusal
    }
    writing.add(1, ordering: .sequentiallyConsistent)
    if bits.load(ordering: .sequentiallyConsistent) != 0,
      let refusal = refusal(isRemoval: isRemoval())
    {
      endWrite()
      throw refusal
    }
  }

  func endWrite() { writing.subtract(1, ordering: .sequentiallyConsistent) }

  /// Whether no write is under way.
  var isQuiet: Bool { writing.load(ordering: .sequentiallyConsistent) == 0 }
}

extension StoreHealth {
  /// Judges a failed write and shuts the gate where writing is not safe any more.
  ///
  /// - Returns: The error for the caller, with the engine's words; whoever comes later gets the
  ///   gate's refusal.
  func recordFailure(ofWrite error: RocksError, noSpace: Bool = false) -> SpindleError {
    switch error.kind {
    case .ioError, .corruption:
      // Whatever failed, the log may end in a torn record now: acknowledging later writes into it
      // would lose them at the next open.
      let isFull = error.isNoSpace || noSpace
      count(error)
      latch(.logFailed, detail: describe(error), noSpace: isFull)
      return failure(error, reason: reason(.logFailed, noSpace: isFull))
    case .closed, .shutdown:
      return error.spindleError
    default:
      count(error)
      return error.spindleError
    }
  }

  func recordFailure(ofSync error: RocksError) -> SpindleError {
    count(error)
    latch(.logSyncFailed, detail: describe(error), noSpace: error.isNoSpace)
    return failure(error, reason: reason(.logSyncFailed, noSpace: error.isNoSpace))
  }

  /// The error of the write that failed itself: no refusal of the gate, which is shut by now.
  private func failure(_ error: RocksError, reason: String) -> SpindleError {
    SpindleError(.unavailable, "the write failed: \(error.message)", reason: reason)
  }

  private func describe(_ error: RocksError) -> String {
    // A write that the guard refused says what failed first; that is what helps.
    let cause = error.message.split(separator: "; first: ").last ?? error.message[...]
    return error.isNoSpace
      ? "the disk is full (\(cause))" : "the write-ahead log failed (\(cause))"
  }
}

extension RocksError {
  /// The same as an error of the public API.
  package var spindleError: SpindleError {
    switch kind {
    case .corruption: SpindleError(.corruption, message)
    case .incomplete, .busy, .timedOut, .tryAgain: SpindleError(.overloaded, message)
    case .invalidArgument, .notSupported: SpindleError(.invalidArgument, message)
    case .notFound: SpindleError(.notFound, message)
    case .closed, .shutdown: SpindleError(.closed, "the store is closed")
    case .ioError: SpindleError(.io, message, reason: isNoSpace ? "disk_full" : nil)
    case .aborted, .other: SpindleError(.unavailable, message)
    }
  }
}
