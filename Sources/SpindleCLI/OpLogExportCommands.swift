import ArgumentParser
import Spindle
import SpindleCore
import SpindleOpLog
import SpindlePipeline
import SpindleStore

/// What an exported file holds, as both commands show it.
private struct ManifestRow: Encodable {
  struct Peer: Encodable {
    var peer: String
    var first: UInt64
    var cursor: UInt64
  }
  var file: String
  var prefix: String
  /// Milliseconds since the Unix epoch.
  var created: UInt64
  var rows: UInt64
  var stateKeys: UInt64
  var peers: [Peer]
  var digest: String

  init(_ manifest: OpLogManifest, file: String) {
    self.file = file
    prefix = manifest.prefix
    created = manifest.created
    rows = manifest.rows
    stateKeys = manifest.stateKeys
    peers = manifest.peers.map {
      Peer(peer: $0.peer.description, first: $0.first, cursor: $0.next)
    }
    digest = manifest.digest.description
  }

  func show(_ verb: String) {
    Output.line(
      "\(verb) \(Output.grouped(rows)) rows of \(Output.grouped(peers.count)) peers and "
        + "\(Output.grouped(stateKeys)) keys of state")
  }
}

/// Shows a count on a terminal and nothing in a pipe.
private func progress(_ verb: String, isShown: Bool) -> @Sendable (UInt64) -> Void {
  { count in
    if isShown { Output.progress("\(verb): \(Output.grouped(count)) rows and keys") }
  }
}

struct OpLogExportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Write an op-log and the state that follows from it to a file.",
    discussion: """
      The file is the log as it is at one moment. It appears when it is complete. What it holds is
      made to survive power loss in the store first, also where the store is running elsewhere.

      Example:
        spindle oplog export --store data ingest.oplog
      """)
  @OptionGroup var target: OpLogCommand.Target
  @Argument(help: "The file; it must not exist.") var file: String
  @Flag(help: "Leave out the rows: a snapshot for a replica that needs no history.")
  var stateOnly = false
  @Flag(help: "Print one JSON object.") var json = false

  func run() async throws {
    try await reportingErrors {
      try await withReader(target.options.store) { store in
        let contents: OpLogArchive.Contents = stateOnly ? .state : .everything
        guard try target.isThere(in: store) else {
          let created = store.clock.wallMilliseconds
          return try show(
            try await store.blocking {
              try OpLogArchive.writeEmpty(
                to: file, prefix: target.prefix, contents: contents, created: created)
            })
        }
        let log = try await LogIndexTracker<RecordedOp>(store: store, prefix: target.prefix)
        let isShown = Output.isTerminal && !json
        let manifest = try await log.export(
          to: file, contents: contents,
          progress: progress("exporting", isShown: isShown))
        if isShown { Output.progress("") }
        try show(manifest)
      }
    }
  }

  private func show(_ manifest: OpLogManifest) throws {
    let row = ManifestRow(manifest, file: file)
    if json { try Output.json(row) } else { row.show("exported") }
  }
}

struct OpLogImportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import",
    abstract: "Put an exported op-log into a prefix that is new, or add it to the ingest log.",
    discussion: """
      A damaged file is refused whole. An import that was interrupted is finished by the same
      command. A missing store is created; it must not be running elsewhere. Without --prefix the
      log gets the prefix that it had. The ingest log takes no file of another one.

      With --add the entries go into the ingest log of a store in use, with their points, as if they
      had been ingested there. Those that are there already are left alone. All are tried first: a
      file that has another entry than the log at an index, or begins behind its end, adds nothing.
      To add to a log of another program, apply the file with that program, which knows its ops.

      Example:
        spindle oplog import --store copy ingest.oplog
        spindle oplog import --store data --add ingest.oplog
      """)
  @OptionGroup var target: OpLogCommand.Target
  @Argument(help: "A file that `oplog export` wrote.") var file: String
  @Flag(help: "Add the entries to the ingest log of a store in use.") var add = false
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    if add, target.prefix != IngestPipeline.name {
      throw ValidationError("--add knows the ops of the prefix \(IngestPipeline.name) only")
    }
  }

  private struct Added: Encodable {
    var file: String
    var added: UInt64
  }

  private func addEntries() async throws {
    try await withSpindle(target.options.store, createsIfMissing: false) { spindle in
      let archive = OpLogArchive(path: file, store: spindle.store)
      let count = try await IngestPipeline.add(archive, to: spindle.store)
      try await spindle.store.synchronize()
      if json { return try Output.json(Added(file: file, added: count)) }
      Output.line("added \(Output.grouped(count)) rows")
    }
  }

  /// Where the log goes. Ingesting would not know what another program's log and its state say, and
  /// would never run again.
  private func prefix(for manifest: OpLogManifest) throws -> String {
    let prefix = target.givenPrefix ?? manifest.prefix
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

  func run() async throws {
    try await reportingErrors {
      if add { return try await addEntries() }
      // A file that is no good must not leave an empty store behind.
      let manifest = try OpLogArchive.verifyInstallable(at: file)
      let prefix = try prefix(for: manifest)
      try await withSpindle(target.options.store, createsIfMissing: true) { spindle in
        let isShown = Output.isTerminal && !json
        try await OpLogArchive(path: file, store: spindle.store).install(
          manifest, prefix: prefix, progress: progress("importing", isShown: isShown))
        try await spindle.store.synchronize()
        if isShown { Output.progress("") }
        let row = ManifestRow(manifest, file: file)
        if json { try Output.json(row) } else { row.show("imported") }
      }
    }
  }
}
