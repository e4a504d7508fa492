/// Which rows of a column hold a value: one bit a row, set where there is one.
///
/// Row `r` is bit `r % 64` of word `r / 64`. The bits behind the last row are zero, so that words
/// can be compared and counted as a whole.
public struct Validity: Sendable, Hashable {
  /// `count` bits, least significant first, in as few words as hold them.
  public internal(set) var words: [UInt64]
  /// Rows.
  public internal(set) var count: Int
  /// Rows that hold no value.
  public internal(set) var nullCount: Int

  /// No rows yet.
  public init() {
    words = []
    count = 0
    nullCount = 0
  }

  /// Rows that are all there, or all null.
  public init(repeating isThere: Bool, count: Int) {
    self.init()
    append(repeating: isThere, count: count)
  }

  /// Takes bits as they are. Words that are missing count as zero, bits behind `count` are
  /// dropped.
  ///
  /// - Complexity: O(`count` / 64).
  public init(words: [UInt64], count: Int) {
    let needed = (max(count, 0) + 63) / 64
    var words = Array(words.prefix(needed))
    if words.count < needed {
      words.append(contentsOf: repeatElement(0, count: needed - words.count))
    }
    if count > 0, count % 64 != 0 { words[needed - 1] &= (1 << UInt64(count % 64)) - 1 }
    self.words = words
    self.count = max(count, 0)
    nullCount = self.count - words.reduce(0) { $0 + $1.nonzeroBitCount }
  }

  /// Whether a row holds a value.
  public subscript(row: Int) -> Bool { words[row >> 6] >> UInt64(row & 63) & 1 != 0 }

  /// Adds one row.
  public mutating func append(_ isThere: Bool) {
    if count & 63 == 0 { words.append(0) }
    if isThere { words[count >> 6] |= 1 << UInt64(count & 63) } else { nullCount += 1 }
    count += 1
  }

  /// Adds rows that are all there, or all null.
  ///
  /// - Complexity: O(rows / 64).
  public mutating func append(repeating isThere: Bool, count added: Int) {
    guard added > 0 else { return }
    var left = added
    while left > 0 {
      let used = count & 63
      if used == 0 { words.append(0) }
      let taken = min(64 - used, left)
      if isThere {
        let ones = taken == 64 ? UInt64.max : (1 << UInt64(taken)) - 1
        words[count >> 6] |= ones << UInt64(used)
      }
      count += taken
      left -= taken
    }
    if !isThere { nullCount += added }
  }

  /// Adds the rows of another column part.
  ///
  /// - Complexity: O(rows / 64).
  public mutating func append(_ other: Validity) { append(other, rows: 0..<other.count) }

  /// Adds some rows of another column part, which must be rows of it.
  ///
  /// - Complexity: O(rows / 64).
  public mutating func append(_ other: Validity, rows: Range<Int>) {
    var row = rows.lowerBound
    while row < rows.upperBound {
      let taken = min(64, rows.upperBound - row)
      append(bits: other.bits(from: row), count: taken)
      row += taken
    }
  }

  /// The 64 bits from a row on; zeros behind the end.
  func bits(from row: Int) -> UInt64 {
    let word = row >> 6
    let shift = UInt64(row & 63)
    let low = word < words.count ? words[word] >> shift : 0
    guard shift != 0, word + 1 < words.count else { return low }
    return low | words[word + 1] << (64 - shift)
  }

  /// Adds up to 64 rows from the low bits of a word.
  mutating func append(bits: UInt64, count added: Int) {
    guard added > 0 else { return }
    let kept = added == 64 ? bits : bits & ((1 << UInt64(added)) - 1)
    let used = count & 63
    if used == 0 {
      words.append(kept)
    } else {
      words[count >> 6] |= kept << UInt64(used)
      if used + added > 64 { words.append(kept >> UInt64(64 - used)) }
    }
    count += added
    nullCount += added - kept.nonzeroBitCount
  }
}
