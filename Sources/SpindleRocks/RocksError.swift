internal import CRocksDB

/// A failed RocksDB call, classified by the fixed prefix of its status text.
public struct RocksError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The class of a status. The C API gives text only; the prefixes are RocksDB's own.
  public enum Kind: String, Sendable, CaseIterable {
    case corruption = "Corruption"
    case ioError = "IO error"
    /// Backpressure: a write with `no_slowdown`, or a read that would need the disk.
    case incomplete = "Result incomplete"
    case shutdown = "Shutdown in progress"
    case busy = "Resource busy"
    case timedOut = "Operation timed out"
    case aborted = "Operation aborted"
    case tryAgain = "Operation failed. Try again."
    case invalidArgument = "Invalid argument"
    case notSupported = "Not implemented"
    case notFound = "NotFound"
    /// The database was closed by its owner.
    case closed = "Closed"
    case other = ""
  }

  public let kind: Kind
  /// RocksDB's whole text.
  public let message: String

  public init(kind: Kind, message: String) {
    self.kind = kind
    self.message = message
  }

  /// Classifies a status text; an unknown prefix is `.other`.
  public init(message: String) {
    // Byte by byte: every read that finds nothing in memory comes here.
    let known = Kind.allCases.first { kind in
      kind != .other && message.utf8.starts(with: kind.rawValue.utf8)
    }
    self.init(kind: known ?? .other, message: message)
  }

  static let closed = RocksError(kind: .closed, message: "Closed: the database is closed")

  /// The disk, the quota or the space limit is full.
  public var isNoSpace: Bool {
    ["No space left on device", "Disk quota exceeded", "Space limit reached"]
      .contains { message.contains($0) }
  }

  /// Another process, or this one, holds the database's lock.
  public var isLocked: Bool {
    kind == .ioError && (message.contains("While lock file") || message.contains("lock hold by"))
  }

  public var description: String { message }
}

/// Runs a C call with an error slot that starts empty, and frees and throws what it put there.
@inline(__always)
func checked<Result>(
  _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
) throws(RocksError) -> Result {
  var text: UnsafeMutablePointer<CChar>? = nil
  let result = unsafe withUnsafeMutablePointer(to: &text) { unsafe body($0) }
  if let text = unsafe text { throw unsafe takeError(text) }
  return result
}

/// Turns an error text that RocksDB allocated into an error, and frees the text.
@inline(never)
private func takeError(_ text: UnsafeMutablePointer<CChar>) -> RocksError {
  defer { unsafe rocksdb_free(text) }
  return RocksError(message: unsafe String(cString: text))
}
