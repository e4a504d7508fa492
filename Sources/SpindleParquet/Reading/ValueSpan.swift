internal import SpindleCore

/// The least and the greatest value of some rows.
struct ValueSpan: Sendable, Hashable {
  var least: ParquetValue
  var greatest: ParquetValue

  /// The span of an array's rows; nil where no row has a value that is ordered.
  init?(_ rows: ColumnArray, _ order: ValueOrder) {
    // The rows of the least and the greatest so far.
    var span: (least: Int, greatest: Int)?
    func widen(_ row: Int, _ precedes: (Int, Int) -> Bool) {
      guard let known = span else {
        span = (row, row)
        return
      }
      if precedes(row, known.least) { span?.least = row }
      if precedes(known.greatest, row) { span?.greatest = row }
    }
    func widen<Element>(
      _ slots: [Element], _ precedes: (Element, Element) -> Bool,
      where isOrdered: (Element) -> Bool = { _ in true }
    ) {
      for row in slots.indices where !rows.isNull(row) && isOrdered(slots[row]) {
        widen(row) { precedes(slots[$0], slots[$1]) }
      }
    }
    guard order != .unknown else { return nil }
    let isSigned = if case .integer(_, isSigned: false) = order { false } else { true }
    switch rows.values {
    case .boolean(let slots): widen(slots) { !$0 && $1 }
    case .int32(let slots):
      isSigned
        ? widen(slots, <) : widen(slots) { UInt32(bitPattern: $0) < UInt32(bitPattern: $1) }
    case .int64(let slots):
      isSigned
        ? widen(slots, <) : widen(slots) { UInt64(bitPattern: $0) < UInt64(bitPattern: $1) }
    case .float(let slots): widen(slots, <) { !$0.isNaN }
    case .double(let slots): widen(slots, <) { !$0.isNaN }
    case .bytes(let strings):
      for row in 0..<strings.count where !rows.isNull(row) {
        widen(row) { compareBytes(strings[$0], strings[$1]) < 0 }
      }
    case .fixed(let values):
      for row in 0..<values.count where !rows.isNull(row) {
        widen(row) { compareBytes(values[$0], values[$1]) < 0 }
      }
    case .dictionary(let indices, let strings):
      for row in indices.indices where !rows.isNull(row) {
        widen(row) { compareBytes(strings[Int(indices[$0])], strings[Int(indices[$1])]) < 0 }
      }
    }
    guard let span, let least = rows.value(span.least, order),
      let greatest = rows.value(span.greatest, order)
    else { return nil }
    self.least = least
    self.greatest = greatest
  }

  private init(least: ParquetValue, greatest: ParquetValue) {
    self.least = least
    self.greatest = greatest
  }

  /// The span of both.
  static func joined(_ left: ValueSpan?, _ right: ValueSpan?, _ order: ValueOrder) -> ValueSpan? {
    guard let left, let right else { return left ?? right }
    return ValueSpan(
      least: order.precedes(right.least, left.least) ? right.least : left.least,
      greatest: order.precedes(left.greatest, right.greatest) ? right.greatest : left.greatest)
  }
}

extension ValueOrder {
  /// Whether a value of the column comes before another one. NaN comes before nothing.
  func precedes(_ left: ParquetValue, _ right: ParquetValue) -> Bool {
    switch (left, right) {
    case (.boolean(let left), .boolean(let right)): !left && right
    case (.integer(let left), .integer(let right)): left < right
    case (.unsigned(let left), .unsigned(let right)): left < right
    case (.double(let left), .double(let right)): left < right
    case (.bytes(let left), .bytes(let right)): compareBytes(left.span, right.span) < 0
    default: false
    }
  }
}

extension ColumnArray {
  /// The value of a row, as statistics have it; nil for a null row.
  func value(_ row: Int, _ order: ValueOrder) -> ParquetValue? {
    if isNull(row) { return nil }
    let isSigned = if case .integer(_, isSigned: false) = order { false } else { true }
    return switch values {
    case .boolean(let slots): .boolean(slots[row])
    case .int32(let slots):
      isSigned
        ? .integer(Int64(slots[row])) : .unsigned(UInt64(UInt32(bitPattern: slots[row])))
    case .int64(let slots):
      isSigned ? .integer(slots[row]) : .unsigned(UInt64(bitPattern: slots[row]))
    case .float(let slots): .double(Double(slots[row]))
    case .double(let slots): .double(slots[row])
    case .bytes(let strings): .bytes(copyBytes(strings[row]))
    case .fixed(let values): .bytes(copyBytes(values[row]))
    case .dictionary(let indices, let strings): .bytes(copyBytes(strings[Int(indices[row])]))
    }
  }

  /// The hash of a row's plain encoding; nil for a null row and for booleans.
  func bloomHash(_ row: Int) -> UInt64? {
    if isNull(row) { return nil }
    return switch values {
    case .boolean: nil
    case .int32(let slots): XXH64.hash(UInt32(bitPattern: slots[row]))
    case .int64(let slots): XXH64.hash(UInt64(bitPattern: slots[row]))
    case .float(let slots): XXH64.hash(slots[row].bitPattern)
    case .double(let slots): XXH64.hash(slots[row].bitPattern)
    case .bytes(let strings): XXH64.hash(strings[row])
    case .fixed(let values): XXH64.hash(values[row])
    case .dictionary(let indices, let strings): XXH64.hash(strings[Int(indices[row])])
    }
  }
}
