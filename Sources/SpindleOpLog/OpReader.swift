public import SpindleCore

/// Reads what an ``OpWriter`` wrote. Only the shortest form of each value is taken, and no length
/// is believed before the bytes are there.
public struct OpReader: Sendable {
  private let bytes: [UInt8]
  /// How many bytes were read so far.
  public private(set) var offset = 0
  private(set) var dictionary: UUIDDictionary

  public init(_ bytes: [UInt8]) { self.init(bytes, UUIDDictionary()) }

  init(_ bytes: [UInt8], _ dictionary: UUIDDictionary) {
    self.bytes = bytes
    self.dictionary = dictionary
  }

  /// Bytes not yet read, those of other ops behind this one included.
  public var remaining: Int { bytes.count - offset }

  public mutating func readUInt8() throws(CodecError) -> UInt8 {
    guard remaining >= 1 else { throw .unexpectedEnd }
    defer { offset += 1 }
    return bytes[offset]
  }

  /// Two bytes, least significant first.
  public mutating func readUInt16() throws(CodecError) -> UInt16 {
    guard remaining >= 2 else { throw .unexpectedEnd }
    defer { offset += 2 }
    return UInt16(bytes[offset]) | UInt16(bytes[offset + 1]) << 8
  }

  public mutating func readVarint() throws(CodecError) -> UInt64 {
    var reader = ByteReader(bytes.span.extracting(offset..<bytes.count))
    do throws(DecodingFailure) {
      let value = try reader.readVarint()
      offset += reader.offset
      return value
    } catch {
      throw CodecError(error)
    }
  }

  public mutating func readZigzag() throws(CodecError) -> Int64 {
    let value = try readVarint()
    return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
  }

  /// - Throws: ``CodecError/unexpectedEnd`` for a length beyond the end; nothing was allocated.
  public mutating func readBlob() throws(CodecError) -> [UInt8] {
    try readBytes(try readVarint())
  }

  /// Bytes, or nil where their absence was written.
  public mutating func readOptionalBlob() throws(CodecError) -> [UInt8]? {
    let count = try readVarint()
    return count == 0 ? nil : try readBytes(count - 1)
  }

  public mutating func readText() throws(CodecError) -> String {
    let utf8 = try readBlob()
    guard !utf8.contains(0) else { throw .textContainsNul }
    guard let text = String(validating: utf8, as: UTF8.self) else { throw .invalidUTF8 }
    return text
  }

  /// - Throws: ``CodecError/unresolvedUUID(_:)`` for a number that nothing before has defined,
  ///   ``CodecError/repeatedUUID`` for a definition where a number was due.
  public mutating func readUUID() throws(CodecError) -> UUIDValue {
    let number = try readVarint()
    if number > 0 {
      guard let uuid = dictionary[number] else { throw .unresolvedUUID(number) }
      return uuid
    }
    guard let uuid = UUIDValue(bytes: try readBytes(16)) else { throw .unexpectedEnd }
    guard dictionary.number(of: uuid) == nil else { throw .repeatedUUID }
    dictionary.define(uuid)
    return uuid
  }

  func requireEnd() throws(CodecError) {
    guard remaining == 0 else { throw .trailingBytes(remaining) }
  }

  mutating func readBytes(_ count: UInt64) throws(CodecError) -> [UInt8] {
    guard count <= UInt64(Int.max) else { throw .lengthTooLarge(count) }
    guard count <= UInt64(remaining) else { throw .unexpectedEnd }
    let end = offset + Int(count)
    defer { offset = end }
    return Array(bytes[offset..<end])
  }

  /// Goes back to an earlier state of the same bytes, as after an entry that could not be read.
  mutating func rollBack(toOffset offset: Int, uuidCount: Int) {
    self.offset = offset
    dictionary.truncate(to: uuidCount)
  }
}
