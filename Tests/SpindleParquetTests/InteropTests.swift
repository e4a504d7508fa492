import Foundation
import SpindleCore
import Testing

@testable import SpindleParquet

/// Files from and to pyarrow and DuckDB.
@Suite(.serialized) struct InteropTests {
  @Test func whatPyarrowAndDuckDBWriteIsReadEqual() async throws {
    try await withDirectory { directory in
      let files = try await PythonJudge.write(into: directory)
      #expect(files.count > 150)
      var rewritten: [JudgedFile] = []
      for file in files {
        let path = directory + "/" + file.file
        if let word = file.refused {
          expectRefusal(of: path, word)
          continue
        }
        do {
          if let encrypted = file.encrypted {
            try compareReadable(ParquetReader(FileSource(path)), file, encrypted)
            continue
          }
          let whole = try WholeFile(FileSource(path))
          compare(whole, file)
          // What others say of their values is true, and understood. But pyarrow calls the bounds
          // of a dictionary that it was given exact, also where no row has the value.
          if whole.metadata.rowCount <= 1000 {
            let findings = try ParquetReader(FileSource(path)).verify().findings
              .filter { !$0.contains("column coded") }
            #expect(findings.isEmpty, "\(file.file): \(findings.prefix(3))")
          }
          // The flights and the weather go back to the judges in our own hand.
          if ["flights-2013-01.parquet", "weather-2013.parquet"].contains(file.file) {
            rewritten.append(try rewrite(whole, as: "again-" + file.file, in: directory))
          }
        } catch {
          Issue.record("\(file.file): \(error)")
        }
      }
      #expect(rewritten.count == 2)
      try await PythonJudge.judge(rewritten, in: directory)
    }
  }

  private func compare(_ whole: WholeFile, _ file: JudgedFile) {
    let metadata = whole.metadata
    #expect(metadata.rowCount == file.rows, "\(file.file)")
    #expect(metadata.rowGroups.count == file.rowGroups, "\(file.file)")
    #expect(metadata.schema.nestedNames == file.nested, "\(file.file)")
    let expected = file.columns ?? []
    #expect(metadata.schema.columns.map(\.name) == expected.map(\.name), "\(file.file)")
    #expect(metadata.schema.columns.map(\.meaning) == expected.map(\.logical), "\(file.file)")
    #expect(metadata.schema.columns.map(\.isOptional) == expected.map(\.optional), "\(file.file)")
    if metadata.rowGroups.isEmpty { return }
    for (found, expected) in zip(whole.judged, expected) where found != expected {
      Issue.record("\(file.file): column \(found), expected \(expected)")
    }
  }

  /// Compares the columns that can be read, and has the encrypted ones refused.
  private func compareReadable(
    _ reader: ParquetReader, _ file: JudgedFile, _ encrypted: [String]
  ) throws {
    let groups = reader.metadata.rowGroups.indices
    #expect(groups.count == file.rowGroups && groups.count > 1)
    for expected in file.columns ?? [] {
      let column = try #require(
        reader.metadata.schema.columns.first { $0.name == expected.name })
      let parts = try groups.map {
        try reader.read(rowGroup: $0, columns: [expected.name]).columns[0]
      }
      let found = try #require(ColumnArray.joined(parts))
      #expect(JudgedFile.Column(column, found) == expected, "\(file.file)")
    }
    for name in encrypted {
      for read in [
        { _ = try reader.read(rowGroup: 0, columns: [name], rows: 0..<1) },
        { _ = try reader.scan(where: .isNotNull(name)).next() },
      ] as [() throws -> Void] {
        let error = #expect(throws: SpindleError.self) { try read() }
        #expect(error?.kind == .unsupportedFormat, "\(String(describing: error))")
        #expect(error?.message.contains("the column is encrypted") == true)
      }
    }
    // Each chunk of them once, and nothing else.
    let findings = try reader.verify().findings
    #expect(findings.count == groups.count * encrypted.count, "\(findings)")
    #expect(findings.allSatisfy { $0.contains("the column is encrypted") }, "\(findings)")
  }

  private func expectRefusal(of path: String, _ word: String) {
    do {
      _ = try WholeFile(FileSource(path))
      Issue.record("\(path) was read")
    } catch {
      #expect(error.kind == .unsupportedFormat && error.message.contains(word), "\(error)")
    }
  }

  /// Writes what was read as a file of our own.
  private func rewrite(
    _ whole: WholeFile, as name: String, in directory: String
  ) throws -> JudgedFile {
    var settings = ParquetWriterSettings()
    settings.rowGroupRows = 10_000
    settings.pageRows = 1000
    settings.columns["origin"] = ParquetColumnSettings(bloomFilter: ParquetBloomFilter())
    let schema = try ParquetSchema(whole.metadata.schema.columns)
    return try judged(ColumnBatch(whole.columns), schema, settings, as: name, in: directory)
  }

  @Test func theExamplesOfTheFormatPageRun() async throws {
    try await withDirectory { directory in
      let schema = try ParquetSchema([
        ParquetColumn(
          name: "time", physicalType: .int64,
          logicalType: .timestamp(.nanoseconds, isAdjustedToUTC: true)),
        ParquetColumn(name: "origin", physicalType: .byteArray, logicalType: .string),
        ParquetColumn(name: "dep_delay", physicalType: .double),
      ])
      let origins = ["JFK", "EWR", "JFK", "LGA", "EWR", "JFK"]
      let writer = try ParquetWriter(FileSink(directory + "/flights.parquet"), schema: schema)
      try writer.write(
        ColumnBatch([
          ColumnArray(.int64((0..<6).map { 1_357_035_300_000_000_000 + $0 })),
          ColumnArray(.bytes(ByteStrings(origins))), ColumnArray(.double([2, 4, -1, 0, 8, 1])),
        ]))
      _ = try writer.finish()
      let page = PythonJudge.repository + "/Documentation/Formats/parquet.md"
      let result = try await PythonJudge.run(["page", directory, page])
      #expect(result.status == 0)
      #expect(result.text == "DuckDB 3 2\npandas 6 3\npolars 3 3\npyarrow 6 2\n")
    }
  }

  // MARK: What we write

  @Test func whatWeWriteIsReadEqualByPyarrowAndDuckDB() async throws {
    try await withDirectory { directory in
      var files: [JudgedFile] = []
      for plan in WritePlan.all(isSoak: PythonJudge.isSoak) {
        let sample = try SampleColumns(
          rows: plan.rows, plan.pattern, isRequired: plan.pattern == .none && plan.isRequired)
        files.append(
          try judged(
            sample.batch, sample.schema, plan.settings(sample.schema), as: plan.name + ".parquet",
            in: directory))
      }
      files += try special(in: directory)
      #expect(files.count > 90)
      for file in files {
        let whole = try WholeFile(FileSource(directory + "/" + file.file))
        compare(whole, file)
      }
      try await PythonJudge.judge(files, in: directory)
    }
  }

  /// Files whose content is their point.
  private func special(in directory: String) throws -> [JudgedFile] {
    var files: [JudgedFile] = []
    func add(
      _ name: String, _ columns: [(ParquetColumn, ColumnArray)],
      _ change: (inout ParquetWriterSettings) -> Void = { _ in }
    ) throws {
      var settings = ParquetWriterSettings()
      change(&settings)
      let batch = ColumnBatch(columns.map(\.1))
      files.append(
        try judged(
          batch, ParquetSchema(columns.map(\.0)), settings, as: name + ".parquet", in: directory))
    }
    func strings(_ texts: [String]) -> ColumnArray { ColumnArray(.bytes(ByteStrings(texts))) }
    let text = ParquetColumn(name: "s", physicalType: .byteArray, logicalType: .string)
    let long = (0..<40).map { String(repeating: "x", count: $0 % 4 * 30_000) + "\($0)" }
    try add("long-strings", [(text, strings(long))])
    try add("long-strings-v1", [(text, strings(long))]) { $0.dataPageVersion = .v1 }
    try add("one-value", [(text, strings([String](repeating: "same", count: 5000)))])
    // Far more different values than a dictionary may hold.
    let keys = (0..<20_000).map { "key \($0 &* 2_654_435_761 % 1_000_003)" }
    let numbers = ColumnArray(.int64((0..<20_000).map { Int64($0) }))
    let number = ParquetColumn(name: "n", physicalType: .int64)
    try add("fallback", [(text, strings(keys)), (number, numbers)]) {
      $0.dictionaryBytes = 10_000
      $0.pageRows = 1500
      $0.rowGroupRows = 7000
      $0.columns["s"] = ParquetColumnSettings(bloomFilter: ParquetBloomFilter())
      $0.columns["n"] = ParquetColumnSettings(
        bloomFilter: ParquetBloomFilter(falsePositiveRate: 0.001))
      $0.sortingColumns = [ParquetSortingColumn(name: "n")]
    }
    // Exactly a page, and one row less and more.
    for count in [511, 512, 513, 1024] {
      try add("page-of-\(count)", [(number, ColumnArray(.int64((0..<count).map { Int64($0) })))]) {
        $0.pageRows = 512
      }
    }
    let doubles: [[Double]] = [
      [.nan, .nan], [.nan, 1, .nan], [-0.0], [0.0], [-0.0, 0.0], [.infinity, -.infinity],
    ]
    for (index, values) in doubles.enumerated() {
      try add(
        "double-\(index)",
        [(ParquetColumn(name: "d", physicalType: .double), ColumnArray(.double(values)))])
    }
    try add("key-values", [(number, numbers)]) {
      $0.keyValues = [
        ParquetKeyValue(key: "station", value: "JFK"), ParquetKeyValue(key: "note", value: ""),
      ]
    }
    return files
  }

  /// Writes a file and tells what the judges are to find in it.
  private func judged(
    _ batch: ColumnBatch, _ schema: ParquetSchema, _ settings: ParquetWriterSettings,
    as name: String, in directory: String
  ) throws -> JudgedFile {
    let writer = try ParquetWriter(
      FileSink(directory + "/" + name), schema: schema, settings: settings)
    try writer.write(batch)
    let metadata = try writer.finish()
    #expect(metadata.rowCount == batch.rowCount, "\(name)")
    return JudgedFile(
      file: name, rows: batch.rowCount, rowGroups: metadata.rowGroups.count, nested: [],
      columns: zip(schema.columns, batch.columns).map { JudgedFile.Column($0, $1) },
      codec: settings.compression.judgedName, dataPage: settings.dataPageVersion == .v1 ? 1 : 2,
      pageIndex: settings.writesPageIndex,
      keyValues: Dictionary(
        settings.keyValues.map { ($0.key, $0.value ?? "") }, uniquingKeysWith: { first, _ in first }
      ),
      sorting: settings.sortingColumns.map { [schema.index(of: $0.name) ?? -1, 0, 0] },
      blooms: settings.columns.filter { $0.value.bloomFilter != nil }.keys.sorted())
  }
}

extension ParquetCompression {
  /// How pyarrow calls it.
  fileprivate var judgedName: String {
    switch self {
    case .none: "UNCOMPRESSED"
    case .snappy: "SNAPPY"
    case .lz4Raw: "LZ4"
    case .zstd: "ZSTD"
    case .gzip: "GZIP"
    }
  }
}

/// One file of the matrix that we write.
private struct WritePlan {
  var rows: Int
  var pattern: NullPattern
  var version: ParquetWriterSettings.DataPageVersion
  var compression: ParquetCompression
  /// What is asked for besides, by its place among the variants.
  var variant: Int
  var isRequired: Bool { variant % 2 == 0 }

  static let variants = 6

  var name: String {
    let codec = "\(compression)".filter { $0.isLetter || $0.isNumber }
    return "ours-\(rows)-\(pattern)-\(version)-\(codec)-\(variant)"
  }

  static func all(isSoak: Bool) -> [WritePlan] {
    let codecs: [ParquetCompression] = [.none, .snappy, .lz4Raw, .zstd(level: 1), .zstd(level: 9)]
    var plans: [WritePlan] = []
    let sizes = [0, 1, 8, 100, 1000] + (isSoak ? [2, 7, 9, 63, 64, 65, 1024, 5000] : [])
    for rows in sizes {
      for pattern in NullPattern.allCases where rows > 0 || pattern == .none {
        for version in [ParquetWriterSettings.DataPageVersion.v1, .v2] {
          for _ in 0..<(isSoak ? codecs.count * variants : 2) {
            // Every codec with every variant, after as many turns as there are pairs.
            let number = plans.count
            plans.append(
              WritePlan(
                rows: rows, pattern: pattern, version: version,
                compression: codecs[number % codecs.count], variant: number % variants))
          }
        }
      }
    }
    return plans
  }

  func settings(_ schema: ParquetSchema) -> ParquetWriterSettings {
    var settings = ParquetWriterSettings()
    settings.dataPageVersion = version
    settings.compression = compression
    switch variant {
    case 0: break
    case 1:
      settings.rowGroupRows = 300
      settings.pageRows = 70
    case 2: settings.dictionaryBytes = 0
    case 3:
      // What goes with each type, in turn.
      for (index, column) in schema.columns.enumerated() {
        let choices: [ParquetEncoding] =
          switch column.physicalType {
          case .boolean: [.rle, .plain]
          case .int32, .int64, .int96: [.deltaBinaryPacked, .plain, .rleDictionary]
          case .float, .double: [.byteStreamSplit, .plain, .rleDictionary]
          case .byteArray: [.deltaLengthByteArray, .plain, .rleDictionary]
          case .fixedLengthByteArray: [.plain, .rleDictionary]
          }
        settings.columns[column.name] = ParquetColumnSettings(
          encoding: choices[(index + rows) % choices.count])
      }
      settings.pageBytes = 400
    case 4:
      settings.boundBytes = 8
      settings.pageBytes = 100
      settings.dictionaryBytes = 200
    default:
      settings.rowGroupRows = 450
      settings.pageRows = 64
      for column in schema.columns where column.physicalType != .boolean {
        settings.columns[column.name] = ParquetColumnSettings(bloomFilter: ParquetBloomFilter())
      }
    }
    return settings
  }
}
