import SpindleCore
import SpindleIO

@testable import SpindleParquet

/// The files that other writers made; `Fixtures/make.py` says how.
enum Fixture {
  static let rowCount = 300
  static let folder = Files.directory(of: #filePath) + "/Fixtures"

  static var names: [String] {
    (try? Files.names(in: folder).filter { $0.hasSuffix(".parquet") }) ?? []
  }

  static func bytes(_ name: String) throws -> [UInt8] { try Files.read("\(folder)/\(name)") }

  static func reader(
    _ name: String, limits: ParquetLimits = .default
  ) throws(SpindleError) -> ParquetReader {
    try ParquetReader(FileSource("\(folder)/\(name)"), limits: limits)
  }

  /// The file with another footer.
  static func changed(
    _ name: String, _ change: (inout FileMetaData) -> Void
  ) throws -> MemorySource {
    let bytes = try bytes(name)
    let range = try Footer.range(
      tail: Array(bytes.suffix(Footer.tailBytes)).span, fileBytes: UInt64(bytes.count),
      limits: .default)
    var file = try MetadataSample.decode(
      Array(bytes[Int(range.lowerBound)..<Int(range.upperBound)]))
    change(&file)
    return MemorySource(Array(bytes[..<Int(range.lowerBound)]) + Footer.encoded(file))
  }

  /// What a row of the fixtures holds in a column.
  static func value(_ column: String, _ row: Int) -> ParquetValue? {
    switch column {
    case "flag": row % 11 == 0 ? nil : .boolean(row % 3 == 0)
    case "small": row % 5 == 0 ? nil : .integer(Int64(row * 7 - 1000))
    case "big": .integer(Int64(row * row * 1_000_003 - 5))
    case "single": row % 6 == 0 ? nil : .double(Double(row) / 4)
    case "double": .double(Double(row) / 8 - 3)
    case "tag": row % 7 == 0 ? nil : .text("tag \(row % 10)")
    case "text":
      row % 13 == 0 ? nil : .text(String(repeating: "x", count: row % 40) + "\(row)")
    case "fixed": row % 9 == 0 ? nil : .bytes([UInt8(truncatingIfNeeded: row), 1, 2, 3])
    case "time": .integer(Int64(row) * 1_000_000_007)
    default: nil
    }
  }
}

extension ColumnArray {
  /// The value of a row, the slow way; nil for a null row.
  func value(_ row: Int) -> ParquetValue? {
    value(row, order: .unknown)
  }
}
