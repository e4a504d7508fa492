import ArgumentParser
import SpindleCore
import SpindleOpLog
import SpindleStore

struct OpLogFenceCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fence",
    abstract: "Print or forget what other replicas know of the logs that are written here.",
    discussion: """
      Where they know more of one than is here, as after a backup was restored, its writer is
      refused until those entries were pulled back. --reset forgets that, for one who knows that
      there are no such entries: where there are, no replica that has them takes new ones with
      their indices. The store must not be running elsewhere then.

      Example:
        spindle oplog fence --store data --prefix records
        spindle oplog fence --store data --prefix records --reset 3f0c9a...
      """)
  @OptionGroup var target: OpLogCommand.Target
  @Option(help: "Forget what is known of this peer, in any text form of a UUID.")
  var reset: String?
  @Flag(help: "Print an array of {peer, fence, cursor, refuses}.") var json = false

  private struct Fence: Encodable {
    var peer: String
    var fence: UInt64
    var cursor: UInt64
    var refuses: Bool
  }

  func validate() throws { if let reset { _ = try OpLogCommand.peer(reset) } }

  func run() async throws {
    try await reportingErrors {
      if let reset {
        try await target.withOwnedLog { try await forget(try OpLogCommand.peer(reset), $0) }
      } else {
        try await withReader(target.options.store) { store in
          guard try target.isThere(in: store) else { return try show([]) }
          let log = try await LogIndexTracker<RecordedOp>(store: store, prefix: target.prefix)
          var fences: [Fence] = []
          for (peer, fence) in try await log.fences().sorted {
            fences.append(Self.fence(peer, fence, cursor: try await log.cursor(of: peer)))
          }
          try show(fences)
        }
      }
    }
  }

  private func forget(_ peer: PeerID, _ log: LogIndexTracker<RecordedOp>?) async throws {
    guard let log, case let fence = try await log.fence(of: peer), fence > 0 else {
      throw SpindleError(
        .notFound, "the op-log \(target.prefix) has no fence of peer \(peer)")
    }
    let cursor = try await log.cursor(of: peer)
    try await log.resetFence(of: peer)
    try show([Self.fence(peer, fence, cursor: cursor)], verb: "forgot: ")
  }

  private static func fence(_ peer: PeerID, _ fence: UInt64, cursor: UInt64) -> Fence {
    Fence(peer: peer.description, fence: fence, cursor: cursor, refuses: fence > cursor)
  }

  private func show(_ fences: [Fence], verb: String = "") throws {
    if json { return try Output.json(fences) }
    if fences.isEmpty { return Output.line("no fence") }
    for fence in fences {
      Output.line(
        "\(verb)peer \(fence.peer) is known up to index \(fence.fence) elsewhere and ends at "
          + "\(fence.cursor) here")
    }
  }
}
