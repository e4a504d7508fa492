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

/// A structure of the format.
protocol ThriftStructure: ThriftWritable {
  /// Reads the fields up to the structure's end. Those that are not known are passed over.
  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure)
}

/// One field of a structure, before its value.
struct ThriftField {
  let id: Int16
  let type: ThriftType
}

/// Reads structures of Thrift's compact protocol from borrowed bytes.
///
/// Every length is checked against the bytes that are left, and every list against one byte for
/// each element, so that what is built stays in proportion to the bytes. Fields whose values are
/// not asked for are passed over, to a bounded depth. After a failure the reader is of no further
/// use.
struct ThriftReader: ~Escapable {
  private let bytes: Span<UInt8>
  /// Bytes read so far.
  private(set) var offset = 0
  /// The id of the field before, of the structure being read: ids are stated as differences.
  private var last: Int16 = 0
  /// The field that was told of last, and where its value begins.
  private var pending: (field: ThriftField, start: Int)?

  /// Key-value pairs that all lists of them together may still have: an empty pair takes three
  /// bytes of a footer, and more than ten times as many in memory.
  var keyValueRoom = Int.max

  /// Structures within structures that are passed over; the format itself nests less than ten.
  private static let skipDepth = 32

  @_lifetime(copy bytes)
  init(_ bytes: Span<UInt8>) { self.bytes = bytes }

  var remaining: Int { bytes.count - offset }

  /// The next field of a structure; nil at its end. The value of the one before is passed over if
  /// nobody asked for it.
  @_lifetime(self: copy self)
  mutating func nextField() throws(ParquetFailure) -> ThriftField? {
    if let pending, pending.start == offset {
      try skip(pending.field.type, isElement: false, depth: Self.skipDepth)
    }
    pending = nil
    guard let field = try fieldHeader() else { return nil }
    pending = (field, offset)
    return field
  }

  @_lifetime(self: copy self)
  private mutating func fieldHeader() throws(ParquetFailure) -> ThriftField? {
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

  @_lifetime(self: copy self)
  mutating func structure<Value: ThriftStructure>(
    _ field: ThriftField
  ) throws(ParquetFailure) -> Value {
    try structure(field) { (reader) throws(ParquetFailure) in try Value(&reader) }
  }

  /// Reads a structure in a way of its own.
  @_lifetime(self: copy self)
  mutating func structure<Value>(
    _ field: ThriftField, _ read: (inout ThriftReader) throws(ParquetFailure) -> Value
  ) throws(ParquetFailure) -> Value {
    try require(.structure, field)
    return try structureElement(read)
  }

  /// - Parameters:
  ///   - most: What the limits allow.
  ///   - what: What is listed, for the error when there are more.
  @_lifetime(self: copy self)
  mutating func structures<Value: ThriftStructure>(
    _ field: ThriftField, atMost most: Int = .max, _ what: String = ""
  ) throws(ParquetFailure) -> [Value] {
    let count = try list(field, of: .structure)
    guard count <= most else { throw .limit("\(count) \(what), more than \(most)") }
    var values: [Value] = []
    for _ in 0..<count {
      values.append(
        try structureElement { (reader) throws(ParquetFailure) in try Value(&reader) })
    }
    return values
  }

  @_lifetime(self: copy self)
  mutating func keyValues(_ field: ThriftField) throws(ParquetFailure) -> [KeyValue] {
    let pairs: [KeyValue] = try structures(field, atMost: keyValueRoom, "key-value pairs")
    keyValueRoom -= pairs.count
    return pairs
  }

  @_lifetime(self: copy self)
  mutating func int64s(_ field: ThriftField) throws(ParquetFailure) -> [Int64] {
    var values: [Int64] = []
    for _ in 0..<(try list(field, of: .int64)) { values.append(try zigzag()) }
    return values
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

  /// Reads a structure that is an element of a list.
  @_lifetime(self: copy self)
  mutating func structureElement<Value>(
    _ read: (inout ThriftReader) throws(ParquetFailure) -> Value
  ) throws(ParquetFailure) -> Value {
    let outer = last
    last = 0
    pending = nil
    let value = try read(&self)
    last = outer
    return value
  }

  // MARK: What is not asked for

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
      let outer = last
      last = 0
      while let field = try fieldHeader() {
        try skip(field.type, isElement: false, depth: depth - 1)
      }
      last = outer
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
