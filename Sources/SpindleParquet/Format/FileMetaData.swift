/// The footer of a file: its schema and its row groups.
struct FileMetaData: ThriftWritable, Sendable, Hashable {
  /// How the bounds of a column are ordered.
  enum ColumnOrder: ThriftStructure, Sendable, Hashable {
    /// By the column's type, as the format defines it.
    case byType
    /// In a way this reader does not know; the bounds are not to be used.
    case other

    @_lifetime(reader: copy reader)
    init(_ reader: inout ThriftReader) throws(ParquetFailure) {
      self = try firstOfUnion(&reader) ? .byType : .other
    }

    func write(to writer: inout ThriftWriter) { writer.structure(self == .byType ? 1 : 2) }
  }

  var version: Int32
  var schema: [SchemaElement]
  var rowCount: Int64
  var rowGroups: [RowGroup]
  var keyValues: [KeyValue]?
  var createdBy: String?
  /// One for each leaf of the schema. Without them the bounds are not to be used.
  var columnOrders: [ColumnOrder]?
  /// Whether columns are encrypted, behind a footer that is not.
  var isEncrypted = false

  init(version: Int32, schema: [SchemaElement], rowCount: Int64, rowGroups: [RowGroup]) {
    self.version = version
    self.schema = schema
    self.rowCount = rowCount
    self.rowGroups = rowGroups
  }

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader, limits: ParquetLimits) throws(ParquetFailure) {
    var version: Int32?
    var rowCount: Int64?
    schema = []
    rowGroups = []
    reader.keyValueRoom = limits.keyValueCount
    while let field = try reader.nextField() {
      switch field.id {
      case 1: version = try reader.int32(field)
      case 2:
        // As many groups as leaves are more than a schema needs.
        schema = try reader.structures(
          field, atMost: 2 * limits.columnCount + 1, "elements of a schema")
      case 3: rowCount = try reader.int64(field)
      case 4:
        let count = try reader.list(field, of: .structure)
        guard count <= limits.rowGroupCount else {
          throw .limit("\(count) row groups, more than \(limits.rowGroupCount)")
        }
        var room = FooterRoom(
          columnChunks: limits.columnChunkCount, sortingColumns: limits.columnChunkCount)
        for _ in 0..<count {
          rowGroups.append(
            try reader.structureElement { (reader) throws(ParquetFailure) in
              try RowGroup(&reader, room: &room)
            })
        }
      case 5: keyValues = try reader.keyValues(field)
      case 6: createdBy = try reader.string(field)
      case 7: columnOrders = try reader.structures(field)
      case 8, 9: isEncrypted = true
      default: break
      }
    }
    self.version = try required(version, "a footer", "version")
    self.rowCount = try required(rowCount, "a footer", "row count")
    guard schema.count > 0 else { throw .damaged("a footer lacks its schema") }
  }

  func write(to writer: inout ThriftWriter) {
    writer.int32(1, version)
    writer.structures(2, schema)
    writer.int64(3, rowCount)
    writer.structures(4, rowGroups)
    writer.structures(5, keyValues)
    writer.string(6, createdBy)
    writer.structures(7, columnOrders)
  }
}

/// What the row groups of a footer may still list, all together.
struct FooterRoom {
  var columnChunks: Int
  /// As many as there may be column chunks: a row group is not sorted by more columns than it has.
  var sortingColumns: Int
}

/// A row group's entry in the footer.
struct RowGroup: ThriftWritable, Sendable, Hashable {
  /// One for each leaf of the schema.
  var columns: [ColumnChunk]
  /// Bytes of all columns before compression.
  var uncompressedBytes: Int64
  var rowCount: Int64
  var sortingColumns: [SortingColumn]?
  /// Where the first page begins.
  var fileOffset: Int64?
  /// Bytes of all columns in the file.
  var compressedBytes: Int64?
  /// Its position among the row groups.
  var ordinal: Int16?

  init(columns: [ColumnChunk], uncompressedBytes: Int64, rowCount: Int64) {
    self.columns = columns
    self.uncompressedBytes = uncompressedBytes
    self.rowCount = rowCount
  }

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader, room: inout FooterRoom) throws(ParquetFailure) {
    var uncompressedBytes: Int64?
    var rowCount: Int64?
    columns = []
    while let field = try reader.nextField() {
      switch field.id {
      case 1:
        columns = try reader.structures(field, atMost: room.columnChunks, "column chunks")
        room.columnChunks -= columns.count
      case 2: uncompressedBytes = try reader.int64(field)
      case 3: rowCount = try reader.int64(field)
      case 4:
        let listed: [SortingColumn] = try reader.structures(
          field, atMost: room.sortingColumns, "sorting columns")
        room.sortingColumns -= listed.count
        sortingColumns = listed
      case 5: fileOffset = try reader.int64(field)
      case 6: compressedBytes = try reader.int64(field)
      case 7: ordinal = try reader.int16(field)
      default: break
      }
    }
    self.uncompressedBytes = try required(uncompressedBytes, "a row group", "size")
    self.rowCount = try required(rowCount, "a row group", "row count")
  }

  func write(to writer: inout ThriftWriter) {
    writer.structures(1, columns)
    writer.int64(2, uncompressedBytes)
    writer.int64(3, rowCount)
    if let sortingColumns {
      writer.structures(4, sortingColumns)
    }
    writer.int64(5, fileOffset)
    writer.int64(6, compressedBytes)
    writer.int16(7, ordinal)
  }
}

/// One of the columns that the rows of a row group are sorted by.
struct SortingColumn: ThriftStructure, Sendable, Hashable {
  /// The column's position among the leaves of the schema.
  var leaf: Int32
  var isDescending: Bool
  var nullsFirst: Bool

  init(leaf: Int32, isDescending: Bool, nullsFirst: Bool) {
    self.leaf = leaf
    self.isDescending = isDescending
    self.nullsFirst = nullsFirst
  }

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    var leaf: Int32?
    var isDescending: Bool?
    var nullsFirst: Bool?
    while let field = try reader.nextField() {
      switch field.id {
      case 1: leaf = try reader.int32(field)
      case 2: isDescending = try reader.bool(field)
      case 3: nullsFirst = try reader.bool(field)
      default: break
      }
    }
    self.leaf = try required(leaf, "a sorting column", "column")
    self.isDescending = try required(isDescending, "a sorting column", "direction")
    self.nullsFirst = try required(nullsFirst, "a sorting column", "place of nulls")
  }

  func write(to writer: inout ThriftWriter) {
    writer.int32(1, leaf)
    writer.bool(2, isDescending)
    writer.bool(3, nullsFirst)
  }
}

/// A text that the writer keeps with a file or column chunk, under a key.
struct KeyValue: ThriftStructure, Sendable, Hashable {
  var key: String
  var value: String?

  init(key: String, value: String?) {
    self.key = key
    self.value = value
  }

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    var key: String?
    while let field = try reader.nextField() {
      switch field.id {
      case 1: key = try reader.string(field)
      case 2: value = try reader.string(field)
      default: break
      }
    }
    self.key = try required(key, "an entry of key-value metadata", "key")
  }

  func write(to writer: inout ThriftWriter) {
    writer.string(1, key)
    writer.string(2, value)
  }
}
