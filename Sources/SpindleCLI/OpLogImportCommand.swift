import ArgumentParser
import Spindle
import SpindleCore
import SpindleOpLog
import SpindlePipeline
import SpindleStore

struct OpLogImportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import",
    abstract: "Put an exported op-log into a prefix that is new, or add it to a log in use.",
    discussion: """
      A damaged file is refused whole. An import that was interrupted is finished by the same
      command. A missing store is created; it must not be running elsewhere. Without --prefix the
      log gets the prefix that it had. The ingest log takes no file of another one.

      With --add the entries go into a log in use, and what follows from them into its state: into
      the ingest log as if they had been ingested there, into others by their reducer,
      \(OpLogReducer.list). Without --prefix that is the log
      of the prefix that they had. Those that are there already are left alone. All are tried
      first: a file that has another entry than the log at an index, or begins behind its end, adds
      nothing. A log whose reducer this program does not know is added to by the program that
      writes it.

      Example:
        spindle oplog import --store copy ingest.oplog
        spindle oplog import --store data --add ingest.oplog
        spindle oplog import --store data --prefix records --add copy-of-records.oplog
      """)
  @OptionGroup var options: StoreOptions
  @Option(
    name: .customLong("prefix"),
    help: ArgumentHelp(
      "The prefix of the op-log. The default is the one that the file's log had.",
      valueName: "prefix"))
  var givenPrefix: String?
  @Argument(help: "A file that `oplog export` wrote.") var file: String
  @Flag(help: "Add the entries to a log in use.") var add = false
  @Option(
    help: ArgumentHelp(
      "With --add: the reducer of a log that does not say which one makes its state, "
        + "\(OpLogReducer.list).", valueName: "name"),
    transform: choice)
  var reducer: OpLogReducer?
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    if reducer != nil, !add || givenPrefix == IngestPipeline.name {
      throw ValidationError("--reducer goes with --add and another prefix than the ingest log's")
    }
  }

  private struct Added: Encodable {
    var file: String
    var added: UInt64
  }

  private func addEntries() async throws {
    try await withSpindle(options.store, createsIfMissing: false) { spindle in
      let archive = OpLogArchive(path: file, store: spindle.store)
      let line = ProgressLine(isShown: !json)
      defer { line.clear() }
      let show: @Sendable (OpLogArchive.Progress) -> Void = { line.show("adding", $0) }
      let prefix = try givenPrefix ?? archive.readPrefix()
      let count: UInt64
      if prefix == IngestPipeline.name {
        guard reducer == nil else {
          throw SpindleError(
            .invalidArgument,
            "\(Output.plain(file)) holds the op-log \(prefix), which takes no --reducer")
        }
        count = try await IngestPipeline.add(archive, to: spindle.store, progress: show)
      } else {
        try StoreFamily.validate("oplog:" + prefix)
        _ = try OpLogCommand.isThere(prefix, in: spindle.store)
        let reducer = try await OpLogReducer.of(
          prefix, in: spindle.store, unlessTold: self.reducer)
        count = try await reducer.add(archive, to: prefix, in: spindle.store, progress: show)
      }
      try await spindle.store.synchronize()
      line.clear()
      if json { return try Output.json(Added(file: file, added: count)) }
      Output.line("added \(Output.grouped(count)) rows")
    }
  }

  /// Where the log goes. Ingesting would not know what another program's log and its state say, and
  /// would never run again.
  private func prefix(for manifest: OpLogManifest) throws -> String {
    let prefix = givenPrefix ?? manifest.prefix
    try StoreFamily.validate("oplog:" + prefix)
    guard prefix != IngestPipeline.name || manifest.prefix == prefix else {
      throw SpindleError(
        .invalidArgument,
        "\(Output.plain(file)) holds the op-log \(Output.plain(manifest.prefix)); the op-log "
          + "\(prefix) takes only its own exports, or the rows of others with --add", path: file,
        reason: "other_log")
    }
    return prefix
  }

  private func install() async throws {
    let line = ProgressLine(isShown: !json)
    defer { line.clear() }
    // A file that is no good must not leave an empty store behind.
    let manifest = try OpLogArchive.verifyInstallable(at: file) { line.show("checking", $0) }
    let prefix = try prefix(for: manifest)
    try await withSpindle(options.store, createsIfMissing: true) { spindle in
      let line = ProgressLine(isShown: !json)
      try await OpLogArchive(path: file, store: spindle.store).install(
        manifest, prefix: prefix
      ) { line.show("importing", $0) }
      try await spindle.store.synchronize()
      line.clear()
      let row = ManifestRow(manifest, file: file)
      if json { try Output.json(row) } else { row.show("imported") }
    }
  }

  func run() async throws {
    try await reportingErrors {
      if add { try await addEntries() } else { try await install() }
    }
  }
}
