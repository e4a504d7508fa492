import ArgumentParser
import Foundation
import SpindleCore
import SpindleSpool
import SpindleStore

/// A number of bytes for people.
private func size(_ bytes: UInt64) -> String { "\(Output.grouped(bytes)) bytes" }

/// What could not be read, as the commands show it.
struct LostRow: Encodable {
  var file: UInt64?
  /// Keys in hexadecimal digits; empty is the beginning of the spool, nil its end.
  var from: String
  var to: String?

  init(_ range: SpoolLostRange) {
    file = range.file
    from = hexString(range.from)
    to = range.to.map { hexString($0) }
  }

  /// - Parameter place: What the stretch is of, where that is not the spool.
  func text(of place: String? = nil) -> String {
    let table = file.map { "table file \($0)" } ?? "a table file"
    let start = from.isEmpty ? "the beginning" : from
    let keys = place.map { "the keys of the \($0)" } ?? "the keys"
    return "\(table): \(keys) from \(start) to \(to ?? "the end") cannot be read"
  }
}

struct SpoolCompactCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compact",
    abstract: "Rewrite a spool's tables without what was removed or replaced.",
    discussion: """
      Damage that no read has met so far is found and is an error. The store must not be running
      elsewhere. On a terminal it shows bytes, rate and the time left, an estimate.

      Example:
        spindle spool compact --store data --name ingest
      """)
  @OptionGroup var target: SpoolCommand.Target
  @Flag(help: "Print an object {bytesBefore, bytesAfter, seconds}.") var json = false

  private struct Report: Encodable {
    var bytesBefore: UInt64
    var bytesAfter: UInt64
    var seconds: Double
  }

  func run() async throws {
    try await reportingErrors {
      try await target.withOwnedSpool { spool in
        let line = ProgressLine(isShown: !json)
        defer { line.clear() }
        let result = try await spool.compact { progress in
          guard progress.totalBytes > 0 else { return }
          line.show("compacting", bytes: progress.doneBytes, of: progress.totalBytes)
        }
        line.clear()
        let seconds = result.duration / .seconds(1)
        if json {
          return try Output.json(
            Report(
              bytesBefore: result.bytesBefore, bytesAfter: result.bytesAfter, seconds: seconds))
        }
        Output.line("tables before  \(size(result.bytesBefore))")
        Output.line("tables after   \(size(result.bytesAfter))")
      }
    }
  }
}

struct SpoolVerifyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Check the checksums of every block and every message of a spool.",
    discussion: """
      Of its quarantine the blocks are checked, too. Changes nothing. Exit code 0: everything is
      as it was stored; 2: findings.

      Example:
        spindle spool verify --store data --name ingest
      """)
  @OptionGroup var target: SpoolCommand.Target
  @Flag(help: "Print one JSON object.") var json = false

  private struct Report: Encodable {
    var intact: UInt64
    var damaged: UInt64
    /// At most 1,000.
    var damagedIDs: [String]
    var strayKeys: UInt64
    var lostRanges: [LostRow]
    var quarantineLostRanges: [LostRow]
  }

  func run() async throws {
    try await reportingErrors {
      var isIntact = true
      try await target.withSpool { spool in
        let found = try await spool.verify()
        isIntact = found.isIntact
        let report = Report(
          intact: found.intact, damaged: found.damaged,
          damagedIDs: found.damagedIDs.map(\.description), strayKeys: found.stray,
          lostRanges: found.lostRanges.map(LostRow.init),
          quarantineLostRanges: found.quarantine.lostRanges.map(LostRow.init))
        if json { return try Output.json(report) }
        Output.line("intact messages   \(Output.grouped(report.intact))")
        Output.line("damaged messages  \(Output.grouped(report.damaged))")
        for id in report.damagedIDs { Output.line("  \(id)") }
        Output.line("stray keys        \(Output.grouped(report.strayKeys))")
        for key in found.strayKeys { Output.line("  \(key)") }
        for range in report.lostRanges { Output.line(range.text()) }
        for range in report.quarantineLostRanges {
          Output.line(range.text(of: "quarantine"))
        }
      }
      if !isIntact { throw ExitCode(2) }
    }
  }
}

struct SpoolStatsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stats",
    abstract: "Count a spool's messages and show their sizes and ages.",
    discussion: """
      Reads every message once. Percentiles are at most 1.6 % above the true size. Exit code 0:
      everything could be read; 2: something is damaged, of the quarantine, too, and the numbers
      lack it.

      Example:
        spindle spool stats --store data --name ingest --json
      """)
  @OptionGroup var target: SpoolCommand.Target
  @Flag(help: "Print one JSON object.") var json = false

  private struct Share: Encodable {
    var belowBytes: UInt64
    var count: UInt64
    var share: Double
  }

  private struct Report: Encodable {
    var messages: UInt64
    var storedBytes: UInt64
    var payloadBytes: UInt64
    var minimumBytes: UInt64?
    var maximumBytes: UInt64?
    var meanBytes: Double?
    var p50Bytes: UInt64?
    var p90Bytes: UInt64?
    var p99Bytes: UInt64?
    var p999Bytes: UInt64?
    var shares: [Share]
    /// Milliseconds since the Unix epoch.
    var oldest: Int64?
    var newest: Int64?
    var codecs: [String: UInt64]
    var damaged: UInt64
    var strayKeys: UInt64
    var quarantined: UInt64
    var quarantinedBytes: UInt64
    /// The quota that the spool's application recorded; missing where there is no limit, and where
    /// it cannot be read, which standard error tells.
    var quotaBytes: UInt64?
    var quotaEntries: UInt64?
    var lostRanges: [LostRow]
    var quarantineLostRanges: [LostRow]

    init(_ found: SpoolStatistics, quota: SpoolQuota) {
      messages = found.count
      storedBytes = found.storedBytes
      payloadBytes = found.payloadBytes
      minimumBytes = found.minimumBytes
      maximumBytes = found.maximumBytes
      meanBytes = found.meanBytes
      p50Bytes = found.p50Bytes
      p90Bytes = found.p90Bytes
      p99Bytes = found.p99Bytes
      p999Bytes = found.p999Bytes
      shares = found.shares.map {
        Share(belowBytes: $0.belowBytes, count: $0.count, share: $0.share)
      }
      oldest = found.oldest.map { $0.ticks / 10_000 }
      newest = found.newest.map { $0.ticks / 10_000 }
      codecs = Dictionary(
        uniqueKeysWithValues: found.codecs.map { number, count in
          let names: [UInt8: String] = [0: "none", 1: "lz4", 2: "zstd"]
          return (names[number] ?? "\(number)", count)
        })
      damaged = found.damaged
      strayKeys = found.stray
      quarantined = found.quarantine.usage.entries
      quarantinedBytes = found.quarantine.usage.bytes
      quotaBytes = quota.bytes
      quotaEntries = quota.entries
      lostRanges = found.lostRanges.map(LostRow.init)
      quarantineLostRanges = found.quarantine.lostRanges.map(LostRow.init)
    }
  }

  func run() async throws {
    try await reportingErrors {
      var isIntact = true
      try await target.withSpool { spool in
        let report = Report(try await spool.stats(), quota: spool.quota)
        isIntact =
          report.damaged == 0 && report.lostRanges.isEmpty && report.quarantineLostRanges.isEmpty
        if json { return try Output.json(report) }
        show(report)
      }
      if !isIntact { throw ExitCode(2) }
    }
  }

  private func show(_ report: Report) {
    func date(_ milliseconds: Int64?) -> String {
      milliseconds.map {
        Date(timeIntervalSince1970: Double($0) / 1000).formatted(.iso8601)
      } ?? "-"
    }
    func bytes(_ value: UInt64?) -> String { value.map { Output.grouped($0) } ?? "-" }
    Output.line("messages      \(Output.grouped(report.messages))")
    Output.line("payload       \(size(report.payloadBytes))")
    Output.line("stored        \(size(report.storedBytes))")
    Output.line("oldest        \(date(report.oldest))")
    Output.line("newest        \(date(report.newest))")
    Output.line(
      "in quarantine \(Output.grouped(report.quarantined)), \(size(report.quarantinedBytes))")
    let limits = [
      report.quotaBytes.map { size($0) },
      report.quotaEntries.map { "\(Output.grouped($0)) messages" },
    ]
    if report.quotaBytes != nil || report.quotaEntries != nil {
      Output.line("quota         \(limits.compactMap(\.self).joined(separator: ", "))")
    }
    Output.line("damaged       \(Output.grouped(report.damaged))")
    Output.line("stray keys    \(Output.grouped(report.strayKeys))")
    for (codec, count) in report.codecs.sorted(by: { $0.key < $1.key }) {
      Output.line("codec \(codec.padding(toLength: 8, withPad: " ", startingAt: 0))\(count)")
    }
    Output.line("")
    Output.table(
      ["bytes", "min", "mean", "p50", "p90", "p99", "p99.9", "max"],
      [
        [
          "", bytes(report.minimumBytes),
          report.meanBytes.map { String(format: "%.1f", $0) } ?? "-",
          bytes(report.p50Bytes), bytes(report.p90Bytes), bytes(report.p99Bytes),
          bytes(report.p999Bytes), bytes(report.maximumBytes),
        ]
      ])
    Output.line("")
    Output.table(
      ["below", "messages", "share"],
      report.shares.map { share in
        let limit =
          share.belowBytes < 1 << 20
          ? "\(share.belowBytes >> 10) KiB" : "\(share.belowBytes >> 20) MiB"
        return [limit, Output.grouped(share.count), String(format: "%.1f %%", share.share * 100)]
      })
    for range in report.lostRanges { Output.line(range.text()) }
    for range in report.quarantineLostRanges { Output.line(range.text(of: "quarantine")) }
  }
}
