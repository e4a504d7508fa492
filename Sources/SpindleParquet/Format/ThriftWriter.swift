internal import SpindleCore

/// What is written as a structure of the format.
protocol ThriftWritable {
  /// Writes the fields that are there, by rising id.
  func write(to writer: inout ThriftWriter)
}

extension ThriftWritable {
  /// The structure as it stands in the file.
  var encoded: [UInt8] {
    var writer = ThriftWriter()
    writer.element { write(to: &$0) }
    return writer.bytes
  }
}

/// Writes structures of Thrift's compact protocol.
struct ThriftWriter {
  private(set) var bytes: [UInt8] = []
  /// The id of the field before, of the structure being written.
  private var last: Int16 = 0

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

  mutating func structure(_ id: Int16, _ value: (some ThriftWritable)?) {
    guard let value else { return }
    structure(id) { value.write(to: &$0) }
  }

  /// A structure whose fields the body writes. One without any is the tag of a union.
  mutating func structure(_ id: Int16, _ fields: (inout ThriftWriter) -> Void = { _ in }) {
    header(id, .structure)
    element(fields)
  }

  mutating func structures(_ id: Int16, _ values: [some ThriftWritable]?) {
    guard let values else { return }
    list(id, of: .structure, count: values.count)
    for value in values { element { value.write(to: &$0) } }
  }

  mutating func int64s(_ id: Int16, _ values: [Int64]?) {
    guard let values else { return }
    list(id, of: .int64, count: values.count)
    for value in values { intElement(value) }
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

  /// A structure whose fields the body writes: an element, or the outermost one.
  fileprivate mutating func element(_ fields: (inout ThriftWriter) -> Void) {
    let outer = last
    last = 0
    fields(&self)
    bytes.append(0)
    last = outer
  }

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
