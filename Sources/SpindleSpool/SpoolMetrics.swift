package import SpindleCore
internal import Metrics
internal import Synchronization

/// What a caller asked of a spool, as metrics name it.
enum SpoolOperation: String, Sendable, CaseIterable {
  case store
  case load
  case remove
}

/// The counters and timers of one spool, made when it is opened and destroyed at its end.
///
/// All have the label `spool`. Timers hand nanoseconds to the backend.
///
/// | metric | other labels | meaning |
/// |---|---|---|
/// | `spool_ops_total` | op, result | calls: `ok`, `not_found`, `cancelled` or the error's kind |
/// | `spool_op_duration` | op | timer: how long calls took |
/// | `spool_bytes_total` | op | payload bytes stored and loaded, before compression |
/// | `spool_backpressure_wait` | op | timer: waits of writes that met a stall, however ended |
/// | `spool_foreground_errors_total` | kind | failures of the engine or by its stall, of any work |
/// | `spool_gate_transitions_total` | reason, to | gates, the store's and the spool's own |
/// | `spool_quarantine_refusals_total` | | messages that stayed as the quarantine was full |
/// | `spool_enumeration_state` | | 0 none yet, 1 running, 2 finished, 3 failed |
/// | `spool_enumeration_entries` | | messages that the last enumeration has sent |
/// | `spool_enumeration_errors_total` | | see ``enumerationFinished(state:count:errors:)`` |
///
/// Calls that a closed spool refuses are not counted. A call that succeeds costs two looks at the
/// clock and three calls of handlers. The gauges are those of ``SpoolGauge``. A spool on files has
/// no `spool_backpressure_wait`.
package final class SpoolMetrics: Sendable {
  /// How far an enumeration is, as `spool_enumeration_state` says it.
  package enum EnumerationState: Int, Sendable {
    case none = 0
    case running
    case finished
    case failed
  }

  /// The metrics of one operation that a success needs.
  private struct Operation {
    let succeeded: Counter
    let bytes: Counter?
    let duration: Metrics.Timer
    let wait: Metrics.Timer?

    init(
      _ operation: SpoolOperation, spool: String, waits: Bool, factory: any MetricsFactory
    ) {
      let labels = [("spool", spool), ("op", operation.rawValue)]
      succeeded = Counter(
        label: "spool_ops_total", dimensions: labels + [("result", "ok")], factory: factory)
      duration = Timer(label: "spool_op_duration", dimensions: labels, factory: factory)
      bytes =
        operation == .remove
        ? nil : Counter(label: "spool_bytes_total", dimensions: labels, factory: factory)
      wait =
        operation == .load || !waits
        ? nil : Timer(label: "spool_backpressure_wait", dimensions: labels, factory: factory)
    }

    func destroy() {
      succeeded.destroy()
      bytes?.destroy()
      duration.destroy()
      wait?.destroy()
    }
  }

  private let spool: String
  private let factory: any MetricsFactory
  private let clock: any StoreClock
  private let start: ContinuousClock.Instant
  private let store: Operation
  private let load: Operation
  private let remove: Operation
  private let gauges: [SpoolGauge: Gauge]
  private let enumerationState: Gauge
  private let enumerationEntries: Gauge
  /// The counters of what is rare, made when it happens first: by label and last dimension.
  private let rare = Mutex<[String: Counter]>([:])

  /// nil while the process has no metrics backend: then nothing is measured.
  package init?(
    spool: String, path: String, kind: SpoolDefinition.Kind = .rocksDB, clock: any StoreClock
  ) {
    let factory = MetricsSystem.factory
    if factory is NOOPMetricsHandler { return nil }
    self.spool = spool
    self.factory = factory
    self.clock = clock
    start = clock.now
    let waits = kind == .rocksDB
    store = Operation(.store, spool: spool, waits: waits, factory: factory)
    load = Operation(.load, spool: spool, waits: waits, factory: factory)
    remove = Operation(.remove, spool: spool, waits: waits, factory: factory)
    var gauges: [SpoolGauge: Gauge] = [:]
    for gauge in SpoolGauge.all(of: kind) {
      let labels = gauge.labels(spool: spool, path: path)
      gauges[gauge] = Gauge(label: gauge.rawValue, dimensions: labels, factory: factory)
    }
    self.gauges = gauges
    let labels = [("spool", spool)]
    enumerationState = Gauge(
      label: "spool_enumeration_state", dimensions: labels, factory: factory)
    enumerationEntries = Gauge(
      label: "spool_enumeration_entries", dimensions: labels, factory: factory)
    enumerationState.record(EnumerationState.none.rawValue)
  }

  deinit {
    for operation in [store, load, remove] { operation.destroy() }
    for gauge in gauges.values { gauge.destroy() }
    enumerationState.destroy()
    enumerationEntries.destroy()
    for counter in rare.withLock({ Array($0.values) }) { counter.destroy() }
  }

  private func of(_ operation: SpoolOperation) -> Operation {
    switch operation {
    case .store: store
    case .load: load
    case .remove: remove
    }
  }

  private func count(_ label: String, _ dimensions: [(String, String)], by amount: Int = 1) {
    let key = dimensions.reduce(label) { $0 + " " + $1.1 }
    let counter = rare.withLock { rare in
      if let counter = rare[key] { return counter }
      let counter = Counter(
        label: label, dimensions: [("spool", spool)] + dimensions, factory: factory)
      rare[key] = counter
      return counter
    }
    counter.increment(by: amount)
  }

  // MARK: Calls

  /// The time since these metrics were made.
  var time: Duration { clock.now - start }

  /// - Parameter bytes: nil for a load that found nothing.
  func succeeded(_ operation: SpoolOperation, bytes: Int?, after duration: Duration) {
    let metrics = of(operation)
    metrics.duration.recordNanoseconds(Self.nanoseconds(duration))
    guard let bytes else {
      count("spool_ops_total", [("op", operation.rawValue), ("result", "not_found")])
      return
    }
    metrics.succeeded.increment()
    metrics.bytes?.increment(by: bytes)
  }

  func failed(_ operation: SpoolOperation, _ error: any Error, after duration: Duration) {
    of(operation).duration.recordNanoseconds(Self.nanoseconds(duration))
    let spindle = error as? SpindleError
    let result = spindle?.kind.description ?? (error is CancellationError ? "cancelled" : "other")
    count("spool_ops_total", [("op", operation.rawValue), ("result", result)])
    guard let error = spindle, !error.isGateRefusal else { return }
    let isOfEngine =
      switch error.kind {
      case .corruption, .io, .deadlineExceeded: true
      // Others are full queues, of which the engine knows nothing.
      case .overloaded: error.reason == "backpressure"
      // A store that is open for reading only, a quota that could not be counted.
      case .unavailable: error.reason != "read_only" && error.reason != "quota_uncounted"
      default: false
      }
    if isOfEngine { countForeground(error) }
  }

  /// Notes an error of work that is no store, load or remove. Only damage and I/O errors count:
  /// what else such work throws, such as that too much is under way already, the engine has no
  /// part in.
  func met(_ error: any Error) {
    guard let error = error as? SpindleError, error.kind == .corruption || error.kind == .io
    else { return }
    countForeground(error)
  }

  private func countForeground(_ error: SpindleError) {
    count("spool_foreground_errors_total", [("kind", error.kind.description)])
  }

  /// Notes how long a write waited for a stall's end.
  func waited(_ operation: SpoolOperation, for duration: Duration) {
    of(operation).wait?.recordNanoseconds(Self.nanoseconds(duration))
  }

  private static func nanoseconds(_ duration: Duration) -> Int64 {
    let (seconds, attoseconds) = duration.components
    return seconds &* 1_000_000_000 &+ attoseconds / 1_000_000_000
  }

  /// Notes a message that the quarantine had no room for.
  func quarantineRefused() { count("spool_quarantine_refusals_total", []) }

  // MARK: Gate

  func gateShut(reason: String) {
    count("spool_gate_transitions_total", [("reason", reason), ("to", "shut")])
  }

  func gateOpened(reason: String) {
    count("spool_gate_transitions_total", [("reason", reason), ("to", "open")])
  }

  // MARK: Enumeration

  package func enumerationStarted() {
    enumerationState.record(EnumerationState.running.rawValue)
    enumerationEntries.record(0)
  }

  /// - Parameter count: Messages sent so far. To be called every few hundred messages, not for
  ///   each.
  package func enumerationProgressed(count: Int) { enumerationEntries.record(count) }

  /// - Parameters:
  ///   - count: Messages sent.
  ///   - errors: Damaged messages, stretches that could not be read, and one for what stopped the
  ///     walk before its end.
  package func enumerationFinished(state: EnumerationState, count: Int, errors: Int) {
    enumerationState.record(state.rawValue)
    enumerationEntries.record(count)
    if errors > 0 { self.count("spool_enumeration_errors_total", [], by: errors) }
  }

  // MARK: Gauges

  func publish(_ values: [SpoolGauge: Double]) {
    for (gauge, value) in values { gauges[gauge]?.record(value) }
  }
}
