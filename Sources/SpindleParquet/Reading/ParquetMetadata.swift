/// What a file says of itself in its footer.
public struct ParquetMetadata: Sendable, Hashable {
  /// The format's version: 1 or 2. Says little; what a file uses, it states in place.
  public var version: Int
  /// Who wrote the file.
  public var createdBy: String?
  public var schema: ParquetSchema
  /// Rows of all row groups.
  public var rowCount: Int
  public var rowGroups: [ParquetRowGroup]
  /// What the writer kept with the file. A key may be there twice.
  public var keyValues: [ParquetKeyValue]
  /// Bytes of the footer, and of the whole file.
  public var footerBytes: Int
  public var fileBytes: UInt64

  /// The value of the first entry with a key; nil for none, and for one without a value.
  public func value(of key: String) -> String? {
    keyValues.first { $0.key == key }?.value
  }
}

/// A text under a key.
public struct ParquetKeyValue: Sendable, Hashable {
  public var key: String
  public var value: String?

  public init(key: String, value: String?) {
    self.key = key
    self.value = value
  }
}

/// Some rows of a file, column by column.
public struct ParquetRowGroup: Sendable, Hashable {
  public var rowCount: Int
  /// Bytes of all columns, nested ones included, before compression.
  public var uncompressedBytes: Int
  /// One for each of the schema's flat columns.
  public var columns: [ParquetColumnChunk]
  /// By which columns the rows are sorted, the first before the second.
  public var sortingColumns: [ParquetSortingColumn]

  /// Bytes of the flat columns in the file.
  public var compressedBytes: Int { columns.reduce(0) { $0 + $1.compressedBytes } }
}

/// A column by which rows are sorted.
public struct ParquetSortingColumn: Sendable, Hashable {
  public var name: String
  public var isDescending: Bool
  public var nullsFirst: Bool

  public init(name: String, isDescending: Bool = false, nullsFirst: Bool = false) {
    self.name = name
    self.isDescending = isDescending
    self.nullsFirst = nullsFirst
  }
}

/// The values of one column in one row group.
public struct ParquetColumnChunk: Sendable, Hashable {
  public var codec: ParquetCodec
  /// The encodings of values and levels that occur, as far as they are known.
  public var encodings: [ParquetEncoding]
  /// Rows, those without a value included.
  public var valueCount: Int
  /// Bytes of all pages with their headers, before compression.
  public var uncompressedBytes: Int
  /// Where all pages lie, with their headers, the dictionary page first.
  public var byteRange: Range<UInt64>
  /// Whether the footer tells of a dictionary page. Some writers have one without telling.
  public var hasDictionary: Bool
  /// As far as they are there and to be trusted.
  public var statistics: ParquetStatistics?
  /// Where the bounds of the single pages lie.
  public var columnIndexRange: Range<UInt64>?
  /// Where it is told where the single pages lie.
  public var offsetIndexRange: Range<UInt64>?
  /// Where the bloom filter begins, and its bytes with its header where the file says so.
  public var bloomFilterOffset: UInt64?
  public var bloomFilterBytes: Int?
  /// What the writer kept with the column chunk.
  public var keyValues: [ParquetKeyValue]
  /// Whether the file says that bounds are in the order of the column's type, so that those of
  /// pages can be trusted.
  var hasColumnOrder = false
  /// Why the chunk cannot be read although its file can: it is encrypted, or in another file.
  public var unreadable: String?
  /// Of headers, indexes and bloom filter, in files of ours.
  var checksums: ChunkChecksums?

  /// Bytes in the file.
  public var compressedBytes: Int { byteRange.count }
}
