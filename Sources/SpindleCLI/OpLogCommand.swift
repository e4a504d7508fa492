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
        spindle oplog verify --store data
      """,
    subcommands: [
      Cursors.self, Read.self, OpLogFollowCommand.self, OpLogVerifyCommand.self,
      OpLogExportCommand.self, OpLogImportCommand.self, OpLogExpungeCommand.self,
      OpLogTrimCommand.self,
    ])

  /// The options of every verb.
  struct Target: ParsableArguments {
    @OptionGroup var options: StoreOptions
    @Option(help: "The prefix of the op-log.")
    var prefix = IngestPipeline.name

    /// Whether the log is there. That of ingesting is empty until something was ingested.
    ///
    /// - Throws: ``SpindleError`` with `notFound` for any other that is not there.
    func isThere(in store: Store) throws -> Bool {
      if store.existingFamily("oplog:" + prefix) != nil { return true }
      if prefix == IngestPipeline.name { return false }
      throw SpindleError(.notFound, "the store has no op-log \(prefix)")
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
      discussion: "Example:\n  spindle oplog cursors --store data --json")
    @OptionGroup var target: Target
    @Flag(help: "Print an array of {peer, producer, cursor}.") var json = false

    private struct Row: Encodable {
      var peer: String
      var producer: String?
      var cursor: UInt64
    }

    func run() async throws {
      try await reportingErrors {
        try await withReader(target.options.store) { store in
          var rows: [Row] = []
          if try target.isThere(in: store) {
            let log = try await OpLogHandle(store: store, prefix: target.prefix)
            let names = try await OpLogCommand.producers(store, target.prefix)
            rows = try await log.cursors().sorted.map { peer, next in
              Row(peer: peer.description, producer: names[peer], cursor: next)
            }
          }
          if json {
            try Output.json(rows)
          } else {
            Output.table(
              ["peer", "cursor", "producer"],
              rows.map { [$0.peer, String($0.cursor), $0.producer ?? ""] })
          }
        }
      }
    }
  }

  struct Read: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print rows of the log, by peer and index.",
      discussion: "Example:\n  spindle oplog read --store data --limit 10 --json")
    @OptionGroup var target: Target
    @Option(help: "The peer, in any text form of a UUID. The default is every peer.")
    var peer: String?
    @Option(help: "The first index. The default is the first that is there.") var from: UInt64?
    @Option(help: "The most rows a peer, 1 to 100000.") var limit = 100
    @Flag(help: "Print an array of objects.") var json = false

    private struct Row: Encodable {
      var peer: String
      var index: UInt64
      /// Milliseconds since the Unix epoch and the counter of the hybrid clock.
      var timestamp: UInt64
      var counter: UInt16
      var tag: UInt8
      var keyBytes: Int?
      var valueBytes: Int?
      var expunged: String?
      var user: String?
      // Of ops of the ingest log:
      var producer: String?
      var byteOffset: UInt64?
      var firstLine: UInt64?
      var lines: UInt64?
      var points: UInt64?
      var rejected: UInt64?
    }

    func validate() throws {
      guard (1...100_000).contains(limit) else {
        throw ValidationError("--limit must be 1 to 100000, not \(limit)")
      }
      if let peer, PeerID(text: peer) == nil {
        throw ValidationError("--peer must be a UUID, such as 32 hexadecimal digits")
      }
    }

    /// Rows read at once.
    private static let pageLimit = 256

    func run() async throws {
      try await reportingErrors {
        var isComplete = true
        try await withReader(target.options.store) { store in
          var array = JSONArrayOutput()
          if try target.isThere(in: store) {
            let log = try await OpLogHandle(store: store, prefix: target.prefix)
            var peers = try await log.cursors().sorted.map(\.peer)
            if let peer, let wanted = PeerID(text: peer) { peers = [wanted] }
            let floors = try await log.floors()
            for peer in peers where Output.hasReader {
              do {
                try await printRows(of: peer, from: from ?? floors[peer], log, &array)
              } catch let error as SpindleError where error.reason == "compacted" {
                // Of this peer alone; others may have the index.
                Output.problem("\(error)")
                isComplete = false
              }
            }
          }
          if json { array.finish() }
        }
        if !isComplete { throw ExitCode(1) }
      }
    }

    /// Prints a peer's rows page by page, so that few are held.
    private func printRows(
      of peer: PeerID, from start: UInt64, _ log: OpLogHandle, _ array: inout JSONArrayOutput
    ) async throws {
      var (next, left) = (start, limit)
      while left > 0, Output.hasReader {
        let page = try await log.readRows(
          peer: peer, from: next, limit: min(left, Self.pageLimit))
        guard let last = page.last else { return }
        for entry in page {
          let row = makeRow(peer, entry.index, entry.row)
          if json { try array.add(row) } else { printRow(row) }
        }
        left -= page.count
        guard last.index < .max else { return }
        next = last.index + 1
      }
    }

    private func makeRow(_ peer: PeerID, _ index: UInt64, _ stored: OpLogRow) -> Row {
      var row = Row(
        peer: peer.description, index: index, timestamp: stored.timestamp.wallMilliseconds,
        counter: stored.timestamp.counter, tag: stored.tag, keyBytes: stored.key?.count,
        valueBytes: stored.value?.count, expunged: stored.expungedHash?.description,
        user: stored.serverUser?.description)
      if target.prefix == IngestPipeline.name,
        let op = try? IngestOp.fromIndexParts(
          tag: stored.tag, key: stored.key, value: stored.value)
      {
        row.producer = op.producer
        row.byteOffset = op.source.byteOffset
        row.firstLine = op.source.firstLine
        row.lines = op.source.lineCount
        row.points = op.pointCount
        row.rejected = op.rejectedCount
      }
      return row
    }

    private func printRow(_ row: Row) {
      var text = "\(row.peer) \(row.index)  \(row.timestamp).\(row.counter)  tag \(row.tag)"
      if let hash = row.expunged { text += "  expunged \(hash)" }
      if let bytes = row.valueBytes, row.expunged == nil { text += "  \(bytes) bytes" }
      if let points = row.points, let line = row.firstLine, let lines = row.lines {
        text += "  \(points) points, lines \(line) to \(line + lines - min(lines, 1))"
      }
      Output.line(text)
    }
  }
}
