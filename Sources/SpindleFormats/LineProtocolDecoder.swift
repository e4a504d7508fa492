/// Receives what a ``LineProtocolDecoder`` finds, in the order of the input.
public protocol LineProtocolSink: ~Copyable {
  /// Takes one point. The line is lent for the call only.
  mutating func receive(_ line: borrowing LineProtocolLine)

  /// Takes one rejected line.
  ///
  /// - Returns: Whether to go on with the line after it.
  mutating func reject(_ error: LineProtocolError) -> Bool
}

/// What one call of ``LineProtocolDecoder/decode(_:firstLine:into:)`` did.
public struct LineProtocolSummary: Sendable, Equatable {
  /// Physical lines passed: points, rejected lines, comments and blank lines, and the lines inside
  /// of strings. A last line without a newline counts.
  public var physicalLines: UInt64 = 0
  /// Lines given to the sink.
  public var points: UInt64 = 0
  /// Lines rejected.
  public var rejected: UInt64 = 0
  /// Bytes passed: all of them, unless the sink stopped the decoder; then up to and including the
  /// rejected line.
  public var bytesConsumed: Int = 0

  public init() {}
}

/// Decodes InfluxDB line protocol (versions 1 and 2): many lines a call, without allocating per
/// line.
///
/// The syntax is InfluxDB's: `measurement[,tag=value]... field=value[,field=value]... [timestamp]`.
/// Where its documentation leaves a choice or its releases differ, this decoder
///
/// - escapes with a backslash: comma and space in measurements; comma, equals sign and space in
///   keys and tag values; double quote and backslash in strings. A backslash before any other byte
///   is an ordinary byte. (A name can therefore not end with a backslash.)
/// - allows newlines in strings, and nowhere else, whatever precedes them
/// - skips blanks (spaces and tabs) before a line, after the first space between the three sections
///   and after the last one; skips blank lines and comments, whose first byte after blanks is `#`;
///   takes a carriage return before a newline, or at the end of the input, as part of the line
///   ending
/// - takes numbers without suffix as floats, refuses infinity, NaN, hex, a plus sign, and floats
///   too large for a double; too small ones become zero
/// - refuses a tag key that occurs twice. Of fields with the same key the last value wins, as it
///   does in InfluxDB's storage; when their types differ the line is refused
/// - refuses names that start with an underscore, which InfluxDB reserves (unless
///   ``acceptsUnderscoreNames``), and tags and fields named `time`, which it cannot store
/// - refuses NUL bytes, and names and strings that are not UTF-8
///
/// A rejected line yields no point; decoding resumes at the line after it. A line ends at its first
/// newline outside of strings, even when it is wrong before that string, so that the inside of a
/// string is never taken for points; only a string that never ends is not one, and costs one line.
///
/// A decoder learns the keys its input repeats. Keep one per connection or file; it may move
/// between threads but serves one call at a time.
@safe public struct LineProtocolDecoder: ~Copyable {
  /// The unit of timestamps. May be changed between calls.
  public var precision: TimestampPrecision {
    didSet { nanosecondsPerUnit = precision.nanosecondsPerUnit }
  }
  /// The bounds on a line.
  public let limits: LineProtocolLimits
  /// Whether measurements, tag keys and field keys may start with an underscore. The default is
  /// `false`. Set it for data exported from InfluxDB's own system buckets.
  public let acceptsUnderscoreNames: Bool

  @usableFromInline var line: LineProtocolLine
  var predictor = KeyPredictor()
  var nanosecondsPerUnit: Int64
  /// A line up to this length cannot break a bound on bytes, so the fast path checks no other.
  let fastLineByteLimit: Int

  // The state of one decode call.
  @usableFromInline var summary = LineProtocolSummary()
  @usableFromInline var pendingError: LineProtocolError?
  private var firstLine: UInt64 = 1

  /// - Complexity: Allocates storage for the limits, with the defaults about 100 KB.
  public init(
    precision: TimestampPrecision = .nanoseconds, limits: LineProtocolLimits = .init(),
    acceptsUnderscoreNames: Bool = false
  ) {
    self.precision = precision
    self.limits = limits
    self.acceptsUnderscoreNames = acceptsUnderscoreNames
    line = LineProtocolLine(tagLimit: limits.tagLimit, fieldLimit: limits.fieldLimit)
    nanosecondsPerUnit = precision.nanosecondsPerUnit
    fastLineByteLimit = min(limits.lineByteLimit, limits.nameByteLimit, limits.stringByteLimit)
  }

  /// Decodes a run of lines.
  ///
  /// The run has to begin at the start of a line and end at the end of one, as
  /// ``LineProtocolPrefix/wholeLines(atMost:in:)`` finds it; the last line may lack its newline.
  ///
  /// - Parameters:
  ///   - bytes: The lines. Only read, never beyond their end.
  ///   - firstLine: The number of the first physical line, for errors. The default is 1.
  ///   - sink: Gets every point and every rejected line, in order.
  /// - Complexity: O(bytes); 100 to 400 ns for a line of 120 bytes.
  @inlinable
  public mutating func decode<Sink: LineProtocolSink & ~Copyable>(
    _ bytes: Span<UInt8>, firstLine: UInt64 = 1, into sink: inout Sink
  ) -> LineProtocolSummary {
    unsafe bytes.withUnsafeBufferPointer { buffer in
      unsafe begin(buffer, firstLine: firstLine)
      while true {
        switch advance() {
        case .point:
          sink.receive(line)
          continue
        case .rejected:
          if let error = pendingError, sink.reject(error) { continue }
        case .end:
          break
        }
        return finish()
      }
    }
  }

  @usableFromInline
  enum Step {
    case point
    case rejected
    case end
  }

  @usableFromInline
  mutating func begin(_ buffer: UnsafeBufferPointer<UInt8>, firstLine: UInt64) {
    unsafe line.buffer = buffer
    self.firstLine = firstLine
    summary = LineProtocolSummary()
    pendingError = nil
  }

  @usableFromInline
  mutating func finish() -> LineProtocolSummary {
    // The buffer is the caller's again: nothing may refer to it after the call.
    unsafe line.buffer = UnsafeBufferPointer(start: nil, count: 0)
    line.storedTagCount = 0
    line.storedFieldCount = 0
    return summary
  }

  /// Decodes up to the next point or rejected line.
  @usableFromInline
  mutating func advance() -> Step {
    let start = summary.bytesConsumed
    line.lineNumber = firstLine &+ summary.physicalLines
    if let input = unsafe FastInput(line.buffer),
      let next = unsafe decodeFast(input.base + start, input)
    {
      let end = unsafe next - input.base
      line.byteRange = unsafe Range(uncheckedBounds: (start, end))
      summary.bytesConsumed = end
      summary.physicalLines &+= 1
      summary.points &+= 1
      return .point
    }
    return advanceCarefully()
  }

  @inline(never)
  private mutating func advanceCarefully() -> Step {
    let buffer = unsafe line.buffer
    while summary.bytesConsumed < buffer.count {
      let start = summary.bytesConsumed
      line.lineNumber = firstLine &+ summary.physicalLines
      let newline = unsafe LogicalLineEnd(in: buffer, from: start).offset
      let next = min(newline + 1, buffer.count)
      line.byteRange = start..<next
      let newlines = unsafe countNewlines(in: buffer, range: start..<next).count
      summary.bytesConsumed = next
      summary.physicalLines &+= newlines &+ (newline < buffer.count ? 0 : 1)

      let bytes = unsafe Span(_unsafeElements: buffer)
      var end = newline
      if end > start, bytes[end - 1] == Ascii.carriageReturn { end -= 1 }
      var first = start
      while first < end, Ascii.isBlank(bytes[first]) { first += 1 }
      if first == end || bytes[first] == Ascii.hash { continue }

      do throws(LineFailure) {
        if end - start > limits.lineByteLimit {
          let limit = limits.lineByteLimit
          throw LineFailure(.lineTooLong(limit: limit), at: start + limit)
        }
        try decodeCarefully(bytes, first..<end)
        summary.points &+= 1
        return .point
      } catch {
        summary.rejected &+= 1
        pendingError = unsafe describe(error, in: buffer, lineStart: start)
        return .rejected
      }
    }
    return .end
  }

  private func describe(
    _ failure: LineFailure, in buffer: UnsafeBufferPointer<UInt8>, lineStart: Int
  ) -> LineProtocolError {
    func place(_ offset: Int) -> (line: UInt64, column: UInt64) {
      let passed = unsafe countNewlines(in: buffer, range: lineStart..<offset)
      return (line.lineNumber &+ passed.count, UInt64(offset - passed.lineStart) + 1)
    }
    var kind = failure.kind
    if let quote = failure.openingQuote {
      let opening = place(quote)
      kind = .textAfterString(openedAtLine: opening.line, column: opening.column)
    }
    let fault = place(failure.offset)
    let found = unsafe Span(_unsafeElements: buffer).extracting(failure.found)
    return LineProtocolError(
      line: fault.line, column: fault.column, kind: kind, found: printableExcerpt(found))
  }
}

// The storage is owned by the one value and reached through it alone.
extension LineProtocolDecoder: @unchecked Sendable {}

/// Why the line cannot be decoded, in offsets of the buffer.
struct LineFailure: Error {
  var kind: LineProtocolError.Kind
  var offset: Int
  var found: Range<Int>
  /// Set for text after a string only.
  var openingQuote: Int?

  init(_ kind: LineProtocolError.Kind, at offset: Int, found: Range<Int>? = nil) {
    self.kind = kind
    self.offset = offset
    self.found = found ?? offset..<offset
  }
}
