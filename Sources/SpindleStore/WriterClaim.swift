package import SpindleCore
internal import Synchronization

/// The right to write one part of a store, held by one object of this process at a time: two would
/// each keep counts, cursors or claims of their own. Given back when it goes out of scope.
package final class WriterClaim: Sendable {
  private struct Key: Hashable {
    var store: ObjectIdentifier
    var part: String
  }

  private static let taken = Mutex<Set<Key>>([])
  private let key: Key
  // The identity of a store that is gone could be given to another.
  private let store: Store

  /// - Parameters:
  ///   - part: What is claimed: the name of its column family.
  ///   - refusal: Thrown when another object has it.
  package init(
    _ store: Store, part: String, refusal: @autoclosure () -> SpindleError
  ) throws(SpindleError) {
    let key = Key(store: ObjectIdentifier(store), part: part)
    // Before the properties are set: an object that is whole when its making fails is
    // deinitialized, and would give back what another one holds.
    guard Self.taken.withLock({ $0.insert(key).inserted }) else { throw refusal() }
    self.key = key
    self.store = store
  }

  deinit { _ = Self.taken.withLock { [key] in $0.remove(key) } }
}
