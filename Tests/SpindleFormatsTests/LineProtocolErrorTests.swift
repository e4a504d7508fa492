import SpindleFormats
import Testing

struct ErrorCase: Sendable, CustomTestStringConvertible {
  var text: String
  var line: UInt64
  var column: UInt64
  var kind: LineProtocolError.Kind
  var testDescription: String { "\(kind): \(text)" }

  init(_ text: String, _ column: UInt64, _ kind: LineProtocolError.Kind, line: UInt64 = 1) {
    (self.text, self.line, self.column, self.kind) = (text, line, column, kind)
  }
}

@Suite struct LineProtocolErrorTests {
  static let cases: [ErrorCase] = [
    ErrorCase(",a=1 f=1", 1, .missingMeasurement),
    ErrorCase("  ,a=1 f=1", 3, .missingMeasurement),
    ErrorCase("m,=1 f=1", 3, .missingTagKey),
    ErrorCase("m, f=1", 3, .missingTagKey),
    ErrorCase("m,a=1,,b=2 f=1", 7, .missingTagKey),
    ErrorCase("m,", 3, .missingTagKey),
    ErrorCase("m,a f=1", 4, .missingTagValue),
    ErrorCase("m,a= f=1", 5, .missingTagValue),
    ErrorCase("m,a=,b=1 f=1", 5, .missingTagValue),
    ErrorCase("m,a", 4, .missingTagValue),
    ErrorCase("m,a=b=c f=1", 6, .unescapedEquals),
    ErrorCase("m,a==c f=1", 5, .unescapedEquals),
    ErrorCase("m", 2, .missingFields),
    ErrorCase("m,a=b", 6, .missingFields),
    ErrorCase("m,a=b   ", 9, .missingFields),
    ErrorCase("m =1", 3, .missingFieldKey),
    ErrorCase("m f=1,", 7, .missingFieldKey),
    ErrorCase("m f=1, g=2", 7, .missingFieldKey),
    ErrorCase("m f=1,,g=2", 7, .missingFieldKey),
    ErrorCase("m f", 4, .missingFieldValue),
    ErrorCase("m f g=1", 4, .missingFieldValue),
    ErrorCase("m f=", 5, .missingFieldValue),
    ErrorCase("m f= 1", 5, .missingFieldValue),
    ErrorCase("m f=,g=1", 5, .missingFieldValue),
    ErrorCase("m f=12x", 5, .invalidFieldValue),
    ErrorCase("m g=1,f=abc 5", 9, .invalidFieldValue),
    ErrorCase("m f=1e309", 5, .numberOutOfRange),
    ErrorCase("m f=-1e309,g=1", 5, .numberOutOfRange),
    ErrorCase("m f=9223372036854775808i", 5, .numberOutOfRange),
    ErrorCase("m f=-9223372036854775809i", 5, .numberOutOfRange),
    ErrorCase("m f=18446744073709551616u", 5, .numberOutOfRange),
    ErrorCase("m f=999999999999999999999999i", 5, .numberOutOfRange),
    ErrorCase("m f=\"abc", 5, .unterminatedString),
    ErrorCase("m f=\"abc\\\"", 5, .unterminatedString),
    ErrorCase("m f=\"abc\"d 5", 10, .textAfterString(openedAtLine: 1, column: 5)),
    ErrorCase("m f=\"a\nb\"c", 3, .textAfterString(openedAtLine: 1, column: 5), line: 2),
    ErrorCase("m f=1 12x", 7, .invalidTimestamp),
    ErrorCase("m f=1 -", 7, .invalidTimestamp),
    ErrorCase("m f=1 +5", 7, .invalidTimestamp),
    ErrorCase("m f=1 1.5", 7, .invalidTimestamp),
    ErrorCase("m f=1   x", 9, .invalidTimestamp),
    ErrorCase("m f=\"a\nb\" x", 4, .invalidTimestamp, line: 2),
    ErrorCase("m f=1 9223372036854775808", 7, .timestampOutOfRange),
    ErrorCase("m f=1 -9223372036854775809", 7, .timestampOutOfRange),
    ErrorCase("m f=1 99999999999999999999", 7, .timestampOutOfRange),
    ErrorCase("m f=1 5 6", 9, .textAfterTimestamp),
    ErrorCase("m f=1 5  g=2", 10, .textAfterTimestamp),
    ErrorCase("m,a=1,b=2,a=3 f=1", 11, .duplicateTagKey),
    ErrorCase("m,a\\,b=1,a\\,b=3 f=1", 10, .duplicateTagKey),
    ErrorCase("m a=1,b=2,a=3i", 11, .conflictingFieldTypes),
    ErrorCase("_m f=1", 1, .reservedName),
    ErrorCase("m,_t=1 f=1", 3, .reservedName),
    ErrorCase("m,time=1 f=1", 3, .reservedName),
    ErrorCase("m _f=1", 3, .reservedName),
    ErrorCase("m g=1,time=1", 7, .reservedName),
    ErrorCase("m\0 f=1", 2, .nulByte),
    ErrorCase("m,a=b\0 f=1", 6, .nulByte),
    ErrorCase("m f=\"a\0\"", 7, .nulByte),
  ]

  @Test(arguments: cases)
  func everyErrorNamesItsPlace(_ expected: ErrorCase) throws {
    let result = decodeEveryWay(expected.text)
    #expect(result.points.isEmpty)
    let error = try #require(result.errors.first)
    #expect(result.errors.count == 1)
    #expect(error.kind == expected.kind)
    #expect(error.line == expected.line)
    #expect(error.column == expected.column)

    // In the middle of good lines, which are not affected, after lines that taught the decoder.
    if expected.kind != .unterminatedString {
      let good = "m,a=1,b=2 f=1,g=2 5\n"
      let text = good + good + "# x\r\n" + expected.text + "\r\n" + good
      let amid = decodeEveryWay(text)
      #expect(amid.points.count == 3)
      #expect(amid.errors.map(\.kind).count == 1)
      #expect(amid.errors.first?.line == expected.line + 3)
      #expect(amid.errors.first?.column == expected.column)
    }
  }

  @Test(
    arguments: [
      ([0xFF], 0), ([0x61, 0xC3], 1), ([0xC0, 0x80], 0), ([0xE0, 0x80, 0x80], 0),
      ([0xED, 0xA0, 0x80], 0), ([0xF4, 0x90, 0x80, 0x80], 0), ([0xF5, 0x80, 0x80, 0x80], 0),
      ([0xC3, 0xBC, 0x80], 2), ([0xE2, 0x82], 0), ([0xF0, 0x9F, 0x98], 0), ([0xC3, 0x28], 0),
      ([0xE2, 0x82, 0x28], 0), ([0xF0, 0x9F, 0x98, 0x28], 0), ([0xF0, 0x8F, 0x98, 0x80], 0),
    ] as [([UInt8], UInt64)])
  func bytesThatAreNoTextAreRefused(bytes: [UInt8], offset: UInt64) {
    func check(_ before: String, _ after: String) {
      let text = Array(before.utf8) + bytes + Array(after.utf8)
      let expected = LineProtocolError(
        line: 1, column: UInt64(before.utf8.count) + offset + 1, kind: .invalidUTF8)
      for result in [decode(text), decode(text + padding)] {
        #expect(result.collector.errors.map(\.kind) == [.invalidUTF8])
        #expect(result.collector.errors.first?.line == expected.line)
        #expect(result.collector.errors.first?.column == expected.column)
      }
    }
    check("m", " f=1")
    check("m,k", "=v f=1")
    check("m,k=v", " f=1")
    check("m f", "=1")
    check("m f=\"", "\"")
  }

  @Test func everyCharacterOfUnicodeIsAccepted() {
    var text = ""
    for value in stride(from: UInt32(1), to: 0x110000, by: 257) {
      guard let scalar = Unicode.Scalar(value), ![10, 34, 92].contains(value) else { continue }
      text.unicodeScalars.append(scalar)
    }
    let result = decode(Array("m f=\"\(text)\"".utf8))
    #expect(result.collector.points.map(\.fields) == [[.init("f", .string(Array(text.utf8)))]])
  }

  @Test func boundsAreEnforcedAndNamed() {
    let limits = LineProtocolLimits(
      lineByteLimit: 60, tagLimit: 2, fieldLimit: 3, nameByteLimit: 5, stringByteLimit: 7)
    func check(_ text: String, _ column: UInt64, _ kind: LineProtocolError.Kind) {
      let good = "m f=1\n"
      let result = decodeEveryWay(text + "\n" + good, limits: limits)
      #expect(result.points.count == 1)
      #expect(result.errors.map(\.kind) == [kind])
      #expect(result.errors.first?.column == column)
    }
    check("m,a=1,b=2,c=3 f=1", 11, .tooManyTags(limit: 2))
    check("m a=1,b=2,c=3,d=4", 15, .tooManyFields(limit: 3))
    check("mmmmmm f=1", 1, .nameTooLong(limit: 5))
    check("m,aaaaaa=1 f=1", 3, .nameTooLong(limit: 5))
    check("m,a=bbbbbb f=1", 5, .nameTooLong(limit: 5))
    check("m ffffff=1", 3, .nameTooLong(limit: 5))
    check("m f=\"12345678\"", 5, .stringTooLong(limit: 7))
    check("m f=1" + String(repeating: " ", count: 56), 61, .lineTooLong(limit: 60))
    let fits = "mmmmm,aaaaa=12345,b=1 fffff=\"1234567\",g=1,h=2"
    #expect(decodeEveryWay(fits, limits: limits).points.count == 1)
    let full = "m f=1" + String(repeating: " ", count: 55)
    #expect(decodeEveryWay(full, limits: limits).points.count == 1)
    let clamped = LineProtocolLimits(lineByteLimit: 0, tagLimit: -1, fieldLimit: .max)
    #expect(clamped.lineByteLimit == 1 && clamped.tagLimit == 1 && clamped.fieldLimit == 65_535)
  }

  @Test func manyRepeatedTagsAreFoundToo() {
    let tags = (0..<60).map { "k\($0)=v" }.joined(separator: ",")
    #expect(decodeEveryWay("m,\(tags) f=1").points.count == 1)
    let repeated = decodeEveryWay("m,\(tags),k7=v,k3=v f=1")
    #expect(repeated.errors.map(\.kind) == [.duplicateTagKey])
    #expect(repeated.errors.first?.column == UInt64("m,\(tags),".utf8.count) + 1)
  }

  @Test func theInsideOfAStringIsNeverAPoint() {
    // The line is wrong before, in and after its string; its second physical line looks like a
    // point.
    for text in [
      "m,bad f=\"a\ncpu,host=x usage=1\nb\"\n", "m f=1x,g=\"a\ncpu,host=x usage=1\n\"\n",
      "m f=\"a\ncpu,host=x usage=1\n\"x\n", "m,t=1,t=2 f=\"\\\"\ncpu,host=x usage=1\n\"\n",
      "m,t=\0 f=\"\\\\\\\"\ncpu,host=x usage=1\n\",g=\"\ncpu,host=y usage=1\" 5\n",
    ] {
      let result = decodeEveryWay(text + "m f=1\n")
      #expect(result.errors.count == 1, "\(text)")
      #expect(result.points.map(\.measurement) == [Array("m".utf8)], "\(text)")
    }
  }

  @Test func aStringWithoutEndCostsOneLine() {
    let result = decodeEveryWay("m f=1\nm f=\"abc\nm f=2\nm f=3\n")
    #expect(result.points.count == 3)
    #expect(result.errors.map(\.kind) == [.unterminatedString])
    #expect(result.errors.first?.line == 2)
  }

  @Test func descriptionsSayWhereWhatAndWhatWasExpected() {
    func description(_ text: String) -> String? {
      decode(Array(text.utf8)).collector.errors.first?.description
    }
    #expect(
      description("m f=1\nm f=12x")
        == "line 2, column 5: field value \"12x\" is not a number; expected a float, an integer "
        + "with suffix i, an unsigned integer with suffix u, a boolean or a string in double "
        + "quotes")
    #expect(
      description("m,a=b=c f=1")
        == "line 1, column 6: tag value \"b=c\" holds an equals sign; expected it escaped as \\=")
    #expect(
      description("m f=\"a\nb\"c")
        == "line 2, column 3: \"c\" follows the string opened at line 1, column 5; expected a "
        + "comma, a space or the end of the line")
    #expect(
      description("m f=1, g=2")
        == "line 1, column 7: a field key is missing before \" \"; expected key=value")
    for expected in Self.cases {
      let text = description(expected.text) ?? ""
      #expect(text.hasPrefix("line \(expected.line), column \(expected.column): "))
      #expect(text.contains("; expected ") && !text.contains("\n"))
    }
  }

  @Test func foreignBytesAreShownAsPrintableASCII() throws {
    let text =
      Array("m f=\u{1B}[31m\t\\\"\u{FC}".utf8) + [0xFF]
      + Array(repeating: 0x41, count: 500)
    let error = try #require(decode(text).collector.errors.first)
    #expect(error.found == #"\x1b[31m\t\\\"\xc3\xbc\xffAAAAAAAAAAA..."#)
    #expect(error.found.utf8.count <= 40)
    let exact = Array("m f=".utf8) + Array(repeating: 0x41, count: 40)
    #expect(decode(exact).collector.errors.first?.found.utf8.count == 40)
    #expect(decode(exact).collector.errors.first?.found.hasSuffix("...") == false)
  }
}
