import SpindleCore
import Testing

@testable import SpindleParquet

/// Everything that can be done with a file that is not to be trusted.
enum HostileUse {
  /// Reads a file whole and in part, scans it with predicates, and verifies it.
  ///
  /// - Parameters:
  ///   - columns: The columns that predicates ask for, by their positions; nil is all.
  /// - Throws: The first error, when everything was tried.
  static func all(
    _ bytes: [UInt8], limits: ParquetLimits = Bomb.limits, columns: Range<Int>? = nil
  ) throws(SpindleError) {
    let source = MemorySource(bytes)
    let reader = try ParquetReader(source, limits: limits)
    var first: SpindleError?
    func attempt(_ body: () throws(SpindleError) -> Void) {
      do throws(SpindleError) {
        try body()
      } catch {
        // A predicate need not fit a damaged schema.
        if error.kind == .invalidArgument { return }
        #expect(HostileFileTests.isRefusal(error), "\(error)")
        if first == nil { first = error }
      }
    }
    attempt { () throws(SpindleError) in _ = try WholeFile(source, limits: limits) }
    let schema = reader.metadata.schema
    for column in schema.columns[(columns ?? 0..<8).clamped(to: 0..<schema.columns.count)] {
      for predicate in [ParquetPredicate.equal(column.name, value(column)), .isNull(column.name)] {
        attempt { () throws(SpindleError) in
          let scan = try reader.scan(
            where: predicate, byteStrings: .dictionary, batchRows: 50_000)
          // After an error a scan goes on with the next row group.
          for _ in reader.metadata.rowGroups {
            attempt { () throws(SpindleError) in
              while let batch = try scan.next() { try batch.validate() }
            }
          }
        }
      }
    }
    for (group, metadata) in reader.metadata.rowGroups.prefix(4).enumerated() {
      let count = min(metadata.rowCount, 1 << 20)
      attempt { () throws(SpindleError) in
        _ = try reader.read(rowGroup: group, rows: count / 3..<count / 2)
      }
    }
    attempt { () throws(SpindleError) in _ = try reader.verify() }
    if let first { throw first }
  }

  /// Something to look for, which most columns of the samples hold.
  private static func value(_ column: ParquetColumn) -> ParquetValue {
    switch column.physicalType {
    case .boolean: true
    case .int32, .int64, .int96: 1
    case .float, .double: .double(21.5)
    case .byteArray: "same"
    case .fixedLengthByteArray: .bytes([1, 2, 3, 4, 5])
    }
  }
}
