import ArgumentParser
import SpindleCore
import SpindleDiagnostics
import SpindleStore

struct CheckCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Check every checksum and every invariant of a store.",
    discussion: """
      Changes nothing. Exit code 0: sound; 2: findings.

      Example:
        spindle check --store data
      """)

  @OptionGroup var options: StoreOptions
  @Flag(help: "Print one JSON object.") var json = false

  private struct Report: Encodable {
    var findings: [String]
    var spooledMessages: Int
    var logEntries: UInt64
    var series: Int
    var points: UInt64
    var digest: String
  }

  func run() async throws {
    try await reportingErrors {
      var report = StoreCheckReport()
      do {
        try await withReader(options.store) { store in
          report = try await StoreCheck(store).run()
        }
      } catch let error as SpindleError where error.kind == .corruption {
        report.findings.append(error.message)
      }
      try print(report)
      if !report.findings.isEmpty { throw ExitCode(2) }
    }
  }

  private func print(_ report: StoreCheckReport) throws {
    if json {
      try Output.json(
        Report(
          findings: report.findings, spooledMessages: report.spooledMessages,
          logEntries: report.logEntries, series: report.seriesCount, points: report.pointCount,
          digest: hexString(report.digest)))
      return
    }
    for finding in report.findings { Output.line("finding: \(finding)") }
    if report.untoldFindings > 0 { Output.line("and \(report.untoldFindings) more findings") }
    Output.line(
      "\(report.findings.isEmpty ? "sound" : "damaged"): \(report.spooledMessages) spooled messages, "
        + "\(report.logEntries) log entries, \(report.seriesCount) series, "
        + "\(report.pointCount) points")
    if !report.digest.isEmpty { Output.line("digest of the series \(hexString(report.digest))") }
  }
}
