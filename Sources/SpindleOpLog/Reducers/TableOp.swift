internal import SpindleCore

/// Names a row: the table's stable id and the row's key in it.
public struct RowID: Hashable, Sendable {
  public var table: UInt32
  public var key: [UInt8]

  public init(table: UInt32, key: [UInt8]) {
    self.table = table
    self.key = key
  }
}

/// A value for a column; nil is NULL.
public struct TableCell: Hashable, Sendable {
  public var column: UInt32
  public var value: [UInt8]?

  public init(_ column: UInt32, _ value: [UInt8]?) {
    self.column = column
    self.value = value
  }
}

/// A change of one row of a ``LastWriterWinsTable``.
public enum TableOp: IndexableOp, Hashable {
  /// Makes sure that the row is there, and sets cells of it.
  case write(RowID, [TableCell])
  /// Removes the row with every cell written before.
  case delete(RowID)

  private enum Tag {
    // Part of the format; must not be changed.
    static let write: UInt8 = 1
    static let delete: UInt8 = 2
  }

  /// Key: the table's id (u32 big-endian) and the row's key. Value of a write: a varint count, and
  /// for each cell the column (u32 big-endian), 0 for NULL or 1, and then the value as a blob.
  public func toIndexEntry() throws(CodecError) -> IndexEntry {
    switch self {
    case .write(let row, let cells):
      var value: [UInt8] = []
      value.appendVarint(UInt64(cells.count))
      for cell in cells {
        value.appendBigEndian(cell.column)
        value.append(cell.value == nil ? 0 : 1)
        if let bytes = cell.value { value.appendBlob(bytes) }
      }
      return IndexEntry(tag: Tag.write, key: Self.key(row), value: value)
    case .delete(let row):
      return IndexEntry(tag: Tag.delete, key: Self.key(row), value: nil)
    }
  }

  public static func fromIndexParts(
    tag: UInt8, key: [UInt8]?, value: [UInt8]?
  ) throws(CodecError) -> TableOp {
    guard tag == Tag.write || tag == Tag.delete else { throw .unknownTag(tag) }
    guard let key, (value != nil) == (tag == Tag.write) else { throw .unexpectedEnd }
    do throws(DecodingFailure) {
      var reader = ByteReader(key.span)
      let row = RowID(
        table: try reader.readBigEndian(UInt32.self), key: copyBytes(reader.rest))
      guard let value else { return .delete(row) }
      return .write(row, try cells(value.span))
    } catch {
      throw CodecError(error)
    }
  }

  private static func cells(_ bytes: Span<UInt8>) throws(DecodingFailure) -> [TableCell] {
    var reader = ByteReader(bytes)
    var cells: [TableCell] = []
    // Grows with what is there, whatever the count says.
    for _ in 0..<(try reader.readVarint()) {
      let column = try reader.readBigEndian(UInt32.self)
      switch try reader.readUInt8() {
      case 0: cells.append(TableCell(column, nil))
      case 1: cells.append(TableCell(column, try reader.readBlob()))
      case let flag: throw .invalid("\(flag) is no flag of a cell")
      }
    }
    try reader.requireEnd()
    return cells
  }

  private static func key(_ row: RowID) -> [UInt8] {
    var key: [UInt8] = []
    key.appendBigEndian(row.table)
    return key + row.key
  }
}
