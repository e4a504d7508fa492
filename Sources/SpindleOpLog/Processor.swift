public import SpindleCore
public import SpindleStore
internal import Synchronization

/// Writes and reads one op-log: local ops by `exec`, entries of other peers by `apply`.
///
/// Each entry is recorded by the tracker, stamped or checked by the clock, and turned into state by
/// the reducer, in one batch: a crash leaves all of an entry or nothing. Calls may come from any
/// task. They are served one after another in the order of their coming; those that come while a
/// commit is running share the next one, which behaves as if each had been committed alone.
///
/// The call that meets nobody runs on its own thread to the end and suspends only where the store
/// must wait.
///
/// Crash windows:
/// - *Before the commit*: nothing is stored. A local op's index and timestamp are used again.
/// - *After the commit, before the cursor moves*: the next open reads the cursors from the rows;
///   the entry offered again is a repeat.
/// - *After the commit, before the event*: events are not replayed. Who must not miss any follows
///   the log.
/// - *A synced commit that failed at its sync*: the caller gets the error, and the entries may be
///   in the log all the same. Cursors and clock are read again before the next call is served, so
///   the same entries offered again are repeats; a local op that is made again is recorded twice
///   unless it has an idempotency token. A buffered call that shared the commit has succeeded.
/// - *Power loss after a buffered commit*: the newest entries vanish with their state and the
///   clock's register, as a suffix.
/// - *Power loss after the log was opened as another peer*: the one that wrote it before may have
///   left buffered entries. The log is synced before the first of them is given away; lost
///   afterwards, their indices would be used again for others.
///
/// While a commit runs nothing is cancelled: the entries of a group are stored and known, or
/// neither.
///
/// With a swift-metrics backend bound before the processor is opened, it is measured: calls and
/// refusals by kind, commits and how many calls share them, waiting calls, the clock.
/// `Documentation/oplog.md` lists the metrics. ``counts`` needs no backend.
public final class Processor<R: Reducer, T: LogTracker<R.Op>>: Sendable {
  typealias Group = Combiner<Request>

  let reducer: R
  public let tracker: T
  public let store: Store
  public let prefix: String
  /// The peer whose log this processor writes.
  public let selfID: PeerID
  let settings: ProcessorSettings
  let clock: ClockService
  let data: StoreFamily
  /// The family of the tracker's rows, whose memory is this processor's; nil for a tracker that
  /// keeps its records elsewhere.
  let rows: StoreFamily?
  let board: CursorBoard
  let combiner: Group
  let outbox: EventOutbox<R.Event>?
  let counters = ProcessorCounters()
  let metrics: OpLogMetrics?
  /// The task that publishes the gauges.
  let publishing = Mutex<Task<Void, Never>?>(nil)
  let writerMemory = WriterMemory()
  /// False after ``rebuildState()`` failed in between. Written by who leads, before the next
  /// request is served.
  let isStateWhole = Atomic(true)
  private let claim: Mutex<WriterClaim?>

  /// Opens the op-log of a prefix, which no other processor may have open, and creates it where it
  /// is missing. For a tracker that refuses repeats; any reducer goes with it.
  ///
  /// - Parameters:
  ///   - prefix: 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
  ///   - selfID: The peer whose log `exec` writes. No other process in the world may write it.
  ///   - publisher: Takes the reducer's events, in the order of the commits. The default discards
  ///     them.
  /// - Throws: ``SpindleError`` with `conflict`, reason `prefix_in_use`, for a second processor,
  ///   reason `other_reducer` for the state of a reducer with another ``Reducer/stateName``;
  ///   otherwise what the tracker and ``ClockService`` throw. Trying again is safe.
  /// - Complexity: one seek per peer; all of the log where ``rebuildState()`` was interrupted.
  public convenience init(
    reducer: R, store: Store, prefix: String, selfID: PeerID,
    settings: ProcessorSettings = ProcessorSettings(),
    publisher: (any EventPublisher<R.Event>)? = nil
  ) async throws where T: DuplicateRejecting {
    try await self.init(opening: reducer, store, prefix, selfID, settings, publisher)
  }

  /// The same for a reducer that bears repeats; any tracker goes with it.
  public convenience init(
    reducer: R, store: Store, prefix: String, selfID: PeerID,
    settings: ProcessorSettings = ProcessorSettings(),
    publisher: (any EventPublisher<R.Event>)? = nil
  ) async throws where R: IdempotentReducer {
    try await self.init(opening: reducer, store, prefix, selfID, settings, publisher)
  }

  /// The same for a tracker that refuses repeats beside a reducer that would bear them.
  public convenience init(
    reducer: R, store: Store, prefix: String, selfID: PeerID,
    settings: ProcessorSettings = ProcessorSettings(),
    publisher: (any EventPublisher<R.Event>)? = nil
  ) async throws where R: IdempotentReducer, T: DuplicateRejecting {
    try await self.init(opening: reducer, store, prefix, selfID, settings, publisher)
  }

  private init(
    opening reducer: R, _ store: Store, _ prefix: String, _ selfID: PeerID,
    _ settings: ProcessorSettings, _ publisher: (any EventPublisher<R.Event>)?
  ) async throws {
    claim = Mutex(try WriterClaim(store, prefix: prefix))
    self.reducer = reducer
    self.store = store
    self.prefix = prefix
    self.selfID = selfID
    self.settings = settings
    tracker = try await T(store: store, prefix: prefix, settings: settings.log)
    rows = (tracker as? any RowKeeping)?.rowFamily
    // Before anything is read that is relied on: cursors, tokens, the register.
    rows?.memory.begin()
    clock = try await ClockService(claimedIn: store, prefix: prefix)
    try await StateRecord.claim(R.stateName, of: prefix, in: store)
    writerMemory.stored(try await tracker.fence(of: selfID))
    if let records = tracker as? any WriteRecords {
      _ = try await records.sweepTokens(
        now: store.clock.wallMilliseconds, limit: WriterMemory.sweepLimit)
    }
    data = try await store.family("data:\(prefix)")
    let positions = try await tracker.allPositions()
    if positions.isEmpty { writerMemory.noteOthersSynced() }
    board = CursorBoard(PeerCursors(positions.mapValues(\.next)))
    combiner = Combiner(Bench(positions: positions))
    outbox = publisher is NoopPublisher<R.Event> ? nil : publisher.map { EventOutbox($0) }
    metrics = OpLogMetrics(log: prefix)
    try await completeRebuild()
    beginPublishing()
  }

  deinit {
    endPublishing()
    board.finish()
  }

  /// Ends the processor: new calls are refused, those that wait are served, their events are
  /// delivered, watches end. The store stays open, and the prefix can be opened again. Repeats do
  /// nothing.
  public func close() async {
    combiner.close()
    // Whoever leads when the last caller was let in is the last to lead.
    await combiner.drained()
    await outbox?.drained()
    board.finish()
    endPublishing()
    claim.withLock { $0 = nil }
  }

  // MARK: Cursors

  /// Every peer's next index. Shows nothing that is not committed.
  public func cursors() -> PeerCursors { board.cursors }

  /// One peer's next index; 0 for a peer never seen.
  public func cursor(of peer: PeerID) -> UInt64 { board[peer] }

  /// The cursors now, then each advance, until the processor closes.
  public func watchCursors() -> CursorWatch { board.watch() }

  /// What the processor has done since it was opened.
  public var counts: ProcessorCounts { counters.counts }

  /// Writing calls that are served now or wait for their turn.
  package var callCount: Int { combiner.callCount }

  /// The state as it is committed, for reads.
  public var view: ReducerView { ReducerView(store, data) }
}

/// How a processor behaves.
public struct ProcessorSettings: Sendable, Hashable {
  /// Whether an entry whose timestamp is below that of its peer's entry before is refused. The
  /// default is false: sources that encode segments check it already.
  ///
  /// The time of a peer's last entry is read from its row when the processor is opened. Where that
  /// is a marker, or was trimmed away, it is not known any more, and the next entry is taken
  /// whatever its timestamp.
  public var refusesFallingTimestamps = false
  /// How the log is kept.
  public var log = OpLogSettings()
  /// How long a call with an idempotency token is recognised when it is made again, in
  /// milliseconds. The default is a day.
  public var tokenLifetimeMilliseconds: UInt64 = 86_400_000
  public init() {}
}
