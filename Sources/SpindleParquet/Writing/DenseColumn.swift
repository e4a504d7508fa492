/// Some rows of a column of a batch.
struct ColumnPiece {
  var column: ColumnArray
  var rows: Range<Int>

  var isWhole: Bool { rows.count == column.count }

  /// Rows of the piece that hold a value.
  var valueCount: Int {
    guard let validity = column.validity else { return rows.count }
    var count = 0
    validity.forEachWord(in: rows) { _, bits in count += bits.nonzeroBitCount }
    return count
  }
}

/// The rows of a column chunk: the values that are there, one behind the other, and which rows have
/// one.
struct DenseColumn {
  /// One slot for each row that has a value.
  var values: ColumnArray.Values
  /// nil: every row has a value.
  var validity: Validity?
  var rowCount: Int

  /// Joins pieces of one type. A single whole piece without nulls is taken without a copy.
  init(_ pieces: [ColumnPiece]) {
    rowCount = pieces.reduce(0) { $0 + $1.rows.count }
    if pieces.contains(where: { $0.column.validity != nil }) {
      var validity = Validity()
      for piece in pieces {
        if let rows = piece.column.validity {
          validity.append(rows, rows: piece.rows)
        } else {
          validity.append(repeating: true, count: piece.rows.count)
        }
      }
      self.validity = validity.nullCount > 0 ? validity : nil
    }
    switch pieces.first?.column.values {
    case .boolean: values = .boolean(Self.joined(pieces))
    case .int32: values = .int32(Self.joined(pieces))
    case .int64: values = .int64(Self.joined(pieces))
    case .float: values = .float(Self.joined(pieces))
    case .double: values = .double(Self.joined(pieces))
    case .fixed(let fixed): values = .fixed(Self.joined(pieces, width: fixed.width))
    case .bytes, .dictionary, nil: values = Self.joinedStrings(pieces)
    }
  }

  private static func joined<Element: ColumnElement>(_ pieces: [ColumnPiece]) -> [Element] {
    if pieces.count == 1, pieces[0].isWhole, pieces[0].column.validity == nil {
      return Element.slots(of: pieces[0].column.values) ?? []
    }
    var output: [Element] = []
    output.reserveCapacity(pieces.reduce(0) { $0 + $1.rows.count })
    for piece in pieces {
      guard let slots = Element.slots(of: piece.column.values) else { continue }
      append(slots, piece, to: &output)
    }
    return output
  }

  private static func append<Slot: BitwiseCopyable>(
    _ slots: [Slot], _ piece: ColumnPiece, to output: inout [Slot]
  ) {
    guard let validity = piece.column.validity else {
      output.append(contentsOf: slots[piece.rows])
      return
    }
    unsafe slots.withUnsafeBufferPointer { slots in
      unsafe output.appendWritten(piece.valueCount) { target in
        // As many bits are set as there is room for.
        var filled = 0
        validity.forEachWord(in: piece.rows) { row, bits in
          if bits == .max {
            unsafe (target + filled).update(from: slots.baseAddress! + row, count: 64)
            filled &+= 64
            return
          }
          var left = bits
          while left != 0 {
            unsafe target[filled] = slots[row &+ left.trailingZeroBitCount]
            filled &+= 1
            left &= left &- 1
          }
        }
      }
    }
  }

  private static func joined(_ pieces: [ColumnPiece], width: Int) -> FixedBytes {
    var output = FixedBytes(width: width)
    for piece in pieces {
      guard case .fixed(let fixed) = piece.column.values else { continue }
      if pieces.count == 1, piece.isWhole, piece.column.validity == nil { return fixed }
      piece.forEachRun { output.append(fixed, $0) }
    }
    return output
  }

  /// Byte strings: with one dictionary if any piece has one, so that no string is repeated that was
  /// not, else without.
  private static func joinedStrings(_ pieces: [ColumnPiece]) -> ColumnArray.Values {
    let hasDictionary = pieces.contains { piece in
      if case .dictionary = piece.column.values { true } else { false }
    }
    if hasDictionary { return mergedDictionary(pieces) }
    var output = ByteStrings()
    for piece in pieces {
      guard case .bytes(let strings) = piece.column.values else { continue }
      if pieces.count == 1 {
        if piece.isWhole, piece.column.validity == nil { return .bytes(strings) }
        if let dense = piece.withoutEmptySlots(strings) { return .bytes(dense) }
      }
      piece.forEachRun { output.append(strings, $0) }
    }
    return .bytes(output)
  }

  /// One dictionary for all pieces, of the strings that occur, in the order in which they do.
  private static func mergedDictionary(_ pieces: [ColumnPiece]) -> ColumnArray.Values {
    var merged = StringDictionary()
    var output: [UInt32] = []
    var last: ByteStrings?
    var places: [UInt32] = []
    for piece in pieces {
      switch piece.column.values {
      case .bytes(let strings):
        piece.forEachRun { rows in
          for row in rows { output.append(merged.index(ofAny: strings[row])) }
        }
      case .dictionary(let indices, let strings):
        // Batches of one reader mostly share their dictionary.
        if last != strings {
          places = Array(repeating: .max, count: strings.count)
          last = strings
        }
        let start = output.count
        append(indices, piece, to: &output)
        for position in start..<output.count {
          let index = Int(output[position])
          if places[index] == .max { places[index] = merged.index(ofAny: strings[index]) }
          output[position] = places[index]
        }
      default: break
      }
    }
    return .dictionary(indices: output, values: merged.strings)
  }
}

extension ColumnPiece {
  /// The strings of the rows that hold a value, sharing their bytes; nil where other rows have
  /// bytes, too.
  fileprivate func withoutEmptySlots(_ strings: ByteStrings) -> ByteStrings? {
    guard isWhole, let validity = column.validity else { return nil }
    var ends: [Int] = [0]
    ends.reserveCapacity(rows.count - validity.nullCount + 1)
    var byteCount = 0
    validity.forEachWord(in: rows) { row, bits in
      var left = bits
      while left != 0 {
        let slot = row + left.trailingZeroBitCount
        let end = strings.offsets[slot + 1]
        byteCount += end - strings.offsets[slot]
        ends.append(end)
        left &= left &- 1
      }
    }
    return byteCount == strings.bytes.count
      ? ByteStrings(offsets: ends, bytes: strings.bytes) : nil
  }

  /// Calls the body with each run of neighbouring rows that hold a value.
  fileprivate func forEachRun(_ body: (Range<Int>) -> Void) {
    guard let validity = column.validity else {
      if !rows.isEmpty { body(rows) }
      return
    }
    var start: Int?
    validity.forEachWord(in: rows) { row, bits in
      let end = min(row + 64, rows.upperBound)
      var at = row
      while at < end {
        let rest = bits >> UInt64(at - row)
        if start == nil {
          let skipped = rest.trailingZeroBitCount
          at = min(at + skipped, end)
          if at < end { start = at }
        } else {
          at = min(at + (~rest).trailingZeroBitCount, end)
          if at < end, let from = start {
            body(from..<at)
            start = nil
          }
        }
      }
    }
    if let start { body(start..<rows.upperBound) }
  }
}

extension Validity {
  /// Calls the body with the bits of each 64 rows, the first of them being row `rows.lowerBound`;
  /// bits of rows outside are zero.
  @inline(__always)
  func forEachWord(in rows: Range<Int>, _ body: (_ row: Int, _ bits: UInt64) -> Void) {
    var row = rows.lowerBound
    while row < rows.upperBound {
      var bits = bits(from: row)
      let left = rows.upperBound - row
      if left < 64 { bits &= (1 << UInt64(left)) - 1 }
      body(row, bits)
      row += 64
    }
  }
}
