internal import SpindleCore
internal import SpindleStore
internal import Synchronization

/// What a store that is owned remembers of one prefix, for all who write to it: adding to a batch
/// reads nothing, so what it must know is here.
///
/// All of it only grows. A floor rises here after its commit and before the first row below it
/// goes, so a reader that finds a row gone finds the floor that explains it.
final class OpLogMemory: Sendable {
  private struct Content {
    var floors: [PeerID: LogPosition] = [:]
    var indexes: OpLogIndexes = []
    var completeIndexes: OpLogIndexes = []
  }
  private let content = Mutex(Content())
  /// For changes of what replicas said: one at a time.
  let words: Permits

  init(clock: any StoreClock) { words = Permits(1, clock: clock) }

  var floors: [PeerID: LogPosition] { content.withLock { $0.floors } }

  /// ``LogPosition/start`` for a peer whose log was never trimmed.
  func floor(of peer: PeerID) -> LogPosition { content.withLock { $0.floors[peer] ?? .start } }

  func raise(_ floors: [PeerID: LogPosition]) {
    content.withLock { content in
      content.floors.merge(floors) { $0.next >= $1.next ? $0 : $1 }
    }
  }

  /// What a new entry of a peer has to know.
  func state(for peer: PeerID) -> (floor: UInt64, indexes: OpLogIndexes) {
    content.withLock { content in
      // Few logs were ever trimmed.
      let floor = content.floors.isEmpty ? 0 : content.floors[peer]?.next ?? 0
      return (floor, content.indexes)
    }
  }

  /// The indexes that every new entry enters.
  var indexes: OpLogIndexes { content.withLock { $0.indexes } }

  func keep(_ indexes: OpLogIndexes) { content.withLock { $0.indexes.formUnion(indexes) } }

  /// The indexes that every entry is in, so that queries can use them.
  var completeIndexes: OpLogIndexes { content.withLock { $0.completeIndexes } }

  func complete(_ indexes: OpLogIndexes) {
    content.withLock { content in
      content.indexes.formUnion(indexes)
      content.completeIndexes.formUnion(indexes)
    }
  }
}
