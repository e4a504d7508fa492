import Foundation
import SpindleCore
import SpindleRocks
import SpindleSpool
import SpindleStore
import Synchronization

/// The jobs of `spindle bench spool`.
final class BenchSpool: Sendable {
  private typealias Result = BenchSpoolCommand.Result

  private let directory: String
  private let plan: BenchSpoolCommand.Plan
  private let ops: Int?
  private let seconds: Double
  private let writeBufferBytes: Int
  private let payload: BenchPayloads.Kind
  private let compression: PayloadCompression
  private let dropsCaches: Bool
  private let payloads: BenchPayloads

  init(
    directory: String, plan: BenchSpoolCommand.Plan, ops: Int?, seconds: Double,
    writeBufferBytes: Int, payload: BenchPayloads.Kind, compression: PayloadCompression,
    dropsCaches: Bool
  ) {
    self.directory = directory
    self.plan = plan
    self.ops = ops
    self.seconds = seconds
    self.writeBufferBytes = writeBufferBytes
    self.payload = payload
    self.compression = compression
    self.dropsCaches = dropsCaches
    payloads = BenchPayloads(payload, bytes: plan.valueBytes)
  }

  func run() async throws -> BenchSpoolCommand.Result {
    switch plan.job {
    case .store, .all: try await store(forceSync: false)
    case .synced: try await store(forceSync: true)
    case .load, .loadBorrowed: try await load(isCold: false)
    case .loadCold: try await load(isCold: true)
    case .enumerate: try await enumerate()
    case .ingress: try await ingress()
    case .remove: try await remove()
    case .churn: try await churn()
    case .gate: try await gate()
    case .memory: try await memory()
    }
  }

  // MARK: The store

  /// The default settings, but for what a job asks for: those of the raw program.
  private func settings(cacheBytes: Int?) -> StoreSettings {
    var settings = StoreSettings()
    settings.ballastBytes = 0
    settings.database.maxOpenFiles = 512
    settings.database.writeBufferBytes = writeBufferBytes
    if let cacheBytes { settings.database.blockCacheBytes = cacheBytes }
    if plan.blobs {
      var family = ColumnFamilyOptions()
      family.writeBufferBytes = writeBufferBytes / 2
      family.level1Bytes = 4 * UInt64(family.writeBufferBytes)
      family.compression = .none
      family.blobs = ColumnFamilyOptions.Blobs()
      settings.familyOptions["spool"] = family
    }
    return settings
  }

  private func withSpool<Value>(
    cacheBytes: Int? = nil, _ body: (RocksSpool) async throws -> Value
  ) async throws -> Value {
    let store = try await Store.open(at: directory, settings: settings(cacheBytes: cacheBytes))
    do {
      var settings = SpoolSettings()
      settings.compression = compression
      let value = try await body(
        try await RocksSpool(store: store, name: "bench", settings: settings))
      try await store.close()
      return value
    } catch {
      try? await store.close()
      throw error
    }
  }

  private func put(_ number: Int, _ spool: RocksSpool) async throws {
    try await spool.store(try Self.id(number), payloads[number], forceSync: false, deadline: nil)
  }

  private func fill(_ spool: RocksSpool, _ count: Int) async throws {
    for number in 0..<count { try await put(number, spool) }
  }

  /// Everything lies in tables and no flush or compaction is left to do.
  private func settle(_ spool: RocksSpool) async throws {
    let database = spool.storage.database
    let family = spool.family.columnFamily
    try await spool.storage.blocking {
      try database.flush(family)
      _ = try database.waitForCompaction(timeoutMilliseconds: 600_000)
    }
  }

  // MARK: Numbers

  /// The time of the first id: ten minutes ahead, so that none is old when it is stored, as it is
  /// not for callers that make an id and store it.
  private static let firstMilliseconds = SystemClock().wallMilliseconds + 600_000

  /// An id like the raw program's for a number: version 7, 4,096 a millisecond.
  private static func id(_ number: Int) throws -> SpoolID {
    let index = UInt64(number)
    let milliseconds = firstMilliseconds + index / 4096
    let uuid = UUIDValue(
      high: milliseconds << 16 | 0x7000 | index % 4096, low: benchMix(index) >> 2 | 1 << 63)
    guard let id = SpoolID(uuid) else { throw surprise }
    return id
  }

  private static func shuffled(_ count: Int) -> [Int] {
    var order = Array(0..<count)
    var random = SeededGenerator(seed: 7)
    order.shuffle(using: &random)
    return order
  }

  private func count(bytesAtMost: Int) -> Int {
    let most = max(1, bytesAtMost / plan.valueBytes)
    // What is to be in the cache as a whole is never more than it holds.
    if let ops { return plan.job == .load || plan.job == .loadBorrowed ? min(ops, most) : ops }
    return min(100_000, most)
  }

  private func result(_ measured: BenchRun.Measured, fsyncs: Int = 0) -> Result {
    Result(
      job: plan.job.rawValue, valueBytes: plan.valueBytes,
      threads: [.churn, .gate, .ingress, .memory].contains(plan.job) ? 1 : plan.tasks,
      ops: measured.ops,
      seconds: measured.seconds, opsPerSecond: measured.opsPerSecond,
      p50us: measured.percentile(0.5), p99us: measured.percentile(0.99), fsyncs: fsyncs,
      payload: payload, compression: compression.rawValue, blobs: plan.blobs)
  }

  // MARK: Jobs

  private func store(forceSync: Bool) async throws -> Result {
    let limit = count(bytesAtMost: 1 << 30)
    let payloads = payloads
    return try await withSpool { spool in
      let syncs = spool.storage.commitSyncCount
      let measured = try await BenchRun(tasks: plan.tasks, limit: limit, seconds: seconds)
        .measure { number in
          try await spool.store(
            try Self.id(number), payloads[number], forceSync: forceSync, deadline: nil)
        }
      return result(measured, fsyncs: spool.storage.commitSyncCount - syncs)
    }
  }

  private func load(isCold: Bool) async throws -> Result {
    let count = count(bytesAtMost: isCold ? 1 << 30 : 32 << 20)
    // What the cache holds is read again and again.
    let reads = isCold ? count : ops ?? 400_000
    let order = Self.shuffled(count)
    try await withSpool { spool in
      try await fill(spool, count)
      try await settle(spool)
    }
    return try await withSpool(cacheBytes: isCold ? 64 << 10 : nil) { spool in
      if isCold {
        if dropsCaches { try BenchMeters.dropPageCache() }
      } else {
        for number in 0..<count { _ = try await spool.load(try Self.id(number)) }
      }
      let bytes = plan.valueBytes
      let borrows = plan.job == .loadBorrowed
      let measured = try await BenchRun(tasks: plan.tasks, limit: reads, seconds: seconds)
        .measure { number in
          let id = try Self.id(order[number % count])
          let found =
            borrows
            ? try await spool.withPayload(id) { $0?.count ?? 0 } : try await spool.load(id).count
          guard found == bytes else { throw Self.surprise }
        }
      var result = result(measured)
      if isCold { result.pageCache = dropsCaches ? "dropped" : "warm" }
      return result
    }
  }

  private static var surprise: SpindleError {
    SpindleError(.corruption, "the spool gave other messages than were stored")
  }

  private func enumerate() async throws -> Result {
    let count = count(bytesAtMost: 1 << 30)
    return try await withSpool { spool in
      try await fill(spool, count)
      try await settle(spool)
      let before = try BenchMeters.residentBytes()
      try BenchMeters.resetPeak()
      let start = ContinuousClock.now
      let channel = SpoolEntryChannel()
      let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
      let found = await withTaskGroup(of: (count: Int, bytes: Int).self) { group in
        for _ in 0..<plan.tasks {
          group.addTask {
            var found = (count: 0, bytes: 0)
            for await case .item(_, let data) in channel {
              found.count += 1
              found.bytes += data.count
            }
            return found
          }
        }
        return await group.reduce(into: (0, 0)) {
          $0.0 += $1.count
          $0.1 += $1.bytes
        }
      }
      let outcome = await walk.finished()
      let elapsed = (ContinuousClock.now - start) / .seconds(1)
      if let error = outcome.error { throw error }
      guard found == (count, count * plan.valueBytes) else { throw Self.surprise }
      var result = result(BenchRun.Measured(ops: count, seconds: elapsed, latencies: []))
      result.memoryBytes = try BenchMeters.peakResidentBytes() - before
      return result
    }
  }

  /// Messages of 500 bytes that are enumerated while others are stored.
  private static let enumeratedBytes = 500

  /// Stores by one caller, alone and then while everything is enumerated.
  private func ingress() async throws -> Result {
    let count = ops ?? 1_000_000
    // So few that no memtable is full: a flush would be felt in one of the two.
    let limit = writeBufferBytes / 4 / (plan.valueBytes + 256)
    let found = BenchPayloads(.random, bytes: Self.enumeratedBytes)
    return try await withSpool { spool in
      for number in 0..<count {
        try await spool.store(
          try Self.id(number), found[number], forceSync: false, deadline: nil)
      }
      let run = BenchRun(limit: limit, seconds: seconds)
      try await settle(spool)
      let idle = try await run.measure { [self] in try await put(count + $0, spool) }
      try await settle(spool)
      let beside = try await BenchWalks().run(over: spool) {
        try await run.measure { [self] in try await put(count + limit + $0, spool) }
      }
      var result = result(beside.value)
      result.idleP50us = idle.percentile(0.5)
      result.idleP99us = idle.percentile(0.99)
      result.enumeratedCount = beside.taken
      return result
    }
  }

  private func remove() async throws -> Result {
    let count = count(bytesAtMost: 1 << 30)
    return try await withSpool { spool in
      try await fill(spool, count)
      return result(
        try await BenchRun(tasks: plan.tasks, limit: count, seconds: seconds)
          .measure { try await spool.remove(try Self.id($0)) })
    }
  }

  private func churn() async throws -> Result {
    let liveCount = max(1, plan.liveBytes / plan.valueBytes)
    let limit = ops ?? max(4 * plan.liveBytes, 8 * writeBufferBytes) / plan.valueBytes
    return try await withSpool { spool in
      try await fill(spool, liveCount)
      try await settle(spool)
      let live = Mutex(Array(0..<liveCount))
      let kernelBefore = try BenchMeters.kernelBytesWritten()
      let engineBefore = engineBytes(spool.storage)
      let measured = try await BenchRun(limit: limit, seconds: 86_400).measure { [self] number in
        try await put(liveCount + number, spool)
        let old = live.withLock { live in
          let slot = Int(benchMix(UInt64(number)) % UInt64(liveCount))
          defer { live[slot] = liveCount + number }
          return live[slot]
        }
        try await spool.remove(try Self.id(old))
      }
      // What a flush or compaction under way has still to write belongs to these stores too.
      try await settle(spool)
      var result = result(measured)
      result.liveBytes = liveCount * plan.valueBytes
      result.storedBytes = measured.ops * plan.valueBytes
      result.kernelBytes = try BenchMeters.kernelBytesWritten() - kernelBefore
      result.engineBytes = engineBytes(spool.storage) - engineBefore
      result.diskBytes = BenchMeters.diskBytes(directory)
      return result
    }
  }

  private func engineBytes(_ store: Store) -> Int {
    guard let totals = store.guardian?.totals else { return 0 }
    return Int(totals.logBytes + totals.otherBytes)
  }

  private func gate() async throws -> Result {
    // One call is shorter than a reading of the clock.
    let perReading = 10_000
    let readings = max(1, (ops ?? 10_000_000) / perReading)
    return try await withSpool { spool in
      var refusals = 0
      var latencies: [Int64] = []
      let start = ContinuousClock.now
      for _ in 0..<readings {
        let before = ContinuousClock.now
        for _ in 0..<perReading where spool.unhealthyReason != nil { refusals += 1 }
        latencies.append(Int64((ContinuousClock.now - before) / .nanoseconds(1)))
      }
      let elapsed = (ContinuousClock.now - start) / .seconds(1)
      guard refusals == 0 else { throw Self.surprise }
      var result = result(
        BenchRun.Measured(
          ops: readings * perReading, seconds: elapsed, latencies: latencies.sorted()))
      result.p50us /= Double(perReading)
      result.p99us /= Double(perReading)
      return result
    }
  }

  /// What the program itself, its stacks, queues and table readers may take beside the memtables
  /// and the block cache.
  private static let memoryAllowance = 100_000_000

  private func memory() async throws -> Result {
    let count = ops ?? 2_000_000
    return try await withSpool { spool in
      // The times of two million calls would themselves be felt.
      let start = ContinuousClock.now
      for number in 0..<count { try await put(number, spool) }
      let elapsed = (ContinuousClock.now - start) / .seconds(1)
      var result = result(BenchRun.Measured(ops: count, seconds: elapsed, latencies: []))
      let settings = spool.storage.settings.database
      result.memoryBytes = try BenchMeters.peakResidentBytes()
      result.memoryBoundBytes =
        settings.writeBufferBytes + settings.blockCacheBytes + Self.memoryAllowance
      return result
    }
  }
}
