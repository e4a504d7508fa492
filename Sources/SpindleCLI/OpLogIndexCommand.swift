import ArgumentParser
import Spindle
import SpindleCore
import SpindleOpLog
import SpindleStore

struct OpLogIndexCommand: AsyncParsableCommand {
  /// What entries can be found by.
  enum Index: String, CaseIterable {
    case time, user, key

    var option: OpLogIndexes {
      switch self {
      case .time: .byTime
      case .user: .byUser
      case .key: .byKey
      }
    }
  }

  static let configuration = CommandConfiguration(
    commandName: "index",
    abstract: "Print or add the indexes that queries of `oplog read` need.",
    discussion: """
      Adding one reads the whole log once; from then on each entry costs another key. What is kept
      already stays. The store must not be running elsewhere for adding.

      Example:
        spindle oplog index --store data --add time --add user
      """)
  @OptionGroup var target: OpLogCommand.Target
  @Option(help: "time, user or key; may be given several times.", transform: choice)
  var add: [Index] = []
  @Flag(help: "Print an array of names.") var json = false

  func run() async throws {
    try await reportingErrors {
      if add.isEmpty {
        try await withReader(target.options.store) { store in
          guard try target.isThere(in: store) else { return try show([]) }
          try show(
            try await LogIndexTracker<RecordedOp>(store: store, prefix: target.prefix).indexes)
        }
      } else {
        try await withSpindle(target.options.store, createsIfMissing: false) { spindle in
          _ = try target.isThere(in: spindle.store)
          let indexes = OpLogIndexes(add.map(\.option))
          let log = try await LogIndexTracker<RecordedOp>(
            store: spindle.store, prefix: target.prefix, settings: OpLogSettings(indexes: indexes))
          try show(log.indexes)
        }
      }
    }
  }

  private func show(_ indexes: OpLogIndexes) throws {
    let names = Index.allCases.filter { indexes.contains($0.option) }.map(\.rawValue)
    if json { return try Output.json(names) }
    Output.line(names.isEmpty ? "no indexes" : names.joined(separator: " "))
  }
}
