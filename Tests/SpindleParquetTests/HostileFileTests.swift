import Foundation
import SpindleCore
import SpindleIO
import Testing

@testable import SpindleParquet

/// Bytes that nobody of good will wrote: an error or a decoded result, never a trap, a hang or more
/// memory than the limits allow.
@Suite struct HostileFileTests {
  /// Small, with every kind of structure: row groups, pages of both kinds, indexes, bloom filters.
  static func sample() throws -> [UInt8] {
    var settings = ParquetWriterSettings()
    settings.rowGroupRows = 30
    settings.pageRows = 15
    settings.compression = .snappy
    for name in ["unique", "n64"] {
      settings.columns[name] = ParquetColumnSettings(bloomFilter: ParquetBloomFilter())
    }
    let sample = try SampleColumns(rows: 50, .third)
      .keeping(["bool", "n64", "f64", "word", "unique", "five", "ts_us_utc"])
    return try written(sample, settings)
  }

  @Test func aFileCutAtAnyByteIsRefused() throws {
    let bytes = try Self.sample()
    for count in bytes.indices {
      #expect(throws: SpindleError.self, "\(count) of \(bytes.count) bytes") {
        // Before there is anything to read, scan or verify.
        _ = try ParquetReader(MemorySource(Array(bytes.prefix(count))))
      }
    }
  }

  /// Files of both page versions, with dictionary, page index and bloom filter, by each codec.
  static let smallFiles: [(ParquetWriterSettings.DataPageVersion, ParquetCompression)] = [
    (.v1, .none), (.v2, .none), (.v1, .snappy), (.v2, .lz4Raw), (.v1, .zstd(level: 1)),
    (.v2, .zstd(level: 1)),
  ]

  static func smallFile(
    _ version: ParquetWriterSettings.DataPageVersion, _ compression: ParquetCompression
  ) throws -> [UInt8] {
    var settings = ParquetWriterSettings()
    settings.dataPageVersion = version
    settings.compression = compression
    settings.rowGroupRows = 20
    settings.pageRows = 10
    settings.columns["word"] = ParquetColumnSettings(
      encoding: .rleDictionary, bloomFilter: ParquetBloomFilter())
    return try written(SampleColumns(rows: 30, .third).keeping(["n64", "word"]), settings)
  }

  @Test(arguments: smallFiles)
  func everyFlippedBitOfAPageIsAnErrorThatNamesThePage(
    _ version: ParquetWriterSettings.DataPageVersion, _ compression: ParquetCompression
  ) throws {
    let bytes = try Self.smallFile(version, compression)
    let metadata = try ParquetReader(MemorySource(bytes)).metadata
    let pages = try pages(bytes)
    #expect(pages.filter { $0.number == nil }.count >= 2)
    var missed: [String] = []
    for page in pages {
      let name = metadata.schema.columns[page.column].name
      let place =
        "(row group \(page.rowGroup), column \(name), \(page.name), offset \(page.start)): "
      for bit in page.start * 8..<page.end * 8 {
        var damaged = bytes
        damaged[bit / 8] ^= 1 << UInt8(bit % 8)
        let reader = try ParquetReader(MemorySource(damaged))
        // The pages one behind the other, and by the offset index, only those of the rows.
        for rows in [nil, page.rows] {
          do throws(SpindleError) {
            _ = try reader.read(rowGroup: page.rowGroup, columns: [name], rows: rows)
            missed.append("bit \(bit) of \(place)")
          } catch {
            if !Self.isRefusal(error) || !error.message.contains(place) {
              missed.append("bit \(bit) of \(place)\(error.message)")
            }
          }
        }
      }
    }
    #expect(missed.isEmpty, "\(missed.count): \(missed.prefix(3))")
  }

  @Test func damageElsewhereIsNoErrorForAPage() throws {
    let bytes = try Self.smallFile(.v2, .snappy)
    let pages = try pages(bytes).filter { $0.rowGroup == 0 && $0.column == 1 && $0.number != nil }
    try #require(pages.count == 2)
    var damaged = bytes
    damaged[pages[1].start] ^= 1
    let reader = try ParquetReader(MemorySource(damaged))
    let batch = try reader.read(rowGroup: 0, columns: ["word"], rows: pages[0].rows)
    #expect(batch.rowCount == 10)
    #expect(throws: SpindleError.self) {
      _ = try reader.read(rowGroup: 0, columns: ["word"], rows: pages[1].rows)
    }
  }

  /// Indexes, bloom filters, footer and both magics. Only where the seal of the footer says that it
  /// is one, a flip is not told: the file is then one without a seal, and all else is as it was.
  @Test func everyFlippedBitOutsideOfPagesIsFound() throws {
    let bytes = try Self.smallFile(.v2, .zstd(level: 1))
    let pages = try pages(bytes)
    let metadata = try ParquetReader(MemorySource(bytes)).metadata
    let footer = bytes.count - Footer.tailBytes - metadata.footerBytes
    let sealMagic = footer - Footer.sealMagic.count..<footer
    #expect(Array(bytes[sealMagic]) == Footer.sealMagic)
    var missed: [Int] = []
    for bit in 0..<bytes.count * 8
    where !pages.contains(where: { ($0.start..<$0.end).contains(bit / 8) }) {
      var damaged = bytes
      damaged[bit / 8] ^= 1 << UInt8(bit % 8)
      let isFound: Bool
      do {
        isFound = try !ParquetReader(MemorySource(damaged)).verify().isSound
      } catch {
        isFound = true
      }
      if isFound == sealMagic.contains(bit / 8) { missed.append(bit) }
    }
    #expect(missed.isEmpty, "\(missed.prefix(20)) of \(bytes.count * 8)")
  }

  /// `SPINDLE_PARQUET_FLIPS` sets how many; `make parquet-flips` asks for 100,000.
  @Test func aFlippedByteIsAnErrorInAPageAndNeverATrap() throws {
    let environment = ProcessInfo.processInfo.environment
    let count = environment["SPINDLE_PARQUET_FLIPS"].flatMap { Int($0) } ?? 10_000
    let bytes = try Self.sample()
    let pages = try pages(bytes)
    var random = SeededGenerator(seed: 20_130_101)
    var refused = 0
    for flip in 0..<count {
      var damaged = bytes
      let place = Int.random(in: 0..<bytes.count, using: &random)
      damaged[place] ^= UInt8.random(in: 1...255, using: &random)
      let isPage = pages.contains { ($0.start..<$0.end).contains(place) }
      do throws(SpindleError) {
        // Each way to read a file costs as much as all others; they take turns.
        if flip % 8 == 0 {
          let column = flip / 8 % 7
          try HostileUse.all(damaged, columns: column..<column + 1)
        } else if flip % 8 == 1 {
          let result = try ParquetReader(MemorySource(damaged), limits: Bomb.limits).verify()
          if let finding = result.findings.first { throw SpindleError(.corruption, finding) }
        } else {
          _ = try WholeFile(MemorySource(damaged), limits: Bomb.limits)
        }
        #expect(!isPage, "byte \(place) of a page was \(bytes[place]), is \(damaged[place])")
      } catch {
        refused += 1
        #expect(Self.isRefusal(error), "\(error)")
      }
    }
    print("\(refused) of \(count) flips were refused, of \(bytes.count) bytes")
  }

  @Test func everyBombIsRefusedAtOnce() throws {
    for bomb in try Bomb.all() {
      let start = Self.secondsOfThisThread()
      do {
        try HostileUse.all(bomb.bytes)
        Issue.record("\(bomb.name) was read")
      } catch {
        #expect(Self.isRefusal(error), "\(bomb.name): \(error)")
      }
      // In a debug build; what was believed would take minutes.
      #expect(Self.secondsOfThisThread() - start < 20, "\(bomb.name)")
    }
  }

  /// How long this thread had a processor: that other tests have it meanwhile does not count.
  private static func secondsOfThisThread() -> Double {
    var time = timespec()
    let status = unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    precondition(status == 0, "the clock of a thread can be read")
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// In a process of its own, which may not take memory that the limits do not allow.
  @Test func noBombTakesMemoryBeyondTheLimits() async {
    await #expect(processExitsWith: .success) {
      let bombs = try Bomb.all()
      // The largest limit twice over: the columns with one page more, and what they are made into.
      try Self.boundMemory(192 << 20)
      for bomb in bombs { try? HostileUse.all(bomb.bytes) }
    }
  }

  /// A footer may name a column among the sorting columns as often as there are columns, and may
  /// name all of them.
  @Test func sortingColumnsTakeNoMemoryBeyondTheLimits() async {
    await #expect(processExitsWith: .success) {
      var file = Bomb.wide()
      let columns = file.columns
      file.change = { footer in
        footer.rowGroups[0].sortingColumns = Array(
          repeating: SortingColumn(leaf: 0, isDescending: false, nullsFirst: false), count: columns)
      }
      let repeated = file.bytes
      file.change = { footer in
        footer.rowGroups[0].sortingColumns = (0..<columns).map {
          SortingColumn(leaf: Int32($0), isDescending: false, nullsFirst: false)
        }
      }
      let all = file.bytes
      try Self.boundMemory(192 << 20)
      let sound = try ParquetReader(MemorySource(repeated), limits: Bomb.limits).verify()
      #expect(sound.isSound && sound.sortedRowGroupCount == 1, "\(sound.findings)")
      // All rows are equal in all columns, which are too many to compare at once.
      let result = try ParquetReader(MemorySource(all), limits: Bomb.limits).verify()
      #expect(result.findings.count == 1 && result.sortedRowGroupCount == 1)
      #expect(result.findings.first?.contains("columns of a batch take more than") == true)
    }
  }

  /// Pairs of nothing, each in three bytes: all of a footer that the limits allow.
  @Test func keyValuePairsTakeNoMemoryBeyondTheLimits() async {
    await #expect(processExitsWith: .success) {
      let count = 8 << 20
      var footer: [UInt8] = [0x59, 0xFC] + CraftedFile.varint(UInt64(count))
      footer.reserveCapacity(count * 3 + 16)
      for _ in 0..<count { footer += [0x18, 0, 0] }
      let bytes = Array("PAR1".utf8) + CraftedFile.ending(footer + [0])
      try Self.boundMemory(96 << 20)
      let error = #expect(throws: SpindleError.self) { try ParquetReader(MemorySource(bytes)) }
      #expect(error?.kind == .tooLarge && error?.message.contains("key-value pairs") == true)
    }
  }

  @Test func keyValuePairsOfColumnsCountToo() throws {
    var file = CraftedFile(type: .int64)
    file.columns = 3
    file.pages = [CraftedFile.data(1, .plain, [UInt8](repeating: 0, count: 8))]
    file.change = { footer in
      footer.keyValues = [KeyValue(key: "a", value: nil)]
      for column in 0..<3 {
        footer.rowGroups[0].columns[column].metadata?.keyValues = [
          KeyValue(key: "b", value: "c"), KeyValue(key: "d", value: nil),
        ]
      }
    }
    var limits = ParquetLimits()
    limits.keyValueCount = 7
    _ = try ParquetReader(MemorySource(file.bytes), limits: limits)
    limits.keyValueCount = 6
    let error = #expect(throws: SpindleError.self) {
      try ParquetReader(MemorySource(file.bytes), limits: limits)
    }
    #expect(error?.kind == .tooLarge)
  }

  /// They are as many as leaves at most, so that opening a file costs no more than its columns.
  @Test func moreSortingColumnsThanLeavesAreRefused() throws {
    for count in [3, 4, 100_000] {
      var file = CraftedFile(type: .int64)
      file.columns = 3
      file.pages = [CraftedFile.data(1, .plain, [UInt8](repeating: 0, count: 8))]
      file.change = { footer in
        footer.rowGroups[0].sortingColumns = Array(
          repeating: SortingColumn(leaf: 2, isDescending: false, nullsFirst: false), count: count)
      }
      do {
        let metadata = try ParquetReader(MemorySource(file.bytes)).metadata
        #expect(count == 3)
        #expect(metadata.rowGroups[0].sortingColumns.map(\.name) == ["v2", "v2", "v2"])
      } catch {
        #expect(count > 3 && error.kind == .corruption, "\(error)")
      }
    }
  }

  /// Lets this process take some more memory than it has.
  private static func boundMemory(_ more: UInt) throws {
    let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
    let pages = try #require(UInt(text.prefix { $0 != " " }))
    var limit = rlimit()
    limit.rlim_cur = pages * UInt(getpagesize()) + more
    limit.rlim_max = limit.rlim_cur
    try #require(unsafe setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0)
  }

  /// The kinds of error that a file may end in.
  static func isRefusal(_ error: SpindleError) -> Bool {
    [.corruption, .unsupportedFormat, .tooLarge].contains(error.kind)
  }

  /// A page of a file, from the first byte of its header.
  private struct PlacedPage {
    var rowGroup: Int
    var column: Int
    /// Of a data page.
    var number: Int?
    var start: Int
    var end: Int
    /// In the row group; of a dictionary page the first one.
    var rows: Range<Int>

    var name: String { number.map { "page \($0)" } ?? "dictionary page" }
  }

  private func pages(_ bytes: [UInt8]) throws -> [PlacedPage] {
    let metadata = try ParquetReader(MemorySource(bytes)).metadata
    var pages: [PlacedPage] = []
    for (rowGroup, group) in metadata.rowGroups.enumerated() {
      for (column, chunk) in group.columns.enumerated() {
        var at = Int(chunk.byteRange.lowerBound)
        var number = 0
        var row = 0
        while at < chunk.byteRange.upperBound {
          var reader = ThriftReader(bytes.span.extracting(at..<Int(chunk.byteRange.upperBound)))
          let header = try PageHeader(&reader)
          let end = at + reader.offset + header.compressedSize
          var page = PlacedPage(
            rowGroup: rowGroup, column: column, start: at, end: end, rows: 0..<1)
          let rowCount: Int? =
            switch header.kind {
            case .data(let data): data.valueCount
            case .dataV2(let data): data.rowCount
            case .dictionary, .other: nil
            }
          if let rowCount {
            page.number = number
            page.rows = row..<row + rowCount
            number += 1
            row += rowCount
          }
          pages.append(page)
          at = end
        }
      }
    }
    return pages
  }
}

/// A file as our writer makes it.
func written(_ sample: SampleColumns, _ settings: ParquetWriterSettings) throws -> [UInt8] {
  let sink = MemorySink()
  let writer = try ParquetWriter(sink, schema: sample.schema, settings: settings)
  try writer.write(sample.batch)
  _ = try writer.finish()
  return sink.bytes
}
