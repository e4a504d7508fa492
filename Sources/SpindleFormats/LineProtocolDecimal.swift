private import Glibc

/// A decimal number on its way to a double: up to 19 significant digits, and a power of ten.
struct Decimal {
  /// The first 19 significant digits.
  private(set) var mantissa: UInt64 = 0
  /// The power of ten the mantissa is multiplied with.
  var exponent = 0
  private var significantDigits = 0
  /// Whether a digit after the 19th was not zero: the mantissa is then a lower bound.
  private(set) var isTruncated = false

  private static let digitLimit = 19  // 10^19 - 1 is below 2^64.

  init() {}

  /// The nearest double to a number of at most 19 digits; infinite when too large.
  static func magnitude(mantissa: UInt64, exponent: Int) -> Double {
    var decimal = Decimal()
    decimal.mantissa = mantissa
    decimal.exponent = exponent
    return decimal.exactMagnitude ?? nearest(mantissa, exponent)
  }

  mutating func append(_ digit: UInt8) {
    if significantDigits < Self.digitLimit {
      mantissa = mantissa &* 10 &+ UInt64(digit)
      if mantissa != 0 { significantDigits += 1 }
    } else {
      exponent += 1
      isTruncated = isTruncated || digit != 0
    }
  }

  /// The double, where one correctly rounded operation on exact operands gives it.
  ///
  /// A mantissa up to 2^53 is exact as a double, as is a power of ten up to 10^22, so the IEEE
  /// product or quotient of the two is the nearest double to the exact value.
  var exactMagnitude: Double? {
    guard !isTruncated, mantissa <= 1 << 53 else { return nil }
    if mantissa == 0 { return 0 }
    if exponent == 0 { return Double(mantissa) }
    if exponent > 0 {
      return exponent <= 22 ? Double(mantissa) * exactPowersOfTen[exponent] : nil
    }
    return exponent >= -22 ? Double(mantissa) / exactPowersOfTen[-exponent] : nil
  }

  /// The nearest double; infinite when too large.
  ///
  /// - Parameter digits: The digits as written, with at most one point among them.
  func magnitude(digits: Span<UInt8>) -> Double {
    // Beyond these powers every mantissa of 1 to 19 digits is zero or infinite.
    if exponent < -400 { return 0 }
    if exponent > 400 { return .infinity }
    let nearest = Self.nearest(mantissa, exponent)
    // The exact value lies between the mantissa and the next one.
    if isTruncated, nearest != Self.nearest(mantissa + 1, exponent) {
      return exactlyRounded(digits: digits)
    }
    return nearest
  }

  /// The double nearest to `mantissa` * 10^`exponent`, ties to even; `mantissa` is not zero.
  ///
  /// The algorithm of Eisel and Lemire: the top 64 or 128 bits of mantissa * 5^exponent decide the
  /// rounding of every mantissa of 64 bits (proved by Mushtak and Lemire, "Fast number parsing
  /// without fallback", 2022), so it always succeeds.
  private static func nearest(_ mantissa: UInt64, _ exponent: Int) -> Double {
    if exponent < PowersOfFive.exponents.lowerBound { return 0 }
    if exponent > PowersOfFive.exponents.upperBound { return .infinity }
    let place = (exponent - PowersOfFive.exponents.lowerBound) * 2
    let leadingZeros = mantissa.leadingZeroBitCount
    let scaled = mantissa &<< UInt64(leadingZeros)
    var product = scaled.multipliedFullWidth(by: PowersOfFive.significands[place])
    // 55 bits are needed: 53, one to round, one for the product's top bit being 0. Only if all
    // below them are ones can the rest of the power carry into them.
    if product.high & 0x1FF == 0x1FF {
      let rest = scaled.multipliedFullWidth(by: PowersOfFive.significands[place + 1])
      let (low, carried) = product.low.addingReportingOverflow(rest.high)
      product = (product.high &+ (carried ? 1 : 0), low)
    }
    let topBit = Int(truncatingIfNeeded: product.high >> 63)
    let shift = UInt64(topBit + 9)
    var significand = product.high >> shift
    // floor(exponent * log2(10)) by a fraction exact enough for the table's range.
    let binary = ((217_706 * exponent) >> 16) + 63
    var biased = binary + topBit - leadingZeros + 1_023
    if biased <= 0 {
      let excess = 1 - biased
      if excess >= 64 { return 0 }
      significand >>= UInt64(excess)
      significand = (significand + (significand & 1)) >> 1
      // Rounding up to 2^52 makes it the smallest normal number, whose bits are the same.
      return Double(bitPattern: significand)
    }
    // A tie is possible only where the product is exact, for these powers; it goes to even.
    if product.low <= 1, (-4...23).contains(exponent), significand & 3 == 1,
      significand << shift == product.high
    {
      significand &= ~1
    }
    significand = (significand + (significand & 1)) >> 1
    if significand == 1 << 53 {
      significand = 1 << 52
      biased += 1
    }
    if biased >= 0x7FF { return .infinity }
    let fraction = significand & ((1 << 52) - 1)
    return Double(bitPattern: UInt64(biased) << 52 | fraction)
  }

  /// Lets strtod do the rounding. It gets digits and exponent only: without a point in the text the
  /// process's locale cannot matter.
  ///
  /// 768 significant digits decide every rounding; what follows can only break a tie, for which one
  /// digit that is not zero stands in.
  private func exactlyRounded(digits: Span<UInt8>) -> Double {
    let digitLimit = 800
    let capacity = digitLimit + 32  // sticky digit, "e", sign, 19 digits of exponent, NUL
    return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity) { text in
      var count = 0
      var isSticky = false
      for index in digits.indices where digits[index] != Ascii.dot {
        if count == 0 && digits[index] == Ascii.zero { continue }
        if count < digitLimit {
          unsafe text[count] = CChar(digits[index])
          count += 1
        } else {
          isSticky = isSticky || digits[index] != Ascii.zero
        }
      }
      // `exponent` counts the digits after the 19th as dropped; here those up to 800 are kept.
      var power = exponent - max(count - Self.digitLimit, 0)
      if isSticky {
        unsafe text[count] = 0x31
        count += 1
        power -= 1
      }
      unsafe text[count] = 0x65
      count += 1
      for byte in String(power).utf8 {
        unsafe text[count] = CChar(byte)
        count += 1
      }
      unsafe text[count] = 0
      return unsafe strtod(text.baseAddress!, nil)
    }
  }
}

/// The powers of ten that a double holds exactly.
let exactPowersOfTen: InlineArray<23, Double> = [
  1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
  1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
]
