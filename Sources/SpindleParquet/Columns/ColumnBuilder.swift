public import SpindleCore

/// Makes a column of numbers or truth values row by row.
public struct ColumnBuilder<Element: ColumnElement>: Sendable {
  private var slots: [Element] = []
  private var validity: ValidityBuilder

  /// - Parameter capacity: Rows to reserve memory for.
  public init(capacity: Int = 0) {
    slots.reserveCapacity(capacity)
    validity = ValidityBuilder()
  }

  /// Rows so far.
  public var count: Int { slots.count }

  public mutating func append(_ value: Element) {
    slots.append(value)
    validity.append(true)
  }

  public mutating func appendNull() {
    validity.appendNull(after: slots.count)
    slots.append(.zero)
  }

  /// Adds a value, or a null row for nil.
  public mutating func append(_ value: Element?) {
    if let value { append(value) } else { appendNull() }
  }

  /// Adds rows that all have a value, with one copy.
  public mutating func append(contentsOf values: Span<Element>) {
    unsafe values.withUnsafeBufferPointer { unsafe slots.append(contentsOf: $0) }
    validity.append(repeating: true, count: values.count)
  }

  /// The column; the builder is empty afterwards.
  public mutating func finish() -> ColumnArray {
    defer { self = Self() }
    return ColumnArray(Element.columnValues(slots), validity: validity.validity)
  }
}

/// Makes a column of byte strings row by row.
public struct ByteStringsBuilder: Sendable {
  private var strings = ByteStrings()
  private var validity = ValidityBuilder()

  /// - Parameters:
  ///   - capacity: Rows to reserve memory for.
  ///   - byteCapacity: Bytes of all strings together to reserve memory for.
  public init(capacity: Int = 0, byteCapacity: Int = 0) {
    strings.offsets.reserveCapacity(capacity + 1)
    strings.bytes.reserveCapacity(byteCapacity)
  }

  /// Rows so far.
  public var count: Int { strings.count }
  /// Bytes of all strings so far.
  public var byteCount: Int { strings.bytes.count }

  public mutating func append(_ value: Span<UInt8>) {
    strings.append(value)
    validity.append(true)
  }

  public mutating func append(_ value: [UInt8]) {
    strings.append(value)
    validity.append(true)
  }

  public mutating func append(_ text: String) {
    strings.append(text)
    validity.append(true)
  }

  public mutating func appendNull() {
    validity.appendNull(after: strings.count)
    strings.appendEmpty()
  }

  /// Adds a text, or a null row for nil.
  public mutating func append(_ text: String?) {
    if let text { append(text) } else { appendNull() }
  }

  /// The column; the builder is empty afterwards.
  public mutating func finish() -> ColumnArray {
    defer { self = Self() }
    return ColumnArray(.bytes(strings), validity: validity.validity)
  }
}

/// Makes a column of byte strings of one length, such as UUIDs, row by row.
public struct FixedBytesBuilder: Sendable {
  private var fixed: FixedBytes
  private var validity = ValidityBuilder()

  /// - Parameters:
  ///   - width: Bytes of each value, 1 or more.
  ///   - capacity: Rows to reserve memory for.
  public init(width: Int, capacity: Int = 0) {
    fixed = FixedBytes(width: width)
    fixed.bytes.reserveCapacity(capacity * width)
  }

  /// Rows so far.
  public var count: Int { fixed.count }

  /// Adds one value of `width` bytes; another number of them is a mistake of the caller.
  public mutating func append(_ value: Span<UInt8>) {
    fixed.append(value)
    validity.append(true)
  }

  /// Adds one value of `width` bytes; another number of them is a mistake of the caller.
  public mutating func append(_ value: [UInt8]) { append(value.span) }

  public mutating func append(_ uuid: UUIDValue) { append(uuid.bytes) }

  public mutating func appendNull() {
    validity.appendNull(after: fixed.count)
    fixed.appendZeros()
  }

  /// The column; the builder is empty afterwards.
  public mutating func finish() -> ColumnArray {
    defer { self = Self(width: fixed.width) }
    return ColumnArray(.fixed(fixed), validity: validity.validity)
  }
}

/// The validity of a column being made: nothing at all until the first null row.
struct ValidityBuilder: Sendable {
  private(set) var validity: Validity?

  mutating func append(_ isThere: Bool) { validity?.append(isThere) }

  mutating func append(repeating isThere: Bool, count: Int) {
    validity?.append(repeating: isThere, count: count)
  }

  /// Adds a null row.
  ///
  /// - Parameter rows: Rows so far, all of which hold a value if there was no null yet.
  mutating func appendNull(after rows: Int) {
    if validity == nil { validity = Validity(repeating: true, count: rows) }
    validity?.append(false)
  }
}
