import SpindleCore
import Synchronization

@testable import SpindleParquet

extension ColumnArray {
  /// The rows of several arrays of one column, one behind the other.
  static func joined(_ parts: [ColumnArray]) -> ColumnArray? {
    guard let first = parts.first else { return nil }
    guard parts.count > 1 else { return first }
    var validity = Validity()
    for part in parts {
      if let bits = part.validity {
        validity.append(bits)
      } else {
        validity.append(repeating: true, count: part.count)
      }
    }
    let values: Values
    switch first.values {
    case .boolean: values = .boolean(parts.flatMap { Bool.slots(of: $0.values) ?? [] })
    case .int32: values = .int32(parts.flatMap { Int32.slots(of: $0.values) ?? [] })
    case .int64: values = .int64(parts.flatMap { Int64.slots(of: $0.values) ?? [] })
    case .float: values = .float(parts.flatMap { Float.slots(of: $0.values) ?? [] })
    case .double: values = .double(parts.flatMap { Double.slots(of: $0.values) ?? [] })
    case .bytes, .dictionary:
      var strings = ByteStrings()
      for part in parts {
        let more = part.expanded
        strings.append(more, 0..<more.count)
      }
      values = .bytes(strings)
    case .fixed(let slots):
      var fixed = FixedBytes(width: slots.width)
      for part in parts {
        if case .fixed(let more) = part.values { fixed.append(more, 0..<more.count) }
      }
      values = .fixed(fixed)
    }
    return ColumnArray(values, validity: validity)
  }
}

/// Bytes in memory that tells how many of them were read.
final class CountingSource: ParquetSource {
  private let source: MemorySource
  private let count = Atomic<UInt64>(0)

  init(_ bytes: [UInt8]) { source = MemorySource(bytes) }

  var name: String { source.name }
  var size: UInt64 { source.size }
  var bytesRead: UInt64 { count.load(ordering: .relaxed) }

  func read(_ range: Range<UInt64>, into bytes: inout [UInt8]) throws(SpindleError) {
    count.add(UInt64(range.count), ordering: .relaxed)
    try source.read(range, into: &bytes)
  }
}

/// Everything that a reader finds in a file.
struct WholeFile {
  var metadata: ParquetMetadata
  /// Each flat column over all row groups.
  var columns: [ColumnArray]

  /// - Parameter limits: What the reader may take.
  init(
    _ source: some ParquetSource, limits: ParquetLimits = .default
  ) throws(SpindleError) {
    let reader = try ParquetReader(source, limits: limits)
    metadata = reader.metadata
    columns = []
    var parts = [[ColumnArray]](repeating: [], count: metadata.schema.columns.count)
    for group in metadata.rowGroups.indices {
      let batch = try reader.read(rowGroup: group)
      for column in batch.columns.indices { parts[column].append(batch.columns[column]) }
    }
    columns = parts.compactMap { ColumnArray.joined($0) }
  }

  /// What the judge would say of it. A file without row groups has no arrays to tell of.
  var judged: [JudgedFile.Column] {
    zip(metadata.schema.columns, columns).map { JudgedFile.Column($0, $1) }
  }
}
