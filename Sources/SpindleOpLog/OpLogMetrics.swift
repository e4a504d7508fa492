internal import Metrics
internal import SpindleCore
internal import SpindleStore
internal import Synchronization

/// What a caller asked of a processor, as metrics name it.
enum OpLogOperation: String, Sendable, CaseIterable {
  case exec
  case apply
}

/// The metrics of one processor, made when it is opened and destroyed at its end.
///
/// All have the label `oplog`, the prefix. Timers hand nanoseconds to the backend.
///
/// | metric | other labels | meaning |
/// |---|---|---|
/// | `oplog_entries_total` | op | entries recorded; `exec` are local ops |
/// | `oplog_repeats_total` | op | entries, or calls with a token, that were there already |
/// | `oplog_skips_total` | | entries recorded without being applied, as the reducer said |
/// | `oplog_refusals_total` | op, kind | calls that failed, or ops of one, see ``refused(_:_:)`` |
/// | `oplog_call_duration` | op | timer: how long calls took, those that failed among them |
/// | `oplog_commits_total` | | commits |
/// | `oplog_shared_commits_total` | | those of them that served more than one call |
/// | `oplog_commit_duration` | | timer: how long commits took, those that failed among them |
/// | `oplog_commit_entries` | | histogram: entries of a commit |
/// | `oplog_commit_calls` | | histogram: calls of a commit |
/// | `oplog_repairs_total` | | cursors read again because rows had come past the processor |
/// | `oplog_events_lost_total` | | events that were not made or not delivered |
/// | `oplog_calls_in_flight` | | gauge: calls that are served or wait for their turn |
/// | `oplog_peers` | | gauge: peers with entries |
/// | `oplog_fenced` | | gauge: 1 while `exec` waits for own entries that are known elsewhere |
/// | `oplog_clock_ahead_seconds` | | gauge: how far the hybrid clock is ahead of the wall's |
///
/// Nothing is made for an entry and nothing that grows with peers: a call that succeeds costs two
/// looks at the clock and two calls of handlers, a commit two looks and five calls.
final class OpLogMetrics: Sendable {
  /// The metrics of one operation.
  private struct Operation {
    let entries: Counter
    let repeats: Counter
    let duration: Metrics.Timer

    init(_ operation: OpLogOperation, log: String, factory: any MetricsFactory) {
      let labels = [("oplog", log), ("op", operation.rawValue)]
      entries = Counter(label: "oplog_entries_total", dimensions: labels, factory: factory)
      repeats = Counter(label: "oplog_repeats_total", dimensions: labels, factory: factory)
      duration = Timer(label: "oplog_call_duration", dimensions: labels, factory: factory)
    }

    func destroy() {
      entries.destroy()
      repeats.destroy()
      duration.destroy()
    }
  }

  /// What the gauges say at one moment.
  struct Levels: Sendable {
    var calls: Int
    var peers: Int
    var isFenced: Bool
    var clockAheadSeconds: Double
  }

  private let log: String
  private let factory: any MetricsFactory
  private let exec: Operation
  private let apply: Operation
  private let skips: Counter
  private let commits: Counter
  private let sharedCommits: Counter
  private let commitDuration: Metrics.Timer
  private let commitEntries: Recorder
  private let commitCalls: Recorder
  private let repairs: Counter
  private let eventsLost: Counter
  private let callsInFlight: Gauge
  private let peers: Gauge
  private let fenced: Gauge
  private let clockAhead: Gauge
  private let refusals: RareCounters

  /// nil while the process has no metrics backend: then nothing is measured.
  init?(log: String) {
    let factory = MetricsSystem.factory
    if factory is NOOPMetricsHandler { return nil }
    self.log = log
    self.factory = factory
    let labels = [("oplog", log)]
    func counter(_ name: String) -> Counter {
      Counter(label: name, dimensions: labels, factory: factory)
    }
    func histogram(_ name: String) -> Recorder {
      Recorder(label: name, dimensions: labels, aggregate: true, factory: factory)
    }
    func gauge(_ name: String) -> Gauge { Gauge(label: name, dimensions: labels, factory: factory) }
    exec = Operation(.exec, log: log, factory: factory)
    apply = Operation(.apply, log: log, factory: factory)
    skips = counter("oplog_skips_total")
    commits = counter("oplog_commits_total")
    sharedCommits = counter("oplog_shared_commits_total")
    commitDuration = Timer(label: "oplog_commit_duration", dimensions: labels, factory: factory)
    commitEntries = histogram("oplog_commit_entries")
    commitCalls = histogram("oplog_commit_calls")
    repairs = counter("oplog_repairs_total")
    eventsLost = counter("oplog_events_lost_total")
    callsInFlight = gauge("oplog_calls_in_flight")
    peers = gauge("oplog_peers")
    fenced = gauge("oplog_fenced")
    clockAhead = gauge("oplog_clock_ahead_seconds")
    refusals = RareCounters("oplog_refusals_total", labels, factory)
  }

  deinit {
    exec.destroy()
    apply.destroy()
    for counter in [skips, commits, sharedCommits, repairs, eventsLost] { counter.destroy() }
    commitDuration.destroy()
    for recorder in [commitEntries, commitCalls] { recorder.destroy() }
    for gauge in [callsInFlight, peers, fenced, clockAhead] { gauge.destroy() }
    refusals.destroy()
  }

  private func of(_ operation: OpLogOperation) -> Operation {
    switch operation {
    case .exec: exec
    case .apply: apply
    }
  }

  // MARK: Calls

  func recorded(_ operation: OpLogOperation, _ count: Int) {
    if count > 0 { of(operation).entries.increment(by: count) }
  }

  func repeated(_ operation: OpLogOperation, _ count: Int = 1) {
    if count > 0 { of(operation).repeats.increment(by: count) }
  }

  func took(_ operation: OpLogOperation, _ duration: Duration) {
    of(operation).duration.recordNanoseconds(duration.nanoseconds)
  }

  /// Counts a call that failed, by a word of a fixed set: the reason of what was thrown, such as
  /// `clock_skew`, `conflict`, `cursor_mismatch`, `blocked` or `fenced`, or the kind of an error
  /// that gives none, or `cancelled`. Of ``Processor/exec(each:serverUser:durability:)`` each op
  /// that failed counts.
  func refused(_ operation: OpLogOperation, _ error: any Error) {
    refusals.add([("op", operation.rawValue), ("kind", PullPause.reason(of: error))])
  }

  // MARK: Commits

  func committed(entries: Int, calls: Int, skipped: Int) {
    commits.increment()
    if calls > 1 { sharedCommits.increment() }
    commitEntries.record(entries)
    commitCalls.record(calls)
    if skipped > 0 { skips.increment(by: skipped) }
  }

  func commitTook(_ duration: Duration) {
    commitDuration.recordNanoseconds(duration.nanoseconds)
  }

  func repaired() { repairs.increment() }

  func lostEvents(_ count: Int) { if count > 0 { eventsLost.increment(by: count) } }

  // MARK: Gauges

  func publish(_ levels: Levels) {
    callsInFlight.record(levels.calls)
    peers.record(levels.peers)
    fenced.record(levels.isFenced ? 1 : 0)
    clockAhead.record(levels.clockAheadSeconds)
  }
}

/// Counters of what is rare, made when it happens first: by the values of their last labels, which
/// must come from a fixed set.
final class RareCounters: Sendable {
  private let name: String
  private let labels: [(String, String)]
  private let factory: any MetricsFactory
  private let made = Mutex<[[String]: Counter]>([:])

  init(_ name: String, _ labels: [(String, String)], _ factory: any MetricsFactory) {
    self.name = name
    self.labels = labels
    self.factory = factory
  }

  func add(_ more: [(String, String)]) {
    let counter = made.withLock { made in
      if let counter = made[more.map(\.1)] { return counter }
      let counter = Counter(label: name, dimensions: labels + more, factory: factory)
      made[more.map(\.1)] = counter
      return counter
    }
    counter.increment()
  }

  func destroy() { for counter in made.withLock({ Array($0.values) }) { counter.destroy() } }
}

extension Duration {
  var nanoseconds: Int64 {
    let (seconds, attoseconds) = components
    return seconds &* 1_000_000_000 &+ attoseconds / 1_000_000_000
  }
}

extension Processor {
  /// How often the gauges are refreshed.
  static var publishInterval: Duration { .seconds(5) }

  /// Refreshes the processor's gauges at once; the processor does so by itself every 5 s. Does
  /// nothing in a process that had no metrics backend when the processor was opened.
  public func publishMetrics() {
    guard let metrics else { return }
    let (latest, wall) = (clock.latest.wallMilliseconds, store.clock.wallMilliseconds)
    metrics.publish(
      OpLogMetrics.Levels(
        calls: callCount, peers: cursors().count,
        isFenced: writerMemory.fence > cursor(of: selfID),
        clockAheadSeconds: latest > wall ? Double(latest - wall) / 1000 : 0))
  }

  /// Starts the task that publishes. It holds the processor only while it publishes.
  func beginPublishing() {
    guard metrics != nil else { return }
    let clock = store.clock
    let timer = Task { [weak self] in
      while !Task.isCancelled {
        do {
          guard let log = self else { return }
          log.publishMetrics()
        }
        do { try await clock.sleep(until: clock.now + Self.publishInterval) } catch { return }
      }
    }
    publishing.withLock { $0 = timer }
  }

  func endPublishing() { publishing.withLock { $0.take() }?.cancel() }

  /// Times a call and counts its failure.
  func measured<Value>(
    _ operation: OpLogOperation, _ body: () async throws -> Value
  ) async throws -> Value {
    guard let metrics else { return try await body() }
    let start = store.clock.now
    defer { metrics.took(operation, store.clock.now - start) }
    do {
      return try await body()
    } catch {
      metrics.refused(operation, error)
      throw error
    }
  }
}
