internal import Logging
internal import SpindleIO

/// Writes each event of a store as one log line.
///
/// The message is constant; facts are metadata. A gate that shut is an error, since nothing but a
/// person may open it; what passes by itself is a warning; the rest is information.
struct StoreLog: Sendable {
  private let logger: Logger
  private let path: String

  /// - Parameter logger: nil stands for a logger with the label `spindle.store`.
  init(_ logger: Logger?, path: String) {
    self.logger = logger ?? Logger(label: "spindle.store")
    self.path = path
  }

  func write(_ event: StoreEvent) {
    let line = Self.line(of: event)
    var metadata: Logger.Metadata = ["spindle.store.path": "\(path)"]
    for (key, value) in line.facts { metadata["spindle." + key] = "\(value)" }
    if line.pointsAtEngine { metadata["spindle.engine.log"] = "\(engineLog)" }
    logger.log(level: line.level, "\(line.message)", metadata: metadata)
  }

  /// Where RocksDB's own words are.
  private var engineLog: String {
    let file = path + "/rocks/LOG"
    return Files.exists(file) ? file : "no LOG is kept; all that RocksDB said is in the detail"
  }

  private struct Line {
    var level: Logger.Level
    var message: StaticString
    var facts: [(String, String)] = []
    var pointsAtEngine = false
  }

  private static func line(of event: StoreEvent) -> Line {
    switch event {
    case .opened(_, let wasClean, let droppedTailBytes):
      Line(
        level: droppedTailBytes > 0 ? .warning : .info, message: "the store is open",
        facts: [("clean", "\(wasClean)"), ("dropped_tail_bytes", "\(droppedTailBytes)")])
    case .directoryWarning(let directory, let warning):
      Line(
        level: .warning, message: "a directory is risky",
        facts: [("directory", directory), ("detail", warning)])
    case .gateShut(let reason, let detail):
      Line(
        level: .error, message: "the store stopped accepting writes",
        facts: [("reason", reason), ("detail", detail)], pointsAtEngine: true)
    case .gateOpened(let reason):
      Line(
        level: .info, message: "a cause that stopped the store's writes is gone",
        facts: [("reason", reason)])
    case .partShut(let family, let reason, let detail):
      Line(
        level: .error, message: "a part of the store stopped accepting writes",
        facts: [("family", family), ("reason", reason), ("detail", detail)], pointsAtEngine: true)
    case .partOpened(let family, let reason):
      Line(
        level: .info, message: "a cause that stopped the writes of a part is gone",
        facts: [("family", family), ("reason", reason)])
    case .logRotated(let from, let to):
      Line(
        level: .info, message: "the failed write-ahead log was replaced",
        facts: [("log.from", "\(from)"), ("log.to", "\(to)")])
    case .cureFailed(let step, let detail):
      Line(
        level: .warning, message: "the failed write-ahead log could not be replaced yet",
        facts: [("step", step), ("detail", detail)], pointsAtEngine: true)
    case .backgroundError(let detail):
      Line(
        level: .warning, message: "a flush or compaction failed", facts: [("detail", detail)],
        pointsAtEngine: true)
    case .quarantined(let spool, let id, let reason):
      Line(
        level: .warning, message: "a message was moved to quarantine",
        facts: [("spool", spool), ("id", id), ("reason", reason)])
    case .quarantineFull(let spool, let detail):
      Line(
        level: .error, message: "a quarantine is full and messages stay in their spool",
        facts: [("spool", spool), ("detail", detail)])
    case .quarantineCountPartial(let spool, let detail):
      Line(
        level: .error, message: "a part of a quarantine is damaged and not counted",
        facts: [("spool", spool), ("detail", detail)], pointsAtEngine: true)
    case .notQuarantined(let spool, let id, let detail):
      Line(
        level: .error, message: "a message could not be set aside and stays in its spool",
        facts: [("spool", spool), ("id", id), ("detail", detail)])
    case .enumerated(
      let spool, let count, let skipped, let ahead, let corrupt, let lostRanges, let error):
      Line(
        level: error != nil || corrupt > 0 || lostRanges > 0 ? .warning : .info,
        message: "a walk over a spool ended",
        facts: [
          ("spool", spool), ("count", "\(count)"), ("skipped", "\(skipped)"),
          ("ahead", "\(ahead)"), ("corrupt", "\(corrupt)"), ("lost_ranges", "\(lostRanges)"),
        ] + (error.map { [("detail", $0)] } ?? []))
    case .strayKeys(let spool, let count, let examples):
      Line(
        level: .warning, message: "a walk over a spool met keys that are no message's",
        facts: [
          ("spool", spool), ("count", "\(count)"), ("examples", examples.joined(separator: " ")),
        ])
    case .compacted(let spool, let before, let after):
      Line(
        level: .info, message: "a spool was compacted",
        facts: [("spool", spool), ("bytes.before", "\(before)"), ("bytes.after", "\(after)")])
    case .closed(let clean):
      Line(
        level: clean ? .info : .warning, message: "the store is closed",
        facts: [("clean", "\(clean)")])
    }
  }
}
