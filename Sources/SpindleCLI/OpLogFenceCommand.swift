import ArgumentParser
import SpindleCore
import SpindleOpLog
import SpindleStore

struct OpLogFenceCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fence",
    abstract: "Print or forget what other replicas know of the log that is written here.",
    discussion: """
      Where they know more of it than is here, as after a backup was restored, its writer is refused
      until those entries were pulled back. --reset forgets that, for one who knows that there are
      no such entries: where there are, no replica that has them takes new ones with their indices.
      The store must not be running elsewhere then.

      Example:
        spindle oplog fence --store data --prefix records
        spindle oplog fence --store data --prefix records --reset 3f0c9a...
      """)
  @OptionGroup var target: OpLogCommand.Target
  @Option(help: "Forget what is known of this peer, in any text form of a UUID.")
  var reset: String?
  @Flag(help: "Print an object {peer, fence, cursor, refuses}, or {} without a fence.")
  var json = false

  private struct Report: Encodable {
    var peer: String?
    var fence: UInt64?
    var cursor: UInt64?
    var refuses: Bool?
  }

  func validate() throws { if let reset { _ = try OpLogCommand.peer(reset) } }

  func run() async throws {
    try await reportingErrors {
      if let reset {
        try await target.withOwnedLog { try await forget(try OpLogCommand.peer(reset), $0) }
      } else {
        try await withReader(target.options.store) { store in
          guard try target.isThere(in: store) else { return try show(nil, 0) }
          let log = try await LogIndexTracker<RecordedOp>(store: store, prefix: target.prefix)
          guard let fence = try await log.fence() else { return try show(nil, 0) }
          try show(fence, try await log.cursor(of: fence.peer))
        }
      }
    }
  }

  private func forget(_ peer: PeerID, _ log: LogIndexTracker<RecordedOp>?) async throws {
    guard let log, let fence = try await log.fence(), fence.peer == peer else {
      throw SpindleError(
        .notFound, "the op-log \(target.prefix) has no fence of peer \(peer)")
    }
    let cursor = try await log.cursor(of: peer)
    try await log.resetFence(of: peer)
    try show(fence, cursor, verb: "forgot: ")
  }

  private func show(
    _ fence: (peer: PeerID, cursor: UInt64)?, _ cursor: UInt64, verb: String = ""
  ) throws {
    if json {
      return try Output.json(
        Report(
          peer: fence?.peer.description, fence: fence?.cursor, cursor: fence.map { _ in cursor },
          refuses: fence.map { $0.cursor > cursor }))
    }
    guard let fence else { return Output.line("no fence") }
    Output.line(
      "\(verb)peer \(fence.peer) is known up to index \(fence.cursor) elsewhere and ends at "
        + "\(cursor) here")
  }
}
