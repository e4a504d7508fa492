// The careful parser: the whole syntax, and every error with its place. It reads through a checked
// span, one line at a time, and the line's end is already known.

extension LineProtocolDecoder {
  /// Decodes the bytes of one line, without leading blanks and line ending, into `line`.
  mutating func decodeCarefully(
    _ bytes: Span<UInt8>, _ range: Range<Int>
  ) throws(LineFailure) {
    line.storedTagCount = 0
    line.storedFieldCount = 0
    line.hasTimestamp = false
    unsafe line.knownOrder = nil
    let measurement = NameScan(bytes, range, kind: .measurement)
    line.measurement = measurement.token
    if measurement.token.byteCount == 0 {
      throw LineFailure(.missingMeasurement, at: range.lowerBound)
    }
    try check(measurement, bytes, isKey: false)
    try checkUnderscore(measurement.token, bytes)

    var index = measurement.token.range.upperBound
    while index < range.upperBound, bytes[index] == Ascii.comma {
      index = try decodeTag(bytes, (index + 1)..<range.upperBound)
    }
    try checkTagsAreUnique(bytes)
    index = skipBlanks(bytes, index..<range.upperBound)
    if index == range.upperBound { throw LineFailure(.missingFields, at: index) }

    index = try decodeField(bytes, index..<range.upperBound)
    while index < range.upperBound, bytes[index] == Ascii.comma {
      index = try decodeField(bytes, (index + 1)..<range.upperBound)
    }
    try mergeRepeatedFields(bytes)
    index = skipBlanks(bytes, index..<range.upperBound)
    if index < range.upperBound { try decodeTimestamp(bytes, index..<range.upperBound) }
  }

  private func skipBlanks(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Int {
    var index = range.lowerBound
    while index < range.upperBound, Ascii.isBlank(bytes[index]) { index += 1 }
    return index
  }

  /// Decodes `key=value` and returns the offset after it.
  private mutating func decodeTag(
    _ bytes: Span<UInt8>, _ range: Range<Int>
  ) throws(LineFailure) -> Int {
    let key = NameScan(bytes, range, kind: .name)
    let keyEnd = key.token.range.upperBound
    let count = line.storedTagCount
    if key.token.byteCount == 0 {
      throw LineFailure(
        .missingTagKey, at: range.lowerBound, found: excerpt(bytes, range))
    }
    if count == limits.tagLimit {
      throw LineFailure(.tooManyTags(limit: count), at: range.lowerBound)
    }
    try check(key, bytes, isKey: true)
    guard keyEnd < range.upperBound, bytes[keyEnd] == Ascii.equals else {
      throw LineFailure(.missingTagValue, at: keyEnd, found: key.token.range)
    }
    let value = NameScan(bytes, (keyEnd + 1)..<range.upperBound, kind: .name)
    let valueEnd = value.token.range.upperBound
    try check(value, bytes, isKey: false)
    if valueEnd < range.upperBound, bytes[valueEnd] == Ascii.equals {
      let rest = excerpt(bytes, valueEnd..<range.upperBound)
      throw LineFailure(
        .unescapedEquals, at: valueEnd, found: value.token.start..<rest.upperBound)
    }
    if value.token.byteCount == 0 {
      throw LineFailure(.missingTagValue, at: keyEnd + 1, found: key.token.range)
    }
    unsafe line.tagStorage[count] = LineProtocolTag(key: key.token, value: value.token)
    line.storedTagCount = count + 1
    return valueEnd
  }

  /// Decodes `key=value` and returns the offset after it.
  private mutating func decodeField(
    _ bytes: Span<UInt8>, _ range: Range<Int>
  ) throws(LineFailure) -> Int {
    let key = NameScan(bytes, range, kind: .name)
    let keyEnd = key.token.range.upperBound
    let count = line.storedFieldCount
    if key.token.byteCount == 0 {
      throw LineFailure(
        .missingFieldKey, at: range.lowerBound, found: excerpt(bytes, range))
    }
    if count == limits.fieldLimit {
      throw LineFailure(.tooManyFields(limit: count), at: range.lowerBound)
    }
    try check(key, bytes, isKey: true)
    guard keyEnd < range.upperBound, bytes[keyEnd] == Ascii.equals else {
      throw LineFailure(.missingFieldValue, at: keyEnd, found: key.token.range)
    }
    let valueStart = keyEnd + 1
    let value: LineProtocolValue
    let end: Int
    if valueStart < range.upperBound, bytes[valueStart] == Ascii.quote {
      let string = try decodeString(bytes, valueStart..<range.upperBound)
      value = .string(string)
      end = string.range.upperBound + 1
    } else {
      end = plainEnd(bytes, valueStart..<range.upperBound)
      if end == valueStart {
        throw LineFailure(.missingFieldValue, at: valueStart, found: key.token.range)
      }
      value = try decodePlainValue(bytes, valueStart..<end)
    }
    unsafe line.fieldStorage[count] = LineProtocolField(key: key.token, value: value)
    line.storedFieldCount = count + 1
    return end
  }

  /// Decodes a string from its opening quote.
  private func decodeString(
    _ bytes: Span<UInt8>, _ range: Range<Int>
  ) throws(LineFailure) -> LineProtocolToken {
    let opening = range.lowerBound
    var index = opening + 1
    var hasEscapes = false
    var seen: UInt8 = 0
    var nul: Int?
    while index < range.upperBound, bytes[index] != Ascii.quote {
      seen |= bytes[index]
      if bytes[index] == 0, nul == nil { nul = index }
      if bytes[index] == Ascii.backslash, index + 1 < range.upperBound,
        bytes[index + 1] == Ascii.quote || bytes[index + 1] == Ascii.backslash
      {
        hasEscapes = true
        index += 1
      }
      index += 1
    }
    guard index < range.upperBound else {
      throw LineFailure(
        .unterminatedString, at: opening, found: (opening + 1)..<range.upperBound)
    }
    let content = (opening + 1)..<index
    if content.count > limits.stringByteLimit {
      let limit = limits.stringByteLimit
      throw LineFailure(.stringTooLong(limit: limit), at: opening, found: content)
    }
    try checkText(bytes, content, nul: nul, isASCII: seen < 0x80)
    let after = index + 1
    if after < range.upperBound, bytes[after] != Ascii.comma, bytes[after] != Ascii.space {
      var failure = LineFailure(
        .textAfterString(openedAtLine: 0, column: 0), at: after,
        found: excerpt(bytes, after..<range.upperBound))
      failure.openingQuote = opening
      throw failure
    }
    return LineProtocolToken(
      start: content.lowerBound, byteCount: content.count, hasEscapes: hasEscapes)
  }

  private func decodePlainValue(
    _ bytes: Span<UInt8>, _ range: Range<Int>
  ) throws(LineFailure) -> LineProtocolValue {
    let text = bytes.extracting(range)
    switch scanNumber(text) {
    case .value(let value, let byteCount) where byteCount == text.count: return value
    case .outOfRange(let byteCount) where byteCount == text.count:
      throw LineFailure(.numberOutOfRange, at: range.lowerBound, found: range)
    default: break
    }
    var word: UInt64 = 0
    for index in 0..<min(text.count, 8) { word |= UInt64(text[index]) << UInt64(index * 8) }
    if let (value, byteCount) = scanBoolean(word), byteCount == text.count {
      return .boolean(value)
    }
    throw LineFailure(.invalidFieldValue, at: range.lowerBound, found: range)
  }

  private mutating func decodeTimestamp(
    _ bytes: Span<UInt8>, _ range: Range<Int>
  ) throws(LineFailure) {
    var end = range.lowerBound
    while end < range.upperBound, !Ascii.isBlank(bytes[end]) { end += 1 }
    let text = range.lowerBound..<end
    let isNegative = bytes[text.lowerBound] == Ascii.minus
    let digits = (isNegative ? text.lowerBound + 1 : text.lowerBound)..<end
    var isInteger = !digits.isEmpty
    for index in digits where !Ascii.isDigit(bytes[index]) { isInteger = false }
    guard isInteger else { throw LineFailure(.invalidTimestamp, at: text.lowerBound, found: text) }
    let limit = UInt64(Int64.max) + (isNegative ? 1 : 0)
    guard let magnitude = unsignedValue(bytes.extracting(digits)), magnitude <= limit,
      let timestamp = precision.nanoseconds(
        from: isNegative ? 0 &- Int64(bitPattern: magnitude) : Int64(bitPattern: magnitude))
    else { throw LineFailure(.timestampOutOfRange, at: text.lowerBound, found: text) }
    let after = skipBlanks(bytes, end..<range.upperBound)
    if after < range.upperBound {
      throw LineFailure(.textAfterTimestamp, at: after, found: after..<range.upperBound)
    }
    line.hasTimestamp = true
    line.storedTimestamp = timestamp
  }
}

extension LineProtocolDecoder {
  /// The text up to the next comma or space, for an error.
  private func excerpt(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Range<Int> {
    // At least one byte, so that what is in the way is shown.
    let end = plainEnd(bytes, range)
    return range.lowerBound..<max(end, min(range.lowerBound + 1, range.upperBound))
  }

  /// The first comma or space, or the range's end.
  private func plainEnd(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Int {
    var end = range.lowerBound
    while end < range.upperBound, bytes[end] != Ascii.comma, bytes[end] != Ascii.space { end += 1 }
    return end
  }

  private func check(
    _ name: NameScan, _ bytes: Span<UInt8>, isKey: Bool
  ) throws(LineFailure) {
    let range = name.token.range
    if range.count > limits.nameByteLimit {
      let limit = limits.nameByteLimit
      throw LineFailure(.nameTooLong(limit: limit), at: range.lowerBound, found: range)
    }
    try checkText(bytes, range, nul: name.nul, isASCII: name.isASCII)
    guard isKey else { return }
    try checkUnderscore(name.token, bytes)
    let time: [UInt8] = [0x74, 0x69, 0x6D, 0x65]
    if range.count == 4, (0..<4).allSatisfy({ bytes[range.lowerBound + $0] == time[$0] }) {
      throw LineFailure(.reservedName, at: range.lowerBound, found: range)
    }
  }

  private func checkText(
    _ bytes: Span<UInt8>, _ range: Range<Int>, nul: Int?, isASCII: Bool
  ) throws(LineFailure) {
    if let nul { throw LineFailure(.nulByte, at: nul) }
    if !isASCII, let invalid = firstInvalidUTF8(in: bytes, range: range) {
      let found = invalid..<min(invalid + 4, range.upperBound)
      throw LineFailure(.invalidUTF8, at: invalid, found: found)
    }
  }

  private func checkUnderscore(
    _ name: LineProtocolToken, _ bytes: Span<UInt8>
  ) throws(LineFailure) {
    guard name.byteCount > 0, bytes[name.start] == Ascii.underscore, !acceptsUnderscoreNames
    else { return }
    throw LineFailure(.reservedName, at: name.start, found: name.range)
  }
}

/// A name from the start of a range up to the first stop without a backslash before it, or the
/// range's end. A stop is comma or space, and in keys and tag values the equals sign.
struct NameScan {
  let token: LineProtocolToken
  let isASCII: Bool
  let nul: Int?

  init(_ bytes: Span<UInt8>, _ range: Range<Int>, kind: LineProtocolToken.Kind) {
    var index = range.lowerBound
    var hasEscapes = false
    var seen: UInt8 = 0
    var nul: Int?
    while index < range.upperBound {
      let byte = bytes[index]
      if kind.escapes(byte) { break }
      seen |= byte
      if byte == 0, nul == nil { nul = index }
      if byte == Ascii.backslash, index + 1 < range.upperBound, kind.escapes(bytes[index + 1]) {
        hasEscapes = true
        index += 1
      }
      index += 1
    }
    token = LineProtocolToken(
      start: range.lowerBound, byteCount: index - range.lowerBound, hasEscapes: hasEscapes)
    isASCII = seen < 0x80
    self.nul = nul
  }
}
