internal import Glibc

/// Why bytes could not be decoded.
public enum DecodingFailure: Error, Sendable, Equatable, CustomStringConvertible {
  case truncated(needed: Int, available: Int)
  case varintOverflow
  case nonMinimalVarint
  case trailingBytes(Int)
  case checksumMismatch(stored: UInt32, computed: UInt32)
  case unknownVersion(UInt8)
  case invalid(String)

  public var description: String {
    switch self {
    case .truncated(let needed, let available):
      "needs \(needed) bytes where \(available) are left"
    case .varintOverflow: "a varint exceeds 64 bits"
    case .nonMinimalVarint: "a varint is longer than its value needs"
    case .trailingBytes(let count): "\(count) bytes follow the end of the record"
    case .checksumMismatch(let stored, let computed):
      "checksum \(hex(stored)) is stored, the bytes give \(hex(computed))"
    case .unknownVersion(let version): "record version \(version) is unknown"
    case .invalid(let what): what
    }
  }

  private func hex(_ value: UInt32) -> String { "0x" + String(value, radix: 16) }
}

/// Reads fixed and variable-length values from borrowed bytes; consumes nothing on failure.
public struct ByteReader: ~Escapable {
  @usableFromInline let bytes: Span<UInt8>
  /// How many bytes were read so far.
  @inlinable public var offset: Int { position }
  @usableFromInline var position = 0

  @inlinable
  @_lifetime(copy bytes)
  public init(_ bytes: Span<UInt8>) { self.bytes = bytes }

  /// Bytes not yet read.
  @inlinable public var remaining: Int { bytes.count - position }

  @inlinable func require(_ count: Int) throws(DecodingFailure) {
    guard count >= 0 else { throw .invalid("a length of \(count) bytes is negative") }
    guard count <= remaining else {
      throw .truncated(needed: count, available: remaining)
    }
  }

  @inlinable
  @_lifetime(self: copy self)
  public mutating func readUInt8() throws(DecodingFailure) -> UInt8 {
    try require(1)
    defer { position += 1 }
    return bytes[position]
  }

  @inlinable
  @_lifetime(self: copy self)
  public mutating func readBigEndian<Value>(
    _: Value.Type
  ) throws(DecodingFailure) -> Value
  where Value: FixedWidthInteger & UnsignedInteger & BitwiseCopyable {
    let width = Value.bitWidth / 8
    try require(width)
    let start = position
    position += width
    // In one load: the bytes are there.
    return unsafe bytes.withUnsafeBytes { bytes in
      unsafe Value(bigEndian: bytes.loadUnaligned(fromByteOffset: start, as: Value.self))
    }
  }

  @inlinable
  @_lifetime(self: copy self)
  public mutating func readLittleEndian<Value>(
    _ type: Value.Type
  ) throws(DecodingFailure) -> Value
  where Value: FixedWidthInteger & UnsignedInteger & BitwiseCopyable {
    try readBigEndian(type).byteSwapped
  }

  /// Reads a minimal LEB128 number of at most 64 bits.
  @_lifetime(self: copy self)
  public mutating func readVarint() throws(DecodingFailure) -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    var next = offset
    while true {
      guard next < bytes.count else { throw .truncated(needed: 1, available: 0) }
      let byte = bytes[next]
      next += 1
      if shift == 63, byte > 1 { throw .varintOverflow }
      value |= UInt64(byte & 0x7F) << shift
      if byte & 0x80 == 0 {
        if byte == 0, shift > 0 { throw .nonMinimalVarint }
        position = next
        return value
      }
      shift += 7
    }
  }

  /// Reads a varint length followed by that many bytes.
  @_lifetime(self: copy self)
  public mutating func readBlob() throws(DecodingFailure) -> [UInt8] {
    let start = offset
    let count = try readVarint()
    guard count <= UInt64(remaining) else {
      let available = remaining
      position = start
      throw .truncated(needed: Int(clamping: count), available: available)
    }
    return try readBytes(Int(count))
  }

  @inlinable
  @_lifetime(self: copy self)
  public mutating func readBytes(_ count: Int) throws(DecodingFailure) -> [UInt8] {
    try require(count)
    defer { position += count }
    return copyBytes(bytes.extracting(position..<(position + count)))
  }

  @inlinable
  @_lifetime(self: copy self)
  public mutating func readUUID() throws(DecodingFailure) -> UUIDValue {
    let high = try readBigEndian(UInt64.self)
    do {
      return UUIDValue(high: high, low: try readBigEndian(UInt64.self))
    } catch {
      position -= 8
      throw error
    }
  }

  /// The bytes not yet read.
  public var rest: Span<UInt8> {
    @inlinable @_lifetime(copy self) get { bytes.extracting(position..<bytes.count) }
  }

  /// Fails when bytes are left.
  public func requireEnd() throws(DecodingFailure) {
    guard remaining == 0 else { throw .trailingBytes(remaining) }
  }
}

/// Copies borrowed bytes into an array of their own.
public func copyBytes(_ bytes: Span<UInt8>) -> [UInt8] {
  unsafe bytes.withUnsafeBufferPointer { unsafe Array($0) }
}

extension [UInt8] {
  /// Appends an integer, most significant byte first.
  @inlinable
  public mutating func appendBigEndian(_ value: some FixedWidthInteger & UnsignedInteger) {
    unsafe Swift.withUnsafeBytes(of: value.bigEndian) { unsafe append(contentsOf: $0) }
  }

  /// Appends an integer, least significant byte first.
  @inlinable
  public mutating func appendLittleEndian(_ value: some FixedWidthInteger & UnsignedInteger) {
    unsafe Swift.withUnsafeBytes(of: value.littleEndian) { unsafe append(contentsOf: $0) }
  }

  /// Appends a LEB128 number.
  @inlinable
  public mutating func appendVarint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    append(UInt8(rest))
  }

  /// Appends a varint length and the bytes.
  public mutating func appendBlob(_ bytes: [UInt8]) {
    appendVarint(UInt64(bytes.count))
    append(contentsOf: bytes)
  }

  /// Appends borrowed bytes with one copy.
  @inlinable
  public mutating func append(borrowing bytes: Span<UInt8>) {
    unsafe bytes.withUnsafeBufferPointer { unsafe append(contentsOf: $0) }
  }
}

/// Whether two runs of bytes are equal.
public func bytesEqual(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Bool {
  guard left.count == right.count else { return false }
  if left.isEmpty { return true }
  return unsafe left.withUnsafeBytes { left in
    unsafe right.withUnsafeBytes { right in
      // Both are as long, and not empty, so both have an address.
      unsafe memcmp(left.baseAddress!, right.baseAddress!, left.count) == 0
    }
  }
}
