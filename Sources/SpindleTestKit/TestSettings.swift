internal import Glibc
internal import Logging
package import SpindleCore
internal import SpindleIO
internal import SpindleRocks
package import SpindleStore

extension StoreSettings {
  /// The defaults without log lines.
  package static var quiet: StoreSettings {
    var settings = StoreSettings()
    settings.logger = Logger(label: "spindle.test") { _ in SwiftLogNoOpLogHandler() }
    return settings
  }

  /// A store that costs little and is quiet: small buffers, no ballast, no floor of free space, no
  /// log lines.
  package static var small: StoreSettings {
    var settings = StoreSettings.quiet
    settings.database.writeBufferBytes = 4 << 20
    settings.database.blockCacheBytes = 1 << 20
    settings.database.writeAheadLogBytes = 16 << 20
    settings.capacityFloor = .none
    settings.ballastBytes = 0
    settings.blockingThreads = 2
    settings.healthInterval = .milliseconds(50)
    return settings
  }
}

extension StoreHooks {
  /// Nothing happens behind the test's back: it calls `checkHealth` and `heal` itself.
  package static var manual: StoreHooks {
    var hooks = StoreHooks()
    hooks.disablesMonitorThread = true
    return hooks
  }
}

/// Holds whoever syncs the log, so that what is committed meanwhile waits in the group lane.
public final class SyncGate: Sendable {
  private let isShut = Flag()

  public init() {}
  public func shut() { isShut.set() }
  public func open() { isShut.clear() }
  public var isOpen: Bool { !isShut.isSet }

  /// For ``StoreHooks/beforeSync``: blocks the calling thread while the gate is shut.
  public func wait() { while isShut.isSet { usleep(200) } }
}

extension Store {
  /// Opens a small store without the thread that watches it.
  package static func small(
    at path: String, settings: StoreSettings = .small, clock: any StoreClock = SystemClock(),
    hooks: StoreHooks = .manual
  ) async throws -> Store {
    try await Store.open(at: path, settings: settings, access: .owner, clock: clock, hooks: hooks)
  }

  /// Everything that families hold: keys and values in turn.
  package func content(of families: [String]) async throws -> [[UInt8]] {
    var content: [[UInt8]] = []
    for name in families {
      let family = try await family(name)
      content += try await blocking {
        var found: [[UInt8]] = []
        try self.scan(family) { key, value in
          found += [copyBytes(key), copyBytes(value)]
          return true
        }
        return found
      }
    }
    return content
  }

  /// Copies the directory as a killed process leaves it, at a moment when no file is being made.
  package func copyAsKilled(to target: String) async throws {
    for _ in 0..<100 {
      // A database that failed for good has a flush pending for ever.
      _ = try? await blocking {
        try self.database.waitForCompaction(idleMilliseconds: 5, timeoutMilliseconds: 500)
      }
      let before = try Files.names(in: path + "/rocks")
      if (try? copyFolder(path, to: target)) != nil, try Files.names(in: path + "/rocks") == before
      {
        return
      }
      TemporaryDirectory.remove(target)
    }
    throw TestKitError("the files of \(path) never came to rest")
  }
}

/// The key of a number, in the order of the numbers.
public func numberedKey(_ number: Int) -> [UInt8] {
  (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * (7 - $0))) }
}

/// A value that belongs to a number and to no other.
public func numberedValue(_ number: Int, bytes: Int = 64) -> [UInt8] {
  var value = Array("value \(number) ".utf8)
  while value.count < bytes { value.append(UInt8(truncatingIfNeeded: number &* 31 &+ value.count)) }
  return value
}

/// The number of a key that ``numberedKey(_:)`` made.
public func number(ofKey key: some Sequence<UInt8>) -> Int {
  key.reduce(0) { $0 << 8 | Int($1) }
}
