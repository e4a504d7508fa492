internal import Glibc
public import SpindleCore
internal import SpindleIO
internal import SpindleRocks
public import SpindleStore
internal import Synchronization

/// A spool on a column family of the store, `spool:<name>`.
///
/// A message stored with `forceSync: false` survives a killed process; with true, power loss.
/// While RocksDB is stalled, callers wait without holding a thread, up to their deadline or the
/// store's bound, and then get a typed refusal; the message is not stored then and never appears
/// later.
public final class RocksSpool: Spool {
  public let name: String
  package let storage: Store
  package let family: StoreFamily
  private let generator: SpoolIDGenerator
  private let closed = Atomic<Bool>(false)
  private let claims = Mutex(Claims())

  /// Who works on which id.
  ///
  /// A drain worker's batch removes a message on the condition that it is still the one that was
  /// read. An inline store could slip between that check and the removal and be lost. So a store
  /// of a claimed id goes through the group lane, where the condition sees it, and an id with a
  /// store or remove under way cannot be claimed.
  private struct Claims {
    var held: Set<SpoolID> = []
    /// Few at a time: as many as there are concurrent callers, so a list beats a set.
    var changing: [SpoolID] = []
  }

  /// The largest payload in bytes: 1 GiB less room for the record's header, the key and the
  /// batch. Larger ones are refused before anything is written.
  public static let payloadByteLimit = 1 << 30 - 64

  /// Opens a spool of the store, creating its column family when it is missing.
  ///
  /// - Parameter name: 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
  /// - Throws: ``SpindleError``: `invalidArgument` for the name, `notFound` for a reader of a
  ///   store without that spool.
  public init(store: Store, name: String) async throws {
    let family = try await store.family("spool:" + name)
    self.name = name
    storage = store
    self.family = family
    let floor = try await store.blocking { try Self.greatestID(store, family) }
    generator = SpoolIDGenerator(
      clock: store.clock, floor: floor, seed: Self.seed(store.clock))
  }

  /// Differs for every spool that is opened: two of one process may open in one millisecond, and
  /// processes in containers share their ids.
  private static func seed(_ clock: any StoreClock) -> UInt64 {
    var seed: UInt64 = 0
    _ = unsafe withUnsafeMutableBytes(of: &seed) { bytes in
      unsafe bytes.baseAddress.map { unsafe getentropy($0, bytes.count) }
    }
    // Where the system gives no entropy, process and time have to do.
    return seed ^ UInt64(getpid()) << 32 ^ clock.wallMilliseconds &* 0x9E37_79B9_7F4A_7C15
  }

  /// The greatest id of version 7. Most ids of other versions sort behind it, as do keys that are
  /// no ids; the walk from the end passes them.
  private static func greatestID(_ store: Store, _ family: StoreFamily) throws -> SpoolID? {
    var iterator = try store.iterator(family)
    iterator.seekToLast()
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

  /// A new id, greater than every id of version 7 that the spool held when it was opened, and
  /// than those made since.
  public func makeID() -> SpoolID { generator.next() }

  // MARK: Spool

  public func load(_ id: SpoolID) async throws -> Bytes {
    guard let payload = try await loadIfPresent(id) else {
      throw SpindleError(.notFound, "no such key \(id)")
    }
    return payload
  }

  /// Reads a message; nil when there is none under the id.
  public func loadIfPresent(_ id: SpoolID) async throws -> Bytes? {
    try checkOpen()
    return try await storage.withValue(family, key: id.bytes) { record in
      guard let record else { return nil }
      return try self.decode(id, record)
    }
  }

  private func decode(_ id: SpoolID, _ record: Span<UInt8>) throws -> Bytes {
    do {
      return try SpoolRecord.payload(of: record)
    } catch {
      throw SpindleError(
        .corruption, "the message \(id) of spool \(name) is damaged: \(error)",
        path: storage.path)
    }
  }

  public func store(
    _ id: SpoolID, _ data: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws {
    try checkOpen()
    guard data.count <= Self.payloadByteLimit else {
      throw SpindleError(
        .invalidArgument,
        "the message has \(data.count) bytes; a spool takes at most \(Self.payloadByteLimit)")
    }
    var batch = Batch(reservingBytes: data.count + 64)
    batch.joinsGroupLane = beginChange(id)
    defer { endChange(id) }
    stage(id, data, into: &batch)
    try await storage.commit(
      batch, durability: forceSync ? .synced : .buffered, deadline: deadline)
  }

  /// Stores a message and claims it for the drain worker that will be handed it directly.
  ///
  /// - Returns: The record's checksum header, for ``stageRemoval(_:header:into:)``.
  package func storeClaimed(
    _ id: SpoolID, _ data: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws -> [UInt8] {
    guard claim(id) else { throw SpindleError(.conflict, "the message \(id) is being changed") }
    do {
      try checkOpen()
      guard data.count <= Self.payloadByteLimit else {
        throw SpindleError(
          .invalidArgument,
          "the message has \(data.count) bytes; a spool takes at most \(Self.payloadByteLimit)")
      }
      var batch = Batch(reservingBytes: data.count + 64)
      let header = stage(id, data, into: &batch)
      try await storage.commit(
        batch, durability: forceSync ? .synced : .buffered, deadline: deadline)
      return header
    } catch {
      release(id)
      throw error
    }
  }

  /// Finds out whether a message is stored, and claims it.
  ///
  /// - Returns: nil when it is not there; else its checksum header, or nil in it when another
  ///   holds the message.
  package func claimStored(_ id: SpoolID) async throws -> [UInt8]?? {
    let record = try await storage.get(family, key: id.bytes)
    guard let record else { return nil }
    return .some(claim(id) ? Array(record.prefix(SpoolRecord.headerBytes)) : nil)
  }

  /// Reads a claimed message with its checksum header, on a thread that may block; nil when it is
  /// gone.
  package func loadRecordBlocking(
    _ id: SpoolID
  ) throws -> (header: [UInt8], payload: Result<Bytes, DecodingFailure>)? {
    guard let record = try storage.getBlocking(family, key: id.bytes) else { return nil }
    let header = Array(record.prefix(SpoolRecord.headerBytes))
    do throws(DecodingFailure) {
      return (header, .success(try SpoolRecord.payload(of: record.span)))
    } catch {
      return (header, .failure(error))
    }
  }

  /// The name of the spool that takes what could not be applied.
  package var quarantineName: String { String((name + ".quarantine").suffix(64)) }

  /// Moves a message as it is stored, damaged or not, to the quarantine spool, in one batch.
  package func quarantineBlocking(_ id: SpoolID, reason: String) throws {
    guard let record = try storage.getBlocking(family, key: id.bytes) else { return }
    let quarantine = try storage.familyBlocking("spool:" + quarantineName)
    var batch = Batch()
    batch.requireEqual(family, key: id.bytes, bytes: record)
    batch.put(quarantine, key: id.bytes, value: record)
    batch.delete(family, key: id.bytes)
    try storage.commitBlocking(batch)
    storage.send(.quarantined(spool: name, id: id.description, reason: reason))
  }

  public func remove(_ id: SpoolID) async throws {
    try checkOpen()
    var batch = Batch()
    batch.delete(family, key: id.bytes)
    batch.joinsGroupLane = beginChange(id)
    defer { endChange(id) }
    try await storage.commit(batch, durability: .buffered)
  }

  /// Adds a store of a new id to a batch that somebody else commits.
  ///
  /// - Returns: The record's checksum header, which ``stageRemoval(_:header:into:)`` demands.
  @discardableResult
  package func stage(_ id: SpoolID, _ data: Bytes, into batch: inout Batch) -> [UInt8] {
    let header = SpoolRecord.header(for: data.span)
    let key = id.bytes
    batch.put(family, key: key.span, header: header.span, payload: data.span)
    return header
  }

  /// Adds the removal of a claimed message to a batch, on the condition that it is still the one
  /// that was read.
  package func stageRemoval(_ id: SpoolID, header: [UInt8], into batch: inout Batch) {
    batch.requirePrefix(family, key: id.bytes, bytes: header)
    batch.delete(family, key: id.bytes)
  }

  public func enumerate(
    into channel: SpoolEntryChannel, startTime: SpoolInstant
  ) throws -> SpoolEnumeration {
    try checkOpen()
    let handle = SpoolEnumeration()
    // Not the channel itself: the walk ends when its reader has let go of that.
    let queue = channel.queue
    do throws(IOFailure) {
      // A thread of its own: the walk waits for its reader, and the store's few threads must stay
      // free for what the reader may call.
      _ = try NamedThread(name: "spindle-walk") { [self] in
        let outcome = walk(into: queue, startTime: startTime)
        queue.finish()
        handle.finish(outcome)
      }
    } catch {
      throw error.spindleError
    }
    return handle
  }

  private func plain(_ error: any Error) -> SpindleError {
    error as? SpindleError ?? SpindleError(.unavailable, "\(error)", path: storage.path)
  }

  /// Walks the whole spool on a thread that may block.
  private func walk(
    into queue: SpoolEntryQueue, startTime: SpoolInstant
  ) -> SpoolEnumeration.Outcome {
    var outcome = SpoolEnumeration.Outcome()
    var options = IterationOptions()
    options.fillsCache = false
    options.readaheadBytes = 2 << 20
    do {
      try storage.scan(family, options) { key, record in
        guard let id = SpoolID(bytes: key), id.created < startTime else {
          outcome.skipped += 1
          return true
        }
        let entry: SpoolEntry
        do {
          entry = .item(id: id, data: try SpoolRecord.payload(of: record))
        } catch {
          entry = .corrupt(id: id, error: "\(error)")
        }
        guard queue.send(entry, isStopped: { self.isStopped }) else {
          throw SpindleError(
            .closed,
            "the enumeration of spool \(name) ended before its last message: "
              + (isStopped ? "the spool was closed" : "its reader is gone"))
        }
        if case .item = entry { outcome.count += 1 } else { outcome.corrupt += 1 }
        return true
      }
    } catch {
      outcome.error = plain(error)
    }
    return outcome
  }

  /// Whether the spool or its store was closed.
  private var isStopped: Bool {
    closed.load(ordering: .acquiring) || storage.isClosed
  }

  /// The ids from `lower` on, at most `limit`, in key order. A bound keeps the walk from passing
  /// the tombstones of what was drained before.
  package func idsBlocking(from lower: SpoolID?, limit: Int) throws -> [SpoolID] {
    try checkOpen()
    var ids: [SpoolID] = []
    try storage.scan(family, IterationOptions(lowerBound: lower?.bytes)) { key, _ in
      if let id = SpoolID(bytes: key) { ids.append(id) }
      return ids.count < limit
    }
    return ids
  }

  /// The same for callers that must not block.
  package func ids(from lower: SpoolID?, limit: Int) async throws -> [SpoolID] {
    try await storage.blocking { try self.idsBlocking(from: lower, limit: limit) }
  }

  public func shutdown() async throws { closed.store(true, ordering: .releasing) }

  public func adviseLowMemory() async throws -> Int {
    try checkOpen()
    return try await storage.blocking {
      let before = try self.storage.database.memoryUsage()
      try self.storage.database.flush(self.family.columnFamily)
      let after = try self.storage.database.memoryUsage()
      return Int(before.memtables + before.tableReaders + before.blockCache)
        - Int(after.memtables + after.tableReaders + after.blockCache)
    }
  }

  public func compact() async throws {
    try checkOpen()
    try await storage.blocking {
      let database = self.storage.database
      let errors = database.listener.counters.backgroundErrors
      do throws(RocksError) {
        try database.flush(self.family.columnFamily)
        try database.compact(self.family.columnFamily)
        guard try database.waitForCompaction(backgroundErrorsBefore: errors) else {
          throw RocksError(message: "Operation timed out: compaction is still running")
        }
      } catch {
        throw self.storage.failure(error, reading: self.family)
      }
    }
  }

  public var unhealthyReason: StaticString? {
    family.damageFound == nil && storage.health.unhealthyReason == nil
      ? nil : "the spool is not accepting writes"
  }

  private func checkOpen() throws {
    if closed.load(ordering: .acquiring) {
      throw SpindleError(.closed, "the spool \(name) is closed")
    }
  }

  // MARK: Claims

  /// Marks a message as held by a drain worker; false when another holds or changes it.
  package func claim(_ id: SpoolID) -> Bool {
    claims.withLock { claims in
      !claims.changing.contains(id) && claims.held.insert(id).inserted
    }
  }

  package func release(_ id: SpoolID) { claims.withLock { _ = $0.held.remove(id) } }

  /// Notes a store or remove that is under way.
  ///
  /// - Returns: Whether the id is claimed.
  private func beginChange(_ id: SpoolID) -> Bool {
    claims.withLock { claims in
      claims.changing.append(id)
      return claims.held.contains(id)
    }
  }

  private func endChange(_ id: SpoolID) {
    claims.withLock { claims in
      if let index = claims.changing.lastIndex(of: id) {
        claims.changing.swapAt(index, claims.changing.count - 1)
        claims.changing.removeLast()
      }
    }
  }
}
