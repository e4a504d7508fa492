/// What is wrong with the bytes of a write batch.
package enum WriteBatchFault: Error, Sendable, Hashable {
  /// Fewer than the 12 bytes of sequence and count.
  case truncatedHeader
  /// The operation at this offset of the batch is cut off or its lengths are impossible.
  case truncatedOperation(offset: Int)
  /// An operation of a kind this version does not know.
  case unknownKind(UInt8, offset: Int)
  /// The header's count does not agree with the operations.
  case wrongCount(stated: UInt32, found: UInt32)
}

/// What an operation of a write batch does.
package enum WriteBatchOperationKind: UInt8, Sendable, Hashable {
  case put, delete, singleDelete, merge
  /// The key is the range's start, the value its end (excluded).
  case deleteRange
  case putBlobIndex, putEntity
  /// A note in the log that no family holds; its bytes are the value.
  case logData
  case noop
  /// Two-phase commit, which Spindle does not use; the transaction's name is the key.
  case beginPrepare, endPrepare, commit, rollback

  /// Whether the operation takes a sequence number, and so is in the batch's count.
  package var isCounted: Bool {
    switch self {
    case .put, .delete, .singleDelete, .merge, .deleteRange, .putBlobIndex, .putEntity: true
    case .logData, .noop, .beginPrepare, .endPrepare, .commit, .rollback: false
    }
  }
}

/// One operation, whose bytes belong to the batch it was read from.
package struct WriteBatchOperation: ~Escapable {
  package let kind: WriteBatchOperationKind
  /// 0 is the default family.
  package let columnFamilyID: UInt32
  package let key: Span<UInt8>
  package let value: Span<UInt8>

  @_lifetime(copy bytes)
  init(_ layout: WriteBatchLayout, in bytes: Span<UInt8>) {
    kind = layout.kind
    columnFamilyID = layout.columnFamilyID
    key = bytes.extracting(layout.key)
    value = bytes.extracting(layout.value)
  }
}

/// Where an operation's parts stand in the batch.
struct WriteBatchLayout {
  var kind: WriteBatchOperationKind
  var columnFamilyID: UInt32 = 0
  var key: Range<Int> = 0..<0
  var value: Range<Int> = 0..<0
}

/// Walks a RocksDB write batch: sequence u64, count u32, then operations.
///
/// Accepts any bytes; what does not make sense is thrown and ends the walk.
package struct WriteBatchReader: ~Escapable {
  /// The sequence number of the first counted operation.
  package let sequence: UInt64
  /// The operations that take a sequence number, as the header states it.
  package let count: UInt32
  private let bytes: Span<UInt8>
  private var position: Int
  private var counted: UInt32 = 0

  /// - Throws: `truncatedHeader`.
  @_lifetime(copy bytes)
  package init(_ bytes: Span<UInt8>) throws(WriteBatchFault) {
    guard bytes.count >= WALFormat.batchHeaderByteCount else { throw .truncatedHeader }
    var sequence: UInt64 = 0
    for index in 0..<8 { sequence |= UInt64(bytes[index]) << (8 * UInt64(index)) }
    var count: UInt32 = 0
    for index in 0..<4 { count |= UInt32(bytes[8 + index]) << (8 * UInt32(index)) }
    self.sequence = sequence
    self.count = count
    self.bytes = bytes
    position = WALFormat.batchHeaderByteCount
  }

  /// The next operation, or nil behind the last, when the count has been found right.
  @_lifetime(copy self)
  @_lifetime(self: copy self)
  package mutating func next() throws(WriteBatchFault) -> WriteBatchOperation? {
    guard let layout = try nextLayout() else { return nil }
    return WriteBatchOperation(layout, in: bytes)
  }

  /// Walks what is left without looking at keys and values.
  @_lifetime(self: copy self)
  package mutating func validate() throws(WriteBatchFault) {
    while try nextLayout() != nil {}
  }

  @_lifetime(self: copy self)
  private mutating func nextLayout() throws(WriteBatchFault) -> WriteBatchLayout? {
    guard position < bytes.count else {
      guard counted == count else { throw .wrongCount(stated: count, found: counted) }
      return nil
    }
    let start = position
    let tag = bytes[position]
    position += 1
    // Tags are RocksDB's value types; part of its file format.
    let layout: WriteBatchLayout? =
      switch tag {
      case 0x00: keyOnly(.delete, family: false)
      case 0x01: keyAndValue(.put, family: false)
      case 0x02: keyAndValue(.merge, family: false)
      case 0x03: valueOnly(.logData)
      case 0x04: keyOnly(.delete, family: true)
      case 0x05: keyAndValue(.put, family: true)
      case 0x06: keyAndValue(.merge, family: true)
      case 0x07: keyOnly(.singleDelete, family: false)
      case 0x08: keyOnly(.singleDelete, family: true)
      case 0x09, 0x12, 0x13: WriteBatchLayout(kind: .beginPrepare)
      case 0x0a: keyOnly(.endPrepare, family: false)
      case 0x0b: keyOnly(.commit, family: false)
      case 0x0c: keyOnly(.rollback, family: false)
      case 0x0d: WriteBatchLayout(kind: .noop)
      case 0x0e: keyAndValue(.deleteRange, family: true)
      case 0x0f: keyAndValue(.deleteRange, family: false)
      case 0x10: keyAndValue(.putBlobIndex, family: true)
      case 0x11: keyAndValue(.putBlobIndex, family: false)
      case 0x15: timestampedCommit()
      case 0x16: keyAndValue(.putEntity, family: false)
      case 0x17: keyAndValue(.putEntity, family: true)
      default: throw .unknownKind(tag, offset: start)
      }
    guard let layout else { throw .truncatedOperation(offset: start) }
    if layout.kind.isCounted { counted &+= 1 }
    return layout
  }

  @_lifetime(self: copy self)
  private mutating func keyOnly(
    _ kind: WriteBatchOperationKind, family: Bool
  ) -> WriteBatchLayout? {
    var layout = WriteBatchLayout(kind: kind)
    if family {
      guard let id = readVarint() else { return nil }
      layout.columnFamilyID = id
    }
    guard let key = readPrefixed() else { return nil }
    layout.key = key
    return layout
  }

  @_lifetime(self: copy self)
  private mutating func keyAndValue(
    _ kind: WriteBatchOperationKind, family: Bool
  ) -> WriteBatchLayout? {
    guard var layout = keyOnly(kind, family: family), let value = readPrefixed() else {
      return nil
    }
    layout.value = value
    return layout
  }

  @_lifetime(self: copy self)
  private mutating func valueOnly(_ kind: WriteBatchOperationKind) -> WriteBatchLayout? {
    guard let value = readPrefixed() else { return nil }
    return WriteBatchLayout(kind: kind, value: value)
  }

  /// The timestamp comes first, then the transaction's name.
  @_lifetime(self: copy self)
  private mutating func timestampedCommit() -> WriteBatchLayout? {
    guard let value = readPrefixed(), let key = readPrefixed() else { return nil }
    return WriteBatchLayout(kind: .commit, key: key, value: value)
  }

  @_lifetime(self: copy self)
  private mutating func readPrefixed() -> Range<Int>? {
    guard let length = readVarint(), Int(length) <= bytes.count - position else { return nil }
    let range = position..<(position + Int(length))
    position = range.upperBound
    return range
  }

  @_lifetime(self: copy self)
  private mutating func readVarint() -> UInt32? {
    var value: UInt32 = 0
    var shift: UInt32 = 0
    while position < bytes.count, shift < 35 {
      let byte = bytes[position]
      position += 1
      // The fifth byte has room for four bits; RocksDB drops the others, and so does the shift.
      value |= UInt32(byte & 0x7f) << shift
      if byte < 0x80 { return value }
      shift += 7
    }
    return nil
  }
}
