import SpindleFormats
import Testing

@Suite struct LineProtocolEncoderTests {
  private func encode(
    _ point: LineProtocolPoint, _ encoder: LineProtocolEncoder = .init()
  ) throws -> String {
    var bytes: [UInt8] = []
    try encoder.append(point, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  @Test func aPointIsWrittenAsOneLine() throws {
    let point = LineProtocolPoint(
      "a b,c", tags: [("k=1", "v w"), ("l", "x")],
      fields: [
        .init("f g", .float(-0.5)), .init("i", .integer(-3)), .init("u", .unsigned(4)),
        .init("t", .boolean(true)), .init("s", .string(Array(#"say "\" now"#.utf8))),
        .init("big", .float(1e300)), .init("zero", .float(-0.0)),
      ], timestamp: -5)
    #expect(
      try encode(point) == #"a\ b\,c,k\=1=v\ w,l=x f\ g=-0.5,i=-3i,u=4u,t=true,"#
        + #"s="say \"\\\" now",big=1e+300,zero=-0.0 -5"# + "\n")
    #expect(try encode(LineProtocolPoint("m", fields: [.init("f", .float(1))])) == "m f=1.0\n")
  }

  @Test func timestampsAreWrittenInThePrecision() throws {
    var point = LineProtocolPoint("m", fields: [.init("f", .float(1))], timestamp: 3_000_000_000)
    for (precision, text) in [
      (TimestampPrecision.nanoseconds, "3000000000"), (.microseconds, "3000000"),
      (.milliseconds, "3000"), (.seconds, "3"),
    ] {
      let line = try encode(point, LineProtocolEncoder(precision: precision))
      #expect(line == "m f=1.0 \(text)\n")
      #expect(decodeEveryWay(line, precision: precision).points == [point])
    }
    point.timestamp = 1_500_000_000
    #expect(throws: LineProtocolEncoder.Failure.inexactTimestamp) {
      try encode(point, LineProtocolEncoder(precision: .seconds))
    }
  }

  @Test func whatCannotBeWrittenIsRefusedAndLeavesTheOutputAlone() {
    func failure(_ point: LineProtocolPoint) -> LineProtocolEncoder.Failure? {
      var bytes: [UInt8] = [1, 2, 3]
      do {
        try LineProtocolEncoder().append(point, to: &bytes)
        return nil
      } catch {
        #expect(bytes == [1, 2, 3])
        return error
      }
    }
    let field = LineProtocolPoint.Field("f", .float(1))
    func named(_ name: String) -> LineProtocolPoint { LineProtocolPoint(name, fields: [field]) }
    func tagged(_ tags: (key: String, value: String)...) -> LineProtocolPoint {
      LineProtocolPoint("m", tags: tags, fields: [field])
    }
    func with(_ fields: LineProtocolPoint.Field...) -> LineProtocolPoint {
      LineProtocolPoint("m", fields: fields)
    }
    #expect(failure(named("")) == .emptyMeasurement)
    for name in ["a\\", "#a", "\ta", "a\nb", "a\0"] {
      #expect(failure(named(name)) == .notRepresentable)
    }
    #expect(failure(named("_a")) == .reservedName)
    #expect(failure(tagged(("", "v"))) == .emptyTagKey)
    #expect(failure(tagged(("k", ""))) == .emptyTagValue)
    #expect(failure(tagged(("k", "v"), ("k", "w"))) == .duplicateTagKey)
    #expect(failure(tagged(("k", "v\\"))) == .notRepresentable)
    #expect(failure(tagged(("k", "v\n"))) == .notRepresentable)
    #expect(failure(tagged(("time", "v"))) == .reservedName)
    #expect(failure(tagged(("k", "_v"))) == nil)
    #expect(failure(with()) == .noFields)
    #expect(failure(with(.init("", .float(1)))) == .emptyFieldKey)
    #expect(failure(with(field, field)) == .duplicateFieldKey)
    #expect(failure(with(.init("\tf", .float(1)))) == .notRepresentable)
    #expect(failure(with(field, .init("\tf", .float(1)))) == nil)
    #expect(failure(with(.init("f", .float(.infinity)))) == .notFinite)
    #expect(failure(with(.init("f", .float(.nan)))) == .notFinite)
    #expect(failure(with(.init("f", .string([0])))) == .notRepresentable)
    #expect(failure(with(.init("f", .string([0xFF])))) == .invalidUTF8)
    #expect(failure(with(.init(key: [0xC3], value: .float(1)))) == .invalidUTF8)
  }
}
