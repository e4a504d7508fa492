import SpindleCore
import Testing

@Suite("Bytes to numbers and back")
struct ByteCodingTests {
  /// One kind of value: its bytes, and a read that must give it back.
  struct Sample: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let bytes: [UInt8]
    let read: @Sendable (inout ByteReader) throws(DecodingFailure) -> Bool
  }

  static let uuid = UUIDValue(high: 0x0011_2233_4455_6677, low: 0x8899_AABB_CCDD_EEFF)

  static let samples: [Sample] = [
    Sample(testDescription: "one byte", bytes: [0xAB]) {
      (reader) throws(DecodingFailure) in try reader.readUInt8() == 0xAB
    },
    Sample(testDescription: "big-endian 8", bytes: [0xAB]) {
      (reader) throws(DecodingFailure) in try reader.readBigEndian(UInt8.self) == 0xAB
    },
    Sample(testDescription: "big-endian 16", bytes: [1, 2]) {
      (reader) throws(DecodingFailure) in try reader.readBigEndian(UInt16.self) == 0x0102
    },
    Sample(testDescription: "big-endian 32", bytes: [1, 2, 3, 4]) {
      (reader) throws(DecodingFailure) in try reader.readBigEndian(UInt32.self) == 0x0102_0304
    },
    Sample(testDescription: "big-endian 64", bytes: Array(1...8)) {
      (reader) throws(DecodingFailure) in
      try reader.readBigEndian(UInt64.self) == 0x0102_0304_0506_0708
    },
    Sample(testDescription: "big-endian 128", bytes: Array(1...16)) {
      (reader) throws(DecodingFailure) in
      try reader.readBigEndian(UInt128.self) == 0x0102_0304_0506_0708_090A_0B0C_0D0E_0F10
    },
    Sample(testDescription: "little-endian 16", bytes: [1, 2]) {
      (reader) throws(DecodingFailure) in try reader.readLittleEndian(UInt16.self) == 0x0201
    },
    Sample(testDescription: "little-endian 64", bytes: Array(1...8)) {
      (reader) throws(DecodingFailure) in
      try reader.readLittleEndian(UInt64.self) == 0x0807_0605_0403_0201
    },
    Sample(testDescription: "varint of two bytes", bytes: [0xAC, 0x02]) {
      (reader) throws(DecodingFailure) in try reader.readVarint() == 300
    },
    Sample(
      testDescription: "greatest varint",
      bytes: [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]
    ) {
      (reader) throws(DecodingFailure) in try reader.readVarint() == .max
    },
    Sample(testDescription: "blob", bytes: [3, 7, 8, 9]) {
      (reader) throws(DecodingFailure) in try reader.readBlob() == [7, 8, 9]
    },
    Sample(testDescription: "long blob", bytes: [0x80, 0x01] + Array(repeating: 5, count: 128)) {
      (reader) throws(DecodingFailure) in try reader.readBlob() == Array(repeating: 5, count: 128)
    },
    Sample(testDescription: "bytes", bytes: [7, 8, 9]) {
      (reader) throws(DecodingFailure) in try reader.readBytes(3) == [7, 8, 9]
    },
    Sample(testDescription: "UUID", bytes: uuid.bytes) {
      (reader) throws(DecodingFailure) in try reader.readUUID() == uuid
    },
  ]

  @Test("Every read gives what stands there, whatever stands before and behind", arguments: samples)
  func readsGiveTheValue(sample: Sample) throws {
    let bytes = [0xEE] + sample.bytes + [0xDD, 0xCC]
    var reader = ByteReader(bytes.span)
    _ = try reader.readUInt8()
    #expect(try sample.read(&reader))
    #expect(reader.offset == sample.bytes.count + 1)
    let rest = copyBytes(reader.rest)
    #expect(rest == [0xDD, 0xCC])
    #expect(throws: DecodingFailure.trailingBytes(2)) { try requireEnd(Array(bytes.suffix(2))) }
  }

  @Test("Every read cut short fails and consumes nothing", arguments: samples)
  func truncatedReadsConsumeNothing(sample: Sample) throws {
    for count in 0..<sample.bytes.count {
      let bytes = [0xEE] + sample.bytes.prefix(count)
      var reader = ByteReader(bytes.span)
      _ = try reader.readUInt8()
      do throws(DecodingFailure) {
        _ = try sample.read(&reader)
        Issue.record("\(count) of \(sample.bytes.count) bytes were enough")
      } catch {
        guard case .truncated = error else {
          Issue.record("\(error) instead of a truncation")
          return
        }
      }
      #expect(reader.offset == 1)
      #expect(reader.remaining == count)
    }
  }

  private func requireEnd(_ bytes: [UInt8]) throws(DecodingFailure) {
    let reader = ByteReader(bytes.span)
    try reader.requireEnd()
  }

  @Test func theEndIsTheEnd() throws {
    try requireEnd([])
    #expect(throws: DecodingFailure.trailingBytes(1)) { try requireEnd([0]) }
  }

  @Test func varintsRoundTripInTheirShortestForm() throws {
    var values: [UInt64] = [0, 1, 127, 128, .max, .max - 1]
    for bit in 0..<64 { values += [1 << bit, 1 << bit - 1, 1 << bit + 1] }
    for value in values {
      var bytes: [UInt8] = []
      bytes.appendVarint(value)
      #expect(bytes.count == max(1, (64 - value.leadingZeroBitCount + 6) / 7))
      var reader = ByteReader(bytes.span)
      #expect(try reader.readVarint() == value)
      #expect(reader.remaining == 0)
    }
  }

  @Test(
    "Varints longer than needed or than 64 bits are refused and consume nothing",
    arguments: [
      ([0x80, 0x00], DecodingFailure.nonMinimalVarint),
      ([0xFF, 0x80, 0x00], .nonMinimalVarint),
      ([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], .nonMinimalVarint),
      ([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02], .varintOverflow),
      ([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x81, 0x00], .varintOverflow),
      (Array(repeating: 0xFF, count: 40), .varintOverflow),
    ] as [([UInt8], DecodingFailure)])
  func badVarintsAreRefused(bytes: [UInt8], expected: DecodingFailure) {
    var reader = ByteReader(bytes.span)
    do throws(DecodingFailure) {
      _ = try reader.readVarint()
      Issue.record("the varint was read")
    } catch {
      #expect(error == expected)
    }
    #expect(reader.offset == 0)
  }

  @Test func lengthsBeyondTheInputAreRefused() {
    for claimed in [UInt64(2), 1 << 31, 1 << 62, .max] {
      var bytes: [UInt8] = []
      bytes.appendVarint(claimed)
      bytes.append(1)
      var reader = ByteReader(bytes.span)
      do throws(DecodingFailure) {
        _ = try reader.readBlob()
        Issue.record("the blob was read")
      } catch {
        #expect(error == .truncated(needed: Int(clamping: claimed), available: 1))
      }
      #expect(reader.offset == 0)
    }
  }

  @Test func aNegativeLengthIsRefused() {
    let bytes: [UInt8] = [1, 2, 3]
    var reader = ByteReader(bytes.span)
    do throws(DecodingFailure) {
      _ = try reader.readBytes(-1)
      Issue.record("a negative length was read")
    } catch {
      guard case .invalid = error else {
        Issue.record("\(error)")
        return
      }
    }
    #expect(reader.offset == 0)
  }

  @Test func writersPutBytesInTheirOrder() {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(UInt32(0x0102_0304))
    bytes.appendLittleEndian(UInt32(0x0102_0304))
    bytes.appendBigEndian(UInt8(9))
    bytes.appendBlob([5, 6])
    bytes.append(borrowing: [7, 8].span)
    #expect(bytes == [1, 2, 3, 4, 4, 3, 2, 1, 9, 2, 5, 6, 7, 8])
  }

  @Test func bytesAreComparedAsAWhole() {
    let left: [UInt8] = [1, 2, 3]
    let samples: [([UInt8], Bool)] = [
      ([1, 2, 3], true), ([1, 2], false), ([1, 2, 4], false), ([1, 2, 3, 4], false), ([], false),
    ]
    for (right, expected) in samples {
      let isEqual = bytesEqual(left.span, right.span)
      #expect(isEqual == expected)
    }
  }

  @Test func hexadecimalTextIsLowerCase() {
    #expect(hexString([0x00, 0xAF, 0x9C]) == "00af9c")
    #expect(hexString([]) == "")
  }

  @Test func everyFailureReadsAsASentence() {
    let failures: KeyValuePairs<DecodingFailure, String> = [
      .truncated(needed: 4, available: 1): "needs 4 bytes where 1 are left",
      .trailingBytes(2): "2 bytes follow the end of the record",
      .checksumMismatch(stored: 0xAB, computed: 1):
        "checksum 0xab is stored, the bytes give 0x1",
      .unknownVersion(9): "record version 9 is unknown",
      .invalid("a thing is odd"): "a thing is odd",
    ]
    for (failure, text) in failures { #expect(failure.description == text) }
  }
}
