public import SpindleStore

extension RocksSpool {
  /// What holds the spool's own gate shut, its last error and its counters, for operators and
  /// metrics; it may name files. The store's gate, which stops every spool, has its own:
  /// ``StoreHealth/status``.
  public var gateStatus: GateStatus { family.health.status }

  /// The same of the spool's quarantine, whose gate stops moves in and out of it; nil while there
  /// is no quarantine. Damage met by a read of one message in there shuts it; counts and lists do
  /// not.
  public var quarantineGateStatus: GateStatus? { quarantineFamily?.health.status }

  /// Shuts the gate at an operator's wish: stores and removes are refused, loads go on.
  ///
  /// - Parameter note: For people; it is told in ``gateStatus`` and in the log.
  public func shutGate(note: String) { family.health.shutForOperator(note: note) }

  /// Opens the spool's own gate, and that of its quarantine where it is shut, whatever shut them,
  /// once a probe has shown that they work; see ``Store/clearGate(of:)``.
  public func clearGate() async throws {
    try enter()
    defer { leave() }
    try await storage.clearGate(of: family)
    if let quarantine = quarantineFamily, quarantine.health.isShut {
      try await storage.clearGate(of: quarantine)
    }
  }
}
