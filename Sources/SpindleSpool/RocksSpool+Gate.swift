public import SpindleStore

extension RocksSpool {
  /// What holds the spool's own gate shut, its last error and its counters, for operators and
  /// metrics; it may name files. The store's gate, which stops every spool, has its own:
  /// ``StoreHealth/status``.
  public var gateStatus: GateStatus { family.health.status }

  /// Shuts the gate at an operator's wish: stores and removes are refused, loads go on.
  ///
  /// - Parameter note: For people; it is told in ``gateStatus`` and in the log.
  public func shutGate(note: String) { family.health.shutForOperator(note: note) }

  /// Opens the spool's own gate, whatever shut it, once a probe has shown that the spool works; see
  /// ``Store/clearGate(of:)``.
  public func clearGate() async throws {
    try enter()
    defer { leave() }
    try await storage.clearGate(of: family)
  }
}
