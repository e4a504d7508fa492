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
      A crash or a failed removal leaves them. Without --apply it removes nothing. Exit code 0: none
      was found, or all were removed; 2: some are left. A pair on files must not be open elsewhere;
      a directory that is no spool (lock, new and data) is refused and left as it is.

      Example:
        spindle spool orphans --store data --meta envelopes --data bodies
        spindle spool orphans --store data --meta envelopes --data bodies --apply
        spindle spool orphans --meta-dir mail/envelopes --data-dir mail/bodies
      """)
  @Option(help: "The directory of the store.") var store: String?
  @Option(name: .customLong("meta-dir"), help: "The directory of the envelopes of a pair on files.")
  var metaDirectory: String?
  @Option(name: .customLong("data-dir"), help: "The directory of its bodies.")
  var dataDirectory: String?
  @Option(help: "The name of the spool of envelopes.") var meta = "meta"
  @Option(help: "The name of the spool of bodies.") var data = "data"
  @Option(
    name: .customLong("older-than"),
    help: """
      Leave younger bodies alone, by the time in their id; seconds. An id more than a day ahead of \
      the clock has none: its body is looked at.
      """)
  var age: UInt32 = 3_600
  @Flag(help: "Remove what is found. The store must not be running elsewhere.") var apply = false
  @Flag(help: "Print an object {examined, orphans, removed, unjudged, ids}.") var json = false

  private struct Report: Encodable {
    var examined: Int
    var orphans: Int
    var removed: Int
    var unjudged: Int
    /// At most 1,000.
    var ids: [String]
  }

  func validate() throws {
    switch (store, metaDirectory, dataDirectory) {
    case (let store?, nil, nil) where !store.isEmpty: break
    case (nil, let meta?, let data?) where !meta.isEmpty && !data.isEmpty: break
    default: throw ValidationError("expected --store, or --meta-dir and --data-dir")
    }
  }

  func run() async throws {
    try await reportingErrors {
      var areLeft = false
      if let store {
        if apply {
          try await withSpindle(store, createsIfMissing: false) { spindle in
            areLeft = try await sweep(spindle.store)
          }
        } else {
          try await withReader(store) { areLeft = try await sweep($0) }
        }
      } else {
        areLeft = try await sweepDirectories()
      }
      if areLeft { throw ExitCode(2) }
    }
  }

  /// - Returns: Whether orphans are left, or may be.
  private func sweep(_ store: Store) async throws -> Bool {
    var spools: [RocksSpool] = []
    for name in [meta, data] {
      try SpoolCommand.checkPresence(of: name, in: store)
      spools.append(try await RocksSpool(store: store, name: name, settings: .ofTool))
    }
    return try await sweep(PairedSpool(meta: spools[0], data: spools[1]))
  }

  /// The same of two spools on files. Both are opened before anything is looked at, so that no
  /// owner removes or stores meanwhile.
  private func sweepDirectories() async throws -> Bool {
    var spools: [LocalDiskSpool] = []
    for path in [metaDirectory, dataDirectory].compactMap(\.self) {
      spools.append(try LocalDiskSpool(existingAt: path, onlyLooks: !apply))
    }
    let pair = try PairedSpool(meta: spools[0], data: spools[1])
    do {
      let areLeft = try await sweep(pair)
      try await pair.shutdown()
      return areLeft
    } catch {
      try? await pair.shutdown()
      throw error
    }
  }

  private func sweep(_ pair: PairedSpool) async throws -> Bool {
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
