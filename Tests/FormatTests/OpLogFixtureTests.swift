import Foundation
import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// An op-log of format 2 with everything that the format has. The committed store was made once by
/// `make(at:)` below, with the version that wrote the format first, and is never made again. What
/// today's code makes must hold the same keys and values.
@Suite struct OpLogFixtureTests {
  private typealias Log = LogIndexTracker<RecordedOp>

  private let whole = PeerID(UUIDValue(high: 0, low: 1))
  private let mixed = PeerID(UUIDValue(high: 0, low: 2))
  private let gone = PeerID(UUIDValue(high: .max, low: .max))
  private let user = UserID(UUIDValue(high: 7, low: 7))
  private let token = IdempotencyToken("call 1")!
  private let receipt = TokenReceipt(index: 6, count: 2, timestamp: Timestamp(packed: 0x2_0006))

  private func op(_ index: UInt64) -> RecordedOp {
    RecordedOp(
      tag: UInt8(index % 3), key: index % 4 == 0 ? nil : [UInt8(index % 2), 0],
      value: index == 7 ? nil : Array("value \(index)".utf8))
  }

  private func time(_ index: UInt64) -> Timestamp { Timestamp(packed: 0x2_0000 + index) }

  private func make(at path: String) async throws {
    // The moment at which the fixture was made; the log notes when it was created.
    let clock = ManualClock(wallMilliseconds: 1_795_277_736_082)
    let store = try await Store.open(at: path, settings: .small, clock: clock)
    let log = try await Log(
      store: store, prefix: "app",
      settings: OpLogSettings(indexes: [.byTime, .byUser, .byKey]))
    let service = try await ClockService(store: store, prefix: "app")
    for (peer, count, plain) in [(whole, 8, 0), (mixed, 5, 2), (gone, 4, 0)] {
      var head: ChainHead?
      for index in 0..<UInt64(count) {
        var batch = Batch()
        var stage = try service.begin()
        try stage.observe(time(index), into: &batch)
        if index < plain {
          try log.trackOne(
            peer: peer, index: index, timestamp: time(index), serverUser: user, op: op(index),
            into: &batch)
        } else {
          head = try log.trackOne(
            peer: peer, index: index, timestamp: time(index),
            serverUser: index % 2 == 0 ? user : nil, op: op(index), following: head, into: &batch)
        }
        batch.put(log.dataFamily, key: [UInt8(index)], value: [UInt8(count)])
        if peer == whole, index == 7 {
          // A century: the token of the fixture does not expire.
          try await log.stage(
            token, receipt, lifetimeMilliseconds: 3_153_600_000_000, now: 1_700_000_000_000,
            into: &batch)
        }
        try await store.commit(batch, durability: .buffered)
        service.committed(stage)
      }
    }
    try await log.expunge(peer: whole, index: 5)
    try await log.acknowledge(
      replica: gone, cursors: PeerCursors([whole: 3, mixed: 1, gone: 4]))
    _ = try await log.trim(below: try await log.leastAcknowledged())
    try await log.raiseFence(of: whole, to: 9)
    try await store.close()
  }

  /// Every key of the log and its state, with its value.
  private func content(_ store: Store) throws -> [String: [[UInt8]: [UInt8]]] {
    var content: [String: [[UInt8]: [UInt8]]] = [:]
    for name in ["oplog:app", "data:app"] {
      let family = try #require(store.existingFamily(name))
      try store.scan(family) { key, value in
        content[name, default: [:]][copyBytes(key)] = copyBytes(value)
        return true
      }
    }
    return content
  }

  @Test func whatIsWrittenTodayReadsTheSameAsTheFixture() async throws {
    try await withCopy { path in
      let made = path + "-made"
      try await make(at: made)
      let (old, new) = (
        try await Store.open(at: path, settings: .quiet),
        try await Store.open(at: made, settings: .quiet)
      )
      try await judge(new)
      let (before, now) = (try content(old), try content(new))
      #expect(before["oplog:app"]?.count ?? 0 > 20 && before["data:app"]?.isEmpty == false)
      for name in ["oplog:app", "data:app"] {
        let (then, today) = (before[name] ?? [:], now[name] ?? [:])
        // The notes of entries that published files still hold, and the fences of several peers,
        // are younger than the fixture.
        let old = { (key: [UInt8]) in
          name != "oplog:app" || key.first != 8 && !key.starts(with: OpLogKeys.fenceKey)
        }
        for key in Set(then.keys).union(today.keys) where old(key) {
          #expect(then[key] == today[key], "\(name), key \(key)")
        }
      }
      try await old.close()
      try await new.close()
    }
  }

  /// A copy of the fixture, since opening changes a store.
  private func withCopy(_ body: (String) async throws -> Void) async throws {
    let source = Files.directory(of: #filePath) + "/Fixtures/oplog-v2"
    let directory = TemporaryDirectory.make(prefix: "spindle-fixture")
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let copy = directory + "/store"
    try FileManager.default.copyItem(atPath: source, toPath: copy)
    try await body(copy)
  }

  private func judge(_ store: Store) async throws {
    let report = try await OpLogVerifier(store: store, prefix: "app").verify()
    #expect(report.findings == [])
    #expect((report.peers, report.entries, report.markers, report.links) == (3, 8, 1, 8))
    let log = try await Log(store: store, prefix: "app")
    #expect(try await log.allCursors() == PeerCursors([whole: 8, mixed: 5, gone: 4]))
    #expect(try await log.floors() == PeerCursors([whole: 3, mixed: 1, gone: 4]))
    #expect(
      try await log.position(of: whole).head?.description
        == "a47fe4d8805d373048591238288817c6d0f22b2e6596d5c7585b8a804866b575")
    #expect(
      try await log.position(of: mixed).head?.description
        == "11e4a7e9bd9a52abe0a4608a9dd607582faa050e3a06ed2442890d88aaab025e")
    #expect(
      try await log.position(of: gone).head?.description
        == "e16eb74b0c9eb5f225eafab00eb6d7c6a0fb55c82f1d346a1ad427db99d93608")
    let entries = try await log.readEntries(peer: whole, from: 3, limit: 99)
    #expect(entries.map(\.0) == [3, 4, 5, 6, 7])
    for (index, entry) in entries where index != 5 {
      let expected = LogEntry(
        serverUser: index % 2 == 0 ? user : nil, timestamp: time(index), op: op(index))
      #expect(entry == .logEntry(expected))
    }
    let row = try #require(try await log.row(peer: mixed, index: 1))
    #expect(row.chain == nil && row.serverUser == user)

    let times = try await log.query(OpLogQuery(.everything)).entries
    #expect(times.map(\.index) == [1, 2, 3, 3, 4, 4, 6, 7])
    let users = try await log.query(OpLogQuery(.user(user), isReversed: true)).entries
    #expect(users.map(\.index) == [6, 4, 4, 2, 1])
    let keys = try await log.query(OpLogQuery(.key([1, 0]))).entries
    #expect(keys.map(\.index) == [1, 3, 3, 7])

    #expect(try await log.receipt(of: token, now: 1_700_000_000_001) == receipt)
    #expect(try await log.fence(of: whole) == 9)
    #expect(
      try await log.acknowledgements()
        == [gone: PeerCursors([whole: 3, mixed: 1, gone: 4])])
  }

  @Test func aLogOfFormat2OpensForReading() async throws {
    try await withCopy { path in
      let store = try await Store.open(at: path, settings: .quiet, access: .reader)
      try await judge(store)
      try await store.close()
    }
  }

  @Test func aLogOfFormat2OpensForWritingAndGoesOn() async throws {
    try await withCopy { path in
      for _ in 0..<2 {
        let store = try await Store.open(at: path, settings: .quiet)
        try await judge(store)
        try await store.close()
      }
      let store = try await Store.open(at: path, settings: .quiet)
      let log = try await Log(store: store, prefix: "app")
      let position = try await log.position(of: gone)
      var batch = Batch()
      _ = try log.trackOne(
        peer: gone, index: position.next, timestamp: time(0), serverUser: nil, op: op(1),
        following: position.head, into: &batch)
      try await store.commit(batch, durability: .buffered)
      #expect(try await log.query(OpLogQuery(.everything)).entries.count == 9)
      #expect(try await OpLogVerifier(store: store, prefix: "app").verify().findings == [])
      try await store.close()
    }
  }
}
