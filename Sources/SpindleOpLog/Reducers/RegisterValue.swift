public import SpindleCore

/// What a register of a ``MaxRegister`` holds. Values of one kind compare as they are; unsigned
/// numbers are below signed ones and those below bytes, so that every two values have an order.
public enum RegisterValue: Sendable, Hashable, Comparable {
  case unsigned(UInt64)
  case signed(Int64)
  /// Compared byte by byte; a prefix is below what it begins.
  case bytes([UInt8])

  private enum Kind {
    // Part of the format; must not be changed.
    static let unsigned: UInt8 = 1
    static let signed: UInt8 = 2
    static let bytes: UInt8 = 3
  }

  /// Bytes whose order is the order of the values: a kind, then the number big-endian (signed ones
  /// with the sign bit turned), or the bytes.
  public var encoded: [UInt8] {
    var result: [UInt8] = []
    switch self {
    case .unsigned(let number):
      result.append(Kind.unsigned)
      result.appendBigEndian(number)
    case .signed(let number):
      result.append(Kind.signed)
      result.appendBigEndian(UInt64(bitPattern: number) ^ 1 << 63)
    case .bytes(let bytes):
      result.append(Kind.bytes)
      result += bytes
    }
    return result
  }

  public init(decoding bytes: Span<UInt8>) throws(DecodingFailure) {
    var reader = ByteReader(bytes)
    switch try reader.readUInt8() {
    case Kind.unsigned:
      self = .unsigned(try reader.readBigEndian(UInt64.self))
      try reader.requireEnd()
    case Kind.signed:
      let bits = try reader.readBigEndian(UInt64.self)
      self = .signed(Int64(bitPattern: bits ^ 1 << 63))
      try reader.requireEnd()
    case Kind.bytes: self = .bytes(copyBytes(reader.rest))
    case let kind: throw .invalid("\(kind) is no kind of a register's value")
    }
  }

  public static func < (left: RegisterValue, right: RegisterValue) -> Bool {
    switch (left, right) {
    case (.unsigned(let left), .unsigned(let right)): left < right
    case (.signed(let left), .signed(let right)): left < right
    case (.bytes(let left), .bytes(let right)): left.lexicographicallyPrecedes(right)
    default: left.rank < right.rank
    }
  }

  private var rank: UInt8 {
    switch self {
    case .unsigned: Kind.unsigned
    case .signed: Kind.signed
    case .bytes: Kind.bytes
    }
  }
}
