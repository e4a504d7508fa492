import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Synchronization

/// What is wrong with a ``FaultyTracker``.
protocol Fault: Sendable {
  static var replacesRows: Bool { get }
  static var isSigned: Bool { get }
  static var ignoresSettings: Bool { get }
  /// Writes a marker in place of what no row can hold.
  static var takesReservedTags: Bool { get }
  /// Leaves something in the batch for an op that it refuses.
  static var leavesHalves: Bool { get }
  static var hidesDamage: Bool { get }
  /// Takes what it is offered for stored.
  static var countsOffers: Bool { get }
  static func records(_ op: ConformanceOp) -> Bool
  static func user(_ user: UserID?) -> UserID?
  static func page(limit: Int) -> Int
  static func leaks(_ peer: PeerID) -> PeerID?
}

extension Fault {
  static var replacesRows: Bool { false }
  static var isSigned: Bool { false }
  static var ignoresSettings: Bool { false }
  static var takesReservedTags: Bool { false }
  static var leavesHalves: Bool { false }
  static var hidesDamage: Bool { false }
  static var countsOffers: Bool { false }
  static func records(_ op: ConformanceOp) -> Bool { true }
  static func user(_ user: UserID?) -> UserID? { user }
  static func page(limit: Int) -> Int { limit }
  static func leaks(_ peer: PeerID) -> PeerID? { nil }
}

enum NoFault: Fault {}

enum LastRowWins: Fault {
  static var replacesRows: Bool { true }
}

enum PageTooLong: Fault {
  static func page(limit: Int) -> Int { limit < .max ? limit + 1 : limit }
}

enum LeakToTheNext: Fault {
  static func leaks(_ peer: PeerID) -> PeerID? {
    PeerID(UUIDValue(high: peer.uuid.high, low: peer.uuid.low &+ 1))
  }
}

enum AbsentIsEmpty: Fault {
  static func user(_ user: UserID?) -> UserID? { user ?? UserID(UUIDValue(high: 0, low: 0)) }
}

enum SignedOrder: Fault {
  static var isSigned: Bool { true }
}

enum DeafToSettings: Fault {
  static var ignoresSettings: Bool { true }
}

enum AnyTag: Fault {
  static var takesReservedTags: Bool { true }
}

enum HalfAnOp: Fault {
  static var leavesHalves: Bool { true }
}

enum SilentAboutDamage: Fault {
  static var hidesDamage: Bool { true }
}

enum CountsWhatIsOffered: Fault {
  static var countsOffers: Bool { true }
}

enum SkipsOddOps: Fault {
  static func records(_ op: ConformanceOp) -> Bool {
    if case .failing = op { false } else { true }
  }
}

/// A tracker over rows that is right but for one fault.
struct FaultyTracker<F: Fault>: HistoryTracker, DuplicateRejecting {
  private let base: LogIndexTracker<ConformanceOp>
  private let offers = Offers()

  /// The cursors of what was offered.
  private final class Offers: Sendable {
    let cursors = Mutex(PeerCursors())
  }

  init(store: Store, prefix: String) async throws {
    try await self.init(store: store, prefix: prefix, settings: OpLogSettings())
  }

  init(store: Store, prefix: String, settings: OpLogSettings) async throws {
    base = try await LogIndexTracker(
      store: store, prefix: prefix, settings: F.ignoresSettings ? OpLogSettings() : settings)
  }

  func trackOne(
    peer: PeerID, index: UInt64, timestamp: Timestamp, serverUser: UserID?, op: ConformanceOp,
    into batch: inout Batch
  ) throws {
    guard F.records(op) else { return }
    if F.replacesRows, index < .max {
      let row = try OpLogRow(
        timestamp: timestamp, serverUser: serverUser, entry: op.toIndexEntry())
      batch.put(base.logFamily, key: OpLogKeys.entry(peer, index), value: row.encoded)
      return
    }
    do {
      try base.trackOne(
        peer: peer, index: index, timestamp: timestamp, serverUser: F.user(serverUser), op: op,
        into: &batch)
    } catch let error as SpindleError where error.reason == "reserved_tag" && F.takesReservedTags {
      try base.trackExpunged(peer: peer, index: index, hash: someHash, into: &batch)
    } catch let error as SpindleError where error.reason == "codec" && F.leavesHalves {
      batch.put(base.logFamily, key: OpLogKeys.entry(peer, index), value: [])
      throw error
    }
    if F.countsOffers { offers.cursors.withLock { $0.advance(peer, to: index + 1) } }
  }

  func trackExpunged(
    peer: PeerID, index: UInt64, hash: EntryHash, into batch: inout Batch
  ) throws {
    try base.trackExpunged(peer: peer, index: index, hash: hash, into: &batch)
  }

  func allCursors() async throws -> PeerCursors {
    var cursors = try await base.allCursors()
    for (peer, next) in offers.cursors.withLock({ $0 }).sorted { cursors.advance(peer, to: next) }
    guard F.isSigned else { return cursors }
    var signed: [PeerID: UInt64] = [:]
    for (peer, _) in cursors.sorted {
      signed[peer] = try await sorted(base.readEntries(peer: peer, from: 0, limit: .max)).last
        .map { $0.0 + 1 }
    }
    return PeerCursors(signed)
  }

  func readEntries(
    peer: PeerID, from index: UInt64, limit: Int
  ) async throws -> [(UInt64, DecodedEntry<ConformanceOp>)] {
    let limit = F.page(limit: limit)
    var entries: [(UInt64, DecodedEntry<ConformanceOp>)] = []
    do {
      entries = sorted(try await base.readEntries(peer: peer, from: index, limit: limit))
    } catch let error as SpindleError where error.kind == .corruption && F.hidesDamage {
      return []
    }
    if entries.count < limit, let other = F.leaks(peer) {
      entries += try await base.readEntries(peer: other, from: 0, limit: limit - entries.count)
    }
    return entries
  }

  private func sorted(
    _ entries: [(UInt64, DecodedEntry<ConformanceOp>)]
  ) -> [(UInt64, DecodedEntry<ConformanceOp>)] {
    guard F.isSigned else { return entries }
    return entries.sorted { Int64(bitPattern: $0.0) < Int64(bitPattern: $1.0) }
  }
}
