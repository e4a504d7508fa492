import SpindleFormats
import Testing

@Suite struct LineProtocolPrefixTests {
  private func prefix(_ text: String, _ lines: UInt64) -> LineProtocolPrefix {
    .wholeLines(atMost: lines, in: Array(text.utf8).span)
  }

  @Test func aPrefixEndsAfterTheLinesAskedFor() {
    let text = "a\nb\n\nc\nd"
    #expect(prefix(text, 0) == .init(byteCount: 0, physicalLines: 0))
    #expect(prefix(text, 1) == .init(byteCount: 2, physicalLines: 1))
    #expect(prefix(text, 3) == .init(byteCount: 5, physicalLines: 3))
    #expect(prefix(text, 9) == .init(byteCount: 7, physicalLines: 4))
    #expect(prefix("", 9) == .init(byteCount: 0, physicalLines: 0))
    #expect(prefix("abc", 9) == .init(byteCount: 0, physicalLines: 0))
  }

  @Test func aPrefixNeverCutsAString() {
    let text = "m f=1\nm f=\"a\nb\nc\" 5\nm f=2\nm g=\"x"
    #expect(prefix(text, 1) == .init(byteCount: 6, physicalLines: 1))
    for lines in 2...4 as ClosedRange<UInt64> {
      #expect(prefix(text, lines) == .init(byteCount: 20, physicalLines: 4))
    }
    #expect(prefix(text, 5) == .init(byteCount: 26, physicalLines: 5))
    #expect(prefix(text, 6) == .init(byteCount: 26, physicalLines: 5))
    #expect(prefix(text + "\"\n", 6) == .init(byteCount: 34, physicalLines: 6))
    #expect(prefix("# \"\nm,t=\" f=1\n", 9) == .init(byteCount: 14, physicalLines: 2))
  }

  @Test(arguments: [1, 2, 3, 5, 100] as [UInt64])
  func decodingInPrefixesGivesWhatDecodingAtOnceGives(lines: UInt64) {
    // The string that never ends would close in no prefix, so it is left out.
    let text = Array(richSample.replacing("bad f=\"open\n", with: "bad f=open\n").utf8)
    let whole = decode(text)
    var decoder = LineProtocolDecoder()
    var collector = Collector()
    var position = 0
    var line: UInt64 = 1
    while position < text.count {
      let rest = text.span.extracting(position..<text.count)
      let prefix = LineProtocolPrefix.wholeLines(atMost: lines, in: rest)
      let count = prefix.byteCount == 0 ? rest.count : prefix.byteCount
      let summary = decoder.decode(
        rest.extracting(0..<count), firstLine: line, into: &collector)
      #expect(summary.physicalLines == prefix.physicalLines || prefix.byteCount == 0)
      line += summary.physicalLines
      position += count
    }
    #expect(collector.events == whole.collector.events)
    #expect(line - 1 == whole.summary.physicalLines)
  }
}
