internal import Crypto
public import SpindleCore
internal import SpindleFormats
internal import SpindleIO
internal import SpindleOpLog
public import SpindleSpool
public import SpindleStore
internal import Synchronization

/// The way of data into the store: spool, op-log and series state, exactly once.
///
/// A batch of lines is stored in the spool `ingest` and acknowledged; a worker then moves it, in
/// one commit, to the op-log `ingest` and into the state of its series. Producers are the peers of
/// the log; each counts its batches from 0.
public final class IngestPipeline: Sendable {
  /// The name of the spool and the prefix of the op-log.
  public static let name = "ingest"

  package let store: Store
  public let spool: RocksSpool
  let worker: DrainWorker
  /// Nobody else writes the log while the pipeline does. Given back once the worker has ended.
  private let claim: Mutex<WriterClaim?>
  private let ownsSpool: Bool
  private let data: StoreFamily
  /// Positions of before the leftovers of the last run were applied.
  private let startPositions: [PeerID: ProducerPosition]
  private let seenProducers = Mutex<Set<PeerID>>([])
  /// Producers with a handle open: two writers of one log would take each other's indices.
  private let openProducers = Mutex<Set<PeerID>>([])

  /// Opens the pipeline of a store and starts to apply what the last run left in the spool.
  ///
  /// - Throws: ``SpindleError`` with `corruption` when the log and the producers' positions
  ///   disagree, `conflict`, reason `prefix_in_use`, while another pipeline or a processor has the
  ///   log open.
  public convenience init(store: Store) async throws {
    try await self.init(store: store, spool: nil)
  }

  /// - Parameters:
  ///   - spool: The spool ``name``, open already with settings of its own; its owner shuts it down.
  ///     nil opens it with the defaults, until ``close()``.
  ///   - seriesLimit: Series kept in memory between commits.
  package init(
    store: Store, spool: RocksSpool?, seriesLimit: Int = LastValueReducer.defaultCacheLimit
  ) async throws {
    self.store = store
    ownsSpool = spool == nil
    claim = Mutex(try WriterClaim(store, prefix: Self.name))
    let opened: RocksSpool
    if let spool {
      opened = spool
    } else {
      opened = try await RocksSpool(store: store, name: Self.name)
    }
    self.spool = opened
    let (log, positions) = try await IngestLog.open(store)
    data = log.data
    startPositions = positions
    worker = try DrainWorker(
      store: store, spool: opened, log: log, positions: positions, seriesLimit: seriesLimit)
  }

  // A pipeline that is dropped open lets its thread go, and with it the store.
  deinit { worker.requestStop() }

  /// The peer id of a producer: the first 16 bytes of a SHA-256 over its name, as a UUID of
  /// version 8.
  public static func peer(of producer: String) -> PeerID {
    var hasher = SHA256()
    hasher.update(data: Array("spindle producer\u{0}".utf8))
    hasher.update(data: Array(producer.utf8))
    var bytes = Array(hasher.finalize().prefix(16))
    bytes[6] = bytes[6] & 0x0F | 0x80
    bytes[8] = bytes[8] & 0x3F | 0x80
    // Sixteen bytes by construction.
    guard let uuid = UUIDValue(bytes: bytes) else { preconditionFailure("16 bytes") }
    return PeerID(uuid)
  }

  /// A handle for one producer, once everything spooled before is applied.
  ///
  /// - Parameter producer: 1 to 4,096 bytes of UTF-8 without NUL. It stands for one input, whose
  ///   bytes are numbered from its start.
  /// - Throws: ``SpindleError``: `invalidArgument` for the name, `conflict` while another handle of
  ///   the producer is open or when spooled batches wait for one that is lost, and what stopped the
  ///   applying.
  public func ingest(producer: String) async throws -> Ingest {
    guard (1...4096).contains(producer.utf8.count), !producer.utf8.contains(0) else {
      throw SpindleError(
        .invalidArgument, "a producer's name must have 1 to 4096 bytes and no NUL")
    }
    let peer = Self.peer(of: producer)
    guard openProducers.withLock({ $0.insert(peer).inserted }) else {
      throw SpindleError(.conflict, "the producer \(producer) is in use already")
    }
    do {
      let before = pointsBefore(peer)
      try await drain()
      let waiting = worker.waitingCount(of: peer)
      guard waiting == 0 else {
        throw SpindleError(
          .conflict,
          "\(waiting) spooled batches of producer \(producer) wait for a predecessor that is not "
            + "there; see \"spindle spool list --name \(Self.name)\" and its quarantine")
      }
      return Ingest(
        pipeline: self, producer: producer, peer: peer,
        applied: worker.position(of: peer) ?? ProducerPosition(producer: producer),
        pointsBefore: before)
    } catch {
      release(peer)
      throw error
    }
  }

  /// Points applied before this run, for a producer's first handle; before this handle, for a later
  /// one.
  private func pointsBefore(_ peer: PeerID) -> UInt64 {
    let isFirst = seenProducers.withLock { $0.insert(peer).inserted }
    let position = isFirst ? startPositions[peer] : worker.position(of: peer)
    return position?.pointCount ?? 0
  }

  func release(_ peer: PeerID) { openProducers.withLock { _ = $0.remove(peer) } }

  /// Waits until everything spooled before the call is applied. Goes on after an earlier failure
  /// when the store takes writes again.
  ///
  /// - Throws: ``SpindleError`` with what stopped the applying; everything not applied is still in
  ///   the spool.
  public func drain() async throws {
    restartIfPossible()
    try await worker.drained()
  }

  func restartIfPossible() {
    // Only what passes by itself is tried again: a store that refused writes and takes them now.
    // Anything else would fail again, while the spool grows.
    guard let failure = worker.failure, [.unavailable, .overloaded].contains(failure.kind),
      store.health.unhealthyReason == nil
    else { return }
    worker.restart()
  }

  /// How far each producer's input is applied.
  public func positions() -> [(peer: PeerID, position: ProducerPosition)] {
    worker.positions.map { ($0.key, $0.value) }
      .sorted { $0.position.producer < $1.position.producer }
  }

  /// Messages that stay in the spool as they can be neither applied nor set aside: the quarantine
  /// is full, damaged, or has another message under the id. They are tried again by the next run.
  /// At most 4,096 are counted.
  public var heldCount: Int { worker.heldCount }

  /// Stops applying. What is spooled stays for the next run. A spool that the pipeline opened
  /// itself is shut down.
  public func close() async {
    await withCheckedContinuation { continuation in
      do {
        // Joining a thread may block, so it has a thread of its own.
        _ = try NamedThread(name: "spindle-stop") { [self] in
          worker.stop()
          claim.withLock { $0 = nil }
          continuation.resume()
        }
      } catch {
        continuation.resume()
      }
    }
    // What it could not sync, the store's close does.
    if ownsSpool { try? await spool.shutdown() }
  }
}
