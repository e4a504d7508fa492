/// The first byte in `range` that fits no UTF-8 character, or `nil` when all is well formed.
///
/// Overlong forms, surrogates and values above U+10FFFF are refused, as RFC 3629 demands.
func firstInvalidUTF8(in bytes: Span<UInt8>, range: Range<Int>) -> Int? {
  var index = range.lowerBound
  while index < range.upperBound {
    let lead = bytes[index]
    if lead < 0x80 {
      index += 1
      continue
    }
    guard let form = UTF8Form(lead: lead), index + form.byteCount <= range.upperBound,
      form.secondByte.contains(bytes[index + 1])
    else { return index }
    for offset in 2..<max(form.byteCount, 2) where bytes[index + offset] & 0xC0 != 0x80 {
      return index
    }
    index += form.byteCount
  }
  return nil
}

/// What must follow a lead byte: the table of RFC 3629, section 4.
private struct UTF8Form {
  let byteCount: Int
  let secondByte: ClosedRange<UInt8>

  init?(lead: UInt8) {
    switch lead {
    case 0xC2...0xDF: (byteCount, secondByte) = (2, 0x80...0xBF)
    case 0xE0: (byteCount, secondByte) = (3, 0xA0...0xBF)
    case 0xED: (byteCount, secondByte) = (3, 0x80...0x9F)
    case 0xE1...0xEF: (byteCount, secondByte) = (3, 0x80...0xBF)
    case 0xF0: (byteCount, secondByte) = (4, 0x90...0xBF)
    case 0xF1...0xF3: (byteCount, secondByte) = (4, 0x80...0xBF)
    case 0xF4: (byteCount, secondByte) = (4, 0x80...0x8F)
    default: return nil
    }
  }
}
