import SpindleCore
import SpindleOpLog
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

/// Small stores of rows, which can be dropped and damaged.
private struct RowStores<Tracker: LogTracker<ConformanceOp>>: OpLogEnvironment {
  let folder: String
  /// Whether dropping a prefix takes those with it whose names begin like it.
  var dropsTooMuch = false

  func open(_ name: String) async throws -> Store {
    try await Store.small(at: folder + "/" + name)
  }

  var isSQLCompatible: Bool { true }

  func drop(prefix: String, in store: Store) async throws -> Bool {
    try dropFamilies(of: prefix, in: store, orLonger: dropsTooMuch)
    return true
  }

  func damage(
    _ peer: PeerID, _ index: UInt64, prefix: String, in store: Store
  ) async throws -> Bool {
    let family = try await store.family("oplog:" + prefix)
    let key = OpLogKeys.entry(peer, index)
    guard var row = try await store.get(family, key: key) else { return false }
    row[1] |= 0x80
    var batch = Batch()
    batch.put(family, key: key, value: row)
    try await store.commit(batch, durability: .buffered)
    return true
  }
}

/// Small stores for the model.
private struct ModelStores: OpLogEnvironment {
  typealias Tracker = ModelTracker<ConformanceOp>
  let folder: String

  func open(_ name: String) async throws -> Store {
    try await Store.small(at: folder + "/" + name)
  }

  var isSQLCompatible: Bool { true }

  func drop(prefix: String, in store: Store) async throws -> Bool {
    try dropFamilies(of: prefix, in: store)
    return true
  }
}

private func dropFamilies(of prefix: String, in store: Store, orLonger: Bool = false) throws {
  let names = ["oplog:" + prefix, "data:" + prefix]
  for name in store.familyNames
  where names.contains(where: { orLonger ? name.hasPrefix($0) : name == $0 }) {
    if let family = store.existingFamily(name) {
      try store.database.dropColumnFamily(family.columnFamily)
    }
  }
}

@Suite(.temporaryDirectory) struct ConformanceTests {
  private func conformance<T>(
    _ tracker: T.Type, dropsTooMuch: Bool = false
  ) throws -> OpLogConformance<RowStores<T>> {
    OpLogConformance(RowStores(folder: try TestDirectory.path(), dropsTooMuch: dropsTooMuch))
  }

  @Test func theIndexTrackerKeepsEveryPromise() async throws {
    #expect(try await conformance(LogIndexTracker<ConformanceOp>.self).run() == [])
  }

  @Test func theModelKeepsEveryPromiseThatIsNotAboutBytes() async throws {
    let gaps = try await OpLogConformance(ModelStores(folder: TestDirectory.path())).run()
    #expect(
      gaps.map(\.description) == ["O-27: not tried, for want of stored bytes that can be damaged"])
  }

  /// A backend that offers nothing beyond the least is told what was not tried.
  @Test func whatIsNotOfferedIsTold() async throws {
    struct Least: OpLogEnvironment {
      typealias Tracker = ModelTracker<ConformanceOp>
      let folder: String
      func open(_ name: String) async throws -> Store {
        try await Store.small(at: folder + "/" + name)
      }
    }
    let gaps = try await OpLogConformance(Least(folder: TestDirectory.path())).run()
    #expect(gaps.map(\.scenario) == ["O-19", "O-24", "O-27"])
  }

  /// A tracker with a fault must not get through.
  @Test func faultsAreFound() async throws {
    await #expect(throws: OpLogConformance<RowStores<ForgetfulTracker>>.Failure.self) {
      try await conformance(ForgetfulTracker.self).run()
    }
  }

  /// Each fault is found by the scenario that is about it.
  @Test(
    arguments: [
      (LastRowWins.self, "O-7"), (PageTooLong.self, "O-25"), (LeakToTheNext.self, "O-22"),
      (AbsentIsEmpty.self, "O-13"), (SignedOrder.self, "O-16"), (DeafToSettings.self, "O-19"),
      (AnyTag.self, "O-20"), (HalfAnOp.self, "O-28"), (SilentAboutDamage.self, "O-27"),
      (CountsWhatIsOffered.self, "O-33"), (SkipsOddOps.self, "O-34"),
    ] as [(any Fault.Type, String)])
  func aFaultIsFoundByName(_ fault: any Fault.Type, _ scenario: String) async throws {
    func failing<F: Fault>(_ fault: F.Type) async throws -> [String] {
      try await conformance(FaultyTracker<F>.self).failing()
    }
    let names = try await failing(fault)
    #expect(names.contains(scenario), "\(fault): \(names)")
    // A fault that fails everything would prove nothing.
    #expect(names.count < 24, "\(fault): \(names)")
  }

  @Test func aBackendThatDropsTooMuchIsFound() async throws {
    let suite = try conformance(LogIndexTracker<ConformanceOp>.self, dropsTooMuch: true)
    #expect(await suite.failing() == ["O-24"])
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
    peer: PeerID, index: UInt64, timestamp: Timestamp, serverUser: UserID?, op: ConformanceOp,
    into batch: inout Batch
  ) throws {}
  func trackExpunged(
    peer: PeerID, index: UInt64, hash: EntryHash, into batch: inout Batch
  ) throws {}
  func allCursors() async throws -> PeerCursors { PeerCursors() }
}
