import ArgumentParser
import SpindleCore
import SpindleParquet

struct ParquetVerifyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Read everything in a file and compare it with what the file says of it.",
    discussion: """
      Every page is read and every checksum compared; null counts, bounds, the page index, bloom
      filters and the order of sorted columns are held against the values. Goes on behind damage.
      Nested columns are not read. Exit code 0: sound; 2: findings.

      Example:
        spindle parquet verify flights.parquet
      """)

  @OptionGroup var target: ParquetCommand.Target

  private struct Report: Encodable {
    var findings: [String]
    /// Findings beyond those listed.
    var moreFindings: Int
    var rows: Int
    var rowGroups: Int
    var columns: Int
    var pages: Int
    /// Pages among them that have a checksum.
    var checkedPages: Int
    var bloomFilters: Int
    /// Nested columns, which were not read.
    var nested: [String]
  }

  func run() async throws {
    try await reportingErrors {
      var report = Report(
        findings: [], moreFindings: 0, rows: 0, rowGroups: 0, columns: 0, pages: 0,
        checkedPages: 0, bloomFilters: 0, nested: [])
      do {
        let reader = try target.reader()
        let metadata = reader.metadata
        let found = try reader.verify()
        report = Report(
          findings: found.findings, moreFindings: found.untoldFindings, rows: metadata.rowCount,
          rowGroups: metadata.rowGroups.count, columns: metadata.schema.columns.count,
          pages: found.pageCount, checkedPages: found.checkedPageCount,
          bloomFilters: found.bloomFilterCount,
          nested: metadata.schema.nestedNames)
      } catch let error as SpindleError where error.kind == .corruption {
        report.findings = [error.message]
      }
      try show(report)
      if !report.findings.isEmpty { throw ExitCode(2) }
    }
  }

  private func show(_ report: Report) throws {
    if target.json { return try Output.json(report) }
    for finding in report.findings { Output.line("finding: \(Output.plain(finding))") }
    if report.moreFindings > 0 { Output.line("and \(report.moreFindings) more findings") }
    for name in report.nested { Output.line("nested, not read: \(Output.plain(name))") }
    Output.line(
      "\(report.findings.isEmpty ? "sound" : "damaged"): \(Output.grouped(report.rows)) rows in "
        + "\(Output.grouped(report.rowGroups)) row groups of \(report.columns) columns, "
        + "\(Output.grouped(report.checkedPages)) of \(Output.grouped(report.pages)) pages with a "
        + "checksum")
  }
}
