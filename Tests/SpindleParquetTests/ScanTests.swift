import SpindleCore
import Testing

@testable import SpindleParquet

@Suite struct ScanTests {
  /// All predicates on all columns against the rows one by one, on files with and without
  /// statistics and indexes, in batches of all sizes.
  @Test(arguments: ["zstd-v2.parquet", "bare.parquet", "delta-v1.parquet", "fallback.parquet"])
  func scansGiveTheRowsThatSatisfyThePredicate(name: String) throws {
    let reader = try Fixture.reader(name)
    var rows: [String: [ParquetValue?]] = [:]
    for column in reader.metadata.schema.columns {
      rows[column.name] = (0..<Fixture.rowCount).map { Fixture.value(column.name, $0) }
    }
    _ = try compare(reader, with: rows, rounds: 120)
  }

  /// The same on files of ours with every type, their extreme values, NaN and both zeros, with
  /// bloom filters and small pages. Something is ruled out by statistics, indexes or filters, and
  /// never a row that is wanted.
  @Test(arguments: [NullPattern.none, .third, .runs], [8, 64])
  func scansOfOurFilesGiveTheRowsThatSatisfyThePredicate(
    _ pattern: NullPattern, boundBytes: Int
  ) throws {
    let sample = try SampleColumns(rows: 300, pattern)
    var settings = ParquetWriterSettings()
    settings.rowGroupRows = 110
    settings.pageRows = 9
    settings.boundBytes = boundBytes
    for column in sample.schema.columns where column.physicalType != .boolean {
      settings.columns[column.name] = ParquetColumnSettings(bloomFilter: ParquetBloomFilter())
    }
    let reader = try ParquetReader(MemorySource(written(sample, settings)))
    var rows: [String: [ParquetValue?]] = [:]
    for (column, array) in zip(sample.schema.columns, sample.batch.columns) {
      let order = ValueOrder(column)
      rows[column.name] = (0..<array.count).map { array.value($0, order: order) }
    }
    let counts = try compare(reader, with: rows, rounds: 300)
    #expect(counts.rowGroupsPruned > 50 && counts.pagesPruned > 500, "\(counts)")
  }

  /// Scans with random predicates, and judges each row by itself.
  private func compare(
    _ reader: ParquetReader, with rows: [String: [ParquetValue?]], rounds: Int
  ) throws -> ParquetReadCounts {
    var generator = SeededGenerator(seed: 4)
    var counts = ParquetReadCounts()
    let schema = reader.metadata.schema.columns
    let count = reader.metadata.rowCount
    for round in 0..<rounds {
      let predicate = Self.predicate(rows, schema[round % schema.count].name, &generator)
      let columns = schema.filter { _ in UInt8.random(in: 0..<3, using: &generator) == 0 }
      let form: ParquetByteStringForm = round % 2 == 0 ? .plain : .dictionary
      let scan = try reader.scan(
        columns: columns.map(\.name), where: predicate, byteStrings: form,
        batchRows: [1, 7, 50, 1000].randomElement(using: &generator) ?? 1)
      // As texts: NaN is not equal to itself, and both zeros are.
      var got: [[String]] = []
      while let batch = try scan.next() {
        #expect(batch.rowCount > 0 && batch.columns.count == columns.count)
        try batch.validate()
        for row in 0..<batch.rowCount {
          got.append(
            zip(columns, batch.columns).map {
              "\($1.value(row, order: ValueOrder($0)), default: "")"
            })
        }
      }
      let wanted = (0..<count).filter { Self.holds(predicate, rows, $0) }
      let expected = wanted.map { row in
        columns.map { "\(rows[$0.name]?[row], default: "")" }
      }
      #expect(got == expected, "\(predicate)")
      counts.rowGroupsPruned += scan.counts.rowGroupsPruned
      counts.pagesPruned += scan.counts.pagesPruned
    }
    return counts
  }

  private static func predicate(
    _ rows: [String: [ParquetValue?]], _ name: String, _ generator: inout SeededGenerator
  ) -> ParquetPredicate {
    let values = rows[name] ?? []
    func value() -> ParquetValue {
      for _ in 0..<20 {
        guard let value = values.randomElement(using: &generator) ?? nil else { continue }
        if case .double = value, Bool.random(using: &generator) {
          return .double(
            [0, -0.0, .nan, .infinity, -.infinity].randomElement(using: &generator) ?? 0)
        }
        return value
      }
      return 0
    }
    return switch Int.random(in: 0..<10, using: &generator) {
    case 0: .equal(name, value())
    case 1: .less(name, value())
    case 2: .lessOrEqual(name, value())
    case 3: .greater(name, value())
    case 4: .greaterOrEqual(name, value())
    case 5: .between(name, value(), value())
    case 6: .isIn(name, [value(), value(), value()])
    case 7: .isNull(name)
    case 8: .isNotNull(name)
    default:
      .all(
        (0..<2).map { _ in
          predicate(rows, rows.keys.sorted().randomElement(using: &generator) ?? "", &generator)
        })
    }
  }

  private static func holds(
    _ predicate: ParquetPredicate, _ rows: [String: [ParquetValue?]], _ row: Int
  ) -> Bool {
    func value(_ name: String) -> ParquetValue? { rows[name]?[row] }
    func compare(_ name: String, _ other: ParquetValue, _ isRight: (Int) -> Bool) -> Bool {
      func order<Value: Comparable>(_ left: Value, _ right: Value) -> Bool {
        isRight(left < right ? -1 : left == right ? 0 : 1)
      }
      return switch (value(name), other) {
      case (.boolean(let left), .boolean(let right)): order(left ? 1 : 0, right ? 1 : 0)
      case (.integer(let left), .integer(let right)): order(left, right)
      case (.unsigned(let left), .unsigned(let right)): order(left, right)
      case (.unsigned(let left), .integer(let right)):
        order(Int128(left), Int128(right))
      case (.double(let left), .double(let right)):
        // NaN is neither less nor equal nor greater.
        !left.isNaN && !right.isNaN && order(left, right)
      case (.bytes(let left), .bytes(let right)):
        isRight(left == right ? 0 : left.lexicographicallyPrecedes(right) ? -1 : 1)
      default: false
      }
    }
    return switch predicate {
    case .equal(let name, let value): compare(name, value) { $0 == 0 }
    case .less(let name, let value): compare(name, value) { $0 < 0 }
    case .lessOrEqual(let name, let value): compare(name, value) { $0 <= 0 }
    case .greater(let name, let value): compare(name, value) { $0 > 0 }
    case .greaterOrEqual(let name, let value): compare(name, value) { $0 >= 0 }
    case .between(let name, let low, let high):
      compare(name, low) { $0 >= 0 } && compare(name, high) { $0 <= 0 }
    case .isIn(let name, let values): values.contains { compare(name, $0) { $0 == 0 } }
    case .isNull(let name): value(name) == nil
    case .isNotNull(let name): value(name) != nil
    case .all(let parts): parts.allSatisfy { holds($0, rows, row) }
    }
  }

  /// As many ranges as a chunk may have pages: were they searched from the first one every time,
  /// this would take hours.
  @Test func theRangesThatAreWantedAreGoneThroughOnce() {
    let count: UInt64 = 300_000
    var wanted = WantedRanges((0..<count).map { $0 * 10..<$0 * 10 + 5 })
    var wrong = 0
    for number in 0..<count {
      if wanted.end(at: number * 10) != number * 10 + 5 { wrong += 1 }
      if wanted.end(at: number * 10 + 4) != number * 10 + 5 { wrong += 1 }
      if wanted.end(at: number * 10 + 7) != number * 10 + 7 { wrong += 1 }
    }
    #expect(wrong == 0)
    #expect(wanted.end(at: 3) == 3)
    #expect(wanted.end(at: count * 10) == count * 10)
  }

  @Test func aSelectiveScanReadsOnlyThePagesItNeeds() throws {
    let reader = try Fixture.reader("zstd-v2.parquet")
    let scan = try reader.scan(
      columns: ["text"], where: .equal("big", .integer(150 * 150 * 1_000_003 - 5)))
    let batch = try #require(try scan.next())
    #expect(batch.rowCount == 1 && batch.columns[0].value(0) == Fixture.value("text", 150))
    #expect(try scan.next() == nil)
    #expect(scan.counts.rowGroupsRead == 1 && scan.counts.rowGroupsPruned == 2)
    #expect(scan.counts.pagesRead == 2 && scan.counts.pagesPruned > 5)
    #expect(scan.counts.rowsRead <= 32)
    let whole = try reader.scan(columns: ["text", "big"])
    while try whole.next() != nil {}
    #expect(whole.counts.rowsRead == Fixture.rowCount && whole.counts.pagesPruned == 0)
    #expect(whole.counts.bytesRead > 2 * scan.counts.bytesRead)
  }

  @Test func bloomFiltersRuleRowGroupsOut() throws {
    let reader = try Fixture.reader("duckdb-v2.parquet")
    let chunk = reader.metadata.rowGroups[0].columns[5]
    try #require(chunk.bloomFilterOffset != nil)
    // Inside of the bounds, and not there.
    let scan = try reader.scan(where: .equal("tag", "tag 5x"))
    #expect(try scan.next() == nil)
    #expect(scan.counts.rowGroupsPruned == 1 && scan.counts.pagesRead == 0)
    for row in 1..<7 {
      let scan = try reader.scan(where: .equal("tag", .text("tag \(row)")))
      #expect(try scan.next() != nil)
    }
  }

  @Test(arguments: [
    ParquetPredicate.equal("big", "text"), .equal("tag", 5), .less("flag", 1),
    .between("big", 0.5, 1), .isIn("double", [true]), .isNull("other"), .equal("other", 1),
  ])
  func predicatesThatDoNotFitAreRefused(predicate: ParquetPredicate) throws {
    let reader = try Fixture.reader("plain.parquet")
    let error = #expect(throws: SpindleError.self) { try reader.scan(where: predicate) }
    #expect(error?.kind == .invalidArgument)
  }

  @Test func valuesOutsideOfTheTypeAreComparedAsNumbers() throws {
    let reader = try Fixture.reader("plain.parquet")
    func count(_ predicate: ParquetPredicate) throws -> Int {
      let scan = try reader.scan(columns: [], where: predicate)
      var count = 0
      while let batch = try scan.next() { count += batch.rowCount }
      return count
    }
    let notNull = (0..<Fixture.rowCount).filter { $0 % 5 != 0 }.count
    #expect(try count(.less("small", .integer(1 << 40))) == notNull)
    #expect(try count(.greater("small", .unsigned(.max))) == 0)
    #expect(try count(.equal("small", .integer(1 << 40))) == 0)
    #expect(try count(.greater("big", .integer(.max))) == 0)
    #expect(try count(.less("double", .double(.infinity))) == Fixture.rowCount)
    #expect(try count(.less("double", .double(-.infinity))) == 0)
    #expect(try count(.equal("double", .double(.nan))) == 0)
    #expect(try count(.greaterOrEqual("double", -3)) == Fixture.rowCount)
  }
}
