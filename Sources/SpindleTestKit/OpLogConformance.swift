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

  /// The scenarios, by name.
  public var scenarios: [(name: String, run: @Sendable (Place) async throws -> Void)] {
    [
      ("opening-repeats", Self.openingRepeats), ("cursors", Self.cursors),
      ("nothing-without-commit", Self.nothingWithoutCommit),
      ("repeats-are-refused", Self.repeatsAreRefused), ("markers", Self.markers),
      ("prefixes", Self.prefixes), ("last-index", Self.lastIndex), ("registers", Self.registers),
      ("entries-in-order", Self.entriesInOrder), ("commit-is-whole", Self.commitIsWhole),
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

  private static func add(
    _ tracker: T, _ store: Store, _ peer: PeerID, _ indices: [UInt64], value: UInt64 = 1
  ) async throws {
    var batch = Batch()
    for index in indices {
      try tracker.trackOne(
        peer: peer, index: index, timestamp: Timestamp(packed: 5), serverUser: nil,
        op: MaxRegisterOp("x", value), into: &batch)
    }
    try await store.commit(batch, durability: .buffered)
  }

  private static func openingRepeats(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      try place.demand(try await tracker.allCursors().isEmpty, "a new log has a cursor")
      try await add(tracker, store, peer(1), [0])
      let again = try await T(store: store, prefix: "app")
      try place.demand(try await again.allCursors()[peer(1)] == 1, "a second tracker lost the row")
    }
    try await place.withTracker { tracker, _ in
      try place.demand(try await tracker.allCursors()[peer(1)] == 1, "a row was lost by reopening")
    }
  }

  private static func cursors(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      let ends = [peer(0): 1, peer(1): 10, peer(.max): 3] as [PeerID: UInt64]
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
      try place.demand(
        try await tracker.allCursors().isEmpty, "an entry shows before its commit")
    }
    try await place.withTracker { tracker, _ in
      try place.demand(try await tracker.allCursors().isEmpty, "a dropped batch was stored")
    }
  }

  private static func repeatsAreRefused(_ place: Place) async throws {
    guard T.self is any DuplicateRejecting.Type else { return }
    try await place.withTracker { tracker, store in
      try await add(tracker, store, peer(1), [0])
      try await place.demandViolation("a taken index was taken again") {
        try await add(tracker, store, peer(1), [1, 0], value: 9)
      }
      try place.demand(
        try await tracker.allCursors()[peer(1)] == 1, "a refused batch was stored in part")
      try await place.demandViolation("one batch took an index twice") {
        try await add(tracker, store, peer(2), [0, 0])
      }
      try place.demand(
        try await tracker.allCursors()[peer(2)] == 0, "a refused batch was stored in part")
      try await add(tracker, store, peer(2), [0])
    }
  }

  private static func markers(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      try await add(tracker, store, peer(1), [0, 1])
      var batch = Batch()
      try tracker.trackExpunged(peer: peer(1), index: 2, hash: someHash, into: &batch)
      try await store.commit(batch, durability: .buffered)
      try place.demand(try await tracker.allCursors()[peer(1)] == 3, "a marker takes no index")
      guard T.self is any DuplicateRejecting.Type else { return }
      try await place.demandViolation("an entry replaced a marker") {
        try await add(tracker, store, peer(1), [2])
      }
    }
  }

  private static func prefixes(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      let other = try await T(store: store, prefix: "app2")
      try await add(tracker, store, peer(1), [0, 1])
      try await add(other, store, peer(1), [0])
      let cursors = [try await tracker.allCursors(), try await other.allCursors()]
      try place.demand(cursors.map { $0[peer(1)] } == [2, 1], "one prefix shows in another")
    }
  }

  private static func lastIndex(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      let high: [UInt64] = [1 << 63 - 1, 1 << 63, .max - 1]
      for index in high { try await add(tracker, store, peer(1), [index]) }
      try place.demand(
        try await tracker.allCursors()[peer(1)] == .max, "indices beyond 2^63 are misordered")
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
      try await log.exec(MaxRegisterOp("y", 7))
      try place.demand(
        try await log.view.register("x") == .unsigned(9), "writing y changed x")
    }
    try await withRegisters(place) { log in
      try place.demand(log.cursor(of: peer(100)) == 4, "the own log does not go on")
      try place.demand(
        try await log.view.register("y") == .unsigned(7), "the state was lost by reopening")
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

  private static func commitIsWhole(_ place: Place) async throws {
    try await withRegisters(place) { log in
      try await log.processOne(peer: peer(1), index: 0, entry: entry(5))
      guard T.self is any DuplicateRejecting.Type else { return }
      try await place.demandViolation("a raw repeat was taken") {
        try await log.processOne(peer: peer(1), index: 0, entry: entry(9))
      }
      try place.demand(
        try await log.view.register("x") == .unsigned(5), "a refused entry changed the state")
    }
  }

  private static func peer(_ number: UInt64) -> PeerID {
    PeerID(UUIDValue(high: number == .max ? .max : 0, low: number))
  }

  private static func entry(_ value: UInt64) -> DecodedEntry<MaxRegisterOp> {
    .logEntry(
      LogEntry(
        serverUser: nil, timestamp: Timestamp(packed: 5 + value), op: MaxRegisterOp("x", value)))
  }

  private static var someHash: EntryHash { EntryHash(bytes: Array(0..<32))! }
}
