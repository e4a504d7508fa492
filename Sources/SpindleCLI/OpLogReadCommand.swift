import ArgumentParser
import Foundation
import SpindleCore
import SpindleOpLog
import SpindleStore

struct OpLogReadCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "read",
    abstract: "Print rows of the log, by peer and index, or those that a query finds.",
    discussion: """
      With a time, a user or a key, entries of all peers are printed by time; expunged ones are not
      among them. The log must keep the index for it: see `oplog index`.

      Example:
        spindle oplog read --store data --limit 10 --json
        spindle oplog read --store data --since 2026-01-01T00:00:00Z --reverse
        spindle oplog read --store data --prefix records --user 3f0c... --until 1767225600000
      """)

  @OptionGroup var target: OpLogCommand.Target
  @Option(help: "The peer, in any text form of a UUID. The default is every peer.")
  var peer: String?
  @Option(help: "The first index. The default is the first that is there.") var from: UInt64?
  @Option(
    help: "Entries from this time on: milliseconds since the Unix epoch, or such as \(Self.time).",
    transform: milliseconds)
  var since: UInt64?
  @Option(help: "Entries up to this time, as with --since.", transform: milliseconds)
  var until: UInt64?
  @Option(help: "Entries for which a server vouched for this user, a UUID.") var user: String?
  @Option(help: "Entries whose op has exactly this key, as text.") var key: String?
  @Option(help: "The same for a key given in hexadecimal digits.") var keyHex: String?
  @Flag(help: "The latest first; makes it a query by time.") var reverse = false
  @Option(help: "The most rows, 1 to 100000: of a peer, or of a query.") var limit = 100
  @Flag(help: "Print an array of objects.") var json = false

  private static let time = "2026-01-31T09:30:00Z"

  /// Reads a time on the wall clock.
  private static func milliseconds(_ text: String) throws -> UInt64 {
    if let number = UInt64(text) { return number }
    guard let date = try? Date(text, strategy: .iso8601), date.timeIntervalSince1970 >= 0 else {
      throw ValidationError(
        "\"\(text)\" is no time; expected milliseconds since the Unix epoch or such as \(time)")
    }
    return UInt64((date.timeIntervalSince1970 * 1000).rounded())
  }

  private var isQuery: Bool {
    since != nil || until != nil || user != nil || key != nil || keyHex != nil || reverse
  }

  func validate() throws {
    guard (1...100_000).contains(limit) else {
      throw ValidationError("--limit must be 1 to 100000, not \(limit)")
    }
    if let peer { _ = try OpLogCommand.peer(peer) }
    if isQuery { _ = try query() }
  }

  private func query() throws -> OpLogQuery {
    guard peer == nil, from == nil else {
      throw ValidationError("--peer and --from go by index; they are not for a query")
    }
    guard [user, key, keyHex].count(where: { $0 != nil }) <= 1 else {
      throw ValidationError("at most one of --user, --key and --key-hex")
    }
    let (since, until) = (since ?? 0, until ?? .max)
    guard since <= until else { throw ValidationError("--since must not be after --until") }
    var subject = OpLogQuery.Subject.everything
    if let user {
      guard let uuid = UUIDValue(text: user) else {
        throw ValidationError("--user must be a UUID, such as 32 hexadecimal digits")
      }
      subject = .user(UserID(uuid))
    } else if let key {
      subject = .key(Array(key.utf8))
    } else if let keyHex {
      guard let bytes = bytes(ofHex: keyHex) else {
        throw ValidationError("--key-hex must be pairs of hexadecimal digits")
      }
      subject = .key(bytes)
    }
    return OpLogQuery(
      subject, times: OpLogQuery.times(wallMilliseconds: since...until), isReversed: reverse)
  }

  private func bytes(ofHex text: String) -> [UInt8]? {
    let digits = text.utf8.map { Character(UnicodeScalar($0)).hexDigitValue }
    guard digits.count % 2 == 0, !digits.contains(nil) else { return nil }
    return stride(from: 0, to: digits.count, by: 2).map {
      UInt8((digits[$0] ?? 0) << 4 | (digits[$0 + 1] ?? 0))
    }
  }

  /// Rows read at once.
  private static let pageLimit = 256

  func run() async throws {
    try await reportingErrors {
      var isComplete = true
      try await withReader(target.options.store) { store in
        // Before the first bracket: a refusal prints no half of an array.
        let log =
          try target.isThere(in: store)
          ? try await LogIndexTracker<RecordedOp>(store: store, prefix: target.prefix) : nil
        var rows = RowPrinter(prefix: target.prefix, isJSON: json)
        if let log {
          if isQuery {
            try await printFound(log, &rows)
          } else {
            isComplete = try await printAll(log, &rows)
          }
        }
        rows.finish()
      }
      if !isComplete { throw ExitCode(1) }
    }
  }

  private func printFound(
    _ log: LogIndexTracker<RecordedOp>, _ rows: inout RowPrinter
  ) async throws {
    let query = try query()
    var left = limit
    var place: OpLogContinuation?
    repeat {
      let page = try await page(of: query, limit: min(left, Self.pageLimit), after: place, log)
      for found in page.entries {
        let row = try OpLogRow(
          timestamp: found.entry.timestamp, serverUser: found.entry.serverUser,
          entry: found.entry.op.toIndexEntry())
        try rows.add(row, found.peer, found.index)
      }
      left -= page.entries.count
      place = page.next
    } while place != nil && left > 0 && Output.hasReader
  }

  /// Tells who lacks an index how to get it.
  private func page(
    of query: OpLogQuery, limit: Int, after place: OpLogContinuation?,
    _ log: LogIndexTracker<RecordedOp>
  ) async throws -> OpLogQueryPage<RecordedOp> {
    do {
      return try await log.query(query, limit: limit, after: place)
    } catch let error as SpindleError where error.reason == "missing_index" {
      let index: OpLogIndexCommand.Index =
        user != nil ? .user : (key ?? keyHex) != nil ? .key : .time
      throw SpindleError(
        error.kind,
        "the op-log \(target.prefix) keeps no index by \(index.rawValue); add it with "
          + "\"spindle oplog index --add \(index.rawValue)\"", reason: error.reason)
    }
  }

  /// - Returns: Whether nothing that was asked for is trimmed away.
  private func printAll(
    _ log: LogIndexTracker<RecordedOp>, _ rows: inout RowPrinter
  ) async throws -> Bool {
    var isComplete = true
    var peers = try await log.allCursors().sorted.map(\.peer)
    if let peer { peers = [try OpLogCommand.peer(peer)] }
    let floors = try await log.floors()
    for peer in peers where Output.hasReader {
      do {
        try await printRows(of: peer, from: from ?? floors[peer], log, &rows)
      } catch let error as SpindleError where error.reason == "compacted" {
        // Of this peer alone; others may have the index.
        Output.problem("\(error)")
        isComplete = false
      }
    }
    return isComplete
  }

  /// Prints a peer's rows page by page, so that few are held.
  private func printRows(
    of peer: PeerID, from start: UInt64, _ log: LogIndexTracker<RecordedOp>,
    _ rows: inout RowPrinter
  ) async throws {
    var (next, left) = (start, limit)
    while left > 0, Output.hasReader {
      let page = try await log.readRows(peer: peer, from: next, limit: min(left, Self.pageLimit))
      guard let last = page.last else { return }
      for entry in page { try rows.add(entry.row, peer, entry.index) }
      left -= page.count
      guard last.index < .max else { return }
      next = last.index + 1
    }
  }

  private struct RowPrinter {
    let prefix: String
    let isJSON: Bool
    private var array = JSONArrayOutput()

    init(prefix: String, isJSON: Bool) {
      self.prefix = prefix
      self.isJSON = isJSON
    }

    mutating func add(_ stored: OpLogRow, _ peer: PeerID, _ index: UInt64) throws {
      let row = OpLogRowOutput(stored, peer, index, prefix: prefix)
      if isJSON { try array.add(row) } else { Output.line(row.text) }
    }

    func finish() { if isJSON { array.finish() } }
  }
}
