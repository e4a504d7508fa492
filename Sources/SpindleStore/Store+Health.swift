internal import SpindleCore
internal import SpindleIO

extension Store {
  /// Looks at free space, background errors and the log at once, and tries to heal; the store does
  /// so by itself every ``StoreSettings/healthInterval``.
  public func checkHealth() async throws {
    guard let monitor else { return }
    try await pool.run { monitor.tick() }
  }

  /// Tries at once to replace a failed log and to take writes again.
  ///
  /// - Throws: ``SpindleError`` with `unavailable` and what stands in the way.
  public func heal() async throws {
    guard let monitor else { throw Self.readOnly(path) }
    let failure = try await pool.run { monitor.attemptCure() }
    if let failure { throw failure }
  }

  /// Opens a part's gate, whatever shut it, at an operator's wish.
  ///
  /// First a probe is written, synced, read and deleted, and the table files that errors had named
  /// are read again with their checksums.
  ///
  /// - Throws: ``SpindleError``: `corruption` or `io` when the probe found that the part still
  ///   fails; `unavailable` when the store's gate is shut, RocksDB is stalled, or an error came
  ///   meanwhile. The gate is as it was then.
  /// - Complexity: O(bytes of those table files), or of the part where no error named a file.
  public func clearGate(of family: StoreFamily) async throws {
    guard let monitor else { throw Self.readOnly(path) }
    try checkOpen()
    try checkOrigin(family)
    try await pool.run { try monitor.clearGate(of: family) }
  }
}

extension StoreHealth {
  /// Whether the log is in a state that must not be called clean.
  var isDamaged: Bool {
    isLatched(.logFailed) || isLatched(.logSyncFailed) || isLatched(.backgroundError)
  }
}
