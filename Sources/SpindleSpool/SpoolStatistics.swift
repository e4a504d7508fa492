public import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// What a spool holds, by size and age.
public struct SpoolStatistics: Sendable {
  /// Messages, those whose record is damaged not among them.
  public var count: UInt64 = 0
  /// Bytes of their stored records, with headers and without keys.
  public var storedBytes: UInt64 = 0
  /// Bytes of their payloads as they were given.
  public var payloadBytes: UInt64 = 0
  /// The smallest and the largest payload, exactly; nil for an empty spool.
  public var minimumBytes: UInt64?
  public var maximumBytes: UInt64?
  /// The mean payload, exactly.
  public var meanBytes: Double?
  /// Percentiles of the payloads' sizes: at most 1.6 % above the true size, never below it.
  public var p50Bytes: UInt64?
  public var p90Bytes: UInt64?
  public var p99Bytes: UInt64?
  public var p999Bytes: UInt64?

  /// Payloads below a size.
  public struct Share: Sendable, Equatable {
    public var belowBytes: UInt64
    public var count: UInt64
    /// Of all payloads, 0 to 1; 0 for an empty spool.
    public var share: Double
  }
  /// For 1 KiB, 2 KiB and so on to 2 MiB. The counts are exact.
  public var shares: [Share] = []

  /// When the oldest and the newest message were made.
  public var oldest: SpoolInstant?
  public var newest: SpoolInstant?
  /// Messages by the codec number of their record, see `Documentation/Formats/spool-record.md`.
  public var codecs: [UInt8: UInt64] = [:]
  /// Records too short for their header or of an unknown version. Checksums are not looked at;
  /// ``RocksSpool/verify()`` does that.
  public var damaged: UInt64 = 0
  /// Keys that are no spool id.
  public var stray: UInt64 = 0
  /// What could not be read; nothing of it is in the figures.
  public var lostRanges: [SpoolLostRange] = []
  /// The spool's quarantine.
  public var quarantine = QuarantineStatistics()
}

extension RocksSpool {
  /// Counts everything in the spool and its quarantine, with bounded memory.
  ///
  /// - Throws: ``SpindleError``: `closed`, `overloaded` when too many walks are under way, or
  ///   `CancellationError`.
  /// - Complexity: O(bytes stored): every record is read. One thread; the caller is suspended.
  public func stats() async throws -> SpoolStatistics {
    try await working {
      try await upkeep.run("spindle-stats") { flag in
        var tally = StatisticsTally()
        var walk = SpoolWalk(self.storage, self.family) { self.stopReason(flag) }
        try walk.runReadable { key, record in
          tally.add(key, record)
          return .next
        }
        if let damage = walk.damage { self.metrics?.met(damage) }
        var statistics = tally.statistics
        statistics.lostRanges = walk.lostRanges
        let aside = try self.walkQuarantineBlocking { self.stopReason(flag) }
        if let damage = aside.damage { self.metrics?.met(damage) }
        statistics.quarantine = aside.found
        return statistics
      }
    }
  }
}

/// Adds up what a walk sees.
struct StatisticsTally {
  private var seen = SpoolStatistics()
  private var sizes = SizeHistogram()

  mutating func add(_ key: Span<UInt8>, _ record: Span<UInt8>) {
    guard let id = SpoolID(bytes: key) else {
      if !StrayKeys.isProbe(key) { seen.stray += 1 }
      return
    }
    guard record.count >= SpoolRecord.headerBytes, record[0] == SpoolRecord.version else {
      seen.damaged += 1
      return
    }
    // The length of what is stored; a compressed body begins with the payload's own.
    let isPlain = record[1] == SpoolRecord.codecNone
    let field = isPlain ? 4 : SpoolRecord.headerBytes
    guard record.count >= field + 4 else {
      seen.damaged += 1
      return
    }
    var size: UInt64 = 0
    for index in field..<(field + 4) { size = size << 8 | UInt64(record[index]) }
    sizes.add(size)
    seen.storedBytes += UInt64(record.count)
    seen.codecs[record[1], default: 0] += 1
    let created = id.created
    seen.oldest = min(seen.oldest ?? created, created)
    seen.newest = max(seen.newest ?? created, created)
  }

  /// The figures of what was added.
  var statistics: SpoolStatistics {
    var result = seen
    result.count = sizes.count
    result.payloadBytes = sizes.sum
    result.minimumBytes = sizes.minimum
    result.maximumBytes = sizes.maximum
    result.meanBytes = sizes.count > 0 ? Double(sizes.sum) / Double(sizes.count) : nil
    result.p50Bytes = sizes.percentile(0.5)
    result.p90Bytes = sizes.percentile(0.9)
    result.p99Bytes = sizes.percentile(0.99)
    result.p999Bytes = sizes.percentile(0.999)
    // 1 KiB to 2 MiB.
    result.shares = (10...21).map { exponent in
      let limit = UInt64(1) << UInt64(exponent)
      let count = sizes.count(below: limit)
      return SpoolStatistics.Share(
        belowBytes: limit, count: count,
        share: sizes.count > 0 ? Double(count) / Double(sizes.count) : 0)
    }
    return result
  }
}
