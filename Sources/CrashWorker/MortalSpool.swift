import SpindleCore
import SpindleSpool
import Synchronization

/// A spool whose next change kills the process before it is made, once it was told so. Being no
/// `RocksSpool`, it shares no batch with another.
final class MortalSpool: QuarantiningSpool {
  private let spool: RocksSpool
  private let isDoomed = Atomic<Bool>(false)

  init(_ spool: RocksSpool) { self.spool = spool }

  func kill() { isDoomed.store(true, ordering: .releasing) }

  private func dieIfDoomed() { if isDoomed.load(ordering: .acquiring) { CrashWorker.die() } }

  func load(_ id: SpoolID) async throws -> Bytes { try await spool.load(id) }

  func remove(_ id: SpoolID) async throws {
    dieIfDoomed()
    try await spool.remove(id)
  }

  func store(
    _ id: SpoolID, _ data: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws {
    dieIfDoomed()
    try await spool.store(id, data, forceSync: forceSync, deadline: deadline)
  }

  func enumerate(
    into channel: SpoolEntryChannel, startTime: SpoolInstant
  ) throws -> SpoolEnumeration {
    try spool.enumerate(into: channel, startTime: startTime)
  }

  func shutdown() async throws { try await spool.shutdown() }
  func adviseLowMemory() async throws -> Int { try await spool.adviseLowMemory() }

  func quarantine(_ id: SpoolID, reason: String) async throws {
    dieIfDoomed()
    try await spool.quarantine(id, reason: reason)
  }

  func quarantined(after id: SpoolID?, limit: Int) async throws -> [QuarantinedMessage] {
    try await spool.quarantined(after: id, limit: limit)
  }

  func restoreQuarantined(_ id: SpoolID) async throws {
    dieIfDoomed()
    try await spool.restoreQuarantined(id)
  }

  func purgeQuarantined(_ id: SpoolID) async throws { try await spool.purgeQuarantined(id) }
}
