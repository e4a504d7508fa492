/// The slots of a column while pages are decoded into it. Only the array of the column's type is
/// used; the others stay empty and cost nothing.
struct ColumnSlots: Sendable {
  /// Which array holds the slots.
  enum Kind: Sendable {
    case boolean, int32, int64, float, double, bytes, fixed
    /// Indices into a dictionary of byte strings.
    case indices
  }

  var kind: Kind
  var booleans: [Bool] = []
  var int32s: [Int32] = []
  var int64s: [Int64] = []
  var floats: [Float] = []
  var doubles: [Double] = []
  var strings = ByteStrings()
  var fixed: FixedBytes
  var indices: [UInt32] = []

  init(_ type: ParquetPhysicalType) {
    fixed = FixedBytes(width: 1)
    switch type {
    case .boolean: kind = .boolean
    case .int32: kind = .int32
    case .int64, .int96: kind = .int64
    case .float: kind = .float
    case .double: kind = .double
    case .byteArray: kind = .bytes
    case .fixedLengthByteArray(let width):
      kind = .fixed
      fixed = FixedBytes(width: width)
    }
  }

  /// Slots.
  var count: Int {
    switch kind {
    case .boolean: booleans.count
    case .int32: int32s.count
    case .int64: int64s.count
    case .float: floats.count
    case .double: doubles.count
    case .bytes: strings.count
    case .fixed: fixed.count
    case .indices: indices.count
    }
  }

  /// Bytes of memory in use.
  var byteCount: Int {
    switch kind {
    case .boolean: booleans.count
    case .int32, .float, .indices: count * 4
    case .int64, .double: count * 8
    case .bytes: strings.byteCount
    case .fixed: fixed.bytes.count
    }
  }

  /// Bytes of memory with what is reserved.
  var memory: Int {
    booleans.capacity + fixed.bytes.capacity + strings.bytes.capacity
      + (int32s.capacity + floats.capacity + indices.capacity) * 4
      + (int64s.capacity + doubles.capacity + strings.offsets.capacity) * 8
  }

  mutating func reserve(_ rows: Int) {
    switch kind {
    case .boolean: booleans.reserveCapacity(rows)
    case .int32: int32s.reserveCapacity(rows)
    case .int64: int64s.reserveCapacity(rows)
    case .float: floats.reserveCapacity(rows)
    case .double: doubles.reserveCapacity(rows)
    case .bytes: strings.offsets.reserveCapacity(rows + 1)
    case .fixed: fixed.bytes.reserveCapacity(rows * fixed.width)
    case .indices: indices.reserveCapacity(rows)
    }
  }

  mutating func removeAll() {
    booleans.removeAll(keepingCapacity: true)
    int32s.removeAll(keepingCapacity: true)
    int64s.removeAll(keepingCapacity: true)
    floats.removeAll(keepingCapacity: true)
    doubles.removeAll(keepingCapacity: true)
    strings.bytes.removeAll(keepingCapacity: true)
    strings.offsets.removeLast(strings.offsets.count - 1)
    fixed.bytes.removeAll(keepingCapacity: true)
    indices.removeAll(keepingCapacity: true)
  }

  /// All slots as the values of a column; nothing is copied.
  ///
  /// - Parameter dictionary: What the indices stand for, if the slots are such.
  func values(_ dictionary: ByteStrings) -> ColumnArray.Values {
    switch kind {
    case .boolean: .boolean(booleans)
    case .int32: .int32(int32s)
    case .int64: .int64(int64s)
    case .float: .float(floats)
    case .double: .double(doubles)
    case .bytes: .bytes(strings)
    case .fixed: .fixed(fixed)
    case .indices: .dictionary(indices: indices, values: dictionary)
    }
  }

  /// Moves values apart to the slots of their rows.
  ///
  /// - Parameters:
  ///   - validity: The rows of the page; as many as there are values are set.
  ///   - start: The slot of the page's first row, from which on its values stand side by side.
  mutating func spread(_ validity: Validity, from start: Int) {
    switch kind {
    case .boolean: booleans.spread(validity, from: start, zero: false)
    case .int32: int32s.spread(validity, from: start, zero: 0)
    case .int64: int64s.spread(validity, from: start, zero: 0)
    case .float: floats.spread(validity, from: start, zero: 0)
    case .double: doubles.spread(validity, from: start, zero: 0)
    case .bytes: strings.spreadOffsets(validity, from: start)
    case .fixed: fixed.spread(validity, from: start)
    case .indices: indices.spread(validity, from: start, zero: 0)
    }
  }

  /// Turns indices into the strings they stand for.
  ///
  /// - Parameters:
  ///   - validity: Of the slots; null rows get no bytes.
  ///   - byteLimit: The most bytes of all strings together.
  mutating func expandIndices(
    of dictionary: ByteStrings, validity: Validity?, byteLimit: Int
  ) throws(ParquetFailure) {
    guard kind == .indices else { return }
    strings = try ByteStrings(
      indices, of: dictionary, validity: validity, byteLimit: byteLimit)
    indices.removeAll(keepingCapacity: true)
    kind = .bytes
  }
}

extension ByteStrings {
  /// The strings that indices stand for, all of which are in the dictionary but those of null
  /// rows.
  ///
  /// - Parameter byteLimit: The most bytes of all strings together.
  init(
    _ indices: [UInt32], of dictionary: ByteStrings, validity: Validity?, byteLimit: Int
  ) throws(ParquetFailure) {
    self.init()
    guard let validity, validity.nullCount > 0 else {
      try DictionaryEncoding.gather(
        indices.span, from: dictionary, byteLimit: byteLimit, appendingTo: &self)
      return
    }
    // Null rows have index 0, which is some string or, in an empty dictionary, none.
    var dictionary = dictionary
    var indices = indices
    let nothing = UInt32(dictionary.count)
    dictionary.appendEmpty()
    for row in indices.indices where !validity[row] { indices[row] = nothing }
    try DictionaryEncoding.gather(
      indices.span, from: dictionary, byteLimit: byteLimit, appendingTo: &self)
  }
}

// The loops over null rows run over raw memory: a check for each of two indices a row would cost
// more than the moves. Both indices lie below the count of slots, which is made sure first.

extension Array where Element: BitwiseCopyable {
  /// Moves the values from `start` on apart to the slots of the rows that have one.
  fileprivate mutating func spread(_ validity: Validity, from start: Int, zero: Element) {
    let rows = validity.count
    let valueCount = rows - validity.nullCount
    precondition(count == start + valueCount)
    append(contentsOf: repeatElement(zero, count: validity.nullCount))
    unsafe withUnsafeMutableBufferPointer { slots in
      unsafe validity.words.withUnsafeBufferPointer { words in
        var next = start + valueCount
        var row = rows
        // When as many values as rows are left, they stand where they belong.
        while row > 0, next < start + row {
          row &-= 1
          let isThere = unsafe words[row >> 6] >> UInt64(row & 63) & 1
          next &-= Int(isThere)
          // A null row copies some slot that is there, and is zeroed by the choice.
          unsafe slots[start &+ row] = isThere != 0 ? slots[next] : zero
        }
      }
    }
  }
}

extension ByteStrings {
  /// Gives null rows an empty string, by moving only the offsets.
  fileprivate mutating func spreadOffsets(_ validity: Validity, from start: Int) {
    let rows = validity.count
    let valueCount = rows - validity.nullCount
    precondition(count == start + valueCount)
    offsets.append(contentsOf: repeatElement(0, count: validity.nullCount))
    unsafe offsets.withUnsafeMutableBufferPointer { offsets in
      unsafe validity.words.withUnsafeBufferPointer { words in
        // `offsets[start]` is the end of what was there before.
        var next = start + valueCount
        var row = rows
        while row > 0, next < start + row {
          unsafe offsets[start &+ row] = offsets[next]
          row &-= 1
          next &-= unsafe Int(words[row >> 6] >> UInt64(row & 63) & 1)
        }
      }
    }
  }
}

extension FixedBytes {
  fileprivate mutating func spread(_ validity: Validity, from start: Int) {
    let rows = validity.count
    var next = rows - validity.nullCount
    precondition(count == start + next)
    appendZeros(count: validity.nullCount)
    let width = width
    unsafe bytes.withUnsafeMutableBytes { slots in
      guard let base = slots.baseAddress else { return }
      var row = rows
      while row > 0, next < row {
        row -= 1
        let target = unsafe base + (start + row) * width
        if validity[row] {
          next -= 1
          unsafe target.copyMemory(from: base + (start + next) * width, byteCount: width)
        } else {
          unsafe target.initializeMemory(as: UInt8.self, repeating: 0, count: width)
        }
      }
    }
  }
}

extension ColumnSlots {
  /// Appends some slots of others of the same kind.
  mutating func append(_ other: ColumnSlots, _ rows: Range<Int>) {
    switch kind {
    case .boolean: booleans.append(contentsOf: other.booleans[rows])
    case .int32: int32s.append(contentsOf: other.int32s[rows])
    case .int64: int64s.append(contentsOf: other.int64s[rows])
    case .float: floats.append(contentsOf: other.floats[rows])
    case .double: doubles.append(contentsOf: other.doubles[rows])
    case .bytes: strings.append(other.strings, rows)
    case .fixed: fixed.append(other.fixed, rows)
    case .indices: indices.append(contentsOf: other.indices[rows])
    }
  }
}
