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
  public let settings: SpoolSettings
  private let generator: SpoolIDGenerator
  let closed = Atomic<Bool>(false)
  /// Walks, compactions and the view of what the last run left.
  let upkeep: SpoolUpkeep
  let claims = Mutex(SpoolClaims())

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
  public init(
    store: Store, name: String, settings: SpoolSettings = SpoolSettings()
  ) async throws {
    guard !name.hasSuffix(Self.quarantineSuffix) else {
      throw SpindleError(
        .invalidArgument,
        "the name \"\(printable(name))\" is that of a quarantine; expected the name of its spool, "
          + "whose quarantined(after:limit:), restoreQuarantined and purgeQuarantined reach it")
    }
    try settings.validate()
    let family = try await store.family("spool:" + name)
    self.name = name
    self.settings = settings
    storage = store
    self.family = family
    family.health.configure(settings.gate)
    upkeep = try await store.blocking { try SpoolUpkeep(store, settings) }
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

  func decode(_ id: SpoolID, _ record: Span<UInt8>) throws -> Bytes {
    do {
      return try SpoolRecord.payload(of: record)
    } catch {
      throw SpindleError(
        .corruption, "the message \(id) of spool \(name) is damaged: \(error)",
        path: storage.path)
    }
  }

  public var unhealthyReason: StaticString? {
    !family.health.isShut && storage.health.unhealthyReason == nil
      ? nil : "the spool is not accepting writes"
  }

  func checkOpen() throws {
    if closed.load(ordering: .acquiring) {
      throw SpindleError(.closed, "the spool \(name) is closed")
    }
  }
}
