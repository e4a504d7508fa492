internal import SpindleCore

/// The types of Thrift's compact protocol, by their numbers on the wire.
enum ThriftType: UInt8 {
  case boolTrue = 1
  case boolFalse = 2
  case int8 = 3
  case int16 = 4
  case int32 = 5
  case int64 = 6
  case double = 7
  case binary = 8
  case list = 9
  case set = 10
  case map = 11
  case structure = 12
  case uuid = 13
}

/// One field of a structure, before its value.
struct ThriftField {
  let id: Int16
  let type: ThriftType
}

/// Reads structures of Thrift's compact protocol from borrowed bytes.
///
/// Every length is checked against the bytes that are left, and every list against one byte for
/// each element, so that what is built stays in proportion to the bytes. Unknown fields are passed
/// over, to a bounded depth. After a failure the reader is of no further use.
struct ThriftReader: ~Escapable {
  private let bytes: Span<UInt8>
  /// Bytes read so far.
  private(set) var offset = 0

  /// Structures within structures that are passed over; the format itself nests less than ten.
  private static let skipDepth = 32

  @_lifetime(copy bytes)
  init(_ bytes: Span<UInt8>) { self.bytes = bytes }

  var remaining: Int { bytes.count - offset }

  /// The next field of a structure; nil at its end.
  ///
  /// - Parameter last: The id of the structure's field before, 0 at first; ids are stated as
  ///   differences.
  @_lifetime(self: copy self)
  mutating func nextField(after last: inout Int16) throws(ParquetFailure) -> ThriftField? {
    let start = offset
    let header = try byte()
    if header == 0 { return nil }
    guard let type = ThriftType(rawValue: header & 0x0F) else {
      throw .damaged("a Thrift field of unknown type \(header & 0x0F)", at: start)
    }
    let difference = Int16(header >> 4)
    if difference == 0 {
      let id = try zigzag()
      guard let id = Int16(exactly: id) else {
        throw .damaged("a Thrift field with the id \(id)", at: start)
      }
      last = id
    } else {
      let (id, overflow) = last.addingReportingOverflow(difference)
      if overflow { throw .damaged("a Thrift field id beyond 16 bits", at: start) }
      last = id
    }
    return ThriftField(id: last, type: type)
  }

  // MARK: Values

  func bool(_ field: ThriftField) throws(ParquetFailure) -> Bool {
    switch field.type {
    case .boolTrue: return true
    case .boolFalse: return false
    default: throw mismatch(field, .boolTrue)
    }
  }

  @_lifetime(self: copy self)
  mutating func int8(_ field: ThriftField) throws(ParquetFailure) -> Int8 {
    try require(.int8, field)
    return Int8(bitPattern: try byte())
  }

  @_lifetime(self: copy self)
  mutating func int16(_ field: ThriftField) throws(ParquetFailure) -> Int16 {
    try require(.int16, field)
    return try narrow()
  }

  @_lifetime(self: copy self)
  mutating func int32(_ field: ThriftField) throws(ParquetFailure) -> Int32 {
    try require(.int32, field)
    return try narrow()
  }

  @_lifetime(self: copy self)
  mutating func int64(_ field: ThriftField) throws(ParquetFailure) -> Int64 {
    try require(.int64, field)
    return try zigzag()
  }

  @_lifetime(self: copy self)
  mutating func binary(_ field: ThriftField) throws(ParquetFailure) -> [UInt8] {
    try require(.binary, field)
    return try binaryElement()
  }

  @_lifetime(self: copy self)
  mutating func string(_ field: ThriftField) throws(ParquetFailure) -> String {
    String(decoding: try binary(field), as: UTF8.self)
  }

  func requireStructure(_ field: ThriftField) throws(ParquetFailure) {
    try require(.structure, field)
  }

  /// The number of a list's elements, each of the given type.
  @_lifetime(self: copy self)
  mutating func list(
    _ field: ThriftField, of type: ThriftType
  ) throws(ParquetFailure) -> Int {
    try require(.list, field)
    let start = offset
    let (count, found) = try listHeader()
    // Writers name the type of truth values by either number; an empty list may name any.
    guard count == 0 || found == type || type == .boolTrue && found == .boolFalse else {
      throw .damaged("field \(field.id) lists \(found), expected \(type)", at: start)
    }
    return count
  }

  @_lifetime(self: copy self)
  mutating func boolElement() throws(ParquetFailure) -> Bool { try byte() == 1 }

  @_lifetime(self: copy self)
  mutating func int32Element() throws(ParquetFailure) -> Int32 { try narrow() }

  @_lifetime(self: copy self)
  mutating func int64Element() throws(ParquetFailure) -> Int64 { try zigzag() }

  @_lifetime(self: copy self)
  mutating func binaryElement() throws(ParquetFailure) -> [UInt8] {
    let start = try binaryLength()
    return copyBytes(bytes.extracting(start..<offset))
  }

  /// Appends an element of bytes to others.
  @_lifetime(self: copy self)
  mutating func binaryElement(to strings: inout ByteStrings) throws(ParquetFailure) {
    let start = try binaryLength()
    strings.append(bytes.extracting(start..<offset))
  }

  // MARK: What is not known

  /// Passes over a field's value.
  @_lifetime(self: copy self)
  mutating func skip(_ field: ThriftField) throws(ParquetFailure) {
    try skip(field.type, isElement: false, depth: Self.skipDepth)
  }

  @_lifetime(self: copy self)
  private mutating func skip(
    _ type: ThriftType, isElement: Bool, depth: Int
  ) throws(ParquetFailure) {
    guard depth > 0 else { throw .damaged("Thrift structures nest too deeply", at: offset) }
    switch type {
    // Of a field, the type is the value.
    case .boolTrue, .boolFalse: if isElement { _ = try byte() }
    case .int8: _ = try byte()
    case .int16, .int32, .int64: _ = try varint()
    case .double: try advance(8)
    case .uuid: try advance(16)
    case .binary: _ = try binaryLength()
    case .list, .set:
      let (count, element) = try listHeader()
      for _ in 0..<count { try skip(element, isElement: true, depth: depth - 1) }
    case .map:
      let count = try self.count()
      if count == 0 { return }
      let types = try byte()
      guard let key = ThriftType(rawValue: types >> 4),
        let value = ThriftType(rawValue: types & 0x0F)
      else { throw .damaged("a Thrift map of unknown types", at: offset - 1) }
      for _ in 0..<count {
        try skip(key, isElement: true, depth: depth - 1)
        try skip(value, isElement: true, depth: depth - 1)
      }
    case .structure:
      var last: Int16 = 0
      while let field = try nextField(after: &last) {
        try skip(field.type, isElement: false, depth: depth - 1)
      }
    }
  }

  // MARK: Pieces

  private func require(_ type: ThriftType, _ field: ThriftField) throws(ParquetFailure) {
    guard field.type == type else { throw mismatch(field, type) }
  }

  private func mismatch(_ field: ThriftField, _ type: ThriftType) -> ParquetFailure {
    .damaged("field \(field.id) is of Thrift type \(field.type), expected \(type)", at: offset)
  }

  @_lifetime(self: copy self)
  private mutating func byte() throws(ParquetFailure) -> UInt8 {
    guard offset < bytes.count else { throw .damaged("the bytes end early", at: offset) }
    defer { offset += 1 }
    return bytes[offset]
  }

  @_lifetime(self: copy self)
  private mutating func advance(_ count: Int) throws(ParquetFailure) {
    guard count <= remaining else { throw .damaged("the bytes end early", at: offset) }
    offset += count
  }

  @_lifetime(self: copy self)
  private mutating func varint() throws(ParquetFailure) -> UInt64 {
    let start = offset
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), through: 63, by: 7) {
      let part = try byte()
      if shift == 63, part > 1 { break }
      value |= UInt64(part & 0x7F) << shift
      if part & 0x80 == 0 { return value }
    }
    throw .damaged("a number of more than 64 bits", at: start)
  }

  @_lifetime(self: copy self)
  private mutating func zigzag() throws(ParquetFailure) -> Int64 {
    let raw = try varint()
    return Int64(bitPattern: raw >> 1) ^ -Int64(raw & 1)
  }

  @_lifetime(self: copy self)
  private mutating func narrow<Value: FixedWidthInteger>() throws(ParquetFailure) -> Value {
    let start = offset
    let value = try zigzag()
    guard let value = Value(exactly: value) else {
      throw .damaged("the number \(value) has more than \(Value.bitWidth) bits", at: start)
    }
    return value
  }

  /// A count of things that take at least one byte each.
  @_lifetime(self: copy self)
  private mutating func count() throws(ParquetFailure) -> Int {
    let start = offset
    let count = try varint()
    guard count <= UInt64(remaining) else {
      throw .damaged("\(count) bytes or elements where \(remaining) bytes are left", at: start)
    }
    return Int(count)
  }

  /// Passes over bytes with their length before them, and says where they began.
  @_lifetime(self: copy self)
  private mutating func binaryLength() throws(ParquetFailure) -> Int {
    let count = try count()
    offset += count
    return offset - count
  }

  @_lifetime(self: copy self)
  private mutating func listHeader() throws(ParquetFailure) -> (Int, ThriftType) {
    let start = offset
    let header = try byte()
    let small = Int(header >> 4)
    let count = small == 15 ? try self.count() : small
    guard count <= remaining else {
      throw .damaged("a list of \(count) elements in \(remaining) bytes", at: start)
    }
    // Empty lists may come without a type.
    if count == 0 { return (0, .boolTrue) }
    guard let type = ThriftType(rawValue: header & 0x0F) else {
      throw .damaged("a list of unknown Thrift type \(header & 0x0F)", at: start)
    }
    return (count, type)
  }
}
