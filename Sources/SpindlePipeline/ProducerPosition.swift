internal import SpindleCore

/// How far a producer's input was applied: what a rerun continues from.
///
/// Written in the same batch as the op it counts, so the two never disagree.
public struct ProducerPosition: Sendable, Equatable {
  /// The producer's name.
  public var producer: String
  /// The index of the next op: how many batches were applied.
  public var nextIndex: UInt64 = 0
  /// Bytes of the input that were applied, from its start.
  public var byteCount: UInt64 = 0
  /// Physical lines of the input that were applied: points, rejected lines, comments, blanks.
  public var lineCount: UInt64 = 0
  /// Points applied.
  public var pointCount: UInt64 = 0
  /// Lines rejected.
  public var rejectedCount: UInt64 = 0
  /// SHA-256 of the input's first ``byteCount`` bytes; nil when the input cannot be read again.
  public var digest: [UInt8]?

  public init(producer: String) { self.producer = producer }

  /// The position after one more op, or nil when the op does not follow.
  func advanced(by op: IngestOp, at index: UInt64) -> ProducerPosition? {
    guard index == nextIndex, op.source.byteOffset == byteCount,
      op.source.firstLine == lineCount + 1, let bytes = Self.sum(byteCount, op.source.byteCount),
      let lines = Self.sum(lineCount, op.source.lineCount),
      let points = Self.sum(pointCount, op.pointCount),
      let rejected = Self.sum(rejectedCount, op.rejectedCount)
    else { return nil }
    var next = self
    next.nextIndex += 1
    next.byteCount = bytes
    next.lineCount = lines
    next.pointCount = points
    next.rejectedCount = rejected
    next.digest = op.source.digest
    return next
  }

  /// The sum, or nil beyond 2^63: the counts come from stored bytes, and every sum of two of them
  /// must stay a number.
  private static func sum(_ left: UInt64, _ right: UInt64) -> UInt64? {
    let (sum, overflows) = left.addingReportingOverflow(right)
    return overflows || sum > UInt64(Int64.max) ? nil : sum
  }

  // MARK: Record (`Documentation/Formats/ingest-state.md`)

  // Part of the format; must not be changed.
  static let version: UInt8 = 1

  func encoded() -> [UInt8] {
    var bytes: [UInt8] = [Self.version, digest == nil ? 0 : 1]
    for number in [nextIndex, byteCount, lineCount, pointCount, rejectedCount] {
      bytes.appendVarint(number)
    }
    bytes.appendBlob(Array(producer.utf8))
    if let digest { bytes.append(contentsOf: digest) }
    bytes.appendBigEndian(CRC32C.mask(CRC32C.checksum(bytes)))
    return bytes
  }

  init(decoding record: Span<UInt8>) throws(DecodingFailure) {
    var reader = ByteReader(try checkedBody(of: record))
    let version = try reader.readUInt8()
    guard version == Self.version else { throw .unknownVersion(version) }
    let flags = try reader.readUInt8()
    guard flags <= 1 else { throw .invalid("flags \(flags) are unknown") }
    nextIndex = try reader.readVarint()
    byteCount = try reader.readVarint()
    lineCount = try reader.readVarint()
    pointCount = try reader.readVarint()
    rejectedCount = try reader.readVarint()
    producer = String(decoding: try reader.readBlob(), as: UTF8.self)
    let counts = [nextIndex, byteCount, lineCount, pointCount, rejectedCount]
    guard counts.allSatisfy({ $0 <= UInt64(Int64.max) }) else {
      throw .invalid("a count exceeds 2^63")
    }
    digest = flags == 1 ? try reader.readBytes(32) : nil
    try reader.requireEnd()
  }
}

/// A record without its trailing checksum (masked CRC32C, big-endian), once that was checked.
@_lifetime(copy record)
func checkedBody(of record: Span<UInt8>) throws(DecodingFailure) -> Span<UInt8> {
  guard record.count >= 4 else { throw .truncated(needed: 4, available: record.count) }
  let body = record.extracting(0..<(record.count - 4))
  var trailer = ByteReader(record.extracting((record.count - 4)..<record.count))
  let stored = try trailer.readBigEndian(UInt32.self)
  let computed = CRC32C.mask(CRC32C.checksum(body))
  guard stored == computed else { throw .checksumMismatch(stored: stored, computed: computed) }
  return body
}
