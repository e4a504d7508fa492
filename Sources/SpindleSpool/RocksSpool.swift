public import SpindleCore
internal import SpindleIO
internal import SpindleRocks
public import SpindleStore
internal import Synchronization

/// A spool on a column family of the store, `spool:<name>`.
///
/// A message stored with `forceSync: false` survives a killed process; with true, power loss.
/// While RocksDB is stalled, callers wait without holding a thread, up to their deadline or the
/// spool's bound, and then get a typed refusal; the message is not stored then and never appears
/// later.
///
/// Stores and removes throw ``SpindleError``: `deadlineExceeded` or `overloaded` when the caller's
/// or the spool's time was over, `unavailable` while a gate is shut, `tooLarge`, `quotaExceeded`,
/// `closed`; or `CancellationError`. Nothing was changed then, with the exception that
/// ``Store/commit(_:durability:deadline:)`` names. A shut gate is told in the same words whatever
/// shut it; ``SpindleError/reason`` has the machine's word.
///
/// Crash windows. A store or remove is one batch: it is there as a whole or not at all. Before the
/// batch is written nothing is; between the write and the sync of a call that asked for one, the
/// message may be found after a power cut although nobody was told. What metrics, quota and permits
/// count is in memory alone and begins anew with the open.
public final class RocksSpool: Spool {
  public let name: String
  package let storage: Store
  package let family: StoreFamily
  public let settings: SpoolSettings
  private let generator: SpoolIDGenerator
  let closed = Atomic<Bool>(false)
  /// Messages that were stored under old ids.
  let lateStores: LateStores
  /// What shuts the gate, at hand: asked for each message, it is to count no more holders than it
  /// must.
  private let partHealth: PartHealth
  private let storeHealth: StoreHealth
  /// Walks, compactions and the view of what the last run left.
  let upkeep: SpoolUpkeep
  let isShutDown = Atomic<Bool>(false)
  /// Calls under way.
  let calls = Atomic<Int>(0)
  let claims = Mutex(SpoolClaims())
  /// The right to change the spool; nil for a reader of the store, and once the spool is shut down.
  let right: Mutex<WriterClaim?>
  package let storePolicy: WritePolicy
  package let removePolicy: WritePolicy
  package let loadPermits: Permits?
  /// Counts for the quota; nil without one.
  let ledger: SpoolLedger?
  let quarantineLedger: QuarantineLedger
  /// The quota that holds: that of the settings, or the recorded one.
  public let quota: SpoolQuota
  /// Why a reader does not know the recorded quota, which it would only show; ``quota`` is without
  /// limits then. nil otherwise.
  package let quotaProblem: SpindleError?
  /// nil when the process had no metrics backend when the spool was opened.
  let metrics: SpoolMetrics?
  /// The first half of the oldest id that the metrics saw last; 0 is none yet.
  let oldest = Atomic<UInt64>(0)
  let oldestLook = Mutex(())
  let publishing = Mutex<[Task<Void, Never>]>([])

  /// The largest payload in bytes: 1 GiB less room for the record's header, the key and the
  /// batch. Larger ones are refused before anything is written.
  public static let payloadByteLimit = 1 << 30 - 64

  /// Opens a spool of the store, creating its column family when it is missing.
  ///
  /// - Parameters:
  ///   - name: 1 to 64 characters of `A-Z a-z 0-9 . _ -`, not ending in `.quarantine`.
  ///   - settings: How the spool waits, refuses and stores.
  /// - Throws: ``SpindleError``: `invalidArgument` for the name, `notFound` for a reader of a
  ///   store without that spool.
  ///   `conflict`, reason `spool_in_use`, while another object of this process has it: each would
  ///   count its own quota and know its own claims. Shut that one down, or let it go.
  /// - Complexity: Without a quota a look for the greatest id, which passes ids of other versions
  ///   than 7 that sort next to it. With one, every message is read once to count it.
  public init(
    store: Store, name: String, settings: SpoolSettings = SpoolSettings()
  ) async throws {
    try Self.checkName(name)
    try settings.validate()
    right = Mutex(
      store.view != .owned
        ? nil
        : try WriterClaim(
          store, part: "spool:" + name,
          refusal: SpindleError(
            .conflict, "the spool \(printable(name)) is open in this store already",
            path: store.path, reason: "spool_in_use")))
    let family = try await store.family("spool:" + name)
    self.name = name
    self.settings = settings
    storage = store
    self.family = family
    family.health.configure(settings.gate)
    upkeep = try await store.blocking { try SpoolUpkeep(store, settings) }
    let clock = store.clock
    lateStores = LateStores(clock: clock)
    partHealth = family.health
    storeHealth = store.health
    let metrics = SpoolMetrics(spool: name, path: store.path, clock: clock)
    self.metrics = metrics
    let waited = { (operation: SpoolOperation) -> (@Sendable (Duration) -> Void)? in
      guard let metrics else { return nil }
      return { metrics.waited(operation, for: $0) }
    }
    storePolicy = WritePolicy(
      subject: "spool", limit: settings.storeDeadline,
      permits: settings.concurrentStores.map { Permits($0, clock: clock) },
      health: family.health, observer: waited(.store))
    removePolicy = WritePolicy(
      subject: "spool", limit: settings.storeDeadline,
      permits: settings.concurrentRemoves.map { Permits($0, clock: clock) },
      health: family.health, observer: waited(.remove))
    loadPermits = settings.concurrentLoads.map { Permits($0, clock: clock) }
    // What follows reads, and may find damage.
    let events = metrics == nil ? nil : store.eventsFromNowOn
    let (floor, quota, problem, usage) = try await store.blocking {
      let (quota, problem) = try RecordedQuota.settle(settings, of: name, in: store)
      return (
        try Self.greatestID(store, family), quota, problem,
        quota.isUnlimited || store.view != .owned ? nil : try Self.count(store, family)
      )
    }
    self.quota = quota
    quotaProblem = problem
    ledger = usage.map {
      SpoolLedger(
        of: "the spool \(name)", quota: quota, holding: $0.usage, isPartial: $0.isPartial,
        clock: clock)
    }
    quarantineLedger = QuarantineLedger(of: name, quota: settings.quarantineQuota, clock: clock)
    generator = SpoolIDGenerator(clock: clock, floor: floor, seed: SeededGenerator.systemSeed())
    if let events { beginPublishing(events) }
  }

  deinit { endPublishing() }

  /// Refuses what cannot be the name of a spool, without a store.
  package static func checkName(_ name: String) throws {
    guard !name.hasSuffix(quarantineSuffix) else {
      throw SpindleError(
        .invalidArgument,
        "the name \"\(printable(name))\" is that of a quarantine; expected the name of its spool, "
          + "whose quarantined(after:limit:), restoreQuarantined and purgeQuarantined reach it")
    }
    try StoreFamily.validate("spool:" + name)
  }

  /// How far ahead of the wall clock an id may be to be the floor of new ones: a day. A clock that
  /// was set back by less, as from a wrong time zone, reorders nothing. An id from further ahead
  /// comes from elsewhere: it would take the age from every message stored after it, for walks by a
  /// start time and for sweeps.
  static let floorAheadMilliseconds: UInt64 = 24 * 3_600_000

  /// The greatest id of version 7 up to a day ahead of the clock. The walk from there to the
  /// front passes ids of other versions, which lie anywhere, and keys that are no ids.
  private static func greatestID(_ store: Store, _ family: StoreFamily) throws -> SpoolID? {
    let limit = min(store.clock.wallMilliseconds &+ floorAheadMilliseconds, 1 << 48 - 1)
    var options = IterationOptions()
    options.fillsCache = false
    options.ignoresRangeDeletions = true
    var iterator = try store.iterator(family, options)
    iterator.seekForPrevious(UUIDValue(high: limit << 16 | 0xFFFF, low: .max).bytes.span)
    while iterator.isValid {
      if let id = SpoolID(bytes: iterator.key), id.uuid.version == 7 { return id }
      iterator.previous()
    }
    do throws(RocksError) {
      try iterator.checkStatus()
    } catch {
      // Damage stops the spool's writes, so no new id is stored; what is intact stays readable.
      _ = store.failure(error, reading: family)
    }
    return nil
  }

  /// Counts what a spool holds. Keys that are no ids are no messages.
  ///
  /// - Returns: The count, and whether damage hid a part of it. What is intact stays readable, so
  ///   damage is no reason not to open; it shuts the gate.
  private static func count(
    _ store: Store, _ family: StoreFamily
  ) throws -> (usage: SpoolUsage, isPartial: Bool) {
    var usage = SpoolUsage()
    var walk = SpoolWalk(store, family) { nil }
    do {
      try walk.run { key, record in
        if SpoolID(bytes: key) != nil {
          usage.bytes += UInt64(SpoolLedger.keyBytes + record.count)
          usage.entries += 1
        }
        return .next
      }
    } catch let error as SpindleError where error.kind == .corruption || error.kind == .io {
      return (usage, true)
    }
    return (usage, walk.damage != nil)
  }

  /// What the spool holds of its quota, with the writes under way; nil without a quota.
  public var usage: SpoolUsage? { ledger?.usage }

  /// A new id, greater than those made since the opening, and than every id of version 7 that the
  /// spool held then and that is not more than a day ahead of the clock.
  public func makeID() -> SpoolID { generator.next() }

  // MARK: Spool

  // The fast way of a load is written out twice: a function of its own would have to suspend.

  public func load(_ id: SpoolID) async throws -> Bytes {
    let call = try begin(.load)
    let payload: Bytes?
    do {
      switch try decodedAtOnce(id) {
      case .found(let bytes): payload = bytes
      case .absent: payload = nil
      case .elsewhere: payload = try await decoded(id)
      }
    } catch {
      throw fail(call, error)
    }
    end(call, bytes: payload?.count)
    guard let payload else { throw SpindleError(.notFound, "no such key \(id)") }
    return payload
  }

  /// Reads a message; nil when there is none under the id.
  public func loadIfPresent(_ id: SpoolID) async throws -> Bytes? {
    let call = try begin(.load)
    do {
      let payload: Bytes?
      switch try decodedAtOnce(id) {
      case .found(let bytes): payload = bytes
      case .absent: payload = nil
      case .elsewhere: payload = try await decoded(id)
      }
      end(call, bytes: payload?.count)
      return payload
    } catch {
      throw fail(call, error)
    }
  }

  /// Lends a message's payload without a copy when it is in memory, not compressed and not larger
  /// than 256 KiB, and the number of loads at once is not limited.
  ///
  /// - Parameter body: Called once with the payload, borrowed for the call, or nil when there is
  ///   no message under the id. It runs while the load is under way and should be short.
  public func withPayload<Result>(
    _ id: SpoolID, _ body: (Span<UInt8>?) throws -> Result
  ) async throws -> Result {
    let call = try begin(.load)
    do throws(NotLent) {
      return try lendAtOnce(id, call, body)
    } catch .failed(let error) {
      throw fail(call, error)
    } catch .elsewhere {
      return try await lendDecoded(id, call, body)
    }
  }

  /// Why a payload was not lent at once. Thrown: an optional result of a type that only the caller
  /// knows would be looked up by its name, in each call.
  private enum NotLent: Error {
    case failed(any Error)
    /// It takes ``lendDecoded(_:_:_:)``.
    case elsewhere
  }

  /// Lends a payload that is in memory. What a function holds that cannot suspend lies on the
  /// stack; an asynchronous one asks its task for each value whose size it does not know.
  private func lendAtOnce<Result>(
    _ id: SpoolID, _ call: SpoolCall, _ body: (Span<UInt8>?) throws -> Result
  ) throws(NotLent) -> Result {
    guard loadPermits == nil else { throw .elsewhere }
    do {
      let key = id.uuid.inlineBytes
      switch try storage.cachedValue(family, key: key.span) {
      case .found(let value):
        return try lendPinned(value, of: id, call, body)
      case .absent:
        let result = try body(nil)
        end(call, bytes: nil)
        return result
      case .elsewhere: break
      }
    } catch let error as NotLent {
      throw error
    } catch {
      throw .failed(error)
    }
    throw .elsewhere
  }

  private func lendPinned<Result>(
    _ value: borrowing PinnedValue, of id: SpoolID, _ call: SpoolCall,
    _ body: (Span<UInt8>?) throws -> Result
  ) throws -> Result {
    let record = value.bytes
    guard SpoolRecord.payloadByteCount(record) <= Self.decodingByteLimit else {
      throw NotLent.elsewhere
    }
    // Not around the body: a failure of its own is no damage of the message.
    let decompressed: Bytes?
    do throws(DecodingFailure) {
      decompressed = try SpoolRecord.decompressed(record)
    } catch {
      throw damaged(id, error)
    }
    if let payload = decompressed {
      let result = try body(payload.span)
      end(call, bytes: payload.count)
      return result
    }
    let payload = record.extracting(droppingFirst: SpoolRecord.headerBytes)
    let result = try body(payload)
    end(call, bytes: payload.count)
    return result
  }

  private func lendDecoded<Result>(
    _ id: SpoolID, _ call: SpoolCall, _ body: (Span<UInt8>?) throws -> Result
  ) async throws -> Result {
    do {
      let payload = try await decoded(id)
      let result = if let payload { try body(payload.span) } else { try body(nil) }
      end(call, bytes: payload?.count)
      return result
    } catch {
      throw fail(call, error)
    }
  }

  /// Whether there is a message under the id. Its record is not checked.
  public func contains(_ id: SpoolID) async throws -> Bool {
    let call = try begin(.load)
    do {
      let permits = loadPermits
      if let permits { _ = try await permits.acquire(until: nil) }
      let isThere = try await storage.withValueAnywhere(
        family, key: id.bytes, atEnd: { permits?.release() }
      ) { $0 != nil }
      end(call, bytes: isThere ? 0 : nil)
      return isThere
    } catch {
      throw fail(call, error)
    }
  }

  /// The most bytes of a payload that are checked, copied or decompressed on the caller's thread:
  /// zstd takes 0.2 ms for them. Longer work would be felt by other tasks.
  package static let decodingByteLimit = 256 << 10

  private enum AtOnce {
    case found(Bytes)
    case absent
    /// It takes ``decoded(_:)``.
    case elsewhere
  }

  /// Reads a message that is in memory and short, without suspending, where no permit is needed.
  private func decodedAtOnce(_ id: SpoolID) throws -> AtOnce {
    loadPermits == nil ? try inMemory(id) : .elsewhere
  }

  private func inMemory(_ id: SpoolID) throws -> AtOnce {
    let key = id.uuid.inlineBytes
    switch try storage.cachedValue(family, key: key.span) {
    case .found(let value):
      guard let payload = try decodedAtOnce(id, value) else { return .elsewhere }
      return .found(payload)
    case .absent: return .absent
    case .elsewhere: return .elsewhere
    }
  }

  /// The payload of a record, unless it is long.
  private func decodedAtOnce(_ id: SpoolID, _ value: borrowing PinnedValue) throws -> Bytes? {
    let record = value.bytes
    guard SpoolRecord.payloadByteCount(record) <= Self.decodingByteLimit else { return nil }
    return try decode(id, record)
  }

  /// Reads a message on a thread that may block; nil when it is not there. Where a permit is needed
  /// memory comes first, as nobody has looked there yet.
  private func decoded(_ id: SpoolID) async throws -> Bytes? {
    if let loadPermits {
      _ = try await loadPermits.acquire(until: nil)
      var isHeld = true
      defer { if isHeld { loadPermits.release() } }
      switch try inMemory(id) {
      case .found(let bytes): return bytes
      case .absent: return nil
      // The permit stays with the read, which a cancelled caller leaves behind.
      case .elsewhere: isHeld = false
      }
    }
    let permits = loadPermits
    return try await storage.withValueBlocking(
      family, key: id.bytes, atEnd: { permits?.release() }
    ) { record in
      guard let record else { return nil }
      return try self.decode(id, record)
    }
  }

  private func damaged(_ id: SpoolID, _ failure: DecodingFailure) -> SpindleError {
    SpindleError(
      .corruption, "the message \(id) of spool \(name) is damaged: \(failure)",
      path: storage.path)
  }

  func decode(_ id: SpoolID, _ record: Span<UInt8>) throws -> Bytes {
    do throws(DecodingFailure) {
      return try SpoolRecord.payload(of: record)
    } catch {
      throw damaged(id, error)
    }
  }

  static let refusalText: StaticString = "the spool is not accepting writes"

  public var unhealthyReason: StaticString? {
    !partHealth.isShut && storeHealth.unhealthyReason == nil ? nil : Self.refusalText
  }
}
