internal import SpindleCore
internal import SpindleOpLog

/// An ingest op in the form in which the log keeps it, so that applying it copies no payload twice.
struct EncodedIngestOp: IndexableOp, Equatable {
  var entry: IndexEntry

  func toIndexEntry() -> IndexEntry { entry }

  static func fromIndexParts(
    tag: UInt8, key: [UInt8]?, value: [UInt8]?
  ) throws(CodecError) -> EncodedIngestOp {
    EncodedIngestOp(entry: IndexEntry(tag: tag, key: key, value: value))
  }

  func decoded() throws(CodecError) -> IngestOp {
    try IngestOp.fromIndexParts(tag: entry.tag, key: entry.key, value: entry.value)
  }
}

/// What the `ingest` spool holds: an op, and the place in the log where it belongs.
///
/// `Documentation/Formats/ingest-op.md` describes its bytes.
struct IngestMessage: Sendable, Equatable {
  // Part of the format; must not be changed.
  static let version: UInt8 = 1

  var peer: PeerID
  var index: UInt64
  var op: EncodedIngestOp

  init(peer: PeerID, index: UInt64, op: IngestOp) {
    self.peer = peer
    self.index = index
    self.op = EncodedIngestOp(entry: op.toIndexEntry())
  }

  func encoded() -> [UInt8] {
    let key = op.entry.key ?? []
    let value = op.entry.value ?? []
    var bytes: [UInt8] = []
    bytes.reserveCapacity(value.count + key.count + 32)
    bytes.append(Self.version)
    peer.uuid.append(to: &bytes)
    bytes.appendBigEndian(index)
    bytes.append(op.entry.tag)
    bytes.appendBlob(key)
    bytes.append(contentsOf: value)
    return bytes
  }

  init(decoding bytes: [UInt8]) throws(DecodingFailure) {
    var reader = ByteReader(bytes.span)
    let version = try reader.readUInt8()
    guard version == Self.version else { throw .unknownVersion(version) }
    peer = PeerID(try reader.readUUID())
    index = try reader.readBigEndian(UInt64.self)
    let tag = try reader.readUInt8()
    let key = try reader.readBlob()
    let value = try reader.readBytes(reader.remaining)
    op = EncodedIngestOp(entry: IndexEntry(tag: tag, key: key, value: value))
  }
}
