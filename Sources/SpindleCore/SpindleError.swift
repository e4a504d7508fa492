/// An error of Spindle's public API.
///
/// ``kind`` tells the caller what to do; ``message`` is one sentence for people (what, where, what
/// was expected) and is not API. Keys and payloads never appear in it.
public struct SpindleError: Error, Sendable, CustomStringConvertible {
  /// What went wrong, as the caller has to act on it. New kinds may be added.
  public struct Kind: Hashable, Sendable, CustomStringConvertible {
    public let description: String
    private init(_ description: String) { self.description = description }

    /// The store is busy; nothing was stored. Wait and try again.
    public static let overloaded = Kind("overloaded")
    /// The caller's own deadline passed before the write was accepted; nothing was stored.
    public static let deadlineExceeded = Kind("deadlineExceeded")
    /// The thing asked for does not exist.
    public static let notFound = Kind("notFound")
    /// What is stored differs from what the caller expected; nothing was stored.
    public static let conflict = Kind("conflict")
    /// A key that must be new exists already; nothing was stored.
    public static let uniqueViolation = Kind("uniqueViolation")
    /// The arguments or the input are wrong; the same call will fail again.
    public static let invalidArgument = Kind("invalidArgument")
    /// The payload is larger than the spool takes; nothing was stored.
    public static let tooLarge = Kind("tooLarge")
    /// The spool holds as much as it may; nothing was stored.
    public static let quotaExceeded = Kind("quotaExceeded")
    /// The store refuses for now: disk full, write-ahead log failed, health gate shut, or held by
    /// another process.
    public static let unavailable = Kind("unavailable")
    /// Stored bytes are damaged. The message says where and what.
    public static let corruption = Kind("corruption")
    /// The store or record was written by a newer version.
    public static let unsupportedFormat = Kind("unsupportedFormat")
    /// The store or the part was closed.
    public static let closed = Kind("closed")
    /// The operating system refused a file operation.
    public static let io = Kind("io")
  }

  public let kind: Kind
  /// One sentence for people; not API.
  public let message: String
  /// The file or directory concerned, where there is one.
  public let path: String?
  /// A fixed machine-readable detail, such as `disk_full`, `wal_failed` or the owner of a
  /// violated key (`oplog`).
  public let reason: String?
  /// Whether a shut gate refused a write before it was tried. Parts whose callers must not learn
  /// why say so in their own words.
  package var isGateRefusal = false

  public init(_ kind: Kind, _ message: String, path: String? = nil, reason: String? = nil) {
    self.kind = kind
    self.message = message
    self.path = path
    self.reason = reason
  }

  public var description: String { message }
}
