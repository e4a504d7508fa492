public import Metrics
internal import Synchronization

/// A metrics backend that keeps everything, for one test: bind it with `withMetricsFactory`.
public final class MemoryMetrics: MetricsFactory {
  /// What one metric got, in order.
  public struct Series: Sendable {
    public var labels: [String: String]
    public var values: [Double] = []
    public var isDestroyed = false
  }

  private struct Key: Hashable {
    var kind: String
    var name: String
    var labels: [String: String]
  }

  private final class Handler: CounterHandler, RecorderHandler, TimerHandler, MeterHandler {
    private let owner: MemoryMetrics
    private let key: Key

    init(_ owner: MemoryMetrics, _ key: Key) {
      self.owner = owner
      self.key = key
    }

    private func add(_ value: Double) {
      owner.series.withLock { $0[key]?.values.append(value) }
    }
    func increment(by amount: Int64) { add(Double(amount)) }
    func reset() {}
    func record(_ value: Int64) { add(Double(value)) }
    func record(_ value: Double) { add(value) }
    func recordNanoseconds(_ duration: Int64) { add(Double(duration)) }
    func set(_ value: Int64) { add(Double(value)) }
    func set(_ value: Double) { add(value) }
    func increment(by amount: Double) { add(amount) }
    func decrement(by amount: Double) { add(-amount) }
    func destroy() { owner.series.withLock { $0[key]?.isDestroyed = true } }
  }

  private let series = Mutex<[Key: Series]>([:])

  public init() {}

  private func make(_ kind: String, _ name: String, _ dimensions: [(String, String)]) -> Handler {
    let labels = Dictionary(dimensions) { $1 }
    let key = Key(kind: kind, name: name, labels: labels)
    series.withLock { $0[key, default: Series(labels: labels)].isDestroyed = false }
    return Handler(self, key)
  }

  public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
    make("counter", label, dimensions)
  }
  public func makeRecorder(
    label: String, dimensions: [(String, String)], aggregate: Bool
  ) -> any RecorderHandler {
    make(aggregate ? "recorder" : "gauge", label, dimensions)
  }
  public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
    make("meter", label, dimensions)
  }
  public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
    make("timer", label, dimensions)
  }
  public func destroyCounter(_ handler: any CounterHandler) { (handler as? Handler)?.destroy() }
  public func destroyRecorder(_ handler: any RecorderHandler) { (handler as? Handler)?.destroy() }
  public func destroyMeter(_ handler: any MeterHandler) { (handler as? Handler)?.destroy() }
  public func destroyTimer(_ handler: any TimerHandler) { (handler as? Handler)?.destroy() }

  private func all(_ kind: String, _ name: String) -> [Series] {
    series.withLock { series in
      series.filter { $0.key.kind == kind && $0.key.name == name }.map(\.value)
    }
  }

  public func counters(named name: String) -> [Series] { all("counter", name) }

  /// The sum of a counter; 0 when it was never made.
  public func count(_ name: String, _ labels: [String: String]) -> Int {
    Int(all("counter", name).first { $0.labels == labels }?.values.reduce(0, +) ?? 0)
  }

  /// The last value of a gauge.
  public func gauge(_ name: String, _ labels: [String: String]) -> Double? {
    all("gauge", name).first { $0.labels == labels }?.values.last
  }

  /// What a timer got, in nanoseconds.
  public func times(_ name: String, _ labels: [String: String]) -> [Double]? {
    all("timer", name).first { $0.labels == labels }?.values
  }

  /// What a histogram got.
  public func records(_ name: String, _ labels: [String: String]) -> [Double]? {
    all("recorder", name).first { $0.labels == labels }?.values
  }

  /// Every metric as `kind name label=value,...`, in order.
  public var names: [String] {
    series.withLock { series in
      series.keys.map { key in
        let labels = key.labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        return "\(key.kind) \(key.name) \(labels.joined(separator: ","))"
      }.sorted()
    }
  }

  public var isAllDestroyed: Bool { series.withLock { $0.values.allSatisfy(\.isDestroyed) } }
}
