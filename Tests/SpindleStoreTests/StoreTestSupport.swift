import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

extension Store {
  func put(
    _ family: StoreFamily, _ number: Int, _ durability: Durability = .buffered, bytes: Int = 64
  ) async throws {
    var batch = Batch()
    batch.put(family, key: numberedKey(number), value: numberedValue(number, bytes: bytes))
    try await commit(batch, durability: durability)
  }

  /// The numbers that a family holds; each value is checked.
  func numbers(_ family: StoreFamily) throws -> [Int] {
    var found: [Int] = []
    try scan(family) { key, value in
      let number = number(ofKey: copyBytes(key))
      let value = copyBytes(value)
      #expect(value == numberedValue(number, bytes: value.count))
      found.append(number)
      return true
    }
    return found
  }

  func flush(_ family: StoreFamily) async throws {
    try await blocking { try self.database.flush(family.columnFamily) }
  }
}

/// Runs a body that must throw a `SpindleError`, and gives the error.
@discardableResult
func refusal(
  _ location: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async -> SpindleError? {
  do {
    try await body()
    Issue.record("nothing was thrown", sourceLocation: location)
  } catch let error as SpindleError {
    return error
  } catch {
    Issue.record("thrown was \(error)", sourceLocation: location)
  }
  return nil
}

/// A store whose writer a test can hold between a write and its sync.
struct HeldStore {
  let store: Store
  let gate = SyncGate()

  init(
    at path: String, settings: StoreSettings = .small, clock: any StoreClock = SystemClock()
  ) async throws {
    var hooks = StoreHooks.manual
    hooks.beforeSync = { [gate] in gate.wait() }
    store = try await Store.small(at: path, settings: settings, clock: clock, hooks: hooks)
  }

  /// Holds the writer in the sync of a commit of this number; opening the gate frees it.
  func hold(with family: StoreFamily, _ number: Int) async throws -> Task<Void, any Error> {
    gate.shut()
    let store = store
    let blocker = Task { try await store.put(family, number, .synced) }
    try await eventually { try await store.get(family, key: numberedKey(number)) != nil }
    return blocker
  }
}
