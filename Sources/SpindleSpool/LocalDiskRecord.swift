package import SpindleCore
internal import SpindleIO

/// The header of a file that holds one message, or the reason of a quarantined one.
///
/// `Documentation/Formats/local-disk-spool.md` describes the layout.
package struct LocalDiskRecord: Sendable {
  // Part of the format; must not be changed.
  /// Bytes that are no text, so that a transfer as text is noticed.
  package static let magic: [UInt8] = [0x89, 0x53, 0x50, 0x4F, 0x4F, 0x4C, 0x0D, 0x0A]
  package static let version: UInt8 = 1
  package static let headerBytes = 36
  private static let checkedBytes = 32

  /// Names the opening of the spool that stored the message.
  package let run: UInt32
  /// Wall time of the store, in milliseconds since the Unix epoch.
  package let storedMilliseconds: UInt64
  package let payloadBytes: Int
  private let checksum: UInt32
  /// Of the header alone, to go on from with the payload.
  private let headerChecksum: UInt32

  /// The header for a payload.
  package static func header(
    for payload: [UInt8], run: UInt32, storedMilliseconds: UInt64
  ) -> [UInt8] {
    var header = magic + [version, 0, 0, 0]
    header.reserveCapacity(headerBytes)
    header.appendBigEndian(run)
    header.appendBigEndian(storedMilliseconds)
    header.appendBigEndian(UInt64(payload.count))
    var checksum = CRC32C()
    checksum.update(header)
    checksum.update(payload)
    header.appendBigEndian(checksum.masked)
    return header
  }

  /// Reads a header and compares its length with that of the file.
  package init(header: Span<UInt8>, fileBytes: UInt64) throws(DecodingFailure) {
    var reader = ByteReader(header)
    guard try reader.readBytes(Self.magic.count) == Self.magic else {
      throw .invalid("the file does not begin with the spool's mark")
    }
    let version = try reader.readUInt8()
    guard version == Self.version else { throw .unknownVersion(version) }
    guard try reader.readBytes(3) == [0, 0, 0] else {
      throw .invalid("the reserved bytes are not zero")
    }
    run = try reader.readBigEndian(UInt32.self)
    storedMilliseconds = try reader.readBigEndian(UInt64.self)
    let count = try reader.readBigEndian(UInt64.self)
    checksum = try reader.readBigEndian(UInt32.self)
    guard count <= UInt64(LocalDiskSpool.payloadByteLimit) else {
      throw .invalid("a payload of \(count) bytes is larger than any that is stored")
    }
    payloadBytes = Int(count)
    // The header was read whole, so the file is not shorter than it.
    let available = Int(clamping: fileBytes) - Self.headerBytes
    guard available >= payloadBytes else {
      throw .truncated(needed: payloadBytes, available: available)
    }
    guard available == payloadBytes else { throw .trailingBytes(available - payloadBytes) }
    headerChecksum = CRC32C.checksum(header.extracting(0..<Self.checkedBytes))
  }

  /// Compares the checksum with that of header and payload.
  package func check(payload: Span<UInt8>) throws(DecodingFailure) {
    guard payload.count == payloadBytes else {
      throw .truncated(needed: payloadBytes, available: payload.count)
    }
    let computed = CRC32C.mask(CRC32C.checksum(payload, continuing: headerChecksum))
    guard computed == checksum else {
      throw .checksumMismatch(stored: checksum, computed: computed)
    }
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
    let payload = try file.read(record.payloadBytes)
    try record.check(payload: payload.span)
    return (record, payload)
  }
}
