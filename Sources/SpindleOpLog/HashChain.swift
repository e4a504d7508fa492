internal import Crypto
public import SpindleCore

/// How entries are hashed. The raw value stands in everything that carries hashes elsewhere.
public enum HashSuite: UInt8, Sendable {
  case sha256 = 1

  /// What new entries are hashed with.
  public static let current = HashSuite.sha256

  public func hash(_ content: Span<UInt8>) -> EntryHash {
    switch self {
    case .sha256:
      var function = SHA256()
      unsafe content.withUnsafeBytes { unsafe function.update(bufferPointer: $0) }
      return Self.end(function)
    }
  }

  /// The hash of bytes in two pieces.
  func hash(_ start: Span<UInt8>, _ rest: Span<UInt8>) -> EntryHash {
    switch self {
    case .sha256:
      var function = SHA256()
      unsafe start.withUnsafeBytes { unsafe function.update(bufferPointer: $0) }
      unsafe rest.withUnsafeBytes { unsafe function.update(bufferPointer: $0) }
      return Self.end(function)
    }
  }

  private static func end(_ function: SHA256) -> EntryHash {
    // A digest of this suite has the 32 bytes of an entry hash.
    unsafe function.finalize().withUnsafeBytes { bytes in
      EntryHash(bytes: unsafe Span(_unsafeElements: bytes.assumingMemoryBound(to: UInt8.self)))!
    }
  }
}

/// The first byte of what is hashed, so that no content of one kind can pass for another.
enum HashDomain {
  // Part of the format; must not be changed.
  static let seed: UInt8 = 0
  static let entry: UInt8 = 1
  static let link: UInt8 = 2
}

/// The running hash of a peer's log up to an index: equal heads at the same index mean equal logs.
///
/// Every link takes in the head before it and the entry's hash, which itself binds peer and index.
/// An expunged marker gives the hash of the entry that was there, so a chain survives expunging.
/// `Documentation/Formats/oplog-row.md`, Chain.
public struct ChainHead: Hashable, Sendable, CustomStringConvertible {
  public let hash: EntryHash

  public init(_ hash: EntryHash) { self.hash = hash }

  /// The head of a peer's empty log.
  public static func seed(of peer: PeerID) -> ChainHead {
    var content: [UInt8] = [HashDomain.seed]
    peer.uuid.append(to: &content)
    return ChainHead(HashSuite.current.hash(content.span))
  }

  /// The head after one more entry.
  public func appending(_ entry: EntryHash) -> ChainHead {
    var content: [UInt8] = []
    content.reserveCapacity(1 + 2 * EntryHash.byteCount)
    content.append(HashDomain.link)
    hash.append(to: &content)
    entry.append(to: &content)
    return ChainHead(HashSuite.current.hash(content.span))
  }

  /// 64 lower-case hexadecimal digits.
  public var description: String { hash.description }
}
