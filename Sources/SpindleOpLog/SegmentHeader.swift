public import SpindleCore

/// Whether the entries of a segment carry the user whom a server vouched for.
public enum SegmentMode: UInt8, Sendable {
  // Part of the format; must not be changed.
  /// They carry none.
  case device = 0
  /// Each carries one.
  case server = 1
}

/// What a segment says before its first entry.
///
/// ```
/// magic | flags 1 | version 1 | suite 1 | peer 16 | start 8 | chained 1 | head 32 ? | checksum 4
/// ```
/// `Documentation/Formats/oplog-segment.md`, Header. The magic is the application's: it tells its
/// logs from those of others.
public struct SegmentHeader: Sendable, Hashable {
  /// The version of the segments that this code writes, and the newest it reads.
  public static let version: UInt8 = 1

  public var mode: SegmentMode
  /// What the entries are hashed with.
  public let suite: HashSuite
  /// Whose entries these are.
  public var peer: PeerID
  /// The index of the first entry.
  public var start: UInt64
  /// The chain's head before the first entry; nil where it is not known.
  public var head: ChainHead?

  public init(mode: SegmentMode, peer: PeerID, start: UInt64, head: ChainHead?) {
    self.mode = mode
    suite = .current
    self.peer = peer
    self.start = start
    self.head = head
  }

  func encoded(magic: [UInt8]) -> [UInt8] {
    var bytes = magic
    bytes.append(mode.rawValue)
    bytes.append(Self.version)
    bytes.append(suite.rawValue)
    peer.uuid.append(to: &bytes)
    bytes.appendBigEndian(start)
    bytes.append(head == nil ? 0 : 1)
    head?.hash.append(to: &bytes)
    bytes.appendBigEndian(CRC32C.mask(CRC32C.checksum(bytes)))
    return bytes
  }

  /// Reads the header at the beginning of a segment.
  ///
  /// - Returns: The header and how many bytes it takes, the magic included.
  static func decode(
    _ bytes: [UInt8], magic: [UInt8]
  ) throws(CodecError) -> (header: SegmentHeader, byteCount: Int) {
    guard !magic.isEmpty, bytes.starts(with: magic.prefix(bytes.count)) else { throw .badMagic }
    var reader = OpReader(bytes)
    _ = try reader.readBytes(UInt64(magic.count))
    let flags = try reader.readUInt8()
    guard let mode = SegmentMode(rawValue: flags) else { throw .unknownSegmentFlags(flags) }
    // What follows is laid out as the version says, so nothing is checked before it.
    let version = try reader.readUInt8()
    guard version == Self.version else { throw .unknownSegmentVersion(version) }
    let suite = try reader.readUInt8()
    let peer = UUIDValue(bytes: try reader.readBytes(16))
    let start = try reader.readBytes(8).reduce(0) { $0 << 8 | UInt64($1) }
    let chained = try reader.readUInt8()
    let hash = chained == 0 ? nil : EntryHash(bytes: try reader.readBytes(32))
    let computed = CRC32C.mask(CRC32C.checksum(bytes.span.extracting(0..<reader.offset)))
    let stored = try reader.readBytes(4).reduce(0) { $0 << 8 | UInt32($1) }
    guard stored == computed, chained <= 1, let peer else { throw .headerMismatch }
    guard suite == HashSuite.current.rawValue else { throw .unknownHashSuite(suite) }
    // No entry has this index, since no index follows it.
    guard start < .max else { throw .indexOverflow }
    return (
      SegmentHeader(mode: mode, peer: PeerID(peer), start: start, head: hash.map(ChainHead.init)),
      reader.offset
    )
  }
}
