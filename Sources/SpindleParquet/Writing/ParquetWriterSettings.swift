/// How a file is written. The defaults make files that are small, quick to read and that every
/// common reader understands.
public struct ParquetWriterSettings: Sendable, Hashable {
  /// The layout of data pages.
  public enum DataPageVersion: Sendable, Hashable {
    /// Levels and values compressed together. For readers from before 2014.
    case v1
    /// Levels on their own; values are compressed only where that makes them smaller.
    case v2
  }

  /// Of all columns that do not state their own. The default is zstd at level 1.
  public var compression = ParquetCompression.zstd(level: 1)
  /// Most rows of a row group, 1 or more. The default is 1,048,576. Rows wait in memory until their
  /// group is full; readers skip whole groups.
  public var rowGroupRows = 1 << 20
  /// A row group ends when its values have so many bytes in memory, 1 or more. The default is
  /// 256 MiB.
  public var rowGroupBytes = 256 << 20
  /// Most rows of a page, 1 or more. The default is 65,536. Readers that look for few rows read
  /// whole pages; smaller ones compress less well.
  public var pageRows = 64 << 10
  /// A page ends before it has more bytes, before compression, unless a single value has: 1 to
  /// 512 MiB. The default is 1 MiB.
  public var pageBytes = 1 << 20
  /// The default is ``DataPageVersion/v2``.
  public var dataPageVersion = DataPageVersion.v2
  /// Most bytes of a column chunk's dictionary, 0 to 512 MiB. Values behind the one that would
  /// exceed it are written without a dictionary. The default is 1 MiB; 0 writes no dictionaries.
  public var dictionaryBytes = 1 << 20
  /// Most bytes of one string, 1 to 512 MiB; a batch with a longer one is refused. The default is
  /// 16 MiB, which every reader takes.
  public var valueBytes = 16 << 20
  /// Whether least and largest values and null counts are written, by which readers skip row
  /// groups. The default is true.
  public var writesStatistics = true
  /// Whether the same is written for each page, and where the pages lie. The default is true.
  public var writesPageIndex = true
  /// Most bytes of a bound in statistics and page index, 8 or more: longer strings but UUIDs are
  /// cut, and rounded up where they bound from above. The default is 64.
  public var boundBytes = 64
  /// Whether everything has a CRC32, so that damage is found: pages as the format has it, and their
  /// headers, the page index, bloom filters and the footer in a way that other readers pass over.
  /// Takes some 8 bytes for each page and 60 for each column chunk. The default is true.
  public var writesChecksums = true
  /// By which columns the rows of each row group are sorted, for readers to know. The caller's
  /// promise: it is not checked. The default is none.
  public var sortingColumns: [ParquetSortingColumn] = []
  /// Texts that are kept with the file. The default is none.
  public var keyValues: [ParquetKeyValue] = []
  /// Who is named as the writer. The default is `spindle`.
  public var createdBy = "spindle"
  /// What holds for single columns, by their names. The default is none.
  public var columns: [String: ParquetColumnSettings] = [:]

  public init() {}
}

/// How one column is written.
public struct ParquetColumnSettings: Sendable, Hashable {
  /// How the values are encoded; nil, the default, for the encoding that is measured to be
  /// smallest, chunk by chunk.
  ///
  /// ``ParquetEncoding/plain`` and ``ParquetEncoding/rleDictionary`` go with any type but the
  /// second not with booleans, ``ParquetEncoding/deltaBinaryPacked`` with integers,
  /// ``ParquetEncoding/byteStreamSplit`` with `float` and `double`,
  /// ``ParquetEncoding/deltaLengthByteArray`` with byte arrays, ``ParquetEncoding/rle`` with
  /// booleans.
  public var encoding: ParquetEncoding?
  /// How the pages are compressed; nil, the default, for that of the file.
  public var compression: ParquetCompression?
  /// By which readers tell that a value is in no row of a row group; nil, the default, for none.
  /// Pays for columns of many different values that are looked up one at a time.
  public var bloomFilter: ParquetBloomFilter?

  public init(
    encoding: ParquetEncoding? = nil, compression: ParquetCompression? = nil,
    bloomFilter: ParquetBloomFilter? = nil
  ) {
    self.encoding = encoding
    self.compression = compression
    self.bloomFilter = bloomFilter
  }
}

/// A bloom filter for each chunk of a column.
public struct ParquetBloomFilter: Sendable, Hashable {
  /// How often a value that is not there is taken for one that may be: above 0, below 1. The
  /// default is 0.01, which takes 10 to 20 bits for each different value.
  public var falsePositiveRate: Double
  /// Different values to make room for; nil, the default, for those that are counted in each chunk.
  public var distinctCount: Int?

  public init(falsePositiveRate: Double = 0.01, distinctCount: Int? = nil) {
    self.falsePositiveRate = falsePositiveRate
    self.distinctCount = distinctCount
  }
}

extension ParquetWriterSettings {
  private static let largest = 512 << 20

  /// What forbids these settings for a schema; nil when nothing does.
  func fault(for schema: ParquetSchema) -> String? {
    if let fault = schema.fault { return fault }
    let bounds: [(String, Int, ClosedRange<Int>)] = [
      ("rowGroupRows", rowGroupRows, 1...Int(Int32.max)),
      ("rowGroupBytes", rowGroupBytes, 1...Int.max),
      ("pageRows", pageRows, 1...Int(Int32.max)), ("pageBytes", pageBytes, 1...Self.largest),
      ("dictionaryBytes", dictionaryBytes, 0...Self.largest),
      ("valueBytes", valueBytes, 1...Self.largest), ("boundBytes", boundBytes, 8...Self.largest),
    ]
    for (name, value, range) in bounds where !range.contains(value) {
      return "\(name) is \(value), which is not in \(range)"
    }
    if let fault = compression.faultForWriting { return fault }
    for sorting in sortingColumns where schema.index(of: sorting.name) == nil {
      return "rows are sorted by \(sorting.name), which is no column"
    }
    for (name, settings) in columns.sorted(by: { $0.key < $1.key }) {
      guard let index = schema.index(of: name) else {
        return "there are settings for \(name), which is no column"
      }
      if let fault = settings.fault(for: schema.columns[index]) {
        return "column \(name): \(fault)"
      }
    }
    return nil
  }
}

extension ParquetColumnSettings {
  fileprivate func fault(for column: ParquetColumn) -> String? {
    if let fault = compression?.faultForWriting { return fault }
    if let encoding, !encoding.canWrite(column.physicalType) {
      return "values of \(column.physicalType) are not written as \(encoding)"
    }
    guard let bloomFilter else { return nil }
    if column.physicalType == .boolean { return "booleans have no bloom filter" }
    guard bloomFilter.falsePositiveRate > 0, bloomFilter.falsePositiveRate < 1 else {
      return "a bloom filter has a rate of \(bloomFilter.falsePositiveRate), not between 0 and 1"
    }
    guard bloomFilter.distinctCount ?? 1 > 0 else { return "a bloom filter for no value" }
    return nil
  }
}

extension ParquetCompression {
  fileprivate var faultForWriting: String? {
    switch self {
    case .none, .snappy, .lz4Raw: nil
    case .zstd(let level):
      (1...19).contains(level) ? nil : "zstd level \(level) is not in 1...19"
    case .gzip: "gzip is read, not written"
    }
  }
}

extension ParquetEncoding {
  fileprivate func canWrite(_ type: ParquetPhysicalType) -> Bool {
    switch (self, type) {
    case (.plain, _), (.rle, .boolean): true
    case (.rleDictionary, .boolean): false
    case (.rleDictionary, _): true
    case (.deltaBinaryPacked, .int32), (.deltaBinaryPacked, .int64): true
    case (.byteStreamSplit, .float), (.byteStreamSplit, .double): true
    case (.deltaLengthByteArray, .byteArray): true
    default: false
    }
  }
}
