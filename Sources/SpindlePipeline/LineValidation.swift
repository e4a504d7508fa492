internal import SpindleCore
internal import SpindleFormats

/// Checks a batch of lines before it is stored, and finds what of it to keep.
struct LineValidation: LineProtocolSink {
  let policy: BadLinePolicy
  private(set) var errors: [LineProtocolError] = []
  private(set) var rejectedCount: UInt64 = 0
  /// Ranges of accepted lines.
  private var accepted: [Range<Int>] = []

  init(policy: BadLinePolicy) { self.policy = policy }

  mutating func receive(_ line: borrowing LineProtocolLine) {
    // A batch with a bad line is refused as a whole then.
    guard policy == .skip else { return }
    let range = line.byteRange
    if let last = accepted.last, last.upperBound == range.lowerBound {
      accepted[accepted.count - 1] = last.lowerBound..<range.upperBound
    } else {
      accepted.append(range)
    }
  }

  mutating func reject(_ error: LineProtocolError) -> Bool {
    rejectedCount += 1
    if errors.count < IngestReceipt.reportedErrorLimit { errors.append(error) }
    return policy == .skip
  }

  /// The accepted lines; the input itself when nothing was rejected.
  func kept(of input: [UInt8]) -> [UInt8] {
    guard rejectedCount > 0 else { return input }
    var lines: [UInt8] = []
    for range in accepted {
      lines.append(contentsOf: input[range])
      if lines.last != UInt8(ascii: "\n") { lines.append(UInt8(ascii: "\n")) }
    }
    return lines
  }
}
