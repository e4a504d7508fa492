import Foundation
import SpindleCore
import SpindleRocks
import SpindleStore
import Testing

@Suite struct RecoveryTests {
  /// The copies in quarantine are the logs as they were.
  static func expectQuarantine(
    _ report: StoreRecovery.Report, _ logs: [String: [UInt8]],
    _ location: SourceLocation = #_sourceLocation
  ) throws {
    let path = try #require(report.quarantine, sourceLocation: location)
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: path).sorted()
        == logs.keys.sorted() + ["REPORT"],
      sourceLocation: location)
    let text = try String(contentsOfFile: path + "/REPORT", encoding: .utf8)
    for finding in report.findings { #expect(text.contains(finding), sourceLocation: location) }
    for lost in report.lost {
      #expect(text.contains("\(lost.firstSequence)"), sourceLocation: location)
    }
    for (name, bytes) in logs {
      let copy = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path + "/" + name)))
      #expect(copy == bytes, sourceLocation: location)
    }
  }

  static func bytes(_ image: StoreImage) throws -> [String: [UInt8]] {
    var result: [String: [UInt8]] = [:]
    for log in image.logs { result[log] = try image.read(log) }
    return result
  }

  /// Recovers the prefix and checks that both families hold exactly the first batches.
  static func expectPrefix(
    _ image: StoreImage, _ count: UInt32, _ location: SourceLocation = #_sourceLocation
  ) async throws {
    let logs = try bytes(image)
    let report = try await image.recover(.prefix)
    #expect(report.wasNeeded, sourceLocation: location)
    #expect(report.lastKeptSequence == UInt64(count) * 2, sourceLocation: location)
    #expect(report.lost.first?.firstSequence == UInt64(count) * 2 + 1, sourceLocation: location)
    #expect(!report.findings.isEmpty, sourceLocation: location)
    try expectQuarantine(report, logs, location)
    for _ in 0..<2 {
      let contents = try await image.contents()
      #expect(contents.a == Array(0..<count), sourceLocation: location)
      #expect(contents.b == contents.a, sourceLocation: location)
      #expect(contents.recovery.wasClean, sourceLocation: location)
    }
    let again = try await image.recover(.prefix)
    #expect(!again.wasNeeded && again.quarantine == nil, sourceLocation: location)
  }

  @Test(arguments: ["payload", "checksum", "length", "type"], [0, 10, 200, 298, 299] as [UInt32])
  func thePrefixOfOneLogEndsBeforeTheDamage(part: String, record: UInt32) async throws {
    let image = try await StoreImage.make([.both(290), .sync, .both(10)])
    let log = try #require(image.logs.last)
    let start = try image.starts(log)[Int(record)]
    let position = ["checksum": 1, "length": 4, "type": 6, "payload": 40][part] ?? 0
    try image.change(log) { $0[start + position] ^= 0x40 }
    try await Self.expectPrefix(image, record)
  }

  @Test func thePrefixEndsBeforeARepeatedRecord() async throws {
    let image = try await StoreImage.make([.both(20)])
    let log = try #require(image.logs.last)
    let starts = try image.starts(log)
    try image.change(log) { $0 += $0[starts[starts.count - 2]...] }
    let logs = try Self.bytes(image)
    let report = try await image.recover(.prefix)
    try Self.expectQuarantine(report, logs)
    #expect(report.droppedRecordCount == 1)
    #expect(report.logs.first?.keptByteCount == UInt64(starts[starts.count - 1]))
    #expect(try await image.contents().b == Array(0..<20))
  }

  @Test func thePrefixOfALogThatLostItsSyncedEndIsWhatIsLeft() async throws {
    let image = try await StoreImage.make([.both(30), .sync])
    let log = try #require(image.logs.last)
    let starts = try image.starts(log)
    try image.change(log) { $0.removeLast($0.count - starts[12]) }
    try await Self.expectPrefix(image, 12)
  }

  /// Three logs, of which the first two are kept for family `a` alone.
  static func chain() async throws -> StoreImage {
    try await StoreImage.make([.a(60), .b(1), .flushB, .a(60), .b(1), .flushB, .a(60)])
  }

  @Test func thePrefixOfSeveralLogsEndsInTheDamagedOne() async throws {
    let image = try await Self.chain()
    let last = try #require(image.logs.last)
    let start = try image.starts(last)[20]
    try image.change(last) { $0[start + 30] ^= 1 }
    let logs = try Self.bytes(image)
    let report = try await image.recover(.prefix)
    try Self.expectQuarantine(report, logs)
    #expect(report.logs.map(\.action) == [.unchanged, .unchanged, .cut])
    #expect(report.keptRecordCount == 142)
    let contents = try await image.contents()
    #expect(Set(contents.a + contents.b) == Set(0..<142))
  }

  @Test func laterLogsAreRemovedWithTheirRecords() async throws {
    let image = try await StoreImage.make([.both(40), .flushA, .flushB, .both(40)])
    let base = try await StoreImage.make([.a(40), .flushB, .a(40)])
    #expect(base.logs.count == 1)
    // Without tables that know better, a gap in the first of two logs drops the second.
    let log = try #require(image.logs.last)
    var later = LogBuilder(startingAt: 161)
    later.put([[1], [2]])
    try image.write(later.bytes, to: "000900.log")
    let start = try image.starts(log)[10]
    try image.change(log) { $0[start + 30] ^= 1 }
    let logs = try Self.bytes(image)
    let report = try await image.recover(.prefix)
    try Self.expectQuarantine(report, logs)
    #expect(report.logs.map(\.action) == [.cut, .removed])
    let lost = try #require(report.lost.first)
    #expect(report.lost.count == 1 && lost.log == "rocks/" + log)
    #expect(lost.firstSequence == 101 && lost.lastSequence == 162)
    #expect(lost.heldBy == [] && lost.lostBy == ["default", "spool:a", "spool:b"])
    let contents = try await image.contents()
    #expect(contents.a == Array(0..<50))
    #expect(contents.b == contents.a)
  }

  @Test func withoutAConsistentPrefixNothingChanges() async throws {
    for damage in 0..<3 {
      let image = try await StoreImage.make([.both(60), .flushA, .both(60)])
      let log = try #require(image.logs.first)
      let starts = try image.starts(log)
      try image.change(log) { bytes in
        switch damage {
        case 0: bytes[starts[20] + 30] ^= 1
        case 1: bytes.removeLast(bytes.count - starts[starts.count - 3])
        default: bytes.removeLast(3)
        }
      }
      try Data("\(getpid())\n".utf8).write(to: URL(fileURLWithPath: image.path + "/owner.pid"))
      var before = try image.fingerprint()
      let error = await #expect(throws: SpindleError.self) { try await image.recover(.prefix) }
      before["owner.pid"] = try image.fingerprint()["owner.pid"]
      #expect(try image.fingerprint() == before)
      let message = error?.message ?? ""
      #expect(message.contains("the tables of spool:a hold"), "\(message)")
      #expect(message.contains("--recover skip"), "\(message)")
    }
  }

  @Test func skipKeepsEveryReadableRecordAndTellsWhatIsTorn() async throws {
    let image = try await StoreImage.make([.both(60), .flushA, .both(60)])
    let log = try #require(image.logs.first)
    let starts = try image.starts(log)
    try image.change(log) { $0[starts[20] + 30] ^= 1 }
    let logs = try Self.bytes(image)
    let scan = try WALScanner().scanFile(
      at: image.path + "/rocks/" + log, number: try #require(WALFormat.fileNumber(log)))
    let readable = scan.findings.first?.readableAfter?.recordCount ?? 0
    let report = try await image.recover(.skip)
    try Self.expectQuarantine(report, logs)
    #expect(report.lost.count == 1)
    let lost = try #require(report.lost.first)
    #expect(lost.log == "rocks/" + log)
    #expect(lost.firstSequence == 41)
    #expect(lost.isTorn)
    #expect(lost.heldBy == ["spool:a"])
    #expect(lost.lostBy == ["default", "spool:b"])
    #expect(report.logs.first?.keptRecordCount == 20 + readable)
    let contents = try await image.contents()
    #expect(contents.a == Array(0..<120))
    let missing = UInt32(lost.firstSequence - 1) / 2..<UInt32(try #require(lost.lastSequence)) / 2
    #expect(contents.b == (0..<120).filter { !missing.contains($0) })
    #expect(contents.recovery.wasClean)
  }

  @Test func skipPassesARepeatedRecordOnce() async throws {
    let image = try await StoreImage.make([.both(20)])
    let log = try #require(image.logs.last)
    let starts = try image.starts(log)
    try image.change(log) { $0 += $0[starts[starts.count - 2]...] }
    let report = try await image.recover(.skip)
    #expect(report.logs.map(\.action) == [.rewritten])
    #expect(report.lost.isEmpty)
    #expect(try await image.contents().a == Array(0..<20))
  }

  @Test func aHealthyStoreIsLeftAlone() async throws {
    let image = try await StoreImage.make([.both(20), .flushA, .both(5)])
    for mode in StoreRecovery.Mode.allCases {
      try Data("\(getpid())\n".utf8).write(to: URL(fileURLWithPath: image.path + "/owner.pid"))
      var before = try image.fingerprint()
      let report = try await image.recover(mode)
      #expect(!report.wasNeeded)
      #expect(report.lastKeptSequence == 50)
      before["owner.pid"] = try image.fingerprint()["owner.pid"]
      #expect(try image.fingerprint() == before)
    }
  }

  @Test func aRunningStoreIsNotRecovered() async throws {
    let image = try await StoreImage.make([.both(5)])
    let store = try await Store.open(at: image.path, settings: StoreImage.settings)
    let error = await #expect(throws: SpindleError.self) { try await image.recover(.prefix) }
    #expect(error?.reason == "locked")
    try await store.close()
  }

  /// Stopped before each of its steps, and once more at each, a recovery ends as if never stopped.
  @Test(arguments: ["plan", "copy", "unmark", "change", "cut", "open", "finish"])
  func anInterruptedRecoveryIsRepeatable(step: String) async throws {
    for mode in StoreRecovery.Mode.allCases {
      let image = try await StoreImage.make([.both(60), .sync, .both(60)])
      let log = try #require(image.logs.last)
      let start = try image.starts(log)[30]
      try image.change(log) { $0[start + 30] ^= 1 }
      let damaged = try image.read(log)
      var hooks = RecoveryHooks()
      hooks.beforeStep = { if $0 == step { throw OpenProbeTests.Stopped() } }
      let stopping = hooks
      await #expect(throws: OpenProbeTests.Stopped.self) {
        try await Store.recover(
          at: image.path, mode: mode, settings: StoreImage.settings, hooks: stopping)
      }
      // The second one may find nothing left to do.
      do {
        _ = try await Store.recover(
          at: image.path, mode: mode, settings: StoreImage.settings, hooks: stopping)
      } catch is OpenProbeTests.Stopped {}
      _ = try await image.recover(mode)
      let contents = try await image.contents()
      #expect(contents.a == contents.b)
      #expect(contents.a.starts(with: 0..<30))
      if mode == .prefix { #expect(contents.a.count == 30) }
      // The first copy was made before anything changed.
      let first = image.path + "/quarantine/wal-1/" + log
      #expect([UInt8](try Data(contentsOf: URL(fileURLWithPath: first))) == damaged)
    }
  }

  /// Whatever happens to one log: the open refuses or finds whole batches, and a recovered prefix
  /// holds whole batches only, in both families the same.
  @Test func noDamageLeavesHalfABatch() async throws {
    let soak = ProcessInfo.processInfo.environment["SPINDLE_SOAK"] != nil
    let bases = [
      try await StoreImage.make([.both(150)]),
      try await StoreImage.make([.both(60), .sync, .both(60)]),
      try await StoreImage.make([.both(60), .flushA, .both(60)]),
      try await StoreImage.make([.both(60), .flushA, .both(30), .flushB, .both(30)]),
    ]
    var random = SeededBytes(seed: 77)
    var tally: [String: Int] = [:]
    for index in 0..<(soak ? 2_000 : 60) {
      let image = try StoreImage(copying: bases[index % bases.count].path)
      let oldest = image.logs.first ?? ""
      let story = try WALOracleTests.damage(image.path + "/rocks", &random)
      // Nothing in the directory tells that the oldest needed log was ever there.
      if story == "removed \(oldest)", image.logs.count > 0 { continue }
      do {
        let contents = try await image.contents()
        #expect(contents.a == contents.b, "case \(index), opened: \(story)")
        #expect(contents.a == Array(0..<UInt32(contents.a.count)), "case \(index): \(story)")
        tally["opened", default: 0] += 1
        continue
      } catch let error as SpindleError {
        #expect(error.kind == .corruption, "case \(index), \(story): \(error)")
      }
      do {
        let report = try await image.recover(.prefix)
        #expect(report.wasNeeded)
        let contents = try await image.contents()
        #expect(contents.a == contents.b, "case \(index), prefix: \(story)")
        #expect(contents.a == Array(0..<UInt32(contents.a.count)), "case \(index): \(story)")
        tally["prefix", default: 0] += 1
      } catch let error as SpindleError {
        #expect(error.message.contains("no consistent prefix"), "case \(index): \(error)")
        let report = try await image.recover(.skip)
        #expect(report.wasNeeded)
        let contents = try await image.contents()
        // What both lost and what one lost is in the report; nothing else is missing.
        let whole = Set(contents.a).intersection(contents.b)
        let missing = Set(0..<120 as Range<UInt32>).subtracting(whole)
        for number in missing {
          let first = UInt64(number) * 2 + 1
          #expect(
            report.lost.contains {
              $0.firstSequence <= first + 1 && ($0.lastSequence ?? .max) >= first
            },
            "case \(index), batch \(number) is missing silently: \(story)")
        }
        tally["skip", default: 0] += 1
      }
    }
    #expect(tally["opened", default: 0] >= 5 && tally["prefix", default: 0] >= 5, "\(tally)")
    #expect(tally["skip", default: 0] >= 3, "\(tally)")
  }
}
