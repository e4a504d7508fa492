import ArgumentParser
import SpindleCore
import SpindleDiagnostics
import SpindleStore

struct CheckCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Check every checksum and every invariant of a store.",
    discussion: """
      Without --recover it changes nothing. Exit code 0: sound; 2: findings.

      With --recover it first makes a store openable whose write-ahead log is damaged. The logs are
      copied into the store's quarantine before anything is changed. The store must not be running
      elsewhere then.
        prefix  keeps what stands before the first damage; no batch is half there
        skip    keeps every readable record, and lists what is lost and torn; the last resort

      Example:
        spindle check --store data
        spindle check --store data --recover prefix
      """)

  @OptionGroup var options: StoreOptions
  @Option(help: "prefix or skip.", transform: choice) var recover: StoreRecovery.Mode?
  @Flag(help: "Print one JSON object.") var json = false

  private struct Report: Encodable {
    var findings: [String]
    /// Findings beyond those listed.
    var moreFindings: Int
    var spooledMessages: Int
    var logEntries: UInt64
    var series: Int
    var points: UInt64
    var digest: String
    var recovery: Recovery?
  }

  private struct Recovery: Encodable {
    var mode: String
    var needed: Bool
    var findings: [String]
    var keptRecords: Int
    var droppedRecords: Int
    var lastKeptSequence: UInt64
    var lost: [String]
    var quarantine: String?
    var notes: [String]

    init(_ report: StoreRecovery.Report) {
      mode = report.mode.rawValue
      needed = report.wasNeeded
      findings = report.findings
      keptRecords = report.keptRecordCount
      droppedRecords = report.droppedRecordCount
      lastKeptSequence = report.lastKeptSequence
      lost = report.lost.map(Recovery.describe)
      quarantine = report.quarantine
      notes = report.notes
    }

    private static func describe(_ range: StoreRecovery.LostRange) -> String {
      let end = range.lastSequence.map { "\($0)" } ?? "unknown"
      var text = "\(range.log): sequence numbers \(range.firstSequence) to \(end) are lost"
      if range.isTorn {
        text +=
          "; torn: \(range.heldBy.joined(separator: ", ")) may hold their part, "
          + "\(range.lostBy.joined(separator: ", ")) lost theirs"
      }
      return text
    }
  }

  func run() async throws {
    try await reportingErrors {
      var recovery: Recovery?
      if let recover {
        recovery = Recovery(try await Store.recover(at: options.store, mode: recover))
      }
      var report = StoreCheckReport()
      do {
        try await withReader(options.store) { store in
          report = try await StoreCheck(store).run()
        }
      } catch let error as SpindleError where error.kind == .corruption {
        report.findings.append(error.message)
      }
      try print(report, recovery)
      if !report.findings.isEmpty { throw ExitCode(2) }
    }
  }

  private func print(_ report: StoreCheckReport, _ recovery: Recovery?) throws {
    if json {
      try Output.json(
        Report(
          findings: report.findings, moreFindings: report.untoldFindings,
          spooledMessages: report.spooledMessages,
          logEntries: report.logEntries, series: report.seriesCount, points: report.pointCount,
          digest: hexString(report.digest), recovery: recovery))
      return
    }
    if let recovery { print(recovery) }
    for finding in report.findings { Output.line("finding: \(finding)") }
    if report.untoldFindings > 0 { Output.line("and \(report.untoldFindings) more findings") }
    let verdict = report.findings.isEmpty && report.untoldFindings == 0 ? "sound" : "damaged"
    Output.line(
      "\(verdict): \(report.spooledMessages) spooled messages, \(report.logEntries) log entries, "
        + "\(report.seriesCount) series, \(report.pointCount) points")
    if !report.digest.isEmpty { Output.line("digest of the series \(hexString(report.digest))") }
  }

  private func print(_ recovery: Recovery) {
    guard recovery.needed else {
      Output.line("recovery: not needed, nothing was changed")
      return
    }
    for finding in recovery.findings { Output.line("recovered: \(finding)") }
    Output.line(
      "recovery kept \(recovery.keptRecords) log records up to sequence number "
        + "\(recovery.lastKeptSequence) and dropped \(recovery.droppedRecords)")
    for range in recovery.lost { Output.line("lost: \(range)") }
    for note in recovery.notes { Output.line("note: \(note)") }
    if let quarantine = recovery.quarantine {
      Output.line("the logs as they were lie in \(quarantine)")
    }
  }
}
