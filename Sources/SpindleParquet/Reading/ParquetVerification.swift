internal import SpindleCore

/// What comparing a file with itself has shown.
public struct ParquetVerification: Sendable, Hashable {
  /// Findings that are listed; more are counted.
  public static let findingLimit = 100

  /// What is wrong, each with its row group, column, page and offset.
  public internal(set) var findings: [String] = []
  /// Findings beyond those.
  public internal(set) var untoldFindings = 0

  /// Data pages that were read.
  public internal(set) var pageCount = 0
  /// Data pages among them that had a checksum.
  public internal(set) var checkedPageCount = 0
  /// Column indexes and offset indexes that were compared with their pages.
  public internal(set) var indexCount = 0
  /// Bloom filters that were asked for every value of their column chunk.
  public internal(set) var bloomFilterCount = 0
  /// Row groups that claim an order of their rows, which was tried.
  public internal(set) var sortedRowGroupCount = 0

  /// Whether nothing is wrong.
  public var isSound: Bool { findings.isEmpty }

  mutating func add(_ finding: String) {
    if findings.count < Self.findingLimit {
      findings.append(finding)
    } else {
      untoldFindings += 1
    }
  }

  /// Runs a part of the verification, whose error is a finding, too.
  ///
  /// - Throws: Errors of the source, behind which nothing can be told of the file.
  mutating func collect(
    _ body: (inout ParquetVerification) throws(SpindleError) -> Void
  ) throws(SpindleError) {
    do throws(SpindleError) {
      try body(&self)
    } catch {
      switch error.kind {
      case .corruption, .unsupportedFormat, .tooLarge: add(error.message)
      default: throw error
      }
    }
  }
}
