/// What stands before a page.
struct PageHeader: ThriftStructure, Sendable, Hashable {
  enum Kind: Sendable, Hashable {
    case data(DataPageHeader)
    case dataV2(DataPageHeaderV2)
    case dictionary(DictionaryPageHeader)
    /// A kind of page that holds no values, by the format's number. Passed over.
    case other(Int32)
  }

  var kind: Kind
  /// Bytes of the page before compression, the levels of a page of version 2 included.
  var uncompressedSize: Int
  /// Bytes of the page in the file, behind its header.
  var compressedSize: Int
  /// The CRC32 of the bytes in the file, behind the header.
  var checksum: UInt32?

  init(kind: Kind, uncompressedSize: Int, compressedSize: Int, checksum: UInt32? = nil) {
    self.kind = kind
    self.uncompressedSize = uncompressedSize
    self.compressedSize = compressedSize
    self.checksum = checksum
  }

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    var number: Int32?
    var uncompressedSize: Int?
    var compressedSize: Int?
    var data: DataPageHeader?
    var dataV2: DataPageHeaderV2?
    var dictionary: DictionaryPageHeader?
    while let field = try reader.nextField() {
      switch field.id {
      case 1: number = try reader.int32(field)
      case 2: uncompressedSize = try natural(reader.int32(field), "a page size")
      case 3: compressedSize = try natural(reader.int32(field), "a page size")
      case 4: checksum = UInt32(bitPattern: try reader.int32(field))
      case 5: data = try reader.structure(field)
      case 7: dictionary = try reader.structure(field)
      case 8: dataV2 = try reader.structure(field)
      default: break
      }
    }
    self.uncompressedSize = try required(uncompressedSize, "a page header", "uncompressed size")
    self.compressedSize = try required(compressedSize, "a page header", "compressed size")
    switch try required(number, "a page header", "kind of page") {
    case 0: kind = .data(try required(data, "a page header", "data page header"))
    case 2:
      kind = .dictionary(try required(dictionary, "a page header", "dictionary page header"))
    case 3: kind = .dataV2(try required(dataV2, "a page header", "data page header"))
    case let number: kind = .other(number)
    }
  }

  func write(to writer: inout ThriftWriter) {
    let number: Int32 =
      switch kind {
      case .data: 0
      case .dictionary: 2
      case .dataV2: 3
      case .other(let number): number
      }
    writer.int32(1, number)
    writer.int32(2, Int32(uncompressedSize))
    writer.int32(3, Int32(compressedSize))
    writer.int32(4, checksum.map { Int32(bitPattern: $0) })
    switch kind {
    case .data(let header): writer.structure(5, header)
    case .dictionary(let header): writer.structure(7, header)
    case .dataV2(let header): writer.structure(8, header)
    case .other: break
    }
  }
}

/// Of a data page of version 1: levels and values are compressed together.
struct DataPageHeader: ThriftStructure, Sendable, Hashable {
  /// Values, nulls included: rows, in a flat column.
  var valueCount: Int
  var encoding: ParquetEncoding
  var definitionLevelEncoding: ParquetEncoding = .rle
  var repetitionLevelEncoding: ParquetEncoding = .rle
  var statistics: Statistics?

  init(valueCount: Int, encoding: ParquetEncoding, statistics: Statistics? = nil) {
    self.valueCount = valueCount
    self.encoding = encoding
    self.statistics = statistics
  }

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    var valueCount: Int?
    var encoding: ParquetEncoding?
    while let field = try reader.nextField() {
      switch field.id {
      case 1: valueCount = try natural(reader.int32(field), "a value count")
      case 2: encoding = try knownEncoding(reader.int32(field))
      case 3: definitionLevelEncoding = try knownEncoding(reader.int32(field))
      case 4: repetitionLevelEncoding = try knownEncoding(reader.int32(field))
      case 5: statistics = try reader.structure(field)
      default: break
      }
    }
    self.valueCount = try required(valueCount, "a data page header", "value count")
    self.encoding = try required(encoding, "a data page header", "encoding")
  }

  func write(to writer: inout ThriftWriter) {
    writer.int32(1, Int32(valueCount))
    writer.int32(2, encoding.rawValue)
    writer.int32(3, definitionLevelEncoding.rawValue)
    writer.int32(4, repetitionLevelEncoding.rawValue)
    writer.structure(5, statistics)
  }
}

/// Of a data page of version 2: the levels stand before the values and are never compressed.
struct DataPageHeaderV2: ThriftStructure, Sendable, Hashable {
  /// Values, nulls included: rows, in a flat column.
  var valueCount: Int
  var nullCount: Int
  var rowCount: Int
  var encoding: ParquetEncoding
  var definitionLevelBytes: Int
  var repetitionLevelBytes: Int
  /// Whether the values are compressed by the column's codec.
  var isCompressed = true
  var statistics: Statistics?

  init(
    rowCount: Int, nullCount: Int, encoding: ParquetEncoding, definitionLevelBytes: Int,
    isCompressed: Bool, statistics: Statistics? = nil
  ) {
    valueCount = rowCount
    self.nullCount = nullCount
    self.rowCount = rowCount
    self.encoding = encoding
    self.definitionLevelBytes = definitionLevelBytes
    repetitionLevelBytes = 0
    self.isCompressed = isCompressed
    self.statistics = statistics
  }

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    var valueCount: Int?
    var nullCount: Int?
    var rowCount: Int?
    var encoding: ParquetEncoding?
    var definitionLevelBytes: Int?
    var repetitionLevelBytes: Int?
    while let field = try reader.nextField() {
      switch field.id {
      case 1: valueCount = try natural(reader.int32(field), "a value count")
      case 2: nullCount = try natural(reader.int32(field), "a null count")
      case 3: rowCount = try natural(reader.int32(field), "a row count")
      case 4: encoding = try knownEncoding(reader.int32(field))
      case 5: definitionLevelBytes = try natural(reader.int32(field), "a length of levels")
      case 6: repetitionLevelBytes = try natural(reader.int32(field), "a length of levels")
      case 7: isCompressed = try reader.bool(field)
      case 8: statistics = try reader.structure(field)
      default: break
      }
    }
    let what = "a data page header"
    self.valueCount = try required(valueCount, what, "value count")
    self.nullCount = try required(nullCount, what, "null count")
    self.rowCount = try required(rowCount, what, "row count")
    self.encoding = try required(encoding, what, "encoding")
    self.definitionLevelBytes = try required(definitionLevelBytes, what, "length of levels")
    self.repetitionLevelBytes = try required(repetitionLevelBytes, what, "length of levels")
  }

  func write(to writer: inout ThriftWriter) {
    writer.int32(1, Int32(valueCount))
    writer.int32(2, Int32(nullCount))
    writer.int32(3, Int32(rowCount))
    writer.int32(4, encoding.rawValue)
    writer.int32(5, Int32(definitionLevelBytes))
    writer.int32(6, Int32(repetitionLevelBytes))
    writer.bool(7, isCompressed)
    writer.structure(8, statistics)
  }
}

/// Of the dictionary page of a column chunk.
struct DictionaryPageHeader: ThriftStructure, Sendable, Hashable {
  var valueCount: Int
  /// How the values lie: plain, by either of its names.
  var encoding: ParquetEncoding
  var isSorted: Bool?

  init(valueCount: Int, encoding: ParquetEncoding = .plain, isSorted: Bool? = nil) {
    self.valueCount = valueCount
    self.encoding = encoding
    self.isSorted = isSorted
  }

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    var valueCount: Int?
    var encoding: ParquetEncoding?
    while let field = try reader.nextField() {
      switch field.id {
      case 1: valueCount = try natural(reader.int32(field), "a value count")
      case 2: encoding = try knownEncoding(reader.int32(field))
      case 3: isSorted = try reader.bool(field)
      default: break
      }
    }
    self.valueCount = try required(valueCount, "a dictionary page header", "value count")
    self.encoding = try required(encoding, "a dictionary page header", "encoding")
  }

  func write(to writer: inout ThriftWriter) {
    writer.int32(1, Int32(valueCount))
    writer.int32(2, encoding.rawValue)
    writer.bool(3, isSorted)
  }
}
