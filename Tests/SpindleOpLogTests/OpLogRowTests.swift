import SpindleCore
import SpindleOpLog
import Testing

private let someHead = ChainHead(someHash)

@Suite struct OpLogRowTests {
  static func row(
    user: UserID? = nil, key: [UInt8]?, value: [UInt8]?, timestamp: UInt64 = 0x0123_4567_89AB_CDEF
  ) throws -> OpLogRow {
    try OpLogRow(
      timestamp: Timestamp(packed: timestamp), serverUser: user,
      entry: IndexEntry(tag: 0x2A, key: key, value: value))
  }

  static func samples() throws -> [OpLogRow] {
    [
      try row(user: someUser, key: [0xAA, 0xBB], value: [0xCC]),
      try row(key: [], value: []), try row(key: nil, value: nil),
      try row(key: nil, value: [1, 2, 3]), try row(key: [9], value: nil),
      try row(key: Array(repeating: 3, count: 200), value: Array(repeating: 4, count: 300)),
      try row(user: someUser, key: [], value: nil, timestamp: .max),
      OpLogRow(expunged: someHash),
      try row(user: someUser, key: [0xAA, 0xBB], value: [0xCC]).chained(someHead),
      try row(key: nil, value: nil).chained(someHead),
      try row(key: Array(repeating: 3, count: 200), value: []).chained(someHead),
      OpLogRow(expunged: someHash).chained(someHead),
    ]
  }

  @Test func entryHasTheDocumentedBytes() throws {
    let row = try Self.row(user: someUser, key: [0xAA, 0xBB], value: [0xCC])
    let expected =
      "01"  // version
      + "01"  // flags: a user is present
      + "0123456789abcdef"  // timestamp, big-endian
      + "2a"  // tag
      + "00112233445566778899aabbccddeeff"  // user
      + "02" + "aabb"  // key length and key
      + "cc"  // value, to the end
    #expect(hexString(row.encoded) == expected)
  }

  @Test func linkOfAChainHasTheDocumentedBytes() throws {
    let row = try Self.row(user: someUser, key: [0xAA, 0xBB], value: [0xCC]).chained(someHead)
    let expected =
      "02"  // version
      + "01"  // flags: a user is present
      + "0123456789abcdef"  // timestamp, big-endian
      + "2a"  // tag
      + "00112233445566778899aabbccddeeff"  // user
      + "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"  // head
      + "02" + "aabb"  // key length and key
      + "cc"  // value, to the end
    #expect(hexString(row.encoded) == expected)
  }

  @Test func entryWithoutKeyAndValueHasTheDocumentedBytes() throws {
    let row = try Self.row(key: nil, value: nil)
    // Version, flags (no key, no value), timestamp, tag.
    #expect(hexString(row.encoded) == "01" + "0c" + "0123456789abcdef" + "2a")
  }

  @Test func markerHasTheDocumentedBytes() {
    let row = OpLogRow(expunged: someHash)
    let expected =
      "01"  // version
      + "06"  // flags: expunged, no key
      + "0000000000000000"  // timestamp 0
      + "ff"  // the reserved tag
      + "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"  // hash
    #expect(hexString(row.encoded) == expected)
    #expect(row.expungedHash == someHash)
  }

  @Test func everyRowReadsBackAsWritten() throws {
    for row in try Self.samples() {
      #expect(try OpLogRow(decoding: row.encoded.span) == row)
    }
  }

  @Test func emptyAndAbsentBytesStayDifferent() throws {
    let parts: [[UInt8]?] = [nil, []]
    var seen: Set<[UInt8]> = []
    for key in parts {
      for value in parts {
        let row = try Self.row(key: key, value: value)
        let back = try OpLogRow(decoding: row.encoded.span)
        #expect(back.key == key && back.value == value)
        seen.insert(row.encoded)
      }
    }
    #expect(seen.count == 4)
  }

  /// The value runs to the end, so a cut within it is another row; a cut before it is refused.
  @Test func truncationAnywhereIsRefusedOrAnotherRow() throws {
    for row in try Self.samples() {
      let bytes = row.encoded
      let headerCount = bytes.count - (row.value?.count ?? 0)
      for count in 0..<bytes.count {
        let cut = Array(bytes[..<count])
        guard count >= headerCount, !row.isExpunged else {
          #expect(throws: DecodingFailure.self) { try OpLogRow(decoding: cut.span) }
          continue
        }
        #expect(try OpLogRow(decoding: cut.span).encoded == cut)
      }
    }
  }

  @Test func singleBitFlipsAreRefusedOrDecodeToExactlyTheirBytes() throws {
    for row in try Self.samples() {
      let bytes = row.encoded
      let headerCount = bytes.count - (row.value?.count ?? 0)
      for bit in 0..<(bytes.count * 8) {
        var flipped = bytes
        flipped[bit / 8] ^= 1 << (bit % 8)
        if let decoded = try? OpLogRow(decoding: flipped.span) {
          #expect(decoded.encoded == flipped)
          #expect(decoded != row)
        } else {
          // The value's bytes are free; whatever is refused lies before them.
          #expect(bit / 8 < headerCount)
        }
      }
    }
  }

  @Test func randomBytesNeverTrap() {
    var generator = SeededGenerator(seed: 11)
    for _ in 0..<20_000 {
      let count = Int.random(in: 0...96, using: &generator)
      var bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
      if count > 1, Bool.random(using: &generator) {
        bytes[0] = UInt8.random(in: 1...2, using: &generator)
        bytes[1] &= 0x0F
      }
      if let row = try? OpLogRow(decoding: bytes.span) { #expect(row.encoded == bytes) }
    }
  }

  @Test func unknownVersionAndFlagsAreRefused() throws {
    var bytes = try Self.row(key: [], value: []).encoded
    bytes[0] = 3
    #expect(throws: DecodingFailure.unknownVersion(3)) { try OpLogRow(decoding: bytes.span) }
    bytes[0] = 1
    bytes[1] = 0x10
    #expect(throws: DecodingFailure.invalid("flags 0x10 are unknown")) {
      try OpLogRow(decoding: bytes.span)
    }
  }

  @Test func hugeKeyLengthIsRefusedWithoutAllocation() throws {
    var bytes: [UInt8] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]
    bytes.appendVarint(1 << 60)
    #expect(throws: DecodingFailure.truncated(needed: 1 << 60, available: 0)) {
      try OpLogRow(decoding: bytes.span)
    }
  }

  @Test func markerMustHaveExactly32BytesAndNothingElse() {
    let bytes = OpLogRow(expunged: someHash).encoded
    #expect(throws: DecodingFailure.self) { try OpLogRow(decoding: (bytes + [0]).span) }
    var timed = bytes
    timed[5] = 1
    #expect(throws: DecodingFailure.self) { try OpLogRow(decoding: timed.span) }
    var unflagged = bytes
    unflagged[1] = 0x04
    #expect(throws: DecodingFailure.self) { try OpLogRow(decoding: unflagged.span) }
  }

  @Test func reservedTagIsRefused() {
    #expect(throws: CodecError.reservedTag) {
      try OpLogRow(
        timestamp: .zero, serverUser: nil, entry: IndexEntry(tag: 255, key: nil, value: nil))
    }
  }

  @Test func sameOperationIgnoresTimeAndUserOnly() throws {
    let row = try Self.row(user: someUser, key: [1], value: [2])
    #expect(row.hasSameOperation(as: try Self.row(key: [1], value: [2], timestamp: 1)))
    #expect(!row.hasSameOperation(as: try Self.row(key: [1], value: [3])))
    #expect(!row.hasSameOperation(as: try Self.row(key: [], value: [2])))
  }

  @Test func entryHashTakes32BytesOnly() {
    #expect(EntryHash(bytes: Array(repeating: 0, count: 31)) == nil)
    #expect(EntryHash(bytes: Array(repeating: 0, count: 33)) == nil)
    #expect(someHash.bytes == Array(1...32))
    #expect(EntryHash(bytes: Array(repeating: 1, count: 32)) != someHash)
  }
}

@Suite struct OpLogKeysTests {
  @Test func entryKeyHasTheDocumentedBytes() {
    let key = OpLogKeys.entry(PeerID(someUser.uuid), 0x8000_0000_0000_0001)
    #expect(hexString(key) == "01" + "00112233445566778899aabbccddeeff" + "8000000000000001")
    let back = OpLogKeys.decodeEntry(key.span)
    #expect(back?.peer == PeerID(someUser.uuid) && back?.index == 0x8000_0000_0000_0001)
  }

  @Test func otherKeysAreNoEntries() {
    let key = OpLogKeys.entry(zeroPeer, 0)
    for count in 0..<key.count {
      let cut = Array(key[..<count])
      #expect(OpLogKeys.decodeEntry(cut.span) == nil)
    }
    #expect(OpLogKeys.decodeEntry((key + [0]).span) == nil)
    var other = key
    other[0] = 2
    #expect(OpLogKeys.decodeEntry(other.span) == nil)
  }

  @Test func upperBoundIsAboveThePeerAndNotAboveTheNext() {
    let peers = [
      zeroPeer, peer(0xFE), peer(0xFF), peer(0x100), peer(.max),
      PeerID(UUIDValue(high: 1, low: 0)), PeerID(UUIDValue(high: .max, low: .max - 1)), lastPeer,
    ]
    for (current, following) in zip(peers, peers.dropFirst()) {
      let bound = OpLogKeys.upperBound(of: current)
      #expect(OpLogKeys.entry(current, .max).lexicographicallyPrecedes(bound))
      #expect(!OpLogKeys.entry(following, 0).lexicographicallyPrecedes(bound))
    }
    #expect(OpLogKeys.upperBound(of: lastPeer) == [0x02])
    #expect(!OpLogKeys.clockKey.lexicographicallyPrecedes(OpLogKeys.upperBound(of: lastPeer)))
  }
}
