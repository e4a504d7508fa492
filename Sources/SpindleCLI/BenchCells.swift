import SpindleCore
import SpindleOpLog

/// Sets one of many cells to a value; the later timestamp wins. Key, value and state are those of
/// the raw program.
struct BenchCellOp: IndexableOp {
  var cell: [UInt8]
  var value: Bytes

  func toIndexEntry() throws(CodecError) -> IndexEntry {
    IndexEntry(tag: 1, key: cell, value: value)
  }

  static func fromIndexParts(
    tag: UInt8, key: [UInt8]?, value: [UInt8]?
  ) throws(CodecError) -> BenchCellOp {
    guard tag == 1, let key, let value else { throw .unknownTag(tag) }
    return BenchCellOp(cell: key, value: value)
  }
}

struct BenchCells: IdempotentReducer {
  func prepare(
    _ op: BenchCellOp, _ context: OpContext, _ view: ReducerView
  ) async throws -> PrepareOutcome<Bool> {
    let isNewer = try await view.withValue(op.cell) { stored in
      guard let stored else { return true }
      var reader = ByteReader(stored)
      return try reader.readBigEndian(UInt64.self) < context.timestamp.packed
    }
    return .proceed(isNewer)
  }

  func apply(
    _ op: BenchCellOp, _ context: OpContext, _ isNewer: Bool, into batch: inout ReducerBatch
  ) throws {
    guard isNewer else { return }
    var state: [UInt8] = []
    state.reserveCapacity(9 + op.value.count)
    state.appendBigEndian(context.timestamp.packed)
    state.append(0)
    state.append(contentsOf: op.value)
    batch.put(op.cell, state)
  }

  func postApply(_ state: Void) throws -> Never? { nil }
}
