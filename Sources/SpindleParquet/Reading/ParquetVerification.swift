public import SpindleCore

/// What comparing a file with itself has shown.
public struct ParquetVerification: Sendable, Hashable {
  /// Findings that are listed; more are counted.
  public static let findingLimit = 100

  /// What is wrong, each with its row group, column, page and offset.
  public internal(set) var findings: [String] = []
  /// Findings beyond those.
  public internal(set) var untoldFindings = 0

  /// Whether nothing is wrong.
  public var isSound: Bool { findings.isEmpty }

  mutating func add(_ finding: String) {
    if findings.count < Self.findingLimit {
      findings.append(finding)
    } else {
      untoldFindings += 1
    }
  }

  /// Runs a part of the verification, which gives findings; its error is one, too.
  ///
  /// - Throws: Errors of the source, behind which nothing can be told of the file.
  mutating func collect(_ body: () throws(SpindleError) -> [String]) throws(SpindleError) {
    do {
      for finding in try body() { add(finding) }
    } catch {
      switch error.kind {
      case .corruption, .unsupportedFormat, .tooLarge: add(error.message)
      default: throw error
      }
    }
  }
}

extension ParquetReader {
  /// Reads every page of the flat columns, and compares what the file says of them with the values:
  /// checksums, counts, bounds of column chunks and pages, where pages lie, bloom filters, and the
  /// order by the first of the sorting columns.
  ///
  /// Damage does not end it: it goes on with the next column chunk. Nested columns are not read.
  ///
  /// - Throws: ``SpindleError`` of the source, such as `io`. What is wrong with the file is told by
  ///   the result.
  /// - Complexity: O(bytes of the file) in time; memory for a page, its values, and the indexes of a
  ///   column chunk.
  public func verify() throws(SpindleError) -> ParquetVerification {
    var result = ParquetVerification()
    for group in metadata.rowGroups.indices {
      for column in metadata.schema.columns.indices {
        try result.collect { () throws(SpindleError) in
          var chunk = try ChunkVerifier(self, column: column, in: group)
          return try chunk.run()
        }
      }
    }
    return result
  }
}
