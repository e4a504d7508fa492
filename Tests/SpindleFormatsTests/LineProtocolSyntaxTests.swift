import SpindleFormats
import Testing

@Suite struct LineProtocolSyntaxTests {
  private func onePoint(_ text: String) throws -> LineProtocolPoint {
    let result = decodeEveryWay(text)
    #expect(result.errors == [])
    #expect(result.points.count == 1)
    return try #require(result.points.first)
  }

  @Test func aWholeLineIsDecoded() throws {
    let point = try onePoint(
      "cpu,host=a,region=eu usage=0.5,n=3i,m=4u,ok=t,s=\"x\" 1357034400000000000\n")
    #expect(
      point
        == LineProtocolPoint(
          "cpu", tags: [("host", "a"), ("region", "eu")],
          fields: [
            .init("usage", .float(0.5)), .init("n", .integer(3)), .init("m", .unsigned(4)),
            .init("ok", .boolean(true)), .init("s", .string(Array("x".utf8))),
          ], timestamp: 1_357_034_400_000_000_000))
  }

  @Test(arguments: [
    (#"a\,b\ c\=d f=1"#, "a,b c\\=d"), (#"a=b f=1"#, "a=b"), (#"a\b f=1"#, #"a\b"#),
    (#"a\\,t=1 f=1"#, #"a\,t=1"#), (#"a\\ f=1"#, ""), (##"a#b f=1"##, "a#b"),
    ("\"a\" f=1", "\"a\""),
    ("\\ a f=1", " a"), ("a\tb f=1", "a\tb"),
  ])
  func measurementEscapesAreCommaAndSpace(text: String, measurement: String) {
    let result = decodeEveryWay(text)
    if measurement.isEmpty {
      // The last backslash escapes the space, so the fields are missing.
      #expect(result.points.isEmpty && result.errors.count == 1)
    } else {
      #expect(result.points.map(\.measurement) == [Array(measurement.utf8)])
    }
  }

  @Test func keyAndTagValueEscapesAreCommaEqualsAndSpace() throws {
    let point = try onePoint(#"m,a\,b\=c\ d\e=v\,w\=x\ y\z\" f\,g\=h\ i\j=1 7"#)
    let key = Array(#"a,b=c d\e"#.utf8)
    #expect(point.tags == [.init(key: key, value: Array(#"v,w=x y\z\""#.utf8))])
    #expect(point.fields == [.init(#"f,g=h i\j"#, .float(1))])
    let doubled = try onePoint(#"m,a=x\\,b\\=y f=1"# + "\n")
    #expect(doubled.tags == [.init(key: Array("a".utf8), value: Array(#"x\,b\=y"#.utf8))])
  }

  @Test(arguments: [
    (#""""#, ""), (#""a b,c=d""#, "a b,c=d"), (#""a\"b""#, #"a"b"#), (#""a\\""#, #"a\"#),
    (#""a\\\"""#, #"a\""#), (#""\n\,\ \=""#, #"\n\,\ \="#), ("\"two\nlines\"", "two\nlines"),
    ("\"cr\r\nlf\"", "cr\r\nlf"), (##""# no comment""##, "# no comment"),
    ("\"\u{FC}\u{EF}\"", "\u{FC}\u{EF}"),
  ])
  func stringsHoldAnything(written: String, text: String) throws {
    let point = try onePoint("m f=\(written),g=1 5")
    #expect(point.fields == [.init("f", .string(Array(text.utf8))), .init("g", .float(1))])
    #expect(point.timestamp == 5)
  }

  @Test(arguments: ["t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE"])
  func booleansHaveFiveSpellings(written: String) throws {
    let expected = written.lowercased().hasPrefix("t")
    for text in ["m a=\(written)", "m a=\(written),b=1", "m a=\(written) 12\n"] {
      #expect(try onePoint(text).fields.first == .init("a", .boolean(expected)))
    }
  }

  @Test(arguments: [
    "tr", "truE", "tRUE", "FALSe", "fALSE", "yes", "on", "tt", "inf", "-inf", "nan", "NaN",
    "Infinity", "0x10", "0x1p3", "+1", "1e", "1e+", "e5", ".", "-", "-.", "1.2.3", "1,5i6", "1_0",
    "1i2", "1.5i", "1e3i", "-1u", "1.0u", "i", "u", "--1", "1-", "1d", "1f", "\u{FF11}", "1\t",
    "'a'", "1ii", "12345678x", "1.5x", "1.", "1.e3",
  ])
  func otherValuesAreRefused(written: String) {
    let result = decodeEveryWay("m a=\(written)\nm a=1,b=\(written) 5\n")
    // A trailing point is InfluxDB's too.
    if written == "1." || written == "1.e3" {
      #expect(result.points.count == 2)
    } else if written == "1,5i6" {
      #expect(result.errors.map(\.kind) == [.missingFieldValue, .missingFieldValue])
    } else {
      #expect(result.errors.map(\.kind) == [.invalidFieldValue, .invalidFieldValue])
    }
  }

  @Test(arguments: [
    ("9223372036854775807i", Int64.max), ("-9223372036854775808i", Int64.min), ("-0i", 0),
    ("0007i", 7), ("12345678i", 12_345_678), ("-1234567i", -1_234_567), ("100000i", 100_000),
  ])
  func integersCoverAllOf64Bits(written: String, value: Int64) throws {
    #expect(try onePoint("m a=\(written) 1\n").fields == [.init("a", .integer(value))])
  }

  @Test func unsignedIntegersCoverAllOf64Bits() throws {
    let point = try onePoint("m a=18446744073709551615u,b=0u,c=42u")
    #expect(
      point.fields == [
        .init("a", .unsigned(.max)), .init("b", .unsigned(0)), .init("c", .unsigned(42)),
      ])
  }

  @Test(
    arguments: [
      ("m f=1", nil), ("m f=1 ", nil), ("m f=1   \t ", nil), ("m f=1 0", 0), ("m f=1 -1", -1),
      ("m f=1  \t 12 \t", 12), ("m f=1 9223372036854775807", Int64.max),
      ("m f=1 -9223372036854775808", Int64.min), ("m f=1 12345678", 12_345_678),
      ("m f=1 1234567812345678", 1_234_567_812_345_678), ("m f=1 0000000000000000000000001", 1),
      ("m f=1 1357034400000", 1_357_034_400_000),
    ] as [(String, Int64?)])
  func timestampsAreOptionalIntegers(text: String, timestamp: Int64?) throws {
    for ending in ["", "\n", "\r\n"] {
      #expect(try onePoint(text + ending).timestamp == timestamp)
    }
  }

  @Test(arguments: TimestampPrecision.allCases)
  func timestampsAreScaledToNanoseconds(precision: TimestampPrecision) {
    let unit = precision.nanosecondsPerUnit
    let most = Int64.max / unit
    let result = decodeEveryWay(
      "m f=1 \(most)\nm f=1 \(-most)\nm f=1 3\n", precision: precision)
    #expect(result.points.map(\.timestamp) == [most * unit, -most * unit, 3 * unit])
    if precision != .nanoseconds {
      let beyond = decodeEveryWay("m f=1 \(most + 1)\n", precision: precision)
      #expect(beyond.errors.map(\.kind) == [.timestampOutOfRange])
    }
  }

  @Test func commentsBlankLinesAndBlanksAreSkipped() {
    let text = "# c \"\n\n   \n\t# d\r\n\r\n  m f=1\r\n\t m f=2\n#m f=3\nm  \t f=4\n#"
    let result = decodeEveryWay(text)
    #expect(result.errors == [])
    #expect(result.points.map(\.fields) == [1, 2, 4].map { [.init("f", .float($0))] })
    let summary = decode(Array(text.utf8)).summary
    #expect(summary.physicalLines == 10)
    #expect(summary.points == 3 && summary.rejected == 0)
    #expect(summary.bytesConsumed == text.utf8.count)
  }

  @Test func theLastLineMayLackItsNewline() {
    for text in ["m f=1\nm f=2", "m f=1\nm f=2\n", "m f=1\r\nm f=2\r"] {
      let result = decode(Array(text.utf8))
      #expect(result.summary.points == 2)
      #expect(result.summary.physicalLines == 2)
    }
    #expect(decode([]).summary == LineProtocolSummary())
  }

  @Test func newlinesInStringsCountAsPhysicalLines() {
    let text = "m f=\"a\nb\nc\" 1\nm f=2 2\nm f=x\nm f=\"\n\",g=y\n"
    let result = decode(Array(text.utf8), firstLine: 100)
    #expect(result.summary.physicalLines == 7)
    let lines = result.collector.events.map { event -> UInt64 in
      switch event {
      case .point(_, let line): line
      case .error(let error): error.line
      }
    }
    #expect(lines == [100, 103, 104, 106])
    #expect(result.collector.byteRanges == [0..<14, 14..<22])
  }

  @Test func theLastOfRepeatedFieldsWins() throws {
    let point = try onePoint("m a=1,b=2i,a=3,b=4i 9\n")
    #expect(point.fields == [.init("a", .float(3)), .init("b", .integer(4))])
    let many = (0..<100).map { "k\($0 % 60)=\($0)" }.joined(separator: ",")
    let merged = try onePoint("m \(many) 9\n")
    #expect(merged.fields.count == 60)
    #expect(merged.fields[0] == .init("k0", .float(60)))
    #expect(merged.fields[59] == .init("k59", .float(59)))
  }

  @Test func underscoreNamesAreAcceptedWhenAsked() {
    let text = "_m,_t=_v _f=1\n"
    #expect(decodeEveryWay(text).errors.map(\.kind) == [.reservedName])
    #expect(decodeEveryWay(text, acceptsUnderscoreNames: true).points.count == 1)
    #expect(
      decodeEveryWay("m,time=1 f=1", acceptsUnderscoreNames: true).errors.map(\.kind)
        == [.reservedName])
  }

  @Test func linesThatLeaveOutOrReorderKeysAreDecoded() {
    let lines = [
      "m,a=1,b=2,c=3 x=1,y=2,z=3 1", "m,a=1,c=3 x=1,z=3 2", "m,c=3 z=3 3", "m z=3,x=1 4",
      "m,c=1,a=2 y=1 5", "m,a=1,b=2,c=3,d=4 x=1,y=2,z=3,w=4 6", "m2,a=1 x=1 7", "mm x=1 8",
      "m,ab=1 xy=1 9", "m,averyveryverylongtagkeyindeed=1 averyveryverylongfieldkey=2 10",
      "m,averyveryverylongtagkeyindeee=1 averyveryverylongfieldkez=2 11",
      "a_measurement_longer_than_three_words_of_eight x=1 12", "m,a=1,b=2,c=3 x=1,y=2,z=3 13",
      "m,host_name_16byte=1,host_name_16bytf=2 field_key_of_23_bytes_=1 14",
      "m,host_name_16byte=1,host_name_16bytf=2 field_key_of_23_bytes_=1 15",
    ]
    let text = lines.joined(separator: "\n")
    let alone = lines.flatMap { decode(Array($0.utf8)).collector.points }
    #expect(alone.count == lines.count)
    #expect(decodeEveryWay(text).points == alone)
    #expect(decodeEveryWay(text + "\n" + text).points == alone + alone)
  }

  @Test func theSinkCanStopTheDecoder() {
    var decoder = LineProtocolDecoder()
    var sink = Collector(errorLimit: 1)
    let text = "m f=1\nbad\nm f=2\n"
    let summary = decoder.decode(Array(text.utf8).span, into: &sink)
    #expect(summary.bytesConsumed == 10 && summary.physicalLines == 2)
    #expect(summary.points == 1 && summary.rejected == 1)
    #expect(sink.points.count == 1)
  }
}
