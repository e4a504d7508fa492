public import SpindleCore

extension ParquetReader {
  /// Begins to read the file from its first row to its last, batch by batch.
  ///
  /// With a predicate, row groups are passed over that statistics or bloom filters show to hold no
  /// wanted row, and pages that the column index shows so; of the columns that the predicate does
  /// not name, only pages with wanted rows are read. What is left is filtered row by row, so that
  /// batches hold exactly the wanted rows.
  ///
  /// - Parameters:
  ///   - columns: Names of flat columns, in the order they are wanted. Nil, the default, is all
  ///     flat columns. The predicate may name others.
  ///   - predicate: Which rows are wanted. Nil, the default, is all.
  ///   - byteStrings: The form of columns of byte strings. The default is plain.
  ///   - batchRows: The most rows of a batch, 1 to ``ParquetLimits/batchRows``. The default is
  ///     65,536. Batches are smaller at the ends of row groups, and with a predicate.
  /// - Throws: ``SpindleError`` `invalidArgument`: a column is not there or nested, or cannot be
  ///   compared with the predicate's value.
  public func scan(
    columns: [String]? = nil, where predicate: ParquetPredicate? = nil,
    byteStrings: ParquetByteStringForm = .plain, batchRows: Int = 65_536
  ) throws(SpindleError) -> ParquetScan {
    guard batchRows > 0 else {
      throw SpindleError(.invalidArgument, "batches of \(batchRows) rows", path: source.name)
    }
    return ParquetScan(
      self, columns: try positions(of: columns), tests: try tests(of: predicate),
      byteStrings: byteStrings, batchRows: min(batchRows, limits.batchRows))
  }
}

/// A pass over a file, made by ``ParquetReader/scan(columns:where:byteStrings:batchRows:)``.
///
/// It holds one window of the file and the rows of some pages for each column. It belongs to one
/// task at a time. After an error it may be asked again, and goes on with the next row group.
public final class ParquetScan {
  private let reader: ParquetReader
  private let columns: [Int]
  private let tests: [ColumnTest]
  private let byteStrings: ParquetByteStringForm
  private let batchRows: Int

  private var nextGroup = 0
  private var group: RowGroupScan?
  /// Of the row groups that are done.
  private var done = ParquetReadCounts()

  init(
    _ reader: ParquetReader, columns: [Int], tests: [ColumnTest],
    byteStrings: ParquetByteStringForm, batchRows: Int
  ) {
    self.reader = reader
    self.columns = columns
    self.tests = tests
    self.byteStrings = byteStrings
    self.batchRows = batchRows
  }

  /// What reading took so far.
  public var counts: ParquetReadCounts {
    var counts = done
    group?.add(to: &counts)
    return counts
  }

  /// The next rows; nil at the end of the file. A batch has at least one row.
  ///
  /// - Throws: ``SpindleError`` as ``ParquetReader`` says.
  public func next() throws(SpindleError) -> ColumnBatch? {
    while true {
      if let group {
        do throws(SpindleError) {
          if let batch = try group.next() { return batch }
        } catch {
          finishGroup()
          throw error
        }
        finishGroup()
      }
      guard nextGroup < reader.metadata.rowGroups.count else { return nil }
      nextGroup += 1
      group = try openGroup(nextGroup - 1)
    }
  }

  private func finishGroup() {
    group?.add(to: &done)
    group = nil
  }

  /// Decides by statistics, bloom filters and page indexes what of a row group is to be read.
  private func openGroup(_ index: Int) throws(SpindleError) -> RowGroupScan? {
    let metadata = reader.metadata.rowGroups[index]
    if metadata.rowCount == 0 { return nil }
    for test in tests {
      let statistics = metadata.columns[test.column].statistics ?? ParquetStatistics()
      guard test.mayHold(statistics, rowCount: metadata.rowCount) else {
        done.rowGroupsPruned += 1
        return nil
      }
    }
    for test in tests where test.bloomCandidates != nil {
      guard let filter = try reader.bloomFilter(of: test.column, in: index) else { continue }
      done.bytesRead += UInt64(filter.byteCount)
      guard test.mayHold(filter.filter) else {
        done.rowGroupsPruned += 1
        return nil
      }
    }
    let group = RowGroupScan(
      reader, group: index, columns: columns, tests: tests, byteStrings: byteStrings,
      batchRows: batchRows)
    try group.prunePages()
    if group.isEmpty {
      group.add(to: &done)
      done.rowGroupsPruned += 1
      return nil
    }
    done.rowGroupsRead += 1
    return group
  }
}
