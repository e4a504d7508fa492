/// Why a scan could not be done. Damage in a log is a finding, not an error.
package enum WALScanError: Error, Sendable, Hashable {
  package enum Operation: String, Sendable {
    case list, open, inspect, read
  }

  /// The system refused; `code` is its errno.
  case system(Operation, path: String, code: Int32)
  /// The file became shorter while it was read: the store is in use.
  case changedWhileRead(path: String)
}
