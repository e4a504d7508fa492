/// One value of a column, outside of the columns: in statistics, predicates and rows.
public enum ParquetValue: Sendable, Hashable {
  case boolean(Bool)
  /// An integer, a date as days, or a timestamp in its unit.
  case integer(Int64)
  /// An integer of a column of unsigned integers.
  case unsigned(UInt64)
  /// A number of a column of `FLOAT` or `DOUBLE`.
  case double(Double)
  /// The bytes of a text, a UUID or any other byte string.
  case bytes([UInt8])

  /// The UTF-8 bytes of a text.
  public static func text(_ text: String) -> ParquetValue { .bytes(Array(text.utf8)) }
}

extension ParquetValue: ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
  ExpressibleByFloatLiteral, ExpressibleByStringLiteral
{
  public init(booleanLiteral value: Bool) { self = .boolean(value) }
  public init(integerLiteral value: Int64) { self = .integer(value) }
  public init(floatLiteral value: Double) { self = .double(value) }
  public init(stringLiteral value: String) { self = .text(value) }
}

/// What is known of the values of a column chunk.
public struct ParquetStatistics: Sendable, Hashable {
  /// No value is smaller, in the order of the column's type; NaN counts as no value. Nil where the
  /// file does not say, or says it in an order that is not to be trusted.
  public var minimum: ParquetValue?
  /// No value is larger.
  public var maximum: ParquetValue?
  /// Whether ``minimum`` is itself a value, and not cut short; nil where the file does not say.
  public var isMinimumExact: Bool?
  /// Whether ``maximum`` is itself a value, and not cut short; nil where the file does not say.
  public var isMaximumExact: Bool?
  /// Rows without a value.
  public var nullCount: Int?
  /// Different values.
  public var distinctCount: Int?
}
