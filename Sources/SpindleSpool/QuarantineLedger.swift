internal import SpindleCore
internal import SpindleStore
internal import Synchronization

/// What one move between a spool and its quarantine changes in the counts of both.
struct QuarantineMove: Sendable {
  var spool: SpoolLedger.Change
  var quarantine: SpoolLedger.Change
}

/// Counts what a spool's quarantine holds, and refuses what would exceed its limit.
///
/// A quarantine takes what others sent and nobody looks at, so without a limit whoever sends
/// garbage fills the disk. It is counted once, before the first move of a run, and kept from then
/// on; every move stages, and so counts, before it is written.
///
/// What damage hides is not counted, and moves go on: refused, damaged messages and those that
/// cannot be used would stay among the others. The limit is then exceeded by what is hidden at
/// most, in each run.
final class QuarantineLedger: Sendable {
  /// The machine's word for a refusal.
  static let fullReason = "quarantine_full"
  /// The same where the quarantine cannot be read under a message's id.
  static let damagedReason = "quarantine_damaged"
  /// The same where the quarantine has another message under the id.
  static let takenReason = "quarantine_taken"

  /// A move for which there is no room.
  struct Full: Error {
    let refusal: SpindleError
    /// Whether it is the first since something was taken out.
    let isNew: Bool
  }

  private struct State {
    /// nil before the count.
    var ledger: SpoolLedger?
    /// Whether a move was refused since something was taken out.
    var hasRefused = false
  }

  private let spool: String
  private let quota: SpoolQuota
  private let clock: any StoreClock
  private let state = Mutex(State())

  init(of spool: String, quota: SpoolQuota, clock: any StoreClock) {
    self.spool = spool
    self.quota = quota
    self.clock = clock
  }

  /// nil before the count.
  var usage: SpoolUsage? { state.withLock { $0.ledger }?.usage }

  /// Counts unless that was done. The lock is held meanwhile, by threads that may block alone:
  /// whoever else needs it has counted before.
  ///
  /// - Parameter walk: Looks at everything in quarantine.
  func count(_ walk: () throws -> SpoolUsage) throws -> SpoolUsage {
    try state.withLock { state in
      if let ledger = state.ledger { return ledger.usage }
      let usage = try walk()
      state.ledger = SpoolLedger(
        of: "the quarantine of spool \(spool)", quota: quota, holding: usage, clock: clock,
        reason: Self.fullReason)
      return usage
    }
  }

  /// Counts the growth of a move that is about to be written; the count was made before.
  func reserve(_ change: SpoolLedger.Change) throws(Full) {
    let ledger = state.withLock { $0.ledger }
    do {
      try ledger?.reserve(change)
    } catch {
      let isNew = state.withLock { state in
        defer { state.hasRefused = true }
        return !state.hasRefused
      }
      throw Full(refusal: error, isNew: isNew)
    }
  }

  /// Takes back the growth of a move that was not written.
  func giveBack(_ change: SpoolLedger.Change) {
    state.withLock { $0.ledger }?.giveBack(change)
  }

  /// Counts what a written move has freed.
  func settle(_ change: SpoolLedger.Change) {
    let ledger = state.withLock { state in
      if change.bytes < 0 { state.hasRefused = false }
      return state.ledger
    }
    ledger?.settle(change)
  }
}
