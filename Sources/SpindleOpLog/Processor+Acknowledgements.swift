public import SpindleCore
internal import SpindleStore

/// What replicas tell each other so that logs can be trimmed: see
/// ``LogIndexTracker/trim(below:forced:)``. Drivers do the telling.
extension Processor {
  /// What is here, with ``selfID``. It is synced before it is told: what others trimmed because it
  /// was here could not be had again.
  public func confirmed() async throws -> (replica: PeerID, cursors: PeerCursors)? {
    let cursors = board.cursors
    if writerMemory.confirmed != cursors {
      try await store.synchronize()
      writerMemory.confirm(cursors)
    }
    return (selfID, cursors)
  }

  /// Notes what other replicas have, where the tracker keeps that.
  ///
  /// Where one of them, or this one in former times, had more of this processor's own log than is
  /// here, that is the mark of a restored backup: see ``noteElsewhere(_:)``. It is told before
  /// anything is noted, since what is noted of a log ends with it.
  public func noteAcknowledged(
    _ replicas: [PeerID: PeerCursors], except doubtful: Set<PeerID>
  ) async throws {
    let own = doubtful.contains(selfID) ? 0 : replicas.values.reduce(0) { max($0, $1[selfID]) }
    try await noteElsewhere(PeerCursors([selfID: own]))
    guard let records = tracker as? any WriteRecords else { return }
    // What is damaged of one replica keeps none of the others' words back.
    var failure: (any Error)?
    for (replica, cursors) in replicas where replica != selfID {
      do {
        try await records.acknowledge(replica: replica, cursors: cursors, except: doubtful)
      } catch {
        failure = failure ?? error
      }
    }
    if let failure { throw failure }
  }

  /// This processor's own word; nobody else's is passed on.
  public func acknowledgements() async throws -> [PeerID: PeerCursors] {
    guard let confirmed = try await confirmed() else { return [:] }
    return [confirmed.replica: confirmed.cursors]
  }

  /// Notes what a replica has that pulls from here.
  public func acknowledge(
    replica: PeerID, cursors: PeerCursors, except doubtful: Set<PeerID>
  ) async throws {
    try await noteAcknowledged([replica: cursors], except: doubtful)
  }
}
