import ArgumentParser
import SpindleCore
import SpindleOpLog
import SpindleStore

struct OpLogVerifyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Check every row, chain, index and record of an op-log.",
    discussion: """
      Changes nothing. Exit code 0: the log is sound; 2: findings, also where the store does not
      open because it is damaged. Notes are no findings.

      That a peer's newest rows, or all of them, are gone shows only where acknowledgements, tokens,
      optional indexes or floors tell of them. Otherwise only another replica can: compare with its
      `oplog cursors`.

      Example:
        spindle oplog verify --store data --json
      """)
  @OptionGroup var target: OpLogCommand.Target
  @Flag(help: "Print one JSON object.") var json = false

  private struct Report: Encodable {
    var peers: UInt64
    var entries: UInt64
    var markers: UInt64
    var links: UInt64
    var indexRows: UInt64
    var leftovers: UInt64
    var findings: [String]
    var notes: [String]
  }

  func run() async throws {
    try await reportingErrors {
      var found = OpLogReport()
      var findings: [String] = []
      do {
        try await withReader(target.options.store) { store in
          guard try target.isThere(in: store) else { return }
          found = try await OpLogVerifier(store: store, prefix: target.prefix).verify()
        }
      } catch let error as SpindleError where error.kind == .corruption {
        findings.append(error.message)
      }
      findings += found.findings
      if json {
        try Output.json(
          Report(
            peers: found.peers, entries: found.entries, markers: found.markers,
            links: found.links, indexRows: found.indexRows, leftovers: found.leftovers,
            findings: findings, notes: found.notes))
      } else {
        print(found)
        for finding in findings { Output.line(finding) }
      }
      if !findings.isEmpty { throw ExitCode(2) }
    }
  }

  private func print(_ found: OpLogReport) {
    Output.line("peers          \(Output.grouped(found.peers))")
    Output.line("entries        \(Output.grouped(found.entries))")
    Output.line("expunged       \(Output.grouped(found.markers))")
    Output.line("chain links    \(Output.grouped(found.links))")
    Output.line("index keys     \(Output.grouped(found.indexRows))")
    if found.leftovers > 0 {
      Output.line(
        "below floors   \(Output.grouped(found.leftovers)) (the next trim removes them)")
    }
    for note in found.notes { Output.line("note: \(note)") }
  }
}

struct OpLogExpungeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "expunge",
    abstract: "Remove the content of one entry for good.",
    discussion: """
      A marker with the entry's hash takes its place, so cursors and chains stay as they are. What
      was derived from the entry is not undone. The store must not be running elsewhere.

      Files that the entry was published in keep it until the program that writes them publishes
      the next time: the store remembers that it is to be removed there. Other replicas, exports,
      backups and files that a repair has set aside keep it until it is removed there, too.

      Example:
        spindle oplog expunge --store data 3f0c9a... 17
      """)
  @OptionGroup var target: OpLogCommand.Target
  @Argument(help: "The peer, in any text form of a UUID.") var peer: String
  @Argument(help: "The index.") var index: UInt64
  @Flag(help: "Print an object {peer, index, hash}.") var json = false

  private struct Report: Encodable {
    var peer: String
    var index: UInt64
    var hash: String
  }

  func validate() throws { _ = try OpLogCommand.peer(peer) }

  func run() async throws {
    try await reportingErrors {
      try await target.withOwnedLog { log in
        let peer = try OpLogCommand.peer(peer)
        guard let log else {
          throw SpindleError(.notFound, "the log of peer \(peer) has no entry at index \(index)")
        }
        let hash = try await log.expunge(peer: peer, index: index)
        if json {
          try Output.json(
            Report(peer: peer.description, index: index, hash: hash.description))
        } else {
          Output.line("expunged \(hash)")
        }
      }
    }
  }
}

struct OpLogTrimCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trim",
    abstract: "Remove the oldest rows of an op-log for good.",
    discussion: """
      Without --force nothing is removed that a known replica has not acknowledged, and nothing at
      all where none is known; see `oplog acks`. State stays, but cannot be rebuilt from this log.
      The store must not be running elsewhere.

      Example:
        spindle oplog trim --store data --below 1000
      """)
  @OptionGroup var target: OpLogCommand.Target
  @Option(help: "Only this peer, in any text form of a UUID.")
  var peer: String?
  @Option(help: "The first index to keep. The default is all that was acknowledged.")
  var below: UInt64?
  @Flag(help: "Remove what was not acknowledged, too. Needs --below.") var force = false
  @Flag(help: "Print an object {rows, floors: [{peer, floor}]}.") var json = false

  private struct Floor: Encodable {
    var peer: String
    var floor: UInt64
  }

  private struct Report: Encodable {
    var rows: UInt64
    var floors: [Floor]
  }

  func validate() throws {
    if let peer { _ = try OpLogCommand.peer(peer) }
    if force, below == nil { throw ValidationError("--force needs --below") }
  }

  func run() async throws {
    try await reportingErrors {
      try await target.withOwnedLog { log in
        var rows: UInt64 = 0
        var floors: [Floor] = []
        let cursors = try await log?.allCursors() ?? PeerCursors()
        let wanted = try peer.map(OpLogCommand.peer)
        if let wanted, cursors[wanted] == 0 { throw target.noEntries(of: wanted) }
        if let log {
          var bounds = PeerCursors()
          for (peer, next) in cursors.sorted where wanted == nil || wanted == peer {
            bounds.advance(peer, to: below ?? next)
          }
          let trim = try await log.trim(below: bounds, forced: force)
          rows = trim.rows
          floors = trim.floors.sorted.map { Floor(peer: $0.peer.description, floor: $0.next) }
        }
        if json { return try Output.json(Report(rows: rows, floors: floors)) }
        Output.line("removed \(Output.grouped(rows)) rows")
        if !floors.isEmpty {
          Output.table(["peer", "floor"], floors.map { [$0.peer, String($0.floor)] })
        }
      }
    }
  }
}
