internal import SpindleCore
internal import Synchronization

/// Lets one change of an id run at a time. Changes of other ids are not concerned.
///
/// Two changes of one id are rare, so the second asks again and again instead of standing in a
/// queue. Who runs is bounded by the spools' own deadlines, and so is who waits.
final class PairTurns: Sendable {
  private let taken = Mutex<Set<SpoolID>>([])
  private let clock: any StoreClock

  init(clock: any StoreClock) { self.clock = clock }

  /// Takes an id's turn when it is free.
  func tryEnter(_ id: SpoolID) -> Bool { taken.withLock { $0.insert(id).inserted } }

  /// Takes an id's turn, waiting for it until the deadline. A turn that is free is given whatever
  /// the deadline.
  func enter(_ id: SpoolID, until deadline: ContinuousClock.Instant?) async throws {
    var pause = Duration.microseconds(500)
    while !tryEnter(id) {
      let now = clock.now
      if let deadline, now >= deadline {
        throw SpindleError(
          .deadlineExceeded, "the caller-supplied deadline was reached before acceptance")
      }
      try await clock.sleep(until: min(now + pause, deadline ?? now + pause))
      pause = min(pause * 2, .milliseconds(50))
    }
  }

  func leave(_ id: SpoolID) { taken.withLock { _ = $0.remove(id) } }

  /// Waits until no change runs, or the time is over.
  func waitUntilIdle(atMost limit: Duration) async {
    let end = clock.now + limit
    while !taken.withLock({ $0.isEmpty }), clock.now < end {
      // A cancelled task does not wait.
      guard (try? await clock.sleep(until: clock.now + .milliseconds(5))) != nil else { return }
    }
  }
}
