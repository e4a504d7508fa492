import SpindleCore
import Testing

@testable import SpindleParquet

/// One of everything a footer can say.
enum MetadataSample {
  static var schema: ParquetSchema {
    get throws {
      try ParquetSchema([
        ParquetColumn(
          name: "time", physicalType: .int64,
          logicalType: .timestamp(.nanoseconds, isAdjustedToUTC: true)),
        ParquetColumn(
          name: "host", physicalType: .byteArray, logicalType: .string, isOptional: true),
        ParquetColumn(
          name: "id", physicalType: .fixedLengthByteArray(16), logicalType: .uuid),
        ParquetColumn(
          name: "small", physicalType: .int32,
          logicalType: .integer(bitWidth: 8, isSigned: false)),
        ParquetColumn(name: "flag", physicalType: .boolean, isOptional: true),
      ])
    }
  }

  static func statistics() -> Statistics {
    var statistics = Statistics()
    statistics.minimum = [1, 2]
    statistics.maximum = []
    statistics.isMinimumExact = false
    statistics.isMaximumExact = true
    statistics.nullCount = 1 << 40
    statistics.distinctCount = 3
    statistics.legacyMinimum = [9]
    statistics.legacyMaximum = [8, 8]
    return statistics
  }

  static func chunk(_ name: String) -> ColumnChunk {
    var metadata = ColumnMetaData(
      type: 2, encodings: [.plain, .rle, .rleDictionary], path: [name], codec: .zstd,
      valueCount: 100, uncompressedBytes: 1 << 33, compressedBytes: 500, dataPageOffset: 44)
    metadata.keyValues = [KeyValue(key: "k", value: nil)]
    metadata.dictionaryPageOffset = 4
    metadata.statistics = statistics()
    metadata.bloomFilterOffset = 600
    metadata.bloomFilterBytes = 64
    var chunk = ColumnChunk(metadata)
    chunk.filePath = "elsewhere"
    chunk.offsetIndexOffset = 700
    chunk.offsetIndexBytes = 10
    chunk.columnIndexOffset = 710
    chunk.columnIndexBytes = 20
    return chunk
  }

  static func file() throws -> FileMetaData {
    var group = RowGroup(
      columns: (0..<20).map { chunk("c\($0)") }, uncompressedBytes: 1 << 34, rowCount: 100)
    group.sortingColumns = [SortingColumn(leaf: 1, isDescending: true, nullsFirst: false)]
    group.fileOffset = 4
    group.compressedBytes = 12_345
    group.ordinal = 7
    var file = FileMetaData(
      version: 2, schema: try schema.elements, rowCount: -1, rowGroups: [group, group])
    file.keyValues = [KeyValue(key: "a", value: "b"), KeyValue(key: "", value: "")]
    file.createdBy = "spindle"
    file.columnOrders = [.byType, .other]
    return file
  }

  static func decode(_ bytes: [UInt8]) throws(ParquetFailure) -> FileMetaData {
    try decodeWhole(bytes.span, "the footer") { (reader) throws(ParquetFailure) in
      try FileMetaData(&reader, limits: .default)
    }
  }
}

@Suite struct MetadataTests {
  @Test func aFooterIsReadAsItWasWritten() throws {
    let file = try MetadataSample.file()
    #expect(try MetadataSample.decode(file.encoded) == file)
  }

  @Test func everyCutFooterIsRefused() throws {
    let bytes = try MetadataSample.file().encoded
    for count in 0..<bytes.count {
      #expect(throws: ParquetFailure.self) { try MetadataSample.decode(Array(bytes[..<count])) }
    }
    #expect(throws: ParquetFailure.self) { try MetadataSample.decode(bytes + [0]) }
  }

  @Test func flippedFootersDoNotTrap() throws {
    let bytes = try MetadataSample.file().encoded
    var generator = SeededGenerator(seed: 2)
    for _ in 0..<5_000 {
      var damaged = bytes
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        damaged[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(
          in: 0...255, using: &generator)
      }
      if let file = try? MetadataSample.decode(damaged) {
        _ = try? SchemaLayout(file.schema, limits: .default)
      }
    }
  }

  @Test(arguments: [
    PageHeader.Kind.data(
      DataPageHeader(
        valueCount: 9, encoding: .deltaByteArray, statistics: MetadataSample.statistics())),
    .dataV2(
      DataPageHeaderV2(
        rowCount: 9, nullCount: 2, encoding: .byteStreamSplit, definitionLevelBytes: 3,
        isCompressed: false, statistics: MetadataSample.statistics())),
    .dictionary(DictionaryPageHeader(valueCount: 70_000, isSorted: true)),
    .other(1),
  ])
  func pageHeadersAreReadAsTheyWereWritten(kind: PageHeader.Kind) throws {
    let header = PageHeader(
      kind: kind, uncompressedSize: 1000, compressedSize: 77, checksum: 0xDEAD_BEEF)
    let bytes = header.encoded
    var reader = ThriftReader(bytes.span)
    #expect(try PageHeader(&reader) == header)
    #expect(reader.offset == bytes.count)
    for count in 0..<bytes.count {
      #expect(throws: ParquetFailure.self) {
        var reader = ThriftReader(bytes.span.extracting(0..<count))
        _ = try PageHeader(&reader)
      }
    }
  }

  @Test func checksumsOfAChunkAreReadAsTheyWereWritten() throws {
    var checksums = ChunkChecksums()
    #expect(checksums.text == "")
    checksums.pageHeaders = [0, 0xDEAD_BEEF]
    #expect(checksums.text == "pages=00000000deadbeef")
    checksums.dictionaryHeader = 1
    checksums.columnIndex = 2
    checksums.offsetIndex = 3
    checksums.bloomFilter = .max
    #expect(try ChunkChecksums(checksums.text) == checksums)
    #expect(try ChunkChecksums("later=? " + checksums.text) == checksums)
    for text in ["pages", "pages=1", "pages=0000000g", "dictionary=", "column_index=0000000000"] {
      #expect(throws: ParquetFailure.self, "\(text)") { try ChunkChecksums(text) }
    }
  }

  @Test func indexesAreReadAsTheyWereWritten() throws {
    var column = ColumnIndex()
    column.nullPages = (0..<40).map { $0 % 3 == 0 }
    column.minimums = ByteStrings((0..<40).map { "min\($0)" })
    column.maximums = ByteStrings((0..<40).map { "max\($0)" })
    column.boundaryOrder = .descending
    column.nullCounts = (0..<40).map { Int64($0) }
    let columnBytes = column.encoded
    #expect(
      try decodeWhole(columnBytes.span, "it") { (reader) throws(ParquetFailure) in
        try ColumnIndex(&reader)
      } == column)
    var offsets = OffsetIndex()
    offsets.pages = (0..<20).map { .init(offset: $0 << 30, byteCount: 5, firstRow: $0) }
    offsets.byteArrayBytes = [1, 2, 3]
    let offsetBytes = offsets.encoded
    #expect(
      try decodeWhole(offsetBytes.span, "it") { (reader) throws(ParquetFailure) in
        try OffsetIndex(&reader)
      } == offsets)
    let filterBytes = BloomFilterHeader(byteCount: 1024).encoded
    #expect(
      try decodeWhole(filterBytes.span, "it") { (reader) throws(ParquetFailure) in
        try BloomFilterHeader(&reader)
      } == BloomFilterHeader(byteCount: 1024))
  }

  @Test func listsOfAColumnIndexMustBeAsLong() {
    var index = ColumnIndex()
    index.nullPages = [false]
    index.minimums = ByteStrings(["a"])
    index.maximums = ByteStrings(["a", "b"])
    let bytes = index.encoded
    #expect(throws: ParquetFailure.self) {
      try decodeWhole(bytes.span, "it") { (reader) throws(ParquetFailure) in
        try ColumnIndex(&reader)
      }
    }
  }

  @Test func bombsAreRefusedByTheirSize() {
    // A list of 2^60 elements, a string of as many bytes, a negative count of children.
    let bombs: [[UInt8]] = [
      [0x29, 0xFC] + [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10],
      [0x68, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10],
      [0x15, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
      // Lists in lists, structures in structures, under an unknown field.
      [0xF9] + [UInt8](repeating: 0x19, count: 100_000),
      [0xFC] + [UInt8](repeating: 0x1C, count: 100_000),
      // Field ids that climb over 16 bits.
      [UInt8](repeating: 0xF1, count: 100_000),
    ]
    for bomb in bombs {
      #expect(throws: ParquetFailure.self) { try MetadataSample.decode(bomb) }
    }
  }

  /// A byte a column chunk, and a hundred times as much in memory if it were believed.
  @Test func aFooterOfEmptyColumnChunksIsRefused() throws {
    var writer = ThriftWriter()
    writer.int32(1, 2)
    writer.list(4, of: .structure, count: 1)
    writer.list(1, of: .structure, count: 4 << 20)
    let bomb = writer.bytes + [UInt8](repeating: 0, count: 4 << 20)
    let error = #expect(throws: ParquetFailure.self) { try MetadataSample.decode(bomb) }
    #expect(error?.kind == .limit)
    writer = ThriftWriter()
    writer.int32(1, 2)
    writer.list(4, of: .structure, count: 1)
    writer.list(1, of: .structure, count: 1 << 20)
    let small = writer.bytes + [UInt8](repeating: 0, count: 1 << 20)
    let other = #expect(throws: ParquetFailure.self) { try MetadataSample.decode(small) }
    #expect(other?.what.contains("lacks its metadata") == true)
  }

  @Test func limitsOfTheFooterAreKept() throws {
    let bytes = try MetadataSample.file().encoded
    for change in [\ParquetLimits.rowGroupCount, \.columnCount, \.columnChunkCount] {
      var limits = ParquetLimits.default
      limits[keyPath: change] = 1
      var reader = ThriftReader(bytes.span)
      do {
        _ = try FileMetaData(&reader, limits: limits)
        #expect(Bool(false), "no limit")
      } catch {
        #expect(error.kind == .limit)
      }
    }
  }

  @Test func theFooterIsFoundByItsLength() throws {
    let file = try MetadataSample.file()
    let end = Footer.encoded(file)
    let tail = Array(end.suffix(Footer.tailBytes))
    let range = try Footer.range(
      tail: tail.span, fileBytes: UInt64(end.count + 4), limits: .default)
    #expect(range == 4..<UInt64(end.count - 4))
    #expect(throws: ParquetFailure.self) {
      try Footer.range(tail: tail.span, fileBytes: UInt64(end.count + 3), limits: .default)
    }
    do {
      _ = try Footer.range(
        tail: (Array(tail[..<4]) + Footer.encryptedMagic).span, fileBytes: 1 << 30,
        limits: .default)
      #expect(Bool(false), "an encrypted footer was taken")
    } catch {
      #expect(error.kind == .unsupported && error.what.contains("encrypted"))
    }
  }
}

@Suite struct SchemaTests {
  @Test func aSchemaIsReadAsItWasWritten() throws {
    let schema = try MetadataSample.schema
    let layout = try SchemaLayout(schema.elements, limits: .default)
    #expect(layout.schema == schema && layout.leaves == [0, 1, 2, 3, 4] && layout.leafCount == 5)
  }

  @Test func theOlderFormOfLogicalTypesIsEnough() throws {
    let schema = try ParquetSchema([
      ParquetColumn(name: "a", physicalType: .byteArray, logicalType: .string),
      ParquetColumn(name: "b", physicalType: .byteArray, logicalType: .json),
      ParquetColumn(name: "c", physicalType: .int32, logicalType: .date),
      ParquetColumn(
        name: "d", physicalType: .int64,
        logicalType: .timestamp(.microseconds, isAdjustedToUTC: true)),
      ParquetColumn(
        name: "e", physicalType: .int64,
        logicalType: .timestamp(.milliseconds, isAdjustedToUTC: true)),
      ParquetColumn(
        name: "f", physicalType: .int64, logicalType: .integer(bitWidth: 64, isSigned: false)),
      ParquetColumn(
        name: "g", physicalType: .int32, logicalType: .integer(bitWidth: 16, isSigned: true)),
    ])
    var elements = schema.elements
    for index in elements.indices { elements[index].logicalType = nil }
    #expect(try SchemaLayout(elements, limits: .default).schema == schema)
  }

  @Test func nestedColumnsAreCountedAndNamed() throws {
    func leaf(_ name: String, _ repetition: SchemaElement.Repetition) -> SchemaElement {
      var element = SchemaElement(name: name)
      element.type = 1
      element.repetition = repetition
      return element
    }
    func group(_ name: String, _ count: Int) -> SchemaElement {
      var element = SchemaElement(name: name)
      element.childCount = count
      element.repetition = .optional
      return element
    }
    let elements = [
      group("schema", 5), leaf("a", .required), group("list", 1), group("inner", 2),
      leaf("x", .repeated), leaf("y", .optional), leaf("b", .optional), leaf("r", .repeated),
      leaf("c", .required),
    ]
    let layout = try SchemaLayout(elements, limits: .default)
    #expect(layout.schema.columns.map(\.name) == ["a", "b", "c"])
    #expect(layout.schema.nestedNames == ["list", "r"])
    #expect(layout.leaves == [0, 3, 5] && layout.leafCount == 6)
    for count in 1..<elements.count {
      #expect(throws: ParquetFailure.self) {
        try SchemaLayout(Array(elements[..<count]), limits: .default)
      }
    }
    #expect(throws: ParquetFailure.self) {
      try SchemaLayout(elements + [leaf("z", .required)], limits: .default)
    }
  }

  @Test func claimsOfBillionsOfChildrenEnd() {
    var root = SchemaElement(name: "schema")
    root.childCount = Int(Int32.max)
    var group = root
    group.repetition = .optional
    #expect(throws: ParquetFailure.self) {
      try SchemaLayout([root] + Array(repeating: group, count: 10_000), limits: .default)
    }
  }

  @Test(arguments: [
    [],
    [ParquetColumn(name: "", physicalType: .int32)],
    [
      ParquetColumn(name: "a", physicalType: .int32),
      ParquetColumn(name: "a", physicalType: .int64),
    ],
    [ParquetColumn(name: "a", physicalType: .int32, logicalType: .string)],
    [ParquetColumn(name: "a", physicalType: .byteArray, logicalType: .uuid)],
    [ParquetColumn(name: "a", physicalType: .fixedLengthByteArray(15), logicalType: .uuid)],
    [ParquetColumn(name: "a", physicalType: .int64, logicalType: .date)],
    [
      ParquetColumn(
        name: "a", physicalType: .int32, logicalType: .integer(bitWidth: 64, isSigned: true))
    ],
    [
      ParquetColumn(
        name: "a", physicalType: .int32, logicalType: .integer(bitWidth: 7, isSigned: true))
    ],
    [ParquetColumn(name: "a", physicalType: .int96)],
    [ParquetColumn(name: "a", physicalType: .int32, logicalType: .other("DECIMAL(3,1)"))],
    [ParquetColumn(name: "a", physicalType: .fixedLengthByteArray(0))],
  ])
  func schemasThatCannotBeWrittenAreRefused(columns: [ParquetColumn]) {
    #expect(throws: SpindleError.self) { try ParquetSchema(columns) }
  }

  @Test func aBatchHasTheSchemasColumns() throws {
    let schema = try ParquetSchema([
      ParquetColumn(name: "a", physicalType: .int32),
      ParquetColumn(name: "b", physicalType: .byteArray, isOptional: true),
    ])
    let nulls = Validity(repeating: false, count: 1)
    let text = ColumnArray(.bytes(ByteStrings(["x"])), validity: nulls)
    try ColumnBatch([ColumnArray(.int32([1])), text]).validate(against: schema)
    for columns in [
      [ColumnArray(.int32([1]))], [ColumnArray(.int64([1])), text],
      [ColumnArray(.int32([1]), validity: nulls), text],
    ] {
      #expect(throws: SpindleError.self) {
        try ColumnBatch(columns).validate(against: schema)
      }
    }
  }

  @Test(
    arguments: [
      (8, true, -128, 127), (8, false, 0, 255), (16, true, -32_768, 32_767), (16, false, 0, 65_535),
    ] as [(Int, Bool, Int32, Int32)])
  func aBatchHasNoNumberThatItsWidthDoesNotHold(
    bits: Int, isSigned: Bool, least: Int32, most: Int32
  ) throws {
    let column = ParquetColumn(
      name: "a", physicalType: .int32, logicalType: .integer(bitWidth: bits, isSigned: isSigned),
      isOptional: true)
    let schema = try ParquetSchema([column])
    func validate(_ numbers: [Int32], _ validity: Validity? = nil) throws(SpindleError) {
      try ColumnBatch([ColumnArray(.int32(numbers), validity: validity)]).validate(against: schema)
    }
    try validate([])
    try validate([least, 1, most])
    // The slot of a null row says nothing.
    try validate([1, most + 1, least - 1], Validity(words: [1], count: 3))
    for number in [least - 1, most + 1, .min, .max] {
      let error = #expect(throws: SpindleError.self) { try validate([least, most, number, 1]) }
      #expect(error?.kind == .invalidArgument && error?.message.contains("row 2") == true)
      #expect(throws: SpindleError.self) {
        try validate([1, number], Validity(words: [2], count: 2))
      }
    }
  }
}
