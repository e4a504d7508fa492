internal import Synchronization

/// The open column families of a store. Bounded by the store's limit of families.
final class FamilyRegistry: Sendable {
  private let families = Mutex<[String: StoreFamily]>([:])

  func add(_ family: StoreFamily) { families.withLock { $0[family.name] = family } }

  subscript(name: String) -> StoreFamily? { families.withLock { $0[name] } }

  var names: [String] { families.withLock { $0.keys.sorted() } }

  var all: [StoreFamily] { families.withLock { Array($0.values) } }
}
