import ArgumentParser
import Foundation
import SpindleCore
import SpindleSpool
import SpindleStore

/// What was set aside instead of being deleted.
struct SpoolQuarantineCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quarantine",
    abstract: "List, read, restore or purge the messages of a spool that were set aside.",
    discussion: """
      A message that is damaged, or that could not be applied, is kept as it was stored.

      Example:
        spindle spool quarantine list --store data --name ingest
        spindle spool quarantine restore --store data --name ingest \\
          018f2f6e0c7a7b3e9d1c2a4b5c6d7e8f
      """,
    subcommands: [List.self, Get.self, Add.self, Restore.self, Purge.self])

  /// Messages read at once.
  private static let pageSize = 256

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print id, bytes and reason of each message in quarantine.",
      discussion: """
        Goes on behind damage, which is named on standard error. Exit code 0: all of them; 2: what
        could be read.

        Example:
          spindle spool quarantine list --store data --name ingest
        """)
    @OptionGroup var target: SpoolCommand.Target
    @Flag(help: "Print an array of {id, bytes, since, damaged, reason}.") var json = false

    private struct Row: Encodable {
      var id: String
      var bytes: Int
      /// Milliseconds since the Unix epoch.
      var since: Int64?
      var damaged: Bool
      var reason: String
    }

    func run() async throws {
      try await reportingErrors {
        var lost: [SpoolLostRange] = []
        try await target.withSpool { spool in
          var rows = JSONArrayOutput()
          var last: SpoolID?
          while true {
            let (page, unread) = try await spool.quarantinePage(after: last, limit: pageSize)
            // A table that is left out is told with every page.
            lost += unread.filter { !lost.contains($0) }
            for message in page {
              let row = Row(
                id: message.id.description, bytes: message.bytes,
                since: message.since.map { $0.ticks / 10_000 }, damaged: message.isDamaged,
                reason: message.reason)
              if json {
                try rows.add(row)
              } else {
                let damage = row.damaged ? "damaged" : "intact "
                let reason = Output.plain(row.reason)
                Output.line("\(row.id)  \(row.bytes) bytes  \(damage)  \(reason)")
              }
            }
            guard page.count == pageSize, Output.hasReader else { break }
            last = page.last?.id
          }
          if json { rows.finish() }
        }
        for range in lost { Output.problem(LostRow(range).text()) }
        if !lost.isEmpty { throw ExitCode(2) }
      }
    }
  }

  struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Write the bytes of a message in quarantine to standard output.",
      discussion: """
        Of a damaged message it writes what is stored, and says on standard error what that is.
        Exit code 0: the message as it was given; 2: stored bytes of a damaged one.

        Example:
          spindle spool quarantine get --store data 018f2f6e0c7a7b3e9d1c2a4b5c6d7e8f > message
        """)
    @OptionGroup var target: SpoolCommand.Target
    @Flag(help: "Print an object {id, form, bytes, reason, damage, data}, the data in base 64.")
    var json = false
    @Argument(help: "The message's id.") var id: String

    private struct Message: Encodable {
      var id: String
      /// payload, record or envelope.
      var form: String
      var bytes: Int
      var reason: String?
      var damage: String?
      var data: Data
    }

    func run() async throws {
      let wanted = try SpoolCommand.id(id)
      try await reportingErrors {
        var isWhole = true
        try await target.withSpool { spool in
          let found = try await spool.loadQuarantined(wanted)
          isWhole = found.damage == nil
          if json {
            try Output.json(
              Message(
                id: wanted.description, form: found.form.rawValue, bytes: found.bytes.count,
                reason: found.reason, damage: found.damage, data: Data(found.bytes)))
          } else {
            Output.write(found.bytes)
          }
          guard let damage = found.damage else { return }
          let what =
            found.form == .record
            ? "the message's stored record, header and all"
            : "all that is stored, the quarantine's own header before the record"
          Output.problem("the message \(wanted) is damaged (\(damage)); this is \(what)")
        }
        if !isWhole { throw ExitCode(2) }
      }
    }
  }

  /// What a change prints with --json.
  private struct Change: Encodable {
    var id: String
    /// quarantined, restored or purged.
    var state: String
  }

  private static func show(_ id: SpoolID, _ state: String, json: Bool) throws {
    if json { try Output.json(Change(id: id.description, state: state)) }
  }

  struct Add: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Set a message aside.",
      discussion: """
        The store must not be running elsewhere.

        Example:
          spindle spool quarantine add --store data --reason "cannot be parsed" \\
            018f2f6e0c7a7b3e9d1c2a4b5c6d7e8f
        """)
    @OptionGroup var target: SpoolCommand.Target
    @Flag(help: "Print an object {id, state}.") var json = false
    @Option(help: "Why, in one sentence.") var reason = "set aside by the operator"
    @Argument(help: "The message's id.") var id: String

    func run() async throws {
      let wanted = try SpoolCommand.id(id)
      try await reportingErrors {
        try await target.withOwnedSpool { try await $0.quarantine(wanted, reason: reason) }
        try show(wanted, "quarantined", json: json)
      }
    }
  }

  struct Restore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Move a message back into its spool, byte for byte.",
      discussion: """
        The store must not be running elsewhere.

        Example:
          spindle spool quarantine restore --store data 018f2f6e0c7a7b3e9d1c2a4b5c6d7e8f
        """)
    @OptionGroup var target: SpoolCommand.Target
    @Flag(help: "Print an object {id, state}.") var json = false
    @Argument(help: "The message's id.") var id: String

    func run() async throws {
      let wanted = try SpoolCommand.id(id)
      try await reportingErrors {
        try await target.withOwnedSpool { try await $0.restoreQuarantined(wanted) }
        try show(wanted, "restored", json: json)
      }
    }
  }

  struct Purge: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Delete a message in quarantine for good.",
      discussion: """
        The store must not be running elsewhere.

        Example:
          spindle spool quarantine purge --store data 018f2f6e0c7a7b3e9d1c2a4b5c6d7e8f
        """)
    @OptionGroup var target: SpoolCommand.Target
    @Flag(help: "Print an object {id, state}.") var json = false
    @Argument(help: "The message's id.") var id: String

    func run() async throws {
      let wanted = try SpoolCommand.id(id)
      try await reportingErrors {
        try await target.withOwnedSpool { try await $0.purgeQuarantined(wanted) }
        try show(wanted, "purged", json: json)
      }
    }
  }
}
