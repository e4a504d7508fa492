import SpindleCore
import Testing

@Suite struct CRC32CTests {
  struct Vector: Sendable, CustomTestStringConvertible {
    let name: String
    let bytes: [UInt8]
    let checksum: UInt32
    var testDescription: String { name }
  }

  // RFC 3720 B.4, and the check value of the CRC catalogues.
  static let vectors: [Vector] = [
    Vector(name: "nothing", bytes: [], checksum: 0),
    Vector(name: "zeros", bytes: Array(repeating: 0, count: 32), checksum: 0x8a91_36aa),
    Vector(name: "ones", bytes: Array(repeating: 0xff, count: 32), checksum: 0x62a8_ab43),
    Vector(name: "rising", bytes: Array(0..<32), checksum: 0x46dd_794e),
    Vector(name: "falling", bytes: (0..<32).reversed(), checksum: 0x113f_db5c),
    Vector(
      name: "iSCSI read command",
      bytes: [
        0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
        0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
      ], checksum: 0xd996_3a56),
    Vector(name: "123456789", bytes: Array("123456789".utf8), checksum: 0xe306_9283),
  ]

  @Test(arguments: vectors) func publishedVectorsAreMet(vector: Vector) {
    #expect(CRC32C.checksum(vector.bytes) == vector.checksum)
    #expect(CRC32C.portableChecksum(vector.bytes.span) == vector.checksum)
  }

  /// Lengths around every step of the implementations: words, both lane widths, and their joins.
  @Test func acceleratedAndPortableAgreeAtEveryLengthAndAlignment() {
    var state: UInt64 = 1
    let bytes = (0..<16_400).map { _ in UInt8(truncatingIfNeeded: next(&state)) }
    let lengths = Array(0...800) + Array(6_130...6_170) + [12_288, 12_289, 16_384]
    for start in 0..<9 {
      for length in lengths where start + length <= bytes.count {
        let piece = bytes.span.extracting(start..<(start + length))
        let seed = UInt32(truncatingIfNeeded: next(&state))
        #expect(
          CRC32C.checksum(piece, continuing: seed)
            == CRC32C.portableChecksum(piece, continuing: seed))
      }
    }
  }

  @Test(arguments: 0..<50 as Range<UInt64>) func piecesGiveTheValueOfTheWhole(seed: UInt64) {
    var state = seed
    let bytes = (0..<Int(next(&state) % 20_000)).map { _ in
      UInt8(truncatingIfNeeded: next(&state))
    }
    var checksum = CRC32C()
    var start = 0
    while start < bytes.count {
      let end = min(bytes.count, start + 1 + Int(next(&state) % 5_000))
      checksum.update(bytes.span.extracting(start..<end))
      start = end
    }
    #expect(checksum.value == CRC32C.checksum(bytes))
    let whole = unsafe bytes.withUnsafeBytes { unsafe CRC32C.checksum($0) }
    #expect(whole == checksum.value)
    #expect(CRC32C(continuing: checksum.value) == checksum)
  }

  @Test func maskIsRocksDBsAndReversible() {
    #expect(CRC32C.mask(0) == 0xa282_ead8)
    #expect(CRC32C.mask(0x0000_8000) == 0xa282_ead9)
    #expect(CRC32C.mask(CRC32C.checksum(Array("foo".utf8))) != CRC32C.checksum(Array("foo".utf8)))
    var state: UInt64 = 9
    for _ in 0..<1_000 {
      let value = UInt32(truncatingIfNeeded: next(&state))
      #expect(CRC32C.unmask(CRC32C.mask(value)) == value)
      #expect(CRC32C.mask(value) != value)
    }
  }

  @Test func anySingleFlippedBitIsNoticed() {
    var bytes = Array("the quick brown fox jumps over the lazy dog".utf8)
    let whole = CRC32C.checksum(bytes)
    for bit in 0..<(bytes.count * 8) {
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
      #expect(CRC32C.checksum(bytes) != whole)
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
    }
  }
}

private func next(_ state: inout UInt64) -> UInt64 {
  state &+= 0x9e37_79b9_7f4a_7c15
  var z = state
  z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
  z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
  return z ^ (z >> 31)
}
