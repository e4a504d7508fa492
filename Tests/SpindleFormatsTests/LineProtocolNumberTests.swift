import Glibc
import SpindleFormats
import Testing

/// Keeps the bits of the floats, and `nil` for a rejected line.
private struct FloatSink: LineProtocolSink {
  var bits: [UInt64?] = []
  mutating func receive(_ line: borrowing LineProtocolLine) {
    if case .float(let value) = line.fields[0].value { bits.append(value.bitPattern) }
  }
  mutating func reject(_ error: LineProtocolError) -> Bool {
    bits.append(nil)
    return true
  }
}

@Suite struct LineProtocolNumberTests {
  /// Decodes the numbers as fields and compares them bit by bit with strtod.
  private func firstDifference(_ numbers: [[UInt8]]) -> String? {
    var text: [UInt8] = []
    for number in numbers {
      text.append(contentsOf: [0x6D, 0x20, 0x66, 0x3D])  // m f=
      text.append(contentsOf: number)
      text.append(10)
    }
    var decoder = LineProtocolDecoder()
    var sink = FloatSink()
    _ = decoder.decode(text.span, into: &sink)
    guard sink.bits.count == numbers.count else { return "\(sink.bits.count) results" }
    for (number, bits) in zip(numbers, sink.bits) {
      let expected = unsafe (number + [0]).withUnsafeBufferPointer { bytes in
        unsafe bytes.withMemoryRebound(to: CChar.self) { unsafe strtod($0.baseAddress!, nil) }
      }
      if bits != (expected.isFinite ? expected.bitPattern : nil) {
        return String(decoding: number, as: UTF8.self)
      }
    }
    return nil
  }

  private func appendDigits(
    _ count: Int, to number: inout [UInt8], _ random: inout SeededGenerator
  ) {
    var bits = random.next()
    for index in 0..<count {
      if index % 16 == 15 { bits = random.next() }
      number.append(0x30 + UInt8(bits & 0xF) % 10)
      bits >>= 4
    }
  }

  /// A number of one of many shapes.
  private func randomNumber(_ random: inout SeededGenerator) -> [UInt8] {
    let choice = random.next()
    var number: [UInt8] = choice & 1 == 0 ? [] : [0x2D]
    switch (choice >> 1) % 8 {
    case 0:  // any double, shortest text
      let value = Double(bitPattern: random.next())
      return Array((value.isFinite ? value : 1.5).description.utf8)
    case 1:  // short decimal
      appendDigits(Int(choice >> 8) % 7 + 1, to: &number, &random)
      number.append(0x2E)
      appendDigits(Int(choice >> 16) % 9, to: &number, &random)
    case 2:  // integer
      appendDigits(Int(choice >> 8) % 22 + 1, to: &number, &random)
    case 3:  // leading dot
      number.append(0x2E)
      appendDigits(Int(choice >> 8) % 25 + 1, to: &number, &random)
    case 4:  // many digits
      appendDigits(Int(choice >> 8) % 12 + 10, to: &number, &random)
      number.append(0x2E)
      appendDigits(Int(choice >> 16) % 20 + 1, to: &number, &random)
    case 5:  // near a tie: a double's neighbourhood in 17 to 19 digits with an exponent
      appendDigits(17 + Int(choice >> 8) % 3, to: &number, &random)
      number.append(contentsOf: "e\(Int(choice >> 16 & 0xFFFF) % 700 - 370)".utf8)
    default:  // scientific
      appendDigits(Int(choice >> 8) % 5 + 1, to: &number, &random)
      number.append(0x2E)
      appendDigits(Int(choice >> 16) % 16, to: &number, &random)
      let sign = ["", "+", "-"][Int(choice >> 24 & 0xFF) % 3]
      number.append(contentsOf: "\(choice >> 40 & 1 == 0 ? "e" : "E")\(sign)".utf8)
      number.append(contentsOf: "\(Int(choice >> 32 & 0xFF) % 45)".utf8)
    }
    return number
  }

  @Test func aMillionRandomFloatsEqualStrtodBitForBit() {
    var random = SeededGenerator(seed: 20_130_101)
    for _ in 0..<100 {
      let numbers = (0..<10_000).map { _ in randomNumber(&random) }
      #expect(firstDifference(numbers) == nil)
    }
  }

  @Test func floatsOfEveryPowerOfTenEqualStrtodBitForBit() {
    var random = SeededGenerator(seed: 342)
    let numbers = (-345...311).flatMap { power in
      ["1", "9", "9007199254740993", "18446744073709551615", "9999999999999999999"].map {
        Array("\($0)e\(power)".utf8)
      }
        + (15...21).map { count in
          var number: [UInt8] = [0x31]
          appendDigits(count, to: &number, &random)
          return number + Array("e\(power - count)".utf8)
        }
    }
    #expect(firstDifference(numbers) == nil)
  }

  @Test func hardFloatsEqualStrtodBitForBit() {
    let halfway = "9007199254740993"
    let numbers = [
      "0", "-0", "0.0", "-0.0", "0e999999999999999999999", "1e-999999999999999999999", "00001.5",
      halfway, halfway + ".0", halfway + ".0000000000000000000000000000001", "9007199254740992.9",
      halfway + "." + String(repeating: "0", count: 2_000),
      halfway + "." + String(repeating: "0", count: 2_000) + "1",
      "0." + String(repeating: "0", count: 5_000) + "1e5000",
      "1" + String(repeating: "0", count: 5_000) + "e-5000",
      String(repeating: "9", count: 309), String(repeating: "9", count: 310),
      "1.7976931348623157e308", "1.7976931348623158e308", "1.7976931348623159e308", "1e308",
      "2.2250738585072011e-308", "2.2250738585072014e-308", "4.9406564584124654e-324",
      "2.4703282292062327e-324", "2.4703282292062328e-324", "1e-400", "1e22", "1e23", "-1e23",
      "8.5e22", "9007199254740992e22", "9007199254740993e22", "1.1920928955078125e-7",
      "6.0221407623e23", "123456.7654321", "999999.9999999", "1234567.5", "0.1", "0.3", "100",
      "5e-324", "1e-323", "7.2057594037927933e16", "1448997445238699", "500", "-7.25",
      [
        "2.225073858507201136057409796709131975934819546351645648023426109724822222021076",
        "94551652952390813508791414915891303962110687008643869459464552765720740782062174",
        "33799881410632673292535522868813721490129811224514518898490572223072852551331557",
        "5501591439747639798341180199932396254808e-308",
      ].joined(),
    ]
    for number in numbers { #expect(firstDifference([Array(number.utf8)]) == nil, "\(number)") }
    #expect(firstDifference(numbers.map { Array($0.utf8) }) == nil)
  }
}
