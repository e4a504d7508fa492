internal import SpindleCore
package import SpindleStore
internal import Synchronization

/// The right to write the log of one prefix, held by one writer at a time: two would each keep
/// cursors and a clock of their own. Given back when it goes out of scope.
package final class PrefixClaim: Sendable {
  private struct Key: Hashable {
    var store: ObjectIdentifier
    var prefix: String
  }

  private static let taken = Mutex<Set<Key>>([])
  private let key: Key
  // The identity of a store that is gone could be given to another.
  private let store: Store

  /// - Throws: ``SpindleError`` with `conflict`, reason `prefix_in_use`.
  package init(_ store: Store, prefix: String) throws {
    self.store = store
    key = Key(store: ObjectIdentifier(store), prefix: prefix)
    guard Self.taken.withLock({ [key] in $0.insert(key).inserted }) else {
      throw SpindleError(
        .conflict, "the op-log \(printable(prefix)) has a writer in this store already",
        reason: "prefix_in_use")
    }
  }

  deinit { _ = Self.taken.withLock { [key] in $0.remove(key) } }
}
