import ArgumentParser
import Spindle
import SpindleCore
import SpindleOpLog
import SpindlePipeline
import SpindleStore

/// What an exported file holds, as export and import show it.
struct ManifestRow: Encodable {
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
        let line = ProgressLine(isShown: !json)
        defer { line.clear() }
        let manifest = try await log.export(
          to: file, contents: contents
        ) { line.show("exporting", $0) }
        line.clear()
        try show(manifest)
      }
    }
  }

  private func show(_ manifest: OpLogManifest) throws {
    let row = ManifestRow(manifest, file: file)
    if json { try Output.json(row) } else { row.show("exported") }
  }
}
