public import SpindleCore

/// Turns the entries of a log into state: writes in `data:<prefix>` that commit together with the
/// entry they come from.
///
/// Each entry goes through three phases. ``prepare(_:_:_:)`` reads and decides,
/// ``apply(_:_:_:into:)`` writes, ``postApply(_:)`` runs after the commit and makes the event.
/// Entries are prepared one after another, each seeing the writes of those before it, so state that
/// was read is still true when it is written. A reducer holds no state of single entries: when a
/// commit fails, nothing but the store tells what is.
///
/// Replicas of a log reach the same state if the outcome depends on the set of entries only, not on
/// the order in which those of different peers come: compare timestamps and values, never take the
/// first.
public protocol Reducer: Sendable {
  associatedtype Op: Sendable
  /// What ``prepare(_:_:_:)`` found out for ``apply(_:_:_:into:)``.
  associatedtype ReadState: Sendable
  /// What ``apply(_:_:_:into:)`` tells ``postApply(_:)``. Dropped when the commit fails.
  associatedtype ApplyState: Sendable
  /// What others learn of an entry that was applied.
  associatedtype Event: Sendable

  /// What the state is called in the log, at most 64 bytes and never to be changed, so that no
  /// other reducer with a name is run over it and tools know which one to use. The default, nil,
  /// says nothing.
  static var stateName: String? { get }

  /// Reads what the entry's writes depend on. Must not write anything that depends on the entry,
  /// and must not assume that the entry is applied at all.
  ///
  /// - Parameter view: The state with everything before this entry in it.
  /// - Throws: Anything; the entry is not recorded then, and can be offered again.
  func prepare(
    _ op: Op, _ context: OpContext, _ view: ReducerView
  ) async throws -> PrepareOutcome<ReadState>

  /// Adds the entry's writes. Does not read: what it needs is in `state`.
  ///
  /// - Throws: Anything; the entry is not recorded then, and can be offered again.
  func apply(
    _ op: Op, _ context: OpContext, _ state: ReadState, into batch: inout ReducerBatch
  ) throws -> ApplyState

  /// Makes the event of an entry that was committed; nil for none. Runs in the order of the
  /// commits. An error is counted and costs the event, never the entry.
  func postApply(_ state: ApplyState) throws -> Event?
}

extension Reducer {
  public static var stateName: String? { nil }
}

/// A reducer for which an entry that is applied twice is the same as once, so that the tracker
/// beside it need not refuse repeats.
public protocol IdempotentReducer: Reducer {}

/// Which entry a reducer works on.
public struct OpContext: Sendable, Hashable {
  public var peer: PeerID
  public var index: UInt64
  public var timestamp: Timestamp
  /// Whom the server vouched for; without effect on merging.
  public var serverUser: UserID?

  public init(peer: PeerID, index: UInt64, timestamp: Timestamp, serverUser: UserID? = nil) {
    self.peer = peer
    self.index = index
    self.timestamp = timestamp
    self.serverUser = serverUser
  }
}

/// What a reducer decides about an entry.
public enum PrepareOutcome<ReadState: Sendable>: Sendable {
  /// Record the entry and apply it.
  case proceed(ReadState)
  /// Record the entry and apply nothing: an op that is invalid everywhere and for ever, which must
  /// not hold up its peer.
  case skip(reason: String)
  /// Do not take the entry, and so none of its peer behind it.
  case block(reason: String, isRetryable: Bool)
}
