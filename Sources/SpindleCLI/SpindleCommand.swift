import ArgumentParser
import Logging
import SpindleRocks

/// The command line. Exit codes: 0 ok, 1 failed, 2 findings, 64 usage.
@main
struct SpindleCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "spindle",
    abstract: "A durable ingestion store: spool, op-log and series state in one RocksDB.",
    discussion: """
      Example:
        spindle ingest --store data weather.lp.gz
        spindle oplog cursors --store data

      Exit codes: 0 ok, 1 failed, 2 findings, 64 wrong usage. Findings come from:
        check
        spool verify, stats, repair, export, import, orphans, list --json
        spool quarantine list, get
        oplog verify
        parquet verify
        bench spool --job memory
      """,
    subcommands: [
      IngestCommand.self, SeriesCommand.self, SpoolCommand.self, OpLogCommand.self,
      CheckCommand.self, ParquetCommand.self, BenchCommand.self,
    ])

  static func main() async {
    // A reader that goes away (`| head`) ends the output, not the store's work.
    ignoreBrokenPipes()
    EngineMemory.returnLargeBlocks()
    // Standard error carries one sentence for each problem, no log of what the store does.
    LoggingSystem.bootstrap { _ in SwiftLogNoOpLogHandler() }
    await main(nil)
  }
}
