public import SpindleCore

/// What a caller gives a write so that repeating the call writes once.
public struct IdempotencyToken: Hashable, Sendable {
  /// The most bytes of a token.
  public static let byteLimit = 128

  public let bytes: [UInt8]

  /// 1 to 128 bytes; any other count gives nil.
  public init?(_ bytes: [UInt8]) {
    guard (1...Self.byteLimit).contains(bytes.count) else { return nil }
    self.bytes = bytes
  }

  /// The bytes of a text in UTF-8; nil unless they are 1 to 128.
  public init?(_ text: String) { self.init(Array(text.utf8)) }
}

/// What the write of a token did: consecutive entries with one timestamp.
public struct TokenReceipt: Sendable, Hashable {
  /// The index of the first entry.
  public var index: UInt64
  /// How many entries; at least 1.
  public var count: UInt32
  public var timestamp: Timestamp

  public init(index: UInt64, count: UInt32, timestamp: Timestamp) {
    self.index = index
    self.count = count
    self.timestamp = timestamp
  }
}

/// A token's record: `expiry 8 | index 8 | count 4 | timestamp 8`.
/// `Documentation/Formats/oplog-row.md`, Tokens.
struct TokenRecord: Equatable {
  static let byteCount = 28

  /// Milliseconds since the Unix epoch from which on the token is forgotten.
  var expiry: UInt64
  var receipt: TokenReceipt

  var bytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(expiry)
    bytes.appendBigEndian(receipt.index)
    bytes.appendBigEndian(receipt.count)
    bytes.appendBigEndian(receipt.timestamp.packed)
    return bytes
  }

  init(expiry: UInt64, receipt: TokenReceipt) {
    self.expiry = expiry
    self.receipt = receipt
  }

  /// Reads a record; nil for bytes that none encodes to.
  init?(decoding bytes: Span<UInt8>) {
    var reader = ByteReader(bytes)
    guard bytes.count == Self.byteCount,
      let expiry = try? reader.readBigEndian(UInt64.self),
      let index = try? reader.readBigEndian(UInt64.self),
      let count = try? reader.readBigEndian(UInt32.self), count > 0,
      let packed = try? reader.readBigEndian(UInt64.self),
      index <= .max - UInt64(count)
    else { return nil }
    self.expiry = expiry
    receipt = TokenReceipt(index: index, count: count, timestamp: Timestamp(packed: packed))
  }
}
