internal import Crypto
public import SpindleCore
public import SpindleFormats
internal import SpindleRocks
public import SpindleStore

/// Reads what the pipeline has written: positions of producers and states of series. For readers
/// and owners of a store alike.
public struct IngestState: Sendable {
  let store: Store
  let data: StoreFamily

  init(store: Store, data: StoreFamily) {
    self.store = store
    self.data = data
  }

  /// - Returns: nil when nothing was ever ingested into the store.
  public init?(store: Store) {
    guard let data = store.existingFamily("data:" + IngestPipeline.name) else { return nil }
    self.init(store: store, data: data)
  }

  /// Writes the state's format number once, and refuses a newer one.
  func prepareFormat() async throws {
    if let found = try await store.get(data, key: IngestKeys.format) {
      guard found == IngestKeys.formatValue else {
        throw SpindleError(
          .unsupportedFormat,
          "the state in \(data.name) of \(store.path) has a format that this version does not know",
          path: store.path)
      }
      return
    }
    guard store.view == .owned else { return }
    var batch = Batch()
    batch.put(data, key: IngestKeys.format, value: IngestKeys.formatValue)
    try await store.commit(batch, durability: .buffered)
  }

  /// How far each producer's input is applied.
  public func positions() async throws -> [PeerID: ProducerPosition] {
    try await store.blocking { try positionsBlocking() }
  }

  func positionsBlocking() throws -> [PeerID: ProducerPosition] {
    var positions: [PeerID: ProducerPosition] = [:]
    try scan(IngestKeys.positionPrefix) { key, value in
      guard let uuid = UUIDValue(bytes: key) else {
        throw damage("a position's key has \(key.count) bytes; expected 16")
      }
      do throws(DecodingFailure) {
        positions[PeerID(uuid)] = try ProducerPosition(decoding: value)
      } catch {
        throw damage("the position of peer \(uuid): \(error)")
      }
    }
    return positions
  }

  /// Totals over all series.
  public struct Summary: Sendable, Equatable {
    public var seriesCount = 0
    public var pointCount: UInt64 = 0
    /// SHA-256 over the states of all series in key order: equal for two stores exactly when their
    /// series have the same points count and last points.
    public var digest: [UInt8] = []
  }

  /// Reads every series, checking each record.
  ///
  /// - Throws: ``SpindleError`` with `corruption` for the first damaged record.
  public func summary() async throws -> Summary {
    try await store.blocking { try summaryBlocking() }
  }

  func summaryBlocking() throws -> Summary {
    var summary = Summary()
    var hasher = SHA256()
    var framed: [UInt8] = []
    try scan(IngestKeys.seriesPrefix) { key, value in
      let state = try decode(key, value)
      summary.seriesCount += 1
      summary.pointCount += state.pointCount
      framed.removeAll(keepingCapacity: true)
      framed.appendVarint(UInt64(key.count))
      framed.append(borrowing: key)
      framed.appendVarint(UInt64(value.count))
      framed.append(borrowing: value)
      hasher.update(data: framed)
    }
    summary.digest = Array(hasher.finalize())
    return summary
  }

  /// The series with the most points, greatest first; of equal ones by name.
  ///
  /// - Complexity: reads every series; memory for `limit` of them.
  public func largestSeries(
    limit: Int
  ) async throws -> [(series: LineProtocolSeries, state: SeriesState)] {
    try await store.blocking {
      var top: [(key: [UInt8], state: SeriesState)] = []
      func sortAndCut() {
        top.sort { left, right in
          left.state.pointCount != right.state.pointCount
            ? left.state.pointCount > right.state.pointCount
            : left.key.lexicographicallyPrecedes(right.key)
        }
        if top.count > limit { top.removeLast(top.count - limit) }
      }
      try scan(IngestKeys.seriesPrefix) { key, value in
        let state = try decode(key, value)
        if top.count >= limit, let last = top.last, top.count == limit,
          state.pointCount < last.state.pointCount
        {
          return
        }
        top.append((copyBytes(key), state))
        if top.count >= limit + 4096 { sortAndCut() }
      }
      sortAndCut()
      return try top.map { entry in
        do throws(LineProtocolSeries.KeyError) {
          return (try LineProtocolSeries(key: entry.key.span), entry.state)
        } catch {
          throw damage("a series' key: \(error)")
        }
      }
    }
  }

  private func decode(_ key: Span<UInt8>, _ value: Span<UInt8>) throws -> SeriesState {
    do throws(DecodingFailure) {
      return try SeriesState(decoding: value)
    } catch {
      let name = (try? LineProtocolSeries(key: key).text).map { printable($0) } ?? "?"
      throw damage("the state of series \(name): \(error)")
    }
  }

  /// Walks the keys that start with a byte; the body gets them without it.
  private func scan(
    _ prefix: UInt8, _ body: (Span<UInt8>, Span<UInt8>) throws -> Void
  ) throws {
    var options = IterationOptions(lowerBound: [prefix], upperBound: [prefix + 1])
    options.fillsCache = false
    try store.scan(data, options) { key, value in
      try body(key.extracting(1..<key.count), value)
      return true
    }
  }

  private func damage(_ detail: String) -> SpindleError {
    SpindleError(
      .corruption, "\(data.name) of \(store.path) is damaged: \(detail)", path: store.path)
  }
}
