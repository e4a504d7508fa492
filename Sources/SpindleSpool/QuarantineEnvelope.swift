package import SpindleCore

/// What a quarantine stores under a message's id: why and since when, and the record of the
/// message byte for byte, damaged or not.
///
/// The section "Quarantine" of `Documentation/Formats/spool-record.md` describes the layout.
package struct QuarantineEnvelope: Sendable, Equatable {
  // Part of the format; must not be changed.
  /// The first byte is no record version, so that records that stand without an envelope are told
  /// apart.
  static let magic: [UInt8] = [0x8B, 0x53, 0x50, 0x51]
  static let version: UInt8 = 1
  static let headerBytes = 20

  /// The most bytes of a reason that are kept.
  static let reasonByteLimit = 1_024

  package var reason: String
  /// Milliseconds since the Unix epoch.
  package var since: UInt64
  /// Where the message's record begins in the stored value.
  package var recordStart: Int

  /// The bytes that go before a record.
  ///
  /// - Parameter reason: Cut to ``reasonByteLimit`` bytes at the end of a character.
  package static func header(
    reason: String, since: UInt64, record: Span<UInt8>
  ) -> [UInt8] {
    let text = kept(reason)
    var header = magic + [version, 0]
    header.appendBigEndian(UInt16(text.count))
    header.appendBigEndian(since)
    let checksum = checksum(header.span, text.span, record)
    header.appendBigEndian(checksum)
    return header + text
  }

  private static func kept(_ reason: String) -> [UInt8] {
    var text: [UInt8] = []
    for character in reason {
      let next = Array(String(character).utf8)
      guard text.count + next.count <= reasonByteLimit else { break }
      text += next
    }
    return text
  }

  private static func checksum(
    _ fields: Span<UInt8>, _ reason: Span<UInt8>, _ record: Span<UInt8>
  ) -> UInt32 {
    var checksum = CRC32C()
    checksum.update(fields)
    checksum.update(reason)
    checksum.update(record)
    return checksum.masked
  }

  /// Whether a stored value has an envelope, intact or not.
  static func stands(in value: Span<UInt8>) -> Bool {
    value.count >= magic.count && copyBytes(value.extracting(0..<magic.count)) == magic
  }

  /// Reads a stored value.
  ///
  /// - Returns: nil for a record that stands alone, as earlier versions stored it.
  package init?(decoding value: Span<UInt8>) throws(DecodingFailure) {
    var reader = ByteReader(value)
    guard Self.stands(in: value) else { return nil }
    _ = try reader.readBytes(Self.magic.count)
    let version = try reader.readUInt8()
    guard version == Self.version else { throw .unknownVersion(version) }
    guard try reader.readUInt8() == 0 else { throw .invalid("the reserved byte is not zero") }
    let count = Int(try reader.readBigEndian(UInt16.self))
    since = try reader.readBigEndian(UInt64.self)
    let stored = try reader.readBigEndian(UInt32.self)
    let text = try reader.readBytes(count)
    let computed = Self.checksum(value.extracting(0..<16), text.span, reader.rest)
    guard computed == stored else {
      throw .checksumMismatch(stored: stored, computed: computed)
    }
    guard let reason = String(validating: text, as: UTF8.self) else {
      throw .invalid("the reason is not UTF-8")
    }
    self.reason = reason
    recordStart = reader.offset
  }
}
