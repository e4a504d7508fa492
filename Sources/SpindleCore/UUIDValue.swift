/// Sixteen bytes in the layout of RFC 9562, with the text forms that Spindle reads and writes.
public struct UUIDValue: Hashable, Sendable, CustomStringConvertible {
  /// Bytes 0 to 7, most significant first.
  public let high: UInt64
  /// Bytes 8 to 15, most significant first.
  public let low: UInt64

  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// Reads exactly 16 bytes; any other count gives nil.
  public init?(bytes: Span<UInt8>) {
    guard bytes.count == 16 else { return nil }
    var high: UInt64 = 0
    var low: UInt64 = 0
    for index in 0..<8 {
      high = high << 8 | UInt64(bytes[index])
      low = low << 8 | UInt64(bytes[index + 8])
    }
    self.init(high: high, low: low)
  }

  /// Reads exactly 16 bytes; any other count gives nil.
  public init?(bytes: [UInt8]) { self.init(bytes: bytes.span) }

  /// Reads 32 hexadecimal digits, the hyphenated form of 36 characters, that form in braces, or
  /// that form after `urn:uuid:`. Digits of either case are accepted; anything else gives nil.
  public init?(text: some StringProtocol) {
    var characters = Array(text.utf8)
    if characters.count == 45, characters.starts(with: Array("urn:uuid:".utf8)) {
      characters.removeFirst(9)
      guard characters.count == 36 else { return nil }
    } else if characters.count == 38, characters.first == UInt8(ascii: "{"),
      characters.last == UInt8(ascii: "}")
    {
      characters = Array(characters[1..<37])
    }
    if characters.count == 36 {
      let hyphens = [8, 13, 18, 23]
      guard hyphens.allSatisfy({ characters[$0] == UInt8(ascii: "-") }) else { return nil }
      characters = characters.enumerated().filter { !hyphens.contains($0.offset) }.map(\.element)
    }
    guard characters.count == 32 else { return nil }
    var words: (UInt64, UInt64) = (0, 0)
    for (index, character) in characters.enumerated() {
      guard let digit = Self.digit(character) else { return nil }
      if index < 16 { words.0 = words.0 << 4 | digit } else { words.1 = words.1 << 4 | digit }
    }
    self.init(high: words.0, low: words.1)
  }

  private static func digit(_ character: UInt8) -> UInt64? {
    switch character {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt64(character - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt64(character - UInt8(ascii: "a")) + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt64(character - UInt8(ascii: "A")) + 10
    default: nil
    }
  }

  /// The sixteen bytes, most significant first.
  public var bytes: [UInt8] {
    unsafe [UInt8](unsafeUninitializedCapacity: 16) { target, count in
      unsafe UnsafeMutableRawBufferPointer(target).storeBytes(of: high.bigEndian, as: UInt64.self)
      unsafe UnsafeMutableRawBufferPointer(target).storeBytes(
        of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
      count = 16
    }
  }

  /// The same without an allocation.
  package var inlineBytes: InlineArray<16, UInt8> {
    InlineArray { index in
      UInt8(truncatingIfNeeded: (index < 8 ? high : low) >> UInt64(56 - 8 * (index & 7)))
    }
  }

  /// Appends the sixteen bytes, most significant first.
  public func append(to bytes: inout [UInt8]) {
    unsafe Swift.withUnsafeBytes(of: (high.bigEndian, low.bigEndian)) {
      unsafe bytes.append(contentsOf: $0)
    }
  }

  /// 32 lower-case hexadecimal digits without hyphens.
  public var description: String { hexString(bytes) }

  /// The version nibble: 7 for a time-ordered id of RFC 9562.
  public var version: Int { Int(high >> 12 & 0xF) }

  /// Whether the variant bits are those of RFC 9562 (binary 10).
  public var hasStandardVariant: Bool { low >> 62 == 0b10 }
}

/// Names a peer: the origin of one log in the op-log, with exactly one writer.
public struct PeerID: Hashable, Sendable, CustomStringConvertible {
  public let uuid: UUIDValue
  public init(_ uuid: UUIDValue) { self.uuid = uuid }

  /// Reads any text form of ``UUIDValue/init(text:)``.
  public init?(text: some StringProtocol) {
    guard let uuid = UUIDValue(text: text) else { return nil }
    self.uuid = uuid
  }

  public var description: String { uuid.description }
}

/// Names a user whom a server vouched for.
public struct UserID: Hashable, Sendable, CustomStringConvertible {
  public let uuid: UUIDValue
  public init(_ uuid: UUIDValue) { self.uuid = uuid }
  public var description: String { uuid.description }
}
