/// Which rows a scan gives: comparisons of columns with values, and that several hold.
///
/// A null row satisfies only ``isNull(_:)``, and NaN satisfies no comparison, not even with itself.
/// Byte strings are compared byte by byte, which is the order of Unicode scalars for UTF-8 text.
/// Timestamps and dates are compared as the integers they are kept as.
///
/// The literals of Swift are values: `.all([.equal("origin", "JFK"), .greater("distance", 1000)])`.
public indirect enum ParquetPredicate: Sendable, Hashable {
  case equal(String, ParquetValue)
  case less(String, ParquetValue)
  case lessOrEqual(String, ParquetValue)
  case greater(String, ParquetValue)
  case greaterOrEqual(String, ParquetValue)
  /// From the first value to the second, both included.
  case between(String, ParquetValue, ParquetValue)
  case isIn(String, [ParquetValue])
  case isNull(String)
  case isNotNull(String)
  /// Every one of these holds; with none, every row does.
  case all([ParquetPredicate])
}
