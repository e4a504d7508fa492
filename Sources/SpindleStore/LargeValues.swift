internal import SpindleRocks
internal import Synchronization

/// The keys under which a family got large values lately, which may be in a memtable yet.
///
/// RocksDB copies a value out of a memtable before its reader knows its size, which takes 0.25 s
/// for 200 MiB; one in the block cache is lent. So whoever must not block asks here first, and
/// leaves such a key to a thread that may.
///
/// A key is noted before its value is written, and forgotten when as many others were noted as all
/// memtables of the family can hold: the memtable with its value was flushed by then. One whose
/// batch waits longer than that may be forgotten before it is written; reading it then takes its
/// time on the caller's thread, and nothing else is lost. A note that has outlived its memtable
/// costs a change of threads.
///
/// Owners begin with empty memtables: their open writes what the log holds to tables, as
/// `avoid_flush_during_recovery` is off. Readers hold it in memory, so all that theirs have counts
/// as large.
final class LargeValues: Sendable {
  /// The most bytes that are copied on a caller's thread: 30 us. Longer copies would be felt by
  /// other tasks.
  static let copyingByteLimit = 256 << 10

  private struct State {
    var present: Set<Int> = []
    /// Those noted before the present ones; forgotten when these are full.
    var former: Set<Int> = []
  }

  /// Notes that are known at least; twice as many at most, of 16 bytes. With default settings
  /// 13,836, so 0.4 MB of a family that got as many large values.
  let limit: Int
  /// Whether all large values were noted here. Otherwise every key may have one.
  private let isComplete: Bool
  /// Read without a lock by every read, so that those of a family without large values cost no
  /// more than that.
  private let mayHoldAny: Atomic<Bool>
  /// Hashes of the keys: one that is met by chance costs a change of threads.
  private let state = Mutex(State())

  /// - Parameters:
  ///   - options: Those of the family.
  ///   - isOwned: Whether the family is written through this store.
  init(_ options: ColumnFamilyOptions, _ settings: StoreSettings, isOwned: Bool) {
    // One memtable more is counted than there are, and in each the batch that overfills it, of
    // which the engine takes 4 GiB at most.
    let batch = min(max(settings.groupByteLimit, settings.valueByteLimit), 4 << 30)
    let bytes = options.writeBufferBytes + batch
    limit = (Int(options.maxWriteBuffers) + 1) * (bytes / Self.copyingByteLimit + 4)
    isComplete = isOwned
    mayHoldAny = Atomic(!isOwned)
  }

  /// Notes the key of a value that is about to be written, if it is large.
  @inline(__always)
  func note(_ key: Span<UInt8>, bytes: Int) {
    if bytes > Self.copyingByteLimit { note(key) }
  }

  private func note(_ key: Span<UInt8>) {
    let hash = Self.hash(of: key)
    state.withLock { state in
      if state.present.count >= limit {
        state.former = state.present
        state.present.removeAll(keepingCapacity: true)
      }
      state.present.insert(hash)
    }
    mayHoldAny.store(true, ordering: .relaxed)
  }

  /// Whether a large value may be in a memtable under the key. A write that is under way may be
  /// missed; one whose end the caller has heard of is not.
  @inline(__always)
  func mayHold(_ key: Span<UInt8>) -> Bool {
    mayHoldAny.load(ordering: .relaxed) && holds(key)
  }

  private func holds(_ key: Span<UInt8>) -> Bool {
    guard isComplete else { return true }
    let hash = Self.hash(of: key)
    return state.withLock { $0.present.contains(hash) || $0.former.contains(hash) }
  }

  private static func hash(of key: Span<UInt8>) -> Int {
    var hasher = Hasher()
    for index in key.indices { hasher.combine(key[index]) }
    return hasher.finalize()
  }
}
