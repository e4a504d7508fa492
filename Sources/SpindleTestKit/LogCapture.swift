public import Logging
internal import Synchronization

/// Keeps the log lines of a store for a test to read.
public final class LogCapture: Sendable {
  /// One line: constant text and facts.
  public struct Line: Sendable, Equatable {
    public var level: Logger.Level
    public var message: String
    public var facts: [String: String]

    /// Everything that a plain log file would show.
    public var text: String { "\(message) \(facts.values.sorted().joined(separator: " "))" }
  }

  private struct Handler: LogHandler {
    let capture: LogCapture
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let facts = metadata.merging(event.metadata ?? [:]) { $1 }.mapValues { "\($0)" }
      capture.lines.withLock {
        $0.append(Line(level: event.level, message: "\(event.message)", facts: facts))
      }
    }
  }

  private let lines = Mutex<[Line]>([])

  public init() {}

  public var logger: Logger { Logger(label: "spindle.test") { _ in Handler(capture: self) } }

  /// The lines so far, of one level or of all.
  public func all(_ level: Logger.Level? = nil) -> [Line] {
    lines.withLock { $0 }.filter { level == nil || $0.level == level }
  }
}
