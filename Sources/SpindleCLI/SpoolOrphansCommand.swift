import ArgumentParser
import Spindle
import SpindleCore
import SpindleSpool
import SpindleStore

struct SpoolOrphansCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "orphans",
    abstract: "Find the bodies of a paired spool that belong to no envelope.",
    discussion: """
      A crash or a failed removal leaves them. Without --apply it changes nothing. Exit code 0: none
      was found, or all were removed; 2: some are left.

      Example:
        spindle spool orphans --store data --meta envelopes --data bodies
        spindle spool orphans --store data --meta envelopes --data bodies --apply
      """)
  @OptionGroup var options: StoreOptions
  @Option(help: "The name of the spool of envelopes.") var meta = "meta"
  @Option(help: "The name of the spool of bodies.") var data = "data"
  @Option(name: .customLong("older-than"), help: "Leave younger bodies alone; seconds.")
  var age: UInt32 = 3_600
  @Flag(help: "Remove what is found. The store must not be running.") var apply = false
  @Flag(help: "Print an object {examined, orphans, removed, unjudged, ids}.") var json = false

  private struct Report: Encodable {
    var examined: Int
    var orphans: Int
    var removed: Int
    var unjudged: Int
    /// At most 1,000.
    var ids: [String]
  }

  func run() async throws {
    try await reportingErrors {
      var areLeft = false
      if apply {
        try await withSpindle(options.store, createsIfMissing: false) { spindle in
          areLeft = try await sweep(spindle.store)
        }
      } else {
        try await withReader(options.store) { areLeft = try await sweep($0) }
      }
      if areLeft { throw ExitCode(2) }
    }
  }

  /// - Returns: Whether orphans are left, or may be.
  private func sweep(_ store: Store) async throws -> Bool {
    var spools: [RocksSpool] = []
    for name in [meta, data] {
      try SpoolCommand.checkPresence(of: name, in: store)
      spools.append(try await RocksSpool(store: store, name: name))
    }
    let pair = try PairedSpool(meta: spools[0], data: spools[1])
    let found = try await pair.sweepOrphans(olderThan: .seconds(Int64(age)), dryRun: !apply)
    if json {
      try Output.json(
        Report(
          examined: found.examined, orphans: found.orphans, removed: found.removed,
          unjudged: found.unjudged, ids: found.ids.map(\.description)))
    } else {
      Output.line("bodies looked at   \(Output.grouped(found.examined))")
      Output.line("without envelope   \(Output.grouped(found.orphans))")
      Output.line("removed            \(Output.grouped(found.removed))")
      for id in found.ids { Output.line("  \(id)") }
      if let problem = found.firstProblem { Output.problem(problem) }
    }
    return found.removed < found.orphans || found.unjudged > 0
  }
}
