internal import SpindleCore

/// The blocks of an archive. `Documentation/Formats/oplog-export.md`.
///
/// ```
/// kind 1 | length of body 4 | body | checksum 4
/// ```
/// The checksum is the masked CRC-32C of everything before it in the block.
enum ArchiveBlock {
  // Part of the format; must not be changed.
  /// Bytes that no text file starts with and that text conversions damage.
  static let signature: [UInt8] = [0x89, 0x53, 0x50, 0x4C, 0x0D, 0x0A, 0x1A, 0x0A]
  /// The version that this code writes, and the newest it reads.
  static let version: UInt8 = 3
  static let headByteCount = 5
  static let checksumByteCount = 4
  enum Kind {
    static let header: UInt8 = 1
    static let peer: UInt8 = 2
    static let rows: UInt8 = 3
    static let state: UInt8 = 4
    static let end: UInt8 = 5
  }
  /// A writer starts a new block of rows or state at these bounds, so only its last element goes
  /// beyond the bytes. A reader refuses more elements.
  static let elementsPerBlock = 1_024
  static let bytesPerBlock = 1 << 20
  /// The most bytes in the body of a block that is neither rows nor state; a prefix and
  /// the name of a reducer have 64 at most.
  private static let smallBodyLimit = 512

  /// The most bytes that the body of a block may have.
  ///
  /// - Parameter valueByteLimit: The most bytes of a row, or of a key of the state with its value.
  static func bodyLimit(kind: UInt8, valueByteLimit: Int) throws(DecodingFailure) -> UInt64 {
    switch kind {
    case Kind.header, Kind.peer, Kind.end: return UInt64(smallBodyLimit)
    case Kind.rows, Kind.state:
      // Each element has two lengths of up to 10 bytes.
      return UInt64(smallBodyLimit + bytesPerBlock + 20 * elementsPerBlock)
        + UInt64(clamping: valueByteLimit)
    default: throw .invalid("block kind \(kind) is unknown")
    }
  }

  /// - Parameter state: The name of the reducer that makes the state.
  case header(
    version: UInt8 = ArchiveBlock.version, contents: OpLogArchive.Contents, prefix: String,
    created: UInt64, state: String?)
  case peer(OpLogManifest.Peer)
  case rows(ArchivePage)
  case state([(key: [UInt8], value: [UInt8])])
  case end(clock: Timestamp?, peers: UInt64, rows: UInt64, stateKeys: UInt64, digest: EntryHash)

  /// How many rows or keys of state it holds.
  var elementCount: Int {
    switch self {
    case .rows(let page): page.rows.count
    case .state(let pairs): pairs.count
    case .header, .peer, .end: 0
    }
  }

  private var kind: UInt8 {
    switch self {
    case .header: Kind.header
    case .peer: Kind.peer
    case .rows: Kind.rows
    case .state: Kind.state
    case .end: Kind.end
    }
  }

  /// The whole block.
  var encoded: [UInt8] {
    let body = self.body
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Self.headByteCount + body.count + Self.checksumByteCount)
    bytes.append(kind)
    bytes.appendBigEndian(UInt32(body.count))
    bytes += body
    bytes.appendBigEndian(CRC32C.mask(CRC32C.checksum(bytes)))
    return bytes
  }

  private var body: [UInt8] {
    var bytes: [UInt8] = []
    switch self {
    case .header(let version, let contents, let prefix, let created, let state):
      bytes.append(version)
      bytes.append(contents.rawValue)
      bytes.appendBlob(Array(prefix.utf8))
      bytes.appendBigEndian(created)
      bytes.appendBlob(Array((state ?? "").utf8))
    case .peer(let peer):
      bytes += peer.peer.uuid.bytes
      bytes.appendBigEndian(peer.first)
      bytes.appendBigEndian(peer.next)
      bytes.append(
        (peer.firstHead == nil ? 0 : 1) | (peer.head == nil ? 0 : 2) | (peer.startsLate ? 4 : 0))
      peer.firstHead?.hash.append(to: &bytes)
      peer.head?.hash.append(to: &bytes)
    case .rows(let page):
      bytes += page.peer.uuid.bytes
      bytes.appendBigEndian(page.first)
      bytes.appendVarint(UInt64(page.rows.count))
      for row in page.rows { bytes.appendBlob(row.encoded) }
    case .state(let pairs):
      bytes.appendVarint(UInt64(pairs.count))
      for (key, value) in pairs {
        bytes.appendBlob(key)
        bytes.appendBlob(value)
      }
    case .end(let clock, let peers, let rows, let stateKeys, let digest):
      bytes.append(clock == nil ? 0 : 1)
      if let clock { bytes.appendBigEndian(clock.packed) }
      bytes.appendBigEndian(peers)
      bytes.appendBigEndian(rows)
      bytes.appendBigEndian(stateKeys)
      digest.append(to: &bytes)
    }
    return bytes
  }

  /// - Parameter version: The file's; 0 before its header.
  init(kind: UInt8, version: UInt8, body: Span<UInt8>) throws(DecodingFailure) {
    var reader = ByteReader(body)
    switch kind {
    case Kind.header:
      let version = try reader.readUInt8()
      guard (1...Self.version).contains(version) else { throw .unknownVersion(version) }
      let contents = OpLogArchive.Contents(rawValue: try reader.readUInt8())
      guard !contents.isEmpty, contents.isSubset(of: .everything) else {
        throw .invalid("contents 0x\(hexString(CollectionOfOne(contents.rawValue))) are unknown")
      }
      let prefix = try Self.text(try reader.readBlob(), "prefix")
      let created = try reader.readBigEndian(UInt64.self)
      let state = version < 3 ? "" : try Self.text(try reader.readBlob(), "name of the state")
      self = .header(
        version: version, contents: contents, prefix: prefix, created: created,
        state: state.isEmpty ? nil : state)
    case Kind.peer:
      let peer = PeerID(try reader.readUUID())
      let first = try reader.readBigEndian(UInt64.self)
      let next = try reader.readBigEndian(UInt64.self)
      let flags = try reader.readUInt8()
      guard flags < (version == 1 ? 4 : 8) else {
        throw .invalid("flags \(flags) of a peer are unknown")
      }
      let firstHead = flags & 1 == 0 ? nil : try reader.readBytes(EntryHash.byteCount)
      let head = flags & 2 == 0 ? nil : try reader.readBytes(EntryHash.byteCount)
      guard first <= next, next > 0 else {
        throw .invalid("the part of peer \(peer) goes from index \(first) to \(next)")
      }
      self = .peer(
        OpLogManifest.Peer(
          peer: peer, first: first, next: next,
          firstHead: firstHead.flatMap { EntryHash(bytes: $0) }.map(ChainHead.init),
          head: head.flatMap { EntryHash(bytes: $0) }.map(ChainHead.init),
          startsLate: flags & 4 != 0))
    case Kind.rows:
      let peer = PeerID(try reader.readUUID())
      let first = try reader.readBigEndian(UInt64.self)
      let count = try Self.count(try reader.readVarint())
      var page = ArchivePage(peer: peer, first: first)
      for _ in 0..<count {
        let bytes = try reader.readBlob()
        page.rows.append(try OpLogRow(decoding: bytes.span))
      }
      self = .rows(page)
    case Kind.state:
      let count = try Self.count(try reader.readVarint())
      var pairs: [(key: [UInt8], value: [UInt8])] = []
      for _ in 0..<count {
        let key = try reader.readBlob()
        let value = try reader.readBlob()
        pairs.append((key, value))
      }
      self = .state(pairs)
    case Kind.end:
      let flag = try reader.readUInt8()
      guard flag < 2 else { throw .invalid("flag \(flag) of the end is unknown") }
      let packed = flag == 0 ? nil : try reader.readBigEndian(UInt64.self)
      let peers = try reader.readBigEndian(UInt64.self)
      let rows = try reader.readBigEndian(UInt64.self)
      let stateKeys = try reader.readBigEndian(UInt64.self)
      guard let digest = EntryHash(bytes: try reader.readBytes(EntryHash.byteCount)) else {
        throw .truncated(needed: EntryHash.byteCount, available: 0)
      }
      self = .end(
        clock: packed.map(Timestamp.init(packed:)), peers: peers, rows: rows,
        stateKeys: stateKeys, digest: digest)
    default:
      throw .invalid("block kind \(kind) is unknown")
    }
    try reader.requireEnd()
  }

  private static func text(
    _ bytes: [UInt8], _ what: String
  ) throws(DecodingFailure) -> String {
    let text = String(decoding: bytes, as: UTF8.self)
    guard Array(text.utf8) == bytes else { throw .invalid("the \(what) is no text") }
    return text
  }

  private static func count(_ count: UInt64) throws(DecodingFailure) -> UInt64 {
    guard count <= elementsPerBlock else { throw .invalid("a block has \(count) elements") }
    return count
  }
}

/// Rows of one peer with consecutive indices.
struct ArchivePage: Sendable {
  var peer: PeerID
  var first: UInt64
  var rows: [OpLogRow] = []
}
