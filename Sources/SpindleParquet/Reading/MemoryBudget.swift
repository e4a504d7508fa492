/// The memory that the columns of one read or scan take together, of which
/// ``ParquetLimits/batchBytes`` is the bound.
///
/// What counts is what the cursors hold (decoded pages that wait to be taken, dictionaries, indexes
/// and bytes of the file) and the columns of the batch that is being made. What was given out with
/// an earlier batch is the caller's. It belongs to one thread at a time.
final class MemoryBudget {
  private let limit: Int
  private var held = 0
  private var given = 0

  init(_ limits: ParquetLimits) { limit = limits.batchBytes }

  /// Bytes that may still be taken.
  var left: Int { max(limit - held - given, 0) }

  /// Whether no more is taken than may be. Arrays grow by doubling, so that this is known only
  /// when they have grown.
  var isKept: Bool { held + given <= limit }

  /// Counts what a cursor takes, or with a negative number gives back.
  func hold(_ byteCount: Int) { held += byteCount }

  /// Counts a column of the batch that is being made.
  func give(_ array: ColumnArray) { given += array.byteCount }

  /// Forgets the batch before, which is the caller's now.
  func beginBatch() { given = 0 }

  var failure: ParquetFailure {
    .limit(
      "the columns of a batch take more than \(limit) bytes; fewer columns, smaller batches or a "
        + "higher limit may do")
  }
}

extension ColumnArray {
  /// Bytes of memory in use, with those of a dictionary.
  fileprivate var byteCount: Int {
    let bits = (validity?.words.count ?? 0) * 8
    return switch values {
    case .boolean(let slots): bits + slots.count
    case .int32(let slots): bits + slots.count * 4
    case .int64(let slots): bits + slots.count * 8
    case .float(let slots): bits + slots.count * 4
    case .double(let slots): bits + slots.count * 8
    case .bytes(let strings): bits + strings.byteCount
    case .fixed(let fixed): bits + fixed.bytes.count
    case .dictionary(let indices, let strings): bits + indices.count * 4 + strings.byteCount
    }
  }
}
