private import Glibc

// Word tricks shared by the fast path. A "hit" is the top bit of a byte of the result; the lowest
// hit is always exact, higher ones may be false, so callers use trailingZeroBitCount only.
enum Word {
  static let ones: UInt64 = 0x0101_0101_0101_0101
  static let highs: UInt64 = 0x8080_8080_8080_8080

  /// Reads 8 bytes, the first one lowest. The caller guarantees that they are inside the buffer.
  @inline(__always)
  static func load(_ start: UnsafePointer<UInt8>) -> UInt64 {
    unsafe UInt64(littleEndian: UnsafeRawPointer(start).loadUnaligned(as: UInt64.self))
  }

  /// Hits the bytes equal to `byte`, before masking with `highs`.
  @inline(__always)
  static func equal(_ word: UInt64, _ byte: UInt8) -> UInt64 {
    let difference = word ^ (ones &* UInt64(byte))
    return (difference &- ones) & ~difference
  }

  /// Hits what can end or complicate a name: bytes up to space, `,`, `=`, `\` and non-ASCII.
  @inline(__always)
  static func nameStops(_ word: UInt64) -> UInt64 {
    let low = (word &- (ones &* 0x21)) & ~word
    let marks = equal(word, Ascii.comma) | equal(word, Ascii.equals)
    return (low | marks | equal(word, Ascii.backslash) | word) & highs
  }

  /// Hits what can end or complicate a string: control bytes, `"`, `\` and non-ASCII.
  @inline(__always)
  static func stringStops(_ word: UInt64) -> UInt64 {
    let low = (word &- (ones &* 0x20)) & ~word
    return (low | equal(word, Ascii.quote) | equal(word, Ascii.backslash) | word) & highs
  }

  /// The number of decimal digits at the start of the word, 0 to 8.
  @inline(__always)
  static func digitCount(_ word: UInt64) -> Int {
    let digits = word ^ 0x3030_3030_3030_3030
    let others = ((digits &+ 0x7676_7676_7676_7676) | digits) & highs
    return others.trailingZeroBitCount &>> 3
  }

  /// The value of the first `count` bytes, all digits; `count` is 1 to 8.
  @inline(__always)
  static func digitsValue(_ word: UInt64, count: Int) -> UInt64 {
    // Digits move to the top; the bytes shifted in below act as leading zeros.
    let shift = UInt64(truncatingIfNeeded: 64 &- (count &* 8))
    var value = (word ^ 0x3030_3030_3030_3030) &<< shift
    value = (value &* 10) &+ (value &>> 8)
    let mask: UInt64 = 0x0000_00FF_0000_00FF
    let first = (value & mask) &* 0x000F_4240_0000_0064
    let second = ((value &>> 16) & mask) &* 0x0000_2710_0000_0001
    return (first &+ second) &>> 32
  }
}

/// The offset of the first `byte` in `range`, or `nil`.
func firstOffset(
  of byte: UInt8, in buffer: UnsafeBufferPointer<UInt8>, range: Range<Int>
) -> Int? {
  guard let base = buffer.baseAddress, !range.isEmpty else { return nil }
  precondition(range.lowerBound >= 0 && range.upperBound <= buffer.count)
  // In bounds by the check above.
  guard let hit = unsafe memchr(base + range.lowerBound, Int32(byte), range.count) else {
    return nil
  }
  return unsafe UnsafeRawPointer(hit) - UnsafeRawPointer(base)
}

/// The number of newlines in `range`, and the offset after the last one (or the range's start).
func countNewlines(
  in buffer: UnsafeBufferPointer<UInt8>, range: Range<Int>
) -> (count: UInt64, lineStart: Int) {
  var count: UInt64 = 0
  var start = range.lowerBound
  while let newline = unsafe firstOffset(
    of: Ascii.newline, in: buffer, range: start..<range.upperBound)
  {
    count += 1
    start = newline + 1
  }
  return (count, start)
}

/// Where a logical line ends.
///
/// A newline ends a line unless it is inside a string: in the field section (after the first space
/// without a backslash), between a double quote directly after an equals sign without a backslash
/// and the next double quote without a backslash. A string that is never closed in the buffer does
/// not count as one, so that a forgotten quote costs one line and not the rest of the input.
/// Comments hold no strings. The rule needs no valid line, so it also says where decoding resumes
/// after an error, and what a batch boundary may not cut.
struct LogicalLineEnd {
  /// Offset of the newline, or the buffer's end when there is none.
  var offset: Int
  /// Whether a string was opened and never closed.
  var hasOpenString = false

  init(in buffer: UnsafeBufferPointer<UInt8>, from start: Int) {
    offset = unsafe Self.newline(in: buffer, from: start)
    guard
      unsafe firstOffset(of: Ascii.quote, in: buffer, range: start..<offset) != nil,
      let fields = unsafe Self.fieldSection(in: buffer, line: start..<offset)
    else { return }
    var position = fields
    while let quote = unsafe firstOffset(of: Ascii.quote, in: buffer, range: position..<offset) {
      position = quote + 1
      // The field section starts after a space, so quote - 2 is inside the line when it is read.
      let opens =
        unsafe quote > fields && buffer[quote - 1] == Ascii.equals
        && buffer[quote - 2] != Ascii.backslash
      guard opens else { continue }
      guard let close = unsafe Self.closingQuote(in: buffer, from: position) else {
        hasOpenString = true
        return
      }
      position = close + 1
      if close > offset { offset = unsafe Self.newline(in: buffer, from: position) }
    }
  }

  private static func newline(in buffer: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
    unsafe firstOffset(of: Ascii.newline, in: buffer, range: start..<buffer.count) ?? buffer.count
  }

  /// The offset after the first unescaped space past the leading blanks; `nil` for comments and
  /// lines without one.
  private static func fieldSection(
    in buffer: UnsafeBufferPointer<UInt8>, line: Range<Int>
  ) -> Int? {
    var index = line.lowerBound
    while index < line.upperBound, unsafe Ascii.isBlank(buffer[index]) { index += 1 }
    guard index < line.upperBound, unsafe buffer[index] != Ascii.hash else { return nil }
    while let space = unsafe firstOffset(
      of: Ascii.space, in: buffer, range: index..<line.upperBound)
    {
      // The first byte is not blank, so a space has a byte of the line before it.
      if unsafe buffer[space - 1] != Ascii.backslash { return space + 1 }
      index = space + 1
    }
    return nil
  }

  private static func closingQuote(in buffer: UnsafeBufferPointer<UInt8>, from start: Int) -> Int? {
    var searched = start
    while let quote = unsafe firstOffset(
      of: Ascii.quote, in: buffer, range: searched..<buffer.count)
    {
      // In a string the only escapes are \" and \\, so an odd run of backslashes escapes the quote.
      var run = quote
      while run > start, unsafe buffer[run - 1] == Ascii.backslash { run -= 1 }
      if (quote - run).isMultiple(of: 2) { return quote }
      searched = quote + 1
    }
    return nil
  }
}
