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
  /// Reserved by the format for a cache of the cursors.
  package static let reservedSubspace: UInt8 = 0x03
  package static let floorSubspace: UInt8 = 0x04
  package static let tokenSubspace: UInt8 = 0x05
  package static let tokenExpirySubspace: UInt8 = 0x06
  package static let acknowledgementSubspace: UInt8 = 0x07
  package static let rewriteSubspace: UInt8 = 0x08
  package static let forgottenSubspace: UInt8 = 0x09

  package static let formatKey = meta("format")
  package static let prefixKey = meta("prefix")
  package static let createdKey = meta("created")
  /// The optional indexes that are complete; absent when there are none.
  package static let indexesKey = meta("indexes")
  /// The optional indexes that are being built; absent when there are none.
  package static let buildingKey = meta("building")
  /// How far the log of the one peer that writes here is known elsewhere, as it was kept before
  /// each peer had a key of its own.
  package static let fenceKey = meta("fence")
  /// The export that is being put into this prefix; absent when there is none.
  package static let installingKey = meta("installing")
  /// The name of the reducer that makes the state; absent where it was never told.
  package static let stateKey = meta("state")
  /// There while the state is made anew, when it is not whole.
  package static let rebuildingKey = meta("rebuilding")
  /// What the keys of refused words start with.
  package static let refusedKey = meta("refused")
  package static let clockKey: [UInt8] = [clockSubspace]

  /// Bytes of an entry's key: subspace, peer, index.
  package static let entryByteCount = 25

  private static func meta(_ name: StaticString) -> [UInt8] {
    [metaSubspace] + Array(name.description.utf8)
  }

  /// Where it stands how far the log of a peer that writes here is known elsewhere.
  package static func fence(_ peer: PeerID) -> [UInt8] { fenceKey + peer.uuid.bytes }

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

  /// Where a peer's floor stands.
  package static func floor(_ peer: PeerID) -> [UInt8] { [floorSubspace] + peer.uuid.bytes }

  /// Where it stands how far a replica has a peer's log.
  package static func acknowledgement(_ replica: PeerID, _ peer: PeerID) -> [UInt8] {
    acknowledgements(of: replica) + peer.uuid.bytes
  }

  /// What every key of a replica's acknowledgements starts with.
  package static func acknowledgements(of replica: PeerID) -> [UInt8] {
    [acknowledgementSubspace] + replica.uuid.bytes
  }

  /// Where it stands how far a forgotten replica had said that it has a peer's log.
  package static func forgotten(_ replica: PeerID, _ peer: PeerID) -> [UInt8] {
    forgotten(replica) + peer.uuid.bytes
  }

  /// What every key of a forgotten replica's words starts with.
  package static func forgotten(_ replica: PeerID) -> [UInt8] {
    [forgottenSubspace] + replica.uuid.bytes
  }

  /// Where the words stand whose repeats by a replica change nothing, beside those that it had
  /// given when it was forgotten the last time.
  package static func refused(_ replica: PeerID) -> [UInt8] { refusedKey + replica.uuid.bytes }

  /// Where it stands that an entry is to be removed from published files.
  package static func rewrite(_ peer: PeerID, _ index: UInt64) -> [UInt8] {
    var key = rewrites(of: peer)
    key.appendBigEndian(index)
    return key
  }

  /// What every key of a peer's entries that are to be removed from files starts with.
  package static func rewrites(of peer: PeerID) -> [UInt8] { [rewriteSubspace] + peer.uuid.bytes }

  /// Reads a key of an entry that is to be removed from files; nil for any other bytes.
  package static func decodeRewrite(_ key: Span<UInt8>) -> (peer: PeerID, index: UInt64)? {
    var reader = ByteReader(key)
    guard key.count == entryByteCount, (try? reader.readUInt8()) == rewriteSubspace,
      let peer = try? reader.readUUID(), let index = try? reader.readBigEndian(UInt64.self)
    else { return nil }
    return (PeerID(peer), index)
  }

  package static func token(_ token: IdempotencyToken) -> [UInt8] {
    [tokenSubspace] + token.bytes
  }

  /// The tokens in the order of their expiry.
  package static func tokenExpiry(_ milliseconds: UInt64, _ token: IdempotencyToken) -> [UInt8] {
    var key: [UInt8] = [tokenExpirySubspace]
    key.appendBigEndian(milliseconds)
    return key + token.bytes
  }

  /// Reads a key of a token's expiry; nil for any other bytes.
  package static func decodeTokenExpiry(
    _ key: Span<UInt8>
  ) -> (milliseconds: UInt64, token: IdempotencyToken)? {
    var reader = ByteReader(key)
    guard (try? reader.readUInt8()) == tokenExpirySubspace,
      let milliseconds = try? reader.readBigEndian(UInt64.self),
      let token = IdempotencyToken(copyBytes(reader.rest))
    else { return nil }
    return (milliseconds, token)
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
