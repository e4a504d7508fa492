import SpindleCodecs
import SpindleParquet

/// The digest that `Tests/Support/parquet_canon.py` computes too: the CRC-32 of the bits of the
/// rows that are there (none when all are), then of the values, little-endian, with null slots
/// zero. Strings are their offsets as 64-bit integers, then their bytes; a boolean is one byte.
struct ColumnDigest {
  private(set) var value: UInt32 = 0

  init(_ column: ColumnArray) {
    if let validity = column.validity, validity.nullCount > 0 {
      add(validity.words, bytes: (validity.count + 7) / 8)
    }
    switch column.values {
    case .boolean(let slots): add(slots)
    case .int32(let slots): add(slots)
    case .int64(let slots): add(slots)
    case .float(let slots): add(slots)
    case .double(let slots): add(slots)
    case .fixed(let values): add(values.bytes)
    case .bytes(let strings): add(strings)
    case .dictionary: add(column.expanded)
    }
  }

  private mutating func add(_ strings: ByteStrings) {
    add(strings.offsets)
    add(strings.bytes)
  }

  private mutating func add<Element: BitwiseCopyable>(_ elements: [Element], bytes: Int? = nil) {
    unsafe elements.withUnsafeBytes { raw in
      let count = bytes ?? raw.count
      let bytes = unsafe raw.bindMemory(to: UInt8.self).extracting(0..<count)
      value = unsafe CRC32.checksum(Span(_unsafeElements: bytes), continuing: value)
    }
  }
}

extension ColumnArray {
  /// The strings of a dictionary column, row by row.
  var expanded: ByteStrings {
    switch values {
    case .bytes(let strings): return strings
    case .dictionary(let indices, let values):
      var strings = ByteStrings()
      for row in indices.indices {
        if isNull(row) {
          strings.appendEmpty()
        } else {
          strings.append(values, Int(indices[row])..<Int(indices[row]) + 1)
        }
      }
      return strings
    default: return ByteStrings()
    }
  }

  /// How the judge calls the form of the values.
  var kind: String {
    switch values {
    case .boolean: "boolean"
    case .int32: "int32"
    case .int64: "int64"
    case .float: "float"
    case .double: "double"
    case .bytes, .dictionary: "bytes"
    case .fixed(let values): "fixed:\(values.width)"
    }
  }
}

extension ParquetColumn {
  private static let unitNames: [ParquetTimeUnit: String] = [
    .milliseconds: "ms", .microseconds: "us", .nanoseconds: "ns",
  ]

  /// How the judge calls the meaning of the values.
  var meaning: String {
    switch logicalType {
    case nil: "none"
    case .string: "string"
    case .json: "json"
    case .uuid: "uuid"
    case .date: "date"
    case .timestamp(let unit, let isUTC):
      "timestamp(\(Self.unitNames[unit] ?? ""),\(isUTC ? "utc" : "local"))"
    case .integer(let bits, let isSigned): "integer(\(bits),\(isSigned ? "" : "un")signed)"
    case .other: "other"
    }
  }
}

/// A file as the judge describes it, or as it is to judge it.
struct JudgedFile: Codable {
  struct Column: Codable, Equatable {
    var name: String
    var kind: String
    var logical: String
    var optional: Bool
    var nulls: Int
    var digest: UInt32
  }

  var file: String
  var rows: Int?
  var rowGroups: Int?
  /// Names of nested columns.
  var nested: [String]?
  var columns: [Column]?
  /// Names of columns that cannot be read, without those of `columns`.
  var encrypted: [String]?
  /// A word of the error with which the file is to be refused.
  var refused: String?
  // Of files that we wrote:
  var codec: String?
  /// The version of its data pages.
  var dataPage: Int?
  var pageIndex: Bool?
  var keyValues: [String: String]?
  /// Each a column's position, whether it is descending, whether nulls come first.
  var sorting: [[Int]]?
  /// Columns with bloom filters.
  var blooms: [String]?
}

extension JudgedFile.Column {
  init(_ column: ParquetColumn, _ array: ColumnArray) {
    self.init(
      name: column.name, kind: array.kind, logical: column.meaning, optional: column.isOptional,
      nulls: array.nullCount, digest: ColumnDigest(array).value)
  }
}

/// A list of files, as `manifest.json` and `expected.json` have it.
struct JudgedFiles: Codable {
  var files: [JudgedFile]
}
