internal import SpindleCore

/// The smallest and the largest of the values of a column that were seen, for comparison with what
/// a file claims.
struct ValueBounds {
  let order: ValueOrder
  private(set) var rowCount = 0
  private(set) var nullCount = 0
  /// Integers and booleans, by their keys.
  private var keys: ClosedRange<Int64>?
  /// Numbers other than NaN.
  private var numbers: ClosedRange<Double>?
  private var lowest: [UInt8]?
  private var highest: [UInt8]?

  init(_ order: ValueOrder) { self.order = order }

  /// Takes in what others have seen.
  mutating func add(_ other: ValueBounds) {
    rowCount += other.rowCount
    nullCount += other.nullCount
    if let range = other.keys { include(range.lowerBound, range.upperBound) }
    if let range = other.numbers { include(range.lowerBound, range.upperBound) }
    if let lowest = other.lowest { include(lowest.span) }
    if let highest = other.highest { include(highest.span) }
  }

  /// Takes in the values of some rows.
  mutating func add(_ column: ColumnArray) {
    rowCount += column.count
    nullCount += column.nullCount
    let rows = column.count
    switch column.values {
    case .boolean(let slots):
      for row in 0..<rows where !column.isNull(row) { include(key: slots[row] ? 1 : 0) }
    case .int32(let slots):
      if case .integer(_, isSigned: false) = order {
        for row in 0..<rows where !column.isNull(row) {
          include(key: Int64(UInt32(bitPattern: slots[row])))
        }
      } else {
        for row in 0..<rows where !column.isNull(row) { include(key: Int64(slots[row])) }
      }
    case .int64(let slots):
      var shift: Int64 = 0
      if case .integer(_, isSigned: false) = order { shift = .min }
      for row in 0..<rows where !column.isNull(row) { include(key: slots[row] ^ shift) }
    case .float(let slots):
      for row in 0..<rows where !column.isNull(row) { include(number: Double(slots[row])) }
    case .double(let slots):
      for row in 0..<rows where !column.isNull(row) { include(number: slots[row]) }
    case .bytes(let slots):
      for row in 0..<rows where !column.isNull(row) { include(slots[row]) }
    case .fixed(let slots):
      for row in 0..<rows where !column.isNull(row) { include(slots[row]) }
    case .dictionary(let indices, let strings):
      var isUsed = [Bool](repeating: false, count: strings.count)
      for row in 0..<rows where !column.isNull(row) { isUsed[Int(indices[row])] = true }
      for index in isUsed.indices where isUsed[index] { include(strings[index]) }
    }
  }

  private mutating func include(key: Int64) { include(key, key) }

  private mutating func include(_ low: Int64, _ high: Int64) {
    guard let range = keys else {
      keys = low...high
      return
    }
    if low < range.lowerBound || high > range.upperBound {
      keys = min(low, range.lowerBound)...max(high, range.upperBound)
    }
  }

  private mutating func include(number: Double) {
    if !number.isNaN { include(number, number) }
  }

  private mutating func include(_ low: Double, _ high: Double) {
    guard let range = numbers else {
      numbers = low...high
      return
    }
    if low < range.lowerBound || high > range.upperBound {
      numbers = min(low, range.lowerBound)...max(high, range.upperBound)
    }
  }

  private mutating func include(_ bytes: Span<UInt8>) {
    if lowest.map({ compareBytes(bytes, $0.span) < 0 }) ?? true { lowest = copyBytes(bytes) }
    if highest.map({ compareBytes(bytes, $0.span) > 0 }) ?? true { highest = copyBytes(bytes) }
  }

  // MARK: Claims

  /// Where the order of claimed bounds and of the values that were seen differ.
  enum Comparison {
    case below, equal, above, unknown
  }

  /// What is wrong with statistics of the values that were seen; no bound is shown, as it is data.
  func faults(of claimed: ParquetStatistics) -> [String] {
    var faults: [String] = []
    if let count = claimed.nullCount, count != nullCount {
      faults.append("there are \(nullCount) nulls, not \(count)")
    }
    switch compare(claimed.minimum, isMinimum: true) {
    case .above: faults.append("the values are not bounded from below")
    case .below where claimed.isMinimumExact == true:
      faults.append("the values are not exactly bounded from below")
    default: break
    }
    switch compare(claimed.maximum, isMinimum: false) {
    case .below: faults.append("the values are not bounded from above")
    case .above where claimed.isMaximumExact == true:
      faults.append("the values are not exactly bounded from above")
    default: break
    }
    return faults
  }

  /// How a claimed bound lies to the one that was seen.
  private func compare(_ claimed: ParquetValue?, isMinimum: Bool) -> Comparison {
    switch claimed {
    case nil: return .unknown
    case .double(let claimed):
      guard let seen = isMinimum ? numbers?.lowerBound : numbers?.upperBound else {
        return .unknown
      }
      return claimed < seen ? .below : claimed > seen ? .above : .equal
    case .bytes(let claimed):
      guard let seen = isMinimum ? lowest : highest else { return .unknown }
      let result = compareBytes(claimed.span, seen.span)
      return result < 0 ? .below : result > 0 ? .above : .equal
    case let claimed?:
      guard let seen = isMinimum ? keys?.lowerBound : keys?.upperBound,
        let key = order.key(claimed)
      else { return .unknown }
      return key < seen ? .below : key > seen ? .above : .equal
    }
  }
}
