public import SpindleCore
public import SpindleOpLog
public import SpindleStore

/// A backend as ``OpLogConformance`` sees it: a kind of tracker, stores for it, and what can be
/// done to a store from outside.
///
/// Only the tracker can be replaced: the store below it is Spindle's ``Store`` always, which holds
/// the state, the clock's register and the commits, and into whose batches the tracker writes.
///
/// Some promises are about what not every backend has. Each has a requirement here whose default is
/// that it is not offered; the suite names the scenarios that it could not run therefore.
public protocol OpLogEnvironment: Sendable {
  associatedtype Tracker: LogTracker<ConformanceOp>

  /// Opens the store of a name, and makes it the first time.
  func open(_ name: String) async throws -> Store

  /// Whether the tracker heeds ``OpLogSettings/sqlCompatible``. The default is false.
  var isSQLCompatible: Bool { get }

  /// Removes a prefix with all that it holds; nobody has it open. The default does nothing.
  ///
  /// - Returns: Whether that can be done.
  func drop(prefix: String, in store: Store) async throws -> Bool

  /// Changes a byte of an entry's stored bytes, so that they are no entry any more. The default
  /// does nothing.
  ///
  /// - Returns: Whether there are such bytes.
  func damage(_ peer: PeerID, _ index: UInt64, prefix: String, in store: Store) async throws -> Bool
}

extension OpLogEnvironment {
  public var isSQLCompatible: Bool { false }

  public func drop(prefix: String, in store: Store) async throws -> Bool { false }

  public func damage(
    _ peer: PeerID, _ index: UInt64, prefix: String, in store: Store
  ) async throws -> Bool { false }
}
