/// What a gate tells an operator, and what metrics read. A copy of one moment.
public struct GateStatus: Sendable, Equatable {
  /// One cause that holds a gate shut.
  public struct Cause: Sendable, Equatable {
    /// The fixed word for machines, as in ``SpindleError/reason``.
    public var reason: String
    /// For people, in the engine's own words: it may name files.
    public var detail: String
    /// Wall time in milliseconds since the Unix epoch.
    public var sinceMilliseconds: UInt64

    package init(reason: String, detail: String, sinceMilliseconds: UInt64) {
      self.reason = reason
      self.detail = detail
      self.sinceMilliseconds = sinceMilliseconds
    }
  }

  /// One error, as it was met.
  public struct LastError: Sendable, Equatable {
    /// The class of the error, as in ``GateStatus/errors``.
    public var kind: String
    public var detail: String
    /// Wall time in milliseconds since the Unix epoch.
    public var atMilliseconds: UInt64

    package init(kind: String, detail: String, atMilliseconds: UInt64) {
      self.kind = kind
      self.detail = detail
      self.atMilliseconds = atMilliseconds
    }
  }

  /// What holds the gate shut, the gravest first; empty while it is open.
  public var causes: [Cause] = []
  /// The newest error, whether or not it shut the gate.
  public var lastError: LastError?
  /// Errors that calls met, since the open, by class: `corruption`, `io_error`, `busy`, ...
  public var errors: [String: UInt64] = [:]
  /// Background work that failed, since the open.
  public var backgroundErrors: UInt64 = 0
  /// Writes that ran out of their time because RocksDB was stalled, since the open.
  public var backpressureTimeouts: UInt64 = 0
  /// How often the gate was shut, since the open, by reason.
  public var transitions: [String: UInt64] = [:]

  package init() {}

  public var isShut: Bool { !causes.isEmpty }
}
