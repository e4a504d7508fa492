public import SpindleCore
internal import SpindleRocks
public import SpindleStore
internal import Synchronization

/// The hybrid clock of one prefix, with its register in the prefix's column family.
///
/// The register must never be below a timestamp in the log, or a clock opened after a crash could
/// issue it again. So it is written in the batch of the entries that it covers, and a batch works
/// on a *stage* of the clock, which becomes the clock only when that batch was committed:
///
/// ```swift
/// var stage = try clock.begin()
/// let timestamp = try stage.now(into: &batch)
/// try tracker.trackOne(peer: peer, index: index, timestamp: timestamp, ..., into: &batch)
/// try await store.commit(batch, durability: .buffered)
/// clock.committed(stage)
/// ```
///
/// A stage that goes out of scope is abandoned. One stage is open at a time: whoever combines the
/// callers of a prefix holds it from the first entry to the outcome of the commit. The register
/// only rises, whatever is committed when: the greater of what is stored and what the batch saves
/// is kept, under the lock that orders commits. So a batch that is committed after its stage was
/// abandoned does no harm.
///
/// Whether a batch saves is decided by what the register is known to hold, not by what memory
/// holds. Otherwise: a batch absorbs a timestamp and fails; memory is ahead; the next entry, below
/// it, commits without a save; after a crash the clock restarts below an entry of the log.
///
/// Crash windows:
/// - *Before the commit*: neither entries nor register are stored. Timestamps of the lost batch may
///   be issued again; nothing stored carries them.
/// - *After the commit, before* ``committed(_:)``: entries and register are stored together, and
///   the next open reads both.
/// - *Power loss after a buffered commit*: entries and register vanish together, since they are one
///   record of the log. Own entries must be synced before they leave the machine; else another
///   replica knows an entry whose index and time are used again here.
/// - *A commit that failed but may be stored* (the sync behind it failed, or was refused because
///   another append had failed): entries and register may be there, and the store may take writes
///   again without being opened anew. Call ``reload()`` before the next batch, or that batch could
///   issue a timestamp again.
///
/// A prefix has one service, or one processor, in a store at a time: two would issue the same
/// timestamps. It is given back when the service and its stages are gone.
///
/// A timestamp that was issued is not issued again by this service, even if its batch was
/// abandoned: the caller may have shown it. What an abandoned batch had absorbed is forgotten.
public final class ClockService: Sendable {
  private struct State {
    var clock: HybridClock
    /// What the register holds for certain. Never above it, so a save is at worst superfluous.
    var stored: Timestamp
    var isStaged = false
  }

  private let space: OpLogSpace
  private let state: Mutex<State>
  /// Nil where whoever made the service holds the claim.
  private let claim: WriterClaim?

  /// Opens the clock of a prefix: it goes on behind the register, and behind the greatest timestamp
  /// of the log where the prefix keeps the index by time.
  ///
  /// - Throws: what ``LogIndexTracker/init(store:prefix:)`` throws; `conflict`, reason
  ///   `prefix_in_use`, while another service or a processor has the prefix; `corruption` for a
  ///   damaged register.
  public convenience init(store: Store, prefix: String) async throws {
    let claim = try WriterClaim(store, prefix: prefix)
    try await self.init(store: store, prefix: prefix, holding: claim)
  }

  /// The same for a caller that holds the claim of the prefix as long as it uses the service.
  package convenience init(claimedIn store: Store, prefix: String) async throws {
    try await self.init(store: store, prefix: prefix, holding: nil)
  }

  private init(store: Store, prefix: String, holding claim: WriterClaim?) async throws {
    self.claim = claim
    space = try await OpLogSpace.open(store: store, prefix: prefix)
    let register = try await Self.register(in: space)
    let greatest = try await Self.greatestTimestamp(in: space)
    state = Mutex(
      State(clock: HybridClock(latest: max(register, greatest)), stored: register))
  }

  /// The greatest timestamp of an entry, where the index by time tells it; otherwise zero.
  private static func greatestTimestamp(in space: OpLogSpace) async throws -> Timestamp {
    guard space.memory.completeIndexes.contains(.byTime) else { return .zero }
    return try await space.store.blocking {
      var iterator = try space.store.iterator(
        space.log,
        IterationOptions(
          lowerBound: [OpLogIndexKey.timeSubspace], upperBound: [OpLogIndexKey.timeSubspace + 1]))
      iterator.seekToLast()
      guard iterator.isValid else {
        do throws(RocksError) { try iterator.checkStatus() } catch {
          throw space.store.failure(error, reading: space.log)
        }
        return .zero
      }
      // What is no key of the index is for the verifier to tell.
      return OpLogIndexKey(decoding: iterator.key)?.timestamp ?? .zero
    }
  }

  private static func register(in space: OpLogSpace) async throws -> Timestamp {
    let bytes = try await space.store.get(space.log, key: OpLogKeys.clockKey)
    return try withSpindleErrors { () throws(LogTrackerError) -> Timestamp in
      guard let bytes else { return .zero }
      guard let stored = decode(bytes.span) else {
        throw .damagedMeta(
          prefix: space.prefix, "its clock register has \(bytes.count) bytes; expected 8")
      }
      return stored
    }
  }

  /// Reads the register again, after it may have risen without this service: by a commit that
  /// failed but may be stored, or by rows that came past whoever holds the service. The clock goes
  /// on behind what is found.
  ///
  /// - Throws: ``SpindleError`` with `io`, `closed` or `corruption`; nothing changed then.
  public func reload() async throws {
    let found = try await Self.register(in: space)
    state.withLock { state in
      state.stored = found
      state.clock = HybridClock(latest: max(state.clock.latest, found))
    }
  }

  /// Reads a register; nil unless it has 8 bytes.
  static func decode(_ bytes: Span<UInt8>) -> Timestamp? {
    var reader = ByteReader(bytes)
    guard bytes.count == 8, let packed = try? reader.readBigEndian(UInt64.self) else { return nil }
    return Timestamp(packed: packed)
  }

  /// The greatest timestamp issued or absorbed by committed batches, or issued at all. Does not
  /// move the clock.
  public var latest: Timestamp { state.withLock { $0.clock.latest } }

  /// Starts a batch.
  ///
  /// - Throws: ``SpindleError`` with `conflict`, reason `clock_busy`, while another batch's stage
  ///   is open.
  public func begin() throws -> ClockStage {
    let (clock, stored) = try state.withLock { state in
      guard !state.isStaged else {
        throw SpindleError(
          .conflict,
          "the clock of the op-log \(space.prefix) serves another batch that is not committed yet",
          reason: "clock_busy")
      }
      state.isStaged = true
      return (state.clock, state.stored)
    }
    return ClockStage(service: self, clock: clock, stored: stored)
  }

  /// Takes over what a stage did. Call it once its batch was committed, and only then.
  public func committed(_ stage: consuming ClockStage) { stage.isCommitted = true }

  /// Forgets a stage whose batch was not committed; the same happens when it goes out of scope.
  public func abandoned(_ stage: consuming ClockStage) {}

  fileprivate func finish(_ stage: borrowing ClockStage) {
    let (clock, issued, saved) = (stage.clock, stage.issued, stage.saved)
    let isCommitted = stage.isCommitted
    state.withLock { state in
      state.isStaged = false
      if isCommitted {
        // The register may have been read again meanwhile, and been above.
        state.clock = HybridClock(latest: max(state.clock.latest, clock.latest))
        if let saved { state.stored = max(state.stored, saved) }
      } else if let issued {
        state.clock = HybridClock(latest: max(state.clock.latest, issued))
      }
    }
  }

  fileprivate func save(_ timestamp: Timestamp, into batch: inout Batch) {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(timestamp.packed)
    batch.raise(space.log, key: OpLogKeys.clockKey, to: bytes)
  }

  fileprivate var wallMilliseconds: UInt64 { space.store.clock.wallMilliseconds }
}

/// The clock as one batch sees it, until ``ClockService/committed(_:)``. Going out of scope without
/// that abandons it.
public struct ClockStage: ~Copyable, Sendable {
  private let service: ClockService
  fileprivate private(set) var clock: HybridClock
  private let stored: Timestamp
  /// The last timestamp issued for this batch.
  fileprivate private(set) var issued: Timestamp?
  /// The last value queued for the register.
  fileprivate private(set) var saved: Timestamp?
  fileprivate var isCommitted = false

  fileprivate init(service: ClockService, clock: HybridClock, stored: Timestamp) {
    self.service = service
    self.clock = clock
    self.stored = stored
  }

  deinit { service.finish(self) }

  /// Issues a timestamp and queues the register's save.
  ///
  /// - Parameter wall: Milliseconds since the Unix epoch. The default reads the store's clock.
  /// - Throws: ``HybridClockError/exhausted``.
  public mutating func now(
    wall: UInt64? = nil, into batch: inout Batch
  ) throws(HybridClockError) -> Timestamp {
    let timestamp = try clock.tick(wall: wall ?? service.wallMilliseconds)
    issued = timestamp
    save(into: &batch)
    return timestamp
  }

  /// Absorbs the timestamp of an entry from elsewhere, and queues a save where the register is
  /// behind.
  ///
  /// - Parameter wall: Milliseconds since the Unix epoch. The default reads the store's clock; pass
  ///   one reading for entries that came together.
  /// - Throws: ``HybridClockError/skew(received:wallMilliseconds:)``; the stage is as before.
  public mutating func observe(
    _ received: Timestamp, wall: UInt64? = nil, into batch: inout Batch
  ) throws(HybridClockError) {
    try clock.observe(received, wall: wall ?? service.wallMilliseconds)
    if clock.latest > stored { save(into: &batch) }
  }

  /// Issues a timestamp without a save: call ``save(into:)`` before the batch is committed.
  mutating func tick(wall: UInt64) throws(HybridClockError) -> Timestamp {
    let timestamp = try clock.tick(wall: wall)
    issued = timestamp
    return timestamp
  }

  /// Absorbs a timestamp without a save: call ``save(into:)`` before the batch is committed.
  mutating func absorb(_ received: Timestamp, wall: UInt64) throws(HybridClockError) {
    try clock.observe(received, wall: wall)
  }

  /// Queues one save for everything issued and absorbed, where the register is behind.
  mutating func saveIfBehind(into batch: inout Batch) {
    if clock.latest > stored { save(into: &batch) }
  }

  /// The clock as it is now, to come back to.
  var savepoint: HybridClock { clock }

  /// Forgets what was absorbed since a savepoint. What was issued since is not issued again.
  mutating func rollBack(to savepoint: HybridClock) {
    clock = issued.map { HybridClock(latest: max($0, savepoint.latest)) } ?? savepoint
  }

  private mutating func save(into batch: inout Batch) {
    guard saved != clock.latest else { return }
    service.save(clock.latest, into: &batch)
    saved = clock.latest
  }
}
