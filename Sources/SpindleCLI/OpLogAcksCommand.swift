import ArgumentParser
import SpindleCore
import SpindleOpLog
import SpindleStore

struct OpLogAcksCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "acks",
    abstract: "What other replicas have, by which an op-log is trimmed.",
    discussion: """
      Programs that replicate the log note it themselves. A replica holds the log back until it
      has acknowledged, or is forgotten.

      Example:
        spindle oplog acks --store data
        spindle oplog acks list --store data --json
        spindle oplog acks set --store data --replica 3f0c9a... --peer 77b1e2... --cursor 1000
        spindle oplog acks forget --store data --replica 3f0c9a...
      """,
    subcommands: [List.self, Set.self, Forget.self], defaultSubcommand: List.self)

  struct Row: Encodable {
    var replica: String
    var peer: String
    var cursor: UInt64
  }

  private static func show(_ replicas: [PeerID: PeerCursors], json: Bool) throws {
    var rows: [Row] = []
    for (replica, cursors) in replicas.sorted(by: { $0.key.description < $1.key.description }) {
      let known = cursors.sorted.map {
        Row(replica: replica.description, peer: $0.peer.description, cursor: $0.next)
      }
      // One that has nothing yet holds the log back, too.
      rows +=
        known.isEmpty
        ? [Row(replica: replica.description, peer: replica.description, cursor: 0)] : known
    }
    if json { return try Output.json(rows) }
    Output.table(
      ["replica", "peer", "cursor"], rows.map { [$0.replica, $0.peer, String($0.cursor)] })
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print what each known replica has.",
      discussion: "Example:\n  spindle oplog acks list --store data --json")
    @OptionGroup var target: OpLogCommand.Target
    @Flag(help: "Print an array of {replica, peer, cursor}.") var json = false

    func run() async throws {
      try await reportingErrors {
        try await withReader(target.options.store) { store in
          guard try target.isThere(in: store) else { return try show([:], json: json) }
          let log = try await LogIndexTracker<RecordedOp>(store: store, prefix: target.prefix)
          try show(try await log.acknowledgements(), json: json)
        }
      }
    }
  }

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Note that a replica has a peer's log up to an index.",
      discussion: """
        A lower index than the one noted is believed, and one above the end of the log counts as its
        end. A replica that was forgotten is noted again. The store must not be running elsewhere.

        Example:
          spindle oplog acks set --store data --replica 3f0c9a... --peer 77b1e2... --cursor 1000
        """)
    @OptionGroup var target: OpLogCommand.Target
    @Option(help: "Who has it: the peer under which the replica writes.") var replica: String
    @Option(help: "Whose log it has, in any text form of a UUID.") var peer: String
    @Option(help: "The next index that it lacks.") var cursor: UInt64
    @Flag(help: "Print an object {replica, peer, cursor}.") var json = false

    func validate() throws {
      _ = try OpLogCommand.peer(replica)
      _ = try OpLogCommand.peer(peer)
    }

    func run() async throws {
      try await reportingErrors {
        try await target.withOwnedLog { log in
          let (replica, peer) = (try OpLogCommand.peer(replica), try OpLogCommand.peer(peer))
          guard let log else {
            throw SpindleError(.notFound, "the op-log \(target.prefix) is empty")
          }
          try await log.remember(replica: replica)
          // Of the other peers it goes on having what it had.
          let known = try await log.acknowledgements()[replica] ?? PeerCursors()
          try await log.acknowledge(
            replica: replica, cursors: PeerCursors([peer: cursor]),
            except: Swift.Set(known.sorted.map(\.peer)).subtracting([peer]))
          let noted = try await log.acknowledgements()[replica]?[peer] ?? 0
          if json {
            return try Output.json(
              Row(replica: replica.description, peer: peer.description, cursor: noted))
          }
          Output.line("replica \(replica) has the log of peer \(peer) up to index \(noted)")
        }
      }
    }
  }

  struct Forget: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Forget a replica that will not come back, so that it does not hold the log back.",
      discussion: """
        What it said last may be heard again, as from a folder that replicas share, and changes
        nothing. Where it comes back and says something else it is noted again; entries that were
        trimmed meanwhile it must get from a snapshot. Where that was an old word from another
        folder, forget it once more: up to 8 words are kept. The store must not be running
        elsewhere.

        Example:
          spindle oplog acks forget --store data --replica 3f0c9a...
        """)
    @OptionGroup var target: OpLogCommand.Target
    @Option(help: "The peer under which the replica writes.") var replica: String
    @Flag(help: "Print an array of {replica, peer, cursor}: what it had.") var json = false

    func validate() throws { _ = try OpLogCommand.peer(replica) }

    func run() async throws {
      try await reportingErrors {
        try await target.withOwnedLog { log in
          let replica = try OpLogCommand.peer(replica)
          guard let log, let cursors = try await log.acknowledgements()[replica] else {
            throw SpindleError(.notFound, "no replica \(replica) is known")
          }
          try await log.forget(replica: replica)
          if json { return try show([replica: cursors], json: true) }
          Output.line("forgot \(replica)")
        }
      }
    }
  }
}
