import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// In which order the entries of several peers make a state anew.
@Suite struct RebuildOrderTests {
  private typealias Entries = [(index: UInt64, entry: DecodedEntry<MaxRegisterOp>)]
  private let script = Shared<ScriptedReducer.Script?>(nil)

  private func withLog(
    _ place: TestPlace, _ body: (ScriptedLog, Store) async throws -> Void
  ) async throws { try await place.withScriptedLog(script, body) }

  /// Entries that need nothing, one a millisecond.
  private func plain(_ indices: Range<UInt64>, at time: UInt64) -> Entries {
    indices.map { ($0, entry("r\($0 % 40)", $0, at: time + $0 - indices.lowerBound)) }
  }

  /// What is needed comes from another peer, which removes it later. The clock of the one who needs
  /// it is right, or behind.
  @Test(arguments: [UInt64(20_000), 2_000], [true, false])
  func whatIsNeededIsThereUntilItIsRemoved(time: UInt64, isFirst: Bool) async throws {
    let (a, b) = isFirst ? (peer(0), peer(1)) : (peer(1), peer(0))
    // Once it is 2, it is removed.
    script.value = { op, _, view in
      guard op.name == Array("needs x".utf8) else { return nil }
      if try await view.register("x") == .unsigned(1) { return nil }
      return .block(reason: "there is no x", isRetryable: true)
    }
    try await withPlace { place in
      var state: [[UInt8]] = []
      try await withLog(place) { log, store in
        func apply(_ peer: PeerID, _ entries: Entries) async throws {
          #expect(try await log.apply(peer: peer, entries: entries) == entries.count)
        }
        try await apply(b, plain(0..<300, at: 9_000) + [(300, entry("x", 1, at: 10_000))])
        try await apply(a, plain(0..<300, at: 1_000) + [(300, entry("needs x", 1, at: time))])
        try await apply(a, plain(301..<310, at: time + 1))
        try await apply(b, plain(301..<600, at: 20_001) + [(600, entry("x", 2, at: 30_000))])
        state = try await store.content(of: ["data:app"])
        for _ in 0..<2 {
          #expect(try await log.rebuildState() == 911)
          #expect(try await store.content(of: ["data:app"]) == state)
        }
        // As a crash leaves it behind.
        try await damage(store, "app", key: OpLogKeys.rebuildingKey, value: [])
      }
      try await withLog(place) { (log, store) async throws in
        #expect(try await store.content(of: ["data:app"]) == state)
        #expect(try await log.exec(MaxRegisterOp("y", 1)).index == 0)
      }
    }
  }

  private struct Place: Hashable, Comparable {
    var time: Timestamp
    var peer: UInt64
    var index: UInt64
    static func < (left: Place, right: Place) -> Bool {
      (left.time, left.peer, left.index) < (right.time, right.peer, right.index)
    }
  }

  /// Pages of every kind: full ones, those that the limit of bytes ends, and entries beyond it.
  @Test func theTimestampsAndThenThePeersTellTheOrder() async throws {
    try await withPlace { place in
      var expected: [Place] = []
      try await withLog(place) { log, store in
        for number in UInt64(0)..<5 {
          var time: UInt64 = 0
          for start in stride(from: UInt64(0), to: 600, by: 100) {
            let entries: Entries = (start..<(start + 100)).map { index in
              time += (index * index + number * 7) % 4
              if index % 50 == 49 { return (index, .expunged(someHash)) }
              expected.append(
                Place(time: Timestamp(packed: time), peer: number, index: index))
              let count = number == 2 && index % 100 == 5 ? 5 << 20 : number == 3 ? 30_000 : 9
              let op = MaxRegisterOp(
                name: [UInt8(number)], value: .bytes(Array(repeating: 1, count: count)))
              return (
                index,
                .logEntry(LogEntry(serverUser: nil, timestamp: Timestamp(packed: time), op: op))
              )
            }
            #expect(try await log.apply(peer: peer(number), entries: entries) == 100)
          }
        }
        let state = try await store.content(of: ["data:app"])
        let order = Shared<[Place]>([])
        script.value = { _, context, _ in
          order.update { order in
            order.append(
              Place(
                time: context.timestamp, peer: context.peer.uuid.low, index: context.index))
          }
          return nil
        }
        #expect(try await log.rebuildState() == UInt64(expected.count))
        #expect(order.value == expected.sorted())
        #expect(try await store.content(of: ["data:app"]) == state)
      }
    }
  }
}
