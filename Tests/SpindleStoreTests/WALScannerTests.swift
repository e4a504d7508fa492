import SpindleCore
import SpindleStore
import Testing

@Suite struct WALScannerTests {
  /// About 90 KB: small records, a record over three blocks, small records again.
  static func sample() -> LogBuilder {
    var random = SeededBytes(seed: 3)
    var log = LogBuilder()
    for index in 0..<40 {
      log.put([random.bytes(20 + index), random.bytes(5)], family: index % 3 == 0 ? 2 : 0)
    }
    log.put([random.bytes(70_000)])
    for index in 0..<40 { log.put([random.bytes(100 + index)]) }
    return log
  }

  static func small() -> LogBuilder {
    var random = SeededBytes(seed: 4)
    var log = LogBuilder()
    for index in 0..<12 { log.put([random.bytes(10 + index * 3)]) }
    return log
  }

  @Test(arguments: [WALScanner.Depth.headers, .operations], [1, 65_536, 1 << 20])
  func anIntactLogIsClean(depth: WALScanner.Depth, bufferByteCount: Int) throws {
    let directory = try LogDirectory()
    let log = Self.sample()
    try directory.write(log.bytes, number: 4)
    let scan = try directory.scan(
      WALScanner(depth: depth, bufferByteCount: bufferByteCount))
    #expect(scan.verdict == .clean)
    #expect(scan.decision == .open)
    let file = try #require(scan.files.first)
    #expect(file.recordCount == 81)
    #expect(file.firstSequence == 1)
    #expect(file.lastSequence == 121)
    #expect(file.endOffset == UInt64(log.bytes.count))
  }

  @Test func anEmptyDirectoryAndAnEmptyLogAreClean() throws {
    let directory = try LogDirectory()
    #expect(try directory.scan().decision == .open)
    try directory.write([], number: 9)
    #expect(try directory.scan().verdict == .clean)
  }

  @Test func withoutTheManifestTheScanAloneNeverOpens() throws {
    let directory = try LogDirectory()
    try directory.write(Self.small().bytes, number: 4)
    #expect(try directory.scan(manifest: nil).decision == .probe)
  }

  /// The promise to a killed process: wherever its append stopped, the store opens.
  @Test func aLogCutAnywhereIsCleanOrTorn() throws {
    let directory = try LogDirectory()
    let log = Self.small()
    for cut in 0...log.bytes.count {
      try directory.write(Array(log.bytes[..<cut]), number: 4)
      let scan = try directory.scan()
      let end = log.starts.last { $0 <= cut } ?? 0
      if cut == log.bytes.count || log.starts.contains(cut) {
        #expect(scan.verdict == .clean, "cut at \(cut)")
      } else {
        guard case .tornTail(let tail) = scan.verdict else {
          Issue.record("cut at \(cut): \(scan.verdict)")
          return
        }
        #expect(tail.offset == UInt64(end))
        #expect(tail.byteCount == UInt64(cut - end))
      }
      #expect(scan.decision == .open)
    }
  }

  @Test func aLogOfManyBlocksCutAnywhereIsCleanOrTorn() throws {
    let directory = try LogDirectory()
    let log = Self.sample()
    for cut in stride(from: 0, through: log.bytes.count, by: 97) {
      try directory.write(Array(log.bytes[..<cut]), number: 4)
      #expect(try directory.scan().decision == .open, "cut at \(cut)")
    }
    for block in [32_768, 65_536] {
      for cut in (block - 20)...(block + 20) {
        try directory.write(Array(log.bytes[..<cut]), number: 4)
        #expect(try directory.scan().decision == .open, "cut at \(cut)")
      }
    }
  }

  /// Also where RocksDB itself notices nothing: the last record, its length, unused space.
  @Test func everyFlippedBitIsNoticed() throws {
    let directory = try LogDirectory()
    let log = Self.small()
    for bit in 0..<(log.bytes.count * 8) {
      var bytes = log.bytes
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
      try directory.write(bytes, number: 4)
      let scan = try directory.scan()
      guard case .suspicious(let findings) = scan.verdict, let finding = findings.first else {
        Issue.record("byte \(bit / 8) bit \(bit % 8): \(scan.verdict)")
        return
      }
      #expect(scan.decision == .refuse, "byte \(bit / 8) bit \(bit % 8)")
      let record = log.starts.last { $0 <= bit / 8 } ?? 0
      #expect(finding.offset == UInt64(record))
      #expect(finding.description.hasPrefix("000004.log at offset \(record): "))
    }
  }

  @Test func everyFlippedByteOfALongLogIsNoticed() throws {
    let directory = try LogDirectory()
    let log = Self.sample()
    let positions = Array(stride(from: 0, to: log.bytes.count, by: 101)) + Array(32_740..<32_790)
    for position in positions {
      var bytes = log.bytes
      bytes[position] ^= 0x40
      try directory.write(bytes, number: 4)
      let scan = try directory.scan(WALScanner(depth: .headers, bufferByteCount: 32_768))
      #expect(scan.decision != .open, "byte \(position)")
    }
  }

  @Test func recordsBehindDamageAreCounted() throws {
    let directory = try LogDirectory()
    let log = Self.sample()
    var bytes = log.bytes
    bytes[log.starts[5] + 9] ^= 1
    try directory.write(bytes, number: 4)
    let scan = try directory.scan()
    let file = try #require(scan.files.first)
    #expect(file.recordCount == 5)
    #expect(file.lastSequence == 10)
    #expect(file.endOffset == UInt64(log.starts[5]))
    // The rest of the first block is lost with it, and the long record that starts there.
    let after = try #require(file.findings.first?.readableAfter)
    #expect(after == .init(recordCount: 40, firstSequence: 82, lastSequence: 121))
    #expect(file.findings.count == 1)
    #expect(file.findings.first?.byteCount == UInt64(log.starts[41] - log.starts[5]))
  }

  /// RocksDB drops what follows damage in the last block, in every recovery mode.
  @Test func damageInTheLastBlockIsNoTornTail() throws {
    let directory = try LogDirectory()
    let log = Self.small()
    var bytes = log.bytes
    bytes[log.starts[3] + 5] = 0x7f
    try directory.write(bytes, number: 4)
    let scan = try directory.scan()
    #expect(scan.decision == .refuse)
    #expect(
      scan.files.first?.findings.first?.readableAfter
        == .init(recordCount: 8, firstSequence: 5, lastSequence: 12))
  }

  /// A spooled message may hold a piece of a log; torn, it is still a torn tail.
  @Test func aTornRecordThatContainsALogIsTorn() throws {
    let directory = try LogDirectory()
    var log = LogBuilder(startingAt: 1_000)
    log.put([[1, 2, 3]])
    var foreign = LogBuilder()
    foreign.put([Array(repeating: 7, count: 50)])
    log.put([foreign.bytes + Array(repeating: 9, count: 500)])
    try directory.write(Array(log.bytes.dropLast(100)), number: 4)
    let scan = try directory.scan()
    guard case .tornTail(let tail) = scan.verdict else {
      Issue.record("\(scan.verdict)")
      return
    }
    #expect(tail.cause == .partialPayload)
  }

  @Test(arguments: [1, 100, 5_000, 100_000]) func trailingZerosAreATornTail(count: Int) throws {
    let directory = try LogDirectory()
    let log = Self.small()
    try directory.write(log.bytes + Array(repeating: 0, count: count), number: 4)
    let scan = try directory.scan()
    guard case .tornTail(let tail) = scan.verdict else {
      Issue.record("\(scan.verdict)")
      return
    }
    #expect(tail.cause == .trailingZeros)
    #expect(tail.offset == UInt64(log.bytes.count))
    #expect(tail.byteCount == UInt64(count))
  }

  @Test(arguments: [false, true])
  func aRecordWhoseLastSectorsWereNeverWrittenIsTorn(throughTheBlock: Bool) throws {
    let directory = try LogDirectory()
    var log = Self.small()
    var random = SeededBytes(seed: 8)
    log.put([random.bytes(throughTheBlock ? 80_000 : 6_000)])
    var bytes = log.bytes
    for index in 2_048..<bytes.count { bytes[index] = 0 }
    try directory.write(bytes, number: 4)
    let scan = try directory.scan()
    guard case .tornTail(let tail) = scan.verdict else {
      Issue.record("\(scan.verdict)")
      return
    }
    #expect(tail.cause == .unwrittenSectors)
    #expect(tail.offset == UInt64(log.starts[12]))
  }

  @Test func zerosInTheMiddleAreDamage() throws {
    let directory = try LogDirectory()
    let log = Self.sample()
    var bytes = log.bytes
    for index in log.starts[5]..<32_768 { bytes[index] = 0 }
    try directory.write(bytes, number: 4)
    let scan = try directory.scan()
    #expect(scan.files.first?.findings.first?.kind == .zeroHole)
    #expect(scan.decision == .refuse)
  }

  @Test func structuralDamageIsNamed() throws {
    let directory = try LogDirectory()
    func findings(_ build: (inout LogBuilder) -> Void) throws -> [WALFinding.Kind] {
      var log = Self.small()
      build(&log)
      var random = SeededBytes(seed: 1)
      log.put([random.bytes(40)])
      try directory.write(log.bytes, number: 4)
      return try #require(try directory.scan().files.first).findings.map(\.kind)
    }
    #expect(try findings { _ in } == [])
    #expect(
      try findings { $0.appendFragment(type: 2, payload: [1, 2]) } == [.missingEnd])
    #expect(
      try findings { $0.appendFragment(type: 4, payload: [1, 2]) } == [.missingStart])
    #expect(try findings { $0.appendFragment(type: 77, payload: []) } == [.unknownType(77)])
    #expect(try findings { $0.appendFragment(type: 1, payload: [9]) } == [.recordSize(1)])
    #expect(
      try findings { $0.appendFragment(type: 9, payload: [1, 0, 0, 0]) } == [.compressedRecords])
    #expect(
      try findings { $0.appendFragment(type: 5, payload: []) }.isEmpty == false)
    let batch: [UInt8] = [13, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0x0d, 0x03, 1, 65]
    #expect(
      try findings { $0.append(batch) }
        == [.malformedBatch(.wrongCount(stated: 2, found: 0))])
  }

  @Test func aGapBetweenLogsIsFound() throws {
    let directory = try LogDirectory()
    var first = LogBuilder()
    first.put([[1], [2]])
    try directory.write(first.bytes, number: 4)
    let decisions: [(UInt64, WALDirectoryScan.Decision)] = [
      (2, .refuse), (1, .probe), (0, .open),
    ]
    for (skipped, decision) in decisions {
      var second = LogBuilder(startingAt: 3 + skipped)
      second.put([[3]])
      try directory.write(second.bytes, number: 11)
      let scan = try directory.scan()
      #expect(scan.decision == decision)
      if skipped > 0 {
        #expect(
          scan.files.last?.findings.first?.kind
            == .sequenceGap(expected: 3, found: 3 + skipped))
      }
    }
    var again = LogBuilder(startingAt: 2)
    again.put([[3]])
    try directory.write(again.bytes, number: 11)
    #expect(try directory.scan().decision == .refuse)
  }

  @Test func aTornLogBeforeALaterOneIsForTheProbe() throws {
    let directory = try LogDirectory()
    let log = Self.small()
    try directory.write(log.bytes + [1, 2, 3], number: 4)
    try directory.write([], number: 7)
    let scan = try directory.scan()
    #expect(scan.decision == .probe)
    guard case .suspicious(let findings) = scan.verdict else {
      Issue.record("\(scan.verdict)")
      return
    }
    #expect(findings.map(\.kind) == [.tornBeforeLater(.partialHeader)])
  }

  @Test func theManifestNamesMissingAndObsoleteLogs() throws {
    let directory = try LogDirectory()
    let log = Self.small()
    try directory.write(log.bytes, number: 9)
    var damaged = log.bytes
    damaged[20] ^= 1
    try directory.write(damaged, number: 4)
    #expect(try directory.scan().decision == .refuse)
    #expect(
      try directory.scan(manifest: .init(oldestNeeded: 9, newestNamed: 9)).verdict == .clean)
    #expect(
      try directory.scan(manifest: .init(oldestNeeded: 9, newestNamed: 12)).decision == .refuse)
  }

  /// Tables of one family hold sequence 12, and the log of the others ends before that.
  @Test func aLogThatEndsBeforeTheTablesDoIsRefused() throws {
    let directory = try LogDirectory()
    let log = Self.small()
    try directory.write([], number: 9)
    let manifest = WALNumbersInManifest(
      oldestNeeded: 4, newestNamed: 9, flushed: [.init(logNumber: 9, lastSequence: 12)])
    // An empty log is one that was begun and never written; the high-water mark tells whether it
    // lost what was synced.
    for (records, decision) in [
      (12, .open), (11, .probe), (10, .refuse), (0, .open),
    ] as [(Int, WALDirectoryScan.Decision)] {
      let end = records == 12 ? log.bytes.count : log.starts[records]
      try directory.write(Array(log.bytes[..<end]), number: 4)
      #expect(try directory.scan(manifest: manifest).decision == decision)
    }
  }

  @Test func visitorsSeeEveryRecordAndItsOperations() throws {
    let directory = try LogDirectory()
    try directory.write(Self.sample().bytes, number: 4)
    var records = 0
    var bytes = 0
    var families: Set<UInt32> = []
    _ = try WALScanner(depth: .headers).scanDirectory(at: directory.path) { record in
      records += 1
      guard var reader = try? WriteBatchReader(record.bytes) else { return }
      while let operation = try? reader.next() {
        bytes += operation.value.count
        families.insert(operation.columnFamilyID)
      }
    }
    #expect(records == 81)
    #expect(families == [0, 2])
    #expect(bytes == 20 * 40 + 780 + 5 * 40 + 70_000 + 100 * 40 + 780)
  }

  @Test(arguments: 0..<40 as Range<UInt64>) func arbitraryBytesNeverTrap(seed: UInt64) throws {
    let directory = try LogDirectory()
    var random = SeededBytes(seed: seed)
    var bytes = random.bytes(Int(random.next() % 100_000))
    if seed % 2 == 0 {
      // Plausible headers reach deeper than noise does.
      for index in stride(from: 0, to: max(0, bytes.count - 8), by: 64) {
        bytes[index + 5] = 0
        bytes[index + 6] = UInt8(truncatingIfNeeded: random.next() % 12)
      }
    }
    try directory.write(bytes, number: seed)
    for depth in [WALScanner.Depth.headers, .operations] {
      let scan = try directory.scan(WALScanner(depth: depth))
      #expect(scan.files.first?.recordCount == 0)
    }
  }

  @Test func aMissingDirectoryIsAnError() {
    #expect(throws: WALScanError.system(.list, path: "/nonexistent/rocks", code: 2)) {
      try WALScanner().scanDirectory(at: "/nonexistent/rocks")
    }
  }
}
