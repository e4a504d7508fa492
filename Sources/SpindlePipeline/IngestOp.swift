public import SpindleCore
internal import SpindleCodecs
public import SpindleFormats
public import SpindleOpLog

/// Where a batch of lines stood in its producer's input.
public struct SourceSpan: Sendable, Equatable {
  /// The first byte, counted from 0, in the input as the producer gave it (gzip inflated).
  public var byteOffset: UInt64
  public var byteCount: UInt64
  /// The first physical line, counted from 1.
  public var firstLine: UInt64
  /// Physical lines: points, rejected lines, comments and blank lines.
  public var lineCount: UInt64
  /// SHA-256 of all input bytes up to the end of this span; nil when the producer gave no input
  /// that could be read again.
  public var digest: [UInt8]?

  public init(
    byteOffset: UInt64, byteCount: UInt64, firstLine: UInt64, lineCount: UInt64,
    digest: [UInt8]? = nil
  ) {
    self.byteOffset = byteOffset
    self.byteCount = byteCount
    self.firstLine = firstLine
    self.lineCount = lineCount
    self.digest = digest
  }
}

/// One operation of the `ingest` log: a batch of line protocol of one producer.
///
/// `Documentation/Formats/ingest-op.md` describes its bytes.
public struct IngestOp: IndexableOp, Sendable, Equatable {
  /// The name of the producer, whose batches count from 0.
  public var producer: String
  public var source: SourceSpan
  /// The unit of the timestamps in the lines.
  public var precision: TimestampPrecision
  /// Nanoseconds since 1970 for lines without a timestamp: when the batch was accepted. Kept in
  /// the op, so that applying it again gives the same points.
  public var defaultTimestamp: Int64
  /// Points in the payload.
  public var pointCount: UInt64
  /// Lines of the span that were rejected and are not in the payload.
  public var rejectedCount: UInt64
  /// The accepted lines, compressed or not.
  var payload: Payload

  struct Payload: Sendable, Equatable {
    var codec: UInt8
    var rawCount: Int
    var bytes: [UInt8]
  }

  // Part of the format; must not be changed.
  static let tag: UInt8 = 1
  static let version: UInt8 = 1
  static let codecNone: UInt8 = 0
  static let codecLZ4: UInt8 = 1
  private static let digestFlag: UInt8 = 1
  /// The most bytes of lines in one op. Bounds what a damaged length can make a reader allocate.
  public static let rawByteLimit = 256 << 20

  /// Packs accepted lines.
  public init(
    producer: String, source: SourceSpan, precision: TimestampPrecision, defaultTimestamp: Int64,
    pointCount: UInt64, rejectedCount: UInt64, lines: Span<UInt8>
  ) {
    self.producer = producer
    self.source = source
    self.precision = precision
    self.defaultTimestamp = defaultTimestamp
    self.pointCount = pointCount
    self.rejectedCount = rejectedCount
    var compressed: [UInt8] = []
    if LZ4Block.compress(lines, appendingTo: &compressed) {
      payload = Payload(codec: Self.codecLZ4, rawCount: lines.count, bytes: compressed)
    } else {
      payload = Payload(codec: Self.codecNone, rawCount: lines.count, bytes: copyBytes(lines))
    }
  }

  /// The accepted lines.
  public func lines() throws(DecodingFailure) -> [UInt8] {
    guard payload.codec == Self.codecLZ4 else { return payload.bytes }
    return try LZ4Block.decompress(payload.bytes.span, byteCount: payload.rawCount)
  }

  // MARK: The op-log's view

  /// Tag, key (the source position) and value, as the op-log's row keeps them.
  public func toIndexEntry() -> IndexEntry {
    var key: [UInt8] = []
    key.appendBigEndian(source.byteOffset)
    key.appendBigEndian(source.firstLine)
    var value: [UInt8] = []
    value.reserveCapacity(payload.bytes.count + producer.utf8.count + 96)
    value.append(Self.version)
    value.append(precisionCode)
    value.append(payload.codec)
    value.append(source.digest == nil ? 0 : Self.digestFlag)
    value.appendVarint(source.byteCount)
    value.appendVarint(source.lineCount)
    value.appendVarint(pointCount)
    value.appendVarint(rejectedCount)
    value.appendBigEndian(UInt64(bitPattern: defaultTimestamp))
    value.appendBlob(Array(producer.utf8))
    if let digest = source.digest { value.append(contentsOf: digest) }
    value.appendVarint(UInt64(payload.rawCount))
    value.append(contentsOf: payload.bytes)
    var checksum = CRC32C()
    checksum.update(key.span)
    checksum.update(value.span)
    value.appendBigEndian(CRC32C.mask(checksum.value))
    return IndexEntry(tag: Self.tag, key: key, value: value)
  }

  public static func fromIndexParts(
    tag: UInt8, key: [UInt8]?, value: [UInt8]?
  ) throws(CodecError) -> IngestOp {
    guard tag == Self.tag else { throw .unknownTag(tag) }
    do throws(DecodingFailure) {
      return try decode(key: key ?? [], value: value ?? [])
    } catch {
      throw CodecError(error)
    }
  }

  private static func decode(
    key: [UInt8], value: [UInt8]
  ) throws(DecodingFailure) -> IngestOp {
    guard value.count >= 4 else { throw .truncated(needed: 4, available: value.count) }
    let body = value.count - 4
    var checksum = CRC32C()
    checksum.update(key.span)
    checksum.update(value.span.extracting(0..<body))
    var trailer = ByteReader(value.span.extracting(body..<value.count))
    let stored = try trailer.readBigEndian(UInt32.self)
    let computed = CRC32C.mask(checksum.value)
    guard stored == computed else {
      throw .checksumMismatch(stored: stored, computed: computed)
    }
    var keyReader = ByteReader(key.span)
    let byteOffset = try keyReader.readBigEndian(UInt64.self)
    let firstLine = try keyReader.readBigEndian(UInt64.self)
    try keyReader.requireEnd()
    var reader = ByteReader(value.span.extracting(0..<body))
    let version = try reader.readUInt8()
    guard version == Self.version else { throw .unknownVersion(version) }
    let precisionCode = try reader.readUInt8()
    guard Int(precisionCode) < precisions.count else {
      throw .invalid("timestamp precision \(precisionCode) is unknown")
    }
    let codec = try reader.readUInt8()
    guard codec <= codecLZ4 else { throw .invalid("payload codec \(codec) is unknown") }
    let flags = try reader.readUInt8()
    guard flags & ~digestFlag == 0 else { throw .invalid("flags \(flags) are unknown") }
    let byteCount = try reader.readVarint()
    let lineCount = try reader.readVarint()
    let pointCount = try reader.readVarint()
    let rejectedCount = try reader.readVarint()
    // So that no sum of two of them overflows.
    let counts = [byteOffset, byteCount, firstLine, lineCount, pointCount, rejectedCount]
    guard counts.allSatisfy({ $0 < 1 << 62 }) else { throw .invalid("a count exceeds 2^62") }
    let defaultTimestamp = Int64(bitPattern: try reader.readBigEndian(UInt64.self))
    let producer = String(decoding: try reader.readBlob(), as: UTF8.self)
    let digest = flags & digestFlag == 0 ? nil : try reader.readBytes(32)
    let rawCount = try reader.readVarint()
    guard rawCount <= UInt64(rawByteLimit) else {
      throw .invalid("the op claims \(rawCount) bytes of lines")
    }
    let bytes = try reader.readBytes(reader.remaining)
    guard codec == codecLZ4 || bytes.count == Int(rawCount) else {
      throw .invalid("the op claims \(rawCount) bytes of lines and has \(bytes.count)")
    }
    var op = IngestOp(
      producer: producer,
      source: SourceSpan(
        byteOffset: byteOffset, byteCount: byteCount, firstLine: firstLine, lineCount: lineCount,
        digest: digest),
      precision: precisions[Int(precisionCode)], defaultTimestamp: defaultTimestamp,
      pointCount: pointCount, rejectedCount: rejectedCount, lines: Span())
    op.payload = Payload(codec: codec, rawCount: Int(rawCount), bytes: bytes)
    return op
  }

  /// The codes of the precisions are their places here; part of the format.
  private static let precisions: [TimestampPrecision] = [
    .nanoseconds, .microseconds, .milliseconds, .seconds,
  ]

  private var precisionCode: UInt8 { UInt8(Self.precisions.firstIndex(of: precision) ?? 0) }
}
