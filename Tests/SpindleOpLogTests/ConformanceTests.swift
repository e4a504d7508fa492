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
