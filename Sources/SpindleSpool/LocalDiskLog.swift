internal import Logging

/// Writes what a spool on files has to tell as log lines: constant text, and facts as metadata.
struct LocalDiskLog: Sendable {
  /// The most lines that one walk writes about entries that are no messages or damaged ones; the
  /// line of its end has the numbers of all.
  static let linesPerWalk = 16

  private let logger: Logger
  private let facts: Logger.Metadata

  /// - Parameter logger: nil stands for a logger with the label `spindle.spool`.
  init(_ logger: Logger?, spool: String, path: String) {
    self.logger = logger ?? Logger(label: "spindle.spool")
    facts = ["spindle.spool": "\(spool)", "spindle.spool.path": "\(path)"]
  }

  func write(_ level: Logger.Level, _ message: StaticString, _ facts: [(String, String)]) {
    var metadata = self.facts
    for (key, value) in facts { metadata["spindle." + key] = "\(value)" }
    logger.log(level: level, "\(message)", metadata: metadata)
  }
}
