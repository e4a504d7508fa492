public import SpindleCore

/// A row of the op-log: what is recorded at one index of one peer.
///
/// ```
/// version 1 | flags 1 | timestamp 8 | tag 1 | user 16 ? | chain 32 ? | key length, key ? | value ?
/// ```
/// Version 1 has no chain, version 2 has one; anything else is the same in both.
/// `Documentation/Formats/oplog-row.md` describes each byte. The encoding is canonical: bytes that
/// decode at all are the ones that the decoded row encodes to.
public struct OpLogRow: Sendable, Equatable {
  /// The record version of a row outside any chain.
  public static let version: UInt8 = 1
  /// The record version of a row that carries the head of its peer's chain.
  public static let chainedVersion: UInt8 = 2

  // Part of the format; must not be changed.
  private enum Flag {
    static let user: UInt8 = 1 << 0
    static let expunged: UInt8 = 1 << 1
    static let noKey: UInt8 = 1 << 2
    static let noValue: UInt8 = 1 << 3
    static let known: UInt8 = 0x0F
  }

  /// When the entry was made; zero for an expunged marker.
  public let timestamp: Timestamp
  /// Whom the server vouched for; nil for an expunged marker.
  public let serverUser: UserID?
  /// The op's tag; 255 for an expunged marker.
  public let tag: UInt8
  /// The op's identity; nil and empty are different.
  public let key: [UInt8]?
  /// The op's payload, or the hash of an expunged entry; nil and empty are different.
  public let value: [UInt8]?
  /// The head of the peer's chain with this row in it; nil for a row that was recorded without.
  /// Not part of what the row says: see ``hash(peer:index:)``.
  public private(set) var chain: ChainHead?

  /// The row of a real entry.
  ///
  /// - Throws: ``CodecError/reservedTag`` for tag 255.
  public init(timestamp: Timestamp, serverUser: UserID?, entry: IndexEntry) throws(CodecError) {
    guard entry.tag != IndexEntry.reservedTag else { throw .reservedTag }
    self.timestamp = timestamp
    self.serverUser = serverUser
    tag = entry.tag
    key = entry.key
    value = entry.value
  }

  /// The marker that occupies a removed entry's index.
  public init(expunged hash: EntryHash) {
    timestamp = .zero
    serverUser = nil
    tag = IndexEntry.reservedTag
    key = nil
    value = hash.bytes
  }

  public var isExpunged: Bool { tag == IndexEntry.reservedTag }

  /// The removed entry's hash; nil for a real entry.
  public var expungedHash: EntryHash? {
    guard isExpunged, let value else { return nil }
    return EntryHash(bytes: value)
  }

  /// The same row as a link of a chain.
  public func chained(_ head: ChainHead) -> OpLogRow {
    var row = self
    row.chain = head
    return row
  }

  /// What identifies this entry at its place: the hash of peer, index and everything that the row
  /// says. A marker gives the hash of the entry that was there, so removing an entry changes no
  /// hash.
  ///
  /// The hashed bytes are a domain byte, the peer, the index, and the row as a record of version 1.
  public func hash(peer: PeerID, index: UInt64) -> EntryHash {
    if let expungedHash { return expungedHash }
    var content: [UInt8] = []
    content.reserveCapacity(25 + headerLimit)
    content.append(HashDomain.entry)
    peer.uuid.append(to: &content)
    content.appendBigEndian(index)
    appendHeader(chain: nil, to: &content)
    guard let value else { return HashSuite.current.hash(content.span) }
    return HashSuite.current.hash(content.span, value.span)
  }

  /// Whether two rows say the same: equal tag, key and value. Timestamp and user are left out,
  /// because an entry that is delivered again is stamped again.
  public func hasSameOperation(as other: OpLogRow) -> Bool {
    tag == other.tag && key == other.key && value == other.value
  }

  // MARK: Bytes

  /// The record's bytes before the value, so that a large value needs no copy of its own.
  package var header: [UInt8] { header(chain) }

  /// The same as a link of a chain.
  func header(_ chain: ChainHead?) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(headerLimit)
    appendHeader(chain: chain, to: &bytes)
    return bytes
  }

  /// The most bytes of the header.
  private var headerLimit: Int { 11 + 16 + EntryHash.byteCount + 10 + (key?.count ?? 0) }

  private func appendHeader(chain: ChainHead?, to bytes: inout [UInt8]) {
    var flags: UInt8 = 0
    if serverUser != nil { flags |= Flag.user }
    if isExpunged { flags |= Flag.expunged }
    if key == nil { flags |= Flag.noKey }
    if value == nil { flags |= Flag.noValue }
    bytes.append(chain == nil ? Self.version : Self.chainedVersion)
    bytes.append(flags)
    bytes.appendBigEndian(timestamp.packed)
    bytes.append(tag)
    serverUser?.uuid.append(to: &bytes)
    chain?.hash.append(to: &bytes)
    if let key { bytes.appendBlob(key) }
  }

  /// The whole record.
  public var encoded: [UInt8] { header + (value ?? []) }

  /// Reads a record.
  ///
  /// - Throws: ``DecodingFailure`` for an unknown version, unknown flags, or bytes that no row
  ///   encodes to.
  public init(decoding bytes: Span<UInt8>) throws(DecodingFailure) {
    // Into variables: a row that is asked while it is made is copied, with its holders counted.
    var reader = ByteReader(bytes)
    let version = try reader.readUInt8()
    guard version == Self.version || version == Self.chainedVersion else {
      throw .unknownVersion(version)
    }
    let flags = try reader.readUInt8()
    guard flags & ~Flag.known == 0 else {
      throw .invalid("flags 0x\(hexString(CollectionOfOne(flags))) are unknown")
    }
    let timestamp = Timestamp(packed: try reader.readBigEndian(UInt64.self))
    let tag = try reader.readUInt8()
    let serverUser = flags & Flag.user != 0 ? UserID(try reader.readUUID()) : nil
    let chain: ChainHead? =
      version == Self.chainedVersion ? ChainHead(try EntryHash(from: &reader)) : nil
    let isExpunged = tag == IndexEntry.reservedTag
    guard isExpunged == (flags & Flag.expunged != 0) else {
      throw .invalid("tag \(tag) contradicts the flag of expunged entries")
    }
    if isExpunged {
      guard flags == Flag.expunged | Flag.noKey, timestamp == .zero else {
        throw .invalid("an expunged entry has a user, a key, a time or no hash")
      }
      guard reader.remaining == EntryHash.byteCount else {
        throw .invalid("the hash of an expunged entry has \(reader.remaining) bytes, not 32")
      }
    }
    let key: [UInt8]? = flags & Flag.noKey == 0 ? try reader.readBlob() : nil
    let value: [UInt8]?
    if flags & Flag.noValue == 0 {
      value = copyBytes(reader.rest)
    } else {
      try reader.requireEnd()
      value = nil
    }
    self.timestamp = timestamp
    self.serverUser = serverUser
    self.tag = tag
    self.key = key
    self.value = value
    self.chain = chain
  }
}

/// A row and the index where it is recorded.
public struct IndexedOpLogRow: Sendable, Equatable {
  public let index: UInt64
  public let row: OpLogRow

  public init(index: UInt64, row: OpLogRow) {
    self.index = index
    self.row = row
  }
}
