internal import SpindleCore
internal import SpindleStore

/// Until when a call waits that waits for more than its write: for the locks of its ids, the write,
/// and the write once more. One bound for all of it, from the beginning of the call.
struct SpoolCallLimit {
  let instant: ContinuousClock.Instant
  /// What the call throws when the time is over.
  let error: SpindleError
  private let policy: WritePolicy

  init(policy: WritePolicy, caller: ContinuousClock.Instant?, _ clock: any StoreClock) {
    self.policy = policy
    (instant, error) = policy.effective(caller: caller, from: clock.now)
  }

  func commit(_ batch: consuming Batch, _ durability: Durability, to store: Store) async throws {
    do {
      try await store.commit(batch, durability: durability, deadline: instant, policy: policy)
    } catch let failure as SpindleError where failure.kind == .deadlineExceeded {
      // The store takes the bound for the caller's; here it is known whose it is.
      throw error
    }
  }
}
