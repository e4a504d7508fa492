/// A typed look at a column of numbers or truth values, without a copy.
public struct ColumnView<Element: ColumnElement>: ~Escapable {
  /// The slots of all rows; those of null rows say nothing.
  public let slots: Span<Element>
  /// The words of the validity; none when no row is null.
  private let validity: Span<UInt64>

  @_lifetime(copy slots, copy validity)
  init(slots: Span<Element>, validity: Span<UInt64>) {
    self.slots = slots
    self.validity = validity
  }

  /// Rows.
  public var count: Int { slots.count }
  /// Whether every row has a value, so that ``slots`` can be read as it is.
  public var hasNoNulls: Bool { validity.isEmpty }

  /// Whether a row has no value.
  public func isNull(_ row: Int) -> Bool {
    !validity.isEmpty && validity[row >> 6] >> UInt64(row & 63) & 1 == 0
  }

  /// The value of a row; nil for a null row.
  public subscript(row: Int) -> Element? { isNull(row) ? nil : slots[row] }
}

/// A look at a column of byte strings, plain or with a dictionary, without a copy.
public struct ByteStringView: ~Escapable {
  private let offsets: Span<Int>
  private let bytes: Span<UInt8>
  /// Which string a row has, if ``isIndexed``; row `r` has string `r` otherwise.
  private let indices: Span<UInt32>
  private let isIndexed: Bool
  private let validity: Span<UInt64>

  @_lifetime(copy offsets, copy bytes, copy indices, copy validity)
  init(
    offsets: Span<Int>, bytes: Span<UInt8>, indices: Span<UInt32>, isIndexed: Bool,
    validity: Span<UInt64>
  ) {
    self.offsets = offsets
    self.bytes = bytes
    self.indices = indices
    self.isIndexed = isIndexed
    self.validity = validity
  }

  /// Rows.
  public var count: Int { isIndexed ? indices.count : offsets.count - 1 }

  /// Whether a row has no value.
  public func isNull(_ row: Int) -> Bool {
    !validity.isEmpty && validity[row >> 6] >> UInt64(row & 63) & 1 == 0
  }

  /// The bytes of a row; nil for a null row.
  public subscript(row: Int) -> Span<UInt8>? {
    @_lifetime(copy self) get {
      if isNull(row) { return nil }
      let index = isIndexed ? Int(indices[row]) : row
      return bytes.extracting(offsets[index]..<offsets[index + 1])
    }
  }
}

extension ColumnArray {
  /// Calls the body with the column's values, if they are of this type.
  ///
  /// - Returns: What the body returns; nil when the column is of another type.
  public func withView<Element: ColumnElement, Result, Failure: Error>(
    of type: Element.Type, _ body: (ColumnView<Element>) throws(Failure) -> Result
  ) throws(Failure) -> Result? {
    guard let slots = Element.slots(of: values) else { return nil }
    let words = validity?.words ?? []
    return try body(ColumnView(slots: slots.span, validity: words.span))
  }

  /// Calls the body with the column's byte strings, plain or with a dictionary.
  ///
  /// - Returns: What the body returns; nil when the column holds no byte strings.
  public func withByteStrings<Result, Failure: Error>(
    _ body: (ByteStringView) throws(Failure) -> Result
  ) throws(Failure) -> Result? {
    let words = validity?.words ?? []
    switch values {
    case .bytes(let strings):
      return try body(
        ByteStringView(
          offsets: strings.offsets.span, bytes: strings.bytes.span, indices: Span(),
          isIndexed: false, validity: words.span))
    case .dictionary(let indices, let strings):
      return try body(
        ByteStringView(
          offsets: strings.offsets.span, bytes: strings.bytes.span, indices: indices.span,
          isIndexed: true, validity: words.span))
    default: return nil
    }
  }
}
