internal import SpindleCore

/// A predicate on one column, brought to the order of the column's values so that rows, pages and
/// row groups are judged by comparing numbers or bytes.
struct ColumnTest: Sendable {
  enum Condition: Sendable {
    case isNull
    case isNotNull
    /// No row can satisfy it.
    case never
    /// Integers and booleans, by ``key(_:)``.
    case integers(ClosedRange<Int64>)
    case integerSet(Set<Int64>)
    case numbers(ClosedRange<Double>)
    case numberSet(Set<Double>)
    case bytes(BytesRange)
    case bytesSet(Set<[UInt8]>)
  }

  /// A range of byte strings; a bound that is missing bounds nothing.
  struct BytesRange: Sendable {
    var lower: [UInt8]?
    var includesLower = true
    var upper: [UInt8]?
    var includesUpper = true

    func contains(_ bytes: Span<UInt8>) -> Bool {
      if let lower {
        let order = compareBytes(bytes, lower.span)
        if order < 0 || order == 0 && !includesLower { return false }
      }
      if let upper {
        let order = compareBytes(bytes, upper.span)
        if order > 0 || order == 0 && !includesUpper { return false }
      }
      return true
    }
  }

  /// The column's position in the schema.
  var column: Int
  var order: ValueOrder
  var condition: Condition

  /// The values of which one must be there, in the plain encoding that bloom filters hash; nil when
  /// the condition is no equality.
  var bloomCandidates: [ParquetValue]?
}

/// Which of two byte strings comes first: below 0, 0 or above 0.
func compareBytes(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Int {
  let shared = min(left.count, right.count)
  for index in 0..<shared where left[index] != right[index] {
    return left[index] < right[index] ? -1 : 1
  }
  return left.count - right.count
}

extension ValueOrder {
  /// A number that is ordered as the column's values are; nil for a value of another type or
  /// outside of the type's range.
  func key(_ value: ParquetValue) -> Int64? {
    switch (self, value) {
    case (.boolean, .boolean(let truth)): truth ? 1 : 0
    case (.integer, .integer(let number)): key(Int128(number))
    case (.integer, .unsigned(let number)): key(Int128(number))
    default: nil
    }
  }

  /// The integers of the column's type.
  var integers: ClosedRange<Int128>? {
    switch self {
    case .integer(bits: 32, isSigned: true): Int128(Int32.min)...Int128(Int32.max)
    case .integer(bits: 32, isSigned: false): 0...Int128(UInt32.max)
    case .integer(_, isSigned: true): Int128(Int64.min)...Int128(Int64.max)
    case .integer(_, isSigned: false): 0...Int128(UInt64.max)
    case .boolean: 0...1
    default: nil
    }
  }

  /// The key of an integer; nil outside of the type's range. Unsigned numbers of 64 bits are moved
  /// down by half their range, so that they fit and keep their order.
  func key(_ number: Int128) -> Int64? {
    guard let integers, integers.contains(number) else { return nil }
    if case .integer(bits: 64, isSigned: false) = self {
      return Int64(number + Int128(Int64.min))
    }
    return Int64(number)
  }
}

extension ColumnTest.Condition {
  /// Whether a value between two bounds may satisfy the condition. A bound that is missing bounds
  /// nothing.
  func mayHold(minimum: ParquetValue?, maximum: ParquetValue?, order: ValueOrder) -> Bool {
    switch self {
    case .isNull, .isNotNull: return true
    case .never: return false
    case .integers(let range):
      if let low = minimum.flatMap(order.key), low > range.upperBound { return false }
      if let high = maximum.flatMap(order.key), high < range.lowerBound { return false }
      return true
    case .integerSet(let set):
      let low = minimum.flatMap(order.key) ?? .min
      let high = maximum.flatMap(order.key) ?? .max
      return set.contains { low <= $0 && $0 <= high }
    case .numbers(let range):
      if case .double(let low) = minimum, low > range.upperBound { return false }
      if case .double(let high) = maximum, high < range.lowerBound { return false }
      return true
    case .numberSet(let set):
      return set.contains { number in
        if case .double(let low) = minimum, number < low { return false }
        if case .double(let high) = maximum, number > high { return false }
        return true
      }
    case .bytes(let range):
      if case .bytes(let low) = minimum, let upper = range.upper {
        let order = compareBytes(low.span, upper.span)
        if order > 0 || order == 0 && !range.includesUpper { return false }
      }
      if case .bytes(let high) = maximum, let lower = range.lower {
        let order = compareBytes(high.span, lower.span)
        if order < 0 || order == 0 && !range.includesLower { return false }
      }
      return true
    case .bytesSet(let set):
      return set.contains { bytes in
        if case .bytes(let low) = minimum, compareBytes(bytes.span, low.span) < 0 { return false }
        if case .bytes(let high) = maximum, compareBytes(bytes.span, high.span) > 0 {
          return false
        }
        return true
      }
    }
  }
}

extension ColumnTest {
  /// Whether rows of which this much is known may satisfy the condition.
  ///
  /// - Parameter rowCount: The rows that are known.
  func mayHold(_ statistics: ParquetStatistics, rowCount: Int) -> Bool {
    switch condition {
    case .isNull: return statistics.nullCount != 0
    default:
      if statistics.nullCount == rowCount { return false }
      return condition.mayHold(
        minimum: statistics.minimum, maximum: statistics.maximum, order: order)
    }
  }

  /// Whether a chunk with this bloom filter may hold a row that satisfies the condition.
  func mayHold(_ filter: BloomFilter) -> Bool {
    guard let bloomCandidates else { return true }
    return bloomCandidates.contains { value in
      order.bloomHashes(value).contains { filter.mayContain($0) }
    }
  }
}

extension ValueOrder {
  /// The hashes under which a bloom filter may know a value: of its plain encoding, and both zeros
  /// are one value.
  func bloomHashes(_ value: ParquetValue) -> [UInt64] {
    switch (self, value) {
    case (.integer(bits: 32, _), .integer(let number)):
      [XXH64.hash(UInt32(truncatingIfNeeded: number))]
    case (.integer(bits: 32, _), .unsigned(let number)):
      [XXH64.hash(UInt32(truncatingIfNeeded: number))]
    case (.integer, .integer(let number)): [XXH64.hash(UInt64(bitPattern: number))]
    case (.integer, .unsigned(let number)): [XXH64.hash(number)]
    case (.float, .double(let number)):
      (number == 0 ? [0.0, -0.0] : [number]).map { XXH64.hash(Float($0).bitPattern) }
    case (.double, .double(let number)):
      (number == 0 ? [0.0, -0.0] : [number]).map { XXH64.hash($0.bitPattern) }
    case (.bytes, .bytes(let bytes)): [XXH64.hash(bytes.span)]
    default: []
    }
  }
}
