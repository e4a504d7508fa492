internal import SpindleCore
internal import SpindleStore
internal import Synchronization

extension OpLogArchive {
  /// Tries whether the rows can be added to a log: that its ops can be read, that the log has no
  /// other entries at their indices, and that none is ahead of this machine's clock. Stores
  /// nothing. What a reducer makes of the entries only adding them tells.
  ///
  /// - Throws: as ``apply(to:)``.
  package func rehearse<T: LogTracker>(on tracker: T) async throws where T.Op: IndexableOp {
    let target = ArchiveRehearsal(tracker, try await tracker.allCursors(), store.clock)
    _ = try await apply(to: target)
  }
}

/// Takes the entries of an archive as a processor does, but stores none. What the log has is
/// compared with the file as by a processor: by chains, and entry by entry.
private final class ArchiveRehearsal<T: LogTracker>: LogProcessor where T.Op: IndexableOp {
  typealias Op = T.Op

  private let tracker: T
  private let stored: PeerCursors
  private let clock: any StoreClock
  private let taken: Mutex<PeerCursors>

  init(_ tracker: T, _ stored: PeerCursors, _ clock: any StoreClock) {
    self.tracker = tracker
    self.stored = stored
    self.clock = clock
    taken = Mutex(stored)
  }

  func cursors() -> PeerCursors { taken.withLock { $0 } }

  func cursor(of peer: PeerID) -> UInt64 { taken.withLock { $0[peer] } }

  func watchCursors() -> CursorWatch { CursorBoard(cursors()).watch() }

  func chainHead(of peer: PeerID, before index: UInt64) async throws -> ChainHead? {
    try await tracker.chainHead(of: peer, before: index)
  }

  func apply(peer: PeerID, index: UInt64, entry: DecodedEntry<T.Op>) async throws -> Applied {
    Applied(new: try await apply(peer: peer, entries: [(index, entry)]) > 0)
  }

  func apply(
    peer: PeerID, entries: [(index: UInt64, entry: DecodedEntry<T.Op>)]
  ) async throws -> Int {
    let wall = clock.wallMilliseconds
    var judge = HybridClock(latest: .zero)
    var count = 0
    for (index, entry) in entries {
      if index < stored[peer] {
        try await tracker.checkRepeat(of: entry, peer: peer, index: index)
        continue
      }
      let next = cursor(of: peer)
      guard index == next else {
        throw SyncError.cursorMismatch(peer: peer, expected: next, actual: index)
      }
      if case .logEntry(let entry) = entry {
        do throws(HybridClockError) {
          try judge.observe(entry.timestamp, wall: wall)
        } catch {
          throw SyncError.skew(peer: peer, index: index, error)
        }
      }
      taken.withLock { $0.advance(peer, to: index + 1) }
      count += 1
    }
    return count
  }
}
