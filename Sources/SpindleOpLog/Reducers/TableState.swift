public import SpindleCore

/// Keys of a table's state: the table, the row's key escaped and ended so that no row's keys start
/// with another's, then 0 for the row's record or 1 and the column for a cell.
enum TableKeys {
  // Part of the format; must not be changed.
  private static let recordKind: UInt8 = 0
  private static let cellKind: UInt8 = 1

  static func row(_ row: RowID) -> [UInt8] {
    var key: [UInt8] = []
    key.reserveCapacity(row.key.count + 12)
    key.appendBigEndian(row.table)
    for byte in row.key {
      key.append(byte)
      if byte == 0 { key.append(0xFF) }
    }
    key.append(0)
    key.append(0)
    return key
  }

  static func record(of row: RowID) -> [UInt8] { self.row(row) + [recordKind] }

  static func cell(of row: RowID, _ column: UInt32) -> [UInt8] {
    var key = self.row(row)
    key.append(cellKind)
    key.appendBigEndian(column)
    return key
  }

  static func cells(of row: RowID) -> (lower: [UInt8], upper: [UInt8]) {
    let key = self.row(row)
    return (key + [cellKind], key + [cellKind + 1])
  }

  /// The end of a table; nil for the last one.
  static func end(of table: UInt32) -> [UInt8]? {
    guard table < .max else { return nil }
    var key: [UInt8] = []
    key.appendBigEndian(table + 1)
    return key
  }

  /// Reads a key; the column is nil for a row's record.
  static func decode(_ key: [UInt8]) throws(DecodingFailure) -> (row: RowID, column: UInt32?) {
    var reader = ByteReader(key.span)
    let table = try reader.readBigEndian(UInt32.self)
    var name: [UInt8] = []
    while true {
      let byte = try reader.readUInt8()
      if byte != 0 {
        name.append(byte)
        continue
      }
      switch try reader.readUInt8() {
      case 0xFF: name.append(0)
      case 0:
        let kind = try reader.readUInt8()
        guard kind <= cellKind else { throw .invalid("\(kind) is no kind of a key") }
        let column = kind == cellKind ? try reader.readBigEndian(UInt32.self) : nil
        try reader.requireEnd()
        return (RowID(table: table, key: name), column)
      default: throw .invalid("a key has an unknown escape")
      }
    }
  }
}

/// When a row was written and deleted.
struct RowRecord {
  /// The latest write; nil when none is later than the deletion.
  var written: Timestamp?
  var deleted: Timestamp?

  var encoded: [UInt8] {
    var bytes: [UInt8] = [(written == nil ? 0 : 1) | (deleted == nil ? 0 : 2)]
    if let written { bytes.appendBigEndian(written.packed) }
    if let deleted { bytes.appendBigEndian(deleted.packed) }
    return bytes
  }

  init() {}

  init(decoding bytes: Span<UInt8>) throws(DecodingFailure) {
    var reader = ByteReader(bytes)
    let flags = try reader.readUInt8()
    guard (1...3).contains(flags) else { throw .invalid("\(flags) are no flags of a row") }
    if flags & 1 != 0 { written = Timestamp(packed: try reader.readBigEndian(UInt64.self)) }
    if flags & 2 != 0 { deleted = Timestamp(packed: try reader.readBigEndian(UInt64.self)) }
    try reader.requireEnd()
  }
}

/// A cell as it is stored: the timestamp, 0 for NULL or 1, the value. The order of these bytes is
/// the order in which writes win.
struct StoredCell {
  var timestamp: Timestamp
  var value: [UInt8]?

  init(timestamp: Timestamp, value: [UInt8]?) {
    self.timestamp = timestamp
    self.value = value
  }

  var encoded: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(9 + (value?.count ?? 0))
    bytes.appendBigEndian(timestamp.packed)
    bytes.append(value == nil ? 0 : 1)
    if let value { bytes += value }
    return bytes
  }

  init(decoding bytes: Span<UInt8>) throws(DecodingFailure) {
    var reader = ByteReader(bytes)
    timestamp = Timestamp(packed: try reader.readBigEndian(UInt64.self))
    switch try reader.readUInt8() {
    case 0: try reader.requireEnd()
    case 1: value = copyBytes(reader.rest)
    case let flag: throw .invalid("\(flag) is no flag of a cell")
    }
  }
}

/// A row of a ``LastWriterWinsTable`` as it stands.
public struct TableRow: Sendable, Hashable {
  public var id: RowID
  /// When the row was last written.
  public var timestamp: Timestamp
  /// The cells that were written, ascending by column; a NULL one has no value.
  public var cells: [TableCell]
}

extension ReducerView {
  func rowRecord(_ row: RowID) async throws -> RowRecord {
    try await withValue(TableKeys.record(of: row)) { bytes in
      guard let bytes else { return RowRecord() }
      return try stateErrors { () throws(DecodingFailure) in try RowRecord(decoding: bytes) }
    }
  }

  /// A row of a ``LastWriterWinsTable``; nil when it was never written, or deleted.
  ///
  /// - Complexity: one scan over the row.
  public func row(_ id: RowID) async throws -> TableRow? {
    let start = TableKeys.row(id)
    let (_, end) = TableKeys.cells(of: id)
    var rows = RowCollector()
    for (key, value) in try await scan(from: start, to: end, limit: .max) {
      try stateErrors { () throws(DecodingFailure) in try rows.take(key, value) }
    }
    return rows.finish().first
  }

  /// One cell; nil when the row is not there or the cell was never written. A NULL one has no
  /// value.
  public func cell(_ column: UInt32, of id: RowID) async throws -> TableCell? {
    guard try await rowRecord(id).written != nil else { return nil }
    return try await withValue(TableKeys.cell(of: id, column)) { bytes in
      guard let bytes else { return nil }
      let stored = try stateErrors { () throws(DecodingFailure) in
        try StoredCell(decoding: bytes)
      }
      return TableCell(column, stored.value)
    }
  }

  /// Up to `limit` rows of a table in the order of their keys, from a key on. Deleted rows cost the
  /// scan one record each.
  public func rows(
    of table: UInt32, from key: [UInt8] = [], limit: Int
  ) async throws -> [TableRow] {
    guard limit > 0 else { return [] }
    var rows = RowCollector()
    var lower = TableKeys.row(RowID(table: table, key: key))
    while true {
      let page = try await scan(from: lower, to: TableKeys.end(of: table), limit: 1_024)
      for (key, value) in page {
        try stateErrors { () throws(DecodingFailure) in try rows.take(key, value) }
        if rows.finishedCount >= limit { return Array(rows.finish().prefix(limit)) }
      }
      guard page.count == 1_024, let last = page.last else { break }
      lower = last.key + [0]
    }
    return Array(rows.finish().prefix(limit))
  }
}

/// Puts rows together from records and cells in key order.
private struct RowCollector {
  private var rows: [TableRow] = []
  private var current: TableRow?

  var finishedCount: Int { rows.count }

  mutating func take(_ key: [UInt8], _ value: [UInt8]) throws(DecodingFailure) {
    let (row, column) = try TableKeys.decode(key)
    if let column {
      // The cells of a row that is not there were removed with it.
      let cell = try StoredCell(decoding: value.span)
      if current?.id == row { current?.cells.append(TableCell(column, cell.value)) }
    } else {
      let record = try RowRecord(decoding: value.span)
      if let done = current.take() { rows.append(done) }
      if let written = record.written {
        current = TableRow(id: row, timestamp: written, cells: [])
      }
    }
  }

  mutating func finish() -> [TableRow] {
    if let done = current.take() { rows.append(done) }
    return rows
  }
}
