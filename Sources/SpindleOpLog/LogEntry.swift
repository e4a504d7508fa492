public import SpindleCore

/// One real entry of a peer's log.
public struct LogEntry<Op: Sendable>: Sendable {
  /// Whom the server vouched for when it took the entry; nil without a server. Not the author, and
  /// without effect on merging.
  public var serverUser: UserID?
  /// When the entry was made, by its origin's hybrid clock. Entries that were written together may
  /// share a timestamp; within one peer it never falls.
  public var timestamp: Timestamp
  public var op: Op

  @inlinable
  public init(serverUser: UserID?, timestamp: Timestamp, op: Op) {
    self.serverUser = serverUser
    self.timestamp = timestamp
    self.op = op
  }
}

extension LogEntry: Equatable where Op: Equatable {}

/// What an index of a peer's log holds.
public enum DecodedEntry<Op: Sendable>: Sendable {
  case logEntry(LogEntry<Op>)
  /// The entry was removed; its hash and its index remain.
  case expunged(EntryHash)
}

extension DecodedEntry: Equatable where Op: Equatable {}

/// The 32 bytes that identify an entry's content.
public struct EntryHash: Hashable, Sendable, CustomStringConvertible {
  public static let byteCount = 32

  private let words: (UInt64, UInt64, UInt64, UInt64)

  /// Reads exactly 32 bytes; any other count gives nil.
  public init?(bytes: Span<UInt8>) {
    var reader = ByteReader(bytes)
    guard bytes.count == Self.byteCount, let hash = try? EntryHash(from: &reader) else {
      return nil
    }
    self = hash
  }

  /// Reads the next 32 bytes.
  init(from reader: inout ByteReader) throws(DecodingFailure) {
    words = (
      try reader.readBigEndian(UInt64.self), try reader.readBigEndian(UInt64.self),
      try reader.readBigEndian(UInt64.self), try reader.readBigEndian(UInt64.self)
    )
  }

  /// Reads exactly 32 bytes; any other count gives nil.
  public init?(bytes: [UInt8]) { self.init(bytes: bytes.span) }

  public var bytes: [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(Self.byteCount)
    append(to: &result)
    return result
  }

  func append(to bytes: inout [UInt8]) {
    let words = (
      words.0.bigEndian, words.1.bigEndian, words.2.bigEndian, words.3.bigEndian
    )
    // At once: number by number it costs as much again as the hash that it is put into.
    unsafe withUnsafeBytes(of: words) { unsafe bytes.append(contentsOf: $0) }
  }

  /// 64 lower-case hexadecimal digits.
  public var description: String { hexString(bytes) }

  public static func == (left: EntryHash, right: EntryHash) -> Bool { left.words == right.words }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(words.0)
    hasher.combine(words.1)
    hasher.combine(words.2)
    hasher.combine(words.3)
  }
}
