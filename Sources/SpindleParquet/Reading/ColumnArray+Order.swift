internal import SpindleCore

extension ColumnArray {
  /// Which of two rows that have values comes first in the column's order: below 0, 0 or above 0;
  /// nil where one of them is NaN or there is no order.
  func compare(_ left: Int, _ right: Int, order: ValueOrder) -> Int? {
    switch (values, order) {
    case (_, .unknown): nil
    case (.boolean(let slots), _): (slots[left] ? 1 : 0) - (slots[right] ? 1 : 0)
    case (.int32(let slots), .integer(_, isSigned: false)):
      Self.sign(UInt32(bitPattern: slots[left]), UInt32(bitPattern: slots[right]))
    case (.int32(let slots), _): Self.sign(slots[left], slots[right])
    case (.int64(let slots), .integer(_, isSigned: false)):
      Self.sign(UInt64(bitPattern: slots[left]), UInt64(bitPattern: slots[right]))
    case (.int64(let slots), _): Self.sign(slots[left], slots[right])
    case (.float(let slots), _):
      slots[left].isNaN || slots[right].isNaN ? nil : Self.sign(slots[left], slots[right])
    case (.double(let slots), _):
      slots[left].isNaN || slots[right].isNaN ? nil : Self.sign(slots[left], slots[right])
    case (.bytes(let slots), _): compareBytes(slots[left], slots[right])
    case (.fixed(let slots), _): compareBytes(slots[left], slots[right])
    case (.dictionary(let indices, let strings), _):
      indices[left] == indices[right]
        ? 0 : compareBytes(strings[Int(indices[left])], strings[Int(indices[right])])
    }
  }

  private static func sign<Value: Comparable>(_ left: Value, _ right: Value) -> Int {
    left < right ? -1 : left == right ? 0 : 1
  }

  /// Calls the body with the bloom filter's hash of every value; of a dictionary, of every string
  /// that some row has.
  func forEachHash(_ body: (UInt64) -> Void) {
    switch values {
    case .boolean: break
    case .int32(let slots):
      for row in slots.indices where !isNull(row) {
        body(XXH64.hash(UInt32(bitPattern: slots[row])))
      }
    case .int64(let slots):
      for row in slots.indices where !isNull(row) {
        body(XXH64.hash(UInt64(bitPattern: slots[row])))
      }
    case .float(let slots):
      for row in slots.indices where !isNull(row) { body(XXH64.hash(slots[row].bitPattern)) }
    case .double(let slots):
      for row in slots.indices where !isNull(row) { body(XXH64.hash(slots[row].bitPattern)) }
    case .bytes(let slots):
      for row in 0..<slots.count where !isNull(row) { body(XXH64.hash(slots[row])) }
    case .fixed(let slots):
      for row in 0..<slots.count where !isNull(row) { body(XXH64.hash(slots[row])) }
    case .dictionary(let indices, let strings):
      var isUsed = [Bool](repeating: false, count: strings.count)
      for row in indices.indices where !isNull(row) { isUsed[Int(indices[row])] = true }
      for index in isUsed.indices where isUsed[index] { body(XXH64.hash(strings[index])) }
    }
  }
}
