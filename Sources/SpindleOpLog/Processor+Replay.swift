internal import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// The peers that have entries to apply, in the order of their next ones.
private struct ReplayLine {
  /// The first one last, so that taking it costs nothing. Places tell peers in the order of their
  /// bytes.
  private var order: [(timestamp: Timestamp, place: Int)] = []

  /// - Complexity: O(log(peers)) and a move of 16 bytes for each peer at most.
  mutating func insert(_ place: Int, at timestamp: Timestamp) {
    var (lower, upper) = (0, order.count)
    while lower < upper {
      let middle = lower + (upper - lower) / 2
      if order[middle] > (timestamp, place) { lower = middle + 1 } else { upper = middle }
    }
    order.insert((timestamp, place), at: lower)
  }

  mutating func popFirst() -> Int? { order.popLast()?.place }
}

/// What is read ahead of each peer's log, so that all of them together stay within bounds.
private struct ReadAhead {
  let entryLimit: Int
  let byteLimit: Int

  /// The most entries of all peers, but two of each.
  private static let totalEntryLimit = 16_384
  /// The most bytes of all peers.
  private static let totalByteLimit = 16 << 20

  init(peerCount: Int) {
    let count = max(peerCount, 1)
    entryLimit = min(max(Self.totalEntryLimit / count, 2), LogPage.entryLimit)
    byteLimit = min(max(Self.totalByteLimit / count, 1), LogPage.byteLimit)
  }
}

/// Makes the state from the rows: ``Processor/rebuildState()``.
extension Processor {
  private typealias IndexedEntry = (index: UInt64, entry: DecodedEntry<R.Op>)

  /// What is still to be applied of a peer's log.
  private struct Rest {
    let peer: PeerID
    var next: UInt64 = 0
    let end: UInt64
    /// Entries from ``next`` on that were read ahead.
    var page: ArraySlice<IndexedEntry> = []
    /// When the next entry was made. A marker has no time and comes behind the entry before it.
    var timestamp = Timestamp.zero

    var isDone: Bool { next == end }

    /// Moves behind the next entry.
    mutating func advance() {
      next += 1
      _ = page.popFirst()
      noteTime(of: page.first)
    }

    mutating func noteTime(of next: IndexedEntry?) {
      if case .logEntry(let entry) = next?.entry { timestamp = entry.timestamp }
    }
  }

  /// A commit in the making.
  private struct Replay {
    var pending: ReducerBatch
    var index: WriteRecordIndex
    /// Entries applied since the last commit.
    var entryCount = 0
    /// Entries applied.
    var count: UInt64 = 0

    init(_ data: StoreFamily) {
      pending = ReducerBatch(.upkeep, family: data)
      index = WriteRecordIndex(family: data.id)
    }

    var isFull: Bool {
      entryCount >= LogPage.entryLimit || pending.batch.byteCount >= LogPage.byteLimit
    }

    mutating func takeBatch() -> Batch {
      var batch = Batch.upkeep
      swap(&batch, &pending.batch)
      index.removeAll()
      entryCount = 0
      return batch
    }
  }

  private enum Outcome {
    case applied, skipped
    case blocked(reason: String)
  }

  /// Applies the peers' logs in the order of their timestamps. A peer whose next entry the reducer
  /// blocks leaves the line until another peer's entry was applied.
  func replay(
    _ cursors: PeerCursors, of history: any HistoryTracker<R.Op>
  ) async throws -> UInt64 {
    let bounds = ReadAhead(peerCount: cursors.count)
    var replay = Replay(data)
    var rests = cursors.sorted.map { Rest(peer: $0.peer, end: $0.next) }
    var line = ReplayLine()
    var waiting: [(place: Int, reason: String)] = []
    for place in rests.indices {
      try await readAhead(&rests[place], bounds, of: history)
      line.insert(place, at: rests[place].timestamp)
    }
    while let place = line.popFirst() {
      let entry = try await nextEntry(of: rests[place], in: history)
      let outcome = try await apply(entry, rests[place].peer, rests[place].next, &replay)
      if case .blocked(let reason) = outcome {
        waiting.append((place, reason))
        continue
      }
      if replay.isFull { try await store.commit(replay.takeBatch(), durability: .buffered) }
      rests[place].advance()
      if !rests[place].isDone {
        try await readAhead(&rests[place], bounds, of: history)
        line.insert(place, at: rests[place].timestamp)
      }
      if case .applied = outcome {
        for (place, _) in waiting { line.insert(place, at: rests[place].timestamp) }
        waiting = []
      }
    }
    if let (place, reason) = waiting.first {
      throw SpindleError(
        .conflict,
        "the reducer refuses index \(rests[place].next) of peer \(rests[place].peer), which is in "
          + "the log: \(reason)", reason: "blocked")
    }
    try await store.commit(replay.takeBatch(), durability: .buffered)
    return replay.count
  }

  /// Reads on where nothing is left of what was read ahead.
  private func readAhead(
    _ rest: inout Rest, _ bounds: ReadAhead, of history: any HistoryTracker<R.Op>
  ) async throws {
    guard rest.page.isEmpty else { return }
    var page = try await page(
      of: rest.peer, from: rest.next, to: rest.end, limit: bounds.entryLimit,
      byteLimit: bounds.byteLimit, in: history)
    rest.noteTime(of: page.first)
    // The last entry, with which the bytes may have ended the page, is of any size: it is read
    // again when its turn comes.
    page.removeLast()
    rest.page = page[...]
  }

  private func nextEntry(
    of rest: Rest, in history: any HistoryTracker<R.Op>
  ) async throws -> DecodedEntry<R.Op> {
    if let entry = rest.page.first?.entry { return entry }
    return try await page(of: rest.peer, from: rest.next, to: rest.end, limit: 1, in: history)[0]
      .entry
  }

  /// Applies an entry once more.
  private func apply(
    _ entry: DecodedEntry<R.Op>, _ peer: PeerID, _ index: UInt64, _ replay: inout Replay
  ) async throws -> Outcome {
    guard case .logEntry(let entry) = entry else { return .skipped }
    let context = OpContext(
      peer: peer, index: index, timestamp: entry.timestamp, serverUser: entry.serverUser)
    replay.index.extend(over: replay.pending.batch.record)
    let outcome = try await reducer.prepare(
      entry.op, context,
      ReducerView(
        store, data,
        pending: ReducerView.Pending(index: replay.index, record: replay.pending.batch.record)))
    switch outcome {
    case .proceed(let state):
      _ = try reducer.apply(entry.op, context, state, into: &replay.pending)
      replay.count += 1
      replay.entryCount += 1
      return .applied
    case .skip: return .skipped
    case .block(let reason, _): return .blocked(reason: reason)
    }
  }
}
