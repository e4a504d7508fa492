import Spindle
import SpindleCore
import SpindlePipeline
import SpindleSpool
import SpindleStore

extension SpoolSettings {
  /// How the commands open a spool: with the quota that its application recorded.
  static var ofTool: SpoolSettings {
    var settings = SpoolSettings()
    settings.usesRecordedQuota = true
    return settings
  }
}

/// Opens a store for reading, runs the body, and closes it whatever happens.
///
/// - Parameter isFirst: Whether the command has not opened it before, and so has said nothing yet.
func withReader(
  _ path: String, isFirst: Bool = true, _ body: (Store) async throws -> Void
) async throws {
  let store = try await Store.open(at: path, access: .reader)
  if isFirst, case .following(let pid) = store.view {
    let owner = pid.map { "process \($0)" } ?? "another process"
    Output.problem("note: \(owner) is running this store; what is read moves with it")
  }
  do {
    try await body(store)
  } catch {
    try? await store.close()
    throw error
  }
  try await store.close()
}

/// Opens a store for writing, runs the body, and closes it whatever happens. The body's error wins
/// over one of the close.
func withSpindle(
  _ path: String, createsIfMissing: Bool, _ body: (Spindle) async throws -> Void
) async throws {
  var settings = Settings()
  settings.store.createsIfMissing = createsIfMissing
  settings.spools[IngestPipeline.name] = .ofTool
  let spindle = try await Spindle.open(at: path, settings: settings)
  do {
    try await body(spindle)
  } catch {
    try? await spindle.close()
    throw error
  }
  try await spindle.close()
}

/// Runs a change of a spool. A refusal by a shut gate, whose own words are for strangers, is told
/// with what shut it and where.
func explainingGate(of spool: RocksSpool, _ body: () async throws -> Void) async throws {
  do {
    try await body()
  } catch let error as SpindleError where error.isGateRefusal {
    let causes =
      spool.gateStatus.causes + (spool.quarantineGateStatus?.causes ?? [])
      + spool.storage.health.status.causes
    let details = causes.map(\.detail).joined(separator: "; ")
    guard !details.isEmpty else { throw error }
    throw SpindleError(
      error.kind, "\(error.message): \(details), in \(spool.storage.path)",
      path: spool.storage.path, reason: error.reason)
  }
}
