import ArgumentParser
import Foundation
import Spindle
import SpindleCore
import SpindleSpool
import SpindleStore

struct SpoolCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "spool",
    abstract: "Look into a spool, and put, get and remove messages.",
    discussion: """
      Example:
        id=$(spindle spool put --store data message.eml)
        spindle spool get --store data $id
      """,
    subcommands: [
      List.self, Put.self, Get.self, Remove.self, SpoolCompactCommand.self,
      SpoolVerifyCommand.self, SpoolQuarantineCommand.self, SpoolStatsCommand.self,
      SpoolExportCommand.self, SpoolImportCommand.self, SpoolRepairCommand.self,
      SpoolOrphansCommand.self,
    ])

  /// The options of every verb.
  struct Target: ParsableArguments {
    @OptionGroup var options: StoreOptions
    @Option(help: "The name of the spool.")
    var name = "main"

    /// Opens the spool for reading, also beside a running owner.
    func withSpool(_ body: (RocksSpool) async throws -> Void) async throws {
      try await withReader(options.store) { store in
        try SpoolCommand.checkPresence(of: name, in: store)
        let spool = try await RocksSpool(store: store, name: name, settings: .ofTool)
        if let problem = spool.quotaProblem { Output.problem("note: \(problem)") }
        try await body(spool)
      }
    }

    /// Opens the spool for changes.
    func withOwnedSpool(_ body: (RocksSpool) async throws -> Void) async throws {
      try await withSpindle(options.store, createsIfMissing: false) { spindle in
        try SpoolCommand.checkPresence(of: name, in: spindle.store)
        let spool = try await RocksSpool(
          store: spindle.store, name: name, settings: .ofTool)
        try await explainingGate(of: spool) { try await body(spool) }
      }
    }

    /// Opens the store for a change of the spool that must not read it.
    func withOwnedFamily(_ body: (Store, StoreFamily) async throws -> Void) async throws {
      try await withSpindle(options.store, createsIfMissing: false) { spindle in
        let family = try SpoolCommand.checkPresence(of: name, in: spindle.store)
        try await body(spindle.store, family)
      }
    }
  }

  /// Refuses a spool that the store does not have; naming it would create it.
  @discardableResult
  static func checkPresence(of name: String, in store: Store) throws -> StoreFamily {
    try check(name: name)
    if let family = store.existingFamily("spool:" + name) { return family }
    let names = store.familyNames.filter { $0.hasPrefix("spool:") }
      .map { $0.dropFirst("spool:".count) }.filter { !$0.hasSuffix(".quarantine") }
    throw SpindleError(
      .notFound,
      "the store has no spool \(printable(name)); it has "
        + (names.isEmpty ? "none" : names.joined(separator: ", ")))
  }

  /// Refuses what cannot be the name of a spool, in the words of the commands.
  static func check(name: String) throws {
    let suffix = ".quarantine"
    guard name.hasSuffix(suffix) else { return try RocksSpool.checkName(name) }
    let spool = printable(String(name.dropLast(suffix.count)))
    throw SpindleError(
      .invalidArgument,
      "the name \"\(printable(name))\" is that of a quarantine; \"spindle spool quarantine\" with "
        + "--name \(spool) reaches it")
  }

  static func id(_ text: String) throws -> SpoolID {
    guard let id = SpoolID(text: text) else {
      // Not an error of the parser's, which would add the usage to the sentence.
      Output.problem(
        "\"\(printable(text))\" is no message id; expected 32 hexadecimal digits of a time-based "
          + "UUID")
      throw ExitCode.validationFailure
    }
    return id
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print the ids of all messages, one a line.",
      discussion: """
        Without --json the messages are not looked into. With it, exit code 2: some are damaged, and
        named. Exit code 1: what could not be read at all is missing.

        Example:
          spindle spool list --store data --name ingest
        """)
    @OptionGroup var target: Target
    @Flag(help: "Print an array of {id, bytes, created}.") var json = false

    private struct Row: Encodable {
      var id: String
      var bytes: Int
      /// Milliseconds since the Unix epoch.
      var created: Int64
      var damage: String?
    }

    func run() async throws {
      try await reportingErrors {
        var isIntact = true
        try await target.withSpool { spool in
          guard json else {
            // The ids alone: the messages are not decoded, nor handed from thread to thread.
            return try await spool.forEachID { id in
              Output.line(id.description)
              return Output.hasReader
            }
          }
          let channel = SpoolEntryChannel(capacity: 64)
          let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
          var rows = JSONArrayOutput()
          for await entry in channel {
            switch entry {
            case .item(let id, let data): try rows.add(row(id, bytes: data.count, damage: nil))
            case .corrupt(let id, let error):
              isIntact = false
              Output.problem("the message \(id) is damaged: \(error)")
              try rows.add(row(id, bytes: 0, damage: error))
            }
            guard Output.hasReader else { return }
          }
          rows.finish()
          let outcome = await walk.finished()
          // What was found comes first: a store that is damaged is when it is wanted most.
          if let error = outcome.error { throw error }
        }
        if !isIntact { throw ExitCode(2) }
      }
    }

    private func row(_ id: SpoolID, bytes: Int, damage: String?) -> Row {
      Row(
        id: id.description, bytes: bytes, created: id.created.ticks / 10_000, damage: damage)
    }
  }

  struct Put: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Store a message and print its id.",
      discussion: """
        A missing store or spool is created. The store must not be running elsewhere.

        Example:
          spindle spool put --store data message.eml
        """)
    @OptionGroup var target: Target
    @Option(help: "buffered or synced.", transform: choice) var durability = Durability.buffered
    @Option(help: "none, lz4 or zstd.", transform: choice) var compression = PayloadCompression.none
    @Flag(help: "Print an object {id, bytes}.") var json = false
    @Argument(help: "The file to store, or - for standard input.") var file: String

    private struct Stored: Encodable {
      var id: String
      var bytes: Int
    }

    func run() async throws {
      try await reportingErrors {
        try SpoolCommand.check(name: target.name)
        let data = try readAll()
        try await withSpindle(target.options.store, createsIfMissing: true) { spindle in
          var settings = SpoolSettings.ofTool
          settings.compression = compression
          let spool = try await RocksSpool(
            store: spindle.store, name: target.name, settings: settings)
          let id = spool.makeID()
          try await explainingGate(of: spool) {
            try await spool.store(id, data, forceSync: durability == .synced, deadline: nil)
          }
          if json {
            try Output.json(Stored(id: id.description, bytes: data.count))
          } else {
            Output.line(id.description)
          }
        }
      }
    }

    private func readAll() throws -> [UInt8] {
      var source = STDIN_FILENO
      if file != "-" { source = unsafe open(file, O_RDONLY | O_CLOEXEC) }
      func failure() -> SpindleError {
        SpindleError(
          .io, "cannot read \(file): \(unsafe String(cString: strerror(errno)))", path: file)
      }
      guard source >= 0 else { throw failure() }
      defer { if file != "-" { close(source) } }
      var data: [UInt8] = []
      var chunk = [UInt8](repeating: 0, count: 1 << 20)
      while true {
        let count = unsafe chunk.withUnsafeMutableBytes { bytes in
          unsafe Glibc.read(source, bytes.baseAddress, bytes.count)
        }
        if count < 0, errno == EINTR { continue }
        guard count >= 0 else { throw failure() }
        if count == 0 { break }
        data.append(contentsOf: chunk[..<count])
        guard data.count <= RocksSpool.payloadByteLimit else {
          throw SpindleError(
            .invalidArgument,
            "\(file) is larger than a message may be (\(RocksSpool.payloadByteLimit) bytes)")
        }
      }
      return data
    }
  }

  struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Write a message's bytes to standard output.",
      discussion:
        "Example:\n  spindle spool get --store data 018f2f6e0c7a7b3e9d1c2a4b5c6d7e8f > message")
    @OptionGroup var target: Target
    @Flag(help: "Print an object {id, bytes, created, data}, the data in base 64.") var json = false
    @Argument(help: "The message's id.") var id: String

    private struct Message: Encodable {
      var id: String
      var bytes: Int
      /// Milliseconds since the Unix epoch.
      var created: Int64
      var data: Data
    }

    func run() async throws {
      let wanted = try SpoolCommand.id(id)
      try await reportingErrors {
        try await target.withSpool { spool in
          let data = try await spool.load(wanted)
          guard json else { return Output.write(data) }
          try Output.json(
            Message(
              id: wanted.description, bytes: data.count,
              created: wanted.created.ticks / 10_000, data: Data(data)))
        }
      }
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Remove a message; one that is not there is no error.",
      discussion: """
        The message is not read, so one in a damaged block can be removed. The store must not be
        running elsewhere.

        Example:
          spindle spool remove --store data 018f2f6e0c7a7b3e9d1c2a4b5c6d7e8f
        """)
    @OptionGroup var target: Target
    @Flag(
      help: """
        Print an object {id, removed}; removed is false when it was not there, and missing when \
        damage hides whether it was.
        """)
    var json = false
    @Argument(help: "The message's id.") var id: String

    private struct Removed: Encodable {
      var id: String
      var removed: Bool?
    }

    func run() async throws {
      let wanted = try SpoolCommand.id(id)
      try await reportingErrors {
        try await target.withOwnedFamily { store, family in
          let wasThere = try await RocksSpool.remove(wanted, from: family, of: store, looks: json)
          if json { try Output.json(Removed(id: wanted.description, removed: wasThere)) }
        }
      }
    }
  }
}
