import SpindleCore
import SpindleParquet
import Testing

@Suite struct FixtureTests {
  @Test(arguments: Fixture.names, [ParquetByteStringForm.plain, .dictionary])
  func filesOfOtherWritersAreReadAsTheyWereWritten(
    name: String, form: ParquetByteStringForm
  ) throws {
    let reader = try Fixture.reader(name)
    var row = 0
    for group in reader.metadata.rowGroups.indices {
      let batch = try reader.read(rowGroup: group, byteStrings: form)
      try batch.validate(against: reader.metadata.schema)
      for (column, array) in zip(reader.metadata.schema.columns, batch.columns) {
        let got = (0..<array.count).map { array.value($0) }
        let expected = (row..<row + array.count).map { scaled(column, $0) }
        #expect(got == expected, "column \(column)")
      }
      row += batch.rowCount
    }
    #expect(row == reader.metadata.rowCount)
    #expect(row == (name == "empty.parquet" ? 0 : Fixture.rowCount))
  }

  /// The expected value, in the unit in which the writer keeps times.
  private func scaled(_ column: ParquetColumn, _ row: Int) -> ParquetValue? {
    guard case .timestamp(.microseconds, _) = column.logicalType else {
      return Fixture.value(column.name, row)
    }
    return .integer(Int64(row) * 1_000_000_007 / 1000)
  }

  @Test(arguments: ["zstd-v2.parquet", "bare.parquet", "delta-v2.parquet", "fallback.parquet"])
  func anyRowsOfARowGroupCanBeRead(name: String) throws {
    let reader = try Fixture.reader(name)
    var generator = SeededGenerator(seed: 3)
    for _ in 0..<60 {
      let first = Int.random(in: 0...120, using: &generator)
      let rows = first..<Int.random(in: first...120, using: &generator)
      let batch = try reader.read(
        rowGroup: 1, columns: ["text", "small", "fixed"], rows: rows,
        byteStrings: Bool.random(using: &generator) ? .plain : .dictionary)
      #expect(batch.rowCount == rows.count)
      for (column, array) in zip(["text", "small", "fixed"], batch.columns) {
        #expect(
          (0..<rows.count).map { array.value($0) }
            == rows.map { Fixture.value(column, 120 + $0) })
      }
    }
  }

  @Test func nestedColumnsAreNamedInAnError() throws {
    let reader = try Fixture.reader("nested.parquet")
    #expect(reader.metadata.schema.columns.map(\.name) == ["big", "double"])
    #expect(reader.metadata.schema.nestedNames == ["list", "pair"])
    let error = #expect(throws: SpindleError.self) {
      try reader.read(rowGroup: 0, columns: ["pair"])
    }
    #expect(error?.kind == .invalidArgument && error?.reason == "parquet_nested")
    #expect(throws: SpindleError.self) { try reader.read(rowGroup: 0, columns: ["other"]) }
    #expect(throws: SpindleError.self) { try reader.read(rowGroup: 9) }
    #expect(throws: SpindleError.self) { try reader.read(rowGroup: 0, rows: 0..<121) }
  }
}
