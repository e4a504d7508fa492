import SpindleCore
import Testing

@testable import SpindleParquet

/// A decoder, well-formed bytes for it, and what it makes of others.
enum DecoderUnderDamage: String, CaseIterable {
  case plainInt64, plainBooleans, plainStrings, int96, levels, bitPackedLevels, runLengthBooleans
  case deltaInt64, deltaLengths, deltaStrings, splitDoubles, splitBytes
  case narrowIndices, indices, wideIndices, widestIndices

  static let count = 300

  /// What holds ``count`` values.
  var bytes: [UInt8] {
    let count = Self.count
    var output: [UInt8] = []
    switch self {
    case .plainInt64: PlainEncoding.encode(Samples.int64s(count).span, appendingTo: &output)
    case .plainBooleans:
      let booleans = Samples.int64s(count).map { $0 & 1 == 1 }
      PlainEncoding.encode(booleans.span, appendingTo: &output)
    case .plainStrings:
      PlainEncoding.encode(Samples.strings(count, longest: 20), 0..<count, appendingTo: &output)
    case .int96:
      for day in 0..<UInt32(count) {
        output.appendLittleEndian(UInt64(day) * 1_000_000_007)
        output.appendLittleEndian(2_440_000 + day)
      }
    case .levels:
      HybridEncoding.encode(Samples.validity(count), rows: 0..<count, appendingTo: &output)
    case .bitPackedLevels: output = Samples.bytes((count + 7) / 8)
    case .runLengthBooleans:
      HybridEncoding.encode(
        Samples.numbers(count, width: 1).span, width: 1, appendingTo: &output)
    case .deltaInt64: DeltaBinaryPacked.encode(Samples.int64s(count).span, appendingTo: &output)
    case .deltaLengths:
      DeltaLengthByteArray.encode(
        Samples.strings(count, longest: 20), 0..<count, appendingTo: &output)
    case .deltaStrings:
      output = EncodingTests.prefixed((0..<count).map { "key/\($0 / 10)/\($0)" })
    case .splitDoubles:
      let doubles = Samples.int64s(count).map(Double.init)
      ByteStreamSplit.encode(doubles.span, appendingTo: &output)
    case .splitBytes: output = Samples.bytes(count * 5)
    case .narrowIndices, .indices, .wideIndices, .widestIndices:
      output = [UInt8(indexWidth)]
      HybridEncoding.encode(
        Samples.numbers(count, width: min(indexWidth, 20)).span, width: indexWidth,
        appendingTo: &output)
    }
    return output
  }

  private var indexWidth: Int {
    switch self {
    case .narrowIndices: 1
    case .indices: 7
    case .wideIndices: 13
    default: 32
    }
  }

  /// Decodes ``count`` values.
  ///
  /// - Returns: How many came out.
  func decode(_ bytes: Span<UInt8>) throws -> Int {
    let count = Self.count
    switch self {
    case .plainInt64:
      var output: [Int64] = []
      try PlainEncoding.decode(bytes, count: count, appendingTo: &output)
      return output.count
    case .plainBooleans:
      var output: [Bool] = []
      try PlainEncoding.decode(bytes, count: count, appendingTo: &output)
      return output.count
    case .plainStrings:
      var output = ByteStrings()
      try PlainEncoding.decode(bytes, count: count, appendingTo: &output)
      #expect(output.fault == nil)
      return output.count
    case .int96:
      var output: [Int64] = []
      try PlainEncoding.decodeINT96(bytes, count: count, appendingTo: &output)
      return output.count
    case .levels:
      var output = Validity()
      try HybridEncoding.decode(bytes, count: count, appendingTo: &output)
      #expect(Validity(words: output.words, count: count) == output)
      return output.count
    case .bitPackedLevels:
      var output = Validity()
      _ = try BitPackedLevels.decode(bytes, count: count, appendingTo: &output)
      return output.count
    case .runLengthBooleans:
      var output: [Bool] = []
      try HybridEncoding.decode(bytes, count: count, appendingTo: &output)
      return output.count
    case .deltaInt64:
      var output: [Int64] = []
      try DeltaBinaryPacked.decode(bytes, count: count, appendingTo: &output)
      return output.count
    case .deltaLengths:
      var output = ByteStrings()
      try DeltaLengthByteArray.decode(bytes, count: count, appendingTo: &output)
      #expect(output.fault == nil)
      return output.count
    case .deltaStrings:
      var output = ByteStrings()
      try DeltaByteArray.decode(bytes, count: count, byteLimit: 1 << 20, appendingTo: &output)
      #expect(output.fault == nil)
      return output.count
    case .splitDoubles:
      var output: [Double] = []
      try ByteStreamSplit.decode(bytes, count: count, appendingTo: &output)
      return output.count
    case .splitBytes:
      var output = FixedBytes(width: 5)
      try ByteStreamSplit.decode(bytes, count: count, appendingTo: &output)
      return output.count
    case .narrowIndices, .indices, .wideIndices, .widestIndices:
      let dictionaryCount = 1 << min(indexWidth, 20)
      var output: [UInt32] = []
      try DictionaryEncoding.decodeIndices(
        bytes, count: count, dictionaryCount: dictionaryCount, appendingTo: &output)
      #expect(output.allSatisfy { $0 < dictionaryCount })
      return output.count
    }
  }
}

/// Decoders under bytes that nobody encoded. A trap ends the test run; what else is checked here is
/// that damage gives an error or as many values as were asked for, and leaves whole columns behind.
@Suite("Damaged Parquet encodings")
struct DamagedEncodingTests {
  @Test("Bytes that are cut off anywhere are refused", arguments: DecoderUnderDamage.allCases)
  func truncation(decoder: DecoderUnderDamage) throws {
    let bytes = decoder.bytes
    let decoded = try decoder.decode(bytes.span)
    #expect(decoded == DecoderUnderDamage.count)
    // Filling behind the last value may be missing.
    let filling = 32 * 64 / 8
    for length in bytes.indices {
      let cut = Array(bytes.prefix(length))
      do {
        let decoded = try decoder.decode(cut.span)
        #expect(decoded == DecoderUnderDamage.count && length > bytes.count - filling, "\(length)")
      } catch { #expect(error is ParquetFailure) }
    }
  }

  @Test("Flipped bits give an error or as many values", arguments: DecoderUnderDamage.allCases)
  func flippedBits(decoder: DecoderUnderDamage) {
    var bytes = decoder.bytes
    for bit in 0..<min(bytes.count, 250) * 8 {
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
      do {
        let decoded = try decoder.decode(bytes.span)
        #expect(decoded == DecoderUnderDamage.count, "bit \(bit)")
      } catch { #expect(error is ParquetFailure) }
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
    }
  }

  @Test("Random bytes give an error or as many values", arguments: DecoderUnderDamage.allCases)
  func randomBytes(decoder: DecoderUnderDamage) {
    var random = SeededGenerator(seed: 11)
    for round in 0..<2000 {
      var bytes = Samples.bytes(Int(random.next() % 200), seed: UInt64(round))
      // Small numbers lead deeper into the structures.
      if round % 2 == 0 { for place in bytes.indices { bytes[place] &= 0x0F } }
      do {
        let decoded = try decoder.decode(bytes.span)
        #expect(decoded == DecoderUnderDamage.count, "round \(round)")
      } catch { #expect(error is ParquetFailure) }
    }
  }

  // What is claimed beyond the bytes that are there must be refused before memory is taken.
  @Test func hugeCountsAreRefused() {
    let few: [UInt8] = [1, 0, 0, 0, 1, 2, 3, 4]
    let count = 1 << 60
    func refused(_ body: () throws -> Void) {
      #expect(throws: ParquetFailure.self, performing: body)
    }
    refused {
      var output: [Int64] = []
      try PlainEncoding.decode(few.span, count: count, appendingTo: &output)
    }
    refused {
      var output: [Bool] = []
      try PlainEncoding.decode(few.span, count: count, appendingTo: &output)
    }
    refused {
      var output = ByteStrings()
      try PlainEncoding.decode(few.span, count: count, appendingTo: &output)
    }
    refused {
      var output = FixedBytes(width: 16)
      try PlainEncoding.decode(few.span, count: count, appendingTo: &output)
    }
    refused {
      var output: [Double] = []
      try ByteStreamSplit.decode(few.span, count: count, appendingTo: &output)
    }
    refused {
      var output: [Int64] = []
      try DeltaBinaryPacked.decode(few.span, count: count, appendingTo: &output)
    }
    refused {
      var output = Validity()
      _ = try BitPackedLevels.decode(few.span, count: count, appendingTo: &output)
    }
  }
}
