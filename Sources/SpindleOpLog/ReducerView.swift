public import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// The state that a reducer reads: what is stored, with the writes of the entries before it in the
/// same commit on top.
///
/// Use it in the `prepare` that it was given to. Afterwards it goes on to show the same pending
/// writes, which may have been committed or dropped since.
public struct ReducerView: Sendable {
  /// Writes of entries before, which are not committed yet.
  struct Pending: Sendable {
    var index: WriteRecordIndex
    var record: WriteRecord
  }

  private let store: Store
  private let family: StoreFamily
  private let pending: Pending?
  /// The moment that is shown; nil is now.
  private let snapshot: Snapshot?

  init(
    _ store: Store, _ family: StoreFamily, pending: Pending? = nil, snapshot: Snapshot? = nil
  ) {
    self.store = store
    self.family = family
    self.pending = pending
    self.snapshot = snapshot
  }

  var familyName: String { family.name }

  /// The value of a key; nil when it is absent.
  ///
  /// A value in memory is read on the caller's thread; only one on the disk suspends.
  ///
  /// - Throws: ``SpindleError`` with `corruption`, `io` or `closed`.
  public func get(_ key: [UInt8]) async throws -> Bytes? {
    if let pending, let change = pending.index.change(of: key.span, in: pending.record) {
      return switch change {
      case .value(let place): copyBytes(pending.record.bytes(at: place))
      case .deleted: nil
      }
    }
    if snapshot != nil { return try await snapshotValue(key) }
    return try await store.get(family, key: key)
  }

  /// Lends a value's bytes, without a copy where they are in memory; nil for an absent key.
  public func withValue<Result>(
    _ key: [UInt8], _ body: (Span<UInt8>?) throws -> Result
  ) async throws -> Result {
    if let pending, let change = pending.index.change(of: key.span, in: pending.record) {
      return switch change {
      case .value(let place): try body(pending.record.bytes(at: place))
      case .deleted: try body(nil)
      }
    }
    if snapshot != nil {
      return try await snapshotValue(key).map { try body($0.span) } ?? body(nil)
    }
    return try await store.withValue(family, key: key, body)
  }

  private func snapshotValue(_ key: [UInt8]) async throws -> Bytes? {
    try await scan(from: key, to: key + [0], limit: 1).first?.value
  }

  /// Up to `limit` keys from `lower` up to but not including `upper`, ascending, with their values.
  ///
  /// - Parameter upper: nil is the end of the state.
  /// - Complexity: one seek, O(bytes found), and one pass over the pending writes.
  public func scan(
    from lower: [UInt8], to upper: [UInt8]?, limit: Int
  ) async throws -> [(key: Bytes, value: Bytes)] {
    guard limit > 0, upper.map({ lower.lexicographicallyPrecedes($0) }) ?? true else { return [] }
    let changes = pendingChanges(from: lower, to: upper)
    let (store, family, snapshot) = (store, family, snapshot)
    // Pending removals may hide as many stored keys as there are.
    let storedLimit = limit < .max - changes.count ? limit + changes.count : limit
    let stored = try await store.blocking {
      var found: [(key: Bytes, value: Bytes)] = []
      var options = IterationOptions(lowerBound: lower, upperBound: upper)
      options.snapshot = snapshot
      try store.scan(family, options) { key, value in
        found.append((copyBytes(key), copyBytes(value)))
        return found.count < storedLimit
      }
      return found
    }
    return Self.merge(stored, changes, limit: limit)
  }

  private func pendingChanges(
    from lower: [UInt8], to upper: [UInt8]?
  ) -> [(key: Bytes, value: Bytes?)] {
    guard let pending else { return [] }
    var changes: [(key: Bytes, value: Bytes?)] = []
    pending.index.forEach(in: pending.record) { place, change in
      let key = copyBytes(pending.record.bytes(at: place))
      guard !key.lexicographicallyPrecedes(lower),
        upper.map({ key.lexicographicallyPrecedes($0) }) ?? true
      else { return }
      switch change {
      case .value(let place): changes.append((key, copyBytes(pending.record.bytes(at: place))))
      case .deleted: changes.append((key, nil))
      }
    }
    return changes.sorted { $0.key.lexicographicallyPrecedes($1.key) }
  }

  /// Lays changes over stored pairs; both ascend.
  private static func merge(
    _ stored: [(key: Bytes, value: Bytes)], _ changes: [(key: Bytes, value: Bytes?)], limit: Int
  ) -> [(key: Bytes, value: Bytes)] {
    if changes.isEmpty { return stored }
    var result: [(key: Bytes, value: Bytes)] = []
    var (next, change) = (0, 0)
    while result.count < limit, next < stored.count || change < changes.count {
      if change == changes.count
        || next < stored.count
          && stored[next].key.lexicographicallyPrecedes(changes[change].key)
      {
        result.append(stored[next])
        next += 1
        continue
      }
      if next < stored.count, stored[next].key == changes[change].key { next += 1 }
      if let value = changes[change].value { result.append((changes[change].key, value)) }
      change += 1
    }
    return result
  }
}
