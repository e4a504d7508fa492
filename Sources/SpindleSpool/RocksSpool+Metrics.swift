internal import SpindleCore
internal import SpindleIO
internal import SpindleRocks
internal import SpindleStore
internal import Synchronization

extension RocksSpool {
  /// How often the gauges are refreshed.
  static let publishInterval = Duration.seconds(5)

  /// Refreshes the spool's gauges at once; the spool does so by itself every 5 s. Does nothing in
  /// a process that had no metrics backend when the spool was opened.
  ///
  /// - Throws: ``SpindleError`` when the store is closed or does not answer.
  public func publishMetrics() async throws {
    guard let metrics else { return }
    var values = try await storage.blocking { try self.gaugesBlocking() }
    values[.loadShedActive] = unhealthyReason == nil ? 0 : 1
    values[.waitingStores] = Double(storePolicy.waitingCount)
    values[.waitingRemoves] = Double(removePolicy.waitingCount)
    values[.calls] = Double(calls.load(ordering: .relaxed))
    metrics.publish(values)
  }

  private func gaugesBlocking() throws -> [SpoolGauge: Double] {
    var values: [SpoolGauge: Double] = [:]
    do throws(RocksError) {
      for gauge in SpoolGauge.allCases {
        guard let (property, isOfFamily) = gauge.property else { continue }
        let value = try storage.database.property(
          property, of: isOfFamily ? family.columnFamily : nil)
        values[gauge] = Double(value ?? 0)
      }
      values[.logBytes] = Double(try storage.database.currentLog().bytes)
      if let usage = quarantineLedger.usage {
        values[.quarantined] = Double(usage.entries)
      } else if let quarantine = quarantineFamily {
        let count = try storage.database.property(
          "rocksdb.estimate-num-keys", of: quarantine.columnFamily)
        values[.quarantined] = Double(count ?? 0)
      } else {
        values[.quarantined] = 0
      }
    } catch {
      throw error.spindleError
    }
    do {
      values[.oldestAge] = try oldestAgeBlocking()
    } catch let error as SpindleError where error.kind == .corruption || error.kind == .io {
      // The first messages are damaged. The gauge stays; the others must be told all the more.
    }
    if let space = try? DiskSpace(of: storage.path) {
      values.merge(SpoolGauge.values(of: space)) { $1 }
    }
    return values
  }

  /// The age in seconds of the message whose key is the first. Ids of version 7 are in order of
  /// time; others are passed, up to a few.
  ///
  /// The walk begins at the message that was the oldest last time, so that it does not pass the
  /// tombstones of everything drained since the last compaction again and again.
  private func oldestAgeBlocking() throws -> Double {
    // One look at a time: a second would begin where the first has put the end.
    try oldestLook.withLock { _ in try lookForOldest() }
  }

  private func lookForOldest() throws -> Double {
    // While the walk is under way every store tells its id, see `noteStored`: the walk may have
    // passed its place.
    let start = oldest.exchange(.max, ordering: .acquiringAndReleasing)
    var found: SpoolID?
    defer { lowerOldest(to: found?.uuid.high ?? start) }
    var lower: [UInt8]?
    if start > 0 {
      lower = []
      lower?.appendBigEndian(start)
    }
    var passed = 0
    var options = IterationOptions(lowerBound: lower)
    // What nobody loads must not push out what is loaded.
    options.fillsCache = false
    try storage.scan(family, options) { key, _ in
      guard let id = SpoolID(bytes: key), id.uuid.version == 7 else {
        passed += 1
        return passed < 16
      }
      found = id
      return false
    }
    guard let found else { return 0 }
    let now = SpoolInstant(unixMilliseconds: storage.clock.wallMilliseconds)
    return max(Double(now.ticks - found.created.ticks) / 10_000_000, 0)
  }

  /// Notes a message that was stored. Lets the next look at the oldest begin at it where it is
  /// older than what was seen: brought back from quarantine, or under a given id. Mostly one
  /// relaxed load.
  ///
  /// - Parameters:
  ///   - isLate: What ``LateStores/begin(_:)`` said before the commit.
  ///   - waited: Whether the commit may have waited.
  func noteStored(_ id: SpoolID, isLate: Bool, waited: Bool = true) {
    if id.uuid.version == 7 { lowerOldest(to: id.uuid.high) }
    lateStores.end(id, isLate: isLate, isStored: true, waited: waited)
  }

  /// Runs what stores a message.
  func notingStore(of id: SpoolID, _ body: () async throws -> Void) async throws {
    let isLate = lateStores.begin(id)
    do {
      try await body()
      noteStored(id, isLate: isLate)
    } catch {
      noteNotStored(id, isLate: isLate)
      throw error
    }
  }

  /// Takes back that a message was about to be stored.
  func noteNotStored(_ id: SpoolID, isLate: Bool) {
    lateStores.end(id, isLate: isLate, isStored: false, waited: false)
  }

  private func lowerOldest(to value: UInt64) {
    var seen = oldest.load(ordering: .relaxed)
    while seen > value {
      let (isDone, other) = oldest.compareExchange(
        expected: seen, desired: value, ordering: .relaxed)
      if isDone { return }
      seen = other
    }
  }

  // MARK: The timer

  /// Starts the tasks that publish. They hold the spool only while they publish.
  ///
  /// - Parameter events: The store's, from before the spool first read.
  func beginPublishing(_ events: AsyncStream<StoreEvent>) {
    guard let metrics else { return }
    let clock = storage.clock
    let (familyName, quarantineName) = (family.name, "spool:" + quarantineName)
    let timer = Task { [weak self] in
      while !Task.isCancelled {
        do {
          guard let spool = self else { return }
          // What cannot be read now is published the next time.
          try? await spool.publishMetrics()
        }
        do { try await clock.sleep(until: clock.now + Self.publishInterval) } catch { return }
      }
    }
    let listener = Task {
      for await event in events {
        switch event {
        case .gateShut(let reason, _): metrics.gateShut(reason: reason)
        case .gateOpened(let reason): metrics.gateOpened(reason: reason)
        case .partShut(familyName, let reason, _), .partShut(quarantineName, let reason, _):
          metrics.gateShut(reason: reason)
        case .partOpened(familyName, let reason), .partOpened(quarantineName, let reason):
          metrics.gateOpened(reason: reason)
        default: break
        }
      }
    }
    publishing.withLock { $0 = [timer, listener] }
  }

  func endPublishing() {
    let tasks = publishing.withLock { tasks in
      defer { tasks = [] }
      return tasks
    }
    for task in tasks { task.cancel() }
  }
}
