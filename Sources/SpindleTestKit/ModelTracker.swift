public import SpindleCore
public import SpindleOpLog
internal import SpindleRocks
public import SpindleStore
internal import Synchronization

/// A tracker to compare others with: entries are kept in memory as they are given, and the store
/// decides only which of them were committed. Which peer and index an entry has, their order, and
/// that an index is taken once is what the model knows by itself: the store sees numbers that mean
/// nothing. It knows no chains and no hashes, and has no bytes that could be damaged.
///
/// What it keeps lives as long as the process.
public struct ModelTracker<Op: IndexableOp>: HistoryTracker, DuplicateRejecting {
  private let store: Store
  private let family: StoreFamily
  private let isSQLCompatible: Bool

  public init(store: Store, prefix: String) async throws {
    try await self.init(store: store, prefix: prefix, settings: OpLogSettings())
  }

  public init(store: Store, prefix: String, settings: OpLogSettings) async throws {
    self.store = store
    isSQLCompatible = settings.sqlCompatible
    family = try await store.family("oplog:\(prefix)")
  }

  public func trackOne(
    peer: PeerID, index: UInt64, timestamp: Timestamp, serverUser: UserID?, op: Op,
    into batch: inout Batch
  ) throws {
    do throws(CodecError) {
      if try op.toIndexEntry().tag == IndexEntry.reservedTag { throw .reservedTag }
    } catch {
      throw SpindleError(
        .invalidArgument, "\(error)", reason: error == .reservedTag ? "reserved_tag" : "codec")
    }
    let entry = LogEntry(serverUser: serverUser, timestamp: timestamp, op: op)
    try offer(.logEntry(entry), timestamp, peer, index, &batch)
  }

  public func trackExpunged(
    peer: PeerID, index: UInt64, hash: EntryHash, into batch: inout Batch
  ) throws {
    try offer(DecodedEntry<Op>.expunged(hash), .zero, peer, index, &batch)
  }

  private func offer(
    _ entry: DecodedEntry<Op>, _ timestamp: Timestamp, _ peer: PeerID, _ index: UInt64,
    _ batch: inout Batch
  ) throws {
    guard index < .max else {
      throw SpindleError(.invalidArgument, "no index follows \(index)", reason: "index_overflow")
    }
    if isSQLCompatible, max(index, timestamp.packed) > UInt64(Int64.max) {
      throw SpindleError(
        .invalidArgument, "\(index) at \(timestamp) is above \(Int64.max)",
        reason: "integer_out_of_range")
    }
    let (slot, number) = ModelEntries.shared.add(entry, for: ModelIndex(peer: peer, index: index))
    var key = [OpLogKeys.entrySubspace]
    key.appendBigEndian(slot)
    batch.requireAbsent(family, key: key, owner: "oplog")
    var value: [UInt8] = []
    value.appendBigEndian(number)
    batch.put(family, key: key, value: value)
  }

  public func allCursors() async throws -> PeerCursors {
    try await entries().reduce(into: PeerCursors()) { cursors, entry in
      cursors.advance(entry.key.peer, to: entry.key.index + 1)
    }
  }

  public func readEntries(
    peer: PeerID, from index: UInt64, limit: Int
  ) async throws -> [(UInt64, DecodedEntry<Op>)] {
    guard limit > 0 else { return [] }
    return try await entries().filter { $0.key.peer == peer && $0.key.index >= index }
      .sorted { $0.key.index < $1.key.index }
      .prefix(limit)
      .map { ($0.key.index, $0.value) }
  }

  /// The entries that were committed.
  private func entries() async throws -> [ModelIndex: DecodedEntry<Op>] {
    let (store, family) = (store, family)
    let options = IterationOptions(
      lowerBound: [OpLogKeys.entrySubspace], upperBound: [OpLogKeys.entrySubspace + 1])
    let numbers = try await store.blocking {
      var numbers: [UInt64] = []
      try store.scan(family, options) { _, value in
        var reader = ByteReader(value)
        numbers.append(try reader.readBigEndian(UInt64.self))
        return true
      }
      return numbers
    }
    var entries: [ModelIndex: DecodedEntry<Op>] = [:]
    for number in numbers {
      guard let (index, entry) = ModelEntries.shared.entry(number),
        let entry = entry as? DecodedEntry<Op>, entries.updateValue(entry, forKey: index) == nil
      else {
        throw SpindleError(.corruption, "the model was not given what the store has")
      }
    }
    return entries
  }
}

private struct ModelIndex: Hashable {
  var peer: PeerID
  var index: UInt64
}

/// Every entry that was ever offered to a model, by number, and the number of every index.
private final class ModelEntries: Sendable {
  private struct Content {
    var slots: [ModelIndex: UInt64] = [:]
    var entries: [(ModelIndex, any Sendable)] = []
  }

  static let shared = ModelEntries()
  private let content = Mutex(Content())

  func add(_ entry: any Sendable, for index: ModelIndex) -> (slot: UInt64, number: UInt64) {
    content.withLock { content in
      let slot = content.slots[index] ?? UInt64(content.slots.count)
      content.slots[index] = slot
      content.entries.append((index, entry))
      return (slot, UInt64(content.entries.count - 1))
    }
  }

  func entry(_ number: UInt64) -> (ModelIndex, any Sendable)? {
    content.withLock { content in
      content.entries.indices.contains(Int(number)) ? content.entries[Int(number)] : nil
    }
  }
}
