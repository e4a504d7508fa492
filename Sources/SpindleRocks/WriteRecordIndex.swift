internal import SpindleCore

/// Finds the newest change of a key in a record that is not written yet.
///
/// An open hash table of places in the record: no key and no value is copied. It serves one family,
/// and knows the changes up to its last ``extend(over:)``. Range deletions are not looked at: the
/// family must have none in the record.
public struct WriteRecordIndex: Sendable {
  /// What a record says of a key.
  public enum Change: Equatable, Sendable {
    /// The value stands at these bytes of the record.
    case value(Range<Int>)
    case deleted
  }

  private struct Operation {
    var isPut: Bool
    var family: UInt32
    var key: Range<Int>
    var value: Range<Int>
    var end: Int
  }

  private let family: UInt32
  /// Places of operations, each the newest of its key; 0 is a free slot. A power of two in number,
  /// at most half of them taken.
  private var slots: [Int] = []
  private var keyCount = 0
  /// Where the first operation stands that is not indexed.
  private var end = WriteRecord.headerBytes

  public init(family: UInt32) { self.family = family }

  /// How many keys the index knows.
  public var count: Int { keyCount }

  /// Takes in the operations added to the record since the last call.
  public mutating func extend(over record: borrowing WriteRecord) {
    while end < record.storage.count {
      let operation = Self.operation(at: end, in: record.storage.span)
      if operation.family == family { insert(end, operation, record.storage.span) }
      end = operation.end
    }
  }

  /// Forgets everything, for a record that was rolled back behind what is indexed.
  public mutating func removeAll() {
    for slot in slots.indices { slots[slot] = 0 }
    keyCount = 0
    end = WriteRecord.headerBytes
  }

  /// What the record says of a key; nil when it says nothing.
  public func change(of key: Span<UInt8>, in record: borrowing WriteRecord) -> Change? {
    guard keyCount > 0 else { return nil }
    let bytes = record.storage.span
    let slot = slot(of: key, in: bytes)
    guard slots[slot] != 0 else { return nil }
    let operation = Self.operation(at: slots[slot], in: bytes)
    return operation.isPut ? .value(operation.value) : .deleted
  }

  /// Every key with its newest change, in no order.
  public func forEach(
    in record: borrowing WriteRecord, _ body: (_ key: Range<Int>, Change) -> Void
  ) {
    for place in slots where place != 0 {
      let operation = Self.operation(at: place, in: record.storage.span)
      body(operation.key, operation.isPut ? .value(operation.value) : .deleted)
    }
  }

  private mutating func insert(_ place: Int, _ operation: Operation, _ bytes: Span<UInt8>) {
    if keyCount * 2 >= slots.count { grow(bytes) }
    let slot = slot(of: bytes.extracting(operation.key), in: bytes)
    if slots[slot] == 0 { keyCount += 1 }
    slots[slot] = place
  }

  private mutating func grow(_ bytes: Span<UInt8>) {
    let old = slots
    slots = [Int](repeating: 0, count: max(64, old.count * 2))
    for place in old where place != 0 {
      let key = Self.operation(at: place, in: bytes).key
      slots[slot(of: bytes.extracting(key), in: bytes)] = place
    }
  }

  /// The slot that holds a key, or the free one where it belongs.
  private func slot(of key: Span<UInt8>, in bytes: Span<UInt8>) -> Int {
    var hasher = Hasher()
    unsafe key.withUnsafeBytes { unsafe hasher.combine(bytes: $0) }
    var slot = hasher.finalize() & (slots.count - 1)
    while slots[slot] != 0 {
      let other = Self.operation(at: slots[slot], in: bytes).key
      if bytesEqual(bytes.extracting(other), key) { return slot }
      slot = (slot + 1) & (slots.count - 1)
    }
    return slot
  }

  /// Reads the operation at a place. The bytes were written by ``WriteRecord`` alone, so they are
  /// well formed.
  private static func operation(at place: Int, in bytes: Span<UInt8>) -> Operation {
    var offset = place
    func varint() -> Int {
      var value = 0
      var shift = 0
      while true {
        let byte = bytes[offset]
        offset += 1
        value |= Int(byte & 0x7F) << shift
        if byte < 0x80 { return value }
        shift += 7
      }
    }
    func blob() -> Range<Int> {
      let count = varint()
      defer { offset += count }
      return offset..<(offset + count)
    }
    let tag = bytes[offset]
    offset += 1
    typealias Tag = WriteRecord.Tag
    let hasFamily = tag == Tag.value.1 || tag == Tag.deletion.1 || tag == Tag.rangeDeletion.1
    let family = hasFamily ? UInt32(truncatingIfNeeded: varint()) : 0
    let key = blob()
    let isDelete = tag == Tag.deletion.0 || tag == Tag.deletion.1
    let value = isDelete ? offset..<offset : blob()
    return Operation(
      isPut: tag == Tag.value.0 || tag == Tag.value.1, family: family, key: key, value: value,
      end: offset)
  }
}

extension WriteRecord {
  /// The bytes at a place that an index told.
  @_lifetime(borrow self)
  public func bytes(at place: Range<Int>) -> Span<UInt8> { storage.span.extracting(place) }
}
