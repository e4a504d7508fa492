import Glibc
import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

@Suite(.temporaryDirectory) struct ExportSyncTests {
  private typealias Log = Processor<KeepingReducer, Tracker>

  private func log(_ store: Store) async throws -> Log {
    try await Processor(reducer: KeepingReducer(), store: store, prefix: "app", selfID: peer(1))
  }

  /// Records entries, exports perhaps, and loses power.
  ///
  /// - Returns: How many entries the export has, and how many are left.
  private func lossOfPower(exports: Bool) async throws -> (exported: UInt64, left: UInt64) {
    let path = try TestDirectory.path("store-\(exports)")
    let store = try await Store.small(at: path)
    let log = try await log(store)
    for number in 0..<5 { try await log.exec(Note("\(number)"), durability: .synced) }
    for number in 5..<20 { try await log.exec(Note("\(number)")) }
    var exported: UInt64 = 0
    if exports {
      let file = try TestDirectory.path("log")
      exported = try await log.tracker.export(to: file).cursors[peer(1)]
    }
    try store.copyAsAfterPowerLoss(to: path + "-copy")
    await log.close()
    try await store.close()
    let rest = try await Store.small(at: path + "-copy")
    let left = try await Tracker(store: rest, prefix: "app").cursor(of: peer(1))
    try await rest.close()
    return (exported, left)
  }

  @Test("O-72: no power loss takes back an entry that is in an export")
  func exportedEntriesAreNeverUsedAgain() async throws {
    let (exported, left) = try await lossOfPower(exports: true)
    #expect(exported == 20 && left == 20)
  }

  @Test func withoutTheExportTheNewestEntriesAreLost() async throws {
    #expect(try await lossOfPower(exports: false).left < 20)
  }

  @Test func aReaderSyncsTheLogFilesBeforeItExports() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await log(store)
        for number in 0..<9 { try await log.exec(Note("\(number)")) }
        await log.close()
      }
      try await place.withStore(.reader) { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        let file = place.path + ".export"
        #expect(try await tracker.export(to: file).rows == 9)
        // A log file that cannot be synced: the link leads to itself.
        let log = place.path + "/rocks/999999.log"
        try #require(unsafe symlink(log, log) == 0)
        await expectError(.io) { try await tracker.export(to: file + "2") }
        #expect(!Files.exists(file + "2"))
        try Files.remove(log)
        #expect(try await tracker.export(to: file + "2").rows == 9)
      }
    }
  }
}
