internal import Synchronization

/// What a processor has done since it was opened.
public struct ProcessorCounts: Sendable, Hashable {
  /// Local ops recorded.
  public var executed = 0
  /// Entries of any peer taken in by `apply`, markers included.
  public var applied = 0
  /// Entries offered again.
  public var repeated = 0
  /// Entries recorded without being applied, as the reducer said.
  public var skipped = 0
  /// Entries that were not the next of their peer.
  public var mismatched = 0
  /// Entries from too far in the future.
  public var skewed = 0
  /// Entries that the reducer refused.
  public var blocked = 0
  /// Entries that differ from what is recorded at their index.
  public var conflicts = 0
  /// Commits made.
  public var commits = 0
  /// Cursors read again because rows had come past the processor.
  public var repairs = 0
  /// Events that were not made or not delivered.
  public var eventsLost = 0
}

/// Counts from any thread; each number is exact, but they are not read at one moment.
final class ProcessorCounters: Sendable {
  /// A number that only rises.
  struct Count: ~Copyable {
    private let number = Atomic<Int>(0)
    var value: Int { number.load(ordering: .relaxed) }
    func add(_ more: Int = 1) { if more > 0 { number.add(more, ordering: .relaxed) } }
  }

  let executed = Count()
  let applied = Count()
  let repeated = Count()
  let skipped = Count()
  let mismatched = Count()
  let skewed = Count()
  let blocked = Count()
  let conflicts = Count()
  let commits = Count()
  let repairs = Count()
  let eventsLost = Count()

  var counts: ProcessorCounts {
    var counts = ProcessorCounts()
    counts.executed = executed.value
    counts.applied = applied.value
    counts.repeated = repeated.value
    counts.skipped = skipped.value
    counts.mismatched = mismatched.value
    counts.skewed = skewed.value
    counts.blocked = blocked.value
    counts.conflicts = conflicts.value
    counts.commits = commits.value
    counts.repairs = repairs.value
    counts.eventsLost = eventsLost.value
    return counts
  }
}
