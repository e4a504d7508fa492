import SpindleCore
import Testing

@testable import SpindleParquet

/// Files whose footer claims what is not so.
@Suite struct FalseClaimTests {
  @Test(arguments: Fixture.names)
  func filesOfOtherWritersAreSound(name: String) throws {
    let result = try Fixture.reader(name).verify()
    #expect(result.findings == [])
    #expect(result.isSound)
    if name == "zstd-v2.parquet" {
      #expect(result.indexCount == 2 * 9 * 3 && result.checkedPageCount == result.pageCount)
      #expect(result.pageCount > 100)
    }
    if name == "duckdb-v2.parquet" { #expect(result.bloomFilterCount > 0) }
  }

  private func findings(
    _ name: String, _ change: (inout FileMetaData) -> Void
  ) throws -> [String] {
    try ParquetReader(Fixture.changed(name, change)).verify().findings
  }

  @Test func anUnchangedFooterIsSound() throws {
    #expect(try findings("zstd-v2.parquet") { _ in } == [])
  }

  /// One claim that is wrong for each column of the second row group.
  @Test(arguments: 0..<9)
  func wrongStatisticsAreFound(column: Int) throws {
    for isMinimum in [true, false] {
      let found = try findings("zstd-v2.parquet") { file in
        let other = file.rowGroups[0].columns[column].metadata?.statistics
        // The bounds of the first row group, turned around; booleans have no others.
        guard column != 0 else {
          file.rowGroups[1].columns[0].metadata?.statistics?.minimum = [1]
          file.rowGroups[1].columns[0].metadata?.statistics?.maximum = [0]
          return
        }
        if isMinimum {
          file.rowGroups[0].columns[column].metadata?.statistics?.minimum = other?.maximum
        } else {
          file.rowGroups[0].columns[column].metadata?.statistics?.maximum = other?.minimum
        }
      }
      #expect(found.contains { $0.contains("row group \(column == 0 ? 1 : 0), column") })
    }
    let found = try findings("zstd-v2.parquet") {
      $0.rowGroups[2].columns[column].metadata?.statistics?.nullCount = 3
    }
    #expect(found.count == 1 && found[0].contains("nulls, not 3"))
  }

  @Test func indexesOfOtherPagesAreFound() throws {
    let found = try findings("zstd-v2.parquet") { file in
      let other = file.rowGroups[1].columns[2]
      file.rowGroups[0].columns[2].columnIndexOffset = other.columnIndexOffset
      file.rowGroups[0].columns[2].columnIndexBytes = other.columnIndexBytes
      file.rowGroups[0].columns[3].offsetIndexOffset = other.offsetIndexOffset
      file.rowGroups[0].columns[3].offsetIndexBytes = other.offsetIndexBytes
    }
    #expect(found.contains { $0.contains("column big") && $0.contains("column index") })
    #expect(found.contains { $0.contains("column single") && $0.contains("offset index") })
  }

  @Test func aBloomFilterOfAnotherColumnIsFound() throws {
    let found = try findings("duckdb-v2.parquet") { file in
      let columns = file.rowGroups[0].columns
      let tag = columns.first { $0.metadata?.path == ["tag"] }
      guard let text = columns.firstIndex(where: { $0.metadata?.path == ["text"] }) else { return }
      let other = tag?.metadata?.bloomFilterOffset
      file.rowGroups[0].columns[text].metadata?.bloomFilterOffset = other
      file.rowGroups[0].columns[text].metadata?.bloomFilterBytes = nil
    }
    #expect(found.contains { $0.contains("column text") && $0.contains("bloom filter lacks") })
  }

  @Test func rowsThatAreNotSortedAsClaimedAreFound() throws {
    func sorted(_ columns: [(Int32, Bool, Bool)]) throws -> [String] {
      let findings = try findings("zstd-v2.parquet") { file in
        file.rowGroups[0].sortingColumns = columns.map {
          SortingColumn(leaf: $0.0, isDescending: $0.1, nullsFirst: $0.2)
        }
      }
      return findings.flatMap { finding in
        ["small", "big", "tag"].filter { finding.contains("column \($0)") }
      }
    }
    #expect(try sorted([(2, false, true)]) == [])
    #expect(try sorted([(2, true, true)]) == ["big"])
    // By time, then by anything.
    #expect(try sorted([(8, false, true), (5, true, false)]) == [])
    #expect(try sorted([(1, false, true)]) == ["small"])
    #expect(try sorted([(5, false, false)]) == ["tag"])
  }

  /// A file of pyarrow's has checksums of the pages without their headers.
  @Test func everyFlipInAPageOfOthersIsFound() throws {
    let bytes = try Fixture.bytes("zstd-v2.parquet")
    let chunk = try ParquetReader(MemorySource(bytes)).metadata.rowGroups[0].columns[6]
    var bodies: [Int] = []
    var at = Int(chunk.byteRange.lowerBound)
    while at < chunk.byteRange.upperBound {
      var reader = ThriftReader(bytes.span.extracting(at...))
      let header = try PageHeader(&reader)
      try #require(header.checksum != nil)
      at += reader.offset
      bodies += at..<at + header.compressedSize
      at += header.compressedSize
    }
    var generator = SeededGenerator(seed: 5)
    for _ in 0..<100 {
      var damaged = bytes
      let offset = try #require(bodies.randomElement(using: &generator))
      damaged[offset] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
      let findings = try ParquetReader(MemorySource(damaged)).verify().findings
      #expect(findings.contains { $0.contains("column text") }, "\(offset): \(findings)")
    }
  }

  @Test func findingsAreBounded() throws {
    let source = try Fixture.changed("zstd-v2.parquet") { file in
      for group in file.rowGroups.indices {
        for column in file.rowGroups[group].columns.indices {
          file.rowGroups[group].columns[column].metadata?.statistics?.nullCount = 1
        }
      }
    }
    // 27 column chunks, of which some have one null and some none.
    let result = try ParquetReader(source).verify()
    #expect(result.findings.count + result.untoldFindings > 20)
    var many = result
    for number in 0..<200 { many.add("finding \(number)") }
    #expect(many.findings.count == ParquetVerification.findingLimit)
    #expect(many.untoldFindings == 100 + result.findings.count)
  }
}

@Suite struct RowTests {
  @Test func rowsAreReadByNameAndPosition() throws {
    let reader = try Fixture.reader("zstd-v1.parquet")
    let rows = try reader.rows(columns: ["tag", "big", "flag"], where: .greater("double", 30))
    var expected = (0..<Fixture.rowCount).filter { Double($0) / 8 - 3 > 30 }
    while let row = try rows.next() {
      let index = expected.removeFirst()
      #expect(row["tag"] == Fixture.value("tag", index))
      #expect(row["big"]?.integer == Fixture.value("big", index)?.integer)
      #expect(row[2]?.boolean == Fixture.value("flag", index)?.boolean)
      #expect(row["double"] == nil && row.columns.count == 3)
    }
    #expect(expected.isEmpty)
  }
}
