internal import SpindleCore

/// Writes structures of Thrift's compact protocol.
///
/// Fields of a structure are written by rising id; every structure and every element that is one
/// is closed by ``endStructure()``.
struct ThriftWriter {
  private(set) var bytes: [UInt8] = []
  /// The id of the field before, of the structure being written.
  private var last: Int16 = 0
  /// The same of the structures around it.
  private var outer: [Int16] = []

  // MARK: Fields

  mutating func bool(_ id: Int16, _ value: Bool?) {
    guard let value else { return }
    header(id, value ? .boolTrue : .boolFalse)
  }

  mutating func int8(_ id: Int16, _ value: Int8) {
    header(id, .int8)
    bytes.append(UInt8(bitPattern: value))
  }

  mutating func int16(_ id: Int16, _ value: Int16?) {
    guard let value else { return }
    header(id, .int16)
    zigzag(Int64(value))
  }

  mutating func int32(_ id: Int16, _ value: Int32?) {
    guard let value else { return }
    header(id, .int32)
    zigzag(Int64(value))
  }

  mutating func int64(_ id: Int16, _ value: Int64?) {
    guard let value else { return }
    header(id, .int64)
    zigzag(value)
  }

  mutating func binary(_ id: Int16, _ value: [UInt8]?) {
    guard let value else { return }
    header(id, .binary)
    bytes.appendBlob(value)
  }

  mutating func string(_ id: Int16, _ value: String?) {
    binary(id, value.map { Array($0.utf8) })
  }

  /// Opens a structure that is a field.
  mutating func beginStructure(_ id: Int16) {
    header(id, .structure)
    beginElement()
  }

  /// Opens a structure that is an element of a list.
  mutating func beginElement() {
    outer.append(last)
    last = 0
  }

  /// Closes the structure opened last, or the outermost one.
  mutating func endStructure() {
    bytes.append(0)
    last = outer.popLast() ?? 0
  }

  /// A structure without fields, which unions use as their tags.
  mutating func emptyStructure(_ id: Int16) {
    beginStructure(id)
    endStructure()
  }

  /// Opens a list of `count` elements, which follow.
  mutating func list(_ id: Int16, of type: ThriftType, count: Int) {
    header(id, .list)
    if count < 15 {
      bytes.append(UInt8(count) << 4 | type.rawValue)
    } else {
      bytes.append(0xF0 | type.rawValue)
      bytes.appendVarint(UInt64(count))
    }
  }

  // MARK: Elements of lists

  mutating func boolElement(_ value: Bool) {
    bytes.append(value ? ThriftType.boolTrue.rawValue : ThriftType.boolFalse.rawValue)
  }

  mutating func intElement(_ value: Int64) { zigzag(value) }

  mutating func binaryElement(_ value: Span<UInt8>) {
    bytes.appendVarint(UInt64(value.count))
    bytes.append(borrowing: value)
  }

  // MARK: Pieces

  private mutating func header(_ id: Int16, _ type: ThriftType) {
    let difference = Int(id) - Int(last)
    if (1...15).contains(difference) {
      bytes.append(UInt8(difference) << 4 | type.rawValue)
    } else {
      bytes.append(type.rawValue)
      zigzag(Int64(id))
    }
    last = id
  }

  private mutating func zigzag(_ value: Int64) {
    bytes.appendVarint(UInt64(bitPattern: value << 1 ^ value >> 63))
  }
}
