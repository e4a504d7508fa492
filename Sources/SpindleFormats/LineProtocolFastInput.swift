/// The addresses the fast path works with.
@safe struct FastInput {
  let base: UnsafePointer<UInt8>
  let last: UnsafePointer<UInt8>

  init?(_ buffer: UnsafeBufferPointer<UInt8>) {
    guard let base = buffer.baseAddress, buffer.count >= PredictedKey.byteLimit else { return nil }
    unsafe self.base = base
    unsafe last = base + (buffer.count - PredictedKey.byteLimit)
  }

  /// The first byte from `start` that ends or complicates a name; `nil` near the buffer's end.
  @inline(__always)
  func nameEnd(_ start: UnsafePointer<UInt8>) -> UnsafePointer<UInt8>? {
    var address = unsafe start
    while unsafe address <= last {
      let stops = unsafe Word.nameStops(Word.load(address))
      if stops != 0 { return unsafe address + (stops.trailingZeroBitCount &>> 3) }
      unsafe address += 8
    }
    return nil
  }

  /// The first byte from `start` that ends or complicates a string; `nil` near the buffer's end.
  @inline(__always)
  func stringEnd(_ start: UnsafePointer<UInt8>) -> UnsafePointer<UInt8>? {
    var address = unsafe start
    while unsafe address <= last {
      let stops = unsafe Word.stringStops(Word.load(address))
      if stops != 0 { return unsafe address + (stops.trailingZeroBitCount &>> 3) }
      unsafe address += 8
    }
    return nil
  }

  /// The equals sign after a key that was not predicted; `nil` for a key that needs care.
  func keyEnd(_ start: UnsafePointer<UInt8>) -> UnsafePointer<UInt8>? {
    guard let end = unsafe nameEnd(start), unsafe end > start,
      unsafe end.pointee == Ascii.equals, unsafe start.pointee != Ascii.underscore
    else { return nil }
    let isTime = unsafe UInt32(truncatingIfNeeded: Word.load(start)) == 0x656D_6974
    return unsafe isTime && end - start == 4 ? nil : end
  }

  @inline(__always)
  func token(
    _ start: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>
  ) -> LineProtocolToken {
    unsafe LineProtocolToken(start: start - base, byteCount: end - start, hasEscapes: false)
  }

  /// Adds up to 19 digits to `value` and `count`, and returns the byte after them; `nil` when there
  /// are more, or near the buffer's end.
  @inline(__always)
  private func digits(
    _ start: UnsafePointer<UInt8>, _ value: inout UInt64, _ count: inout Int
  ) -> UnsafePointer<UInt8>? {
    var cursor = unsafe start
    while unsafe cursor <= last {
      let word = unsafe Word.load(cursor)
      let found = Word.digitCount(word)
      if found == 0 { return unsafe cursor }
      count += found
      guard count <= 19 else { return nil }
      value = (value &* integerPowersOfTen[found]) &+ Word.digitsValue(word, count: found)
      unsafe cursor += found
      if found < 8 { return unsafe cursor }
    }
    return nil
  }

  /// Reads a number of up to 19 digits without exponent; `nil` for others.
  func plainNumber(
    _ start: UnsafePointer<UInt8>
  ) -> (value: LineProtocolValue, end: UnsafePointer<UInt8>)? {
    let isNegative = unsafe start.pointee == Ascii.minus
    var mantissa: UInt64 = 0
    var count = 0
    guard
      var cursor = unsafe digits(isNegative ? start + 1 : start, &mantissa, &count),
      unsafe cursor <= last, count > 0
    else { return nil }
    var fractionDigits = 0
    switch unsafe cursor.pointee {
    case Ascii.lowerI:
      guard mantissa <= UInt64(Int64.max) else { return nil }
      let magnitude = Int64(bitPattern: mantissa)
      return unsafe (.integer(isNegative ? 0 &- magnitude : magnitude), cursor + 1)
    case Ascii.lowerU:
      return unsafe isNegative ? nil : (.unsigned(mantissa), cursor + 1)
    case Ascii.dot:
      let whole = count
      guard let end = unsafe digits(cursor + 1, &mantissa, &count), unsafe end <= last else {
        return nil
      }
      fractionDigits = count - whole
      unsafe cursor = end
    default: break
    }
    guard unsafe cursor.pointee | 0x20 != Ascii.lowerE else { return nil }
    let magnitude = Decimal.magnitude(mantissa: mantissa, exponent: -fractionDigits)
    return unsafe (.float(isNegative ? -magnitude : magnitude), cursor)
  }

  /// Reads any number; `nil` when it needs care.
  func number(
    _ start: UnsafePointer<UInt8>
  ) -> (value: LineProtocolValue, end: UnsafePointer<UInt8>)? {
    // A number cut by the bound is followed by one of its own bytes, which no caller accepts.
    let available = min(unsafe (last + PredictedKey.byteLimit) - start, 400)
    let bytes = unsafe Span(_unsafeStart: start, count: available)
    guard case .value(let value, let byteCount) = scanNumber(bytes) else { return nil }
    return unsafe (value, start + byteCount)
  }
}

let integerPowersOfTen: InlineArray<9, UInt64> = [
  1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000,
]
