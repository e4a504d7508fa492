import Foundation
import SpindleCore
import SpindleParquet
import Testing

@Suite(.serialized) struct ParquetCommandTests {
  /// Three rows in two row groups.
  private func file(_ place: Place, _ name: String = "a.parquet") throws -> String {
    let schema = try ParquetSchema([
      ParquetColumn(
        name: "time", physicalType: .int64,
        logicalType: .timestamp(.nanoseconds, isAdjustedToUTC: true)),
      ParquetColumn(
        name: "origin", physicalType: .byteArray, logicalType: .string, isOptional: true),
      ParquetColumn(name: "delay", physicalType: .double, isOptional: true),
      ParquetColumn(name: "day", physicalType: .int32, logicalType: .date),
      ParquetColumn(name: "id", physicalType: .fixedLengthByteArray(16), logicalType: .uuid),
      ParquetColumn(
        name: "seats", physicalType: .int64, logicalType: .integer(bitWidth: 64, isSigned: false)),
      ParquetColumn(name: "raw", physicalType: .byteArray),
    ])
    var origins = ByteStringsBuilder()
    for text in ["EWR", nil, "J\u{1B}K"] { origins.append(text) }
    var delays = ColumnBuilder<Double>()
    for value in [2.5, .nan, nil] { delays.append(value) }
    var ids = FixedBytesBuilder(width: 16)
    for number in UInt64(0)..<3 { ids.append(UUIDValue(high: 0x0123_4567_89AB_CDEF, low: number)) }
    var raw = ByteStringsBuilder()
    for bytes: [UInt8] in [[], [0xFF], [1, 2]] { raw.append(bytes) }
    var settings = ParquetWriterSettings()
    settings.rowGroupRows = 2
    settings.sortingColumns = [ParquetSortingColumn(name: "time")]
    settings.keyValues = [ParquetKeyValue(key: "station", value: "roof")]
    settings.columns["origin"] = ParquetColumnSettings(bloomFilter: ParquetBloomFilter())
    let path = place.directory + "/" + name
    let writer = try ParquetWriter(FileSink(path), schema: schema, settings: settings)
    try writer.write(
      ColumnBatch([
        ColumnArray(.int64([1_357_035_300_000_000_000, 1_357_035_300_000_000_001, 2 << 60])),
        origins.finish(), delays.finish(), ColumnArray(.int32([0, 15_706, -719_528])),
        ids.finish(), ColumnArray(.int64([1, -1, 3])), raw.finish(),
      ]))
    _ = try writer.finish()
    return path
  }

  @Test func schemaTellsTheColumns() async throws {
    try await withPlace { place in
      let path = try file(place)
      let result = try await spindle("parquet", "schema", path)
      #expect(result.status == 0, "\(result.problems)")
      let lines = result.text.split(separator: "\n")
      #expect(lines.count == 7)
      #expect(lines[0] == "required INT64 time (TIMESTAMP(NANOS,UTC))", "\(result.text)")
      #expect(lines[1] == "optional BYTE_ARRAY origin (STRING)")
      let json = try await spindle("parquet", "schema", "--json", path).object()
      let columns = try #require(json["columns"] as? [[String: Any]])
      #expect(columns.count == 7 && columns[2]["physicalType"] as? String == "DOUBLE")
      #expect(columns[2]["optional"] as? Bool == true)
      #expect(json["nested"] as? [String] == [])
    }
  }

  @Test func headPrintsRowsAcrossRowGroups() async throws {
    try await withPlace { place in
      let path = try file(place)
      let rows = try await spindle("parquet", "head", "--json", path).objects()
      #expect(rows.count == 3)
      #expect(rows[0]["time"] as? String == "2013-01-01T10:15:00Z")
      #expect(rows[1]["time"] as? String == "2013-01-01T10:15:00.000000001Z")
      #expect(rows[0]["origin"] as? String == "EWR" && rows[1]["origin"] is NSNull)
      #expect(rows[0]["delay"] as? Double == 2.5 && rows[1]["delay"] as? String == "nan")
      #expect(rows.map { $0["day"] as? String } == ["1970-01-01", "2013-01-01", "0000-01-01"])
      #expect(rows[2]["id"] as? String == "01234567-89ab-cdef-0000-000000000002")
      #expect(rows[1]["seats"] as? UInt64 == .max)
      #expect(rows.map { $0["raw"] as? String } == ["", "ff", "0102"])

      let some = try await spindle(
        "parquet", "head", "--limit", "1", "--columns", "origin,delay", path)
      #expect(some.text == "origin  delay\nEWR     2.5\n", "\(some.text) \(some.problems)")
      // What a terminal obeys is not printed.
      #expect(try await spindle("parquet", "head", path).text.contains("J?K"))
    }
  }

  // Others write files with a name twice, which our writer does not.
  @Test func headShowsEveryColumnOfAName() async throws {
    try await withPlace { place in
      let names = ["va", "vb", "va_2", "vc"]
      let schema = try ParquetSchema(
        names.map { ParquetColumn(name: $0, physicalType: .int32) })
      var settings = ParquetWriterSettings()
      settings.writesChecksums = false
      let path = place.directory + "/a.parquet"
      let writer = try ParquetWriter(FileSink(path), schema: schema, settings: settings)
      try writer.write(ColumnBatch((1...4).map { ColumnArray(.int32([$0])) }))
      _ = try writer.finish()
      var file = try bytes(of: path)
      for index in file.indices.dropLast()
      where file[index] == UInt8(ascii: "v")
        && [UInt8(ascii: "b"), UInt8(ascii: "c")]
          .contains(file[index + 1])
      {
        file[index + 1] = UInt8(ascii: "a")
      }
      let twice = try place.file("twice.parquet", file)
      let text = try await spindle("parquet", "head", twice)
      #expect(
        text.text == "va  va  va_2  va\n1   2   3     4\n", "\(text.text) \(text.problems)")
      let rows = try await spindle("parquet", "head", "--json", twice).objects()
      #expect(rows.count == 1)
      #expect(rows[0].mapValues { $0 as? Int } == ["va": 1, "va_3": 2, "va_2": 3, "va_4": 4])
    }
  }

  @Test func metaTellsWhatTheFileSaysOfItself() async throws {
    try await withPlace { place in
      let path = try file(place)
      let meta = try await spindle("parquet", "meta", "--json", path).object()
      #expect(meta["rows"] as? Int == 3)
      let groups = try #require(meta["rowGroups"] as? [[String: Any]])
      #expect(groups.map { $0["rows"] as? Int } == [2, 1])
      let columns = try #require(groups[0]["columns"] as? [[String: Any]])
      #expect(columns[0]["minimum"] as? String == "2013-01-01T10:15:00Z")
      #expect(columns[1]["nulls"] as? Int == 1 && columns[1]["bloomFilterBytes"] != nil)
      #expect(columns[2]["codec"] as? String == "ZSTD")
      let pairs = try #require(meta["keyValues"] as? [[String: Any]])
      #expect(pairs.first?["value"] as? String == "roof")
      let text = try await spindle("parquet", "meta", path).text
      #expect(text.hasPrefix("3 rows in 2 row groups, "), "\(text)")
      #expect(text.contains("row group 1: 1 rows,") && text.contains("sorted by time"), "\(text)")
    }
  }

  @Test func verifyTellsASoundFileFromADamagedOne() async throws {
    try await withPlace { place in
      let path = try file(place)
      let sound = try await spindle("parquet", "verify", path)
      #expect(sound.status == 0, "\(sound.text) \(sound.problems)")
      #expect(
        sound.text == "sound: 3 rows in 2 row groups of 7 columns, 14 of 14 pages with a checksum\n"
      )
      let meta = try await spindle("parquet", "meta", "--json", path).object()
      let groups = try #require(meta["rowGroups"] as? [[String: Any]])
      let columns = try #require(groups[1]["columns"] as? [[String: Any]])
      let offset = try #require(columns[3]["offset"] as? Int)
      let size = try #require(columns[3]["bytes"] as? Int)
      var damaged = try bytes(of: path)
      damaged[offset + size - 1] ^= 1
      let bad = try place.file("bad.parquet", damaged)
      let result = try await spindle("parquet", "verify", "--json", bad)
      #expect(result.status == 2, "\(result.problems)")
      let findings = try #require(try result.object()["findings"] as? [String])
      #expect(findings.count == 1, "\(findings)")
      #expect(findings.first?.contains("row group 1, column day, page 0") == true, "\(findings)")
      let cut = try place.file("cut.parquet", Array(damaged.dropLast(9)))
      let other = try await spindle("parquet", "verify", cut)
      #expect(other.status == 2 && other.text.contains("finding: "), "\(other.text)")
    }
  }

  @Test func whatIsNotThereIsOneSentence() async throws {
    try await withPlace { place in
      let path = try file(place)
      try await spindle("parquet", "head", "--columns", "nothing", path)
        .expectRefusal("has no column nothing")
      try await spindle("parquet", "meta", place.directory + "/missing").expectRefusal("missing")
      try await spindle("parquet", "verify", place.directory + "/missing").expectRefusal("missing")
      let text = try place.file("text", "this is no Parquet file\n")
      try await spindle("parquet", "schema", text).expectRefusal("text")
      let usage = try await spindle("parquet", "head", "--limit", "0", path)
      #expect(usage.status == 64)
    }
  }

  @Test func benchMeasuresEveryJob() async throws {
    try await withPlace { place in
      let result = try await spindle(
        "bench", "parquet", "--rows", "2000", "--dir", place.directory, "--json")
      #expect(result.status == 0, "\(result.problems)")
      let lines = result.text.split(separator: "\n")
      #expect(lines.count == 4, "\(result.text)")
      #expect(lines[0].contains("\"job\":\"write\"") && lines[0].contains("\"rows\":2000"))
      #expect(lines[3].contains("\"job\":\"filter\"") && !lines[3].contains("\"rows\":0"))
      let left = try FileManager.default.contentsOfDirectory(atPath: place.directory)
      #expect(left == [])
    }
  }
}
