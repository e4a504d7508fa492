/// One tag: both tokens are of kind ``LineProtocolToken/Kind/name``.
@frozen public struct LineProtocolTag: Sendable, Equatable {
  public let key: LineProtocolToken
  public let value: LineProtocolToken
}

/// A field's value. Numbers without a suffix are floats, as in InfluxDB.
@frozen public enum LineProtocolValue: Sendable, Equatable {
  case float(Double)
  case integer(Int64)
  case unsigned(UInt64)
  case boolean(Bool)
  /// The bytes between the quotes, of kind ``LineProtocolToken/Kind/string``.
  case string(LineProtocolToken)
}

/// One field; the key is of kind ``LineProtocolToken/Kind/name``.
@frozen public struct LineProtocolField: Sendable, Equatable {
  public let key: LineProtocolToken
  public let value: LineProtocolValue
}

/// One decoded point, lent to a ``LineProtocolSink`` while it is called.
///
/// It refers to the caller's buffer and to storage that the next line reuses, so it cannot be
/// copied or kept; copy out what is needed. Tokens may be kept for as long as the buffer is.
@safe public struct LineProtocolLine: ~Copyable {
  // Capacities are the limits the decoder was made with; the counts never exceed them.
  @usableFromInline let tagStorage: UnsafeMutablePointer<LineProtocolTag>
  @usableFromInline let fieldStorage: UnsafeMutablePointer<LineProtocolField>
  // Room for one index a tag, used while a series key is sorted. Only the owner's thread sees it.
  let orderScratch: UnsafeMutablePointer<UInt16>
  // Tag indexes in key order when the decoder knows them, or nil. Owned by the predictor.
  var knownOrder: UnsafePointer<UInt16>?
  // The caller's buffer; set for the duration of one decode call, which outlives every lending.
  @usableFromInline var buffer: UnsafeBufferPointer<UInt8>
  @usableFromInline var storedTagCount = 0
  @usableFromInline var storedFieldCount = 0
  @usableFromInline var storedTimestamp: Int64 = 0
  @usableFromInline var hasTimestamp = false

  /// The measurement, of kind ``LineProtocolToken/Kind/measurement``.
  public internal(set) var measurement = LineProtocolToken(
    start: 0, byteCount: 0, hasEscapes: false)

  /// The number of the line's first physical line, counted from the `firstLine` given to `decode`.
  public internal(set) var lineNumber: UInt64 = 0

  /// Where the line lies in the buffer, its line ending and leading blanks included.
  public internal(set) var byteRange: Range<Int> = 0..<0

  init(tagLimit: Int, fieldLimit: Int) {
    unsafe tagStorage = .allocate(capacity: tagLimit)
    unsafe fieldStorage = .allocate(capacity: fieldLimit)
    unsafe orderScratch = .allocate(capacity: tagLimit)
    unsafe knownOrder = nil
    unsafe buffer = UnsafeBufferPointer(start: nil, count: 0)
  }

  // The elements are trivial, so they need no deinitialization.
  deinit {
    unsafe tagStorage.deallocate()
    unsafe fieldStorage.deallocate()
    unsafe orderScratch.deallocate()
  }

  /// The tags in the order written; keys are unique.
  @inlinable public var tags: Span<LineProtocolTag> {
    @_lifetime(borrow self) get {
      let span = unsafe Span(_unsafeStart: UnsafePointer(tagStorage), count: storedTagCount)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }

  /// The fields in the order their keys first appear, at least one; keys are unique.
  @inlinable public var fields: Span<LineProtocolField> {
    @_lifetime(borrow self) get {
      let span = unsafe Span(_unsafeStart: UnsafePointer(fieldStorage), count: storedFieldCount)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }

  /// Nanoseconds since 1970, or `nil` when the line has no timestamp.
  @inlinable public var timestamp: Int64? { hasTimestamp ? storedTimestamp : nil }

  /// The whole decoded buffer, which the tokens refer to.
  @inlinable public var bytes: Span<UInt8> {
    @_lifetime(borrow self) get {
      unsafe _overrideLifetime(Span(_unsafeElements: buffer), borrowing: self)
    }
  }

  /// The bytes of a token as written. They are its text when it has no escapes.
  ///
  /// - Precondition: The token lies inside the decoded buffer.
  @inlinable @_lifetime(borrow self)
  public func rawBytes(of token: LineProtocolToken) -> Span<UInt8> {
    precondition(
      unsafe token.start >= 0 && token.start <= buffer.count - token.byteCount)
    // In bounds by the check above.
    let start = unsafe buffer.baseAddress.map { unsafe $0 + token.start }
    let part = unsafe UnsafeBufferPointer(start: start, count: token.byteCount)
    return unsafe _overrideLifetime(Span(_unsafeElements: part), borrowing: self)
  }

  /// Appends a token's text, escapes resolved.
  ///
  /// - Precondition: The token lies inside the decoded buffer.
  public func append(
    _ token: LineProtocolToken, as kind: LineProtocolToken.Kind, to output: inout [UInt8]
  ) {
    token.appendUnescaped(as: kind, from: bytes, to: &output)
  }

  /// A token's text as a string. The decoder has checked that it is UTF-8.
  public func string(_ token: LineProtocolToken, as kind: LineProtocolToken.Kind) -> String {
    var text: [UInt8] = []
    append(token, as: kind, to: &text)
    return String(decoding: text, as: UTF8.self)
  }
}
