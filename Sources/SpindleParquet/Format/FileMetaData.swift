/// The footer of a file: its schema and its row groups.
struct FileMetaData: Sendable, Hashable {
  /// How the bounds of a column are ordered.
  enum ColumnOrder: Sendable, Hashable {
    /// By the column's type, as the format defines it.
    case byType
    /// In a way this reader does not know; the bounds are not to be used.
    case other
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
    var last: Int16 = 0
    while let field = try reader.nextField(after: &last) {
      switch field.id {
      case 1: version = try reader.int32(field)
      case 2:
        for _ in 0..<(try reader.list(field, of: .structure)) {
          // As many groups as leaves are more than a schema needs.
          guard schema.count <= 2 * limits.columnCount else {
            throw .limit("a schema of more than \(limits.columnCount) columns")
          }
          schema.append(try SchemaElement(&reader))
        }
      case 3: rowCount = try reader.int64(field)
      case 4:
        let count = try reader.list(field, of: .structure)
        guard count <= limits.rowGroupCount else {
          throw .limit("\(count) row groups, more than \(limits.rowGroupCount)")
        }
        var room = limits.columnChunkCount
        for _ in 0..<count { rowGroups.append(try RowGroup(&reader, room: &room)) }
      case 5: keyValues = try KeyValue.list(&reader, field)
      case 6: createdBy = try reader.string(field)
      case 7:
        var orders: [ColumnOrder] = []
        for _ in 0..<(try reader.list(field, of: .structure)) {
          orders.append(try firstOfUnion(&reader) ? .byType : .other)
        }
        columnOrders = orders
      case 8, 9:
        isEncrypted = true
        try reader.skip(field)
      default: try reader.skip(field)
      }
    }
    self.version = try required(version, "a footer", "version")
    self.rowCount = try required(rowCount, "a footer", "row count")
    guard schema.count > 0 else { throw .damaged("a footer lacks its schema") }
  }

  /// The footer as it stands in the file, without its length and the magic behind it.
  var encoded: [UInt8] {
    var writer = ThriftWriter()
    writer.int32(1, version)
    writer.list(2, of: .structure, count: schema.count)
    for element in schema {
      writer.beginElement()
      element.write(to: &writer)
    }
    writer.int64(3, rowCount)
    writer.list(4, of: .structure, count: rowGroups.count)
    for group in rowGroups {
      writer.beginElement()
      group.write(to: &writer)
    }
    KeyValue.write(keyValues, as: 5, to: &writer)
    writer.string(6, createdBy)
    if let columnOrders {
      writer.list(7, of: .structure, count: columnOrders.count)
      for order in columnOrders {
        writer.beginElement()
        writer.emptyStructure(order == .byType ? 1 : 2)
        writer.endStructure()
      }
    }
    writer.endStructure()
    return writer.bytes
  }
}

/// A row group's entry in the footer.
struct RowGroup: Sendable, Hashable {
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

  /// - Parameter room: Column chunks that may still come.
  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader, room: inout Int) throws(ParquetFailure) {
    var uncompressedBytes: Int64?
    var rowCount: Int64?
    columns = []
    var last: Int16 = 0
    while let field = try reader.nextField(after: &last) {
      switch field.id {
      case 1:
        let count = try reader.list(field, of: .structure)
        guard count <= room else {
          throw .limit("a footer of more column chunks than the limit allows")
        }
        room -= count
        for _ in 0..<count { columns.append(try ColumnChunk(&reader)) }
      case 2: uncompressedBytes = try reader.int64(field)
      case 3: rowCount = try reader.int64(field)
      case 4:
        var sorting: [SortingColumn] = []
        for _ in 0..<(try reader.list(field, of: .structure)) {
          sorting.append(try SortingColumn(&reader))
        }
        sortingColumns = sorting
      case 5: fileOffset = try reader.int64(field)
      case 6: compressedBytes = try reader.int64(field)
      case 7: ordinal = try reader.int16(field)
      default: try reader.skip(field)
      }
    }
    self.uncompressedBytes = try required(uncompressedBytes, "a row group", "size")
    self.rowCount = try required(rowCount, "a row group", "row count")
  }

  func write(to writer: inout ThriftWriter) {
    writer.list(1, of: .structure, count: columns.count)
    for column in columns {
      writer.beginElement()
      column.write(to: &writer)
    }
    writer.int64(2, uncompressedBytes)
    writer.int64(3, rowCount)
    if let sortingColumns {
      writer.list(4, of: .structure, count: sortingColumns.count)
      for column in sortingColumns {
        writer.beginElement()
        column.write(to: &writer)
      }
    }
    writer.int64(5, fileOffset)
    writer.int64(6, compressedBytes)
    writer.int16(7, ordinal)
    writer.endStructure()
  }
}

/// One of the columns that the rows of a row group are sorted by.
struct SortingColumn: Sendable, Hashable {
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
    var last: Int16 = 0
    while let field = try reader.nextField(after: &last) {
      switch field.id {
      case 1: leaf = try reader.int32(field)
      case 2: isDescending = try reader.bool(field)
      case 3: nullsFirst = try reader.bool(field)
      default: try reader.skip(field)
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
    writer.endStructure()
  }
}

/// A text that the writer keeps with a file or column chunk, under a key.
struct KeyValue: Sendable, Hashable {
  var key: String
  var value: String?

  init(key: String, value: String?) {
    self.key = key
    self.value = value
  }

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    var key: String?
    var last: Int16 = 0
    while let field = try reader.nextField(after: &last) {
      switch field.id {
      case 1: key = try reader.string(field)
      case 2: value = try reader.string(field)
      default: try reader.skip(field)
      }
    }
    self.key = try required(key, "an entry of key-value metadata", "key")
  }

  @_lifetime(reader: copy reader)
  static func list(
    _ reader: inout ThriftReader, _ field: ThriftField
  ) throws(ParquetFailure) -> [KeyValue] {
    var entries: [KeyValue] = []
    for _ in 0..<(try reader.list(field, of: .structure)) {
      entries.append(try KeyValue(&reader))
    }
    return entries
  }

  static func write(_ entries: [KeyValue]?, as id: Int16, to writer: inout ThriftWriter) {
    guard let entries else { return }
    writer.list(id, of: .structure, count: entries.count)
    for entry in entries {
      writer.beginElement()
      writer.string(1, entry.key)
      writer.string(2, entry.value)
      writer.endStructure()
    }
  }
}
