internal import SpindleCore
internal import SpindleIO

extension LocalDiskSpool {
  /// Refreshes the spool's gauges at once; the spool does so by itself, see
  /// ``LocalDiskSettings/probeInterval``. Does nothing in a process that had no metrics backend
  /// when the spool was opened.
  ///
  /// - Throws: ``SpindleError``: `closed`, `overloaded` while too many calls wait, or `io`.
  public func publishMetrics() async throws {
    guard let metrics else { return }
    // Not this call itself.
    let calls = calls.underWay
    var values = try await blocking { [self] in
      try withSpindleErrors {
        var values = SpoolGauge.values(of: try DiskSpace(of: path))
        values[.quarantined] = Double(try quarantineUsageBlocking().entries)
        return values
      }
    }
    values[.calls] = Double(calls)
    values[.refuses] = gate.isShut ? 1 : 0
    metrics.publish(values)
  }

  /// Runs a store, load or remove, and measures it. What a closed spool refuses is not counted.
  func measured<Value>(
    _ operation: SpoolOperation, bytes: (Value) -> Int, _ body: () async throws -> Value
  ) async throws -> Value {
    try checkOpen()
    guard let metrics else { return try await body() }
    let start = metrics.time
    do {
      let value = try await body()
      metrics.succeeded(operation, bytes: bytes(value), after: metrics.time - start)
      return value
    } catch {
      switch (error as? SpindleError)?.kind {
      case .closed?: break
      case .notFound?: metrics.succeeded(operation, bytes: nil, after: metrics.time - start)
      default: metrics.failed(operation, error, after: metrics.time - start)
      }
      throw error
    }
  }
}
