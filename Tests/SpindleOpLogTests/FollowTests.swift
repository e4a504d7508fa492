import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// A log that tests append to, read page by page as a replica's log is.
final class AppendedLog: LogSource {
  typealias Op = Note
  let store: Store
  let tracker: Tracker
  let board: CursorBoard
  /// Entries of a page: few, so that there are many.
  let pageLimit = 3
  /// From which index on nothing is given, as where a file has not come; nil gives all.
  let missing = Mutex<UInt64?>(nil)
  /// How often nothing was given.
  let emptyReads = Atomic<Int>(0)

  init(_ store: Store) async throws {
    self.store = store
    tracker = try await Tracker(store: store, prefix: "app")
    board = CursorBoard(try await tracker.allCursors())
  }

  func append(_ peer: PeerID, _ count: UInt64) async throws {
    let start = board[peer]
    for index in start..<(start + count) {
      try await tracker.add(store, peer, index, Note("\(index)"))
      board.advance(peer, to: index + 1)
    }
  }

  func cursors() async throws -> PeerCursors { board.cursors }
  func cursor(of peer: PeerID) async throws -> UInt64 { board[peer] }
  func watchCursors() -> CursorWatch { board.watch() }
  func readSince(
    peer: PeerID, from index: UInt64
  ) async throws -> [(index: UInt64, entry: DecodedEntry<Note>)] {
    let end = missing.withLock { $0 } ?? .max
    let page = try await tracker.readEntries(peer: peer, from: index, limit: pageLimit)
      .map { (index: $0.0, entry: $0.1) }.filter { $0.index < end }
    if page.isEmpty { emptyReads.add(1, ordering: .relaxed) }
    return page
  }
}

@Suite struct FollowTests {
  private func places(
    _ entries: LogEntries<AppendedLog>, count: Int = .max
  ) async throws -> [PeerID: [UInt64]] {
    var places: [PeerID: [UInt64]] = [:]
    var taken = 0
    if count == 0 { return [:] }
    for try await entry in entries {
      places[entry.peer, default: []].append(entry.index)
      taken += 1
      if taken == count { break }
    }
    return places
  }

  @Test func historyEndsWhereTheLogEnded() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await AppendedLog(store)
        #expect(try await places(log.entries(follow: false)).isEmpty)
        try await log.append(peer(1), 10)
        try await log.append(peer(2), 4)
        let start = PeerCursors([peer(1): 3])
        #expect(
          try await places(log.entries(from: start, follow: false))
            == [peer(1): Array(3..<10), peer(2): Array(0..<4)])
        // What comes while it is read, also into a page that has room for it.
        var iterator = log.entries(from: start, follow: false).makeAsyncIterator()
        #expect(try await iterator.next()?.index == 3)
        for number in UInt64(1)...3 { try await log.append(peer(number), 5) }
        var found: [PeerID: [UInt64]] = [:]
        while let entry = try await iterator.next() {
          found[entry.peer, default: []].append(entry.index)
        }
        #expect(found == [peer(1): Array(4..<10), peer(2): Array(0..<4)])
      }
    }
  }

  /// Entries come while history is read: each is given once, in the order of its peer.
  @Test func followingGivesHistoryThenWhatComesWithoutGapOrRepeat() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await AppendedLog(store)
        try await log.append(peer(1), 20)
        async let read = places(log.entries(follow: true), count: 20 + 60)
        for _ in 0..<20 {
          try await log.append(peer(1), 1)
          try await log.append(peer(2), 2)
        }
        let found = try await read
        #expect(found == [peer(1): Array(0..<40), peer(2): Array(0..<40)])
      }
    }
  }

  @Test func followingEndsWhenTheLogCloses() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await AppendedLog(store)
        try await log.append(peer(1), 5)
        async let read = places(log.entries(follow: true))
        try await log.append(peer(1), 5)
        log.board.finish()
        #expect(try await read[peer(1)] == Array(0..<10))
      }
    }
  }

  @Test func followingEndsWhenItsTaskIsCancelled() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await AppendedLog(store)
        try await log.append(peer(1), 1)
        var iterator = log.entries(follow: true).makeAsyncIterator()
        #expect(try await iterator.next()?.index == 0)
        let waiting = Task { [iterator] in
          var iterator = iterator
          return try await iterator.next() == nil
        }
        waiting.cancel()
        #expect(try await waiting.value)
      }
    }
  }

  @Test func whatWasTrimmedIsToldAndNotPassedOver() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await AppendedLog(store)
        try await log.append(peer(1), 10)
        var iterator = log.entries(follow: true).makeAsyncIterator()
        #expect(try await iterator.next()?.index == 0)
        _ = try await log.tracker.trim(below: PeerCursors([peer(1): 8]), forced: true)
        // The page that was read before the trim is still given.
        #expect(try await iterator.next()?.index == 1)
        #expect(try await iterator.next()?.index == 2)
        await expectError(.notFound, reason: "compacted") { _ = try await iterator.next() }
        let rest = try await places(
          log.entries(from: PeerCursors([peer(1): 8]), follow: false))
        #expect(rest == [peer(1): [8, 9]])
      }
    }
  }

  /// A folder tells of entries behind a file that has not come; its coming moves no cursor.
  @Test func followingGivesWhatComesLate() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let (log, clock) = (try await AppendedLog(store), ManualClock())
        try await log.append(peer(1), 9)
        log.missing.withLock { $0 = 4 }
        let given = Mutex<[PeerID: [UInt64]]>([:])
        let reading = Task {
          for try await entry in log.entries(follow: true, clock: clock) {
            given.withLock { $0[entry.peer, default: []].append(entry.index) }
          }
        }
        try await eventually { log.emptyReads.load(ordering: .relaxed) == 1 }
        log.missing.withLock { $0 = nil }
        // Others write without end, and put nothing off.
        for number in 0..<20 as Range<UInt64> {
          try await eventually { clock.sleeperCount == 1 }
          #expect(given.withLock { $0[peer(1)] } == [0, 1, 2, 3])
          try await log.append(peer(2), 1)
          clock.advance(by: .milliseconds(50))
          try await eventually { given.withLock { $0[peer(2)]?.last } == number }
        }
        try await eventually { given.withLock { $0[peer(1)] } == Array(0..<9) }
        log.board.finish()
        try await reading.value
        #expect(given.withLock { $0[peer(2)] } == Array(0..<20))
      }
    }
  }

  /// An announcement wakes its peer at once, without a rest.
  @Test func aDrainedPeerThatWritesIsReadAtOnce() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let (log, clock) = (try await AppendedLog(store), ManualClock())
        try await log.append(peer(1), 6)
        log.missing.withLock { $0 = 0 }
        let first = Task {
          var iterator = log.entries(follow: true, clock: clock).makeAsyncIterator()
          return try await iterator.next()?.index
        }
        try await eventually { clock.sleeperCount == 1 }
        #expect(log.emptyReads.load(ordering: .relaxed) == 1)
        log.missing.withLock { $0 = nil }
        try await log.append(peer(1), 1)
        clock.advance(by: .milliseconds(50))
        #expect(try await first.value == 0)
      }
    }
  }

  @Test func historyThatLacksEntriesIsAnError() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await AppendedLog(store)
        try await log.append(peer(1), 9)
        log.missing.withLock { $0 = 4 }
        var iterator = log.entries(follow: false).makeAsyncIterator()
        for index in 0..<4 as Range<UInt64> { #expect(try await iterator.next()?.index == index) }
        await expectError(.notFound, reason: "missing_history") { _ = try await iterator.next() }
      }
    }
  }

  @Test func aHoleIsAnErrorAndNotPassedOver() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await AppendedLog(store)
        try await log.append(peer(1), 5)
        try await damage(store, "app", key: OpLogKeys.entry(peer(1), 1), value: nil)
        var iterator = log.entries(follow: false).makeAsyncIterator()
        await #expect(throws: SyncError.self) { _ = try await iterator.next() }
      }
    }
  }
}
