import ArgumentParser
import Spindle
import SpindleCore
import SpindleOpLog
import SpindlePipeline
import SpindleStore

struct OpLogCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "oplog",
    abstract: "Read, check, copy and trim an op-log.",
    discussion: """
      Example:
        spindle oplog cursors --store data
        spindle oplog read --store data --peer 3f0c... --from 10 --limit 5
        spindle oplog read --store data --since 2026-01-01T00:00:00Z
        spindle oplog verify --store data
      """,
    subcommands: [
      Cursors.self, OpLogReadCommand.self, OpLogFollowCommand.self, OpLogIndexCommand.self,
      OpLogVerifyCommand.self, OpLogExportCommand.self, OpLogImportCommand.self,
      OpLogExpungeCommand.self, OpLogTrimCommand.self, OpLogFenceCommand.self,
      OpLogAcksCommand.self,
    ])

  /// The options of every verb.
  struct Target: ParsableArguments {
    @OptionGroup var options: StoreOptions
    @Option(help: "The prefix of the op-log.") var prefix = IngestPipeline.name

    func isThere(in store: Store) throws -> Bool {
      try OpLogCommand.isThere(prefix, in: store)
    }

    /// Opens the store as its owner, which it must not be elsewhere, and the log.
    ///
    /// - Parameter body: Gets nil for a log that is empty because it is not there yet.
    func withOwnedLog(
      _ body: (LogIndexTracker<RecordedOp>?) async throws -> Void
    ) async throws {
      try await withSpindle(options.store, createsIfMissing: false) { spindle in
        guard try isThere(in: spindle.store) else { return try await body(nil) }
        try await body(try await LogIndexTracker(store: spindle.store, prefix: prefix))
      }
    }

    /// What a verb for one peer says of a log without it: the peer may be misspelt.
    func noEntries(of peer: PeerID) -> SpindleError {
      SpindleError(.notFound, "the op-log \(prefix) has no entries of peer \(peer)")
    }
  }

  /// Whether a log is there. That of ingesting is empty until something was ingested.
  ///
  /// - Throws: ``SpindleError`` with `notFound` for any other that is not there.
  static func isThere(_ prefix: String, in store: Store) throws -> Bool {
    if store.existingFamily("oplog:" + prefix) != nil { return true }
    if prefix == IngestPipeline.name { return false }
    throw SpindleError(.notFound, "the store has no op-log \(prefix)")
  }

  static func peer(_ text: String) throws -> PeerID {
    guard let peer = PeerID(text: text) else {
      throw ValidationError(
        "\"\(text)\" is no peer; expected a UUID, such as 32 hexadecimal digits")
    }
    return peer
  }

  /// The names of the producers, where the log is the one that ingesting writes.
  static func producers(_ store: Store, _ prefix: String) async throws -> [PeerID: String] {
    guard prefix == IngestPipeline.name, let state = IngestState(store: store) else { return [:] }
    return try await state.positions().mapValues(\.producer)
  }

  struct Cursors: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print each peer's next index.",
      discussion: """
        In the order of the peers' ids. Standard error says how many --limit leaves out.

        Example:
          spindle oplog cursors --store data --json
          spindle oplog cursors --store data --peer 3f0c9a...
        """)
    @OptionGroup var target: Target
    @Option(help: "Only this peer, in any text form of a UUID.")
    var peer: String?
    @Option(help: "The most peers. The default is all.") var limit: Int?
    @Flag(help: "Print an array of {peer, producer, cursor}.") var json = false

    private struct Row: Encodable {
      var peer: String
      var producer: String?
      var cursor: UInt64
    }

    func validate() throws {
      if let peer { _ = try OpLogCommand.peer(peer) }
      if let limit, limit < 1 { throw ValidationError("--limit must be at least 1, not \(limit)") }
    }

    func run() async throws {
      try await reportingErrors {
        try await withReader(target.options.store) { store in
          var cursors = PeerCursors()
          var names: [PeerID: String] = [:]
          if try target.isThere(in: store) {
            let log = try await OpLogHandle(store: store, prefix: target.prefix)
            names = try await OpLogCommand.producers(store, target.prefix)
            cursors = try await log.cursors()
          }
          if let wanted = try peer.map(OpLogCommand.peer) {
            guard cursors[wanted] > 0 else { throw target.noEntries(of: wanted) }
            cursors = PeerCursors([wanted: cursors[wanted]])
          }
          let rows = cursors.sorted.prefix(limit ?? .max).map { peer, next in
            Row(peer: peer.description, producer: names[peer], cursor: next)
          }
          if json {
            try Output.json(rows)
          } else {
            Output.table(
              ["peer", "cursor", "producer"],
              rows.map { [$0.peer, String($0.cursor), $0.producer ?? ""] })
          }
          let more = cursors.count - rows.count
          if more > 0 { Output.problem("note: \(Output.grouped(more)) more peers are not shown") }
        }
      }
    }
  }
}
