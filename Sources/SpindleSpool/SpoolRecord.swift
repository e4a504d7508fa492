package import SpindleCore

/// The stored form of one message: a header of 12 bytes and the payload.
///
/// `Documentation/Formats/spool-record.md` describes the layout.
package enum SpoolRecord {
  // Part of the format; must not be changed.
  package static let version: UInt8 = 1
  package static let headerBytes = 12
  /// The payload stands as it was given.
  package static let codecNone: UInt8 = 0

  /// The header for a payload.
  package static func header(for payload: Span<UInt8>) -> [UInt8] {
    var header: [UInt8] = [version, codecNone, 0, 0]
    header.appendBigEndian(UInt32(payload.count))
    var checksum = CRC32C()
    checksum.update(header.span)
    checksum.update(payload)
    header.appendBigEndian(CRC32C.mask(checksum.value))
    return header
  }

  /// Checks a record and gives its payload.
  package static func payload(of record: Span<UInt8>) throws(DecodingFailure) -> [UInt8] {
    var reader = ByteReader(record)
    let version = try reader.readUInt8()
    guard version == Self.version else { throw .unknownVersion(version) }
    let codec = try reader.readUInt8()
    guard codec == codecNone else { throw .invalid("payload codec \(codec) is unknown") }
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
    return try reader.readBytes(reader.remaining)
  }
}
