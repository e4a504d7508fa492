internal import SpindleCore
internal import Synchronization

/// What the one who writes most of a guarded family knows of it, so that its commits need not read
/// again what it wrote itself.
///
/// Every batch on a guarded family goes through the lock that orders commits, and each that was
/// written, or may have been, moves the family's *state* by one under that lock. The memory is
/// *current* while it has followed every move since ``begin()``. It follows a batch of its holder
/// (``Batch/rely(on:)``) and one that says that it changes nothing of what the holder knows
/// (``Batch/keepMemory(of:)``); any other batch leaves it behind, and from then on every commit
/// reads as if there were no memory, until the holder has read anew and begun again. So:
///
/// - *A refused or stalled commit* wrote nothing and moves nothing.
/// - *A commit that failed* may be stored: the state moves, and the memory does not follow.
/// - *Another handle on the same store*, with or without a claim of its own, commits through the
///   same lock; whether it wrote what the holder knows is not asked.
/// - *Other processes* cannot write to the store. A store that is opened again has families and
///   memories of its own, which know nothing; so after a crash, and after a lost database.
/// - *The gate's probe* writes past the lock, to the default family or to a spool alone.
package final class FamilyMemory: Sendable {
  private struct Content {
    var state: UInt64 = 0
    /// The state that the holder knows.
    var known: UInt64?
    /// The last value raised by a batch that the memory followed. Not the batch's own record of it,
    /// which holds the family that holds this.
    var raised: (key: [UInt8], value: Bytes)?
  }
  private let content = Mutex(Content())

  init() {}

  /// Begins again at the present state. The holder reads what it relies on after this call, so that
  /// a commit in between is seen or leaves the memory behind.
  package func begin() {
    content.withLock { content in
      content.known = content.state
      content.raised = nil
    }
  }

  /// Whether nothing but what the memory followed was committed since ``begin()``. Certain only
  /// under the lock that orders commits.
  package var isCurrent: Bool { content.withLock { $0.known == $0.state } }

  /// What a key was raised to; nil when that is not known.
  func value(raised key: [UInt8]) -> Bytes? {
    content.withLock { content in
      guard content.known == content.state, let raised = content.raised, raised.key == key else {
        return nil
      }
      return raised.value
    }
  }

  /// Moves the state.
  ///
  /// - Parameters:
  ///   - follows: Whether the memory goes along, if it was current.
  ///   - raised: A value that the batch raised.
  func move(follows: Bool, raised: Batch.Raise?) {
    content.withLock { content in
      let isCurrent = content.known == content.state
      content.state += 1
      guard follows, isCurrent else { return }
      content.known = content.state
      if let raised { content.raised = (raised.key, raised.value) }
    }
  }
}
