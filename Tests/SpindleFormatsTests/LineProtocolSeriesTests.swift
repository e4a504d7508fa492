import SpindleFormats
import Testing

@Suite struct LineProtocolSeriesTests {
  private func key(_ line: String) -> [UInt8] { decodeEveryWay(line).seriesKeys.first ?? [] }

  @Test func theKeyIsMeasurementAndSortedTagsWithLengths() {
    #expect(key("m,b=2,a=1 f=1") == hex("01 6d 01 61 01 31 01 62 01 32"))
    #expect(key(#"a\ b,k\=y=v\,w f=1"#) == hex("03 61 20 62 03 6b 3d 79 03 76 2c 77"))
    #expect(key("m f=1") == hex("01 6d"))
    let long = String(repeating: "v", count: 300)
    #expect(key("m,a=\(long) f=1") == hex("01 6d 01 61 ac 02") + Array(long.utf8))
  }

  @Test func keysDoNotDependOnTheOrderOfTags() {
    let lines = ["m,a=1,b=2,c=3 f=1", "m,c=3,b=2,a=1 f=1", "m,b=2,c=3,a=1 f=1"]
    var collector = Collector()
    var decoder = LineProtocolDecoder()
    let text = lines.map { "\($0)\n\($0)\n" }.joined() + "m,a=1,c=3 f=1\n" + "# padding padding\n\n"
    _ = decoder.decode(Array(text.utf8).span, into: &collector)
    #expect(Set(collector.seriesKeys.prefix(6)).count == 1)
    #expect(collector.seriesKeys.last == hex("01 6d 01 61 01 31 01 63 01 33"))
    // Order is that of the texts: a space (escaped as "\ ") is below a letter.
    #expect(key(#"m,a\ b=1,ab=2,a=3 f=1"#) == key(#"m,ab=2,a=3,a\ b=1 f=1"#))
    let many = (0..<50).map { "t\($0)=x" }
    #expect(
      key("m,\(many.joined(separator: ",")) f=1")
        == key("m,\(many.reversed().joined(separator: ",")) f=1"))
  }

  @Test func differentSeriesHaveDifferentKeys() {
    let keys = ["m,ab=c f=1", "m,a=bc f=1", "ma,b=c f=1", "m,a=b,c=d f=1", "m f=1", "m,a=b f=1"]
      .map(key)
    #expect(Set(keys).count == keys.count)
  }

  @Test func aKeyDecodesToItsSeries() throws {
    let line = #"we\ a\,t=h,ci\=ty=S\ P,alpha=\x f=1"#
    let series = try LineProtocolSeries(key: key(line).span)
    #expect(series.measurement == Array("we a,t=h".utf8))
    #expect(series.tags.map(\.key) == [Array("alpha".utf8), Array("ci=ty".utf8)])
    #expect(series.text == #"we\ a\,t=h,alpha=\x,ci\=ty=S\ P"#)
    var again: [UInt8] = []
    series.appendKey(to: &again)
    #expect(again == key(line))
    #expect(key(series.text + " f=1") == key(line))
  }

  @Test(
    arguments: [
      ("", .truncated(offset: 0)), ("02 6d", .truncated(offset: 0)),
      ("01 6d 01 61", .truncated(offset: 4)), ("01 6d 01 61 02 31", .truncated(offset: 4)),
      ("01 6d 81", .truncated(offset: 2)), ("00", .emptyPart(offset: 0)),
      ("01 6d 00 01 31", .emptyPart(offset: 2)), ("01 6d 01 61 00", .emptyPart(offset: 4)),
      ("81 00 6d", .invalidLength(offset: 0)), ("80 00", .invalidLength(offset: 0)),
      ("ff ff ff ff ff ff ff ff ff 01", .invalidLength(offset: 0)),
      ("ff ff ff ff ff ff ff ff 7f", .truncated(offset: 0)),
      ("01 6d 01 62 01 32 01 61 01 31", .unorderedTag(offset: 6)),
      ("01 6d 01 61 01 32 01 61 01 31", .unorderedTag(offset: 6)),
    ] as [(String, LineProtocolSeries.KeyError)])
  func malformedKeysAreErrors(bytes: String, expected: LineProtocolSeries.KeyError) {
    #expect(throws: expected) { try LineProtocolSeries(key: hex(bytes).span) }
    #expect(expected.description.contains("; expected "))
  }

  @Test func damagedKeysThrowOrAreOtherKeys() throws {
    let whole = key(#"measurement,host=a,region=eu\ west,zone=1 f=1"#)
    let series = try LineProtocolSeries(key: whole.span)
    for count in 0..<whole.count {
      let cut = Array(whole[..<count])
      if let other = try? LineProtocolSeries(key: cut.span) {
        var again: [UInt8] = []
        other.appendKey(to: &again)
        #expect(again == cut)
      }
    }
    for index in whole.indices {
      for bit in 0..<8 {
        var flipped = whole
        flipped[index] ^= 1 << UInt8(bit)
        guard let other = try? LineProtocolSeries(key: flipped.span) else { continue }
        var again: [UInt8] = []
        other.appendKey(to: &again)
        #expect(other != series && again == flipped)
      }
    }
  }

  @Test func aSeriesOfPartsIsCheckedAndSorted() {
    let tag = { (key: String, value: String) in
      LineProtocolSeries.Tag(key: Array(key.utf8), value: Array(value.utf8))
    }
    let series = LineProtocolSeries(measurement: [0x6D], tags: [tag("b", "2"), tag("a", "1")])
    #expect(series?.text == "m,a=1,b=2")
    #expect(LineProtocolSeries(measurement: [], tags: []) == nil)
    #expect(LineProtocolSeries(measurement: [0x6D], tags: [tag("a", "")]) == nil)
    #expect(LineProtocolSeries(measurement: [0x6D], tags: [tag("", "a")]) == nil)
    #expect(LineProtocolSeries(measurement: [0x6D], tags: [tag("a", "1"), tag("a", "2")]) == nil)
  }
}
