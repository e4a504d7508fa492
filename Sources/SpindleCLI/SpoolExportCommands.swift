import ArgumentParser
import Spindle
import SpindleCore
import SpindleSpool

struct SpoolExportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Write every message that can be read into a new file.",
    discussion: """
      The file has a checksum for each message and is taken in again by spool import. Works beside
      a running owner, and goes on behind damage. Exit code 0: the file holds every message;
      2: some could not be read, and are named.

      Example:
        spindle spool export --store data --name ingest ingest.spool
      """)
  @OptionGroup var target: SpoolCommand.Target
  @Flag(help: "Print an object {messages, bytes, damaged, damagedIDs, lostRanges}.")
  var json = false
  @Argument(help: "The file to write; it must not exist.") var file: String

  private struct Report: Encodable {
    var messages: UInt64
    var bytes: UInt64
    var damaged: UInt64
    /// At most 1,000.
    var damagedIDs: [String]
    var lostRanges: [LostRow]
  }

  func run() async throws {
    try await reportingErrors {
      var isComplete = true
      try await target.withSpool { spool in
        let result = try await spool.export(to: file)
        isComplete = result.isComplete
        if json {
          return try Output.json(
            Report(
              messages: result.messages, bytes: result.bytes, damaged: result.damaged,
              damagedIDs: result.damagedIDs.map(\.description),
              lostRanges: result.lostRanges.map(LostRow.init)))
        }
        Output.line("messages  \(Output.grouped(result.messages))")
        Output.line("payload   \(Output.grouped(result.bytes)) bytes")
        for id in result.damagedIDs { Output.line("the message \(id) is damaged and left out") }
        for range in result.lostRanges { Output.line(LostRow(range).text()) }
      }
      if !isComplete { throw ExitCode(2) }
    }
  }
}

struct SpoolImportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import",
    abstract: "Store the messages of an export under their ids.",
    discussion: """
      The file is checked first; a damaged one changes nothing. Messages that the spool has already
      are skipped, so an import may be repeated. A missing store or spool is created. The store must
      not be running elsewhere. Exit code 0: the spool has every message of the file; 2: under some
      ids it has other messages, which stay and are named.

      Example:
        spindle spool import --store data --name ingest ingest.spool
      """)
  @OptionGroup var target: SpoolCommand.Target
  @Flag(help: "Print an object {stored, skipped, conflicts, conflictingIDs}.") var json = false
  @Argument(help: "A file that spool export wrote.") var file: String

  private struct Report: Encodable {
    var stored: UInt64
    var skipped: UInt64
    var conflicts: UInt64
    /// At most 1,000.
    var conflictingIDs: [String]
  }

  func run() async throws {
    try await reportingErrors {
      var conflicts: UInt64 = 0
      try SpoolCommand.check(name: target.name)
      // Before a store is made for it.
      try await RocksSpool.checkExport(at: file)
      try await withSpindle(target.options.store, createsIfMissing: true) { spindle in
        let spool = try await RocksSpool(
          store: spindle.store, name: target.name, settings: .ofTool)
        try await explainingGate(of: spool) {
          let result = try await spool.importMessages(from: file)
          conflicts = result.conflicts
          let ids = result.conflictingIDs.map(\.description)
          if json {
            return try Output.json(
              Report(
                stored: result.stored, skipped: result.skipped, conflicts: result.conflicts,
                conflictingIDs: ids))
          }
          Output.line("stored     \(Output.grouped(result.stored))")
          Output.line("skipped    \(Output.grouped(result.skipped))")
          Output.line("conflicts  \(Output.grouped(result.conflicts))")
          for id in ids { Output.line("the spool has another message \(id)") }
        }
      }
      if conflicts > 0 { throw ExitCode(2) }
    }
  }
}
