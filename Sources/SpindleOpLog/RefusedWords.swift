internal import SpindleCore

/// Words of a replica that was forgotten, beside the one that it had given when it was: each is
/// heard again where it was heard, and says nothing new. `Documentation/Formats/oplog-row.md`,
/// Acknowledgements.
enum RefusedWords {
  /// The most words of a replica that are kept besides the one that it had given last: a replica
  /// leaves one in each folder that it shared. Beyond them the oldest counts again.
  static let limit = 8

  // Part of the format; must not be changed: of each word the count of its peers u32, and per peer
  // 16 bytes and its cursor u64, in the order of the peers.
  static func encode(_ words: [PeerCursors]) -> [UInt8] {
    var bytes: [UInt8] = []
    for word in words {
      bytes.appendBigEndian(UInt32(word.count))
      for (peer, next) in word.sorted {
        peer.uuid.append(to: &bytes)
        bytes.appendBigEndian(next)
      }
    }
    return bytes
  }

  /// Reads what ``encode(_:)`` gave; nil for any other bytes.
  static func decode(_ bytes: [UInt8]) -> [PeerCursors]? {
    var reader = ByteReader(bytes.span)
    var words: [PeerCursors] = []
    while reader.remaining > 0 {
      guard words.count < limit, let count = try? reader.readBigEndian(UInt32.self) else {
        return nil
      }
      var word = PeerCursors()
      for _ in 0..<count {
        guard let peer = try? reader.readUUID(), let next = try? reader.readBigEndian(UInt64.self)
        else { return nil }
        word.advance(PeerID(peer), to: next)
      }
      words.append(word)
    }
    return encode(words) == bytes ? words : nil
  }
}
