public import SpindleCore

/// The end of a segment: all that writing or reading on from there depends on.
public struct SegmentState: Sendable, Equatable {
  public let header: SegmentHeader
  /// The next entry's index.
  public internal(set) var next: UInt64
  /// The timestamp of the last real entry; zero before the first.
  public internal(set) var lastTimestamp = Timestamp.zero
  /// The chain's head after the last entry; nil where the header has none.
  public internal(set) var head: ChainHead?
  /// Bytes of the header and of all whole entries.
  public package(set) var byteCount: Int
  var dictionary = UUIDDictionary()

  /// The most bytes of a segment: 1 GiB. Readers hold one in memory.
  package static let byteLimit = 1 << 30

  init(_ header: SegmentHeader, byteCount: Int) {
    self.header = header
    next = header.start
    head = header.head
    self.byteCount = byteCount
  }

  public var entryCount: UInt64 { next - header.start }

  mutating func append(_ hash: EntryHash) {
    next += 1
    head = head?.appending(hash)
  }
}

/// What entry and marker have in common where they are written and read.
enum SegmentEntry {
  // Part of the format; must not be changed.
  static let trailerByteCount = 4

  /// What follows a real entry: the first bytes of its hash.
  static func trailer(of hash: EntryHash) -> [UInt8] { Array(hash.bytes.prefix(trailerByteCount)) }

  /// What follows a marker: the checksum of peer, index and the hash that it carries. The first
  /// bytes of that hash would only repeat what they are to vouch for.
  static func trailer(ofMarker hash: EntryHash, peer: PeerID, index: UInt64) -> [UInt8] {
    var content: [UInt8] = []
    peer.uuid.append(to: &content)
    content.appendBigEndian(index)
    hash.append(to: &content)
    var trailer: [UInt8] = []
    trailer.appendBigEndian(CRC32C.mask(CRC32C.checksum(content)))
    return trailer
  }
}
