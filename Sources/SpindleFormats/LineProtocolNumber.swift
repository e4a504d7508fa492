/// The outcome of reading a number at the start of some bytes.
enum NumberScan {
  /// A number and how many bytes it takes. What follows is the caller's to judge.
  case value(LineProtocolValue, byteCount: Int)
  /// A well-formed number that its type cannot hold.
  case outOfRange(byteCount: Int)
  case malformed
}

/// Reads a number: `[-]digits[.digits][(e|E)[+|-]digits]` with a digit before or after the point,
/// `[-]digits` `i`, or `digits` `u`. No plus sign, hex, infinity or NaN, as in InfluxDB.
///
/// Floats are the nearest double, ties to even, whatever the number of digits.
func scanNumber(_ bytes: Span<UInt8>) -> NumberScan {
  let isNegative = bytes.count > 0 && bytes[0] == Ascii.minus
  let digitsStart = isNegative ? 1 : 0
  var index = digitsStart
  var decimal = Decimal()
  while index < bytes.count, Ascii.isDigit(bytes[index]) {
    decimal.append(bytes[index] &- Ascii.zero)
    index += 1
  }
  var digitCount = index - digitsStart
  if digitCount > 0, index < bytes.count {
    if bytes[index] == Ascii.lowerI {
      return scanInteger(bytes.extracting(digitsStart..<index), isNegative: isNegative)
    }
    if bytes[index] == Ascii.lowerU, !isNegative {
      return scanUnsigned(bytes.extracting(digitsStart..<index))
    }
  }
  if index < bytes.count, bytes[index] == Ascii.dot {
    index += 1
    let fractionStart = index
    while index < bytes.count, Ascii.isDigit(bytes[index]) {
      decimal.append(bytes[index] &- Ascii.zero)
      index += 1
    }
    digitCount += index - fractionStart
    decimal.exponent -= index - fractionStart
  }
  guard digitCount > 0 else { return .malformed }
  let digits = digitsStart..<index
  if index < bytes.count, bytes[index] | 0x20 == Ascii.lowerE {
    guard let (exponent, end) = scanExponent(bytes, from: index + 1) else { return .malformed }
    decimal.exponent += exponent
    index = end
  }
  let magnitude = decimal.exactMagnitude ?? decimal.magnitude(digits: bytes.extracting(digits))
  guard magnitude.isFinite else { return .outOfRange(byteCount: index) }
  return .value(.float(isNegative ? -magnitude : magnitude), byteCount: index)
}

/// Reads `[+|-]digits`. The value saturates far beyond what any line's digits can make up for.
private func scanExponent(_ bytes: Span<UInt8>, from start: Int) -> (value: Int, end: Int)? {
  var index = start
  var isNegative = false
  if index < bytes.count, bytes[index] == Ascii.minus || bytes[index] == Ascii.plus {
    isNegative = bytes[index] == Ascii.minus
    index += 1
  }
  let digitsStart = index
  var value = 0
  while index < bytes.count, Ascii.isDigit(bytes[index]) {
    value = min(value * 10 + Int(bytes[index] &- Ascii.zero), 1 << 40)
    index += 1
  }
  guard index > digitsStart else { return nil }
  return (isNegative ? -value : value, index)
}

private func scanInteger(_ digits: Span<UInt8>, isNegative: Bool) -> NumberScan {
  let byteCount = digits.count + (isNegative ? 2 : 1)
  guard let magnitude = unsignedValue(digits) else { return .outOfRange(byteCount: byteCount) }
  let limit = UInt64(Int64.max) + (isNegative ? 1 : 0)
  guard magnitude <= limit else { return .outOfRange(byteCount: byteCount) }
  let value = isNegative ? 0 &- Int64(bitPattern: magnitude) : Int64(bitPattern: magnitude)
  return .value(.integer(value), byteCount: byteCount)
}

private func scanUnsigned(_ digits: Span<UInt8>) -> NumberScan {
  guard let value = unsignedValue(digits) else { return .outOfRange(byteCount: digits.count + 1) }
  return .value(.unsigned(value), byteCount: digits.count + 1)
}

/// The value of decimal digits, or `nil` when it does not fit.
func unsignedValue(_ digits: Span<UInt8>) -> UInt64? {
  var value: UInt64 = 0
  for index in digits.indices {
    let (tenfold, overflowed) = value.multipliedReportingOverflow(by: 10)
    let (sum, carried) = tenfold.addingReportingOverflow(UInt64(digits[index] &- Ascii.zero))
    guard !overflowed, !carried else { return nil }
    value = sum
  }
  return value
}

/// Reads a boolean at the start of `word`, 8 bytes of which the first is lowest; absent bytes are
/// 0.
@inline(__always)
func scanBoolean(_ word: UInt64) -> (value: Bool, byteCount: Int)? {
  switch UInt32(truncatingIfNeeded: word) {
  case 0x6575_7274, 0x6575_7254, 0x4555_5254: return (true, 4)  // true True TRUE
  case 0x736C_6166, 0x736C_6146:  // fals Fals
    if (word &>> 32) & 0xFF == 0x65 { return (false, 5) }
  case 0x534C_4146:  // FALS
    if (word &>> 32) & 0xFF == 0x45 { return (false, 5) }
  default: break
  }
  switch UInt8(truncatingIfNeeded: word) {
  case 0x74, 0x54: return (true, 1)  // t T
  case 0x66, 0x46: return (false, 1)  // f F
  default: return nil
  }
}
