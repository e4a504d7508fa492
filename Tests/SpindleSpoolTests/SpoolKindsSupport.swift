import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// What a test asks of a spool of either kind.
struct SpoolWish {
  var quota = SpoolQuota()
  var quarantineQuota = SpoolQuota.quarantine
  var compression = PayloadCompression.none
  var floor = StoreSettings.CapacityFloor.none
  /// Stands in for the file system's answer; nil is that itself.
  var space: (@Sendable () -> DiskSpace?)?
  let clock = ManualClock()
  let log = LogCapture()
}

/// A spool of either kind, on a clock that the test moves, with what is not in the protocol.
struct AnySpool {
  let backend: Backend
  let spool: any QuarantiningSpool
  let wish: SpoolWish

  var usage: SpoolUsage? {
    (spool as? RocksSpool)?.usage ?? (spool as? LocalDiskSpool)?.usage
  }

  var gateStatus: GateStatus {
    switch spool {
    case let spool as RocksSpool:
      spool.gateStatus.isShut ? spool.gateStatus : spool.storage.health.status
    case let spool as LocalDiskSpool: spool.gateStatus
    default: GateStatus()
    }
  }

  var quarantineUsage: SpoolUsage {
    get async throws {
      if let spool = spool as? RocksSpool { return try await spool.quarantineUsage() }
      return try await #require(spool as? LocalDiskSpool).quarantineUsage()
    }
  }

  func publishMetrics() async throws {
    try await (spool as? RocksSpool)?.publishMetrics()
    try await (spool as? LocalDiskSpool)?.publishMetrics()
  }

  /// Lets the time pass after which a spool looks at its disk.
  func lookAtDisk() async throws {
    wish.clock.advance(by: .seconds(5))
    try await (spool as? RocksSpool)?.storage.checkHealth()
    await (spool as? LocalDiskSpool)?.heal()
  }
}

extension Backend {
  /// Bytes of a stored message besides its payload: key and header.
  var overhead: UInt64 {
    UInt64(16 + (self == .rocks ? SpoolRecord.headerBytes : LocalDiskRecord.headerBytes))
  }

  /// Opens a spool `main` in a folder of the case for the body and closes it.
  func withSpool(
    _ wish: SpoolWish, at name: String = "spool", _ body: (AnySpool) async throws -> Void
  ) async throws {
    let path = try TestDirectory.path(name)
    switch self {
    case .rocks:
      var settings = StoreSettings.small
      settings.capacityFloor = wish.floor
      settings.logger = wish.log.logger
      var hooks = StoreHooks.manual
      hooks.diskSpace = wish.space
      let store = try await Store.small(
        at: path, settings: settings, clock: wish.clock, hooks: hooks)
      var spoolSettings = SpoolSettings()
      spoolSettings.quota = wish.quota
      spoolSettings.quarantineQuota = wish.quarantineQuota
      spoolSettings.compression = wish.compression
      do {
        let spool = try await RocksSpool(store: store, name: "main", settings: spoolSettings)
        try await body(AnySpool(backend: self, spool: spool, wish: wish))
        try await store.close()
      } catch {
        try? await store.close()
        throw error
      }
    case .localDisk:
      var settings = LocalDiskSettings()
      settings.name = "main"
      settings.quota = wish.quota
      settings.quarantineQuota = wish.quarantineQuota
      settings.compression = wish.compression
      settings.capacityFloor = wish.floor
      settings.logger = wish.log.logger
      var hooks = LocalDiskHooks()
      hooks.diskSpace = wish.space
      let spool = try LocalDiskSpool(
        path: path, settings: settings, clock: wish.clock, hooks: hooks)
      do {
        try await body(AnySpool(backend: self, spool: spool, wish: wish))
        try await spool.shutdown()
      } catch {
        try? await spool.shutdown()
        throw error
      }
    }
  }
}

/// A file system's answer that a test sets.
final class SharedSpace: Sendable {
  private let space: Mutex<DiskSpace?>
  init(_ space: DiskSpace) { self.space = Mutex(space) }
  var value: DiskSpace? {
    get { space.withLock { $0 } }
    set { space.withLock { $0 = newValue } }
  }
}

/// A disk of 1 GB with 100,000 inodes, half of them free.
func disk(free: UInt64, inodes: UInt64 = 50_000, of total: UInt64 = 100_000) -> DiskSpace {
  DiskSpace(
    freeBytes: free, totalBytes: 1_000_000_000, freeInodes: inodes, totalInodes: total)
}
