internal import SpindleCore
internal import SpindleFormats
internal import SpindleStore

/// Folds ingest ops into the last point and the number of points of each series.
///
/// One drain worker owns it. Each op is read into the reducer with ``add(_:)``; ``stage(into:)``
/// then writes the changed series into the batch that also carries the ops, so that a series never
/// counts an op twice. After a failed commit the cache knows more than the store: ``reset()``.
struct LastValueReducer: ~Copyable {
  /// Series kept in memory between commits; beyond it only those of the commit in hand stay. About
  /// 300 bytes each.
  static let defaultCacheLimit = 262_144

  private let store: Store
  private let family: StoreFamily
  private let cacheLimit: Int
  private var decoder = LineProtocolDecoder(acceptsUnderscoreNames: true)
  private var sink = Sink()

  init(store: Store, family: StoreFamily, cacheLimit: Int = LastValueReducer.defaultCacheLimit) {
    self.cacheLimit = cacheLimit
    self.store = store
    self.family = family
  }

  /// Forgets everything that is not in the store.
  mutating func reset() { sink = Sink() }

  /// Takes in an op's points.
  ///
  /// - Throws: ``DecodingFailure`` when the payload is damaged or a line in it is none; the
  ///   reducer must then be reset.
  mutating func add(_ op: IngestOp) throws {
    let lines = try op.lines()
    decoder.precision = op.precision
    sink.defaultTimestamp = op.defaultTimestamp
    let before = sink.pointsTaken
    _ = decoder.decode(lines.span, into: &sink)
    if let rejected = sink.rejected {
      throw DecodingFailure.invalid("an accepted line is none: \(rejected)")
    }
    let taken = sink.pointsTaken - before
    guard taken == op.pointCount else {
      throw DecodingFailure.invalid("the op claims \(op.pointCount) points and has \(taken)")
    }
  }

  /// Writes the series that changed since the last call. Reads those that were not in memory; may
  /// wait for the disk.
  mutating func stage(into batch: inout Batch) throws {
    if sink.series.count > cacheLimit { sink.keepOnlyChanged() }
    try loadMissing()
    var record: [UInt8] = []
    for slot in sink.changed {
      sink.series[slot].settle()
      sink.series[slot].state.encode(into: &record)
      let key = sink.series[slot].key
      batch.put(family, key: key.span, value: record.span)
    }
    sink.changed.removeAll(keepingCapacity: true)
  }

  private mutating func loadMissing() throws {
    let missing = sink.changed.filter { !sink.series[$0].isLoaded }
    guard !missing.isEmpty else { return }
    let keys = missing.map { sink.series[$0].key }
    for (slot, record) in zip(missing, try store.multiGetBlocking(family, keys)) {
      if let record { sink.series[slot].state = try decode(record) }
      sink.series[slot].isLoaded = true
    }
  }

  private func decode(_ record: [UInt8]) throws -> SeriesState {
    do throws(DecodingFailure) {
      return try SeriesState(decoding: record.span)
    } catch {
      throw SpindleError(
        .corruption, "the state of a series in \(family.name) is damaged: \(error)",
        path: store.path)
    }
  }

  /// One series of the cache, with what the current batch adds to it.
  private struct Series {
    var key: [UInt8]
    var state = SeriesState()
    var isLoaded = false
    /// Points of the current batch.
    var addedPoints: UInt64 = 0
    var addedTimestamp = Int64.min
    var addedFields: [UInt8] = []

    /// Merges the current batch into the state.
    mutating func settle() {
      guard addedPoints > 0 else { return }
      if state.pointCount == 0 || addedTimestamp >= state.lastTimestamp {
        state.lastTimestamp = addedTimestamp
        swap(&state.encodedFields, &addedFields)
      }
      state.pointCount += addedPoints
      addedPoints = 0
      addedTimestamp = .min
    }
  }

  /// A series' key in the cache. An array hashes byte by byte; this hashes the bytes at once.
  private struct CacheKey: Hashable {
    var bytes: [UInt8] = []

    func hash(into hasher: inout Hasher) {
      unsafe bytes.withUnsafeBytes { unsafe hasher.combine(bytes: $0) }
    }

    static func == (left: CacheKey, right: CacheKey) -> Bool {
      left.bytes.count == right.bytes.count && bytesEqual(left.bytes.span, right.bytes.span)
    }
  }

  private struct Sink: LineProtocolSink {
    var defaultTimestamp: Int64 = 0
    var slots: [CacheKey: Int] = [:]
    var series: [Series] = []
    /// Slots with points of the current batch, each once.
    var changed: [Int] = []
    var pointsTaken: UInt64 = 0
    var rejected: LineProtocolError?
    private var scratch = CacheKey()

    mutating func receive(_ line: borrowing LineProtocolLine) {
      pointsTaken += 1
      scratch.bytes.removeAll(keepingCapacity: true)
      scratch.bytes.append(IngestKeys.seriesPrefix)
      line.appendSeriesKey(to: &scratch.bytes)
      let slot: Int
      if let known = slots[scratch] {
        slot = known
      } else {
        slot = series.count
        // An exact copy: the scratch keeps its memory for the next line.
        let key = Array(scratch.bytes[...])
        slots[CacheKey(bytes: key)] = slot
        series.append(Series(key: key))
      }
      let timestamp = line.timestamp ?? defaultTimestamp
      let isFirst = series[slot].addedPoints == 0
      if isFirst { changed.append(slot) }
      series[slot].addedPoints += 1
      if isFirst || timestamp >= series[slot].addedTimestamp {
        series[slot].addedTimestamp = timestamp
        SeriesState.encodeFields(of: line, into: &series[slot].addedFields)
      }
    }

    mutating func reject(_ error: LineProtocolError) -> Bool {
      rejected = rejected ?? error
      return false
    }

    /// Drops every series without points in the current batch.
    mutating func keepOnlyChanged() {
      let kept = changed.map { series[$0] }
      slots.removeAll(keepingCapacity: true)
      series = kept
      changed = Array(kept.indices)
      for (slot, series) in kept.enumerated() {
        slots[CacheKey(bytes: series.key)] = slot
      }
    }
  }
}
