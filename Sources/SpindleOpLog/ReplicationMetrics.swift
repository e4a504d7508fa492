internal import Metrics
internal import SpindleCore
internal import Synchronization

/// The metrics of what brings entries from one log into another. All have the label `driver`.
///
/// | metric | other labels | meaning |
/// |---|---|---|
/// | `oplog_pulled_entries_total` | | entries that the target did not have |
/// | `oplog_pull_stops_total` | reason | peers that an error stopped; see ``PullPause/reason`` |
/// | `oplog_pull_source_errors_total` | reason | times that the source could not be asked |
/// | `oplog_pull_peers` | | gauge: peers that the source names |
/// | `oplog_pull_paused_peers` | | gauge: those of them that rest after a failure |
/// | `oplog_pull_lag_entries` | | gauge: entries that the target lacks |
/// | `oplog_peer_lag_entries` | peer | gauge: the same of one peer |
///
/// The gauges are those of a ``ConvergenceDriver``. Peers come from elsewhere and can be many, so
/// the first ``ConvergenceSettings/measuredPeerLimit`` have a gauge each; the greatest lag of all
/// others is that of the peer `other`.
///
/// Nothing is destroyed with the driver: a ``PullDriver`` is made for each pull, and the counters
/// of its name go on.
final class PullMetrics: Sendable {
  /// What the gauges say at one moment.
  struct Levels {
    var peers = 0
    var paused = 0
    var lags: [PeerID: UInt64] = [:]
  }

  private let labels: [(String, String)]
  private let factory: any MetricsFactory
  private let pulledEntries: Counter
  private let stops: RareCounters
  private let sourceErrors: RareCounters
  private let peerLimit: Int
  private let peerLags = Mutex<[PeerID: Gauge]>([:])

  /// nil while the process has no metrics backend: then nothing is measured.
  init?(driver: String, peerLimit: Int = 0) {
    let factory = MetricsSystem.factory
    if factory is NOOPMetricsHandler { return nil }
    self.factory = factory
    self.peerLimit = peerLimit
    labels = [("driver", driver)]
    pulledEntries = Counter(
      label: "oplog_pulled_entries_total", dimensions: labels, factory: factory)
    stops = RareCounters("oplog_pull_stops_total", labels, factory)
    sourceErrors = RareCounters("oplog_pull_source_errors_total", labels, factory)
  }

  func pulled(_ count: Int) { if count > 0 { pulledEntries.increment(by: count) } }

  func stopped(reason: String) { stops.add([("reason", reason)]) }

  func sourceFailed(_ error: any Error) {
    sourceErrors.add([("reason", PullPause.reason(of: error))])
  }

  func publish(_ levels: Levels) {
    gauge("oplog_pull_peers").record(levels.peers)
    gauge("oplog_pull_paused_peers").record(levels.paused)
    // As floating numbers: cursors come from elsewhere, and two of them can be more than an integer
    // holds.
    gauge("oplog_pull_lag_entries").record(levels.lags.values.reduce(0.0) { $0 + Double($1) })
    var others: UInt64?
    peerLags.withLock { gauges in
      for (peer, lag) in levels.lags {
        if gauges[peer] == nil, gauges.count < peerLimit {
          gauges[peer] = gauge("oplog_peer_lag_entries", [("peer", peer.description)])
        }
        if let gauge = gauges[peer] {
          gauge.record(Double(lag))
        } else {
          others = max(others ?? 0, lag)
        }
      }
    }
    if let others {
      gauge("oplog_peer_lag_entries", [("peer", "other")]).record(Double(others))
    }
  }

  private func gauge(_ name: String, _ more: [(String, String)] = []) -> Gauge {
    Gauge(label: name, dimensions: labels + more, factory: factory)
  }
}

/// The metrics of one ``Publisher``. All have the label `peer`, whose entries it publishes.
///
/// | metric | other labels | meaning |
/// |---|---|---|
/// | `oplog_published_entries_total` | | entries written to files |
/// | `oplog_publish_failures_total` | reason | calls that failed |
/// | `oplog_publish_duration` | | timer: how long calls took |
struct PublishMetrics: Sendable {
  private let entries: Counter
  private let duration: Metrics.Timer
  private let failures: RareCounters

  /// nil while the process has no metrics backend: then nothing is measured.
  init?(peer: PeerID) {
    let factory = MetricsSystem.factory
    if factory is NOOPMetricsHandler { return nil }
    let labels = [("peer", peer.description)]
    entries = Counter(
      label: "oplog_published_entries_total", dimensions: labels, factory: factory)
    duration = Timer(label: "oplog_publish_duration", dimensions: labels, factory: factory)
    failures = RareCounters("oplog_publish_failures_total", labels, factory)
  }

  func published(_ count: Int) { if count > 0 { entries.increment(by: count) } }

  func failed(_ error: any Error) {
    failures.add([("reason", PullPause.reason(of: error))])
  }

  func took(_ time: Duration) { duration.recordNanoseconds(time.nanoseconds) }
}

/// The metrics of verifying a log, with the label `oplog`.
///
/// | metric | meaning |
/// |---|---|
/// | `oplog_verify_runs_total` | walks that came to an end |
/// | `oplog_verify_findings` | gauge: what the last of them found |
enum VerifyMetrics {
  /// A walk is rare, so it looks for its metrics anew; they stay for the next one.
  static func finished(_ report: OpLogReport, log: String) {
    let factory = MetricsSystem.factory
    if factory is NOOPMetricsHandler { return }
    let labels = [("oplog", log)]
    Counter(label: "oplog_verify_runs_total", dimensions: labels, factory: factory).increment()
    Gauge(label: "oplog_verify_findings", dimensions: labels, factory: factory)
      .record(Double(report.findings.count) + Double(report.untold))
  }
}
