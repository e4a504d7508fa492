internal import SpindleCore
internal import SpindleIO

/// The names in a folder of logs: `<root>/<peer>/<start index>.seg`.
/// `Documentation/Formats/oplog-segment.md`, Folder.
struct FileLogFolder: Sendable {
  static let suffix = ".seg"
  private static let digitCount = 20

  let root: String

  func directory(of peer: PeerID) -> String { "\(root)/\(peer)" }

  func segment(of peer: PeerID, start: UInt64) -> String {
    let digits = String(start)
    let padding = String(repeating: "0", count: Self.digitCount - digits.utf8.count)
    return "\(directory(of: peer))/\(padding)\(digits)\(Self.suffix)"
  }

  /// How far the peer's own writer has come: see ``AcknowledgedMark``.
  func mark(of peer: PeerID) -> String { directory(of: peer) + "/acknowledged" }

  /// What the peer's replica told that it has: see ``FileLogAcknowledgement``.
  func acknowledgement(of peer: PeerID) -> String { directory(of: peer) + "/cursors" }

  func lock(of peer: PeerID) -> String { directory(of: peer) + "/lock" }

  /// Reads a small file of the folder, of which no more than `limit` bytes.
  ///
  /// As with segments, only a regular file is read: whoever shares the folder can put a pipe under
  /// the name, and opening that would hold the thread for ever.
  ///
  /// - Returns: nil where there is no file.
  static func read(_ path: String, limit: Int) throws(IOFailure) -> [UInt8]? {
    do throws(IOFailure) {
      var file = try FileReader(path)
      let count = Int(min(file.size, UInt64(limit)))
      return try file.read(count)
    } catch {
      if error.isNotFound { return nil }
      throw error
    }
  }

  /// The peers with a directory, in the order of their bytes; none while there is no folder.
  func peers() throws(IOFailure) -> [PeerID] {
    try names(in: root).compactMap { name in
      guard let peer = PeerID(text: name), peer.description == name else { return nil }
      return peer
    }
  }

  /// The start indices of a peer's segments, ascending. Other names, such as those of segments that
  /// are being written, are left alone.
  func starts(of peer: PeerID) throws(IOFailure) -> [UInt64] {
    try names(in: directory(of: peer)).compactMap { name in
      guard name.hasSuffix(Self.suffix) else { return nil }
      let digits = name.dropLast(Self.suffix.utf8.count)
      guard digits.utf8.count == Self.digitCount, digits.utf8.allSatisfy(Self.isDigit) else {
        return nil
      }
      // No entry has the last index, so no segment starts there.
      return UInt64(digits).flatMap { $0 < .max ? $0 : nil }
    }
  }

  private static func isDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }

  private func names(in path: String) throws(IOFailure) -> [String] {
    do throws(IOFailure) { return try Files.names(in: path) } catch {
      if error.isNotFound { return [] }
      throw error
    }
  }
}
