internal import SpindleCore

/// Tables of rows and cells in which the last write of a cell stays.
///
/// "Last" is decided cell by cell by comparing (timestamp, deletion, value): the later timestamp
/// wins. At the same timestamp, which entries of different peers can have, a deletion beats a
/// write, and of two writes the one with the greater value bytes stays; NULL is below every value.
/// So the state depends on the set of ops only, down to its bytes, and an op that is applied twice
/// changes nothing.
///
/// A row is there when it was written after it was last deleted; writing it again after a deletion
/// makes a new row, without the cells from before. Tables, rows and columns are named by stable
/// ids: renaming one is nothing that the log has to know.
///
/// Costs: a write reads its row's record and each of its cells; a deletion reads the whole row.
public struct LastWriterWinsTable: IdempotentReducer {
  public typealias Op = TableOp
  public typealias Event = RowChanged

  /// What an op changes, found out by reading.
  public struct Change: Sendable {
    var puts: [(key: [UInt8], value: [UInt8])] = []
    var deletes: [[UInt8]] = []
    var event: RowChanged?
  }

  // Part of the format; must not be changed.
  public static var stateName: String? { "last-writer-wins-table" }

  public init() {}

  public func prepare(
    _ op: TableOp, _ context: OpContext, _ view: ReducerView
  ) async throws -> PrepareOutcome<Change> {
    switch op {
    case .write(let row, let cells):
      .proceed(try await write(row, cells, context.timestamp, view))
    case .delete(let row): .proceed(try await delete(row, context.timestamp, view))
    }
  }

  public func apply(
    _ op: TableOp, _ context: OpContext, _ state: Change, into batch: inout ReducerBatch
  ) throws -> RowChanged? {
    for key in state.deletes { batch.delete(key) }
    for (key, value) in state.puts { batch.put(key, value) }
    return state.event
  }

  public func postApply(_ state: RowChanged?) throws -> RowChanged? { state }

  private func write(
    _ row: RowID, _ cells: [TableCell], _ timestamp: Timestamp, _ view: ReducerView
  ) async throws -> Change {
    var record = try await view.rowRecord(row)
    if let deleted = record.deleted, timestamp <= deleted { return Change() }
    var change = Change()
    var columns: [UInt32] = []
    let isNew = record.written == nil
    if record.written.map({ $0 < timestamp }) ?? true {
      record.written = timestamp
      change.puts.append((TableKeys.record(of: row), record.encoded))
    }
    // A column that the op names twice gets the greater value, as if two ops had named it.
    var offered: [UInt32: [UInt8]] = [:]
    for cell in cells {
      let bytes = StoredCell(timestamp: timestamp, value: cell.value).encoded
      let other = offered[cell.column]
      if other.map({ $0.lexicographicallyPrecedes(bytes) }) ?? true { offered[cell.column] = bytes }
    }
    for (column, bytes) in offered.sorted(by: { $0.key < $1.key }) {
      let key = TableKeys.cell(of: row, column)
      // The order of stored cells is the order of their bytes.
      let isGreater = try await view.withValue(key) { stored in
        guard let stored else { return true }
        return copyBytes(stored).lexicographicallyPrecedes(bytes)
      }
      if isGreater {
        change.puts.append((key, bytes))
        columns.append(column)
      }
    }
    if isNew || !columns.isEmpty {
      change.event = RowChanged(row: row, columns: columns, isDeleted: false)
    }
    return change
  }

  private func delete(
    _ row: RowID, _ timestamp: Timestamp, _ view: ReducerView
  ) async throws -> Change {
    var record = try await view.rowRecord(row)
    if let deleted = record.deleted, timestamp <= deleted { return Change() }
    let wasThere = record.written != nil
    record.deleted = timestamp
    if let written = record.written, written <= timestamp { record.written = nil }
    var change = Change()
    change.puts = [(TableKeys.record(of: row), record.encoded)]
    let (lower, upper) = TableKeys.cells(of: row)
    for (key, value) in try await view.scan(from: lower, to: upper, limit: .max) {
      let cell = try view.stateErrors { () throws(DecodingFailure) in
        try StoredCell(decoding: value.span)
      }
      if cell.timestamp <= timestamp { change.deletes.append(key) }
    }
    if wasThere {
      change.event = RowChanged(
        row: row, columns: [], isDeleted: record.written == nil)
    }
    return change
  }
}

/// A row of a table changed.
public struct RowChanged: RoutableEvent, Hashable {
  /// What one can subscribe to.
  public enum Target: Hashable, Sendable {
    case table(UInt32)
    case row(RowID)
  }

  public var row: RowID
  /// The columns with a new value, ascending.
  public var columns: [UInt32]
  /// Whether the row is gone.
  public var isDeleted: Bool

  public init(row: RowID, columns: [UInt32], isDeleted: Bool) {
    self.row = row
    self.columns = columns
    self.isDeleted = isDeleted
  }

  public var targets: Set<Target> { [.table(row.table), .row(row)] }
}
