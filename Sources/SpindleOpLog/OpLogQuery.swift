public import SpindleCore

/// Which entries to find, and in which order. Expunged markers are never found.
public struct OpLogQuery: Sendable, Hashable {
  /// What the entries have in common; each case needs an index of ``OpLogIndexes``.
  public enum Subject: Sendable, Hashable {
    /// Every entry, by time. Needs ``OpLogIndexes/byTime``.
    case everything
    /// The entries for which a server vouched for a user, by time. Needs ``OpLogIndexes/byUser``.
    case user(UserID)
    /// The history of one thing: the entries with exactly this key, by time. Needs
    /// ``OpLogIndexes/byKey``.
    case key([UInt8])
    /// The entries whose key starts with these bytes, by key, then by time. Needs
    /// ``OpLogIndexes/byKey``.
    case keyPrefix([UInt8])
  }

  public var subject: Subject
  /// Which timestamps; both ends belong to it. The default is all.
  public var times: ClosedRange<Timestamp>
  /// Whether the last comes first.
  public var isReversed: Bool

  public init(
    _ subject: Subject,
    times: ClosedRange<Timestamp> = Timestamp.zero...Timestamp(packed: .max),
    isReversed: Bool = false
  ) {
    self.subject = subject
    self.times = times
    self.isReversed = isReversed
  }

  /// The timestamps of a time on the wall clock.
  ///
  /// - Parameter milliseconds: Since the Unix epoch, both ends included; what is beyond 48 bits is
  ///   taken as the last timestamp there is.
  public static func times(
    wallMilliseconds milliseconds: ClosedRange<UInt64>
  ) -> ClosedRange<Timestamp> {
    let last = Timestamp(packed: .max)
    let lower = Timestamp(wallMilliseconds: milliseconds.lowerBound, counter: 0) ?? last
    let upper = Timestamp(wallMilliseconds: milliseconds.upperBound, counter: .max) ?? last
    return lower...upper
  }

  /// Tells one query from another, so that a continuation is not used with the wrong one.
  var checksum: UInt32 {
    var bytes: [UInt8] = [isReversed ? 1 : 0]
    bytes.appendBigEndian(times.lowerBound.packed)
    bytes.appendBigEndian(times.upperBound.packed)
    switch subject {
    case .everything: bytes.append(0)
    case .user(let user): bytes += [1] + user.uuid.bytes
    case .key(let key): bytes += [2] + key
    case .keyPrefix(let prefix): bytes += [3] + prefix
    }
    return CRC32C.checksum(bytes)
  }

  /// The index that the query needs.
  var index: OpLogIndexes {
    switch subject {
    case .everything: .byTime
    case .user: .byUser
    case .key, .keyPrefix: .byKey
    }
  }

  /// The keys of the index that can hold what is asked for: lower, and upper excluded.
  var bounds: (lower: [UInt8], upper: [UInt8]?) {
    let start: [UInt8]
    switch subject {
    case .everything: start = OpLogIndexKey.start(of: .time)
    case .user(let user): start = OpLogIndexKey.start(of: .user(user))
    case .key(let key): start = OpLogIndexKey.start(of: .key(key))
    case .keyPrefix(let prefix):
      // Times are within each key here, so they bound nothing.
      let start = OpLogIndexKey.start(ofKeysWithPrefix: prefix)
      return (start, OpLogIndexKey.end(ofKeysWithStart: start))
    }
    var lower = start
    lower.appendBigEndian(times.lowerBound.packed)
    var upper = start
    guard times.upperBound.packed < .max else {
      return (lower, OpLogIndexKey.end(ofKeysWithStart: start))
    }
    upper.appendBigEndian(times.upperBound.packed + 1)
    return (lower, upper)
  }
}

/// An entry that a query found.
public struct FoundEntry<Op: Sendable>: Sendable {
  public let peer: PeerID
  public let index: UInt64
  public let entry: LogEntry<Op>

  public init(peer: PeerID, index: UInt64, entry: LogEntry<Op>) {
    self.peer = peer
    self.index = index
    self.entry = entry
  }
}

extension FoundEntry: Equatable where Op: Equatable {}

/// A page of what a query finds.
public struct OpLogQueryPage<Op: Sendable>: Sendable {
  public internal(set) var entries: [FoundEntry<Op>] = []
  /// Where the next page starts; nil when there is no more. A page can have few entries or none
  /// and still not be the last.
  public internal(set) var next: OpLogContinuation?
}

/// Where a query goes on. Opaque; belongs to one query.
public struct OpLogContinuation: Sendable, Hashable, LosslessStringConvertible {
  // The version of the bytes; a token is not stored by Spindle, but may be by its users.
  private static let version: UInt8 = 1

  let checksum: UInt32
  /// The last key of the index that was looked at.
  let position: [UInt8]

  init(of query: OpLogQuery, at position: [UInt8]) {
    checksum = query.checksum
    self.position = position
  }

  /// Whether the token was made for a query: by its checksum, and within its bounds, so that a
  /// token that was made up reads nothing else.
  func belongs(to query: OpLogQuery) -> Bool {
    let (lower, upper) = query.bounds
    return checksum == query.checksum && !position.lexicographicallyPrecedes(lower)
      && upper.map { position.lexicographicallyPrecedes($0) } ?? true
  }

  /// The token's bytes.
  public var bytes: [UInt8] {
    var bytes: [UInt8] = [Self.version]
    bytes.appendBigEndian(checksum)
    bytes += position
    bytes.appendBigEndian(CRC32C.mask(CRC32C.checksum(bytes)))
    return bytes
  }

  /// Reads a token's bytes; nil for bytes that are damaged or none.
  public init?(bytes: [UInt8]) {
    guard bytes.count > 9 else { return nil }
    let body = bytes.span.extracting(0..<(bytes.count - 4))
    var tail = ByteReader(bytes.span.extracting((bytes.count - 4)..<bytes.count))
    var reader = ByteReader(body)
    guard (try? tail.readBigEndian(UInt32.self)) == CRC32C.mask(CRC32C.checksum(body)),
      (try? reader.readUInt8()) == Self.version,
      let checksum = try? reader.readBigEndian(UInt32.self)
    else { return nil }
    self.checksum = checksum
    position = copyBytes(reader.rest)
  }

  /// The bytes as lower-case hexadecimal digits.
  public var description: String { hexString(bytes) }

  /// Reads what ``description`` gives; nil for anything else.
  public init?(_ text: String) {
    guard text.utf8.count % 2 == 0 else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.utf8.count / 2)
    var digits = text.utf8.makeIterator()
    while let high = digits.next(), let low = digits.next() {
      guard let high = Self.digit(high), let low = Self.digit(low) else { return nil }
      bytes.append(high << 4 | low)
    }
    self.init(bytes: bytes)
  }

  private static func digit(_ character: UInt8) -> UInt8? {
    switch character {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): character - UInt8(ascii: "a") + 10
    default: nil
    }
  }
}
