internal import SpindleCodecs
package import SpindleCore

/// The stored form of one message: a header of 12 bytes and the payload, as it was given or
/// compressed.
///
/// `Documentation/Formats/spool-record.md` describes the layout.
package enum SpoolRecord {
  // Part of the format; must not be changed.
  package static let version: UInt8 = 1
  package static let headerBytes = 12
  /// The payload stands as it was given.
  package static let codecNone: UInt8 = 0
  /// The payload's length, u32, and one LZ4 block.
  package static let codecLZ4: UInt8 = 1
  /// The payload's length, u32, and one Zstandard frame.
  package static let codecZstd: UInt8 = 2
  private static let lengthBytes = 4

  /// A record before it is written, in two parts so that a payload stored as it is needs no copy.
  package struct Encoded: Sendable {
    package let header: [UInt8]
    package let body: Bytes

    /// Bytes of the whole record.
    package var byteCount: Int { header.count + body.count }
  }

  /// The header for a payload that is stored as it is.
  package static func header(for payload: Span<UInt8>) -> [UInt8] {
    header(codecNone, for: payload)
  }

  /// The same without an allocation.
  static func inlineHeader(for payload: Span<UInt8>) -> InlineArray<12, UInt8> {
    inlineHeader(codecNone, for: payload)
  }

  private static func header(_ codec: UInt8, for body: Span<UInt8>) -> [UInt8] {
    let header = inlineHeader(codec, for: body)
    return copyBytes(header.span)
  }

  private static func inlineHeader(
    _ codec: UInt8, for body: Span<UInt8>
  ) -> InlineArray<12, UInt8> {
    var header = InlineArray<12, UInt8>(repeating: 0)
    header[0] = version
    header[1] = codec
    for index in 0..<4 {
      header[4 + index] = UInt8(truncatingIfNeeded: body.count >> (24 - 8 * index))
    }
    var checksum = CRC32C()
    checksum.update(header.span.extracting(first: 8))
    checksum.update(body)
    let masked = CRC32C.mask(checksum.value)
    for index in 0..<4 { header[8 + index] = UInt8(truncatingIfNeeded: masked >> (24 - 8 * index)) }
    return header
  }

  /// Makes the record of a payload. What does not become at least 1/16 smaller is stored as it
  /// is, without a copy: reading it back then costs nothing.
  ///
  /// - Complexity: O(bytes). More than 64 KiB to compress belong on a thread that may block.
  package static func encode(_ payload: Bytes, _ compression: PayloadCompression) -> Encoded {
    guard compression != .none, let (codec, body) = compress(payload, compression) else {
      return Encoded(header: header(for: payload.span), body: payload)
    }
    return Encoded(header: header(codec, for: body.span), body: body)
  }

  /// The body of a compressed payload; nil where that is not worth it.
  static func compress(
    _ payload: Bytes, _ compression: PayloadCompression
  ) -> (codec: UInt8, body: Bytes)? {
    guard payload.count <= RocksSpool.payloadByteLimit else { return nil }
    let byteLimit = payload.count - (payload.count + 15) / 16
    var length: [UInt8] = []
    length.appendBigEndian(UInt32(payload.count))
    switch compression {
    case .none:
      return nil
    case .lz4:
      return LZ4Block.compress(payload.span, after: length, byteLimit: byteLimit)
        .map { (codecLZ4, $0) }
    case .zstd:
      return ZstdBlock.compress(payload.span, after: length, byteLimit: byteLimit)
        .map { (codecZstd, $0) }
    }
  }

  /// Checks a record and gives its payload.
  package static func payload(of record: Span<UInt8>) throws(DecodingFailure) -> [UInt8] {
    let codec = try check(record)
    let body = record.extracting(droppingFirst: headerBytes)
    return codec == codecNone ? copyBytes(body) : try decompress(codec, body)
  }

  /// Checks a record and gives its payload where that is compressed; nil where it stands as it was
  /// given, behind the header.
  package static func decompressed(_ record: Span<UInt8>) throws(DecodingFailure) -> [UInt8]? {
    let codec = try check(record)
    if codec == codecNone { return nil }
    return try decompress(codec, record.extracting(droppingFirst: headerBytes))
  }

  /// How many bytes a record's payload has, or claims to have: nothing is checked.
  static func payloadByteCount(_ record: Span<UInt8>) -> Int {
    guard record.count >= headerBytes + lengthBytes, record[1] != codecNone else {
      return record.count
    }
    var reader = ByteReader(record.extracting(droppingFirst: headerBytes))
    return (try? reader.readBigEndian(UInt32.self)).map(Int.init) ?? record.count
  }

  /// Checks everything but what the codec itself checks.
  ///
  /// - Returns: The codec.
  private static func check(_ record: Span<UInt8>) throws(DecodingFailure) -> UInt8 {
    var reader = ByteReader(record)
    let version = try reader.readUInt8()
    guard version == Self.version else { throw .unknownVersion(version) }
    let codec = try reader.readUInt8()
    guard codec <= codecZstd else { throw .invalid("payload codec \(codec) is unknown") }
    guard try reader.readBigEndian(UInt16.self) == 0 else {
      throw .invalid("the reserved bytes are not zero")
    }
    let count = try reader.readBigEndian(UInt32.self)
    let stored = try reader.readBigEndian(UInt32.self)
    guard reader.remaining >= Int(count) else {
      throw .truncated(needed: Int(count), available: reader.remaining)
    }
    guard reader.remaining == Int(count) else {
      throw .trailingBytes(reader.remaining - Int(count))
    }
    var checksum = CRC32C()
    checksum.update(record.extracting(0..<8))
    checksum.update(reader.rest)
    let computed = CRC32C.mask(checksum.value)
    guard computed == stored else {
      throw .checksumMismatch(stored: stored, computed: computed)
    }
    return codec
  }

  /// The payload of a compressed body.
  static func decompress(
    _ codec: UInt8, _ body: Span<UInt8>
  ) throws(DecodingFailure) -> [UInt8] {
    var reader = ByteReader(body)
    let length = Int(try reader.readBigEndian(UInt32.self))
    // The checksum finds damage and no malice: the length is checked before it is allocated, here
    // against the limit of payloads, and by the codec against what the block can hold.
    guard length <= RocksSpool.payloadByteLimit else {
      throw .invalid(
        "the payload claims \(length) bytes; the limit is \(RocksSpool.payloadByteLimit)")
    }
    return codec == codecLZ4
      ? try LZ4Block.decompress(reader.rest, byteCount: length)
      : try ZstdBlock.decompress(reader.rest, byteCount: length)
  }
}
