internal import SpindleCore
internal import SpindleIO

/// What a replica told the others of a folder that it has and keeps: `<root>/<peer>/cursors`.
/// `Documentation/Formats/oplog-segment.md`, Folder.
enum FileLogAcknowledgement {
  /// The most peers that a file may name; also what bounds a reader's memory.
  static let peerLimit = 65_536
  private static let peerByteCount = 24

  // Part of the format; must not be changed: per peer 16 bytes and its cursor u64, in the order of
  // the peers, then the masked CRC32C of all of them.
  static func encode(_ cursors: PeerCursors) -> [UInt8] {
    var bytes: [UInt8] = []
    for (peer, next) in cursors.sorted.prefix(peerLimit) {
      peer.uuid.append(to: &bytes)
      bytes.appendBigEndian(next)
    }
    bytes.appendBigEndian(CRC32C.mask(CRC32C.checksum(bytes)))
    return bytes
  }

  /// - Returns: nil for bytes that are damaged or have not arrived wholly, which say nothing.
  static func decode(_ bytes: [UInt8]) -> PeerCursors? {
    var reader = ByteReader(bytes.span)
    var cursors = PeerCursors()
    while reader.remaining >= peerByteCount {
      guard let peer = try? reader.readUUID(),
        let next = try? reader.readBigEndian(UInt64.self)
      else { return nil }
      cursors.advance(PeerID(peer), to: next)
    }
    return encode(cursors) == bytes ? cursors : nil
  }

  /// - Returns: nil where there is no file, or one whose bytes say nothing.
  /// - Throws: for one that cannot be read, and for what is no regular file.
  static func read(_ path: String) throws(IOFailure) -> PeerCursors? {
    let limit = peerLimit * peerByteCount + 4
    guard let bytes = try FileLogFolder.read(path, limit: limit) else { return nil }
    return decode(bytes)
  }
}
