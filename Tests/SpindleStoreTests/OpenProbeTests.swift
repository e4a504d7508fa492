import Foundation
import SpindleCore
import SpindleRocks
import SpindleStore
import Testing

@Suite struct OpenProbeTests {
  /// Opens as owner and as reader; both must refuse in one sentence that names the log and the
  /// offset, and change nothing.
  static func expectRefusal(
    _ image: StoreImage, naming log: String, _ what: String,
    _ location: SourceLocation = #_sourceLocation
  ) async throws {
    for access in [Store.Access.reader, .owner] {
      // The owner's lock names this process.
      try Data("\(getpid())\n".utf8).write(to: URL(fileURLWithPath: image.path + "/owner.pid"))
      let before = try image.fingerprint()
      let error = await #expect(throws: SpindleError.self, sourceLocation: location) {
        let store = try await Store.open(
          at: image.path, settings: StoreImage.settings, access: access)
        try await store.close()
      }
      var after = try image.fingerprint()
      // Writing the same process id again is the lock, and no change.
      after["owner.pid"] = before["owner.pid"]
      #expect(after == before, sourceLocation: location)
      guard let error else { continue }
      #expect(error.kind == .corruption, sourceLocation: location)
      #expect(
        error.message.contains("rocks/" + log + " at offset "), "\(error.message)",
        sourceLocation: location)
      #expect(error.message.contains(what), "\(error.message)", sourceLocation: location)
      #expect(!error.message.contains(". "), "\(error.message)", sourceLocation: location)
      #expect(error.path == image.path + "/rocks/" + log, sourceLocation: location)
    }
  }

  @Test func aKilledStoreOpensWithEverything() async throws {
    for words in [
      [.both(100)], [.both(50), .flushA, .both(50)], [.a(50), .b(1), .flushB, .a(49)],
      [.both(50), .flushA, .flushB, .both(50)],
    ] as [[StoreImage.Word]] {
      let image = try await StoreImage.make(words)
      let contents = try await image.contents()
      #expect(Set(contents.a + contents.b) == Set(0..<100))
      #expect(!contents.recovery.wasClean)
      #expect(contents.recovery.droppedTailBytes == 0)
      #expect(try await image.contents().recovery.wasClean)
    }
  }

  @Test func aTornLastRecordOpens() async throws {
    let image = try await StoreImage.make([.both(40)])
    let log = try #require(image.logs.last)
    let starts = try image.starts(log)
    let full = try image.read(log)
    for cut in [starts[39] + 1, starts[39] + 7, starts[39] + 50, starts[40] - 1] {
      let torn = try StoreImage(copying: image.path)
      try torn.write(Array(full[..<cut]), to: log)
      let contents = try await torn.contents()
      #expect(contents.a == Array(0..<39))
      #expect(contents.b == contents.a)
      #expect(contents.recovery.droppedTailBytes == UInt64(cut - starts[39]))
    }
  }

  @Test func aTornLastRecordAfterACleanCloseIsRefused() async throws {
    let image = try await StoreImage.make([.both(40)])
    let store = try await Store.open(at: image.path, settings: StoreImage.settings)
    let a = try await store.family("spool:a")
    for number in 40..<60 as Range<UInt32> {
      var batch = Batch()
      batch.put(a, key: StoreImage.key(number), value: [UInt8](repeating: 1, count: 100))
      try await store.commit(batch, durability: .buffered)
    }
    try await store.close()
    let log = try #require(image.logs.last)
    let torn = try StoreImage(copying: image.path)
    try torn.change(log) { $0.removeLast(5) }
    try await Self.expectRefusal(torn, naming: log, "although the store was closed cleanly")
    // Cut at a record's end nothing is torn, and what the marker recorded is missing all the same.
    let cut = try StoreImage(copying: image.path)
    let starts = try cut.starts(log)
    try cut.change(log) { $0.removeLast($0.count - starts[starts.count - 2]) }
    try await Self.expectRefusal(cut, naming: log, "but 100 was synced")
  }

  @Test(arguments: ["payload", "checksum", "length", "type"], [10, 200, 298, 299])
  func aFlippedByteIsRefused(part: String, record: Int) async throws {
    let image = try await StoreImage.make([.both(300)])
    let log = try #require(image.logs.last)
    let start = try image.starts(log)[record]
    let position = ["checksum": 1, "length": 4, "type": 6, "payload": 40][part] ?? 0
    try image.change(log) { $0[start + position] ^= 0x40 }
    try await Self.expectRefusal(image, naming: log, "at offset \(start)")
  }

  @Test func missingRecordsAndLogsAreRefused() async throws {
    let base = try await StoreImage.make([.a(60), .b(1), .flushB, .a(60), .b(1), .flushB, .a(60)])
    try #require(base.logs.count == 3)
    let logs = base.logs

    let middle = try StoreImage(copying: base.path)
    try FileManager.default.removeItem(atPath: middle.path + "/rocks/" + logs[1])
    try await Self.expectRefusal(middle, naming: logs[2], "are missing")

    let newest = try StoreImage(copying: base.path)
    try FileManager.default.removeItem(atPath: newest.path + "/rocks/" + logs[2])
    try await Self.expectRefusal(newest, naming: logs[2], "which is missing")

    // RocksDB sees nothing wrong with a log that ends at a record's end.
    let cut = try StoreImage(copying: base.path)
    let starts = try cut.starts(logs[0])
    try cut.change(logs[0]) { $0.removeLast($0.count - starts[starts.count - 4]) }
    try await Self.expectRefusal(cut, naming: logs[1], "are missing")
  }

  /// RocksDB itself ends the process on such a log, even when it only reads.
  @Test func aRepeatedRecordIsRefused() async throws {
    let image = try await StoreImage.make([.both(20)])
    let log = try #require(image.logs.last)
    let starts = try image.starts(log)
    try image.change(log) { $0 += $0[starts[starts.count - 2]...] }
    try await Self.expectRefusal(image, naming: log, "was due")
  }

  @Test func aLogThatLostItsSyncedEndIsRefused() async throws {
    let image = try await StoreImage.make([.both(30), .sync, .both(5)])
    let log = try #require(image.logs.last)
    let starts = try image.starts(log)
    let kept = try StoreImage(copying: image.path)
    try kept.change(log) { $0.removeLast($0.count - starts[30]) }
    #expect(try await kept.contents().a == Array(0..<30))
    let lost = try StoreImage(copying: image.path)
    try lost.change(log) { $0.removeLast($0.count - starts[29]) }
    try await Self.expectRefusal(lost, naming: log, "but 60 was synced")
  }

  @Test func aTornLogBeforeALaterOneThatGoesOnOpens() async throws {
    let image = try await StoreImage.make([.both(30), .flushA, .both(30)])
    let logs = image.logs
    try #require(logs.count == 2)
    try image.change(logs[0]) { $0 += [1, 2, 3] }
    let contents = try await image.contents()
    #expect(contents.a == Array(0..<60))
    #expect(contents.b == contents.a)
  }

  @Test func aLogWithoutADatabaseIsRefused() async throws {
    let image = try await StoreImage.make([.both(5)])
    try FileManager.default.removeItem(atPath: image.path + "/rocks/CURRENT")
    let error = await #expect(throws: SpindleError.self) {
      try await Store.open(at: image.path, settings: StoreImage.settings)
    }
    #expect(error?.message.contains("no CURRENT file") == true)
  }

  /// The marker of a cure takes a sequence number that stands in no log; only its own number
  /// excuses the gap.
  @Test func onlyTheMarkersOwnGapIsExcused() async throws {
    let source = NSTemporaryDirectory() + "spindle-cure-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: source) }
    var hooks = StoreHooks()
    hooks.disablesMonitorThread = true
    // The cure stops before it has flushed the families: both logs stay needed.
    hooks.beforeCureStepNamed = { if $0 == "flush-families" { throw Stopped() } }
    let store = try await Store.open(at: source, settings: StoreImage.settings, hooks: hooks)
    let a = try await store.family("spool:a")
    func put(_ number: UInt32) async throws {
      var batch = Batch()
      batch.put(a, key: StoreImage.key(number), value: [1, 2, 3])
      try await store.commit(batch, durability: .buffered)
    }
    for number in 0..<10 as Range<UInt32> { try await put(number) }
    store.guardian?.inject(.logAppend, partialBytes: 9)
    await #expect(throws: SpindleError.self) { try await put(10) }
    store.guardian?.clearFaults()
    for _ in 0..<3 { await #expect(throws: SpindleError.self) { try await store.heal() } }
    let image = try StoreImage(copying: source)
    try await store.close()
    #expect(image.logs.count == 2)

    let killed = try StoreImage(copying: image.path)
    #expect(try await killed.contents().a == Array(0..<10))
    // A record behind the marker's gap opens, one behind a gap elsewhere does not.
    for (first, opens) in [(12, true), (13, false)] as [(UInt64, Bool)] {
      let next = try StoreImage(copying: image.path)
      let log = try #require(next.logs.last)
      var builder = LogBuilder(startingAt: first)
      builder.put([[7]], family: UInt8(a.columnFamilyID))
      try next.write(builder.bytes, to: log)
      if opens {
        #expect(try await next.contents().a.count == 11)
      } else {
        try await Self.expectRefusal(next, naming: log, "are missing")
      }
    }
    let shorter = try StoreImage(copying: image.path)
    let first = try #require(shorter.logs.first)
    let starts = try shorter.starts(first)
    try shorter.change(first) { $0.removeLast($0.count - starts[starts.count - 2]) }
    try await Self.expectRefusal(shorter, naming: first, "but tables hold sequence 11")
  }

  struct Stopped: Error {}
}

extension StoreFamily {
  var columnFamilyID: UInt32 { columnFamily.id }
}
