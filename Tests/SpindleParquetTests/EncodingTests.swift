import SpindleCore
import Testing

@testable import SpindleParquet

@Suite("Parquet encodings")
struct EncodingTests {
  // MARK: Hybrid

  // The example of the format's document: 0 to 7 with three bits.
  @Test func packedNumbersLieAsTheFormatShowsThem() throws {
    let packed: [UInt8] = [0b1000_1000, 0b1100_0110, 0b1111_1010]
    var output: [UInt8] = []
    HybridEncoding.encode(
      ([0, 1, 2, 3, 4, 5, 6, 7] as [UInt32]).span, width: 3, appendingTo: &output)
    #expect(output == [3] + packed)
    var numbers: [UInt32] = []
    let read = try HybridEncoding.decode(output.span, width: 3, count: 8, appendingTo: &numbers)
    #expect(read == 4 && numbers == [0, 1, 2, 3, 4, 5, 6, 7])
  }

  @Test func aRepeatedRunLiesAsTheFormatShowsIt() throws {
    var output: [UInt8] = []
    HybridEncoding.encode(
      Array(repeating: UInt32(4), count: 100).span, width: 3, appendingTo: &output)
    // 100 << 1 as LEB128, then 4 in one byte.
    #expect(output == [0xC8, 0x01, 4])
  }

  @Test("Hybrid numbers come back as they were", arguments: 0...32)
  func hybridNumbersRoundTrip(width: Int) throws {
    for count in [0, 1, 7, 8, 9, 63, 64, 65, 100, 1000, 5003] {
      let numbers = Samples.numbers(count, width: width, seed: UInt64(width * 7919 + count))
      var output: [UInt8] = [9]
      HybridEncoding.encode(numbers.span, width: width, appendingTo: &output)
      var back: [UInt32] = [1]
      let encoded = Array(output.dropFirst())
      let read = try HybridEncoding.decode(
        encoded.span, width: width, count: count, appendingTo: &back)
      #expect(back == [1] + numbers, "width \(width), \(count) numbers")
      #expect(read == encoded.count)
    }
  }

  @Test("Levels come back as they were", arguments: [0, 1, 8, 63, 64, 65, 1000, 4099])
  func levelsRoundTrip(count: Int) throws {
    for validity in [
      Samples.validity(count, seed: UInt64(count)), Validity(repeating: true, count: count),
      Validity(repeating: false, count: count),
    ] {
      for start in [0, 1, 13] where start <= count {
        var expected = Validity()
        expected.append(validity, rows: start..<count)
        var output: [UInt8] = []
        HybridEncoding.encode(validity, rows: start..<count, appendingTo: &output)
        var back = Validity()
        let read = try HybridEncoding.decode(
          output.span, count: count - start, appendingTo: &back)
        #expect(back == expected && read == output.count)
        // The general encoder must be understood alike.
        let numbers = (start..<count).map { validity[$0] ? UInt32(1) : 0 }
        var general: [UInt8] = []
        HybridEncoding.encode(numbers.span, width: 1, appendingTo: &general)
        var other = Validity()
        try HybridEncoding.decode(general.span, count: count - start, appendingTo: &other)
        #expect(other == expected)
      }
    }
  }

  @Test func levelsOfAColumnWithoutNullsAreOneRun() {
    var output: [UInt8] = []
    HybridEncoding.encode(
      Validity(repeating: true, count: 1003), rows: 0..<1003, appendingTo: &output)
    #expect(output == [0xD6, 0x0F, 1])
  }

  @Test func bitPackedLevelsBeginWithTheHighestBit() throws {
    var validity = Validity()
    let read = try BitPackedLevels.decode(
      ([0b1010_0000, 0b1000_0000] as [UInt8]).span, count: 9, appendingTo: &validity)
    let bits = (0..<9).map { validity[$0] }
    #expect(read == 2)
    #expect(bits == [true, false, true, false, false, false, false, false, true])
  }

  @Test func runLengthBooleansStandBehindTheirLength() throws {
    let bytes: [UInt8] = [4, 0, 0, 0, 20, 1, 3, 0b0000_0101]
    var output: [Bool] = []
    try HybridEncoding.decode(
      HybridEncoding.prefixed(bytes.span), count: 18, appendingTo: &output)
    #expect(
      output == Array(repeating: true, count: 10) + [true, false, true]
        + Array(repeating: false, count: 5))
    let cut = Array(bytes.dropLast())
    #expect(throws: ParquetFailure.self) {
      _ = try HybridEncoding.prefixed(cut.span).count
    }
  }

  // MARK: Plain

  @Test func plainNumbersLieLittleEndian() throws {
    var output: [UInt8] = []
    PlainEncoding.encode(([1, -2] as [Int32]).span, appendingTo: &output)
    #expect(output == [1, 0, 0, 0, 0xFE, 0xFF, 0xFF, 0xFF])
    output = []
    PlainEncoding.encode(([1.5] as [Double]).span, appendingTo: &output)
    #expect(output == [0, 0, 0, 0, 0, 0, 0xF8, 0x3F])
  }

  @Test func plainNumbersComeBackAsTheyWere() throws {
    func check<Number: PlainNumber & Equatable>(_ numbers: [Number]) throws {
      var output: [UInt8] = []
      PlainEncoding.encode(numbers.span, appendingTo: &output)
      var back: [Number] = []
      let read = try PlainEncoding.decode(
        output.span, count: numbers.count, appendingTo: &back)
      #expect(back == numbers && read == output.count)
      output = []
      ByteStreamSplit.encode(numbers.span, appendingTo: &output)
      back = []
      try ByteStreamSplit.decode(output.span, count: numbers.count, appendingTo: &back)
      #expect(back == numbers)
    }
    try check(Samples.extremeInt32s)
    for count in [0, 1, 7, 8, 9, 16, 1003] {
      try check(Array(Samples.int64s(count)))
      try check(Samples.int64s(count).map { Double($0) / 3 })
      try check(Samples.int64s(count).map { Float($0) / 3 })
      try check(Samples.int64s(count).map { Int32(truncatingIfNeeded: $0) })
    }
  }

  @Test func splitStreamsLieAsTheFormatShowsThem() throws {
    // The example of the format's document.
    let values: [UInt32] = [0xAA_BB_CC_DD, 0x00_11_22_33, 0xA3_B4_C5_D6]
    let numbers = values.map { Int32(bitPattern: $0.byteSwapped) }
    var output: [UInt8] = []
    ByteStreamSplit.encode(numbers.span, appendingTo: &output)
    #expect(
      output == [0xAA, 0x00, 0xA3, 0xBB, 0x11, 0xB4, 0xCC, 0x22, 0xC5, 0xDD, 0x33, 0xD6])
    var fixed = FixedBytes(width: 4)
    try ByteStreamSplit.decode(output.span, count: 3, appendingTo: &fixed)
    #expect(
      fixed.bytes == [0xAA, 0xBB, 0xCC, 0xDD, 0x00, 0x11, 0x22, 0x33, 0xA3, 0xB4, 0xC5, 0xD6])
  }

  @Test("Plain booleans come back as they were", arguments: [0, 1, 7, 8, 9, 64, 1003])
  func plainBooleansRoundTrip(count: Int) throws {
    let booleans = Samples.numbers(count, width: 1).map { $0 == 1 }
    var output: [UInt8] = []
    PlainEncoding.encode(booleans.span, appendingTo: &output)
    #expect(output.count == (count + 7) / 8)
    for index in 0..<count {
      #expect((output[index / 8] >> UInt8(index % 8) & 1 == 1) == booleans[index])
    }
    var back: [Bool] = []
    try PlainEncoding.decode(output.span, count: count, appendingTo: &back)
    #expect(back == booleans)
  }

  @Test("Strings come back as they were", arguments: [0, 1, 2, 100, 1000])
  func stringsRoundTrip(count: Int) throws {
    for longest in [0, 3, 40, 2000] {
      let strings = Samples.strings(count, longest: longest)
      let part = count / 3..<count
      var expected = ByteStrings(["before"])
      expected.append(strings, part)
      var output: [UInt8] = []
      PlainEncoding.encode(strings, part, appendingTo: &output)
      var back = ByteStrings(["before"])
      let read = try PlainEncoding.decode(output.span, count: part.count, appendingTo: &back)
      #expect(back == expected && read == output.count)
      output = []
      DeltaLengthByteArray.encode(strings, part, appendingTo: &output)
      back = ByteStrings(["before"])
      let end = try DeltaLengthByteArray.decode(
        output.span, count: part.count, appendingTo: &back)
      #expect(back == expected && end == output.count)
    }
  }

  @Test func int96TimesAreCountedFrom1970() throws {
    // 2000-01-01 12:34:56: Julian day 2451545.
    var bytes: [UInt8] = []
    bytes.appendLittleEndian(UInt64(45_296_000_000_000))
    bytes.appendLittleEndian(UInt32(2_451_545))
    var output: [Int64] = []
    try PlainEncoding.decodeINT96(bytes.span, count: 1, appendingTo: &output)
    #expect(output == [946_730_096_000_000_000])
    var far: [UInt8] = []
    far.appendLittleEndian(UInt64(0))
    far.appendLittleEndian(UInt32.max)
    #expect(throws: ParquetFailure.self) {
      try PlainEncoding.decodeINT96(far.span, count: 1, appendingTo: &output)
    }
    #expect(output.count == 1)
  }

  // MARK: Deltas

  // The examples of the format's document: 1, 2, 3, 4, 5 and 7, 5, 3, 1, 2, 3, 4, 5.
  @Test func deltasLieAsTheFormatShowsThem() throws {
    var output: [UInt8] = []
    DeltaBinaryPacked.encode(([1, 2, 3, 4, 5] as [Int64]).span, appendingTo: &output)
    #expect(output == [0x80, 1, 4, 5, 2, 2, 0, 0, 0, 0])
    output = []
    DeltaBinaryPacked.encode(([7, 5, 3, 1, 2, 3, 4, 5] as [Int32]).span, appendingTo: &output)
    #expect(
      output == [0x80, 1, 4, 8, 14, 3, 2, 0, 0, 0, 0b1100_0000, 0b0011_1111, 0, 0, 0, 0, 0, 0])
  }

  @Test("Deltas come back as they were", arguments: [0, 1, 2, 32, 33, 128, 129, 130, 1003])
  func deltasRoundTrip(count: Int) throws {
    func check<N: DeltaBinaryPacked.Number>(_ numbers: [N]) throws
    where N.Magnitude: BitwiseCopyable {
      var output: [UInt8] = []
      DeltaBinaryPacked.encode(numbers.span, appendingTo: &output)
      var back: [N] = []
      let read = try DeltaBinaryPacked.decode(
        output.span, count: numbers.count, appendingTo: &back)
      #expect(back == numbers && read == output.count)
    }
    try check(Samples.int64s(count))
    try check(Samples.int64s(count).map { Int32(truncatingIfNeeded: $0) })
    for width in 0...64 {
      var random = SeededGenerator(seed: UInt64(width))
      let mask = width == 0 ? 0 : UInt64.max >> UInt64(64 - width)
      var last: Int64 = 0
      try check(
        (0..<count).map { _ in
          last &+= Int64(bitPattern: random.next() & mask)
          return last
        })
    }
    try check(Samples.extremeInt64s)
    try check(Samples.extremeInt32s)
  }

  // Other writers may take wider differences than 32 bits for 32-bit numbers.
  @Test func wideDeltasOfNarrowNumbersWrapAround() throws {
    for wide in [
      [Int64(Int32.max), Int64(Int32.min), Int64(Int32.max)],
      // Of a column without signs.
      [0, Int64(UInt32.max), 1, Int64(UInt32.max)], [Int64(UInt32.max), 0],
    ] {
      var output: [UInt8] = []
      DeltaBinaryPacked.encode(wide.span, appendingTo: &output)
      var back: [Int32] = []
      try DeltaBinaryPacked.decode(output.span, count: wide.count, appendingTo: &back)
      #expect(back == wide.map { Int32(truncatingIfNeeded: $0) })
    }
  }

  @Test func deltasThatLeave32BitsAreDamage() throws {
    func encoded(_ numbers: [Int64]) -> [UInt8] {
      var output: [UInt8] = []
      DeltaBinaryPacked.encode(numbers.span, appendingTo: &output)
      return output
    }
    for numbers in [[1 << 32], [0, 1 << 32], [-5, 1 << 40, 3], [0, .min]] as [[Int64]] {
      let bytes = encoded(numbers)
      var back: [Int32] = []
      let error = #expect(throws: ParquetFailure.self, "\(numbers)") {
        try DeltaBinaryPacked.decode(bytes.span, count: numbers.count, appendingTo: &back)
      }
      #expect(error?.what == "a delta-encoded number has more than 32 bits")
    }
    // Each length would be that of the two bytes that follow if it had only 32 bits.
    for lengths in [[1 << 32, 2], [1, 1 + 1 << 32], [2 + 1 << 40]] as [[Int64]] {
      let bytes = encoded(lengths) + [7, 7]
      var strings = ByteStrings()
      let error = #expect(throws: ParquetFailure.self, "\(lengths)") {
        try DeltaLengthByteArray.decode(
          bytes.span, count: lengths.count, appendingTo: &strings)
      }
      #expect(error?.what.contains("bytes is claimed, 2 are there") == true)
    }
    // A prefix as long as the string before, if it had only 32 bits.
    let suffixes = encoded([1, 1]) + [7, 7]
    let bytes = encoded([0, 1 + 1 << 32]) + suffixes
    var strings = ByteStrings()
    let error = #expect(throws: ParquetFailure.self) {
      try DeltaByteArray.decode(bytes.span, count: 2, byteLimit: 100, appendingTo: &strings)
    }
    #expect(error?.what == "string 1 takes 4294967297 bytes of one that has 1")
  }

  static func prefixed(_ strings: [String]) -> [UInt8] {
    var prefixes: [Int32] = []
    var suffixes = ByteStrings()
    var last: [UInt8] = []
    for text in strings {
      let string = Array(text.utf8)
      let shared = zip(last, string).prefix { $0 == $1 }.count
      prefixes.append(Int32(shared))
      suffixes.append(Array(string.dropFirst(shared)))
      last = string
    }
    var output: [UInt8] = []
    DeltaBinaryPacked.encode(prefixes.span, appendingTo: &output)
    DeltaLengthByteArray.encode(suffixes, 0..<strings.count, appendingTo: &output)
    return output
  }

  @Test func stringsThatShareABeginningComeBack() throws {
    for texts in [
      ["axis", "axle", "babble", "babyhood", "baby", "", "b"], [], [""], ["", ""], ["a"],
    ] {
      let encoded = Self.prefixed(texts)
      var back = ByteStrings(["before"])
      let end = try DeltaByteArray.decode(
        encoded.span, count: texts.count, byteLimit: 100, appendingTo: &back)
      #expect(back == ByteStrings(["before"] + texts) && end == encoded.count)
    }
    let encoded = Self.prefixed(["0123456789abcdef", "0123456789abcdeg"])
    var fixed = FixedBytes(width: 16)
    try DeltaByteArray.decode(encoded.span, count: 2, byteLimit: 32, appendingTo: &fixed)
    #expect(String(decoding: fixed.bytes, as: UTF8.self) == "0123456789abcdef0123456789abcdeg")
    var other = FixedBytes(width: 15)
    #expect(throws: ParquetFailure.self) {
      try DeltaByteArray.decode(encoded.span, count: 2, byteLimit: 32, appendingTo: &other)
    }
  }

  @Test func fewBytesCannotStandForMoreThanTheLimit() throws {
    let texts = Array(repeating: String(repeating: "x", count: 1000), count: 1000)
    let encoded = Self.prefixed(texts)
    #expect(encoded.count < 2000)
    var strings = ByteStrings()
    do {
      try DeltaByteArray.decode(
        encoded.span, count: 1000, byteLimit: 999_999, appendingTo: &strings)
      Issue.record("a million bytes passed the limit")
    } catch { #expect(error.kind == .limit) }
    let indices = Array(repeating: UInt32(0), count: 1000)
    let dictionary = ByteStrings(Array(texts.prefix(1)))
    do {
      try DictionaryEncoding.gather(
        indices.span, from: dictionary, byteLimit: 999_999, appendingTo: &strings)
      Issue.record("a million bytes passed the limit")
    } catch { #expect(error.kind == .limit) }
    #expect(strings == ByteStrings())
    try DictionaryEncoding.gather(
      indices.span, from: dictionary, byteLimit: 1_000_000, appendingTo: &strings)
    #expect(strings == ByteStrings(texts))
  }

  // MARK: Dictionaries

  @Test("Values of a dictionary come back", arguments: [1, 2, 3, 100, 70_000])
  func dictionariesRoundTrip(dictionaryCount: Int) throws {
    var random = SeededGenerator(seed: 3)
    let indices = (0..<5000).map { _ in UInt32(random.next() % UInt64(dictionaryCount)) }
    var output: [UInt8] = []
    DictionaryEncoding.encode(
      indices.span, dictionaryCount: dictionaryCount, appendingTo: &output)
    var back: [UInt32] = []
    try DictionaryEncoding.decodeIndices(
      output.span, count: indices.count, dictionaryCount: dictionaryCount, appendingTo: &back)
    #expect(back == indices)

    let numbers = (0..<dictionaryCount).map { Double($0) * 1.5 }
    var gathered: [Double] = [-1]
    DictionaryEncoding.gather(back.span, from: numbers.span, appendingTo: &gathered)
    #expect(gathered == [-1] + indices.map { Double($0) * 1.5 })

    let strings = Samples.strings(dictionaryCount, longest: 30)
    var expected = ByteStrings(["before"])
    for index in indices { expected.append(strings[Int(index)]) }
    var texts = ByteStrings(["before"])
    try DictionaryEncoding.gather(
      back.span, from: strings, byteLimit: .max, appendingTo: &texts)
    #expect(texts == expected)

    let fixed = FixedBytes(width: 3, bytes: Samples.bytes(dictionaryCount * 3))
    var values = FixedBytes(width: 3)
    try DictionaryEncoding.gather(
      back.span, from: fixed, byteLimit: .max, appendingTo: &values)
    #expect(values.bytes == indices.flatMap { fixed.bytes[Int($0) * 3..<Int($0) * 3 + 3] })
  }

  @Test func anIndexBehindTheDictionaryIsRefused() throws {
    var output: [UInt8] = []
    DictionaryEncoding.encode(
      ([0, 3, 1, 2] as [UInt32]).span, dictionaryCount: 4, appendingTo: &output)
    var back: [UInt32] = []
    #expect(throws: ParquetFailure.self) {
      try DictionaryEncoding.decodeIndices(
        output.span, count: 4, dictionaryCount: 3, appendingTo: &back)
    }
    #expect(back.isEmpty)
    try DictionaryEncoding.decodeIndices(
      output.span, count: 4, dictionaryCount: 4, appendingTo: &back)
    #expect(back == [0, 3, 1, 2])
  }
}
