internal import SpindleCore

extension ParquetReader {
  /// Takes a predicate apart into tests of single columns, all of which must hold.
  ///
  /// - Throws: `invalidArgument`: a column is not there or has no order, or a value is not of its
  ///   type.
  func tests(of predicate: ParquetPredicate?) throws(SpindleError) -> [ColumnTest] {
    var tests: [ColumnTest] = []
    var rest = predicate.map { [$0] } ?? []
    while let next = rest.popLast() {
      if case .all(let parts) = next {
        rest.append(contentsOf: parts.reversed())
      } else {
        tests.append(try test(next))
      }
    }
    return tests
  }

  private func test(_ predicate: ParquetPredicate) throws(SpindleError) -> ColumnTest {
    switch predicate {
    case .isNull(let name): try nullTest(name, .isNull)
    case .isNotNull(let name): try nullTest(name, .isNotNull)
    case .equal(let name, let value): try setTest(name, [value])
    case .isIn(let name, let values): try setTest(name, values)
    case .less(let name, let value):
      try rangeTest(name, upper: value, includesUpper: false)
    case .lessOrEqual(let name, let value): try rangeTest(name, upper: value)
    case .greater(let name, let value):
      try rangeTest(name, lower: value, includesLower: false)
    case .greaterOrEqual(let name, let value): try rangeTest(name, lower: value)
    case .between(let name, let lower, let upper):
      try rangeTest(name, lower: lower, upper: upper)
    case .all: ColumnTest(column: 0, order: .unknown, condition: .never)
    }
  }

  private func nullTest(
    _ name: String, _ condition: ColumnTest.Condition
  ) throws(SpindleError) -> ColumnTest {
    let column = try position(of: name)
    return ColumnTest(
      column: column, order: ValueOrder(metadata.schema.columns[column]), condition: condition)
  }

  /// A test for one of some values.
  private func setTest(_ name: String, _ values: [ParquetValue]) throws(SpindleError) -> ColumnTest
  {
    var test = try nullTest(name, .never)
    var taken: [ParquetValue] = []
    var keys: Set<Int64> = []
    var numbers: Set<Double> = []
    var strings: Set<[UInt8]> = []
    for value in values {
      switch test.order {
      case .boolean, .integer:
        // A number that the type does not have is never found.
        guard let key = test.order.key(try integer(value, test, name)) else { continue }
        keys.insert(key)
        taken.append(value)
      case .float, .double:
        let number = try number(value, test, name)
        if number.isNaN { continue }
        if test.order == .float, Double(Float(number)) != number { continue }
        numbers.insert(number)
        taken.append(.double(number))
      case .bytes:
        guard case .bytes(let bytes) = value else { throw mismatch(value, name) }
        strings.insert(bytes)
        taken.append(value)
      case .unknown: throw mismatch(value, name)
      }
    }
    if taken.isEmpty { return test }
    switch test.order {
    case .boolean, .integer:
      test.condition =
        keys.count == 1
        ? keys.first.map { .integers($0...$0) } ?? .never : .integerSet(keys)
    case .float, .double:
      test.condition =
        numbers.count == 1
        ? numbers.first.map { .numbers($0...$0) } ?? .never : .numberSet(numbers)
    case .bytes: test.condition = .bytesSet(strings)
    case .unknown: break
    }
    // Booleans have no bloom filters.
    if test.order != .boolean { test.bloomCandidates = taken }
    return test
  }

  /// A test for a range of values.
  private func rangeTest(
    _ name: String, lower: ParquetValue? = nil, includesLower: Bool = true,
    upper: ParquetValue? = nil, includesUpper: Bool = true
  ) throws(SpindleError) -> ColumnTest {
    var test = try nullTest(name, .never)
    switch test.order {
    case .boolean, .integer:
      guard let all = test.order.integers else { return test }
      var (low, high) = (all.lowerBound, all.upperBound)
      if let lower { low = max(low, try integer(lower, test, name) + (includesLower ? 0 : 1)) }
      if let upper { high = min(high, try integer(upper, test, name) - (includesUpper ? 0 : 1)) }
      if low <= high, let low = test.order.key(low), let high = test.order.key(high) {
        test.condition = .integers(low...high)
      }
    case .float, .double:
      var (low, high) = (-Double.infinity, Double.infinity)
      if let lower {
        low = try number(lower, test, name)
        if !includesLower { low = low == .infinity ? .nan : low.nextUp }
      }
      if let upper {
        high = try number(upper, test, name)
        if !includesUpper { high = high == -.infinity ? .nan : high.nextDown }
      }
      // False where one of them is NaN.
      if low <= high { test.condition = .numbers(low...high) }
    case .bytes:
      test.condition = .bytes(
        .init(
          lower: try lower.map { (value) throws(SpindleError) in try bytes(value, name) },
          includesLower: includesLower,
          upper: try upper.map { (value) throws(SpindleError) in try bytes(value, name) },
          includesUpper: includesUpper))
    case .unknown: throw mismatch(lower ?? upper ?? false, name)
    }
    return test
  }

  private func integer(
    _ value: ParquetValue, _ test: ColumnTest, _ name: String
  ) throws(SpindleError) -> Int128 {
    switch (test.order, value) {
    case (.boolean, .boolean(let truth)): return truth ? 1 : 0
    case (.integer, .integer(let number)): return Int128(number)
    case (.integer, .unsigned(let number)): return Int128(number)
    default: throw mismatch(value, name)
    }
  }

  private func number(
    _ value: ParquetValue, _ test: ColumnTest, _ name: String
  ) throws(SpindleError) -> Double {
    switch value {
    case .double(let number): return number
    case .integer(let integer):
      if let number = Double(exactly: integer) { return number }
    case .unsigned(let integer):
      if let number = Double(exactly: integer) { return number }
    default: break
    }
    throw mismatch(value, name)
  }

  private func bytes(_ value: ParquetValue, _ name: String) throws(SpindleError) -> [UInt8] {
    guard case .bytes(let bytes) = value else { throw mismatch(value, name) }
    return bytes
  }

  private func mismatch(_ value: ParquetValue, _ name: String) -> SpindleError {
    let kind =
      switch value {
      case .boolean: "a boolean"
      case .integer, .unsigned: "an integer"
      case .double: "a number"
      case .bytes: "a byte string"
      }
    let column = metadata.schema.index(of: name).map { "\(metadata.schema.columns[$0])" } ?? name
    return SpindleError(
      .invalidArgument, "the column \(column) of \(source.name) cannot be compared with \(kind)",
      path: source.name)
  }
}
