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
  /// A source that is followed is watched, and asked for its cursors at the first call and every
  /// second in which nothing is left to read: a folder that other programs fill tells of nothing
  /// unless it is asked.
  ///
  /// - Parameters:
  ///   - cursors: Per peer the first index wanted; a peer that is not named starts at 0.
  ///   - follow: Whether the sequence goes on with entries as they come, until the log closes or
  ///     the task is cancelled. Otherwise it ends where the log ended at the first call.
  ///   - clock: Times the rest of 1 s before a source is asked again, for its cursors and for
  ///     entries which it told of and lacks. The default is the system's.
  /// - Returns: A sequence that fails with `notFound`, reason `compacted`, when the entries wanted
  ///   next were trimmed away; reason `missing_history` when the source lacks entries that it told
  ///   of, and is not followed. Also with ``SyncError/cursorMismatch(peer:expected:actual:)`` at a
  ///   hole, and otherwise as ``HasCursors/cursors()`` and ``readSince(peer:from:)`` do. After an
  ///   error of these two the iterator can be asked again, and goes on where it was.
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
    /// When the source is asked for its cursors again; nil before the first time.
    private var askAt: ContinuousClock.Instant?
    /// How long drained peers rest, and the source between two questions for its cursors.
    private static var rest: Duration { .seconds(1) }
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
      var read = try await source.readSince(peer: peer, from: start)
      guard !read.isEmpty else {
        guard isFollowing else {
          throw SpindleError(
            .notFound,
            "the source told of entries of peer \(peer) up to index \(target[peer]) and gives none "
              + "from \(start) on; expected all of them, so a file may be missing",
            reason: "missing_history")
        }
        drained.insert(peer)
        if retryAt == nil { retryAt = clock.now + Self.rest }
        return
      }
      // What came since the first call is not part of a history that ends there.
      if !isFollowing { read = Array(read.prefix(Int(clamping: target[peer] - start))) }
      for (count, element) in read.enumerated() where element.index != start &+ UInt64(count) {
        throw SyncError.cursorMismatch(
          peer: peer, expected: start &+ UInt64(count), actual: element.index)
      }
      pagePeer = peer
      page = read
      positions.advance(peer, to: start &+ UInt64(read.count))
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
      // Before the source is asked, so that no advance falls between the answer and the watch.
      if watch == nil { watch = source.watchCursors().makeAsyncIterator() }
      guard let watch else { return false }
      // Before the watch is looked at, so that events without end do not put it off.
      guard let askAt, clock.now < askAt else { return try await ask() }
      while true {
        if let outcome = watch.state.take() { return learn(outcome.event) }
        let instant = Swift.min(askAt, retryAt ?? askAt)
        if clock.now >= instant { return true }
        await watch.state.waitForChange(until: instant, clock)
      }
    }

    /// Asks the source how far it goes: a folder looks at its files only then.
    ///
    /// - Returns: false when the task was cancelled meanwhile.
    private mutating func ask() async throws -> Bool {
      // Also where it fails, so that a caller who goes on does not ask without a rest.
      defer { askAt = clock.now + Self.rest }
      do {
        let cursors = try await source.cursors()
        return learn(.snapshot(cursors))
      } catch {
        if Task.isCancelled { return false }
        throw error
      }
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
