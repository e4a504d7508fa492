import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// A wall clock that stands where a test puts it.
final class ManualWall: StoreClock {
  private let milliseconds: Atomic<UInt64>
  init(_ start: UInt64 = 1_700_000_000_000) { milliseconds = Atomic(start) }

  var now: ContinuousClock.Instant { ContinuousClock.now }
  var wallMilliseconds: UInt64 { milliseconds.load(ordering: .relaxed) }
  func set(_ value: UInt64) { milliseconds.store(value, ordering: .relaxed) }
  func sleep(until instant: ContinuousClock.Instant) async throws {
    try await Task.sleep(until: instant, clock: .continuous)
  }
}

/// A count that tasks and threads share.
final class Tally: Sendable {
  private let value = Atomic<Int>(0)

  var count: Int { value.load(ordering: .acquiring) }
  func increment() { value.add(1, ordering: .releasing) }
}

/// The directory of one test's store, removed at the end.
struct TestPlace {
  let path: String
  let wall = ManualWall()

  func open(_ access: Store.Access = .owner) async throws -> Store {
    var settings = StoreSettings.quiet
    settings.capacityFloor = .none
    settings.ballastBytes = 0
    return try await Store.open(at: path, settings: settings, access: access, clock: wall)
  }

  /// Opens the store and a spool in it, runs the body, closes the store.
  func withSpool<Result>(
    _ name: String = "main", _ access: Store.Access = .owner,
    _ body: (RocksSpool) async throws -> Result
  ) async throws -> Result {
    let store = try await open(access)
    do {
      let result = try await body(try await RocksSpool(store: store, name: name))
      try await store.close()
      return result
    } catch {
      try? await store.close()
      throw error
    }
  }
}

func withPlace(_ body: (TestPlace) async throws -> Void) async throws {
  let directory = TemporaryDirectory.make(prefix: "spindle-spool")
  defer { TemporaryDirectory.remove(directory) }
  try await body(TestPlace(path: directory + "/store"))
}

/// Opens a new store with a spool for the body.
func withNewSpool(_ body: (RocksSpool) async throws -> Void) async throws {
  try await withPlace { place in try await place.withSpool { try await body($0) } }
}

/// Checks that a call throws the error of a kind, and gives its message.
@discardableResult
func expectError(
  _ kind: SpindleError.Kind, location: SourceLocation = #_sourceLocation,
  _ body: () async throws -> Void
) async -> String {
  do {
    try await body()
    Issue.record("expected an error of kind \(kind)", sourceLocation: location)
    return ""
  } catch let error as SpindleError {
    #expect(error.kind == kind, "\(error.message)", sourceLocation: location)
    return error.message
  } catch {
    Issue.record("unexpected error \(error)", sourceLocation: location)
    return ""
  }
}

extension Spool {
  func put(_ id: SpoolID, _ data: Bytes, forceSync: Bool = false) async throws {
    try await store(id, data, forceSync: forceSync, deadline: nil)
  }

  /// Everything an enumeration gives, and its outcome.
  func all(
    capacity: Int = 32, before start: SpoolInstant = SpoolInstant(ticks: .max)
  ) async throws -> (entries: [SpoolEntry], outcome: SpoolEnumeration.Outcome) {
    let channel = SpoolEntryChannel(capacity: capacity)
    let walk = try enumerate(into: channel, startTime: start)
    var entries: [SpoolEntry] = []
    for await entry in channel { entries.append(entry) }
    return (entries, await walk.finished())
  }

  /// The ids of an enumeration without damage.
  func allIDs() async throws -> [SpoolID] {
    let (entries, outcome) = try await all()
    #expect(outcome.error == nil)
    #expect(outcome.corrupt == 0)
    return entries.compactMap { if case .item(let id, _) = $0 { id } else { nil } }
  }
}

extension RocksSpool {
  /// Puts bytes under any key, past the spool's own record.
  func putRaw(_ key: [UInt8], _ value: [UInt8]) async throws {
    var batch = Batch()
    batch.put(family, key: key, value: value)
    try await storage.commit(batch, durability: .buffered)
  }
}

/// An id of version 7 at a moment.
func id(atMilliseconds milliseconds: UInt64, _ number: UInt64 = 0) -> SpoolID {
  SpoolID(UUIDValue(high: milliseconds << 16 | 0x7000, low: 1 << 63 | number))!
}

/// Mounts a file system in memory in the case's folder for the body.
func withSmallDisk(bytes: Int, _ body: (SmallDisk) async throws -> Void) async throws {
  let disk = try await SmallDisk.mount(at: try TestDirectory.path("disk"), bytes: bytes)
  do {
    try await body(disk)
  } catch {
    try? await disk.unmount()
    throw error
  }
  try await disk.unmount()
}
