import SpindleCore
import SpindleOpLog

/// An op that uses every primitive of the wire form.
struct Rich: IndexableOp, Equatable {
  var thing: UUIDValue
  var author: UUIDValue
  var name: String
  var change: Int64
  var width: UInt16
  var data: [UInt8]

  init(_ random: inout SeededGenerator) {
    // Few things and authors, so that the dictionary is used.
    thing = UUIDValue(high: 1, low: UInt64.random(in: 0..<4, using: &random))
    author = UUIDValue(high: 2, low: UInt64.random(in: 0..<3, using: &random))
    name = String(repeating: "n\u{e9}", count: Int.random(in: 0..<4, using: &random))
    change = Int64(bitPattern: random.next()) >> Int64.random(in: 0..<64, using: &random)
    width = UInt16(truncatingIfNeeded: random.next())
    data = (0..<Int.random(in: 0..<9, using: &random)).map { _ in
      UInt8(truncatingIfNeeded: random.next())
    }
  }

  init(from reader: inout OpReader) throws(CodecError) {
    thing = try reader.readUUID()
    author = try reader.readUUID()
    name = try reader.readText()
    change = try reader.readZigzag()
    width = try reader.readUInt16()
    data = try reader.readBlob()
  }

  func encode(into writer: inout OpWriter) throws(CodecError) {
    writer.writeUInt8(3)
    writer.writeUUID(thing)
    writer.writeUUID(author)
    // Half-way: uuids are defined already.
    try writer.writeText(name)
    writer.writeZigzag(change)
    writer.writeUInt16(width)
    writer.writeBlob(data)
  }

  static func decode(tag: UInt8, from reader: inout OpReader) throws(CodecError) -> Rich {
    guard tag == 3 else { throw .unknownTag(tag) }
    return try Rich(from: &reader)
  }

  func toIndexEntry() throws(CodecError) -> IndexEntry {
    var writer = OpWriter()
    try encode(into: &writer)
    return IndexEntry(tag: 3, key: thing.bytes, value: Array(writer.bytes.dropFirst()))
  }

  static func fromIndexParts(
    tag: UInt8, key: [UInt8]?, value: [UInt8]?
  ) throws(CodecError) -> Rich {
    var reader = OpReader(value ?? [])
    return try decode(tag: tag, from: &reader)
  }
}

let testMagic = Array("TEST".utf8)

/// Entries of one peer as a log has them: rising times, markers among them.
func richEntries(_ count: Int, seed: UInt64, mode: SegmentMode = .device) -> [DecodedEntry<Rich>] {
  var random = SeededGenerator(seed: seed)
  var timestamp = UInt64.random(in: 0..<1 << 48, using: &random)
  return (0..<count).map { number in
    if number % 5 == 3 {
      return .expunged(EntryHash(bytes: (0..<32).map { UInt8($0 &+ number & 0xFF) })!)
    }
    timestamp += UInt64.random(in: 0..<1 << 20, using: &random)
    let user = UserID(UUIDValue(high: 9, low: UInt64(number % 2)))
    return .logEntry(
      LogEntry(
        serverUser: mode == .server ? user : nil, timestamp: Timestamp(packed: timestamp),
        op: Rich(&random)))
  }
}

func header(
  _ mode: SegmentMode = .device, start: UInt64 = 0, peer: PeerID = peer(1)
) -> SegmentHeader {
  SegmentHeader(mode: mode, peer: peer, start: start, head: .seed(of: peer))
}

func segment<Op: IndexableOp>(
  _ entries: [DecodedEntry<Op>], _ header: SegmentHeader = header()
) throws -> [UInt8] {
  var encoder = try SegmentEncoder<Op>(magic: testMagic, header: header)
  for entry in entries { try encoder.append(entry) }
  return encoder.takeBytes()
}

/// Where each entry of a segment ends; the first number is the header's end.
func ends<Op: IndexableOp>(_ entries: [DecodedEntry<Op>], _ header: SegmentHeader) throws -> [Int] {
  var encoder = try SegmentEncoder<Op>(magic: testMagic, header: header)
  var ends = [encoder.pendingByteCount]
  for entry in entries {
    try encoder.append(entry)
    ends.append(encoder.pendingByteCount)
  }
  return ends
}

func decode<Op: IndexableOp>(
  _ bytes: [UInt8], as: Op.Type = Op.self
) throws(CodecError) -> DecodedSegment<Op>? {
  try DecodedSegment<Op>(bytes, magic: testMagic)
}

func note(_ text: String, at timestamp: UInt64 = 5, user: UserID? = nil) -> DecodedEntry<Note> {
  .logEntry(
    LogEntry(serverUser: user, timestamp: Timestamp(packed: timestamp), op: Note(text)))
}
