import SpindleCore
import Testing

@testable import SpindleParquet

/// What `verify` finds, and that it finds nothing in sound files.
@Suite struct VerificationTests {
  private func settings() -> ParquetWriterSettings {
    var settings = ParquetWriterSettings()
    settings.rowGroupRows = 60
    settings.pageRows = 20
    for name in ["unique", "n64", "f64", "five"] {
      settings.columns[name] = ParquetColumnSettings(bloomFilter: ParquetBloomFilter())
    }
    return settings
  }

  @Test(arguments: NullPattern.allCases) func ourFilesAreSound(_ pattern: NullPattern) throws {
    let bytes = try written(SampleColumns(rows: 150, pattern), settings())
    let result = try ParquetReader(MemorySource(bytes)).verify()
    #expect(result.isSound, "\(result.findings)")
  }

  @Test func filesOfOthersAreSound() throws {
    for name in Fixture.names {
      let result = try Fixture.reader(name).verify()
      #expect(result.isSound, "\(name): \(result.findings)")
    }
  }

  @Test func aPromiseOfOrderThatIsNotKeptIsFound() throws {
    let number = ParquetColumn(name: "n", physicalType: .int64)
    for (values, isDescending, row) in [
      ([1, 2, 2, 5, 4, 9], false, 4), ([9, 8, 8, 8], true, nil), ([9, 8, 8, 9], true, 3),
    ] as [([Int64], Bool, Int?)] {
      let sink = MemorySink()
      var settings = ParquetWriterSettings()
      settings.pageRows = 2
      settings.sortingColumns = [ParquetSortingColumn(name: "n", isDescending: isDescending)]
      let writer = try ParquetWriter(sink, schema: ParquetSchema([number]), settings: settings)
      try writer.write(ColumnBatch([ColumnArray(.int64(values))]))
      _ = try writer.finish()
      let result = try ParquetReader(MemorySource(sink.bytes)).verify()
      #expect(result.isSound == (row == nil))
      if let row { #expect(result.findings.first?.contains(": row \(row) is not") == true) }
    }
  }

  /// Also where pieces of rows meet, and in columns that are compared only where others are equal.
  @Test(arguments: [nil, 998, 999, 1000, 1500, 2997, 2998, 2999])
  func theOrderIsComparedInPieces(wrong: Int?) throws {
    let schema = try ParquetSchema(
      ["a", "b", "c"].map { ParquetColumn(name: $0, physicalType: .int64) })
    let rows = 3000
    // Rows are equal in the first columns from one piece to the next; row 1500 begins anew.
    var numbers = (0..<rows).map { Int64($0) }
    if let wrong { numbers[wrong] = -1 }
    let settings = { (settings: inout ParquetWriterSettings) in
      settings.pageRows = 70
      settings.writesPageIndex = false
      settings.sortingColumns = ["a", "b", "c"].map { ParquetSortingColumn(name: $0) }
    }
    let file = try WrittenFile(
      schema,
      [
        ColumnBatch([
          ColumnArray(.int64((0..<rows).map { Int64($0 < 1500 ? 0 : $0 / 1400) })),
          ColumnArray(.int64((0..<rows).map { Int64($0 / 700) })), ColumnArray(.int64(numbers)),
        ])
      ], settings)
    var limits = ParquetLimits()
    limits.batchRows = 1000
    let source = CountingSource(file.bytes)
    let result = try ParquetReader(source, limits: limits).verify()
    #expect(result.sortedRowGroupCount == 1)
    if let wrong, wrong != 1500 {
      #expect(result.findings.count == 1)
      #expect(result.findings.first?.contains("column c): row \(wrong) ") == true)
    } else {
      #expect(result.isSound, "\(result.findings)")
    }
    // Once for the pages and once for the order, and the footer.
    #expect(source.bytesRead <= 3 * UInt64(file.bytes.count))
  }

  /// Each changes one claim of a file; the finding says which.
  @Test func everyFalseClaimIsFound() throws {
    let changes: [(String, (inout ColumnMetaData) -> Void)] = [
      ("nulls", { $0.statistics?.nullCount = 2 }),
      ("from below", { $0.statistics?.minimum = Array(repeating: 1, count: 8) }),
      (
        "from below",
        {
          $0.statistics?.minimum = [0, 0, 0, 0, 0, 0, 0, 0x80]
          $0.statistics?.isMinimumExact = true
        }
      ),
      ("from above", { $0.statistics?.maximum = [0, 0, 0, 0, 0, 0, 0, 0x80] }),
      ("pages end at", { $0.compressedBytes += 1 }),
    ]
    for (word, change) in changes {
      var file = CraftedFile(type: .int64)
      file.rows = 3
      var values: [UInt8] = []
      for value: Int64 in [-5, 0, 5] { values.appendLittleEndian(UInt64(bitPattern: value)) }
      file.pages = [CraftedFile.data(3, .plain, values)]
      let bytesOfPage = values.count + file.pages[0].headerBytes
      func make(_ change: @escaping (inout ColumnMetaData) -> Void) -> [UInt8] {
        // The file holds this, so it must not hold the file.
        file.change = { footer in
          footer.columnOrders = [.byType]
          var statistics = Statistics()
          statistics.nullCount = 0
          statistics.minimum = [0xFB] + Array(repeating: 0xFF, count: 7)
          statistics.maximum = [5] + Array(repeating: 0, count: 7)
          var metadata = footer.rowGroups[0].columns[0].metadata
          metadata?.statistics = statistics
          if var known = metadata {
            // A byte of room behind the page.
            known.compressedBytes = Int64(bytesOfPage)
            change(&known)
            metadata = known
          }
          footer.rowGroups[0].columns[0].metadata = metadata
        }
        // So that a chunk may claim a byte more.
        let bytes = file.bytes
        let end = 4 + bytesOfPage
        return Array(bytes[..<end]) + [0] + bytes[end...]
      }
      let sound = try ParquetReader(MemorySource(make { _ in })).verify()
      #expect(sound.isSound, "\(sound.findings)")
      let result = try ParquetReader(MemorySource(make(change))).verify()
      #expect(result.findings.count == 1, "\(word): \(result.findings)")
      #expect(result.findings.first?.contains(word) == true, "\(word): \(result.findings)")
    }
  }

  // A filter has the hashes of the twelve bytes, of which eight are kept.
  @Test func bloomFiltersOfINT96AreNotHeldAgainstWhatIsKept() throws {
    var time: [UInt8] = []
    time.appendLittleEndian(UInt64(45_296_000_000_000))
    time.appendLittleEndian(UInt32(2_451_545))
    var filter = BloomFilter(byteCount: 32)
    filter.insert(XXH64.hash(time.span))
    var file = CraftedFile(type: .int96)
    file.pages = [CraftedFile.data(1, .plain, time)]
    let end = 4 + file.pages[0].headerBytes + time.count
    file.change = { $0.rowGroups[0].columns[0].metadata?.bloomFilterOffset = Int64(end) }
    let bytes = file.bytes
    let filterBytes = BloomFilterHeader(byteCount: filter.bytes.count).encoded + filter.bytes
    let source = MemorySource(Array(bytes[..<end]) + filterBytes + bytes[end...])
    let result = try ParquetReader(source).verify()
    #expect(result.bloomFilterCount == 1)
    #expect(result.findings == [])
  }

  @Test func levelsAreUsedUpAndSizesAddUp() throws {
    var file = CraftedFile(type: .int32)
    file.isOptional = true
    file.rows = 8
    // Eight rows that are there; then a second run, which no row takes.
    for (levels, isRead) in [([16, 1], true), ([16, 1, 16, 1], false)] as [([UInt8], Bool)] {
      let header = DataPageHeaderV2(
        rowCount: 8, nullCount: 0, encoding: .plain, definitionLevelBytes: levels.count,
        isCompressed: false)
      file.pages = [
        CraftedFile.Page(kind: .dataV2(header), bytes: levels + [UInt8](repeating: 0, count: 32))
      ]
      if isRead {
        #expect(try WholeFile(MemorySource(file.bytes)).columns[0].count == 8)
      } else {
        let error = #expect(throws: SpindleError.self) { try WholeFile(MemorySource(file.bytes)) }
        #expect(error?.message.contains("levels of 4 bytes, of which the rows take 2") == true)
      }
    }
    file.pages[0] = CraftedFile.data(
      8, .plain, [2, 0, 0, 0, 16, 1] + Array(repeating: 0, count: 32))
    file.change = { $0.rowGroups[0].columns[0].metadata?.uncompressedBytes += 1 }
    let findings = try ParquetReader(MemorySource(file.bytes)).verify().findings
    #expect(findings.count == 1 && findings[0].contains("bytes before compression, not"))
  }

  @Test func pageIndexesAndBloomFiltersAreHeldAgainstTheValues() throws {
    var sample = try SampleColumns(rows: 60, .none).keeping(["n64"])
    sample.batch.columns[0] = ColumnArray(.int64((0..<60).map { Int64($0) + 1_000_000 }))
    var settings = settings()
    // Their checksums would tell first.
    settings.writesChecksums = false
    settings.columns = settings.columns.filter { $0.key == "n64" }
    let bytes = try written(sample, settings)
    let chunk = try ParquetReader(MemorySource(bytes)).metadata.rowGroups[0].columns[0]
    let cases: [(Range<UInt64>?, String)] = [
      (chunk.columnIndexRange, "bounded"), (chunk.offsetIndexRange, "offset index"),
      (chunk.bloomFilterOffset.map { $0 + 20..<$0 + 40 }, "bloom filter"),
    ]
    for (range, word) in cases {
      let range = try #require(range)
      // Some bits of a structure make no sense any more, others make another one.
      var found: Set<String> = []
      for place in Int(range.lowerBound)..<Int(range.upperBound) {
        var damaged = bytes
        damaged[place] = word == "bloom filter" ? 0 : damaged[place] ^ 1
        let reader = try ParquetReader(MemorySource(damaged))
        for finding in try reader.verify().findings where finding.contains(word) {
          found.insert(finding)
        }
      }
      #expect(!found.isEmpty, "\(word)")
    }
  }
}

extension CraftedFile.Page {
  /// Bytes of its header.
  var headerBytes: Int {
    PageHeader(
      kind: kind, uncompressedSize: claimed ?? bytes.count, compressedSize: bytes.count
    ).encoded.count
  }
}
