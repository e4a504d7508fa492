import ArgumentParser
import SpindleCore
import SpindleOpLog
import SpindleRocks
import SpindleStore

struct OpLogFollowCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "follow",
    abstract: "Print rows of the log as they come.",
    discussion: """
      First those that are there, then those that a running store adds, five times a second, until
      the command is interrupted. It waits for a log into which nothing was ingested yet. Of a store
      that is not running it prints what is there.

      Example:
        spindle oplog follow --store data --json
      """)
  @OptionGroup var target: OpLogCommand.Target
  @Option(help: "Only this peer, in any text form of a UUID.")
  var peer: String?
  @Flag(help: "Leave out what is there already.") var new = false
  @Option(help: "End after so many rows.") var limit: Int?
  @Flag(help: "Print an object a line.") var json = false

  /// How long new rows may lie before they are printed.
  private static let interval = Duration.milliseconds(200)
  /// How long a log may be there before it is found: each look opens the store anew, since one that
  /// is open does not see new families.
  private static let waitInterval = Duration.seconds(1)
  /// Rows read at once.
  private static let pageLimit = 256

  func validate() throws {
    if let peer { _ = try OpLogCommand.peer(peer) }
    if let limit, limit < 1 { throw ValidationError("--limit must be at least 1, not \(limit)") }
  }

  func run() async throws {
    try await reportingErrors {
      var (waits, isFirst) = (false, true)
      var progress: Progress?
      repeat {
        if waits { try await Task.sleep(for: Self.waitInterval) }
        waits = false
        try await withReader(target.options.store, isFirst: isFirst) { store in
          if try target.isThere(in: store) {
            // What came while this waited is new.
            waits = try await follow(store, &progress, isAllWanted: !new || !isFirst)
          } else if case .following = store.view {
            waits = true
          }
        }
        isFirst = false
      } while waits && Output.hasReader
    }
  }

  /// Where the command is.
  private struct Progress {
    var positions: PeerCursors
    /// Rows to print yet.
    var left: Int
  }

  /// - Returns: Whether the store has to be opened anew to see more.
  private func follow(
    _ store: Store, _ progress: inout Progress?, isAllWanted: Bool
  ) async throws -> Bool {
    let log = try await LogIndexTracker<RecordedOp>(store: store, prefix: target.prefix)
    var now: Progress
    if let progress {
      now = progress
    } else {
      let positions = try await isAllWanted ? log.floors() : log.allCursors()
      now = Progress(positions: positions, left: limit ?? .max)
    }
    while Output.hasReader {
      try await printNew(log, &now.positions, &now.left)
      progress = now
      guard case .following = store.view, now.left > 0 else { return false }
      try await Task.sleep(for: Self.interval)
      guard try await store.catchUp() else { return true }
    }
    return false
  }

  private func printNew(
    _ log: LogIndexTracker<RecordedOp>, _ positions: inout PeerCursors, _ left: inout Int
  ) async throws {
    let wanted = try peer.map(OpLogCommand.peer)
    for (peer, indices) in positions.gaps(to: try await log.allCursors())
    where wanted == nil || wanted == peer {
      var next = indices.lowerBound
      while next < indices.upperBound, left > 0, Output.hasReader {
        let rows = try await log.readRows(
          peer: peer, from: next, limit: min(Self.pageLimit, left))
        guard let last = rows.last else { break }
        for row in rows { try show(peer, row) }
        left -= rows.count
        next = last.index + 1
        positions.advance(peer, to: next)
      }
    }
  }

  private func show(_ peer: PeerID, _ found: IndexedOpLogRow) throws {
    let row = OpLogRowOutput(found.row, peer, found.index, prefix: target.prefix)
    if json { try Output.json(row) } else { Output.line(row.text) }
  }
}
