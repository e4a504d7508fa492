package import SpindleCore

/// The keys of a prefix's column family. `Documentation/Formats/oplog-row.md`, Keys.
///
/// Numbers are big-endian, so that the order of bytes is the order of numbers over the whole
/// unsigned range.
package enum OpLogKeys {
  // Part of the format; must not be changed.
  package static let metaSubspace: UInt8 = 0x00
  package static let entrySubspace: UInt8 = 0x01
  package static let clockSubspace: UInt8 = 0x02
  /// Subspaces that the format reserves: the cursor cache and the indexes by time, user and key.
  package static let reservedSubspaces: [UInt8] = [0x03, 0x10, 0x11, 0x12]

  package static let formatKey = meta("format")
  package static let prefixKey = meta("prefix")
  package static let createdKey = meta("created")
  package static let clockKey: [UInt8] = [clockSubspace]

  /// Bytes of an entry's key: subspace, peer, index.
  package static let entryByteCount = 25

  private static func meta(_ name: StaticString) -> [UInt8] {
    [metaSubspace] + Array(name.description.utf8)
  }

  package static func entry(_ peer: PeerID, _ index: UInt64) -> [UInt8] {
    var key: [UInt8] = []
    key.reserveCapacity(entryByteCount)
    key.append(entrySubspace)
    peer.uuid.append(to: &key)
    key.appendBigEndian(index)
    return key
  }

  /// What every key of a peer's entries starts with: below all of them, and above those of every
  /// peer before.
  package static func entries(of peer: PeerID) -> [UInt8] {
    var key: [UInt8] = [entrySubspace]
    peer.uuid.append(to: &key)
    return key
  }

  /// The end of a peer's entries, itself excluded: the peer plus one with carry. The last peer's
  /// end is the next subspace byte alone, since anything longer would let the clock's key in.
  package static func upperBound(of peer: PeerID) -> [UInt8] {
    var key = entries(of: peer)
    while let last = key.popLast() {
      if last < 0xFF {
        key.append(last + 1)
        break
      }
    }
    return key
  }

  /// Reads an entry's key; nil for any other bytes.
  package static func decodeEntry(_ key: Span<UInt8>) -> (peer: PeerID, index: UInt64)? {
    var reader = ByteReader(key)
    guard key.count == entryByteCount, (try? reader.readUInt8()) == entrySubspace,
      let peer = try? reader.readUUID(), let index = try? reader.readBigEndian(UInt64.self)
    else { return nil }
    return (PeerID(peer), index)
  }
}
