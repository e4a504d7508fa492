import Foundation
import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// Whether the long runs are wanted: `SPINDLE_SOAK`.
private let isSoak = ProcessInfo.processInfo.environment["SPINDLE_SOAK"] != nil

/// Children that work on spools are killed; what they acknowledged is there, and nothing else.
@Suite("Spool, crashes", .temporaryDirectory)
struct SpoolCrashTests {
  /// Lets a child take steps of a script until it acknowledged so many, and kills it.
  ///
  /// - Returns: The number of steps that were acknowledged, those before `first` included.
  private func kill(
    _ mode: String, _ place: String, _ script: SpoolScript, _ durability: Durability = .buffered,
    bytes: Int = 200, first: Int = 0, after count: Int
  ) async throws -> Int {
    let worker = try ChildProcess(
      ChildProcess.builtProgram("CrashWorker"),
      [mode, place, script.rawValue, durability.rawValue, "\(bytes)", "\(first)"],
      fate: .death(lines: count))
    let lines = try await worker.linesUntilDeath()
    #expect(lines.count >= count)
    #expect(lines.compactMap { Int($0) } == Array(first..<(first + lines.count)))
    return first + lines.count
  }

  /// Opens what a killed child left.
  private func withStore(_ place: String, _ body: (Store) async throws -> Void) async throws {
    let store = try await Store.small(at: place)
    #expect(!store.recovery.wasClean)
    try await body(store)
    try await store.close()
  }

  /// Where a spool's messages are. Those that are stored are whole and those of the script.
  private func contents(
    of spool: RocksSpool, value: (Int) -> Bytes
  ) async throws -> SpoolScript.Contents {
    var contents = SpoolScript.Contents()
    for id in try await spool.allIDs() {
      contents.stored.insert(number(ofID: id))
      #expect(try await spool.load(id) == value(number(ofID: id)))
    }
    for message in try await spool.quarantined(after: nil, limit: .max) {
      contents.quarantined.insert(number(ofID: message.id))
      #expect(!message.isDamaged)
      #expect(message.reason == "a test")
    }
    return contents
  }

  /// Brings everything back, and checks that nothing became another message in quarantine.
  private func expectWholeQuarantine(
    of spool: RocksSpool, _ numbers: Set<Int>, value: (Int) -> Bytes
  ) async throws {
    for number in numbers {
      try await spool.restoreQuarantined(numberedID(number))
      #expect(try await spool.load(numberedID(number)) == value(number))
    }
    #expect(try await spool.quarantined(after: nil, limit: 1).isEmpty)
  }

  /// Checks that the acknowledged steps were taken, and at most the one after them.
  private func expect(
    _ contents: SpoolScript.Contents, _ script: SpoolScript, after count: Int,
    location: SourceLocation = #_sourceLocation
  ) {
    #expect(
      contents == script.contents(after: count) || contents == script.contents(after: count + 1),
      "\(count) steps were acknowledged", sourceLocation: location)
  }

  @Test(
    "A-X-1: what was acknowledged before kill -9 is there, 100 rounds",
    arguments: [Durability.buffered, .synced])
  func acknowledgedStoresSurviveKills(durability: Durability) async throws {
    let place = try TestDirectory.path("store")
    var random = SeededGenerator(seed: 1)
    var next = 0
    // One store lives through all rounds, so that what an earlier round left is met again. Synced
    // acknowledgements come slower, so there are fewer of them.
    for _ in 0..<(isSoak ? 500 : 100) {
      let limit = isSoak ? 200 : durability == .synced ? 20 : 60
      let count = try await kill(
        "spool", place, .store, durability, first: next,
        after: Int.random(in: 1..<limit, using: &random))
      try await withStore(place) { (store) async throws in
        let spool = try await RocksSpool(store: store, name: "main")
        // A walk reads and checks as a load does, without a call for each message.
        let (entries, outcome) = try await spool.all(capacity: 1_024)
        #expect(outcome.error == nil && outcome.corrupt == 0)
        var found = SpoolScript.Contents()
        for case .item(let id, let data) in entries {
          found.stored.insert(number(ofID: id))
          #expect(data == numberedValue(number(ofID: id), bytes: 200))
        }
        expect(found, .store, after: count)
        next = found.stored.count
      }
    }
  }

  @Test("A-DF-2, A-DF-3: what was acknowledged before and after a full disk survives kill -9")
  func acknowledgedStoresSurviveAFullDiskAndAKill() async throws {
    try await withSmallDisk(bytes: 24 << 20) { (disk) async throws in
      let place = disk.path + "/store"
      // It stands still meanwhile, so that it is the filler that takes the room.
      let worker = try ChildProcess(
        ChildProcess.builtProgram("CrashWorker"), ["full", place], fate: .halt(lines: 100))
      try await worker.waitForStop()
      try disk.fill(leaving: 300_000)
      worker.resume()
      func waits(for line: String) async throws {
        try await eventually { worker.lines.contains(line) }
      }
      try await waits(for: "full")
      try disk.removeFiller()
      try await waits(for: "healed")
      // Killed some time after there was room again.
      let count = worker.lines.count
      try await worker.waitForLines(count + 200)
      let lines = try await worker.killAndCollect()
      let healed = try #require(lines.firstIndex(of: "healed"))
      #expect(lines[healed...].count > 200)
      let acknowledged = lines.compactMap { Int($0) }
      try await withStore(place) { (store) async throws in
        let spool = try await RocksSpool(store: store, name: "main")
        for number in acknowledged {
          #expect(
            try await spool.loadIfPresent(numberedID(number))
              == numberedValue(number, bytes: 4_000))
        }
      }
    }
  }

  @Test(
    "A-X-2: a message that was being stored is whole or absent", arguments: 0..<(isSoak ? 40 : 4))
  func interruptedStoresAreWholeOrAbsent(seed: Int) async throws {
    let place = try TestDirectory.path("store")
    var random = SeededGenerator(seed: UInt64(seed))
    // Each takes many blocks of the log, so that most kills come in the middle of one.
    let bytes = 300_000
    let count = try await kill(
      "spool", place, .store, bytes: bytes, after: Int.random(in: 1..<20, using: &random))
    try await withStore(place) { (store) async throws in
      let spool = try await RocksSpool(store: store, name: "main")
      let found = try await contents(of: spool) { numberedValue($0, bytes: bytes) }
      expect(found, .store, after: count)
    }
  }

  @Test("A-X-1: removed messages stay removed", arguments: ["spool", "pair"])
  func removedMessagesStayRemoved(mode: String) async throws {
    let place = try TestDirectory.path("store")
    let count = try await kill(mode, place, .churn, after: 600)
    try await withStore(place) { (store) async throws in
      let spool = try await RocksSpool(store: store, name: mode == "pair" ? "data" : "main")
      let found = try await contents(of: spool) { numberedValue($0, bytes: 200) }
      expect(found, .churn, after: count)
      guard mode == "pair" else { return }
      let meta = try await RocksSpool(store: store, name: "meta")
      #expect(try await contents(of: meta, value: numberedMeta) == found)
    }
  }

  @Test(
    "A message whose quarantine or restoration was killed is in one place, byte for byte",
    arguments: 0..<(isSoak ? 40 : 4))
  func interruptedMovesAreWhole(seed: Int) async throws {
    let place = try TestDirectory.path("store")
    var random = SeededGenerator(seed: UInt64(seed))
    let bytes = seed % 2 == 0 ? 200 : 100_000
    let count = try await kill(
      "spool", place, .quarantine, bytes: bytes, after: Int.random(in: 4..<120, using: &random))
    try await withStore(place) { (store) async throws in
      let spool = try await RocksSpool(store: store, name: "main")
      let value = { numberedValue($0, bytes: bytes) }
      let found = try await contents(of: spool, value: value)
      expect(found, .quarantine, after: count)
      #expect(found.stored.isDisjoint(with: found.quarantined))
      try await expectWholeQuarantine(of: spool, found.quarantined, value: value)
    }
  }

  @Test(
    "A-T-2, A-T-3: the halves of a pair in one store are never apart, wherever it is killed",
    arguments: 0..<(isSoak ? 40 : 4))
  func pairsAreWhole(seed: Int) async throws {
    let place = try TestDirectory.path("store")
    var random = SeededGenerator(seed: UInt64(seed))
    let count = try await kill(
      "pair", place, .quarantine, bytes: 20_000, after: Int.random(in: 4..<120, using: &random))
    try await withStore(place) { (store) async throws in
      let meta = try await RocksSpool(store: store, name: "meta")
      let data = try await RocksSpool(store: store, name: "data")
      let value = { numberedValue($0, bytes: 20_000) }
      let found = try await contents(of: data, value: value)
      expect(found, .quarantine, after: count)
      #expect(try await contents(of: meta, value: numberedMeta) == found)
      let pair = try PairedSpool(meta: meta, data: data)
      #expect(try await pair.sweepOrphans(olderThan: .zero).orphans == 0)
      try await expectWholeQuarantine(of: data, found.quarantined, value: value)
      try await expectWholeQuarantine(of: meta, found.quarantined, value: numberedMeta)
    }
  }

  // MARK: Halves apart

  /// Lets a child die between the halves of one step, and gives the pair over what it left.
  private func withHalves(
    after step: String,
    _ body: (PairedSpool, (meta: FaultySpool, data: FaultySpool)) async throws -> Void
  ) async throws {
    let place = try TestDirectory.path("store")
    let worker = try ChildProcess(
      ChildProcess.builtProgram("CrashWorker"), ["apart", place, step])
    #expect(try await worker.ending() == .signal(9))
    #expect(worker.lines.compactMap { Int($0) } == Array(0..<20))
    try await withStore(place) { (store) async throws in
      let meta = FaultySpool(try await RocksSpool(store: store, name: "meta"))
      let data = FaultySpool(try await RocksSpool(store: store, name: "data"))
      try await body(try PairedSpool(meta: meta, data: data), (meta, data))
    }
  }

  private func metas(_ pair: PairedSpool) async throws -> [Int] {
    let channel = SpoolEntryChannel()
    let walk = try pair.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
    var numbers: [Int] = []
    for await entry in channel {
      guard case .item(let id, let meta) = entry else { continue }
      numbers.append(number(ofID: id))
      #expect(meta == numberedMeta(number(ofID: id)))
    }
    #expect(await walk.finished().error == nil)
    return numbers.sorted()
  }

  private func expectWhole(_ pair: PairedSpool, _ numbers: [Int]) async throws {
    #expect(try await metas(pair) == numbers)
    for number in numbers {
      #expect(try await pair.load(numberedID(number)).data == numberedValue(number))
    }
  }

  @Test("A-T-1: killed between data and meta: the body is swept")
  func killedInAStore() async throws {
    try await withHalves(after: "store") { (pair, halves) async throws in
      try await expectWhole(pair, Array(0..<20))
      #expect(try await halves.data.load(numberedID(20)) == numberedValue(20))
      #expect(try await pair.sweepOrphans(dryRun: true).ids == [numberedID(20)])
      #expect(try await pair.sweepOrphans().removed == 1)
      await expectError(.notFound) { _ = try await halves.data.load(numberedID(20)) }
      try await expectWhole(pair, Array(0..<20))
    }
  }

  @Test("A-T-2: killed between remove(meta) and remove(data): no redelivery, the body is swept")
  func killedInARemove() async throws {
    try await withHalves(after: "remove") { (pair, halves) async throws in
      let rest = (0..<20).filter { $0 != 7 }
      try await expectWhole(pair, rest)
      #expect(try await halves.data.load(numberedID(7)) == numberedValue(7))
      try await pair.cleanup()
      await expectError(.notFound) { _ = try await halves.data.load(numberedID(7)) }
      try await expectWhole(pair, rest)
    }
  }

  @Test(
    "A-T-3: killed between the halves of a move: nothing is lost",
    arguments: [
      "quarantine", "restore",
    ])
  func killedInAMove(step: String) async throws {
    try await withHalves(after: step) { (pair, halves) async throws in
      try await expectWhole(pair, (0..<20).filter { $0 != 7 })
      #expect(try await pair.quarantined(after: nil, limit: 9).map(\.id) == [numberedID(7)])
      #expect(try await pair.sweepOrphans(olderThan: .zero).orphans == 0)
      try await pair.restoreQuarantined(numberedID(7))
      try await expectWhole(pair, Array(0..<20))
    }
  }

  // MARK: Power loss and damage of the log

  @Test(
    "A-X-3: after a power loss what was synced is there, and the loss is a suffix",
    arguments: ["forceSync", "flush", "pair"])
  func powerLoss(shape: String) async throws {
    let path = try TestDirectory.path("store")
    let store = try await Store.small(at: path)
    var settings = SpoolSettings()
    settings.flush = shape == "flush"
    let meta = try await RocksSpool(store: store, name: "meta")
    let data = try await RocksSpool(store: store, name: "main", settings: settings)
    let pair = try PairedSpool(meta: meta, data: data)
    var random = SeededGenerator(seed: 3)
    var (next, synced) = (0, 0)
    for round in 0..<(isSoak ? 40 : 5) {
      for number in next..<(next + Int.random(in: 1..<60, using: &random)) {
        let isSynced = shape != "flush" && Int.random(in: 0..<8, using: &random) == 0
        if shape == "pair" {
          try await pair.store(
            numberedID(number), meta: numberedMeta(number), data: numberedValue(number),
            forceSync: isSynced, deadline: nil)
        } else {
          try await data.put(numberedID(number), numberedValue(number), forceSync: isSynced)
        }
        next = number + 1
        if isSynced || shape == "flush" { synced = next }
      }
      let place = path + "-\(round)"
      try store.copyAsAfterPowerLoss(to: place)
      try await withStore(place) { (store) async throws in
        let spool = try await RocksSpool(store: store, name: "main")
        let found = try await contents(of: spool) { numberedValue($0) }
        #expect(found.stored == Set(0..<found.stored.count))
        #expect((synced...next).contains(found.stored.count))
        if shape == "flush" { #expect(found.stored.count == next) }
        if shape == "pair" {
          let meta = try await RocksSpool(store: store, name: "meta")
          #expect(try await contents(of: meta, value: numberedMeta) == found)
        }
      }
    }
    try await store.close()
  }

  @Test("A-X-4: of a log without its last 30 bytes only the last message is missing")
  func aCutLog() async throws {
    let place = try TestDirectory.path("store")
    let count = try await kill("spool", place, .store, after: 100)
    // A whole last record to cut: the kill itself may have torn one.
    var stored = 0
    try await withStore(place) { (store) async throws in
      let spool = try await RocksSpool(store: store, name: "main")
      stored = try await spool.allIDs().count
      #expect(stored >= count)
      for number in stored..<(stored + 10) {
        try await spool.put(numberedID(number), numberedValue(number, bytes: 200))
      }
      try copyFolder(place, to: place + "-cut")
      try copyFolder(place, to: place + "-damaged")
    }
    let log = try #require(try logFiles(in: place + "-cut/rocks").last)
    let whole = try Files.read(log, limit: .max)
    try writeFile(Array(whole.dropLast(30)), to: log)
    try await withStore(place + "-cut") { (store) async throws in
      #expect(store.recovery.droppedTailBytes > 0)
      for await event in store.events {
        #expect(
          event
            == .opened(
              path: place + "-cut", wasClean: false,
              droppedTailBytes: store.recovery.droppedTailBytes))
        break
      }
      let spool = try await RocksSpool(store: store, name: "main")
      let found = try await contents(of: spool) { numberedValue($0, bytes: 200) }
      #expect(found.stored == Set(0..<(stored + 9)))
    }
    // Damage in the middle is no torn end: it is said, and nothing is changed.
    let other = try #require(try logFiles(in: place + "-damaged/rocks").last)
    var damaged = whole
    damaged[whole.count / 2] ^= 0x20
    try writeFile(damaged, to: other)
    let before = try FolderState(of: place + "-damaged").without("owner.pid")
    let message = await expectError(.corruption) {
      _ = try await Store.small(at: place + "-damaged")
    }
    #expect(message.contains(".log"))
    #expect(try FolderState(of: place + "-damaged").without("owner.pid") == before)
  }

  // MARK: Locks

  @Test("A-L-1, A-L-2: a spool's store is locked by pid while another process or this one holds it")
  func locks() async throws {
    let place = try TestDirectory.path("store")
    let worker = try ChildProcess(
      ChildProcess.builtProgram("CrashWorker"),
      ["spool", place, "store", "buffered", "200", "0"], fate: .halt(lines: 20))
    try await worker.waitForStop()
    do {
      _ = try await Store.small(at: place)
      Issue.record("a second process opened the store")
    } catch let error as SpindleError {
      #expect(error.kind == .unavailable)
      #expect(error.reason == "locked")
      #expect(error.message.contains("process \(worker.pid)"))
    }
    // The first holder goes on.
    let count = worker.lines.count
    worker.resume()
    try await worker.waitForLines(count + 20)
    let last = try await worker.killAndCollect().count
    try await withStore(place) { (store) async throws in
      let spool = try await RocksSpool(store: store, name: "main")
      #expect(try await spool.allIDs().count >= last)
      let message = await expectError(.unavailable) { _ = try await Store.small(at: place) }
      #expect(message.contains("process \(ProcessInfo.processInfo.processIdentifier)"))
      try await spool.put(spool.makeID(), [1])
    }
    try await Store.small(at: place).close()
  }
}
