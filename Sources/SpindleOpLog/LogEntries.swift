public import SpindleCore

/// An entry and its place.
public struct PeerEntry<Op: Sendable>: Sendable {
  public let peer: PeerID
  public let index: UInt64
  public let entry: DecodedEntry<Op>

  public init(peer: PeerID, index: UInt64, entry: DecodedEntry<Op>) {
    self.peer = peer
    self.index = index
    self.entry = entry
  }
}

extension PeerEntry: Equatable where Op: Equatable {}

extension LogSource {
  /// The entries from given positions on: what is there, then what comes, without a gap and without
  /// a repeat. Those of one peer come in order; peers take turns, a page each.
  ///
  /// Holds one page of entries, whatever the log's length and however slow the reader: what is new
  /// waits in the log, not in memory.
  ///
  /// - Parameters:
  ///   - cursors: Per peer the first index wanted; a peer that is not named starts at 0.
  ///   - follow: Whether the sequence goes on with entries as they come, until the log closes or
  ///     the task is cancelled. Otherwise it ends where the log ended at the first call.
  ///   - clock: Times the rest of 1 s before a source is asked again that lacks entries which it
  ///     told of. The default is the system's.
  /// - Returns: A sequence that fails with `notFound`, reason `compacted`, when the entries wanted
  ///   next were trimmed away; reason `missing_history` when the source lacks entries that it told
  ///   of, and is not followed. Also with ``SyncError/cursorMismatch(peer:expected:actual:)`` at a
  ///   hole, and otherwise as ``readSince(peer:from:)`` does.
  public func entries(
    from cursors: PeerCursors = PeerCursors(), follow: Bool,
    clock: any StoreClock = SystemClock()
  ) -> LogEntries<Self> {
    LogEntries(source: self, start: cursors, isFollowing: follow, clock: clock)
  }
}

/// See ``LogSource/entries(from:follow:clock:)``. Each iterator reads for itself.
public struct LogEntries<Source: LogSource>: AsyncSequence, Sendable {
  public typealias Element = PeerEntry<Source.Op>

  let source: Source
  let start: PeerCursors
  let isFollowing: Bool
  let clock: any StoreClock

  public func makeAsyncIterator() -> Iterator {
    Iterator(source: source, positions: start, isFollowing: isFollowing, clock: clock)
  }

  public struct Iterator: AsyncIteratorProtocol {
    let source: Source
    /// Per peer the index after the last entry that was read into the page.
    var positions: PeerCursors
    let isFollowing: Bool
    private let clock: any StoreClock
    /// How far each peer's log is known to go.
    private var target = PeerCursors()
    private var watch: CursorWatch.Iterator?
    private var isStarted = false
    /// The peers that have entries to read, in this round.
    private var round: [PeerID] = []
    /// Peers whose source gave nothing although more was announced. A folder that another program
    /// fills announces entries behind files that it lacks as yet; their coming announces nothing,
    /// so these peers are read again after a rest.
    private var drained: Set<PeerID> = []
    /// When they are read again, whatever else happens meanwhile; nil while there are none.
    private var retryAt: ContinuousClock.Instant?
    /// How long drained peers rest, and how often the wait looks for events meanwhile.
    private static var rest: (whole: Duration, step: Duration) { (.seconds(1), .milliseconds(50)) }
    private var pagePeer: PeerID?
    private var page: [(index: UInt64, entry: DecodedEntry<Source.Op>)] = []
    private var offset = 0

    init(source: Source, positions: PeerCursors, isFollowing: Bool, clock: any StoreClock) {
      self.source = source
      self.positions = positions
      self.isFollowing = isFollowing
      self.clock = clock
    }

    /// The next entry; nil at the end, or when the task was cancelled while it waited.
    public mutating func next() async throws -> PeerEntry<Source.Op>? {
      while true {
        if let pagePeer, offset < page.count {
          defer { offset += 1 }
          return PeerEntry(
            peer: pagePeer, index: page[offset].index, entry: page[offset].entry)
        }
        if let peer = round.popLast() {
          try await readPage(of: peer)
          continue
        }
        if let retryAt, clock.now >= retryAt {
          drained = []
          self.retryAt = nil
        }
        round = positions.gaps(to: target).map(\.peer).filter { !drained.contains($0) }.reversed()
        if round.isEmpty, try await !learnMore() { return nil }
      }
    }

    private mutating func readPage(of peer: PeerID) async throws {
      page = []
      offset = 0
      let start = positions[peer]
      let read = try await source.readSince(peer: peer, from: start)
      guard let last = read.last else {
        guard isFollowing else {
          throw SpindleError(
            .notFound,
            "the source told of entries of peer \(peer) up to index \(target[peer]) and gives none "
              + "from \(start) on; expected all of them, so a file may be missing",
            reason: "missing_history")
        }
        drained.insert(peer)
        if retryAt == nil { retryAt = clock.now + Self.rest.whole }
        return
      }
      for (count, element) in read.enumerated() where element.index != start &+ UInt64(count) {
        throw SyncError.cursorMismatch(
          peer: peer, expected: start &+ UInt64(count), actual: element.index)
      }
      pagePeer = peer
      page = read
      positions.advance(peer, to: last.index &+ 1)
    }

    /// Finds out how far the log goes by now, or waits until it goes further.
    ///
    /// - Returns: false at the end.
    private mutating func learnMore() async throws -> Bool {
      guard isFollowing else {
        defer { isStarted = true }
        if !isStarted { target = try await source.cursors() }
        return !isStarted
      }
      if watch == nil { watch = source.watchCursors().makeAsyncIterator() }
      guard let retryAt else { return learn(await watch?.next()) }
      while clock.now < retryAt {
        if let outcome = watch?.state.take() { return learn(outcome.event) }
        let step = Swift.min(clock.now + Self.rest.step, retryAt)
        guard (try? await clock.sleep(until: step)) != nil else { return false }
      }
      return true
    }

    private mutating func learn(_ event: CursorEvent?) -> Bool {
      switch event {
      case .snapshot(let cursors), .advanced(let cursors):
        // Who has more than was told of before is read at once.
        drained = drained.filter { cursors[$0] <= target[$0] }
        if drained.isEmpty { retryAt = nil }
        target.merge(cursors)
      case nil: return false
      }
      return true
    }
  }
}
