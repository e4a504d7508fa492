internal import SpindleCodecs
internal import SpindleCore

/// The end of a file: the encoded ``FileMetaData``, its length in four bytes, and the magic.
///
/// The format has no checksum for it. Files of ours have one right before it, the seal: four bytes
/// of CRC-32 of everything behind the seal, and a magic of its own. No offset leads there, so that
/// other readers do not see it, and writers that copy what they know of a file leave it out.
enum Footer {
  /// At the file's beginning and at its end.
  static let magic = Array("PAR1".utf8)
  /// In place of the magic where the footer is encrypted.
  static let encryptedMagic = Array("PARE".utf8)
  /// The length and the magic.
  static let tailBytes = 8
  /// Behind the checksum of a seal.
  static let sealMagic = Array("SPSL".utf8)
  /// The checksum and the magic of a seal.
  static let sealBytes = 8
  /// The magic, an empty footer and the tail.
  static let leastFileBytes: UInt64 = 12

  /// Where the encoded metadata of a file lies.
  ///
  /// - Parameters:
  ///   - tail: The file's last ``tailBytes`` bytes.
  ///   - fileBytes: The file's size, ``leastFileBytes`` or more.
  static func range(
    tail: Span<UInt8>, fileBytes: UInt64, limits: ParquetLimits
  ) throws(ParquetFailure) -> Range<UInt64> {
    let end = fileBytes - UInt64(tailBytes)
    try check(magic: tail.extracting(4..<8), at: end + 4)
    var reader = ByteReader(tail)
    guard let length = try? reader.readLittleEndian(UInt32.self) else {
      throw .damaged("the file has no tail")
    }
    guard length > 0, UInt64(length) <= end - 4 else {
      throw .damaged("a footer of \(length) bytes in a file of \(fileBytes)", at: Int(end))
    }
    guard length <= limits.footerBytes else {
      throw .limit("a footer of \(length) bytes, more than \(limits.footerBytes)", at: Int(end))
    }
    return end - UInt64(length)..<end
  }

  /// Checks one of the two places of the magic.
  static func check(magic found: Span<UInt8>, at offset: UInt64) throws(ParquetFailure) {
    if bytesEqual(found, magic.span) { return }
    if bytesEqual(found, encryptedMagic.span) {
      throw .unsupported("the footer is encrypted, which is not supported", at: Int(offset))
    }
    throw .damaged(
      "not a Parquet file: \(hexString(copyBytes(found))) where PAR1 belongs", at: Int(offset))
  }

  /// Compares the end of a file with its seal, if it has one.
  ///
  /// - Parameter bytes: From where a seal would begin to the end of the file.
  static func check(seal bytes: Span<UInt8>) throws(ParquetFailure) {
    guard bytesEqual(bytes.extracting(4..<sealBytes), sealMagic.span) else { return }
    var reader = ByteReader(bytes)
    try SpindleParquet.check(
      bytes.extracting(sealBytes...), try? reader.readLittleEndian(UInt32.self))
  }

  /// The end of a file, the magic included.
  ///
  /// - Parameter isSealed: Whether a seal stands before it.
  static func encoded(_ metadata: FileMetaData, isSealed: Bool = false) -> [UInt8] {
    var bytes = metadata.encoded
    bytes.appendLittleEndian(UInt32(bytes.count))
    bytes.append(contentsOf: magic)
    guard isSealed else { return bytes }
    var sealed: [UInt8] = []
    sealed.reserveCapacity(sealBytes + bytes.count)
    sealed.appendLittleEndian(CRC32.checksum(bytes.span))
    return sealed + sealMagic + bytes
  }
}

/// Reads one structure of the footer or an index, which must use up the bytes.
func decodeWhole<Value>(
  _ bytes: Span<UInt8>, _ what: String,
  _ decode: (inout ThriftReader) throws(ParquetFailure) -> Value
) throws(ParquetFailure) -> Value {
  var reader = ThriftReader(bytes)
  let value = try decode(&reader)
  guard reader.remaining == 0 else {
    throw .damaged("\(reader.remaining) bytes follow \(what)", at: reader.offset)
  }
  return value
}
