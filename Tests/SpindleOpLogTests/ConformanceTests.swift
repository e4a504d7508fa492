import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

@Suite(.temporaryDirectory) struct ConformanceTests {
  private func conformance<T>(_ tracker: T.Type) throws -> OpLogConformance<T> {
    let folder = try TestDirectory.path()
    return OpLogConformance { try await Store.small(at: folder + "/" + $0) }
  }

  @Test func theIndexTrackerKeepsEveryPromise() async throws {
    try await conformance(LogIndexTracker<MaxRegisterOp>.self).run()
  }

  @Test func theModelKeepsEveryPromise() async throws {
    try await conformance(ModelTracker<MaxRegisterOp>.self).run()
  }

  /// A tracker with a fault must not get through.
  @Test func faultsAreFound() async throws {
    await #expect(throws: OpLogConformance<ForgetfulTracker>.Failure.self) {
      try await conformance(ForgetfulTracker.self).run()
    }
  }

  /// Each fault is found by the scenario that is about it.
  @Test(
    arguments: [
      (LastRowWins.self, "O-7"), (PageTooLong.self, "O-25"), (LeakToTheNext.self, "O-22"),
      (AbsentIsEmpty.self, "O-13"), (SignedOrder.self, "O-16"),
    ] as [(any Fault.Type, String)])
  func aFaultIsFoundByName(_ fault: any Fault.Type, _ scenario: String) async throws {
    func failing<F: Fault>(_ fault: F.Type) async throws -> [String] {
      try await conformance(FaultyTracker<F>.self).failing()
    }
    let names = try await failing(fault)
    #expect(names.contains(scenario), "\(fault): \(names)")
    // A fault that fails everything would prove nothing.
    #expect(names.count < 20, "\(fault): \(names)")
  }

  @Test func withoutAFaultNothingIsFound() async throws {
    #expect(try await conformance(FaultyTracker<NoFault>.self).failing() == [])
  }

  @Test func aLogOverTheModelReadsAsOneOverRows() async throws {
    let folder = try TestDirectory.path()
    let store = try await Store.small(at: folder + "/store")
    let rows = try await Processor<MaxRegister, LogIndexTracker<MaxRegisterOp>>(
      reducer: MaxRegister(), store: store, prefix: "rows", selfID: me)
    let model = try await Processor<MaxRegister, ModelTracker<MaxRegisterOp>>(
      reducer: MaxRegister(), store: store, prefix: "model", selfID: me)
    var generator = SeededGenerator(seed: 1)
    for _ in 0..<300 {
      let peer = peer(UInt64.random(in: 0..<3, using: &generator))
      let index = UInt64.random(in: 0..<30, using: &generator)
      let entry = entry("x\(index % 3)", index * 7 % 11, at: index)
      let outcomes = [
        try? await rows.apply(peer: peer, index: index, entry: entry).new,
        try? await model.apply(peer: peer, index: index, entry: entry).new,
      ]
      #expect(outcomes[0] == outcomes[1])
    }
    #expect(rows.cursors() == model.cursors())
    for number in UInt64(0)..<3 {
      let left = try await rows.readSince(peer: peer(number), from: 0)
      let right = try await model.readSince(peer: peer(number), from: 0)
      #expect(left.map(\.index) == right.map(\.index) && left.map(\.entry) == right.map(\.entry))
    }
    #expect(
      try await rows.view.registers(limit: 9).map(\.value)
        == model.view.registers(limit: 9).map(\.value))
    await rows.close()
    await model.close()
    try await store.close()
  }
}

/// Records nothing of what it is told.
private struct ForgetfulTracker: LogTracker {
  init(store: Store, prefix: String) async throws {}
  func trackOne(
    peer: PeerID, index: UInt64, timestamp: Timestamp, serverUser: UserID?, op: MaxRegisterOp,
    into batch: inout Batch
  ) throws {}
  func trackExpunged(
    peer: PeerID, index: UInt64, hash: EntryHash, into batch: inout Batch
  ) throws {}
  func allCursors() async throws -> PeerCursors { PeerCursors() }
}

/// What is wrong with a ``FaultyTracker``.
protocol Fault: Sendable {
  static var replacesRows: Bool { get }
  static var isSigned: Bool { get }
  static func user(_ user: UserID?) -> UserID?
  static func page(limit: Int) -> Int
  static func leaks(_ peer: PeerID) -> PeerID?
}

extension Fault {
  static var replacesRows: Bool { false }
  static var isSigned: Bool { false }
  static func user(_ user: UserID?) -> UserID? { user }
  static func page(limit: Int) -> Int { limit }
  static func leaks(_ peer: PeerID) -> PeerID? { nil }
}

enum NoFault: Fault {}

enum LastRowWins: Fault {
  static var replacesRows: Bool { true }
}

enum PageTooLong: Fault {
  static func page(limit: Int) -> Int { limit < .max ? limit + 1 : limit }
}

enum LeakToTheNext: Fault {
  static func leaks(_ peer: PeerID) -> PeerID? {
    PeerID(UUIDValue(high: peer.uuid.high, low: peer.uuid.low &+ 1))
  }
}

enum AbsentIsEmpty: Fault {
  static func user(_ user: UserID?) -> UserID? { user ?? UserID(UUIDValue(high: 0, low: 0)) }
}

enum SignedOrder: Fault {
  static var isSigned: Bool { true }
}

/// A tracker over rows that is right but for one fault.
private struct FaultyTracker<F: Fault>: HistoryTracker, DuplicateRejecting {
  let base: RegisterTracker

  init(store: Store, prefix: String) async throws {
    base = try await RegisterTracker(store: store, prefix: prefix)
  }

  func trackOne(
    peer: PeerID, index: UInt64, timestamp: Timestamp, serverUser: UserID?, op: MaxRegisterOp,
    into batch: inout Batch
  ) throws {
    guard F.replacesRows, index < .max else {
      return try base.trackOne(
        peer: peer, index: index, timestamp: timestamp, serverUser: F.user(serverUser), op: op,
        into: &batch)
    }
    let row = try OpLogRow(
      timestamp: timestamp, serverUser: serverUser, entry: op.toIndexEntry())
    batch.put(base.logFamily, key: OpLogKeys.entry(peer, index), value: row.encoded)
  }

  func trackExpunged(
    peer: PeerID, index: UInt64, hash: EntryHash, into batch: inout Batch
  ) throws {
    try base.trackExpunged(peer: peer, index: index, hash: hash, into: &batch)
  }

  func allCursors() async throws -> PeerCursors {
    let cursors = try await base.allCursors()
    guard F.isSigned else { return cursors }
    var signed: [PeerID: UInt64] = [:]
    for (peer, _) in cursors.sorted {
      signed[peer] = try await sorted(base.readEntries(peer: peer, from: 0, limit: .max)).last
        .map { $0.0 + 1 }
    }
    return PeerCursors(signed)
  }

  func readEntries(
    peer: PeerID, from index: UInt64, limit: Int
  ) async throws -> [(UInt64, DecodedEntry<MaxRegisterOp>)] {
    let limit = F.page(limit: limit)
    var entries = sorted(try await base.readEntries(peer: peer, from: index, limit: limit))
    if entries.count < limit, let other = F.leaks(peer) {
      entries += try await base.readEntries(peer: other, from: 0, limit: limit - entries.count)
    }
    return entries
  }

  private func sorted(
    _ entries: [(UInt64, DecodedEntry<MaxRegisterOp>)]
  ) -> [(UInt64, DecodedEntry<MaxRegisterOp>)] {
    guard F.isSigned else { return entries }
    return entries.sorted { Int64(bitPattern: $0.0) < Int64(bitPattern: $1.0) }
  }
}
