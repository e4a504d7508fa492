import SpindleCore
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// The setting `walSyncInterval`: what nobody asked to be synced is synced all the same.
@Suite(.temporaryDirectory) struct IntervalSyncTests {
  private func settings(_ interval: Duration?) -> StoreSettings {
    var settings = StoreSettings.small
    settings.walSyncInterval = interval
    return settings
  }

  /// Lets the time pass once the timer waits for it.
  private func pass(_ duration: Duration, on clock: ManualClock) async throws {
    try await eventually { clock.sleeperCount == 1 }
    clock.advance(by: duration)
  }

  @Test("A-X-3: with a sync interval, power loss costs what was written after the last one")
  func powerLossCostsAnIntervalAtMost() async throws {
    let path = try TestDirectory.path("store")
    let clock = ManualClock()
    let store = try await Store.small(
      at: path, settings: settings(.milliseconds(100)), clock: clock)
    let family = try await store.family("spool:a")
    for number in 0..<5 { try await store.put(family, number, .buffered) }
    try store.copyAsAfterPowerLoss(to: path + "-before")
    try await pass(.milliseconds(99), on: clock)
    #expect(store.commitSyncCount == 0)
    clock.advance(by: .milliseconds(1))
    try await eventually { store.commitSyncCount == 1 }
    for number in 5..<8 { try await store.put(family, number, .buffered) }
    try store.copyAsAfterPowerLoss(to: path + "-after")
    for (place, expected) in [(path + "-before", 0), (path + "-after", 5)] {
      let again = try await Store.small(at: place)
      #expect(try await again.numbers(again.family("spool:a")) == Array(0..<expected))
      try await again.close()
    }
    try await store.close()
  }

  @Test func nothingIsSyncedWhileNothingIsNew() async throws {
    let clock = ManualClock()
    let looks = Shared(0)
    var hooks = StoreHooks.manual
    hooks.afterIntervalSync = { looks.update { $0 += 1 } }
    let store = try await Store.small(
      at: TestDirectory.path("store"), settings: settings(.seconds(1)), clock: clock, hooks: hooks)
    let family = try await store.family("spool:a")
    // Each look has ended before the next write: one that meets a write half done syncs it, too.
    let look = { (count: Int) in
      for _ in 0..<count {
        let before = looks.value
        try await pass(.seconds(1), on: clock)
        try await eventually { looks.value == before + 1 }
      }
    }
    try await store.put(family, 0, .buffered)
    try await look(6)
    #expect(store.commitSyncCount == 1)
    // What a caller had synced is not new either.
    try await store.put(family, 1, .synced)
    try await look(5)
    #expect(store.commitSyncCount == 2)
    try await store.put(family, 2, .buffered)
    try await look(2)
    #expect(store.commitSyncCount == 3)
    try await store.close()
  }

  @Test func aFailedSyncShutsTheGateAsAnyOther() async throws {
    let path = try TestDirectory.path("store")
    let clock = ManualClock()
    let (looks, syncs) = (Shared(0), Shared(0))
    var hooks = StoreHooks.manual
    hooks.beforeSync = { syncs.update { $0 += 1 } }
    hooks.afterIntervalSync = { looks.update { $0 += 1 } }
    let store = try await Store.small(
      at: path, settings: settings(.seconds(1)), clock: clock, hooks: hooks)
    let family = try await store.family("spool:a")
    try await store.put(family, 0, .synced)
    try await store.put(family, 1, .buffered)
    store.guardian?.inject(.logSync, error: .io)
    try await pass(.seconds(1), on: clock)
    try await eventually { store.health.unhealthyReason != nil }
    #expect(store.health.status.causes.map(\.reason) == ["wal_sync_failed"])
    await #expect(throws: SpindleError.self) { try await store.put(family, 2, .buffered) }
    // No other is tried.
    try await eventually { looks.value == 1 }
    let count = syncs.value
    for look in 2...4 {
      try await pass(.seconds(1), on: clock)
      try await eventually { looks.value == look }
    }
    #expect(syncs.value == count)
    try? await store.close()
  }

  @Test func closingEndsTheTimer() async throws {
    let clock = ManualClock()
    let store = try await Store.small(
      at: TestDirectory.path("store"), settings: settings(.milliseconds(1)), clock: clock)
    try await eventually { clock.sleeperCount == 1 }
    try await store.close()
    try await eventually { clock.sleeperCount == 0 }
  }

  @Test func withoutTheSettingNothingIsSynced() async throws {
    let clock = ManualClock()
    let store = try await Store.small(
      at: TestDirectory.path("store"), settings: settings(nil), clock: clock)
    let family = try await store.family("spool:a")
    try await store.put(family, 0, .buffered)
    #expect(clock.sleeperCount == 0)
    #expect(store.commitSyncCount == 0)
    try await store.close()
  }

  @Test(
    arguments: [
      Duration.zero, .microseconds(999), .seconds(-1), .seconds(60) + .nanoseconds(1),
    ])
  func intervalsOutOfRangeAreRefused(interval: Duration) async throws {
    let path = try TestDirectory.path("store")
    do {
      _ = try await Store.small(at: path, settings: settings(interval))
      Issue.record("expected a refusal")
    } catch let error as SpindleError {
      #expect(error.kind == .invalidArgument)
      #expect(error.message.contains("walSyncInterval"))
    }
  }
}
