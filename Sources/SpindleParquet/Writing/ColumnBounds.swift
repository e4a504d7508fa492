internal import SpindleCore

/// The least or greatest value of a page, in a form that can be compared.
enum ColumnBound: Sendable, Hashable {
  /// A truth value or an integer; an unsigned one of 64 bits with its highest bit flipped, so that
  /// the order is right.
  case integer(Int64)
  case number(Double)
  case bytes([UInt8])

  /// Whether this comes before another of the same column.
  func precedes(_ other: ColumnBound) -> Bool {
    switch (self, other) {
    case (.integer(let one), .integer(let two)): one < two
    case (.number(let one), .number(let two)): one < two
    case (.bytes(let one), .bytes(let two)): one.lexicographicallyPrecedes(two)
    default: false
    }
  }

  /// The bound as statistics keep it: in the plain encoding, byte strings without a length.
  func encoded(_ type: ParquetPhysicalType, _ order: ValueOrder) -> [UInt8] {
    var output: [UInt8] = []
    switch self {
    case .bytes(let bytes): return bytes
    case .number(let number):
      if type == .float {
        output.appendLittleEndian(Float(number).bitPattern)
      } else {
        output.appendLittleEndian(number.bitPattern)
      }
    case .integer(let number):
      switch type {
      case .boolean: output.append(UInt8(number))
      case .int32: output.appendLittleEndian(UInt32(truncatingIfNeeded: number))
      default:
        let flip: Int64 = order == .integer(bits: 64, isSigned: false) ? .min : 0
        output.appendLittleEndian(UInt64(bitPattern: number ^ flip))
      }
    }
    return output
  }
}

/// The least and greatest values of a page or column chunk.
struct ColumnBounds: Sendable, Hashable {
  var least: ColumnBound
  var greatest: ColumnBound

  /// Widens the bounds to those of another page.
  mutating func include(_ other: ColumnBounds) {
    if other.least.precedes(least) { least = other.least }
    if greatest.precedes(other.greatest) { greatest = other.greatest }
  }

  /// The bounds of some values.
  ///
  /// - Returns: nil when there is none, NaN not counted.
  init?(_ values: ColumnArray.Values, _ range: Range<Int>, order: ValueOrder) {
    if range.isEmpty { return nil }
    switch values {
    case .boolean(let slots):
      let isThere = (slots[range].contains(false), slots[range].contains(true))
      self.init(least: .integer(isThere.0 ? 0 : 1), greatest: .integer(isThere.1 ? 1 : 0))
    case .int32(let slots):
      let isUnsigned = order == .integer(bits: 32, isSigned: false)
      let (low, high) = Self.integers(slots, range, flip: isUnsigned ? .min : 0)
      func bound(_ number: Int32) -> ColumnBound {
        .integer(isUnsigned ? Int64(UInt32(bitPattern: number ^ .min)) : Int64(number))
      }
      self.init(least: bound(low), greatest: bound(high))
    case .int64(let slots):
      let isUnsigned = order == .integer(bits: 64, isSigned: false)
      let (low, high) = Self.integers(slots, range, flip: isUnsigned ? .min : 0)
      self.init(least: .integer(low), greatest: .integer(high))
    case .float(let slots):
      guard let bounds = Self.numbers(slots, range) else { return nil }
      self.init(least: .number(Double(bounds.0)), greatest: .number(Double(bounds.1)))
    case .double(let slots):
      guard let bounds = Self.numbers(slots, range) else { return nil }
      self.init(least: .number(bounds.0), greatest: .number(bounds.1))
    case .bytes(let strings):
      let (low, high) = Self.extremes(range) { strings.order($0, $1) }
      self.init(least: .bytes(copyBytes(strings[low])), greatest: .bytes(copyBytes(strings[high])))
    case .fixed(let fixed):
      let (low, high) = Self.extremes(range) { fixed.order($0, $1) }
      self.init(least: .bytes(copyBytes(fixed[low])), greatest: .bytes(copyBytes(fixed[high])))
    case .dictionary(let indices, let strings):
      let (low, high) = Self.extremes(range) { strings.order(Int(indices[$0]), Int(indices[$1])) }
      self.init(
        least: .bytes(copyBytes(strings[Int(indices[low])])),
        greatest: .bytes(copyBytes(strings[Int(indices[high])])))
    }
  }

  /// The bounds of some strings of a dictionary.
  ///
  /// - Parameters:
  ///   - ranks: The place of each string of the dictionary when they are sorted.
  init?(_ indices: [UInt32], _ range: Range<Int>, of strings: ByteStrings, ranks: [UInt32]) {
    guard let first = range.first else { return nil }
    var low = Int(indices[first])
    var high = low
    for position in range {
      let index = Int(indices[position])
      if ranks[index] < ranks[low] { low = index }
      if ranks[index] > ranks[high] { high = index }
    }
    self.init(least: .bytes(copyBytes(strings[low])), greatest: .bytes(copyBytes(strings[high])))
  }

  init(least: ColumnBound, greatest: ColumnBound) {
    self.least = least
    self.greatest = greatest
  }

  /// - Parameter flip: The sign bit for unsigned numbers, whose order is right without it.
  private static func integers<Number: FixedWidthInteger>(
    _ slots: [Number], _ range: Range<Int>, flip: Number
  ) -> (Number, Number) {
    unsafe slots.withUnsafeBufferPointer { slots in
      var low = Number.max
      var high = Number.min
      for index in range {
        let number = unsafe slots[index] ^ flip
        low = min(low, number)
        high = max(high, number)
      }
      return (low, high)
    }
  }

  /// The format wants -0 below and +0 above, as the two are not told apart in comparing.
  private static func numbers<Number: BinaryFloatingPoint>(
    _ slots: [Number], _ range: Range<Int>
  ) -> (Number, Number)? {
    unsafe slots.withUnsafeBufferPointer { slots in
      var low = Number.infinity
      var high = -Number.infinity
      for index in range {
        // NaN is neither below nor above.
        let number = unsafe slots[index]
        low = number < low ? number : low
        high = number > high ? number : high
      }
      if low > high { return nil }
      return (low == 0 ? -0.0 : low, high == 0 ? 0 : high)
    }
  }

  /// The places of the least and greatest of some byte strings.
  ///
  /// - Parameter compare: Below 0 when the first place's string comes first, above 0 when the
  ///   other's does.
  private static func extremes(
    _ range: Range<Int>, _ compare: (Int, Int) -> Int
  ) -> (Int, Int) {
    var low = range.lowerBound
    var high = range.lowerBound
    for index in range.dropFirst() {
      if compare(index, low) < 0 {
        low = index
      } else if compare(index, high) > 0 {
        high = index
      }
    }
    return (low, high)
  }
}
