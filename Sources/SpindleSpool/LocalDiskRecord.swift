package import SpindleCore
internal import SpindleIO

/// The header of a file that holds one message, or the reason of a quarantined one.
///
/// `Documentation/Formats/local-disk-spool.md` describes the layout.
package struct LocalDiskRecord: Sendable {
  // Part of the format; must not be changed.
  /// Bytes that are no text, so that a transfer as text is noticed.
  package static let magic: [UInt8] = [0x89, 0x53, 0x50, 0x4F, 0x4F, 0x4C, 0x0D, 0x0A]
  /// The payload stands as it was given.
  package static let version: UInt8 = 1
  /// The byte after the version names the codec of the body, as in a ``SpoolRecord``.
  package static let compressedVersion: UInt8 = 2
  package static let headerBytes = 36
  private static let checkedBytes = 32

  /// Names the opening of the spool that stored the message.
  package let run: UInt32
  /// Wall time of the store, in milliseconds since the Unix epoch.
  package let storedMilliseconds: UInt64
  /// Of the payload as it is stored.
  package let bodyBytes: Int
  private let codec: UInt8
  private let checksum: UInt32
  /// Of the header alone, to go on from with the payload.
  private let headerChecksum: UInt32

  /// A file before it is written.
  package struct Encoded: Sendable {
    package let header: [UInt8]
    package let body: Bytes

    package var byteCount: Int { header.count + body.count }
  }

  /// Makes the file of a payload. What does not become at least 1/16 smaller is stored as it is.
  ///
  /// - Complexity: O(bytes).
  package static func encode(
    _ payload: Bytes, _ compression: PayloadCompression, run: UInt32, storedMilliseconds: UInt64
  ) -> Encoded {
    let compressed = SpoolRecord.compress(payload, compression)
    let body = compressed?.body ?? payload
    var header = magic
    header += compressed.map { [compressedVersion, $0.codec] } ?? [version, SpoolRecord.codecNone]
    header += [0, 0]
    header.reserveCapacity(headerBytes)
    header.appendBigEndian(run)
    header.appendBigEndian(storedMilliseconds)
    header.appendBigEndian(UInt64(body.count))
    var checksum = CRC32C()
    checksum.update(header)
    checksum.update(body)
    header.appendBigEndian(checksum.masked)
    return Encoded(header: header, body: body)
  }

  /// Reads a header and compares its length with that of the file.
  package init(header: Span<UInt8>, fileBytes: UInt64) throws(DecodingFailure) {
    var reader = ByteReader(header)
    guard try reader.readBytes(Self.magic.count) == Self.magic else {
      throw .invalid("the file does not begin with the spool's mark")
    }
    let version = try reader.readUInt8()
    guard version == Self.version || version == Self.compressedVersion else {
      throw .unknownVersion(version)
    }
    let isCompressed = version == Self.compressedVersion
    let codec = isCompressed ? try reader.readUInt8() : SpoolRecord.codecNone
    guard !isCompressed || (SpoolRecord.codecLZ4...SpoolRecord.codecZstd).contains(codec) else {
      throw .invalid("payload codec \(codec) is unknown")
    }
    self.codec = codec
    guard try reader.readBytes(isCompressed ? 2 : 3).allSatisfy({ $0 == 0 }) else {
      throw .invalid("the reserved bytes are not zero")
    }
    run = try reader.readBigEndian(UInt32.self)
    storedMilliseconds = try reader.readBigEndian(UInt64.self)
    let count = try reader.readBigEndian(UInt64.self)
    checksum = try reader.readBigEndian(UInt32.self)
    guard count <= UInt64(LocalDiskSpool.payloadByteLimit) else {
      throw .invalid("a payload of \(count) bytes is larger than any that is stored")
    }
    bodyBytes = Int(count)
    // The header was read whole, so the file is not shorter than it.
    let available = Int(clamping: fileBytes) - Self.headerBytes
    guard available >= bodyBytes else {
      throw .truncated(needed: bodyBytes, available: available)
    }
    guard available == bodyBytes else { throw .trailingBytes(available - bodyBytes) }
    headerChecksum = CRC32C.checksum(header.extracting(0..<Self.checkedBytes))
  }

  /// Compares the checksum with that of header and body, and gives the payload.
  package func payload(of body: [UInt8]) throws(DecodingFailure) -> [UInt8] {
    guard body.count == bodyBytes else {
      throw .truncated(needed: bodyBytes, available: body.count)
    }
    let computed = CRC32C.mask(CRC32C.checksum(body.span, continuing: headerChecksum))
    guard computed == checksum else {
      throw .checksumMismatch(stored: checksum, computed: computed)
    }
    return codec == SpoolRecord.codecNone ? body : try SpoolRecord.decompress(codec, body.span)
  }

  /// Reads and checks a whole file.
  ///
  /// - Throws: ``IOFailure`` where the file cannot be read, ``DecodingFailure`` where it is
  ///   damaged.
  package static func read(_ path: String) throws -> (record: LocalDiskRecord, payload: [UInt8]) {
    var file = try FileReader(path)
    let header = try file.read(headerBytes)
    let record = try LocalDiskRecord(header: header.span, fileBytes: file.size)
    // Only as much as the header promises and the file has is asked for.
    return (record, try record.payload(of: try file.read(record.bodyBytes)))
  }
}
