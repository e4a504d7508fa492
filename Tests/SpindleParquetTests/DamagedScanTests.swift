import SpindleCore
import Testing

@testable import SpindleParquet

/// Damage where only a scan or a verification meets it: in indexes, bloom filters and statistics,
/// which reading whole files passes by.
@Suite struct DamagedScanTests {
  @Test func damagedFilesNeverTrapAScan() throws {
    let fuzz = FuzzRun("damaged scans")
    var random = SeededGenerator(seed: fuzz.seed)
    let files = try [
      "zstd-v2.parquet", "none-v1.parquet", "fallback.parquet", "duckdb-v2.parquet",
      "delta-v2.parquet",
    ].map { try Fixture.bytes($0) }
    let end = ContinuousClock.now + .seconds(fuzz.seconds ?? 3)
    var (refused, read) = (0, 0)
    while ContinuousClock.now < end {
      var bytes = files[Int.random(in: 0..<files.count, using: &random)]
      // Indexes, bloom filters and the footer are in the last third.
      let from = Bool.random(using: &random) ? bytes.count * 2 / 3 : 0
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        let place = Int.random(in: from..<bytes.count, using: &random)
        bytes[place] =
          [bytes[place] ^ 1 << UInt8.random(in: 0..<8, using: &random), 0, 0xFF]
          .randomElement(using: &random) ?? 0
      }
      do {
        try use(MemorySource(bytes), &random)
        read += 1
      } catch {
        #expect(HostileFileTests.isRefusal(error), "\(error)")
        refused += 1
      }
    }
    #expect(refused > 0 && read > 0)
  }

  /// Scans, reads a part, and verifies.
  private func use(
    _ source: MemorySource, _ random: inout SeededGenerator
  ) throws(SpindleError) {
    let reader = try ParquetReader(source, limits: Bomb.limits)
    let row = Int.random(in: 0..<Fixture.rowCount, using: &random)
    for column in reader.metadata.schema.columns {
      guard let value = Fixture.value(column.name, row) else { continue }
      for predicate in [
        ParquetPredicate.equal(column.name, value), .greater(column.name, value),
        .isNull(column.name),
      ] {
        let scan: ParquetScan
        do throws(SpindleError) {
          scan = try reader.scan(where: predicate, byteStrings: .dictionary, batchRows: 50)
        } catch {
          // A damaged schema may have other types.
          if error.kind == .invalidArgument { continue }
          throw error
        }
        while let batch = try scan.next() { try batch.validate() }
      }
    }
    for group in reader.metadata.rowGroups.indices {
      let count = reader.metadata.rowGroups[group].rowCount
      _ = try reader.read(rowGroup: group, rows: count / 3..<count / 2)
    }
    _ = try reader.verify()
  }
}
