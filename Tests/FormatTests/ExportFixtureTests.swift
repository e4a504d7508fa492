import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// Exports of each version. Those of versions 1 and 2, which are not written any more, were put
/// together once from `Documentation/Formats/oplog-export.md` and `oplog-row.md`, field by field
/// and with their hashes and checksums, by a program that shares nothing with this code. That of
/// version 3 was exported by this code from what version 2 holds. They are never made again.
@Suite(.temporaryDirectory) struct ExportFixtureTests {
  private typealias Log = LogIndexTracker<RecordedOp>

  private let floored = PeerID(UUIDValue(high: 0, low: 1))
  private let plain = PeerID(UUIDValue(high: 0, low: 2))
  private let late = PeerID(UUIDValue(high: 0, low: 3))
  private let gone = PeerID(UUIDValue(high: .max, low: .max))
  private let user = UserID(
    UUIDValue(high: 0x0011_2233_4455_6677, low: 0x8899_AABB_CCDD_EEFF))

  private func path(_ version: Int) -> String {
    Files.directory(of: #filePath) + "/Fixtures/oplog-exports/v\(version).oplog"
  }

  private func entry(_ index: UInt64) -> DecodedEntry<RecordedOp> {
    let op = RecordedOp(
      tag: UInt8(index % 3), key: index % 4 == 0 ? nil : [UInt8(index % 2), 0],
      value: index == 3 ? nil : Array("value \(index)".utf8))
    return .logEntry(
      LogEntry(
        serverUser: index % 2 == 0 ? user : nil, timestamp: Timestamp(packed: 0x2_0000 + index),
        op: op))
  }

  private func judge(_ log: Log, version: Int, in store: Store) async throws {
    let report = try await OpLogVerifier(store: store, prefix: "app").verify()
    #expect(report.findings == [])
    var cursors = PeerCursors([floored: 6, plain: 2, gone: 4])
    if version > 1 { cursors.advance(late, to: 3) }
    #expect(try await log.allCursors() == cursors)
    #expect(try await log.floors() == PeerCursors([floored: 2, gone: 4]))
    for (peer, head) in [
      (floored, "c375972b098e11b31fa20b56f6dc043f4a59ac360b2fce74dd5f4725ffe17cd4"),
      (gone, "9bff5633830cecfd00fc0598195c6d4ea39f91388f72329583d1a8f7cc399c53"),
    ] {
      #expect(try await log.position(of: peer).head?.description == head)
    }
    #expect(try await log.position(of: plain).head == nil)
    if version > 1 {
      #expect(
        try await log.position(of: late).head?.description
          == "329b557beba701b1d93ccf6e82169ccc96aaebd34cee36bbdd2704f2580f02da")
      // Another replica's chain began before, so that its heads are not told.
      #expect(try await log.chainHead(of: late, before: 2) == nil)
    }
    for (peer, floor, next) in [(floored, UInt64(2), UInt64(6)), (plain, 0, 2)] {
      let entries = try await log.readEntries(peer: peer, from: floor, limit: 99)
      #expect(entries.map(\.0) == Array(floor..<next))
      for (index, found) in entries where peer != floored || index != 4 {
        #expect(found == entry(index))
      }
    }
    #expect(try await log.row(peer: floored, index: 4)?.isExpunged == true)
  }

  @Test(arguments: [
    (1, "6f3b1bb74873aa22e5883e064f73aee089026a4a0446d915366460be01493f3b"),
    (2, "553fcb8f1709bb0d7a0594124b0e377d4f5f29c6c1ebd8c1836303b47914a1ed"),
    (3, "c889ff55096e999f1aae87456f042b3e9f828f527d8e13f6f5cfcb917c6e8a68"),
  ])
  func anExportOfEachVersionIsInstalledAndGoesOn(version: Int, digest: String) async throws {
    let store = try await Store.open(at: try TestDirectory.path("store"), settings: .quiet)
    let archive = OpLogArchive(path: path(version), store: store)
    let manifest = try await archive.verify()
    #expect(manifest.prefix == "app" && manifest.stateName == nil)
    #expect(manifest.digest.description == digest)
    #expect(manifest.rows == (version > 1 ? 9 : 6) && manifest.stateKeys == 3)
    #expect(manifest.clock == Timestamp(packed: 0x3_0000))
    #expect(
      try await archive.install(prefix: "app", indexes: [.byTime, .byUser, .byKey]) == manifest)
    let log = try await Log(store: store, prefix: "app")
    try await judge(log, version: version, in: store)
    var state: [[UInt8]: [UInt8]] = [:]
    try store.scan(log.dataFamily) { key, value in
      state[copyBytes(key)] = copyBytes(value)
      return true
    }
    #expect(
      state == [
        [1, 0x61]: Array("one".utf8), [1, 0x62]: [],
        Array(repeating: 0xFF, count: 40): Array(repeating: 0x78, count: 300),
      ])
    // The next entry is the next link of the chain.
    let position = try await log.position(of: gone)
    var batch = Batch()
    _ = try log.trackOne(
      peer: gone, index: position.next, timestamp: Timestamp(packed: 0x2_0009), serverUser: nil,
      op: RecordedOp(tag: 1, key: [1], value: nil), following: position.head, into: &batch)
    try await store.commit(batch, durability: .buffered)
    #expect(try await OpLogVerifier(store: store, prefix: "app").verify().findings == [])
    try await store.close()
  }
}
