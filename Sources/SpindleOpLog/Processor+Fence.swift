internal import SpindleCore
internal import SpindleStore
internal import Synchronization

/// How far this processor's own log is known elsewhere, and how many tokens were taken.
final class WriterMemory: Sendable {
  private let fenceCursor = Atomic<UInt64>(0)
  private let tokenCount = Atomic<Int>(0)

  var fence: UInt64 { fenceCursor.load(ordering: .relaxed) }

  func raise(to cursor: UInt64) { fenceCursor.max(cursor, ordering: .relaxed) }

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
  public func noteElsewhere(_ cursors: PeerCursors) async throws {
    let known = cursors[selfID]
    guard known > max(cursor(of: selfID), writerMemory.fence) else { return }
    writerMemory.raise(to: known)
    try await tracker.raiseFence(of: selfID, to: known)
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
