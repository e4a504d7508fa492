internal import SpindleCore
internal import SpindleIO

/// How far a peer's own writer had come when its sink last returned: entries below
/// ``next`` were acknowledged.
///
/// Written after each sync. It is synced where a segment ends and when the sink is closed, so after
/// power loss it may be behind; it is never ahead. Made under another name at first and written
/// over within one sector afterwards, so it is always whole: one that cannot be read is damaged.
///
/// It tells a torn end, which was never acknowledged, from acknowledged entries that were damaged
/// or lost.
package struct AcknowledgedMark: Sendable, Equatable {
  package var next: UInt64
  /// The start of the segment that ends there.
  package var start: UInt64
  /// Bytes of that segment up to there.
  package var byteCount: UInt64

  package init(next: UInt64, start: UInt64, byteCount: UInt64) {
    self.next = next
    self.start = start
    self.byteCount = byteCount
  }

  init(_ end: SegmentState) {
    self.init(next: end.next, start: end.header.start, byteCount: UInt64(end.byteCount))
  }

  // Part of the format; must not be changed: three u64, masked CRC32C of them.
  package var encoded: [UInt8] {
    var bytes: [UInt8] = []
    for number in [next, start, byteCount] { bytes.appendBigEndian(number) }
    bytes.appendBigEndian(CRC32C.mask(CRC32C.checksum(bytes)))
    return bytes
  }

  private static let encodedByteCount = 28

  /// - Returns: nil where there is no mark, which says nothing.
  /// - Throws: ``SpindleError`` with `corruption`, reason `corrupt_mark`, for one that is damaged;
  ///   `io`.
  static func read(_ path: String) throws(SpindleError) -> AcknowledgedMark? {
    let content: [UInt8]?
    do throws(IOFailure) { content = try FileLogFolder.read(path, limit: 64) } catch {
      throw error.spindleError
    }
    guard let bytes = content else { return nil }
    var numbers: [UInt64] = []
    for end in stride(from: 8, through: min(bytes.count, 24), by: 8) {
      numbers.append(bytes[(end - 8)..<end].reduce(0) { $0 << 8 | UInt64($1) })
    }
    if bytes.count == encodedByteCount {
      let mark = AcknowledgedMark(next: numbers[0], start: numbers[1], byteCount: numbers[2])
      if mark.encoded == bytes { return mark }
    }
    throw SpindleError(
      .corruption,
      "the file \(path), which tells how far the log was acknowledged, is damaged; compare the "
        + "log with another copy before it is removed", path: path, reason: "corrupt_mark")
  }

  /// Replaces a mark that is there, or makes the first.
  func write(to path: String, isSynced: Bool) throws(IOFailure) {
    guard try Files.isThere(path) else { return try Files.writeAtomically(encoded, to: path) }
    try Files.overwrite(encoded, at: path)
    if isSynced { try Files.synchronize(path) }
  }
}
