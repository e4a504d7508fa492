import SpindleFormats

/// Everything a decoder said, in order.
struct Collector: LineProtocolSink {
  enum Event: Equatable {
    case point(LineProtocolPoint, line: UInt64)
    case error(LineProtocolError)
  }
  var events: [Event] = []
  var seriesKeys: [[UInt8]] = []
  var byteRanges: [Range<Int>] = []
  var errorLimit = Int.max

  var points: [LineProtocolPoint] {
    events.compactMap { if case .point(let point, _) = $0 { point } else { nil } }
  }
  var errors: [LineProtocolError] {
    events.compactMap { if case .error(let error) = $0 { error } else { nil } }
  }

  mutating func receive(_ line: borrowing LineProtocolLine) {
    events.append(.point(LineProtocolPoint(line), line: line.lineNumber))
    var key: [UInt8] = []
    line.appendSeriesKey(to: &key)
    seriesKeys.append(key)
    byteRanges.append(line.byteRange)
  }

  mutating func reject(_ error: LineProtocolError) -> Bool {
    events.append(.error(error))
    return errors.count < errorLimit
  }
}

struct Decoded {
  var collector = Collector()
  var summary = LineProtocolSummary()
}

func decode(
  _ bytes: [UInt8], precision: TimestampPrecision = .nanoseconds,
  limits: LineProtocolLimits = .init(), acceptsUnderscoreNames: Bool = false,
  firstLine: UInt64 = 1
) -> Decoded {
  var decoder = LineProtocolDecoder(
    precision: precision, limits: limits, acceptsUnderscoreNames: acceptsUnderscoreNames)
  var result = Decoded()
  result.summary = decoder.decode(bytes.span, firstLine: firstLine, into: &result.collector)
  return result
}

/// After a text, lets every line of it take the fast path, which keeps away from the buffer's end.
let padding = Array("\n# a comment that is longer than any word the decoder reads\n".utf8)

/// Decodes a text at the end of the buffer and away from it, and after the same text, whose keys
/// are then known. The three must agree; returns the points and errors of the first.
func decodeEveryWay(
  _ text: String, precision: TimestampPrecision = .nanoseconds,
  limits: LineProtocolLimits = .init(), acceptsUnderscoreNames: Bool = false
) -> Collector {
  let bytes = Array(text.utf8)
  var decoder = LineProtocolDecoder(
    precision: precision, limits: limits, acceptsUnderscoreNames: acceptsUnderscoreNames)
  var first = Collector()
  _ = decoder.decode(bytes.span, into: &first)
  for _ in 0..<2 {
    var padded = Collector()
    _ = decoder.decode((bytes + padding).span, into: &padded)
    precondition(padded.events == first.events, "the paths disagree about \(text)")
  }
  return first
}

/// A small generator with a seed (SplitMix64), so that a failing run can be repeated.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

func hex(_ text: String) -> [UInt8] {
  let digits = text.filter { $0 != " " }.compactMap { $0.hexDigitValue }
  return stride(from: 0, to: digits.count - 1, by: 2).map {
    UInt8(digits[$0] * 16 + digits[$0 + 1])
  }
}

/// A text with every feature of the syntax, errors included.
let richSample = #"""
  # a comment with "a quote
  cpu,host=a,region=eu usage=0.5,count=3i,up=t,big=18446744073709551615u 1357034400000000000
  cpu,host=b,region=eu usage=-12.25,count=-3i,up=F,big=0u 1357034400000000001
    weather\,x\ y,city\ name=S\=o\ P\,aulo,z=\#u{FC} temp=1e-3,note="say \"hi\" \\ to
  the next line, a=b" -5

  cpu,host=c usage=1,usage=2
  cpu,host=c usage=1 12x
  cpu,host= usage=1
  bad f="open
  cpu,host=d,host=e usage=1
  events msg="a,b c=d",ok=TRUE,ratio=.5,n=123456789012,h=1.5e300,i=98765432109876i 1
  m f=1.7976931348623157e308,g=4.9406564584124654e-324,h=0.1234567890123456789   123
  cpu,host=zz9,region=antarctica usage=7.125,count=44i,up=true,big=9u 1357034400000000009

  """#
