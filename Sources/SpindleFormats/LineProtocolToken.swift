/// A run of bytes of the decoded buffer, as written: escapes are still in it.
///
/// A token is 16 bytes and copies nothing. It is meaningful only with the buffer it was decoded
/// from; ``LineProtocolLine/append(_:as:to:)`` and ``appendUnescaped(as:from:to:)`` give its text.
@frozen public struct LineProtocolToken: Sendable, Equatable {
  /// Offset of the first byte in the decoded buffer.
  public let start: Int
  @usableFromInline let storedByteCount: UInt32
  /// Whether the token holds at least one escape sequence. Without any, its bytes are its text.
  public let hasEscapes: Bool

  /// The number of bytes as written, escapes included, the quotes of a string not.
  @inlinable public var byteCount: Int { Int(storedByteCount) }

  /// The token's place in the decoded buffer.
  @inlinable public var range: Range<Int> { start..<(start + byteCount) }

  init(start: Int, byteCount: Int, hasEscapes: Bool) {
    self.start = start
    self.storedByteCount = UInt32(truncatingIfNeeded: byteCount)
    self.hasEscapes = hasEscapes
  }

  /// What a token is, which decides what a backslash in it means.
  ///
  /// A backslash before any byte not listed is an ordinary byte and stays.
  public enum Kind: Sendable, CaseIterable {
    /// A measurement: comma and space may be escaped.
    case measurement
    /// A tag key, tag value or field key: comma, equals sign and space may be escaped.
    case name
    /// A string field: double quote and backslash may be escaped.
    case string

    /// Whether `\` before `byte` is an escape sequence.
    func escapes(_ byte: UInt8) -> Bool {
      switch self {
      case .measurement: byte == Ascii.comma || byte == Ascii.space
      case .name: byte == Ascii.comma || byte == Ascii.space || byte == Ascii.equals
      case .string: byte == Ascii.quote || byte == Ascii.backslash
      }
    }
  }

  /// Appends the token's text, escapes resolved.
  ///
  /// - Parameters:
  ///   - kind: What the token is. Another kind than the one it was decoded as gives other bytes.
  ///   - buffer: The buffer the token was decoded from.
  /// - Precondition: The token lies inside `buffer`.
  /// - Complexity: O(bytes); a copy when there are no escapes.
  public func appendUnescaped(
    as kind: Kind, from buffer: Span<UInt8>, to output: inout [UInt8]
  ) {
    let written = buffer.extracting(range)
    guard hasEscapes else {
      unsafe written.withUnsafeBufferPointer { unsafe output.append(contentsOf: $0) }
      return
    }
    var index = 0
    while index < written.count {
      if written[index] == Ascii.backslash, index + 1 < written.count,
        kind.escapes(written[index + 1])
      {
        index += 1
      }
      output.append(written[index])
      index += 1
    }
  }
}

/// The bytes line protocol gives a meaning.
enum Ascii {
  static let tab: UInt8 = 0x09
  static let newline: UInt8 = 0x0A
  static let carriageReturn: UInt8 = 0x0D
  static let space: UInt8 = 0x20
  static let quote: UInt8 = 0x22
  static let hash: UInt8 = 0x23
  static let plus: UInt8 = 0x2B
  static let comma: UInt8 = 0x2C
  static let minus: UInt8 = 0x2D
  static let dot: UInt8 = 0x2E
  static let zero: UInt8 = 0x30
  static let nine: UInt8 = 0x39
  static let equals: UInt8 = 0x3D
  static let backslash: UInt8 = 0x5C
  static let underscore: UInt8 = 0x5F
  static let lowerE: UInt8 = 0x65
  static let lowerI: UInt8 = 0x69
  static let lowerU: UInt8 = 0x75

  static func isDigit(_ byte: UInt8) -> Bool { byte &- zero <= 9 }
  static func isBlank(_ byte: UInt8) -> Bool { byte == space || byte == tab }
}
