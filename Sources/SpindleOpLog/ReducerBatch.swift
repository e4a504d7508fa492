internal import SpindleStore

/// The batch of an entry as its reducer sees it: the state family alone.
public struct ReducerBatch: Sendable {
  var batch: Batch
  let family: StoreFamily

  init(_ batch: Batch, family: StoreFamily) {
    self.batch = batch
    self.family = family
  }

  /// Stores a value under a key, replacing what is there.
  public mutating func put(_ key: [UInt8], _ value: [UInt8]) {
    batch.put(family, key: key.span, value: value.span)
  }

  /// Stores a value under a key, replacing what is there.
  public mutating func put(key: Span<UInt8>, value: Span<UInt8>) {
    batch.put(family, key: key, value: value)
  }

  /// Removes a key; an absent one is no error.
  public mutating func delete(_ key: [UInt8]) { batch.delete(family, key: key) }
}
