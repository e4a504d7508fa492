internal import SpindleCore
internal import SpindleStore
internal import Synchronization

/// What a spool holds of its quota.
public struct SpoolUsage: Sendable, Equatable {
  /// Bytes of the stored records, as compressed, their headers and keys included.
  public var bytes: UInt64
  /// Messages.
  public var entries: UInt64

  public init(bytes: UInt64 = 0, entries: UInt64 = 0) {
    self.bytes = bytes
    self.entries = entries
  }

  func changed(by change: SpoolLedger.Change) -> SpoolUsage {
    SpoolUsage(
      bytes: UInt64(max(Int(bytes) + change.bytes, 0)),
      entries: UInt64(max(Int(entries) + change.entries, 0)))
  }
}

/// Counts what a spool with a quota holds.
///
/// Growth is reserved before the write and given back when the write fails; what shrinks is counted
/// after the write. So the count is never below what is stored, and equal to it while no write is
/// under way. One case aside: a synced write whose sync failed may be there or not. The gate is
/// shut until the store is opened anew then, and opening counts afresh. Where damage hid a part of
/// the spool when it was opened, the count is too low, and growth is refused although a gate may
/// open again.
///
/// A replacement counts with the difference to what was there, so nobody else may change the id
/// between the look and the write. Stores and removes hold the id's lock; what a drain worker or an
/// operator removes under a claim is met by a condition of the write, see
/// ``RocksSpool/claim(_:)``.
final class SpoolLedger: Sendable {
  /// Bytes of a key.
  static let keyBytes = 16

  /// The sizes of one message before and after a change; nil where there is none.
  struct Change: Sendable {
    var before: Int?
    var after: Int?

    var bytes: Int { cost(after) - cost(before) }
    var entries: Int { (after == nil ? 0 : 1) - (before == nil ? 0 : 1) }
    private func cost(_ recordBytes: Int?) -> Int { recordBytes.map { $0 + keyBytes } ?? 0 }
  }

  /// The lock of one id; there while somebody holds it or waits for it.
  private struct Lock {
    let permit: Permits
    var users = 1
  }

  /// Whose quota it is, at the beginning of a sentence.
  private let holder: String
  /// The machine's word for a refusal; nil names what ran out.
  private let reason: String?
  private let quota: SpoolQuota
  private let isPartial: Bool
  private let clock: any StoreClock
  private let state: Mutex<SpoolUsage>
  private let locks = Mutex<[SpoolID: Lock]>([:])

  /// - Parameter isPartial: Whether the spool holds more than the usage says.
  init(
    of holder: String, quota: SpoolQuota, holding usage: SpoolUsage, isPartial: Bool = false,
    clock: any StoreClock, reason: String? = nil
  ) {
    self.holder = holder
    self.reason = reason
    self.quota = quota
    self.isPartial = isPartial
    self.clock = clock
    state = Mutex(usage)
  }

  var usage: SpoolUsage { state.withLock { $0 } }

  // MARK: Locks

  /// Waits until no other change of the id is under way.
  ///
  /// - Parameter deadline: nil waits for as long as it takes.
  /// - Returns: false when the deadline passed.
  func lock(_ id: SpoolID, until deadline: ContinuousClock.Instant?) async throws -> Bool {
    let permit = locks.withLock { locks -> Permits in
      if let permit = locks[id]?.permit {
        locks[id]?.users += 1
        return permit
      }
      let permit = Permits(1, clock: clock)
      locks[id] = Lock(permit: permit)
      return permit
    }
    do {
      if try await permit.acquire(until: deadline) { return true }
    } catch {
      forget(id)
      throw error
    }
    forget(id)
    return false
  }

  func unlock(_ id: SpoolID) { forget(id)?.release() }

  @discardableResult
  private func forget(_ id: SpoolID) -> Permits? {
    locks.withLock { locks in
      guard var lock = locks[id] else { return nil }
      lock.users -= 1
      locks[id] = lock.users == 0 ? nil : lock
      return lock.permit
    }
  }

  // MARK: Counting

  /// Counts the growth of a change that is about to be written.
  ///
  /// - Throws: ``SpindleError`` with `quotaExceeded`, or `unavailable` when nobody knows how much
  ///   there is; nothing is counted then.
  func reserve(_ change: Change) throws(SpindleError) {
    try state.withLock { usage throws(SpindleError) in
      let bytes = UInt64(max(change.bytes, 0))
      let entries = UInt64(max(change.entries, 0))
      guard !isPartial || bytes + entries == 0 else {
        throw SpindleError(
          .unavailable,
          "what \(holder) holds could not be counted for its quota when it was opened, as a "
            + "part of it cannot be read; repair the spool or open it again",
          reason: "quota_uncounted")
      }
      // What is over the quota already, because it was lowered, may still shrink.
      if let limit = quota.bytes, bytes > 0, usage.bytes + bytes > limit {
        throw SpindleError(
          .quotaExceeded,
          "\(holder) may hold \(limit) bytes and holds \(usage.bytes); "
            + "the message needs \(bytes) more", reason: reason ?? "bytes")
      }
      if let limit = quota.entries, entries > 0, usage.entries + entries > limit {
        throw SpindleError(
          .quotaExceeded,
          "\(holder) may hold \(limit) messages and holds \(usage.entries)",
          reason: reason ?? "entries")
      }
      usage.bytes += bytes
      usage.entries += entries
    }
  }

  /// Counts the growth of a change that is about to be written, or was, whatever the quota says.
  func expect(_ change: Change) {
    state.withLock { usage in
      usage.bytes += UInt64(max(change.bytes, 0))
      usage.entries += UInt64(max(change.entries, 0))
    }
  }

  /// Takes back the growth of a change whose write failed.
  func giveBack(_ change: Change) {
    shrink(bytes: max(change.bytes, 0), entries: max(change.entries, 0))
  }

  /// Counts what a written change has freed.
  func settle(_ change: Change) {
    shrink(bytes: max(-change.bytes, 0), entries: max(-change.entries, 0))
  }

  private func shrink(bytes: Int, entries: Int) {
    state.withLock { usage in
      usage.bytes -= min(UInt64(bytes), usage.bytes)
      usage.entries -= min(UInt64(entries), usage.entries)
    }
  }
}

/// The count of one change that somebody else writes: the id's lock, and what is reserved.
struct SpoolCount {
  let ledger: SpoolLedger
  let id: SpoolID
  let change: SpoolLedger.Change
  /// Tells of damage that the look at what a removal takes away has met. Only when that is written:
  /// it shuts the gate, and the removal is what helps.
  let tellDamage: (() -> Void)?

  /// Ends the count of a change that was written.
  func settle() {
    ledger.settle(change)
    ledger.unlock(id)
    tellDamage?()
  }

  /// Ends the count of a change whose write failed.
  func giveBack() {
    ledger.giveBack(change)
    ledger.unlock(id)
  }
}
