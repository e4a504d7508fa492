// The fast path reads a line of the usual shape: ASCII without control bytes, no escapes, no
// newline in a string, nothing wrong. Everything else it leaves, from the line's start, to the
// careful parser, which alone knows the whole syntax and every error. It accepts no line that the
// careful parser would not accept with the same result.
//
// Bounds: `last` is the last address at which 24 bytes can be read. Every step compares its address
// with `last` before it reads; it then reads at most 24 bytes from there. A scan stops at a byte
// inside a word it has read, so the addresses it returns are inside the buffer.

extension LineProtocolDecoder {
  /// Decodes the line at `start` into `line`.
  ///
  /// - Returns: The start of the next line, or `nil` when the careful parser has to look. `line` is
  ///   then partly overwritten.
  mutating func decodeFast(
    _ start: UnsafePointer<UInt8>, _ input: FastInput
  ) -> UnsafePointer<UInt8>? {
    var isPredicted = true
    guard var cursor = unsafe fastMeasurement(start, input, &isPredicted) else { return nil }
    let shape = unsafe predictor.shapes[predictor.current]
    line.storedTagCount = 0
    unsafe line.knownOrder = nil
    if unsafe cursor.pointee == Ascii.comma {
      guard let end = unsafe fastTags(cursor + 1, input, shape.tagCount, &isPredicted) else {
        return nil
      }
      unsafe cursor = end
    }
    // Here `cursor` is at the space before the fields.
    guard let end = unsafe fastFields(cursor + 1, input, shape.fieldCount, &isPredicted),
      let next = unsafe fastTimestamp(end, input)
    else { return nil }
    guard unsafe next - start <= fastLineByteLimit else { return nil }
    if !isPredicted {
      guard line.hasUniqueKeys else { return nil }
      unsafe predictor.learn(line, at: input.base)
    }
    return unsafe next
  }

  /// Returns the comma or space after the measurement.
  @inline(__always)
  private mutating func fastMeasurement(
    _ start: UnsafePointer<UInt8>, _ input: FastInput, _ isPredicted: inout Bool
  ) -> UnsafePointer<UInt8>? {
    guard unsafe start <= input.last else { return nil }
    let known = unsafe predictor.shapes[predictor.current].measurement
    if unsafe known.matches(start) {
      let end = unsafe start + known.count
      // The predicted bytes may be the beginning of a longer measurement.
      if unsafe end <= input.last, unsafe end.pointee == Ascii.comma || end.pointee == Ascii.space {
        line.measurement = unsafe input.token(start, end)
        return unsafe end
      }
    }
    guard unsafe start.pointee != Ascii.hash, unsafe start.pointee != Ascii.underscore,
      let end = unsafe input.nameEnd(start), unsafe end > start,
      unsafe end.pointee == Ascii.comma || end.pointee == Ascii.space
    else { return nil }
    line.measurement = unsafe input.token(start, end)
    unsafe predictor.select(start, count: end - start)
    return unsafe end
  }

  /// Returns the equals sign after the key at `cursor`, which is a predicted one or a new one.
  @inline(__always)
  private func fastKey(
    _ cursor: UnsafePointer<UInt8>, _ input: FastInput,
    _ place: inout UnsafePointer<PredictedKey>, _ placesEnd: UnsafePointer<PredictedKey>,
    _ isPredicted: inout Bool
  ) -> UnsafePointer<UInt8>? {
    if unsafe place < placesEnd, unsafe place.pointee.matches(cursor) {
      let end = unsafe cursor + (place.pointee.count - 1)
      unsafe place += 1
      return unsafe end
    }
    return unsafe fastUnexpectedKey(cursor, input, &place, placesEnd, &isPredicted)
  }

  @inline(never)
  private func fastUnexpectedKey(
    _ cursor: UnsafePointer<UInt8>, _ input: FastInput,
    _ place: inout UnsafePointer<PredictedKey>, _ placesEnd: UnsafePointer<PredictedKey>,
    _ isPredicted: inout Bool
  ) -> UnsafePointer<UInt8>? {
    var skipped = 1
    while skipped <= KeyPredictor.skipLimit, unsafe place + skipped < placesEnd {
      if unsafe place[skipped].matches(cursor) {
        let end = unsafe cursor + (place[skipped].count - 1)
        unsafe place += skipped + 1
        return unsafe end
      }
      skipped += 1
    }
    isPredicted = false
    return unsafe input.keyEnd(cursor)
  }

  /// Returns the space after the tags.
  @inline(__always)
  private mutating func fastTags(
    _ start: UnsafePointer<UInt8>, _ input: FastInput, _ knownCount: Int,
    _ isPredicted: inout Bool
  ) -> UnsafePointer<UInt8>? {
    let shape = predictor.current
    var place = unsafe UnsafePointer(predictor.tagKeys + (shape * KeyPredictor.tagLimit))
    let placesEnd = unsafe place + knownCount
    let tags = unsafe line.tagStorage
    var count = 0
    var cursor = unsafe start
    while true {
      guard unsafe cursor <= input.last, count < limits.tagLimit,
        let keyEnd = unsafe fastKey(cursor, input, &place, placesEnd, &isPredicted),
        let valueEnd = unsafe input.nameEnd(keyEnd + 1), unsafe valueEnd > keyEnd + 1
      else { return nil }
      unsafe tags[count] = unsafe LineProtocolTag(
        key: input.token(cursor, keyEnd), value: input.token(keyEnd + 1, valueEnd))
      count += 1
      unsafe cursor = valueEnd + 1
      let stop = unsafe valueEnd.pointee
      if stop == Ascii.comma { continue }
      guard stop == Ascii.space else { return nil }
      line.storedTagCount = count
      if isPredicted, count == knownCount, unsafe place == placesEnd {
        unsafe line.knownOrder = UnsafePointer(
          predictor.tagOrders + (shape * KeyPredictor.tagLimit))
      }
      return unsafe valueEnd
    }
  }

  /// Returns the byte after the last field's value.
  @inline(__always)
  private mutating func fastFields(
    _ start: UnsafePointer<UInt8>, _ input: FastInput, _ knownCount: Int,
    _ isPredicted: inout Bool
  ) -> UnsafePointer<UInt8>? {
    let firstPlace = predictor.current * KeyPredictor.fieldLimit
    var place = unsafe UnsafePointer(predictor.fieldKeys + firstPlace)
    let placesEnd = unsafe place + knownCount
    let fields = unsafe line.fieldStorage
    var count = 0
    var cursor = unsafe start
    while true {
      guard unsafe cursor <= input.last, count < limits.fieldLimit,
        let keyEnd = unsafe fastKey(cursor, input, &place, placesEnd, &isPredicted),
        let (value, end) = unsafe fastValue(keyEnd + 1, input), unsafe end <= input.last
      else { return nil }
      unsafe fields[count] = unsafe LineProtocolField(
        key: input.token(cursor, keyEnd), value: value)
      count += 1
      if unsafe end.pointee != Ascii.comma {
        line.storedFieldCount = count
        return unsafe end
      }
      unsafe cursor = end + 1
    }
  }

  @inline(__always)
  private func fastValue(
    _ start: UnsafePointer<UInt8>, _ input: FastInput
  ) -> (value: LineProtocolValue, end: UnsafePointer<UInt8>)? {
    guard unsafe start <= input.last else { return nil }
    let loaded = unsafe Word.load(start)
    // Without a branch, since signs are as unpredictable as the data.
    let isNegative: UInt64 = loaded & 0xFF == UInt64(Ascii.minus) ? 1 : 0
    let word = loaded &>> (isNegative &* 8)
    let count = Word.digitCount(word)
    // With 7 digits or more the byte after them may be outside the word.
    guard count > 0, count < 7 else { return unsafe fastOtherValue(start, loaded, input) }
    let whole = Word.digitsValue(word, count: count)
    let end = unsafe start + (count &+ Int(truncatingIfNeeded: isNegative))
    let sign = isNegative &<< 63
    let after = UInt8(truncatingIfNeeded: word &>> UInt64(truncatingIfNeeded: count &* 8))
    if after == Ascii.dot {
      guard unsafe end + 1 <= input.last else { return nil }
      let fractionWord = unsafe Word.load(end + 1)
      let digits = Word.digitCount(fractionWord)
      guard digits > 0 else { return unsafe fastOtherValue(start, loaded, input) }
      let fractionEnd = unsafe end + (1 &+ digits)
      let isWhole = unsafe digits < 8 && fractionEnd.pointee | 0x20 != Ascii.lowerE
      guard isWhole else { return unsafe fastOtherValue(start, loaded, input) }
      // At most 6 + 7 digits, so the mantissa is exact, and so is the power of ten.
      let power = exactPowersOfTen[digits]
      let fraction = Word.digitsValue(fractionWord, count: digits)
      let mantissa =
        Double(Int64(truncatingIfNeeded: whole)) * power
        + Double(Int64(truncatingIfNeeded: fraction))
      let value = Double(bitPattern: (mantissa / power).bitPattern | sign)
      return unsafe (.float(value), fractionEnd)
    }
    if after == Ascii.lowerI {
      let magnitude = Int64(truncatingIfNeeded: whole)
      return unsafe (.integer(isNegative == 0 ? magnitude : 0 &- magnitude), end + 1)
    }
    if after | 0x20 == Ascii.lowerE || after == Ascii.lowerU {
      return unsafe fastOtherValue(start, loaded, input)
    }
    let magnitude = Double(Int64(truncatingIfNeeded: whole))
    return unsafe (.float(Double(bitPattern: magnitude.bitPattern | sign)), end)
  }

  /// Strings, booleans, and numbers with many digits, an exponent or suffix u.
  @inline(never)
  private func fastOtherValue(
    _ start: UnsafePointer<UInt8>, _ word: UInt64, _ input: FastInput
  ) -> (value: LineProtocolValue, end: UnsafePointer<UInt8>)? {
    if UInt8(truncatingIfNeeded: word) == Ascii.quote {
      guard let close = unsafe input.stringEnd(start + 1),
        unsafe close.pointee == Ascii.quote
      else { return nil }
      return unsafe (.string(input.token(start + 1, close)), close + 1)
    }
    if let (value, byteCount) = scanBoolean(word) {
      return unsafe (.boolean(value), start + byteCount)
    }
    return unsafe input.plainNumber(start) ?? input.number(start)
  }

  /// Reads the timestamp, if there is one, and the line's end. Returns the start of the next line.
  @inline(__always)
  private mutating func fastTimestamp(
    _ start: UnsafePointer<UInt8>, _ input: FastInput
  ) -> UnsafePointer<UInt8>? {
    // `start` is not after `last`; see fastFields.
    var cursor = unsafe start
    line.hasTimestamp = false
    line.storedTimestamp = 0
    if unsafe cursor.pointee == Ascii.space {
      // A sign, 19 digits and the line's end are inside the 24 bytes.
      unsafe cursor += 1
      guard unsafe cursor <= input.last else { return nil }
      let isNegative = unsafe cursor.pointee == Ascii.minus
      if isNegative { unsafe cursor += 1 }
      guard let (magnitude, end) = unsafe fastTimestampDigits(cursor) else { return nil }
      unsafe cursor = end
      let signed = isNegative ? 0 &- magnitude : magnitude
      let (scaled, overflow) = signed.multipliedReportingOverflow(by: nanosecondsPerUnit)
      guard !overflow else { return nil }
      line.hasTimestamp = true
      line.storedTimestamp = scaled
    }
    var stop = unsafe cursor.pointee
    if stop == Ascii.carriageReturn {
      unsafe cursor += 1
      stop = unsafe cursor.pointee
    }
    return unsafe stop == Ascii.newline ? cursor + 1 : nil
  }

  /// Reads 1 to 19 digits. The caller guarantees 23 readable bytes, of which at most 20 are used.
  @inline(__always)
  private func fastTimestampDigits(
    _ start: UnsafePointer<UInt8>
  ) -> (value: Int64, end: UnsafePointer<UInt8>)? {
    var cursor = unsafe start
    var word = unsafe Word.load(cursor)
    var count = Word.digitCount(word)
    guard count > 0 else { return nil }
    var value = Word.digitsValue(word, count: count)
    unsafe cursor += count
    if count == 8 {
      unsafe word = Word.load(cursor)
      count = Word.digitCount(word)
      if count > 0 {
        value = (value &* integerPowersOfTen[count]) &+ Word.digitsValue(word, count: count)
        unsafe cursor += count
      }
      if count == 8 {
        // From here only 7 bytes are sure, which hold the 3 digits that may follow and a stop.
        var extra = 0
        while extra < 3, unsafe Ascii.isDigit(cursor.pointee) {
          value = unsafe (value &* 10) &+ UInt64(cursor.pointee &- Ascii.zero)
          unsafe cursor += 1
          extra += 1
        }
      }
    }
    // 19 digits fit UInt64 but not always Int64; a 20th digit is no line end, so it is refused.
    return unsafe value <= UInt64(Int64.max) ? (Int64(bitPattern: value), cursor) : nil
  }
}
