import SpindleCore
import SpindleSpool
import Synchronization

/// A spool in front of another that fails or waits where a test says so. It shares no batch with
/// another spool.
final class FaultySpool: QuarantiningSpool {
  enum Call: Hashable { case load, store, remove, quarantine, restore, purge, look, lowMemory }
  typealias Hook = @Sendable (SpoolID) async throws -> Void

  let spool: any QuarantiningSpool
  private let before = Mutex<[Call: Hook]>([:])
  private let after = Mutex<[Call: Hook]>([:])
  private let reason = Mutex<StaticString?>(nil)

  init(_ spool: any QuarantiningSpool) { self.spool = spool }

  /// Runs a hook before each such call, whose error is the call's; nil takes it away.
  func before(_ call: Call, _ hook: Hook?) { before.withLock { $0[call] = hook } }
  /// Runs a hook after each such call that succeeded.
  func after(_ call: Call, _ hook: Hook?) { after.withLock { $0[call] = hook } }

  /// Lets a kind of call fail before it does anything.
  func fail(_ calls: Call...) {
    for call in calls {
      before(call) { _ in throw SpindleError(.unavailable, "a test refuses", reason: "test") }
    }
  }

  /// Lets all calls through again.
  func heal() {
    before.withLock { $0 = [:] }
    after.withLock { $0 = [:] }
  }

  func setUnhealthy(_ text: StaticString?) { reason.withLock { $0 = text } }

  private func run<Result>(
    _ call: Call, _ id: SpoolID, _ body: () async throws -> Result
  ) async throws -> Result {
    try await before.withLock { $0[call] }?(id)
    let result = try await body()
    try await after.withLock { $0[call] }?(id)
    return result
  }

  // MARK: Spool

  func load(_ id: SpoolID) async throws -> Bytes {
    try await run(.load, id) { try await spool.load(id) }
  }
  func remove(_ id: SpoolID) async throws {
    try await run(.remove, id) { try await spool.remove(id) }
  }
  func store(
    _ id: SpoolID, _ data: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws {
    try await run(.store, id) {
      try await spool.store(id, data, forceSync: forceSync, deadline: deadline)
    }
  }
  func enumerate(
    into channel: SpoolEntryChannel, startTime: SpoolInstant
  ) throws -> SpoolEnumeration {
    try spool.enumerate(into: channel, startTime: startTime)
  }
  func cleanup() async throws { try await spool.cleanup() }
  func shutdown() async throws { try await spool.shutdown() }
  func adviseLowMemory() async throws -> Int {
    try await run(.lowMemory, SpoolID(UUIDValue(high: 0x7000, low: 1 << 63))!) {
      try await spool.adviseLowMemory()
    }
  }
  func compact() async throws { try await spool.compact() }
  var unhealthyReason: StaticString? { reason.withLock { $0 } }

  func quarantine(_ id: SpoolID, reason: String) async throws {
    try await run(.quarantine, id) { try await spool.quarantine(id, reason: reason) }
  }
  func quarantined(after id: SpoolID?, limit: Int) async throws -> [QuarantinedMessage] {
    try await spool.quarantined(after: id, limit: limit)
  }
  func restoreQuarantined(_ id: SpoolID) async throws {
    try await run(.restore, id) { try await spool.restoreQuarantined(id) }
  }
  func purgeQuarantined(_ id: SpoolID) async throws {
    try await run(.purge, id) { try await spool.purgeQuarantined(id) }
  }
  func isQuarantined(_ id: SpoolID) async throws -> Bool {
    try await run(.look, id) { try await spool.isQuarantined(id) }
  }
}
