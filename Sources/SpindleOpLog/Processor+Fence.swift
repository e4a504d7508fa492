internal import SpindleCore
internal import SpindleStore
internal import Synchronization

/// How far this processor's own log is known elsewhere and is safe from power loss, and how many
/// tokens were taken.
final class WriterMemory: Sendable {
  private struct Fence {
    var cursor: UInt64 = 0
    /// What the tracker keeps for certain.
    var stored: UInt64 = 0
  }
  private let fences = Mutex(Fence())
  private let syncedCursor = Atomic<UInt64>(0)
  private let othersSynced = Atomic<Bool>(false)
  private let tokenCount = Atomic<Int>(0)
  private let confirmedCursors = Mutex<PeerCursors?>(nil)

  var fence: UInt64 { fences.withLock { $0.cursor } }

  /// Takes over what is stored.
  func stored(_ cursor: UInt64) {
    fences.withLock { fence in
      fence.stored = max(fence.stored, cursor)
      fence.cursor = max(fence.cursor, cursor)
    }
  }

  /// Raises the fence at once.
  ///
  /// - Returns: What is to be stored; nil when that is stored already.
  func raise(to cursor: UInt64) -> UInt64? {
    fences.withLock { fence in
      fence.cursor = max(fence.cursor, cursor)
      return fence.cursor > fence.stored ? fence.cursor : nil
    }
  }

  func resetFence() { fences.withLock { $0 = Fence() } }

  /// Up to where own entries were synced.
  var synced: UInt64 { syncedCursor.load(ordering: .relaxed) }

  func synced(to cursor: UInt64) { syncedCursor.max(cursor, ordering: .relaxed) }

  /// Whether what others had written when the log was opened was synced.
  var areOthersSynced: Bool { othersSynced.load(ordering: .relaxed) }

  func noteOthersSynced() { othersSynced.store(true, ordering: .relaxed) }

  /// The cursors that were told others last, all of whose entries were synced.
  var confirmed: PeerCursors? { confirmedCursors.withLock { $0 } }

  func confirm(_ cursors: PeerCursors) { confirmedCursors.withLock { $0 = cursors } }

  /// Counts a token.
  ///
  /// - Returns: Whether expired ones should be removed now: once in as many calls as one sweep
  ///   removes, so that they cannot pile up.
  func countToken() -> Bool {
    tokenCount.add(1, ordering: .relaxed).newValue % Self.sweepLimit == 0
  }

  /// The most tokens that one sweep removes.
  static let sweepLimit = 1_024
}

extension Processor {
  /// Tells the processor what another replica knows, as it is learnt when logs are exchanged.
  ///
  /// Where it knows more of this processor's own log than is here, such as after a backup was
  /// restored, `exec` would use indices again that have other entries there. So it is refused with
  /// `unavailable`, reason `fenced`, also after a restart, until those entries were applied here;
  /// then it goes on behind them. To write at once, open the prefix under a new peer id instead.
  ///
  /// What is told is believed: a cursor that was made up refuses `exec` until ``resetFence()``.
  ///
  /// - Throws: what storing the fence throws. It holds in memory all the same, and the next call
  ///   tries to store it again.
  public func noteElsewhere(_ cursors: PeerCursors) async throws {
    let known = cursors[selfID]
    let own = cursor(of: selfID)
    guard let fence = writerMemory.raise(to: known > own ? known : 0), fence > own else { return }
    try await tracker.raiseFence(of: selfID, to: fence)
    writerMemory.stored(fence)
  }

  /// Forgets what other replicas were said to know of this processor's own log, so that `exec` goes
  /// on. For an operator who knows that the entries which it waits for do not exist: where they do,
  /// their indices get other entries here, and no replica that has them takes these.
  public func resetFence() async throws {
    try await tracker.resetFence(of: selfID)
    writerMemory.resetFence()
  }

  /// Throws while entries of this processor's own log are known to be elsewhere only.
  func checkFence(_ next: UInt64) throws {
    let fence = writerMemory.fence
    guard next < fence else { return }
    throw SpindleError(
      .unavailable,
      "the log of peer \(selfID) is known up to index \(fence) elsewhere and ends at \(next) here; "
        + "pull its entries back or write as a new peer", reason: "fenced")
  }
}
