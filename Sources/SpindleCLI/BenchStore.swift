import Foundation
import SpindleCore
import SpindleRocks
import SpindleStore
import Synchronization

/// The jobs of `spindle bench store`.
final class BenchStore: Sendable {
  private typealias Result = BenchStoreCommand.Result

  /// The raw program's options for a column family.
  static var familyOptions: ColumnFamilyOptions {
    var options = ColumnFamilyOptions()
    options.compression = .lz4
    return options
  }

  private let store: Store
  private let open: StoreFamily
  private let guarded: StoreFamily
  private let valueBytes: Int
  private let limit: Int
  private let seconds: Double
  /// Random bytes, made before the clock starts; values are windows into them.
  private let pool: [UInt8]

  init(store: Store, valueBytes: Int, limit: Int, seconds: Double) async throws {
    self.store = store
    self.valueBytes = valueBytes
    self.limit = limit
    self.seconds = seconds
    open = try await store.family("spool:bench")
    guarded = try await store.family("oplog:bench")
    var random = SeededGenerator(seed: 7)
    var pool: [UInt8] = []
    pool.reserveCapacity(16 << 20)
    for _ in 0..<(2 << 20) { pool.appendLittleEndian(random.next()) }
    self.pool = pool
  }

  /// Puts a window of the pool under the key of an operation.
  private func put(_ number: Int, _ family: StoreFamily, into batch: inout Batch) {
    var key: [UInt8] = []
    key.reserveCapacity(16)
    // Sixteen bytes that rise with time, as a UUID of version 7 does.
    key.appendBigEndian(UInt64(number >> 12) << 16 | 0x7000 | UInt64(number & 0xFFF))
    key.appendBigEndian(UInt64(number) &* 0x9E37_79B9_7F4A_7C15 >> 2 | 1 << 63)
    let slot = number % (pool.count / valueBytes) * valueBytes
    let bytes = pool
    let value = bytes.span.extracting(slot..<(slot + valueBytes))
    batch.put(family, key: key.span, value: value)
  }

  /// Runs one operation after the other until the count or the time is reached.
  private func run(
    _ name: String, tasks: Int, perBatch: Int = 1,
    _ operation: @escaping @Sendable (Int) async throws -> Void
  ) async throws -> Result {
    let syncsBefore = store.commitSyncCount
    let measured = try await BenchRun(
      tasks: tasks, perCall: perBatch, limit: limit, seconds: seconds
    ).measure(operation)
    return Result(
      job: name, valueBytes: valueBytes, threads: tasks, ops: measured.ops,
      seconds: measured.seconds, opsPerSecond: measured.opsPerSecond,
      p50us: measured.percentile(0.5), p99us: measured.percentile(0.99),
      fsyncs: store.commitSyncCount - syncsBefore)
  }

  func inline() async throws -> BenchStoreCommand.Result {
    try await run("inline", tasks: 1) { [self] number in
      var batch = Batch(reservingBytes: valueBytes + 32)
      put(number, open, into: &batch)
      try await store.commit(batch, durability: .buffered)
    }
  }

  func group() async throws -> BenchStoreCommand.Result {
    try await run("group", tasks: 1, perBatch: 64) { [self] number in
      var batch = Batch(reservingBytes: 64 * (valueBytes + 32))
      for offset in 0..<64 { put(number + offset, open, into: &batch) }
      try await store.commit(batch, durability: .buffered)
    }
  }

  func conditional() async throws -> BenchStoreCommand.Result {
    try await run("conditional", tasks: 1) { [self] number in
      var batch = Batch(reservingBytes: valueBytes + 64)
      put(number, guarded, into: &batch)
      var key: [UInt8] = []
      key.appendBigEndian(UInt64(number >> 12) << 16 | 0x7000 | UInt64(number & 0xFFF))
      key.appendBigEndian(UInt64(number) &* 0x9E37_79B9_7F4A_7C15 >> 2 | 1 << 63)
      batch.requireAbsent(guarded, key: key, owner: "bench")
      try await store.commit(batch, durability: .buffered)
    }
  }

  func synced(tasks: Int) async throws -> BenchStoreCommand.Result {
    try await run("synced", tasks: tasks) { [self] number in
      var batch = Batch(reservingBytes: valueBytes + 32)
      put(number, open, into: &batch)
      try await store.commit(batch, durability: .synced)
    }
  }

  func beside() async throws -> [BenchStoreCommand.Result] {
    var alone = try await inline()
    alone.job = "beside-alone"
    let stop = Flag()
    let first = limit
    let writer = Task { [self] in
      var number = first
      while !stop.isSet {
        var batch = Batch(reservingBytes: valueBytes + 32)
        put(number, open, into: &batch)
        try await store.commit(batch, durability: .synced)
        number += 1
      }
    }
    var beside = try await inline()
    stop.set()
    try await writer.value
    beside.job = "beside-synced"
    return [alone, beside]
  }
}

private final class Flag: Sendable {
  private let value = Atomic<Bool>(false)
  var isSet: Bool { value.load(ordering: .acquiring) }
  func set() { value.store(true, ordering: .releasing) }
}
