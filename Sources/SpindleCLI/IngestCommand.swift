import ArgumentParser
import Foundation
import Spindle
import SpindleCore
import SpindleFormats
import SpindlePipeline

struct IngestCommand: AsyncParsableCommand {
  enum Format: String, CaseIterable, ExpressibleByArgument { case lp }

  static let configuration = CommandConfiguration(
    commandName: "ingest",
    abstract: "Ingest a file of line protocol, exactly once.",
    discussion: """
      Reads InfluxDB line protocol, plain or gzip. Running the same file again applies nothing; an
      interrupted run goes on where it stopped, an appended file at its old end; a changed file is
      refused. A missing store is created; it must not be running elsewhere.

      Example:
        spindle ingest --store data --durability synced weather.lp.gz
        zcat *.lp.gz | spindle ingest --store data --producer january -
      """)

  @OptionGroup var options: StoreOptions

  @Option(help: "The format of the input: lp (line protocol).")
  var format = Format.lp

  @Option(help: "The name of the input. The default is the absolute path of FILE.")
  var producer: String?

  @Option(
    help: "buffered: what is acknowledged survives a killed process; synced: also power loss.",
    transform: choice)
  var durability = Durability.buffered

  @Option(help: "The unit of the timestamps: ns, us, ms or s.", transform: choice)
  var precision = TimestampPrecision.nanoseconds

  @Option(help: "Lines stored and acknowledged together, 1 to 1000000.")
  var batch: UInt64 = 5_000

  @Option(
    help: "stop: refuse the batch that holds a bad line; skip: leave the bad lines out.",
    transform: choice)
  var onError = BadLinePolicy.stop

  @Flag(help: "Print the summary as one JSON object.")
  var json = false

  @Argument(help: "The file to read, or - for standard input.")
  var file: String

  func validate() throws {
    guard (1...1_000_000).contains(batch) else {
      throw ValidationError("--batch must be 1 to 1000000, not \(batch)")
    }
  }

  /// The JSON form of the summary.
  private struct Report: Encodable {
    var linesRead: UInt64
    var linesApplied: UInt64
    var linesAlreadyApplied: UInt64
    var linesRejected: UInt64
    var bytes: UInt64
    var seconds: Double
  }

  func run() async throws {
    try await reportingErrors {
      // Before the store is touched: a wrong name must not create one.
      if file != "-" { try FileIngest.checkReadable(file) }
      let clock = ContinuousClock()
      let start = clock.now
      let progress = ProgressLine()
      let totalBytes = Self.plainSize(of: file)
      try await withSpindle(options.store, createsIfMissing: true) { spindle in
        let ingest = try await spindle.ingest(producer: producerName())
        var settings = FileIngest.Options()
        settings.durability = durability
        settings.precision = precision
        settings.badLines = onError
        settings.batchLines = batch
        let run = FileIngest(ingest, in: try await spindle.pipeline, options: settings)
        let summary: FileIngest.Summary
        do {
          summary = try await run.run(path: file) { now in
            if now.isComparing {
              progress.show("comparing with what was applied", bytes: now.bytes)
            } else {
              progress.show(
                "ingesting", now.linesRead, "lines", bytes: now.bytes,
                fraction: totalBytes.map { Double(now.bytes) / Double(max($0, 1)) })
            }
          }
        } catch {
          progress.clear()
          throw error
        }
        progress.clear()
        await ingest.close()
        let elapsed = (clock.now - start) / .seconds(1)
        try report(summary, seconds: elapsed)
      }
    }
  }

  /// The bytes of a file whose end can be foreseen; nil for a stream, for one that is inflated, and
  /// for one that cannot be read, of which the reading itself tells.
  private static func plainSize(of file: String) -> UInt64? {
    guard let attributes = try? FileManager.default.attributesOfItem(atPath: file),
      attributes[.type] as? FileAttributeType == .typeRegular,
      let handle = FileHandle(forReadingAtPath: file)
    else { return nil }
    defer { try? handle.close() }
    guard let start = try? handle.read(upToCount: 2), start != Data([0x1F, 0x8B]) else {
      return nil
    }
    return attributes[.size] as? UInt64
  }

  private func producerName() -> String {
    if let producer { return producer }
    if file == "-" {
      var random = SystemRandomNumberGenerator()
      return "stdin-" + String(random.next(), radix: 16)
    }
    let base = FileManager.default.currentDirectoryPath
    let absolute = file.hasPrefix("/") ? file : base + "/" + file
    return URL(fileURLWithPath: absolute).standardizedFileURL.path
  }

  private func report(_ summary: FileIngest.Summary, seconds: Double) throws {
    for error in summary.errors { Output.problem("rejected \(file): \(error)") }
    let told = UInt64(summary.errors.count)
    let untold = summary.linesRejectedNow - min(summary.linesRejectedNow, told)
    if untold > 0 {
      Output.problem("\(untold) more rejected lines are not shown")
    }
    if summary.bytes == 0 { Output.problem("note: \(file) is empty; there was nothing to ingest") }
    if json {
      try Output.json(
        Report(
          linesRead: summary.linesRead, linesApplied: summary.linesApplied,
          linesAlreadyApplied: summary.linesAlreadyApplied,
          linesRejected: summary.linesRejected, bytes: summary.bytes, seconds: seconds))
      return
    }
    let rate = seconds > 0 ? Double(summary.linesApplied) / seconds : 0
    Output.line("lines read             \(Output.grouped(summary.linesRead))")
    Output.line("lines applied          \(Output.grouped(summary.linesApplied))")
    Output.line("lines already applied  \(Output.grouped(summary.linesAlreadyApplied))")
    Output.line("lines rejected         \(Output.grouped(summary.linesRejected))")
    Output.line("bytes                  \(Output.grouped(summary.bytes))")
    Output.line("seconds                \(String(format: "%.3f", seconds))")
    Output.line("lines/s                \(Output.grouped(Int64(rate)))")
  }
}
