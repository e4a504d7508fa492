internal import SpindleCore
internal import SpindleOpLog
internal import SpindleStore
internal import Synchronization

/// Checks that a backend's tracker keeps the promises of ``LogTracker``, alone and below a
/// processor.
///
/// ```swift
/// struct Rows: OpLogEnvironment {
///   typealias Tracker = LogIndexTracker<ConformanceOp>
///   let folder: String
///   func open(_ name: String) async throws -> Store {
///     try await Store.open(at: folder + "/" + name)
///   }
/// }
/// for gap in try await OpLogConformance(Rows(folder: folder)).run() { print(gap) }
/// ```
/// Each scenario works in a store of its own, which it may close and open again. The scenarios lie
/// in extensions: `+Rows`, `+Reads`, `+Registers` and `+Failures`.
public struct OpLogConformance<Environment: OpLogEnvironment>: Sendable {
  public typealias T = Environment.Tracker
  typealias Entry = DecodedEntry<ConformanceOp>

  /// A promise that was not kept.
  public struct Failure: Error, CustomStringConvertible {
    public let scenario: String
    public let what: String
    public var description: String { "\(scenario): \(what)" }
  }

  /// A scenario, or a part of one, that was not tried.
  public struct Gap: Sendable, Hashable, CustomStringConvertible {
    public let scenario: String
    /// What the backend does not offer.
    public let what: String
    public var description: String { "\(scenario): not tried, for want of \(what)" }
  }

  private let environment: Environment

  public init(_ environment: Environment) { self.environment = environment }

  /// Runs every scenario.
  ///
  /// - Returns: What could not be tried, because the backend does not offer what it takes.
  /// - Throws: ``Failure`` for the first promise that is not kept, or what the tracker threw.
  public func run() async throws -> [Gap] {
    var gaps: [Gap] = []
    for (name, scenario) in scenarios {
      let place = Place(name: name, environment: environment)
      try await scenario(place)
      gaps += place.gaps.whats.map { Gap(scenario: name, what: $0) }
    }
    return gaps
  }

  /// Runs every scenario to its end.
  ///
  /// - Returns: The names of those that failed.
  public func failing() async -> [String] {
    var names: [String] = []
    for (name, scenario) in scenarios {
      do {
        try await scenario(Place(name: name, environment: environment))
      } catch {
        names.append(name)
      }
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
      ("O-19", Self.signedIntegers),
      ("O-20", Self.reservedTags),
      ("O-21", Self.extremePeers),
      ("O-22", Self.neighbouringPeers),
      ("O-23", Self.prefixes),
      ("O-24", Self.droppedPrefixes),
      ("O-25", Self.pages),
      ("O-26", Self.longLogs),
      ("O-27", Self.damagedRows),
      ("O-28", Self.unwritableOps),
      ("O-29", Self.registers),
      ("O-30", Self.otherRegisters),
      ("O-31", Self.rawRepeats),
      ("O-32", Self.clockAfterRefusal),
      ("O-33", Self.failuresBeforeTheCommit),
      ("O-34", Self.failuresAfterTheCommit),
      ("O-35", Self.cancelledCalls),
      ("O-49", Self.entriesInOrder),
    ]
  }

  /// The store of one scenario.
  public struct Place: Sendable {
    let name: String
    let environment: Environment
    let gaps = Gaps()

    func withStore<Value>(_ body: (Store) async throws -> Value) async throws -> Value {
      let store = try await environment.open(name)
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

    /// Notes what the backend does not offer.
    func note(_ what: String) { gaps.add(what) }

    /// Whether the tracker refuses repeats; noted where it does not.
    func refusesRepeats() -> Bool {
      if T.self is any DuplicateRejecting.Type { return true }
      note("refusing repeats")
      return false
    }

    func demand(_ holds: Bool, _ what: String) throws {
      if !holds { throw Failure(scenario: name, what: what) }
    }

    func demandViolation(_ what: String, _ body: () async throws -> Void) async throws {
      try await demandError(.uniqueViolation, what, body)
    }

    /// - Returns: The error that the body threw, as it must.
    @discardableResult
    func demandError(
      _ kind: SpindleError.Kind, reason: String? = nil, _ what: String,
      _ body: () async throws -> Void
    ) async throws -> SpindleError {
      do {
        try await body()
      } catch let error as SpindleError where error.kind == kind {
        try demand(reason == nil || error.reason == reason, "\(what): \(error)")
        return error
      }
      throw Failure(scenario: name, what: what)
    }
  }

  // MARK: Writing and reading back

  static func commit(
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

  static func add(
    _ tracker: T, _ store: Store, _ peer: PeerID, _ indices: [UInt64], value: UInt64 = 1
  ) async throws {
    try await commit(tracker, store, indices.map { (peer, $0, entry(value)) })
  }

  /// Demands that a tracker with history gives exactly these entries.
  static func demand(
    _ place: Place, _ tracker: T, _ peer: PeerID, from index: UInt64 = 0, limit: Int = .max,
    _ expected: [(UInt64, Entry)], _ what: String
  ) async throws {
    guard let history = tracker as? any HistoryTracker<ConformanceOp> else {
      return place.note("reading entries back")
    }
    let found = try await history.readEntries(peer: peer, from: index, limit: limit)
    try place.demand(
      found.map(\.0) == expected.map(\.0) && found.map(\.1) == expected.map(\.1), what)
  }

  static func demandEmpty(_ place: Place, _ tracker: T, _ what: String) async throws {
    try place.demand(try await tracker.allCursors().isEmpty, what)
    try await demand(place, tracker, peer(1), [], what)
  }

  // MARK: Entries

  static func peer(_ number: UInt64) -> PeerID {
    PeerID(UUIDValue(high: number == .max ? .max : 0, low: number))
  }

  static func entry(_ op: ConformanceOp) -> Entry {
    .logEntry(LogEntry(serverUser: nil, timestamp: Timestamp(packed: 5), op: op))
  }

  static func entry(_ value: UInt64) -> Entry {
    .logEntry(
      LogEntry(
        serverUser: nil, timestamp: Timestamp(packed: 5 + value), op: ConformanceOp("x", value)))
  }

  static var someHash: EntryHash { EntryHash(bytes: Array(0..<32))! }
}

/// What a backend does not offer, each once.
final class Gaps: Sendable {
  private let content = Mutex<[String]>([])
  var whats: [String] { content.withLock { $0 } }
  func add(_ what: String) { content.withLock { if !$0.contains(what) { $0.append(what) } } }
}
