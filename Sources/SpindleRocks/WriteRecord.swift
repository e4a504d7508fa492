internal import SpindleCore

/// A write batch in RocksDB's own representation, built without a call per operation.
///
/// Layout (RocksDB `write_batch.cc`): sequence u64 LE (0, filled in by RocksDB), count u32 LE,
/// then the operations: a type byte, a varint column family id unless it is the default family's
/// form, and varint-length-prefixed key and value.
public struct WriteRecord: Sendable {
  /// Bytes before the first operation.
  public static let headerBytes = 12

  private(set) var storage: [UInt8]
  /// How many operations the record holds.
  public private(set) var count: UInt32 = 0

  public init(reservingBytes capacity: Int = 0) {
    // In one step: number by number the header would cost as much as a small operation.
    unsafe storage = [UInt8](
      unsafeUninitializedCapacity: Self.headerBytes + max(capacity, 0)
    ) { bytes, count in
      unsafe bytes[..<Self.headerBytes].initialize(repeating: 0)
      count = Self.headerBytes
    }
  }

  public var isEmpty: Bool { count == 0 }
  /// Bytes of the whole record.
  public var byteCount: Int { storage.count }

  /// The finished bytes, with the count filled in.
  public var bytes: [UInt8] {
    var result = storage
    for index in 0..<4 { result[8 + index] = UInt8(truncatingIfNeeded: count >> (8 * index)) }
    return result
  }

  /// Finishes the header in place and lends the bytes; no copy.
  mutating func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    for index in 0..<4 { storage[8 + index] = UInt8(truncatingIfNeeded: count >> (8 * index)) }
    return unsafe storage.withUnsafeBytes { unsafe body($0) }
  }

  /// A place in a record to come back to.
  public struct Mark: Sendable {
    var byteCount: Int
    var count: UInt32
  }

  /// The end of the record as it is now.
  public var mark: Mark { Mark(byteCount: storage.count, count: count) }

  /// Takes back everything added since a mark, which must be of this record.
  public mutating func rollBack(to mark: Mark) {
    storage.removeLast(storage.count - mark.byteCount)
    count = mark.count
  }

  enum Tag {
    // Part of RocksDB's format; must not be changed. The second form carries a family id.
    static let deletion: (UInt8, UInt8) = (0x0, 0x4)
    static let value: (UInt8, UInt8) = (0x1, 0x5)
    static let rangeDeletion: (UInt8, UInt8) = (0xF, 0xE)
  }

  private mutating func begin(_ tag: (UInt8, UInt8), _ family: UInt32) {
    count += 1
    if family == 0 {
      storage.append(tag.0)
    } else {
      storage.append(tag.1)
      storage.appendVarint(UInt64(family))
    }
  }

  private mutating func append(_ bytes: Span<UInt8>) {
    storage.appendVarint(UInt64(bytes.count))
    storage.append(borrowing: bytes)
  }

  /// Stores a value under a key, replacing what is there.
  public mutating func put(_ family: UInt32, key: Span<UInt8>, value: Span<UInt8>) {
    begin(Tag.value, family)
    append(key)
    append(value)
  }

  /// The same with a value in two parts, so that a header needs no copy of the payload.
  public mutating func put(
    _ family: UInt32, key: Span<UInt8>, header: Span<UInt8>, payload: Span<UInt8>
  ) {
    begin(Tag.value, family)
    append(key)
    storage.appendVarint(UInt64(header.count + payload.count))
    storage.append(borrowing: header)
    storage.append(borrowing: payload)
  }

  /// Removes a key; an absent one is no error.
  public mutating func delete(_ family: UInt32, key: Span<UInt8>) {
    begin(Tag.deletion, family)
    append(key)
  }

  /// Removes every key from `lower` up to but not including `upper`.
  public mutating func deleteRange(_ family: UInt32, lower: Span<UInt8>, upper: Span<UInt8>) {
    begin(Tag.rangeDeletion, family)
    append(lower)
    append(upper)
  }

  /// Adds the operations of another record after the ones here.
  public mutating func append(_ other: borrowing WriteRecord) {
    storage.append(contentsOf: other.storage[Self.headerBytes...])
    count += other.count
  }

  /// Whether every operation removes something. Looks at all of them.
  public var onlyRemoves: Bool {
    var puts = 0
    forEach { operation, _, _, _ in if operation == .put { puts += 1 } }
    return puts == 0
  }

  /// Empties the record and keeps its memory.
  public mutating func removeAll() {
    storage.removeLast(storage.count - Self.headerBytes)
    count = 0
  }

  /// What an operation does, for ``forEach(_:)``.
  public enum Operation: Sendable, Equatable {
    case put, delete, deleteRange
  }

  /// Walks the operations in order. The second span is the value, the range's end, or empty.
  public func forEach(
    _ body: (Operation, UInt32, Span<UInt8>, Span<UInt8>) -> Void
  ) {
    let bytes = storage.span
    var offset = Self.headerBytes
    func varint() -> UInt64 {
      var value: UInt64 = 0
      var shift: UInt64 = 0
      while true {
        let byte = bytes[offset]
        offset += 1
        value |= UInt64(byte & 0x7F) << shift
        if byte < 0x80 { return value }
        shift += 7
      }
    }
    // The bytes were written by this type alone, so they are well formed.
    for _ in 0..<count {
      let tag = bytes[offset]
      offset += 1
      let hasFamily = [Tag.deletion.1, Tag.value.1, Tag.rangeDeletion.1].contains(tag)
      let family = hasFamily ? UInt32(truncatingIfNeeded: varint()) : 0
      let keyCount = Int(varint())
      let key = bytes.extracting(offset..<(offset + keyCount))
      offset += keyCount
      if tag == Tag.deletion.0 || tag == Tag.deletion.1 {
        body(.delete, family, key, Span())
        continue
      }
      let valueCount = Int(varint())
      let value = bytes.extracting(offset..<(offset + valueCount))
      offset += valueCount
      let isPut = tag == Tag.value.0 || tag == Tag.value.1
      body(isPut ? .put : .deleteRange, family, key, value)
    }
  }
}
