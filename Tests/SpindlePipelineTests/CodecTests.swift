import SpindleCore
import SpindleFormats
import SpindleOpLog
import Testing

@testable import SpindlePipeline

@Suite struct CodecTests {
  static let op = IngestOp(
    producer: "p",
    source: SourceSpan(
      byteOffset: 300, byteCount: 8, firstLine: 7, lineCount: 2, digest: Array(1...32)),
    precision: .milliseconds, defaultTimestamp: -2, pointCount: 1, rejectedCount: 1,
    lines: Array("a b=1 2\n".utf8).span)

  static var position: ProducerPosition {
    var position = ProducerPosition(producer: "p")
    position.nextIndex = 300
    position.byteCount = 5
    position.lineCount = 4
    position.pointCount = 3
    position.rejectedCount = 1
    position.digest = Array(repeating: 0xAB, count: 32)
    return position
  }

  static var series: [UInt8] {
    var state = SeriesState()
    state.pointCount = 200
    state.lastTimestamp = -1
    state.encodedFields = [1, 0x76, 3, 1, 1, 0x73, 4, 2, 0x68, 0x69]
    var record: [UInt8] = []
    state.encode(into: &record)
    return record
  }

  private func hex(_ bytes: [UInt8]) -> String { hexString(bytes) }

  @Test func theBytesOfEachRecordAreTheDocumentedOnes() {
    let entry = Self.op.toIndexEntry()
    #expect(entry.tag == 1)
    #expect(hex(entry.key ?? []) == "000000000000012c0000000000000007")
    #expect(hex(entry.value ?? []) == golden.opValue)
    let message = IngestMessage(
      peer: PeerID(UUIDValue(high: 1, low: 2)), index: 258, op: Self.op)
    #expect(
      hex(message.encoded()) == "01" + "0000000000000001" + "0000000000000002"
        + "0000000000000102" + "01" + "10" + "000000000000012c0000000000000007" + golden.opValue)
    #expect(hex(Self.position.encoded()) == golden.position)
    #expect(hex(Self.series) == golden.series)
  }

  @Test func recordsComeBack() throws {
    let entry = Self.op.toIndexEntry()
    let op = try IngestOp.fromIndexParts(tag: entry.tag, key: entry.key, value: entry.value)
    #expect(op == Self.op)
    #expect(try op.lines() == Array("a b=1 2\n".utf8))
    let message = IngestMessage(peer: PeerID(UUIDValue(high: 1, low: 2)), index: 258, op: op)
    #expect(try IngestMessage(decoding: message.encoded()) == message)
    #expect(try ProducerPosition(decoding: Self.position.encoded().span) == Self.position)
    let state = try SeriesState(decoding: Self.series.span)
    #expect(state.pointCount == 200 && state.lastTimestamp == -1)
    let fields = try state.fields()
    #expect(fields.map(\.value) == [.boolean(true), .string(Array("hi".utf8))])
    // A compressible payload takes the other way.
    let lines = Array(String(repeating: "abc v=1 1\n", count: 1_000).utf8)
    let long = IngestOp(
      producer: "q", source: Self.op.source, precision: .seconds, defaultTimestamp: 0,
      pointCount: 1_000, rejectedCount: 0, lines: lines.span)
    let parts = long.toIndexEntry()
    #expect((parts.value?.count ?? 0) < 1_000)
    let back = try IngestOp.fromIndexParts(tag: parts.tag, key: parts.key, value: parts.value)
    #expect(try back == long && back.lines() == lines)
  }

  @Test func truncationAtEveryByteIsAnError() {
    let entry = Self.op.toIndexEntry()
    let value = entry.value ?? []
    for count in 0..<value.count {
      #expect(throws: CodecError.self) {
        try IngestOp.fromIndexParts(tag: 1, key: entry.key, value: Array(value.prefix(count)))
      }
    }
    let message = IngestMessage(peer: PeerID(UUIDValue(high: 1, low: 2)), index: 1, op: Self.op)
      .encoded()
    // A message cut within its op's value is whole as a message; its op is not.
    for count in 0..<message.count {
      #expect(throws: (any Error).self) {
        try IngestMessage(decoding: Array(message.prefix(count))).op.decoded()
      }
    }
    let position = Self.position.encoded()
    for count in 0..<position.count {
      #expect(throws: DecodingFailure.self) {
        try ProducerPosition(decoding: Array(position.prefix(count)).span)
      }
    }
    for count in 0..<Self.series.count {
      #expect(throws: DecodingFailure.self) {
        try SeriesState(decoding: Array(Self.series.prefix(count)).span)
      }
    }
  }

  private func eachFlip(_ record: [UInt8], _ body: ([UInt8]) -> Void) {
    for bit in 0..<(record.count * 8) {
      var flipped = record
      flipped[bit / 8] ^= 1 << UInt8(bit % 8)
      body(flipped)
    }
  }

  @Test func everyFlippedBitIsAnError() {
    let entry = Self.op.toIndexEntry()
    eachFlip(entry.value ?? []) { value in
      #expect(throws: CodecError.self) {
        try IngestOp.fromIndexParts(tag: 1, key: entry.key, value: value)
      }
    }
    eachFlip(entry.key ?? []) { key in
      #expect(throws: CodecError.self) {
        try IngestOp.fromIndexParts(tag: 1, key: key, value: entry.value)
      }
    }
    eachFlip(Self.position.encoded()) { record in
      #expect(throws: DecodingFailure.self) { try ProducerPosition(decoding: record.span) }
    }
    eachFlip(Self.series) { record in
      #expect(throws: DecodingFailure.self) { try SeriesState(decoding: record.span) }
    }
    // A message's peer and index have no checksum of their own: the spool's record covers them.
    let message = IngestMessage(peer: PeerID(UUIDValue(high: 1, low: 2)), index: 1, op: Self.op)
    eachFlip(message.encoded()) { record in
      guard let other = try? IngestMessage(decoding: record) else { return }
      #expect(other != message)
      _ = try? other.op.decoded()
    }
  }

  @Test func damageBehindAValidChecksumNeverTraps() {
    // The checksum is made anew after each flip, as a broken writer would.
    let body = Array((Self.op.toIndexEntry().value ?? []).dropLast(4))
    eachFlip(body) { changed in
      var value = changed
      var checksum = CRC32C()
      let key = Self.op.toIndexEntry().key ?? []
      checksum.update(key.span)
      checksum.update(changed.span)
      value.appendBigEndian(CRC32C.mask(checksum.value))
      guard let op = try? IngestOp.fromIndexParts(tag: 1, key: key, value: value) else { return }
      _ = try? op.lines()
    }
    for record in [Self.position.encoded(), Self.series] {
      eachFlip(Array(record.dropLast(4))) { changed in
        let sealed = sealed(changed)
        _ = try? ProducerPosition(decoding: sealed.span)
        _ = try? SeriesState(decoding: sealed.span).fields()
      }
    }
  }

  private func sealed(_ body: [UInt8]) -> [UInt8] {
    var record = body
    record.appendBigEndian(CRC32C.mask(CRC32C.checksum(body)))
    return record
  }
}

/// Recorded once; these bytes are in stores.
private let golden = (
  opValue: "0102000108020101fffffffffffffffe0170"
    + "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
    + "086120623d3120320a42d496d2",
  position: "0101ac02050403010170" + String(repeating: "ab", count: 32) + "e7ef6966",
  series: "01c801ffffffffffffffff017603010173040268696ce7dbe5"
)
