import SpindleCodecs
import SpindleCore
import SpindleIO
import Testing

@testable import SpindleParquet

@Suite("Writing Parquet")
struct ParquetWriterTests {
  // MARK: Round trips

  @Test(
    "What is written is read again",
    arguments: [ParquetWriterSettings.DataPageVersion.v1, .v2],
    [ParquetCompression.none, .snappy, .lz4Raw, .zstd(level: 1)])
  func roundTrip(
    version: ParquetWriterSettings.DataPageVersion, compression: ParquetCompression
  ) throws {
    for pattern in NullPattern.allCases {
      for rows in [0, 1, 64, 300, 301, 1500] {
        let sample = try SampleColumns(rows: rows, pattern, isRequired: pattern == .none)
        let file = try WrittenFile(sample.schema, [sample.batch]) {
          $0.dataPageVersion = version
          $0.compression = compression
          $0.rowGroupRows = 600
          $0.pageRows = 150
          // Some columns outgrow it on the way.
          $0.dictionaryBytes = 1000
        }
        #expect(file.metadata.rowCount == rows)
        #expect(file.metadata.rowGroups.count == (rows + 599) / 600)
        let whole = try WholeFile(MemorySource(file.bytes))
        #expect(whole.metadata == file.metadata)
        if rows > 0 { #expect(whole.judged == sample.judged, "\(rows) rows, \(pattern)") }
      }
    }
  }

  @Test(
    "Every encoding that is asked for is used and read again",
    arguments: [
      ("n64", ParquetEncoding.plain), ("n64", .rleDictionary), ("n64", .deltaBinaryPacked),
      ("n32", .deltaBinaryPacked), ("f32", .byteStreamSplit), ("f64", .byteStreamSplit),
      ("f64", .rleDictionary), ("word", .plain), ("word", .rleDictionary),
      ("word", .deltaLengthByteArray), ("uuid", .plain), ("uuid", .rleDictionary),
      ("bool", .plain), ("bool", .rle), ("origin", .plain), ("origin", .deltaLengthByteArray),
    ])
  func encodings(name: String, encoding: ParquetEncoding) throws {
    for version in [ParquetWriterSettings.DataPageVersion.v1, .v2] {
      let sample = try SampleColumns(rows: 1000, .random)
      let file = try WrittenFile(sample.schema, [sample.batch]) {
        $0.columns[name] = ParquetColumnSettings(encoding: encoding)
        $0.dataPageVersion = version
        $0.pageRows = 170
      }
      let column = try #require(sample.schema.index(of: name))
      #expect(try file.chunk(column).encodings.contains(encoding))
      for page in try file.pages(column) {
        switch page.header.kind {
        case .data(let header): #expect(header.encoding == encoding)
        case .dataV2(let header): #expect(header.encoding == encoding)
        default: break
        }
      }
      #expect(try WholeFile(MemorySource(file.bytes)).judged == sample.judged)
    }
  }

  @Test func batchesOfAnySizeGiveTheSameRows() throws {
    let sample = try SampleColumns(rows: 1000, .random)
    for size in [1, 7, 64, 333, 1000] {
      let batches = stride(from: 0, to: 1000, by: size).map {
        sample.batch.rows($0..<min($0 + size, 1000))
      }
      let file = try WrittenFile(sample.schema, batches) { $0.rowGroupRows = 400 }
      #expect(file.metadata.rowGroups.map(\.rowCount) == [400, 400, 200])
      #expect(try WholeFile(MemorySource(file.bytes)).judged == sample.judged)
    }
  }

  @Test func aDictionaryThatGrowsTooLargeGivesWay() throws {
    let texts = (0..<3000).map { "text \($0 < 1000 ? $0 % 10 : $0)" }
    let file = try WrittenFile(.byteArray, .string, .strings(texts)) {
      $0.columns["x"] = ParquetColumnSettings(encoding: .rleDictionary)
      $0.dictionaryBytes = 1000
      $0.pageRows = 700
    }
    let encodings = try file.pages().map { page -> ParquetEncoding? in
      if case .dataV2(let header) = page.header.kind { header.encoding } else { nil }
    }
    // The page with the value that does not fit any more ends before it.
    #expect(encodings.prefix(4) == [nil, .rleDictionary, .rleDictionary, .plain])
    #expect(Set(try file.chunk().encodings) == [.plain, .rleDictionary])
    let whole = try WholeFile(MemorySource(file.bytes))
    #expect(whole.columns[0].expanded.texts == texts)
  }

  // Dictionaries that differ from batch to batch, strings without one, and long strings that come
  // often: a kilobyte of indices stands for 40 MB.
  @Test func columnsWithDictionariesAreJoined() throws {
    let long = String(repeating: "long ", count: 8000)
    let parts: [ColumnArray] = [
      ColumnArray(.dictionary(indices: [1, 0, 1, 2], values: ByteStrings(["a", "b", long]))),
      ColumnArray(.dictionary(indices: [0, 1, 0], values: ByteStrings([long, "b", "unused"]))),
      .strings(["plain", nil, "a", long]),
      ColumnArray(
        .dictionary(
          indices: (0..<1000).map { $0 % 3 == 0 ? 1 : 0 }, values: ByteStrings([long, "c"])),
        validity: Samples.validity(1000)),
    ]
    let expected = parts.flatMap { part in
      let strings = part.expanded
      return (0..<part.count).map { part.isNull($0) ? nil : strings.text($0) }
    }
    let schema = try ParquetSchema([
      ParquetColumn(name: "x", physicalType: .byteArray, logicalType: .string, isOptional: true)
    ])
    for encoding in [nil, ParquetEncoding.plain, .rleDictionary, .deltaLengthByteArray] {
      for dictionaryBytes in [0, 10, 50_000, 1 << 20] {
        let file = try WrittenFile(schema, parts.map { ColumnBatch([$0]) }) {
          $0.columns["x"] = ParquetColumnSettings(encoding: encoding)
          $0.dictionaryBytes = dictionaryBytes
          $0.pageRows = 100
        }
        let column = try WholeFile(MemorySource(file.bytes)).columns[0]
        let strings = column.expanded
        let found = (0..<column.count).map { column.isNull($0) ? nil : strings.text($0) }
        #expect(found == expected)
      }
    }
  }

  // Without a choice of the caller, what is smallest is taken.
  @Test func theSmallestEncodingIsFound() throws {
    let count = 20_000
    var random = SeededGenerator(seed: 1)
    let rising = (0..<count).map { Int64($0) * 1000 + Int64(random.next() % 1000) }
    let noise = (0..<count).map { _ in Int64(bitPattern: random.next()) }
    let few = (0..<count).map { _ in Int64(random.next() % 5) &* 0x0123_4567_89AB_CDEF }
    let shares = noise.map { Double($0.magnitude) * 0x1p-63 }
    for compression in [ParquetCompression.none, .zstd(level: 1)] {
      func encodings(_ type: ParquetPhysicalType, _ values: ColumnArray.Values) throws -> Set<
        ParquetEncoding
      > {
        Set(
          try WrittenFile(type, nil, ColumnArray(values)) { $0.compression = compression }
            .chunk().encodings)
      }
      #expect(try encodings(.int64, .int64(rising)) == [.deltaBinaryPacked])
      #expect(try encodings(.int64, .int64(noise)) == [.plain])
      #expect(try encodings(.int64, .int64(few)) == [.plain, .rleDictionary])
      if compression != .none {
        #expect(try encodings(.double, .double(shares)) == [.byteStreamSplit])
      }
    }
  }

  // MARK: Rows

  static let rowSchema = [
    ParquetColumn(name: "flag", physicalType: .boolean, isOptional: true),
    ParquetColumn(
      name: "byte", physicalType: .int32, logicalType: .integer(bitWidth: 8, isSigned: true)),
    ParquetColumn(
      name: "u32", physicalType: .int32, logicalType: .integer(bitWidth: 32, isSigned: false)),
    ParquetColumn(
      name: "u64", physicalType: .int64, logicalType: .integer(bitWidth: 64, isSigned: false)),
    ParquetColumn(name: "n", physicalType: .int64, isOptional: true),
    ParquetColumn(name: "f", physicalType: .float),
    ParquetColumn(name: "d", physicalType: .double, isOptional: true),
    ParquetColumn(name: "s", physicalType: .byteArray, logicalType: .string, isOptional: true),
    ParquetColumn(name: "b", physicalType: .fixedLengthByteArray(2)),
  ]

  @Test func rowsComeBackAsTheyWereWritten() throws {
    let schema = try ParquetSchema(Self.rowSchema)
    let rows: [[ParquetValue?]] = [
      [true, -128, .unsigned(4_294_967_295), .unsigned(.max), -5, 1.5, 2.5, "a", .bytes([1, 2])],
      [nil, 127, .unsigned(0), .unsigned(0), nil, -2.0, nil, nil, .bytes([3, 4])],
      [false, 0, .unsigned(7), .unsigned(8), 9, 10.0, 11.0, "", .bytes([0, 0])],
    ]
    let sink = MemorySink()
    let writer = try ParquetWriter(sink, schema: schema)
    for round in 0..<7000 { try writer.write(row: rows[round % 3]) }
    // A batch between them keeps its place.
    var builder = ParquetRowBuilder(schema)
    try builder.append(rows[2])
    try writer.write(builder.finish())
    try writer.write(row: rows[1])
    #expect(try writer.finish().rowCount == 7002)
    let reader = try ParquetReader(MemorySource(sink.bytes)).rows()
    for round in 0..<7002 {
      let row = try #require(try reader.next())
      let expected = rows[round < 7000 ? round % 3 : round == 7000 ? 2 : 1]
      #expect(expected.indices.allSatisfy { row[$0] == expected[$0] }, "row \(round)")
    }
    #expect(try reader.next() == nil)
  }

  @Test func aRowThatDoesNotFitIsNotTaken() throws {
    let good: [ParquetValue?] = [
      true, 1, 1, 1, 1, 1, 1, "a", .bytes([1, 2]),
    ]
    let bad: [(Int, ParquetValue?)] = [
      (0, 1), (1, nil), (1, 128), (1, -129), (1, 1.5), (2, -1), (2, 4_294_967_296), (3, -1),
      (4, .unsigned(.max)), (4, "1"), (5, nil), (5, "1"), (5, .integer(.max)), (7, 1), (8, nil),
      (8, .bytes([1])), (8, "abc"), (7, .bytes(Array(repeating: 0, count: 101))),
    ]
    var settings = ParquetWriterSettings()
    settings.valueBytes = 100
    let sink = MemorySink()
    let writer = try ParquetWriter(
      sink, schema: ParquetSchema(Self.rowSchema), settings: settings)
    try writer.write(row: good)
    for (column, value) in bad {
      var row = good
      row[column] = value
      let error = #expect(throws: SpindleError.self, "column \(column)") {
        try writer.write(row: row)
      }
      #expect(error?.kind == .invalidArgument)
    }
    #expect(throws: SpindleError.self) { try writer.write(row: Array(good.dropLast())) }
    try writer.write(row: good)
    #expect(try writer.finish().rowCount == 2)
    #expect(throws: SpindleError.self) { try writer.write(row: good) }
  }

  // MARK: Layout

  @Test func pagesAndRowGroupsKeepTheirLimits() throws {
    let strings = ColumnArray.strings(
      (0..<1000).map { $0 % 100 == 50 ? String(repeating: "\($0)", count: 2000) : "s\($0)" })
    let file = try WrittenFile(.byteArray, .string, strings) {
      $0.pageRows = 90
      $0.pageBytes = 1000
      $0.rowGroupRows = 450
      $0.columns["x"] = ParquetColumnSettings(
        encoding: .plain, compression: ParquetCompression.none)
    }
    #expect(file.metadata.rowGroups.map(\.rowCount) == [450, 450, 100])
    for page in try file.pages() {
      guard case .dataV2(let header) = page.header.kind else { continue }
      #expect(header.rowCount <= 90)
      // A single string may be longer than a page.
      #expect(page.header.uncompressedSize <= 1000 || header.rowCount == 1)
    }
    let byBytes = try WrittenFile(.byteArray, .string, strings) { $0.rowGroupBytes = 10_000 }
    #expect(byBytes.metadata.rowGroups.count > 5)
    #expect(try WholeFile(MemorySource(byBytes.bytes)).columns[0].expanded == strings.expanded)
  }

  @Test func aRowGroupEndsWhereTheCallerSays() throws {
    let schema = try ParquetSchema([ParquetColumn(name: "x", physicalType: .int32)])
    let sink = MemorySink()
    let writer = try ParquetWriter(sink, schema: schema)
    try writer.endRowGroup()
    try writer.write(ColumnBatch([.numbers([1, 2] as [Int32])]))
    try writer.endRowGroup()
    try writer.write(ColumnBatch([.numbers([3] as [Int32])]))
    #expect(try writer.finish().rowGroups.map(\.rowCount) == [2, 1])
  }

  @Test func everythingHasItsChecksum() throws {
    let sample = try SampleColumns(rows: 500, .third)
    for isOn in [true, false] {
      let file = try WrittenFile(sample.schema, [sample.batch]) {
        $0.writesChecksums = isOn
        $0.pageRows = 100
      }
      for column in sample.schema.columns.indices {
        let pages = try file.pages(column)
        for page in pages {
          #expect(page.header.checksum == (isOn ? CRC32.checksum(page.body.span) : nil))
        }
        let chunk = try file.chunk(column)
        let checksums = chunk.checksums
        #expect((checksums != nil) == isOn && chunk.keyValues == nil)
        let headers = pages.map { CRC32.checksum($0.header.encoded.span) }
        let stored = checksums.map { ($0.dictionaryHeader.map { [$0] } ?? []) + $0.pageHeaders }
        #expect(stored == (isOn ? headers : nil))
        #expect(checksums.map { $0.columnIndex != nil && $0.offsetIndex != nil } ?? !isOn)
        #expect(file.metadata.rowGroups[0].columns[column].keyValues.isEmpty)
      }
      let seal = file.bytes.dropLast(Footer.tailBytes + file.metadata.footerBytes)
        .suffix(Footer.sealBytes)
      #expect((Array(seal.suffix(4)) == Footer.sealMagic) == isOn)
    }
  }

  @Test func pagesThatDoNotCompressAreLeftAlone() throws {
    let noise = ColumnArray(.fixed(FixedBytes(width: 16, bytes: Samples.bytes(16_000))))
    for compression in [ParquetCompression.snappy, .lz4Raw, .zstd(level: 1)] {
      for version in [ParquetWriterSettings.DataPageVersion.v1, .v2] {
        let file = try WrittenFile(.fixedLengthByteArray(16), nil, noise) {
          $0.compression = compression
          $0.dataPageVersion = version
        }
        for page in try file.pages() {
          if case .dataV2(let header) = page.header.kind {
            #expect(!header.isCompressed && page.body.count == page.header.uncompressedSize)
          }
        }
        guard case .fixed(let back) = try WholeFile(MemorySource(file.bytes)).columns[0].values
        else { return }
        #expect(back.bytes == Samples.bytes(16_000))
      }
    }
  }

  @Test func theFooterSaysWhatTheCallerSays() throws {
    let sample = try SampleColumns(rows: 10, .none)
    let file = try WrittenFile(sample.schema, [sample.batch]) {
      $0.createdBy = "somebody version 3"
      $0.keyValues = [ParquetKeyValue(key: "a", value: "b"), ParquetKeyValue(key: "c", value: nil)]
      $0.sortingColumns = [
        ParquetSortingColumn(name: "n64", isDescending: true, nullsFirst: true),
        ParquetSortingColumn(name: "bool"),
      ]
    }
    #expect(file.metadata.createdBy == "somebody version 3")
    #expect(file.metadata.value(of: "a") == "b" && file.metadata.keyValues.count == 2)
    #expect(
      file.metadata.rowGroups[0].sortingColumns == [
        ParquetSortingColumn(name: "n64", isDescending: true, nullsFirst: true),
        ParquetSortingColumn(name: "bool"),
      ])
    #expect(file.footer.columnOrders?.allSatisfy { $0 == .byType } == true)
    #expect(file.metadata.fileBytes == UInt64(file.bytes.count))
  }

  // MARK: Bloom filters

  @Test(
    "Values are found by their bloom filters",
    arguments: ["n32", "n64", "f32", "f64", "word", "unique", "uuid", "binary", "origin"])
  func bloomFilters(name: String) throws {
    let sample = try SampleColumns(rows: 900, .third)
    let column = try #require(sample.schema.index(of: name))
    for encoding in [nil, ParquetEncoding.plain] {
      let file = try WrittenFile(sample.schema, [sample.batch]) {
        $0.columns[name] = ParquetColumnSettings(
          encoding: encoding, bloomFilter: ParquetBloomFilter(falsePositiveRate: 0.01))
        $0.rowGroupRows = 450
      }
      let reader = try file.reader
      for group in 0..<2 {
        let found = try #require(try reader.bloomFilter(of: column, in: group))
        let rows = sample.batch.columns[column].rows(group * 450..<group * 450 + 450)
        for hash in rows.hashes { #expect(found.filter.mayContain(hash)) }
        let misses = (0..<10_000).count { found.filter.mayContain(XXH64.hash(UInt64($0) << 32)) }
        #expect(misses < 300)
      }
      #expect(try file.chunk(0).bloomFilterOffset == nil)
    }
  }

  @Test func aBloomFilterHasRoomForTheValuesThatAreExpected() throws {
    func byteCount(_ distinctCount: Int?) throws -> Int {
      let column = ColumnArray.numbers((0..<1000).map { Int64($0 % 100) })
      let file = try WrittenFile(.int64, nil, column) {
        $0.columns["x"] = ParquetColumnSettings(
          bloomFilter: ParquetBloomFilter(distinctCount: distinctCount))
      }
      return Int(try #require(try file.chunk().bloomFilterBytes))
    }
    // 100 values at 1 % take 121 bytes, 10,000 take 12 KB.
    #expect((128..<160).contains(try byteCount(nil)))
    #expect((16_384..<16_420).contains(try byteCount(10_000)))
  }

  // MARK: Sinks

  @Test func aFileAppearsAsAWhole() throws {
    let directory = TemporaryDirectory.make(prefix: "parquet-writer")
    defer { TemporaryDirectory.remove(directory) }
    let path = directory + "/a.parquet"
    let sample = try SampleColumns(rows: 100, .none)
    do {
      let writer = try ParquetWriter(FileSink(path), schema: sample.schema)
      try writer.write(sample.batch)
      try writer.endRowGroup()
      #expect(!Files.exists(path))
    }
    // What was not finished leaves nothing.
    #expect(try Files.names(in: directory) == [])
    let writer = try ParquetWriter(FileSink(path), schema: sample.schema)
    try writer.write(sample.batch)
    let metadata = try writer.finish()
    #expect(try Files.names(in: directory) == ["a.parquet"])
    #expect(try Files.size(path) == metadata.fileBytes)
    #expect(try WholeFile(FileSource(path)).judged == sample.judged)
    // The name is taken now.
    let error = #expect(throws: SpindleError.self) { _ = try FileSink(path) }
    #expect(error?.kind == .io)
  }

  @Test func aSinkThatFailsEndsTheWriter() throws {
    final class FullSink: ParquetSink {
      let name = "full"
      var left: Int
      init(_ left: Int) { self.left = left }
      func write(_ bytes: [UInt8]) throws(SpindleError) {
        left -= bytes.count
        if left < 0 { throw SpindleError(.io, "full") }
      }
      func finish() throws(SpindleError) {
        if left < 100 { throw SpindleError(.io, "cannot finish") }
      }
    }
    let sample = try SampleColumns(rows: 100, .none)
    let whole = try WrittenFile(sample.schema, [sample.batch])
    for room in stride(from: 0, through: whole.bytes.count + 99, by: 97) {
      var failure: SpindleError?
      do throws(SpindleError) {
        let writer = try ParquetWriter(FullSink(room), schema: sample.schema)
        do throws(SpindleError) {
          try writer.write(sample.batch)
          try writer.endRowGroup()
          _ = try writer.finish()
        } catch {
          failure = error
          #expect(throws: SpindleError.self) { try writer.write(sample.batch) }
          #expect(throws: SpindleError.self) { try writer.endRowGroup() }
          #expect(throws: SpindleError.self) { _ = try writer.finish() }
        }
      } catch { failure = error }
      #expect(failure?.kind == .io, "\(room) of \(whole.bytes.count) bytes")
    }
  }

  // MARK: Bad input

  @Test func aBatchThatDoesNotFitIsRefusedAsAWhole() throws {
    let schema = try ParquetSchema([
      ParquetColumn(name: "n", physicalType: .int64),
      ParquetColumn(name: "s", physicalType: .byteArray, logicalType: .string, isOptional: true),
    ])
    var settings = ParquetWriterSettings()
    settings.valueBytes = 10
    let sink = MemorySink()
    let writer = try ParquetWriter(sink, schema: schema, settings: settings)
    let numbers = ColumnArray.numbers([1, 2] as [Int64])
    let texts = ColumnArray.strings(["a", nil])
    try writer.write(ColumnBatch([numbers, texts]))
    let bad: [(String, ColumnBatch)] = [
      ("too few columns", ColumnBatch([numbers])),
      ("too many columns", ColumnBatch([numbers, texts, texts])),
      ("lengths that differ", ColumnBatch([numbers, .strings(["a"])])),
      ("another number of rows", ColumnBatch(columns: [numbers, texts], rowCount: 3)),
      ("another type", ColumnBatch([.numbers([1, 2] as [Int32]), texts])),
      ("a null", ColumnBatch([.numbers([1, nil] as [Int64?]), texts])),
      ("a long string", ColumnBatch([numbers, .strings(["a", "01234567890"])])),
      (
        "an index that leads out",
        ColumnBatch([
          numbers, ColumnArray(.dictionary(indices: [0, 1], values: ByteStrings(["a"]))),
        ])
      ),
      (
        "offsets that lead out",
        ColumnBatch([
          numbers, ColumnArray(.bytes(ByteStrings(offsets: [0, 1, 9], bytes: [1, 2]))),
        ])
      ),
    ]
    for (name, batch) in bad {
      let error = #expect(throws: SpindleError.self, "\(name)") { try writer.write(batch) }
      #expect(error?.kind == .invalidArgument, "\(name)")
    }
    try writer.write(ColumnBatch([numbers, texts]))
    #expect(try writer.finish().rowCount == 4)
    let whole = try WholeFile(MemorySource(sink.bytes))
    #expect(Int64.slots(of: whole.columns[0].values) == [1, 2, 1, 2])
    let late = #expect(throws: SpindleError.self) {
      try writer.write(ColumnBatch([numbers, texts]))
    }
    #expect(late?.kind == .closed)
    #expect(throws: SpindleError.self) { _ = try writer.finish() }
  }

  @Test func settingsThatCannotBeAreRefused() throws {
    let schema = try ParquetSchema([
      ParquetColumn(name: "n", physicalType: .int64),
      ParquetColumn(name: "b", physicalType: .boolean),
      ParquetColumn(name: "s", physicalType: .byteArray),
    ])
    let changes: [(inout ParquetWriterSettings) -> Void] = [
      { $0.rowGroupRows = 0 }, { $0.rowGroupBytes = 0 }, { $0.pageRows = -1 },
      { $0.pageBytes = 0 }, { $0.pageBytes = 1 << 40 }, { $0.dictionaryBytes = -1 },
      { $0.valueBytes = 0 }, { $0.boundBytes = 7 }, { $0.compression = .gzip },
      { $0.compression = .zstd(level: 0) }, { $0.compression = .zstd(level: 20) },
      { $0.sortingColumns = [ParquetSortingColumn(name: "m")] },
      { $0.columns["m"] = ParquetColumnSettings() },
      { $0.columns["n"] = ParquetColumnSettings(encoding: .byteStreamSplit) },
      { $0.columns["n"] = ParquetColumnSettings(encoding: .plainDictionary) },
      { $0.columns["b"] = ParquetColumnSettings(encoding: .rleDictionary) },
      { $0.columns["s"] = ParquetColumnSettings(encoding: .deltaBinaryPacked) },
      { $0.columns["s"] = ParquetColumnSettings(compression: .gzip) },
      { $0.columns["b"] = ParquetColumnSettings(bloomFilter: ParquetBloomFilter()) },
      {
        $0.columns["n"] = ParquetColumnSettings(
          bloomFilter: ParquetBloomFilter(falsePositiveRate: 1))
      },
      {
        $0.columns["n"] = ParquetColumnSettings(bloomFilter: ParquetBloomFilter(distinctCount: 0))
      },
    ]
    for index in changes.indices {
      var settings = ParquetWriterSettings()
      changes[index](&settings)
      let sink = MemorySink()
      let error = #expect(throws: SpindleError.self, "change \(index)") {
        _ = try ParquetWriter(sink, schema: schema, settings: settings)
      }
      #expect(error?.kind == .invalidArgument && sink.bytes.isEmpty)
    }
  }
}

extension ColumnBatch {
  /// Some of the rows.
  func rows(_ range: Range<Int>) -> ColumnBatch {
    ColumnBatch(columns: columns.map { $0.rows(range) }, rowCount: range.count)
  }
}

extension ColumnArray {
  /// Some of the rows.
  func rows(_ range: Range<Int>) -> ColumnArray {
    var part = self.validity.map { _ in Validity() }
    if let validity { part?.append(validity, rows: range) }
    let slots: Values
    switch values {
    case .boolean(let all): slots = .boolean(Array(all[range]))
    case .int32(let all): slots = .int32(Array(all[range]))
    case .int64(let all): slots = .int64(Array(all[range]))
    case .float(let all): slots = .float(Array(all[range]))
    case .double(let all): slots = .double(Array(all[range]))
    case .dictionary(let indices, let strings):
      slots = .dictionary(indices: Array(indices[range]), values: strings)
    case .bytes(let all):
      var strings = ByteStrings()
      strings.append(all, range)
      slots = .bytes(strings)
    case .fixed(let all):
      var fixed = FixedBytes(width: all.width)
      fixed.append(all, range)
      slots = .fixed(fixed)
    }
    return ColumnArray(slots, validity: part)
  }

  /// The hashes by which bloom filters know the values.
  fileprivate var hashes: [UInt64] {
    let rows = (0..<count).filter { !isNull($0) }
    switch values {
    case .boolean: return []
    case .int32(let slots): return rows.map { XXH64.hash(UInt32(bitPattern: slots[$0])) }
    case .int64(let slots): return rows.map { XXH64.hash(UInt64(bitPattern: slots[$0])) }
    case .float(let slots): return rows.map { XXH64.hash(slots[$0].bitPattern) }
    case .double(let slots): return rows.map { XXH64.hash(slots[$0].bitPattern) }
    case .fixed(let fixed): return rows.map { XXH64.hash(fixed[$0]) }
    case .bytes, .dictionary:
      let strings = expanded
      return rows.map { XXH64.hash(strings[$0]) }
    }
  }
}
