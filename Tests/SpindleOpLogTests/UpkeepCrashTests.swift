import Glibc
import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// A process that is killed while it trims, builds an index, imports or makes the state anew leaves
/// a log that is whole, and doing the same once more completes it.
@Suite(.temporaryDirectory) struct UpkeepCrashTests {
  typealias RegisterLog = Processor<MaxRegister, RegisterTracker>

  private static var isSoak: Bool { unsafe getenv("SPINDLE_SOAK") != nil }
  private static let peers = [peer(0xA), peer(0xB)]
  private static let rowCount: UInt64 = 1_300
  private static let indexes: OpLogIndexes = [.byTime, .byUser, .byKey]

  /// What a log is, seen from outside.
  private struct Image: Equatable {
    var positions: [PeerID: LogPosition] = [:]
    var rows: [PeerID: [IndexedOpLogRow]] = [:]
    var state: [[UInt8]: [UInt8]] = [:]
    var clock: [UInt8]?
  }

  /// A closed store with a log of two peers, more than one batch of upkeep each.
  private func makeStore(indexes: OpLogIndexes) async throws -> String {
    let path = try TestDirectory.path("origin")
    let store = try await Store.small(at: path)
    var settings = ProcessorSettings()
    settings.log.indexes = indexes
    let log = try await RegisterLog(
      reducer: MaxRegister(), store: store, prefix: "crash", selfID: Self.peers[0],
      settings: settings)
    for peer in Self.peers {
      let entries = (0..<Self.rowCount).map { index in
        (
          index: index,
          entry: entry(
            "register \(index % 300)", index * 7, at: (index + 1) << 20,
            user: index % 3 == 0 ? someUser : nil)
        )
      }
      for start in stride(from: 0, to: entries.count, by: 256) {
        let page = Array(entries[start..<min(start + 256, entries.count)])
        let run = await log.applyRun(peer: peer, entries: page)
        #expect(run.failure == nil)
      }
    }
    await log.close()
    try await store.close()
    return path
  }

  private func image(_ store: Store, _ tracker: RegisterTracker) async throws -> Image {
    var image = Image(positions: try await tracker.allPositions())
    for (peer, _) in try await tracker.allCursors().sorted {
      let floor = try await tracker.floor(of: peer)
      image.rows[peer] = try await tracker.readRows(peer: peer, from: floor, limit: .max)
    }
    try store.scan(tracker.dataFamily) { key, value in
      image.state[copyBytes(key)] = copyBytes(value)
      return true
    }
    image.clock = try await store.get(tracker.logFamily, key: OpLogKeys.clockKey)
    return image
  }

  private func report(_ store: Store, _ prefix: String = "crash") async throws -> OpLogReport {
    let report = try await OpLogVerifier(store: store, prefix: prefix).verify()
    #expect(report.findings == [])
    return report
  }

  /// Kills a worker behind each of its writes, then at random moments, each time on a copy of the
  /// store, and looks at what is left.
  private func withKilledUpkeep(
    of origin: String, _ kind: String, _ more: [String] = [],
    _ body: (Store) async throws -> Void
  ) async throws {
    var random = SeededGenerator(seed: Self.isSoak ? UInt64(time(nil)) : 3)
    var writes = 1
    var left = Self.isSoak ? 100 : 4
    while left > 0 {
      let path = try TestDirectory.path("copy")
      try copyFolder(origin, to: path)
      // Behind the last write it ends by itself; from then on it is killed at any moment.
      let fate = ChildProcess.Fate.death(
        lines: 1, pause: .microseconds(Int.random(in: 0..<40_000, using: &random)))
      let worker = try ChildProcess(
        ChildProcess.builtProgram("CrashWorker"),
        ["oplog-upkeep", path, kind, "\(writes)"] + more, fate: writes > 0 ? .free : fate)
      if writes > 0, try await worker.ending() == .exit(0) {
        #expect(writes > 4 && worker.lines == ["ready", "done"])
        writes = 0
      } else {
        #expect(try await worker.ending() == .signal(9))
        #expect(writes == 0 || worker.lines == ["ready"])
        if writes > 0 { writes += 1 } else { left -= 1 }
      }
      let store = try await Store.small(at: path)
      try await body(store)
      try await store.close()
      TemporaryDirectory.remove(path)
    }
  }

  @Test func aTrimThatWasKilledIsCompletedByTheNext() async throws {
    let origin = try await makeStore(indexes: Self.indexes)
    var whole = Image()
    let goal = PeerCursors([
      Self.peers[0]: Self.rowCount - 100, Self.peers[1]: Self.rowCount - 100,
    ])
    let source = try await Store.small(at: origin)
    whole = try await image(source, try await RegisterTracker(store: source, prefix: "crash"))
    try await source.close()
    try await withKilledUpkeep(of: origin, "trim") { store in
      let tracker = try await RegisterTracker(store: store, prefix: "crash")
      for (peer, floor) in try await tracker.floors().sorted {
        #expect(floor == goal[peer])
        await expectError(.notFound, reason: "compacted") {
          _ = try await tracker.readRows(peer: peer, from: floor - 1, limit: 1)
        }
      }
      let before = try await image(store, tracker)
      #expect(before.positions.mapValues(\.head) == whole.positions.mapValues(\.head))
      #expect(before.state == whole.state && before.clock == whole.clock)
      for (peer, rows) in before.rows {
        #expect(rows == Array(whole.rows[peer]?.suffix(rows.count) ?? []))
        let floor = try await tracker.floor(of: peer)
        #expect(UInt64(rows.count) == Self.rowCount - floor)
      }
      _ = try await report(store)
      #expect(try await tracker.trim(below: goal, forced: true).floors == goal)
      #expect(try await tracker.trim(below: goal, forced: true).rows == 0)
      let after = try await report(store)
      #expect(after.leftovers == 0 && after.entries == 200)
      #expect(try await image(store, tracker).state == whole.state)
      // The log goes on behind what it has.
      let log = try await RegisterLog(
        reducer: MaxRegister(), store: store, prefix: "crash", selfID: Self.peers[0])
      #expect(try await log.exec(MaxRegisterOp("register 1", 1)).index == Self.rowCount)
      await log.close()
      _ = try await report(store)
    }
  }

  @Test func anIndexWhoseBuildingWasKilledIsBuiltByTheNextOpen() async throws {
    let origin = try await makeStore(indexes: [])
    let source = try await Store.small(at: origin)
    let whole = try await image(
      source, try await RegisterTracker(store: source, prefix: "crash"))
    try await source.close()
    let users = (0..<Self.rowCount).filter { $0 % 3 == 0 }.count
    try await withKilledUpkeep(of: origin, "index") { store in
      // A build that was begun is completed whatever the settings; none is wanted otherwise.
      var tracker = try await RegisterTracker(store: store, prefix: "crash")
      let first = try await report(store)
      #expect(try await image(store, tracker) == whole)
      let rows = 2 * (2 * Int(Self.rowCount) + users)
      #expect(first.indexRows == 0 || first.indexRows == rows)
      tracker = try await RegisterTracker(
        store: store, prefix: "crash", settings: OpLogSettings(indexes: Self.indexes))
      #expect(try await report(store).indexRows == rows)
      #expect(try await image(store, tracker) == whole)
      var found = 0
      var token: OpLogContinuation?
      repeat {
        let page = try await tracker.query(
          OpLogQuery(.user(someUser)), limit: 1_000, after: token)
        found += page.entries.count
        token = page.next
      } while token != nil
      #expect(found == 2 * users)
    }
  }

  @Test func anImportThatWasKilledIsCompletedByTheSameFile() async throws {
    let origin = try await makeStore(indexes: [])
    let file = try TestDirectory.path("export")
    let source = try await Store.small(at: origin)
    let tracker = try await RegisterTracker(store: source, prefix: "crash")
    // State enough for several batches.
    var batch = Batch()
    for number in 0..<UInt8(40) {
      batch.put(
        tracker.dataFamily, key: [0xF0, number], value: Array(repeating: number, count: 60_000))
    }
    try await source.commit(batch, durability: .buffered)
    let whole = try await image(source, tracker)
    try await tracker.export(to: file)
    try await source.close()
    let empty = try TestDirectory.path("empty")
    try await Store.small(at: empty).close()
    try await withKilledUpkeep(of: empty, "import", [file]) { store in
      let archive = OpLogArchive(path: file, store: store)
      var isComplete = false
      if store.existingFamily("oplog:copy") != nil {
        do {
          let copy = try await RegisterTracker(store: store, prefix: "copy")
          // All of it, or a kill before anything was stored.
          isComplete = try await !copy.allCursors().isEmpty
          if isComplete { #expect(try await image(store, copy) == whole) }
        } catch let error as SpindleError {
          #expect(error.reason == "import_unfinished")
        }
      }
      if isComplete {
        await expectError(.conflict, reason: "not_empty") {
          try await archive.install(prefix: "copy", indexes: .byTime)
        }
      } else {
        try await archive.install(prefix: "copy", indexes: .byTime)
      }
      let copy = try await RegisterTracker(store: store, prefix: "copy")
      #expect(try await image(store, copy) == whole)
      #expect(try await report(store, "copy").indexRows == 2 * Self.rowCount)
    }
  }

  @Test func aStateWhoseMakingWasKilledIsMadeByTheNextOpen() async throws {
    let origin = try await makeStore(indexes: [])
    let source = try await Store.small(at: origin)
    let tracker = try await RegisterTracker(store: source, prefix: "crash")
    let whole = try await image(source, tracker)
    // What no row tells, and more than one batch removes.
    var batch = Batch()
    for number in UInt8(0)..<250 {
      let key = [0xF0, number] + Array(repeating: number, count: 10_000)
      batch.put(tracker.dataFamily, key: key, value: [])
    }
    try await source.commit(batch, durability: .buffered)
    let before = try await image(source, tracker)
    try await source.close()
    var halves = 0
    try await withKilledUpkeep(of: origin, "rebuild") { store in
      let tracker = try await RegisterTracker(store: store, prefix: "crash")
      let mark = try await store.get(tracker.logFamily, key: OpLogKeys.rebuildingKey)
      let notes = try await report(store).notes
      #expect(notes.contains { $0.contains("is not whole") } == (mark != nil))
      var found = try await image(store, tracker)
      if mark != nil {
        if found.state != before.state, found.state != whole.state { halves += 1 }
        await expectError(.unavailable, reason: "rebuild_unfinished") {
          _ = try await tracker.trim(below: PeerCursors([Self.peers[0]: 9]), forced: true)
        }
        found.state = whole.state
        #expect(found == whole)
      } else {
        #expect(found == before || found == whole)
      }
      let log = try await RegisterLog(
        reducer: MaxRegister(), store: store, prefix: "crash", selfID: Self.peers[0])
      #expect(try await image(store, tracker) == found)
      #expect(try await report(store).notes == notes.filter { !$0.contains("is not whole") })
      #expect(try await log.exec(MaxRegisterOp("register 1", 1)).index == Self.rowCount)
      await log.close()
    }
    #expect(halves > 5)
  }
}
