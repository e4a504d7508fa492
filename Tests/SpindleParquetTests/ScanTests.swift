import SpindleCore
import Testing

@testable import SpindleParquet

@Suite struct ScanTests {
  /// All predicates on all columns against the rows one by one, on files with and without
  /// statistics and indexes, in batches of all sizes.
  @Test(arguments: ["zstd-v2.parquet", "bare.parquet", "delta-v1.parquet", "fallback.parquet"])
  func scansGiveTheRowsThatSatisfyThePredicate(name: String) throws {
    let reader = try Fixture.reader(name)
    var generator = SeededGenerator(seed: 4)
    let names = reader.metadata.schema.columns.map(\.name)
    for round in 0..<120 {
      let predicate = Self.predicate(names, &generator)
      let columns = names.filter { _ in Bool.random(using: &generator) }
      let form: ParquetByteStringForm = round % 2 == 0 ? .plain : .dictionary
      let scan = try reader.scan(
        columns: columns, where: predicate, byteStrings: form,
        batchRows: [1, 7, 50, 1000].randomElement(using: &generator) ?? 1)
      var got: [[ParquetValue?]] = []
      while let batch = try scan.next() {
        #expect(batch.rowCount > 0 && batch.columns.count == columns.count)
        try batch.validate()
        for row in 0..<batch.rowCount { got.append(batch.columns.map { $0.value(row) }) }
      }
      let rows = (0..<Fixture.rowCount).filter { Self.holds(predicate, $0) }
      let expected = rows.map { row in columns.map { Fixture.value($0, row) } }
      #expect(got == expected, "\(predicate)")
    }
  }

  private static func predicate(
    _ names: [String], _ generator: inout SeededGenerator
  ) -> ParquetPredicate {
    let name = names.randomElement(using: &generator) ?? ""
    func value() -> ParquetValue {
      for _ in 0..<20 {
        let row = Int.random(in: 0..<Fixture.rowCount, using: &generator)
        if let value = Fixture.value(name, row) { return value }
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
      .all((0..<2).map { _ in predicate(names, &generator) })
    }
  }

  private static func holds(_ predicate: ParquetPredicate, _ row: Int) -> Bool {
    func compare(_ name: String, _ other: ParquetValue, _ isRight: (Int) -> Bool) -> Bool {
      guard let value = Fixture.value(name, row) else { return false }
      switch (value, other) {
      case (.boolean(let left), .boolean(let right)):
        return isRight((left ? 1 : 0) - (right ? 1 : 0))
      case (.integer(let left), .integer(let right)):
        return isRight(left < right ? -1 : left == right ? 0 : 1)
      case (.double(let left), .double(let right)):
        return isRight(left < right ? -1 : left == right ? 0 : 1)
      case (.bytes(let left), .bytes(let right)):
        return isRight(left == right ? 0 : left.lexicographicallyPrecedes(right) ? -1 : 1)
      default: return false
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
    case .isNull(let name): Fixture.value(name, row) == nil
    case .isNotNull(let name): Fixture.value(name, row) != nil
    case .all(let parts): parts.allSatisfy { holds($0, row) }
    }
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
