public import SpindleCore

/// Writes ops in their wire form, one after the other.
///
/// An op that fails half-way leaves bytes behind; who called it takes them back. So an op's
/// ``Op/encode(into:)`` throws where it finds an error and cleans nothing up. The forms are those
/// of `Documentation/Formats/oplog-segment.md`, Primitives; ``OpReader`` reads each of them.
public struct OpWriter: Sendable {
  /// What was written so far.
  public private(set) var bytes: [UInt8] = []
  private(set) var dictionary: UUIDDictionary

  public init() { dictionary = UUIDDictionary() }

  init(_ dictionary: UUIDDictionary) { self.dictionary = dictionary }

  /// One byte, such as a tag.
  public mutating func writeUInt8(_ value: UInt8) { bytes.append(value) }

  /// Two bytes, least significant first.
  public mutating func writeUInt16(_ value: UInt16) { bytes.appendLittleEndian(value) }

  /// A number in 1 to 10 bytes; small ones are short.
  public mutating func writeVarint(_ value: UInt64) { bytes.appendVarint(value) }

  /// A number in 1 to 10 bytes; those near zero are short.
  public mutating func writeZigzag(_ value: Int64) {
    bytes.appendVarint(UInt64(bitPattern: value << 1 ^ value >> 63))
  }

  /// A length and the bytes.
  public mutating func writeBlob(_ blob: [UInt8]) { bytes.appendBlob(blob) }

  /// Bytes or their absence, which differs from no bytes.
  public mutating func writeOptionalBlob(_ blob: [UInt8]?) {
    guard let blob else { return bytes.append(0) }
    bytes.appendVarint(UInt64(blob.count) + 1)
    bytes.append(contentsOf: blob)
  }

  /// A length and the text in UTF-8.
  ///
  /// - Throws: ``CodecError/textContainsNul``.
  public mutating func writeText(_ text: String) throws(CodecError) {
    let utf8 = Array(text.utf8)
    guard !utf8.contains(0) else { throw .textContainsNul }
    writeBlob(utf8)
  }

  /// A uuid: 17 bytes at its first use in a segment, its number afterwards.
  public mutating func writeUUID(_ uuid: UUIDValue) {
    if let number = dictionary.number(of: uuid) { return bytes.appendVarint(number) }
    bytes.append(0)
    uuid.append(to: &bytes)
    dictionary.define(uuid)
  }

  // MARK: Entries

  mutating func append(_ more: [UInt8]) { bytes.append(contentsOf: more) }

  struct Savepoint {
    fileprivate var byteCount: Int
    fileprivate var uuidCount: Int
  }

  var savepoint: Savepoint {
    Savepoint(byteCount: bytes.count, uuidCount: dictionary.count)
  }

  mutating func rollBack(to savepoint: Savepoint) {
    bytes.removeSubrange(savepoint.byteCount...)
    dictionary.truncate(to: savepoint.uuidCount)
  }

  /// Gives what was written and goes on behind it.
  mutating func takeBytes() -> [UInt8] {
    defer { bytes = [] }
    return bytes
  }
}
