/// A run of whole lines at the start of a buffer.
public struct LineProtocolPrefix: Sendable, Equatable {
  /// Bytes of the run, line endings included. Zero when not one line is complete.
  public let byteCount: Int
  /// Physical lines of the run: its newlines.
  public let physicalLines: UInt64

  public init(byteCount: Int, physicalLines: UInt64) {
    self.byteCount = byteCount
    self.physicalLines = physicalLines
  }

  /// Finds how far lines reach in a buffer, for cutting an input into batches.
  ///
  /// The run ends with the line in which the `lineLimit`-th newline lies; it is a little longer
  /// than asked when that line holds a string with newlines, which is never cut. Without enough
  /// complete lines it ends after the last complete one. The remainder has to be read on, or, at
  /// the end of the input, given to the decoder as it is. A remainder that keeps growing has a
  /// string that never ends: give it to the decoder when it passes the line limit.
  ///
  /// - Parameters:
  ///   - lineLimit: Physical lines wanted, from 1.
  ///   - bytes: An input, from the start of a line.
  /// - Complexity: O(bytes of the run), at the speed of `memchr` where there are no quotes. A
  ///   string without end costs a pass over the whole buffer.
  public static func wholeLines(atMost lineLimit: UInt64, in bytes: Span<UInt8>) -> Self {
    unsafe bytes.withUnsafeBufferPointer { buffer in
      var position = 0
      var lines: UInt64 = 0
      // The next quote, if one was found before `searchedTo`. Looked for a piece at a time, so that
      // a long buffer without quotes is not searched anew for each short run.
      var quote: Int?
      var searchedTo = 0
      while lines < lineLimit,
        let newline = unsafe firstOffset(
          of: Ascii.newline, in: buffer, range: position..<buffer.count)
      {
        if quote == nil, searchedTo <= newline {
          let end = min(max(newline + 1, searchedTo + 64 << 10), buffer.count)
          quote = unsafe firstOffset(of: Ascii.quote, in: buffer, range: searchedTo..<end)
          searchedTo = quote ?? end
        }
        guard let nextQuote = quote, nextQuote < newline else {
          lines += 1
          position = newline + 1
          continue
        }
        let end = unsafe LogicalLineEnd(in: buffer, from: position)
        guard end.offset < buffer.count, !end.hasOpenString else { break }
        let next = end.offset + 1
        lines += unsafe countNewlines(in: buffer, range: position..<next).count
        position = next
        quote = nil
        searchedTo = position
      }
      return LineProtocolPrefix(byteCount: position, physicalLines: lines)
    }
  }
}
