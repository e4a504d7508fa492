import SpindleCore
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

@testable import SpindleSpool

/// Statistics and verification beside a model.
@Suite("Inspection") struct InspectionTests {
  @Test func anEmptySpoolHasNoFigures() async throws {
    try await withNewSpool { (spool) async throws in
      let stats = try await spool.stats()
      #expect(stats.count == 0)
      #expect(stats.minimumBytes == nil && stats.meanBytes == nil && stats.p50Bytes == nil)
      #expect(stats.shares.count == 12)
      #expect(stats.shares.allSatisfy { $0.count == 0 && $0.share == 0 })
      #expect(stats.oldest == nil && stats.newest == nil)
      #expect(try await spool.verify().isIntact)
    }
  }

  @Test("Statistics and verification agree with a model", arguments: [1, 2, 3] as [UInt64])
  func figuresAgreeWithAModel(seed: UInt64) async throws {
    try await withNewSpool { (spool) async throws in
      var random = SeededGenerator(seed: seed)
      var sizes: [SpoolID: Int] = [:]
      for number in 0..<600 {
        let id = id(atMilliseconds: random.next() % 1_000_000, UInt64(number))
        let size = Int(random.next() >> (64 - 1 - random.next() % 17))
        try await spool.put(id, payload(number, bytes: size))
        sizes[id] = size
        if number % 200 == 0 { try await spool.flush() }
        if number % 7 == 0, let other = sizes.keys.randomElement(using: &random) {
          try await spool.remove(other)
          sizes[other] = nil
        }
      }
      // What is no whole message is in no figure of sizes.
      try await spool.putRaw([1, 2, 3], [1])
      try await spool.putRaw(id(atMilliseconds: 5, 1 << 40).bytes, [1, 0])
      let sorted = sizes.values.sorted()
      let stats = try await spool.stats()
      #expect(stats.count == UInt64(sorted.count))
      #expect(stats.payloadBytes == UInt64(sorted.reduce(0, +)))
      #expect(stats.storedBytes == stats.payloadBytes + 12 * stats.count)
      #expect(stats.minimumBytes == sorted.first.map { UInt64($0) })
      #expect(stats.maximumBytes == sorted.last.map { UInt64($0) })
      #expect(stats.meanBytes == Double(stats.payloadBytes) / Double(stats.count))
      #expect(stats.oldest == sizes.keys.map(\.created).min())
      #expect(stats.newest == sizes.keys.map(\.created).max())
      #expect(stats.codecs == [0: stats.count])
      #expect(stats.stray == 1)
      #expect(stats.damaged == 1)
      #expect(stats.lostRanges.isEmpty)
      for (share, found) in [
        (0.5, stats.p50Bytes), (0.9, stats.p90Bytes), (0.99, stats.p99Bytes),
        (0.999, stats.p999Bytes),
      ] {
        let rank = Int((Double(sorted.count) * share).rounded(.up))
        let exact = Double(sorted[rank - 1])
        let value = Double(try #require(found))
        #expect(value >= exact && value <= exact * (1 + 1.0 / 64))
      }
      for (index, share) in stats.shares.enumerated() {
        #expect(share.belowBytes == 1_024 << UInt64(index))
        #expect(share.count == UInt64(sorted.count { $0 < share.belowBytes }))
        #expect(share.share == Double(share.count) / Double(stats.count))
      }
      let found = try await spool.verify()
      #expect(found.intact == stats.count)
      #expect(found.damaged == 1)
      #expect(found.damagedIDs == [id(atMilliseconds: 5, 1 << 40)])
      #expect(found.stray == 1)
      #expect(found.strayKeys == ["010203"])
      #expect(!found.isIntact)
    }
  }

  @Test func verificationFindsOneWrongByteInAnyRecord() async throws {
    try await withNewSpool { (spool) async throws in
      let (good, bad) = (spool.makeID(), spool.makeID())
      try await spool.put(good, [1, 2, 3])
      let record = SpoolRecord.header(for: [1, 2, 3].span) + [1, 2, 3]
      for index in record.indices {
        var damaged = record
        damaged[index] ^= 0x40
        try await spool.putRaw(bad.bytes, damaged)
        let found = try await spool.verify()
        #expect(found.intact == 1, "byte \(index)")
        #expect(found.damagedIDs == [bad], "byte \(index)")
      }
      // A damaged record is no damage of the store: writes go on.
      #expect(spool.unhealthyReason == nil)
    }
  }

  @Test func verificationLeavesTheBlockCacheAlone() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (spool) async throws in
        _ = try await storeInTables(spool, 200)
      }
      try await place.withSpool { (spool) async throws in
        // Open the tables first: their meta blocks may be cached.
        _ = try await spool.stats()
        let before = try spool.storage.database.memoryUsage().blockCache
        #expect(try await spool.verify().intact == 200)
        #expect(try spool.storage.database.memoryUsage().blockCache == before)
      }
    }
  }

  @Test("The key that a killed probe of the gate left is no finding")
  func probeKeysAreNoFinding() async throws {
    try await withNewSpool { (spool) async throws in
      try await spool.put(spool.makeID(), [1])
      try await spool.putRaw([0], [1])
      let found = try await spool.verify()
      #expect(found.isIntact && found.intact == 1 && found.strayKeys.isEmpty)
      #expect(try await spool.stats().stray == 0)
      let outcome = try await spool.all().outcome
      #expect(outcome.count == 1 && outcome.stray == 0 && outcome.skipped == 0)
    }
  }

  @Test func aCancelledVerificationEnds() async throws {
    try await withNewSpool { (spool) async throws in
      for number in 0..<200 { try await spool.put(spool.makeID(), payload(number)) }
      let task = Task {
        unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
        return try await spool.verify()
      }
      await #expect(throws: CancellationError.self) { _ = try await task.value }
      try await spool.shutdown()
      await expectError(.closed) { _ = try await spool.verify() }
      await expectError(.closed) { _ = try await spool.stats() }
    }
  }

  @Test("A search ends at the first readable key behind each stretch that is not")
  func searchFindsTheEndOfTheDamage() {
    var random = SeededGenerator(seed: 7)
    for _ in 0..<300 {
      let start = UInt128(random.next()) << UInt128(random.next() % 64)
      let length = UInt128(random.next() >> (random.next() % 64)) + 1
      let end = start + length
      var reads = 0
      let found = ReadableKeySearch(from: ReadableKeySearch.key(start), limit: nil).run {
        reads += 1
        let key = ReadableKeySearch.number($0)
        return key < start || key >= end ? nil : 1
      }
      #expect(found.map { ReadableKeySearch.number($0) } == end)
      #expect(reads <= 260)
    }
  }

  @Test("A search finds what is intact between two stretches, however narrow")
  func searchFindsIslands() {
    var random = SeededGenerator(seed: 9)
    for _ in 0..<100 {
      // Damaged stretches that meet, and behind them one place that is readable.
      var border = UInt128(random.next()) << 60
      let start = border
      var borders: [UInt128] = []
      for _ in 0...random.next() % 5 {
        border += UInt128(random.next() >> (random.next() % 64)) + 1
        borders.append(border)
      }
      let island = border
      let search = ReadableKeySearch(from: ReadableKeySearch.key(start), limit: nil)
      let found = search.run { key -> Int? in
        let number = ReadableKeySearch.number(key)
        return number == island ? nil : borders.count { $0 <= number }
      }
      #expect(found == ReadableKeySearch.key(island))
    }
  }

  @Test func searchEndsWhereErrorsOfOnePlaceDiffer() {
    var reads = 0
    let limit = [UInt8](repeating: 0xFF, count: 16)
    let found = ReadableKeySearch(from: [1], limit: limit).run { _ -> Int? in
      reads += 1
      return reads
    }
    #expect(found == limit + [0])
  }

  @Test func searchKeepsItsBounds() {
    let start = ReadableKeySearch.key(1_000)
    // Readable after all, such as after a passing error of the disk.
    #expect(ReadableKeySearch(from: start, limit: nil).run { _ in nil as Int? } == start)
    // Nothing is readable.
    #expect(ReadableKeySearch(from: start, limit: nil).run { _ in 1 } == nil)
    #expect(ReadableKeySearch(from: start + [0], limit: nil).run { _ in 1 } == nil)
    let limit = ReadableKeySearch.key(5_000)
    #expect(ReadableKeySearch(from: start, limit: limit).run { _ in 1 } == limit + [0])
    #expect(ReadableKeySearch(from: limit, limit: limit).run { _ in 1 } == limit + [0])
    let last = [UInt8](repeating: 0xFF, count: 16)
    #expect(ReadableKeySearch(from: start, limit: last).run { _ in 1 } == last + [0])
    #expect(ReadableKeySearch(from: last, limit: last).run { _ in 1 } == last + [0])
    #expect(ReadableKeySearch(from: [], limit: []).run { _ in 1 } == [0])
  }

  @Test func tableNumbersAreReadFromTheEnginesTexts() {
    for (text, number) in [
      (
        "Corruption: block checksum mismatch: stored = 1, computed = 2, type = 4  in "
          + "/a/rocks/000012.sst offset 102010 size 4075", 12
      ),
      ("Corruption: file is too short (10 bytes) to be an sstable/a/rocks/000123.sst", 123),
      (
        "IO error: No such file or directory: While open a file for random read: "
          + "/a/000007.ldb: No such file or directory", 7
      ),
      ("Corruption: bad entry in block", nil), ("", nil), ("/a.sst", nil),
    ] as [(String, UInt64?)] {
      #expect(SpoolWalk.tableNumber(in: text) == number)
    }
  }

  @Test func histogramsAreExactBelow128AndCloseAbove() {
    var histogram = SizeHistogram()
    #expect(histogram.percentile(0.5) == nil)
    for size in 0..<100 { histogram.add(UInt64(size)) }
    for share in [0.01, 0.5, 0.77, 1] {
      #expect(histogram.percentile(share) == UInt64((100 * share).rounded()) - 1)
    }
    for exponent in 7..<40 {
      var one = SizeHistogram()
      let size = UInt64(1) << UInt64(exponent)
      one.add(size)
      #expect(one.count(below: size) == 0)
      one.add(size - 1)
      #expect(one.count(below: size) == 1)
      one.add(size * 2 - 1)
      #expect(one.percentile(0.5).map { $0 >= size && $0 <= size + size / 64 } == true)
      #expect(one.percentile(1) == size * 2 - 1)
    }
    histogram.add(.max >> 1)
    #expect(histogram.percentile(1) != nil)
  }
}
