internal import SpindleCore

/// Some rows of a batch, by one bit each.
struct RowSelection: Sendable {
  /// Bits behind the last row are zero.
  private var words: [UInt64]
  let rowCount: Int

  /// All rows.
  init(rowCount: Int) {
    words = Validity(repeating: true, count: rowCount).words
    self.rowCount = rowCount
  }

  /// The rows that are selected.
  var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

  /// Keeps the rows for which the body is true.
  @inline(__always)
  mutating func keep(_ isWanted: (Int) -> Bool) {
    for index in words.indices where words[index] != 0 {
      let first = index * 64
      var bits: UInt64 = 0
      for row in first..<min(first + 64, rowCount) {
        bits |= (isWanted(row) ? 1 : 0) << UInt64(row - first)
      }
      words[index] &= bits
    }
  }

  /// Keeps the rows that hold a value, or those that hold none.
  mutating func keep(_ validity: Validity?, isThere: Bool) {
    guard let validity else {
      if !isThere { words = Array(repeating: 0, count: words.count) }
      return
    }
    for index in words.indices {
      words[index] &= isThere ? validity.words[index] : ~validity.words[index]
    }
  }

  /// The selected rows in order.
  var rows: [Int] {
    var rows: [Int] = []
    rows.reserveCapacity(count)
    for index in words.indices {
      var bits = words[index]
      while bits != 0 {
        rows.append(index * 64 + bits.trailingZeroBitCount)
        bits &= bits - 1
      }
    }
    return rows
  }
}

extension ColumnArray {
  /// The column with some of its rows.
  ///
  /// - Parameter offset: The row of `rows` that this column begins with.
  func selecting(_ rows: [Int], offset: Int) -> ColumnArray {
    var validity: Validity?
    if let all = self.validity {
      var selected = Validity()
      for row in rows { selected.append(all[row - offset]) }
      validity = selected
    }
    let values: Values =
      switch self.values {
      case .boolean(let slots): .boolean(slots.selecting(rows, offset))
      case .int32(let slots): .int32(slots.selecting(rows, offset))
      case .int64(let slots): .int64(slots.selecting(rows, offset))
      case .float(let slots): .float(slots.selecting(rows, offset))
      case .double(let slots): .double(slots.selecting(rows, offset))
      case .bytes(let slots): .bytes(slots.selecting(rows, offset))
      case .fixed(let slots): .fixed(slots.selecting(rows, offset))
      case .dictionary(let indices, let values):
        .dictionary(indices: indices.selecting(rows, offset), values: values)
      }
    return ColumnArray(values, validity: validity)
  }
}

extension Array where Element: BitwiseCopyable {
  fileprivate func selecting(_ rows: [Int], _ offset: Int) -> [Element] {
    var selected: [Element] = []
    selected.reserveCapacity(rows.count)
    for row in rows { selected.append(self[row - offset]) }
    return selected
  }
}

extension ByteStrings {
  fileprivate func selecting(_ rows: [Int], _ offset: Int) -> ByteStrings {
    var selected = ByteStrings()
    selected.offsets.reserveCapacity(rows.count + 1)
    for row in rows { selected.append(self[row - offset]) }
    return selected
  }
}

extension FixedBytes {
  fileprivate func selecting(_ rows: [Int], _ offset: Int) -> FixedBytes {
    var selected = FixedBytes(width: width)
    selected.bytes.reserveCapacity(rows.count * width)
    for row in rows { selected.append(self[row - offset]) }
    return selected
  }
}
