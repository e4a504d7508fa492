import SpindleCore
import SpindleIO
import SpindleOpLog
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

  /// Opens the store, runs the body, closes the store.
  func withStore<Result>(
    _ access: Store.Access = .owner, _ body: (Store) async throws -> Result
  ) async throws -> Result {
    let store = try await open(access)
    do {
      let result = try await body(store)
      try await store.close()
      return result
    } catch {
      try? await store.close()
      throw error
    }
  }
}

func withPlace(_ body: (TestPlace) async throws -> Void) async throws {
  let directory = TemporaryDirectory.make(prefix: "spindle-oplog")
  defer { TemporaryDirectory.remove(directory) }
  try await body(TestPlace(path: directory + "/store"))
}

/// An op of any parts; tag 9 is not known when it is read back.
struct Note: IndexableOp, Equatable {
  var tag: UInt8 = 1
  var key: [UInt8]? = []
  var value: [UInt8]? = []

  init(_ text: String, tag: UInt8 = 1, key: [UInt8]? = [7]) {
    self.tag = tag
    self.key = key
    value = Array(text.utf8)
  }

  init(tag: UInt8, key: [UInt8]?, value: [UInt8]?) {
    self.tag = tag
    self.key = key
    self.value = value
  }

  func toIndexEntry() throws(CodecError) -> IndexEntry {
    if value == Array("unwritable".utf8) { throw .invalid("the note is unwritable") }
    return IndexEntry(tag: tag, key: key, value: value)
  }

  static func fromIndexParts(
    tag: UInt8, key: [UInt8]?, value: [UInt8]?
  ) throws(CodecError) -> Note {
    if tag == 9 { throw .unknownTag(tag) }
    return Note(tag: tag, key: key, value: value)
  }
}

typealias Tracker = LogIndexTracker<Note>

func peer(_ number: UInt64) -> PeerID { PeerID(UUIDValue(high: 0, low: number)) }
let lastPeer = PeerID(UUIDValue(high: .max, low: .max))
let zeroPeer = peer(0)
let someUser = UserID(UUIDValue(high: 0x0011_2233_4455_6677, low: 0x8899_AABB_CCDD_EEFF))
let someHash = EntryHash(bytes: Array(1...32))!

extension LogIndexTracker where Op == Note {
  /// Commits one entry in a batch of its own.
  func add(
    _ store: Store, _ peer: PeerID, _ index: UInt64, _ op: Note = Note("x"),
    at timestamp: UInt64 = 5, user: UserID? = nil
  ) async throws {
    var batch = Batch()
    try trackOne(
      peer: peer, index: index, timestamp: Timestamp(packed: timestamp), serverUser: user, op: op,
      into: &batch)
    try await store.commit(batch, durability: .buffered)
  }

  func addMarker(_ store: Store, _ peer: PeerID, _ index: UInt64) async throws {
    var batch = Batch()
    try trackExpunged(peer: peer, index: index, hash: someHash, into: &batch)
    try await store.commit(batch, durability: .buffered)
  }
}

/// Checks that a call throws the error of a kind and reason, and gives its message.
@discardableResult
func expectError(
  _ kind: SpindleError.Kind, reason: String? = nil, location: SourceLocation = #_sourceLocation,
  _ body: () async throws -> Void
) async -> String {
  do {
    try await body()
    Issue.record("expected an error of kind \(kind)", sourceLocation: location)
    return ""
  } catch let error as SpindleError {
    #expect(error.kind == kind, "\(error.message)", sourceLocation: location)
    if let reason { #expect(error.reason == reason, sourceLocation: location) }
    return error.message
  } catch {
    Issue.record("unexpected error \(error)", sourceLocation: location)
    return ""
  }
}

/// Overwrites or removes a stored key, as damage would.
func damage(_ store: Store, _ prefix: String, key: [UInt8], value: [UInt8]?) async throws {
  let family = try await store.family("oplog:\(prefix)")
  var batch = Batch()
  if let value {
    batch.put(family, key: key, value: value)
  } else {
    batch.delete(family, key: key)
  }
  try await store.commit(batch, durability: .buffered)
}
