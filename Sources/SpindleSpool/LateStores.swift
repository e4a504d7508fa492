internal import SpindleCore
internal import Synchronization

/// Which messages a spool stored lately under ids that were old by then: derived from those of
/// another host, brought back from quarantine, or held up by a stall.
///
/// A walk that is to give what was stored before its start tells them apart by this, as the time in
/// their id does not.
final class LateStores: Sendable {
  /// How much older than the newest stored id an id must be to be noted: the ids of callers that
  /// store at once differ by less.
  static let marginTicks: Int64 = 10_000_000
  /// The last this many are known at least, and twice as many at most: 3 MiB.
  static let limit = 32_768

  private struct State {
    var present: [SpoolID: SpoolInstant] = [:]
    /// Those noted before the present ones; forgotten when these are full.
    var former: [SpoolID: SpoolInstant] = [:]
  }

  private let clock: any StoreClock
  /// The newest time of an id that was stored, in ticks: with it, most stores need no look at the
  /// clock.
  private let newest: Atomic<Int64>
  private let state = Mutex(State())
  /// Whether any message was noted. Walks ask for each of theirs, and mostly none was.
  private let isEmpty = Atomic<Bool>(true)

  init(clock: any StoreClock) {
    self.clock = clock
    newest = Atomic(SpoolInstant(unixMilliseconds: clock.wallMilliseconds).ticks)
  }

  /// Notes a message that was stored.
  func note(_ id: SpoolID) {
    let ticks = id.created.ticks
    let seen = newest.load(ordering: .relaxed)
    if ticks >= seen {
      // Lower values of others may win; that only lets more ids be looked at.
      newest.store(ticks, ordering: .relaxed)
      return
    }
    guard seen - ticks > Self.marginTicks else { return }
    let now = SpoolInstant(unixMilliseconds: clock.wallMilliseconds)
    // The newest may be one from the future.
    guard now.ticks > ticks, now.ticks - ticks > Self.marginTicks else { return }
    isEmpty.store(false, ordering: .releasing)
    state.withLock { state in
      if state.present.count >= Self.limit {
        state.former = state.present
        state.present.removeAll(keepingCapacity: true)
      }
      state.present[id] = now
    }
  }

  /// Whether the message is known to have been stored at a time or later.
  func contains(_ id: SpoolID, storedFrom start: SpoolInstant) -> Bool {
    if isEmpty.load(ordering: .acquiring) { return false }
    return state.withLock { state in
      guard let stored = state.present[id] ?? state.former[id] else { return false }
      return stored >= start
    }
  }
}
