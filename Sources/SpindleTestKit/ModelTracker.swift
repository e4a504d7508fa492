public import SpindleCore
public import SpindleOpLog
internal import SpindleRocks
public import SpindleStore
internal import Synchronization

/// A tracker to compare others with: entries are kept in memory as they are given, and the store
/// decides only which of them were committed. It knows no chains and no hashes.
///
/// What it keeps lives as long as the process.
public struct ModelTracker<Op: Sendable>: HistoryTracker, DuplicateRejecting {
  private let store: Store
  private let family: StoreFamily

  public init(store: Store, prefix: String) async throws {
    self.store = store
    family = try await store.family("oplog:\(prefix)")
  }

  public func trackOne(
    peer: PeerID, index: UInt64, timestamp: Timestamp, serverUser: UserID?, op: Op,
    into batch: inout Batch
  ) throws {
    let entry = LogEntry(serverUser: serverUser, timestamp: timestamp, op: op)
    try offer(.logEntry(entry), peer, index, &batch)
  }

  public func trackExpunged(
    peer: PeerID, index: UInt64, hash: EntryHash, into batch: inout Batch
  ) throws {
    try offer(DecodedEntry<Op>.expunged(hash), peer, index, &batch)
  }

  private func offer(
    _ entry: DecodedEntry<Op>, _ peer: PeerID, _ index: UInt64, _ batch: inout Batch
  ) throws {
    guard index < .max else {
      throw SpindleError(.invalidArgument, "no index follows \(index)", reason: "index_overflow")
    }
    let number = ModelEntries.shared.add(entry)
    let key = OpLogKeys.entry(peer, index)
    batch.requireAbsent(family, key: key, owner: "oplog")
    var value: [UInt8] = []
    value.appendBigEndian(number)
    batch.put(family, key: key, value: value)
  }

  public func allCursors() async throws -> PeerCursors {
    var cursors = PeerCursors()
    try await forEach { peer, index, _ in cursors.advance(peer, to: index + 1) }
    return cursors
  }

  public func readEntries(
    peer: PeerID, from index: UInt64, limit: Int
  ) async throws -> [(UInt64, DecodedEntry<Op>)] {
    var entries: [(UInt64, DecodedEntry<Op>)] = []
    try await forEach { other, found, number in
      guard other == peer, found >= index, entries.count < limit,
        let entry = ModelEntries.shared.entry(number) as? DecodedEntry<Op>
      else { return }
      entries.append((found, entry))
    }
    return entries
  }

  private func forEach(_ body: (PeerID, UInt64, UInt64) -> Void) async throws {
    let (store, family) = (store, family)
    let options = IterationOptions(
      lowerBound: [OpLogKeys.entrySubspace], upperBound: [OpLogKeys.entrySubspace + 1])
    let rows = try await store.blocking {
      var rows: [(PeerID, UInt64, UInt64)] = []
      try store.scan(family, options) { key, value in
        var reader = ByteReader(value)
        if let (peer, index) = OpLogKeys.decodeEntry(key) {
          rows.append((peer, index, try reader.readBigEndian(UInt64.self)))
        }
        return true
      }
      return rows
    }
    for (peer, index, number) in rows { body(peer, index, number) }
  }
}

/// Every entry that was ever offered to a model, by number.
private final class ModelEntries: Sendable {
  static let shared = ModelEntries()
  private let entries = Mutex<[any Sendable]>([])

  func add(_ entry: any Sendable) -> UInt64 {
    entries.withLock { entries in
      entries.append(entry)
      return UInt64(entries.count - 1)
    }
  }

  func entry(_ number: UInt64) -> (any Sendable)? {
    entries.withLock { $0.indices.contains(Int(number)) ? $0[Int(number)] : nil }
  }
}
