/// What reading took so far.
public struct ParquetReadCounts: Sendable, Hashable {
  /// Row groups of which at least one page was needed.
  public var rowGroupsRead = 0
  /// Row groups that statistics, bloom filters or column indexes showed to hold no wanted row.
  public var rowGroupsPruned = 0
  /// Data pages that were decompressed and decoded.
  public var pagesRead = 0
  /// Data pages that were passed over, in row groups that were read, of columns that were begun;
  /// as far as an offset index or the page headers on the way told of them.
  public var pagesPruned = 0
  /// Bytes that the source was asked for, indexes and bloom filters included, the footer not.
  public var bytesRead: UInt64 = 0
  /// Rows that the predicate was tried on; without one, rows that were read.
  public var rowsRead = 0

  public init() {}
}
