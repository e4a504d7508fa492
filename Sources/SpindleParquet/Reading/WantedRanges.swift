/// The ranges of a file that will be wanted, gone through from the first to the last.
struct WantedRanges {
  /// In order, disjoint.
  private let ranges: [Range<UInt64>]
  /// The first range that ends behind the offsets that were asked for. A column chunk may have
  /// as many ranges as pages, so that they are not searched for every page anew.
  private var next = 0

  init(_ ranges: [Range<UInt64>]) { self.ranges = ranges }

  /// Bytes of memory.
  var byteCount: Int { ranges.count * MemoryLayout<Range<UInt64>>.stride }

  /// The end of the range that holds an offset; the offset where none does, or where an offset
  /// behind it was asked for before.
  mutating func end(at offset: UInt64) -> UInt64 {
    while next < ranges.count, ranges[next].upperBound <= offset { next += 1 }
    guard next < ranges.count, ranges[next].contains(offset) else { return offset }
    return ranges[next].upperBound
  }
}
