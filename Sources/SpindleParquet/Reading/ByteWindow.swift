internal import SpindleCore

/// The part of a source that is in memory, which moves forward as a column chunk is read.
final class ByteWindow {
  /// Read at once, where as much may be wanted. Small enough to stay in the processor's cache
  /// until it is decoded, large enough that the calls do not count.
  static let readBytes: UInt64 = 1 << 20

  private let source: any ParquetSource
  private(set) var bytes: [UInt8] = []
  /// Where ``bytes`` begin in the source.
  private(set) var start: UInt64 = 0
  /// Bytes read from the source so far.
  private(set) var bytesRead: UInt64 = 0

  init(_ source: any ParquetSource) { self.source = source }

  var end: UInt64 { start + UInt64(bytes.count) }

  /// Makes a range lie in memory.
  ///
  /// - Parameters:
  ///   - range: At most some limit of bytes, which the caller has checked; within the source.
  ///   - wanted: The end of what will be wanted next, up to which more may be read at once.
  /// - Returns: The range's place in ``bytes``, until the next call.
  func load(_ range: Range<UInt64>, wanted: UInt64) throws(SpindleError) -> Range<Int> {
    if range.lowerBound < start || range.upperBound > end {
      // What is there already of the range's beginning is kept.
      if range.lowerBound >= start, range.lowerBound < end {
        bytes.removeFirst(Int(range.lowerBound - start))
      } else {
        bytes.removeAll(keepingCapacity: true)
      }
      start = range.lowerBound
      let ahead = min(range.lowerBound + Self.readBytes, max(wanted, range.upperBound))
      let missing = end..<max(range.upperBound, ahead)
      let expected = bytes.count + missing.count
      try source.read(missing, into: &bytes)
      guard bytes.count == expected else {
        throw SpindleError(
          .io, "\(source.name) gave another number of bytes than asked for", path: source.name)
      }
      bytesRead += UInt64(missing.count)
    }
    let from = Int(range.lowerBound - start)
    return from..<from + range.count
  }
}
