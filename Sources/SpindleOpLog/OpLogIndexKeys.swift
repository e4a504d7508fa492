package import SpindleCore

/// A key of an optional index: it has no value, since the entry's own row says the rest.
/// `Documentation/Formats/oplog-row.md`, Indexes.
package struct OpLogIndexKey: Equatable {
  /// What the index sorts by before the time.
  package enum Subject: Equatable {
    case time
    case user(UserID)
    case key([UInt8])
  }

  package var subject: Subject
  package var timestamp: Timestamp
  package var peer: PeerID
  package var index: UInt64

  // Part of the format; must not be changed.
  package static let timeSubspace: UInt8 = 0x10
  package static let userSubspace: UInt8 = 0x11
  package static let keySubspace: UInt8 = 0x12
  /// Timestamp, peer, index.
  private static let tailByteCount = 32

  package init(subject: Subject, timestamp: Timestamp, peer: PeerID, index: UInt64) {
    self.subject = subject
    self.timestamp = timestamp
    self.peer = peer
    self.index = index
  }

  package var bytes: [UInt8] {
    var bytes = Self.start(of: subject)
    bytes.appendBigEndian(timestamp.packed)
    peer.uuid.append(to: &bytes)
    bytes.appendBigEndian(index)
    return bytes
  }

  /// What every key of a subject starts with, and no key of another.
  package static func start(of subject: Subject) -> [UInt8] {
    switch subject {
    case .time: return [timeSubspace]
    case .user(let user): return [userSubspace] + user.uuid.bytes
    case .key(let key): return start(ofKeysWithPrefix: key) + [0, 0]
    }
  }

  /// What every key of a key with a prefix starts with. Zero bytes are doubled as 00 FF, so that
  /// 00 00 ends the key: no key is the beginning of another, and the order is kept.
  package static func start(ofKeysWithPrefix prefix: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = [keySubspace]
    bytes.reserveCapacity(prefix.count + 3 + tailByteCount)
    for byte in prefix {
      bytes.append(byte)
      if byte == 0 { bytes.append(0xFF) }
    }
    return bytes
  }

  /// The first key behind all that start with these bytes; nil when there is none.
  package static func end(ofKeysWithStart start: [UInt8]) -> [UInt8]? {
    var bytes = start
    while let last = bytes.popLast() {
      if last < 0xFF { return bytes + [last + 1] }
    }
    return nil
  }

  /// The keys of an entry's row; none for a marker.
  package static func keys(
    of row: OpLogRow, peer: PeerID, index: UInt64, in indexes: OpLogIndexes
  ) -> [[UInt8]] {
    if row.isExpunged || indexes.isEmpty { return [] }
    var subjects: [Subject] = []
    if indexes.contains(.byTime) { subjects.append(.time) }
    if indexes.contains(.byUser), let user = row.serverUser { subjects.append(.user(user)) }
    if indexes.contains(.byKey), let key = row.key { subjects.append(.key(key)) }
    return subjects.map { subject in
      OpLogIndexKey(subject: subject, timestamp: row.timestamp, peer: peer, index: index).bytes
    }
  }

  /// Reads a key; nil for bytes that no key encodes to.
  package init?(decoding bytes: Span<UInt8>) {
    var reader = ByteReader(bytes)
    guard let subspace = try? reader.readUInt8() else { return nil }
    switch subspace {
    case Self.timeSubspace: subject = .time
    case Self.userSubspace:
      guard let user = try? reader.readUUID() else { return nil }
      subject = .user(UserID(user))
    case Self.keySubspace:
      guard let key = Self.readKey(&reader) else { return nil }
      subject = .key(key)
    default: return nil
    }
    guard reader.remaining == Self.tailByteCount,
      let packed = try? reader.readBigEndian(UInt64.self), let peer = try? reader.readUUID(),
      let index = try? reader.readBigEndian(UInt64.self)
    else { return nil }
    timestamp = Timestamp(packed: packed)
    self.peer = PeerID(peer)
    self.index = index
  }

  private static func readKey(_ reader: inout ByteReader) -> [UInt8]? {
    var key: [UInt8] = []
    while let byte = try? reader.readUInt8() {
      if byte != 0 {
        key.append(byte)
        continue
      }
      switch try? reader.readUInt8() {
      case 0: return key
      case 0xFF: key.append(0)
      default: return nil
      }
    }
    return nil
  }

  /// Which index this key belongs to.
  package var kind: OpLogIndexes {
    switch subject {
    case .time: .byTime
    case .user: .byUser
    case .key: .byKey
    }
  }

  /// Whether a row belongs under this key.
  package func matches(_ row: OpLogRow) -> Bool {
    guard !row.isExpunged, row.timestamp == timestamp else { return false }
    return switch subject {
    case .time: true
    case .user(let user): row.serverUser == user
    case .key(let key): row.key == key
    }
  }
}
