internal import SpindleCore

/// Where in a file something is being read, for errors.
struct ParquetPlace: Sendable {
  var file: String
  var rowGroup: Int?
  var column: String?
  var page: Page?
  /// Where in the file the thing begins that is being read.
  var offset: UInt64?

  enum Page {
    case dictionary
    /// Counted from 0 in the column chunk; the dictionary page does not count.
    case data(Int)
  }

  /// A failure with its place, as the caller gets it.
  func error(_ failure: ParquetFailure) -> SpindleError {
    var parts: [String] = []
    if let rowGroup { parts.append("row group \(rowGroup)") }
    if let column { parts.append("column \(column)") }
    switch page {
    case .dictionary: parts.append("dictionary page")
    case .data(let number): parts.append("page \(number)")
    case nil: break
    }
    if let offset { parts.append("offset \(offset)") }
    let place = parts.isEmpty ? "" : " (" + parts.joined(separator: ", ") + ")"
    let message = "\(file)\(place): \(failure.what)"
    return switch failure.kind {
    case .damaged: SpindleError(.corruption, message, path: file, reason: "parquet_damaged")
    case .unsupported:
      SpindleError(.unsupportedFormat, message, path: file, reason: "parquet_unsupported")
    case .limit: SpindleError(.tooLarge, message, path: file, reason: "parquet_limit")
    }
  }

  /// Runs a decoder here.
  func locating<Result>(
    _ body: () throws(ParquetFailure) -> Result
  ) throws(SpindleError) -> Result {
    do throws(ParquetFailure) {
      return try body()
    } catch {
      throw self.error(error)
    }
  }
}
