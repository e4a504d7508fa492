import Glibc
public import SpindleCore

/// A file operation that the operating system refused.
public struct IOFailure: Error, Sendable, CustomStringConvertible {
  /// What was tried, as a verb phrase: "open", "write to".
  public let operation: String
  public let path: String
  /// The operating system's number of the error.
  public let code: Int32

  public init(_ operation: String, path: String, errno code: Int32) {
    self.operation = operation
    self.path = path
    self.code = code
  }

  public var description: String {
    "cannot \(operation) \(path): \(unsafe String(cString: strerror(code)))"
  }

  /// The disk or the quota is full.
  public var isNoSpace: Bool { code == ENOSPC || code == EDQUOT }
  public var isNotFound: Bool { code == ENOENT }
  public var isNotDirectory: Bool { code == ENOTDIR }
  /// The name exists already.
  public var isTaken: Bool { code == EEXIST }

  /// The same as an error of the public API.
  public var spindleError: SpindleError {
    SpindleError(
      isNotFound ? .notFound : .io, description, path: path,
      reason: isNoSpace ? "disk_full" : nil)
  }
}
