internal import SpindleCore
public import SpindleOpLog
public import SpindleStore

/// Checks that a tracker keeps the promises of ``LogTracker``, alone and below a processor.
///
/// ```swift
/// try await OpLogConformance<LogIndexTracker<MaxRegisterOp>> { name in
///   try await Store.open(at: folder + "/" + name)
/// }.run()
/// ```
/// Each scenario works in a store of its own, which it may close and open again.
public struct OpLogConformance<T: LogTracker<MaxRegisterOp>>: Sendable {
  /// A promise that was not kept.
  public struct Failure: Error, CustomStringConvertible {
    public let scenario: String
    public let what: String
    public var description: String { "\(scenario): \(what)" }
  }

  private let open: @Sendable (_ name: String) async throws -> Store

  /// - Parameter open: Opens the store of a name, and makes it the first time.
  public init(_ open: @escaping @Sendable (_ name: String) async throws -> Store) {
    self.open = open
  }

  /// Runs every scenario.
  ///
  /// - Throws: ``Failure`` for the first promise that is not kept, or what the tracker threw.
  public func run() async throws {
    for (name, scenario) in scenarios { try await scenario(Place(name: name, open: open)) }
  }

  /// Runs every scenario to its end.
  ///
  /// - Returns: The names of those that failed.
  public func failing() async -> [String] {
    var names: [String] = []
    for (name, scenario) in scenarios {
      do { try await scenario(Place(name: name, open: open)) } catch { names.append(name) }
    }
    return names
  }

  /// The scenarios, by the numbers that `Documentation/oplog-scenarios.md` gives them. What a log
  /// gives back is asked of a ``HistoryTracker`` only, refusals of a ``DuplicateRejecting`` one.
  public var scenarios: [(name: String, run: @Sendable (Place) async throws -> Void)] {
    [
      ("O-1", Self.empty),
      ("O-2", Self.openingRepeats),
      ("O-3", Self.oneRow),
      ("O-4", Self.cursors),
      ("O-5", Self.nothingWithoutCommit),
      ("O-6", Self.batchesAreWhole),
      ("O-7", Self.takenIndices),
      ("O-8", Self.oneBatchTwice),
      ("O-9", Self.peersShareIndices),
      ("O-10", Self.entryOverMarker),
      ("O-11", Self.markerOverEntry),
      ("O-12", Self.markers),
      ("O-13", Self.users),
      ("O-14", Self.emptyParts),
      ("O-15", Self.largeValues),
      ("O-16", Self.highIndices),
      ("O-17", Self.lastIndex),
      ("O-18", Self.highTimes),
      ("O-21", Self.extremePeers),
      ("O-22", Self.neighbouringPeers),
      ("O-23", Self.prefixes),
      ("O-25", Self.pages),
      ("O-26", Self.longLogs),
      ("O-29", Self.registers),
      ("O-30", Self.otherRegisters),
      ("O-31", Self.rawRepeats),
      ("O-32", Self.clockAfterRefusal),
      ("O-35", Self.cancelledCalls),
      ("O-49", Self.entriesInOrder),
    ]
  }

  /// The store of one scenario.
  public struct Place: Sendable {
    let name: String
    let open: @Sendable (String) async throws -> Store

    func withStore<Value>(_ body: (Store) async throws -> Value) async throws -> Value {
      let store = try await open(name)
      do {
        let value = try await body(store)
        try await store.close()
        return value
      } catch {
        try? await store.close()
        throw error
      }
    }

    func withTracker(_ body: (T, Store) async throws -> Void) async throws {
      try await withStore { store in
        try await body(try await T(store: store, prefix: "app"), store)
      }
    }

    func demand(_ holds: Bool, _ what: String) throws {
      if !holds { throw Failure(scenario: name, what: what) }
    }

    func demandViolation(_ what: String, _ body: () async throws -> Void) async throws {
      do {
        try await body()
      } catch let error as SpindleError where error.kind == .uniqueViolation {
        return
      }
      throw Failure(scenario: name, what: what)
    }
  }

  // MARK: The tracker alone

  private typealias Entry = DecodedEntry<MaxRegisterOp>

  private static func commit(
    _ tracker: T, _ store: Store, _ entries: [(PeerID, UInt64, Entry)]
  ) async throws {
    var batch = Batch()
    for (peer, index, entry) in entries {
      switch entry {
      case .expunged(let hash):
        try tracker.trackExpunged(peer: peer, index: index, hash: hash, into: &batch)
      case .logEntry(let entry):
        try tracker.trackOne(
          peer: peer, index: index, timestamp: entry.timestamp, serverUser: entry.serverUser,
          op: entry.op, into: &batch)
      }
    }
    try await store.commit(batch, durability: .buffered)
  }

  private static func add(
    _ tracker: T, _ store: Store, _ peer: PeerID, _ indices: [UInt64], value: UInt64 = 1
  ) async throws {
    try await commit(tracker, store, indices.map { (peer, $0, entry(value)) })
  }

  /// Demands that a tracker with history gives exactly these entries.
  private static func demand(
    _ place: Place, _ tracker: T, _ peer: PeerID, from index: UInt64 = 0, limit: Int = .max,
    _ expected: [(UInt64, Entry)], _ what: String
  ) async throws {
    guard let history = tracker as? any HistoryTracker<MaxRegisterOp> else { return }
    let found = try await history.readEntries(peer: peer, from: index, limit: limit)
    try place.demand(
      found.map(\.0) == expected.map(\.0) && found.map(\.1) == expected.map(\.1), what)
  }

  private static func demandEmpty(_ place: Place, _ tracker: T, _ what: String) async throws {
    try place.demand(try await tracker.allCursors().isEmpty, what)
    try await demand(place, tracker, peer(1), [], what)
  }

  private static func empty(_ place: Place) async throws {
    try await place.withTracker { tracker, _ in
      try await demandEmpty(place, tracker, "a new log is not empty")
    }
  }

  private static func openingRepeats(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      try await add(tracker, store, peer(1), [0])
      let again = try await T(store: store, prefix: "app")
      try place.demand(try await again.allCursors()[peer(1)] == 1, "a second tracker lost the row")
      try await demand(place, again, peer(1), [(0, entry(1))], "a second tracker lost the row")
    }
    try await place.withTracker { tracker, _ in
      try place.demand(try await tracker.allCursors()[peer(1)] == 1, "a row was lost by reopening")
      try await demand(place, tracker, peer(1), [(0, entry(1))], "a row changed by reopening")
    }
  }

  private static func oneRow(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      try await add(tracker, store, peer(1), [0])
      try place.demand(
        try await tracker.allCursors() == PeerCursors([peer(1): 1]), "the cursor is not 1")
    }
  }

  private static func cursors(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      let ends = [peer(1): 10, peer(2): 3] as [PeerID: UInt64]
      for (peer, next) in ends { try await add(tracker, store, peer, Array(0..<next)) }
      try place.demand(try await tracker.allCursors() == PeerCursors(ends), "a cursor is wrong")
    }
  }

  private static func nothingWithoutCommit(_ place: Place) async throws {
    try await place.withTracker { tracker, _ in
      var batch = Batch()
      try tracker.trackOne(
        peer: peer(1), index: 0, timestamp: .zero, serverUser: nil, op: MaxRegisterOp("x", 1),
        into: &batch)
      try await demandEmpty(place, tracker, "an entry shows before its commit")
    }
    try await place.withTracker { tracker, _ in
      try await demandEmpty(place, tracker, "a dropped batch was stored")
    }
  }

  private static func batchesAreWhole(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      try await add(tracker, store, peer(1), [0, 1])
      try place.demand(
        try await tracker.allCursors()[peer(1)] == 2, "a batch of two was not stored whole")
      guard T.self is any DuplicateRejecting.Type else { return }
      try await place.demandViolation("a batch with a taken index was stored") {
        try await add(tracker, store, peer(1), [2, 1], value: 9)
      }
      try await demand(
        place, tracker, peer(1), [(0, entry(1)), (1, entry(1))], "a batch was stored in part")
      try place.demand(
        try await tracker.allCursors()[peer(1)] == 2, "a refused batch was stored in part")
    }
  }

  private static func takenIndices(_ place: Place) async throws {
    try await refusal(place, of: entry(9), over: entry(1))
  }

  private static func entryOverMarker(_ place: Place) async throws {
    try await refusal(place, of: entry(9), over: .expunged(someHash))
  }

  private static func markerOverEntry(_ place: Place) async throws {
    try await refusal(place, of: .expunged(someHash), over: entry(1))
  }

  private static func refusal(_ place: Place, of second: Entry, over first: Entry) async throws {
    guard T.self is any DuplicateRejecting.Type else { return }
    try await place.withTracker { tracker, store in
      try await commit(tracker, store, [(peer(1), 0, first)])
      try await place.demandViolation("a taken index was taken again") {
        try await commit(tracker, store, [(peer(1), 0, second)])
      }
      try await demand(place, tracker, peer(1), [(0, first)], "the first entry was replaced")
      try place.demand(try await tracker.allCursors()[peer(1)] == 1, "the cursor moved")
    }
  }

  private static func oneBatchTwice(_ place: Place) async throws {
    guard T.self is any DuplicateRejecting.Type else { return }
    try await place.withTracker { tracker, store in
      try await place.demandViolation("one batch took an index twice") {
        try await add(tracker, store, peer(1), [0, 0])
      }
      try await demandEmpty(place, tracker, "a refused batch was stored in part")
      try await add(tracker, store, peer(1), [0])
    }
  }

  private static func peersShareIndices(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      for number in [1, 2] as [UInt64] {
        try await add(tracker, store, peer(number), [0], value: number)
      }
      for number in [1, 2] as [UInt64] {
        try await demand(
          place, tracker, peer(number), [(0, entry(number))], "an entry of another peer is there")
      }
      try place.demand(try await tracker.allCursors().count == 2, "a peer is missing")
    }
  }

  private static func markers(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      try await add(tracker, store, peer(1), [0, 1])
      try await commit(tracker, store, [(peer(1), 2, .expunged(someHash))])
      try place.demand(try await tracker.allCursors()[peer(1)] == 3, "a marker takes no index")
      try await demand(
        place, tracker, peer(1), from: 2, [(2, .expunged(someHash))], "a marker changed")
    }
  }

  /// Stores entries and demands them back, before and after reopening.
  private static func roundTrip(_ place: Place, _ entries: [Entry]) async throws {
    let numbered = entries.enumerated().map { (UInt64($0), $1) }
    try await place.withTracker { tracker, store in
      try await commit(tracker, store, numbered.map { (peer(1), $0, $1) })
      try await demand(place, tracker, peer(1), numbered, "an entry reads back otherwise")
    }
    try await place.withTracker { tracker, _ in
      try await demand(place, tracker, peer(1), numbered, "an entry changed by reopening")
    }
  }

  private static func users(_ place: Place) async throws {
    let users = [nil, 0, .max, 7].map { (user: UInt64?) in
      user.map { UserID(UUIDValue(high: $0, low: $0)) }
    }
    try await roundTrip(
      place,
      users.map {
        .logEntry(
          LogEntry(serverUser: $0, timestamp: Timestamp(packed: 5), op: MaxRegisterOp("x", 1)))
      })
  }

  private static func emptyParts(_ place: Place) async throws {
    try await roundTrip(
      place,
      [
        entry(MaxRegisterOp(name: [], value: .bytes([]))),
        entry(MaxRegisterOp(name: [0], value: .bytes([0]))),
      ])
  }

  private static func largeValues(_ place: Place) async throws {
    let bytes = (0..<(1 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    try await roundTrip(place, [entry(MaxRegisterOp(name: [1], value: .bytes(bytes)))])
  }

  private static func highIndices(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      let high: [UInt64] = [1 << 63 - 1, 1 << 63, .max - 1]
      for index in high.reversed() { try await add(tracker, store, peer(1), [index]) }
      try place.demand(
        try await tracker.allCursors()[peer(1)] == .max, "indices beyond 2^63 are misordered")
      try await demand(
        place, tracker, peer(1), high.map { ($0, entry(1)) }, "indices beyond 2^63 are misordered")
      try await demand(
        place, tracker, peer(1), from: 1 << 63, limit: 1, [(1 << 63, entry(1))],
        "a page beyond 2^63 does not begin where it is asked to")
    }
  }

  private static func lastIndex(_ place: Place) async throws {
    try await place.withTracker { tracker, _ in
      var batch = Batch()
      let error: (any Error)?
      do {
        try tracker.trackOne(
          peer: peer(1), index: .max, timestamp: .zero, serverUser: nil,
          op: MaxRegisterOp("x", 1), into: &batch)
        error = nil
      } catch let thrown { error = thrown }
      try place.demand(error != nil && batch.isEmpty, "index 2^64 - 1 was taken")
    }
  }

  private static func highTimes(_ place: Place) async throws {
    try await roundTrip(
      place,
      [0, 1 << 63 - 1, 1 << 63 + 5, .max].map {
        .logEntry(
          LogEntry(
            serverUser: nil, timestamp: Timestamp(packed: $0), op: MaxRegisterOp("x", 1)))
      })
  }

  private static func extremePeers(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      let peers = [peer(0), peer(.max)]
      for peer in peers { try await add(tracker, store, peer, [0, 1]) }
      try place.demand(
        try await tracker.allCursors() == PeerCursors([peers[0]: 2, peers[1]: 2]),
        "a cursor is wrong")
      for peer in peers {
        try await demand(
          place, tracker, peer, [(0, entry(1)), (1, entry(1))], "the entries of a peer are wrong")
      }
    }
  }

  private static func neighbouringPeers(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      for number in [6, 7, 8] as [UInt64] {
        try await add(tracker, store, peer(number), [0, 1], value: number)
      }
      for number in [6, 7, 8] as [UInt64] {
        try await demand(
          place, tracker, peer(number), [(0, entry(number)), (1, entry(number))],
          "entries of one peer show among another's")
        try await demand(
          place, tracker, peer(number), from: 2, [], "a read beyond a peer's end gives another's")
      }
    }
  }

  private static func prefixes(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      let other = try await T(store: store, prefix: "app2")
      try await add(tracker, store, peer(1), [0, 1])
      try await add(other, store, peer(1), [0], value: 2)
      let cursors = [try await tracker.allCursors(), try await other.allCursors()]
      try place.demand(cursors.map { $0[peer(1)] } == [2, 1], "one prefix shows in another")
      try await demand(place, other, peer(1), [(0, entry(2))], "one prefix shows in another")
    }
  }

  private static func pages(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      try await commit(tracker, store, (0..<6).map { (peer(1), $0, entry($0)) })
      let asked: [(from: UInt64, limit: Int, Range<UInt64>)] = [
        (3, 2, 3..<5), (0, 1, 0..<1), (0, 6, 0..<6), (5, 9, 5..<6), (2, 0, 2..<2), (6, 2, 6..<6),
        (.max, 2, 6..<6),
      ]
      for (index, limit, indices) in asked {
        try await demand(
          place, tracker, peer(1), from: index, limit: limit, indices.map { ($0, entry($0)) },
          "a page of \(limit) from \(index) on is wrong")
      }
      try await demand(place, tracker, peer(2), limit: 2, [], "an unknown peer has entries")
    }
  }

  private static func longLogs(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      try await commit(tracker, store, (0..<257).map { (peer(1), $0, entry($0)) })
      for indices in [0..<256, 256..<257, 257..<257] as [Range<UInt64>] {
        try await demand(
          place, tracker, peer(1), from: indices.lowerBound, limit: 256,
          indices.map { ($0, entry($0)) }, "the page from \(indices.lowerBound) on is wrong")
      }
    }
  }

  // MARK: Below a processor

  private static func withRegisters(
    _ place: Place, _ body: (Processor<MaxRegister, T>) async throws -> Void
  ) async throws {
    try await place.withStore { store in
      let log = try await Processor<MaxRegister, T>(
        reducer: MaxRegister(), store: store, prefix: "app", selfID: peer(100))
      do {
        try await body(log)
      } catch {
        await log.close()
        throw error
      }
      await log.close()
    }
  }

  private static func registers(_ place: Place) async throws {
    try await withRegisters(place) { log in
      for (value, kept) in [(5, 5), (3, 5), (9, 9)] as [(UInt64, UInt64)] {
        try await log.exec(MaxRegisterOp("x", value))
        try place.demand(
          try await log.view.register("x") == .unsigned(kept), "x is not \(kept) after \(value)")
      }
    }
    try await withRegisters(place) { log in
      try place.demand(log.cursor(of: peer(100)) == 3, "the own log does not go on")
      try place.demand(
        try await log.view.register("x") == .unsigned(9), "the state was lost by reopening")
    }
  }

  private static func otherRegisters(_ place: Place) async throws {
    try await withRegisters(place) { log in
      try await log.exec(MaxRegisterOp("x", 9))
      try await log.exec(MaxRegisterOp("y", 7))
      try place.demand(
        try await log.view.register("x") == .unsigned(9), "writing y changed x")
      try place.demand(try await log.view.register("y") == .unsigned(7), "y was not written")
    }
  }

  private static func entriesInOrder(_ place: Place) async throws {
    try await withRegisters(place) { log in
      for index in UInt64(0)..<3 {
        let applied = try await log.apply(peer: peer(1), index: index, entry: entry(index))
        try place.demand(applied.new, "a new entry is told as a repeat")
      }
      let again = try await log.apply(peer: peer(1), index: 1, entry: entry(1))
      try place.demand(!again.new, "a repeat is told as new")
      do {
        _ = try await log.apply(peer: peer(1), index: 5, entry: entry(5))
        throw Failure(scenario: place.name, what: "an entry was taken over a gap")
      } catch SyncError.cursorMismatch {}
      try place.demand(log.cursor(of: peer(1)) == 3, "a refused entry moved the cursor")
    }
  }

  private static func rawRepeats(_ place: Place) async throws {
    guard T.self is any DuplicateRejecting.Type else { return }
    try await withRegisters(place) { log in
      try await log.processOne(peer: peer(1), index: 0, entry: entry(5))
      try await place.demandViolation("a raw repeat was taken") {
        try await log.processOne(peer: peer(1), index: 0, entry: entry(9))
      }
      try place.demand(
        try await log.view.register("x") == .unsigned(5), "a refused entry changed the state")
      try await demand(
        place, log.tracker, peer(1), [(0, entry(5))], "a refused entry changed the log")
    }
  }

  private static func clockAfterRefusal(_ place: Place) async throws {
    guard T.self is any DuplicateRejecting.Type else { return }
    var stored = Timestamp.zero
    try await withRegisters(place) { log in
      // Ahead of the wall clock, so that only what is stored can tell.
      let wall = log.store.clock.wallMilliseconds
      func entry(_ milliseconds: UInt64) -> Entry {
        .logEntry(
          LogEntry(
            serverUser: nil, timestamp: Timestamp(packed: (wall + milliseconds) << 16),
            op: MaxRegisterOp("x", milliseconds)))
      }
      try await log.processOne(peer: peer(1), index: 0, entry: entry(1))
      try await place.demandViolation("a raw repeat was taken") {
        try await log.processOne(peer: peer(1), index: 0, entry: entry(50_000))
      }
      try await log.processOne(peer: peer(1), index: 1, entry: entry(40_000))
      stored = Timestamp(packed: (wall + 40_000) << 16)
    }
    try await withRegisters(place) { log in
      let next = try await log.exec(MaxRegisterOp("x", 1)).timestamp
      try place.demand(next > stored, "a reopened clock is behind a stored time")
    }
  }

  private static func cancelledCalls(_ place: Place) async throws {
    try await withRegisters(place) { log in
      for index in UInt64(0)..<20 {
        let before = log.cursor(of: peer(1))
        let call = Task {
          try await log.apply(peer: peer(1), index: before, entry: entry(index + 1))
        }
        call.cancel()
        let isTaken = (try? await call.value) != nil
        try place.demand(
          log.cursor(of: peer(1)) == before + (isTaken ? 1 : 0), "cursor and outcome differ")
        try place.demand(
          try await log.tracker.allCursors()[peer(1)] == log.cursor(of: peer(1)),
          "cursor and rows differ")
      }
    }
  }

  private static func peer(_ number: UInt64) -> PeerID {
    PeerID(UUIDValue(high: number == .max ? .max : 0, low: number))
  }

  private static func entry(_ op: MaxRegisterOp) -> Entry {
    .logEntry(LogEntry(serverUser: nil, timestamp: Timestamp(packed: 5), op: op))
  }

  private static func entry(_ value: UInt64) -> Entry {
    .logEntry(
      LogEntry(
        serverUser: nil, timestamp: Timestamp(packed: 5 + value), op: MaxRegisterOp("x", value)))
  }

  private static var someHash: EntryHash { EntryHash(bytes: Array(0..<32))! }
}
