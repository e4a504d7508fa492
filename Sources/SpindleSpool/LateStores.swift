internal import SpindleCore
internal import Synchronization

/// Which messages a spool stored lately under ids that were old by then: derived from those of
/// another host, brought back from quarantine, or held up by a stall.
///
/// A walk that is to give what was stored before its start tells them apart by this, as the time in
/// their id does not. One that is being stored under an old id is put off until its store has
/// ended: it may be written and not synced yet, and whoever stores it has it; but where the store
/// fails, what stood under the id is nobody's. It is noted before it can be seen for this.
/// One that grew old while it waited is noted right after the write.
final class LateStores: Sendable {
  /// How much older than the wall clock an id must be to be noted: the ids of callers that store at
  /// once differ by less. With what the clock may lag behind, everything older than a second is.
  static let marginTicks: Int64 = 9_000_000
  /// The last this many are known at least, and twice as many at most: 3 MiB.
  static let limit = 32_768

  private struct State {
    var present: [SpoolID: SpoolInstant] = [:]
    /// Those noted before the present ones; forgotten when these are full.
    var former: [SpoolID: SpoolInstant] = [:]
    /// How many stores of each id are under way; as many as there are callers.
    var underWay: [SpoolID: Int] = [:]
  }

  private let clock: any StoreClock
  private let state = Mutex(State())
  /// Whether any message was noted. Walks ask for each of theirs, and mostly none was.
  private let isEmpty = Atomic<Bool>(true)

  init(clock: any StoreClock) { self.clock = clock }

  /// Begins a store. A new id costs one look at the kernel's clock of the last tick, some 10 ns.
  ///
  /// - Returns: Whether the id is old; to be given to ``end(_:isLate:isStored:waited:)``.
  func begin(_ id: SpoolID) -> Bool {
    guard isOld(id) else { return false }
    isEmpty.store(false, ordering: .releasing)
    state.withLock { $0.underWay[id, default: 0] += 1 }
    return true
  }

  /// Ends a store that was begun.
  ///
  /// - Parameters:
  ///   - isStored: Whether the message is there now; else it is as if the store had never been.
  ///   - waited: Whether the store may have taken long enough for a new id to become old.
  func end(_ id: SpoolID, isLate: Bool, isStored: Bool, waited: Bool) {
    guard isLate || isStored && waited && isOld(id) else { return }
    isEmpty.store(false, ordering: .releasing)
    state.withLock { state in
      if isStored {
        if state.present.count >= Self.limit {
          state.former = state.present
          state.present.removeAll(keepingCapacity: true)
        }
        state.present[id] = SpoolInstant(unixMilliseconds: clock.wallMilliseconds)
      }
      guard isLate, let count = state.underWay[id] else { return }
      state.underWay[id] = count > 1 ? count - 1 : nil
    }
  }

  private func isOld(_ id: SpoolID) -> Bool {
    let now = SpoolInstant(unixMilliseconds: clock.coarseWallMilliseconds)
    return id.created.ticks < now.ticks - Self.marginTicks
  }

  /// What is known of a message.
  enum Finding {
    /// It was stored at the time asked for or later.
    case stored
    /// It is being stored, and whether it will be is open.
    case underWay
    case neither
  }

  /// What is known of a message since a time, of which the whole millisecond counts: those of the
  /// stores are noted to the millisecond.
  func find(_ id: SpoolID, storedFrom start: SpoolInstant) -> Finding {
    if isEmpty.load(ordering: .acquiring) { return .neither }
    let first = start.flooredToMillisecond
    return state.withLock { state in
      if let stored = state.present[id] ?? state.former[id], stored >= first {
        return .stored
      }
      return state.underWay[id] == nil ? .neither : .underWay
    }
  }

  func isUnderWay(_ id: SpoolID) -> Bool { state.withLock { $0.underWay[id] != nil } }
}

extension SpoolInstant {
  /// The beginning of the millisecond: stores are noted to the millisecond.
  var flooredToMillisecond: SpoolInstant { SpoolInstant(ticks: ticks - max(ticks, 0) % 10_000) }
}
