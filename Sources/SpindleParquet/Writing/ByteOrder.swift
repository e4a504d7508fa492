internal import Glibc

/// Compares byte strings byte by byte, unsigned: below 0 when the first comes first.
@unsafe @inline(__always)
private func compare(
  _ one: UnsafeRawPointer, _ oneCount: Int, _ two: UnsafeRawPointer, _ twoCount: Int
) -> Int {
  let shared = min(oneCount, twoCount)
  let difference = unsafe shared == 0 ? 0 : memcmp(one, two, shared)
  return difference == 0 ? oneCount - twoCount : Int(difference)
}

extension ByteStrings {
  /// The order of two of the strings: below 0 when the first comes first.
  @inline(__always)
  func order(_ one: Int, _ two: Int) -> Int {
    unsafe bytes.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return 0 }
      return unsafe offsets.withUnsafeBufferPointer { offsets in
        unsafe compare(
          base + offsets[one], offsets[one + 1] - offsets[one], base + offsets[two],
          offsets[two + 1] - offsets[two])
      }
    }
  }

  /// The place of each string when they are sorted.
  ///
  /// - Complexity: O(n log n), mostly without a look at the strings: their beginnings, behind what
  ///   all of them share, are sorted as numbers.
  var ranks: [UInt32] {
    let shared = sharedPrefix
    let keys = (0..<count).map { index in
      (bigEndianWord(index, from: shared), UInt32(index))
    }
    let sorted = keys.sorted { one, two in
      one.0 != two.0 ? one.0 < two.0 : order(Int(one.1), Int(two.1)) < 0
    }
    var ranks = [UInt32](repeating: 0, count: count)
    for place in sorted.indices { ranks[Int(sorted[place].1)] = UInt32(place) }
    return ranks
  }

  /// How many bytes all strings begin with alike.
  private var sharedPrefix: Int {
    guard count > 0 else { return 0 }
    var shared = offsets[1]
    for index in 1..<max(count, 1) {
      let start = offsets[index]
      shared = min(shared, offsets[index + 1] - start)
      var equal = 0
      while equal < shared, bytes[equal] == bytes[start + equal] { equal += 1 }
      shared = equal
      if shared == 0 { break }
    }
    return shared
  }

  /// Eight bytes of a string, the first one highest; zeros behind its end.
  private func bigEndianWord(_ index: Int, from start: Int) -> UInt64 {
    let first = offsets[index] + start
    let end = offsets[index + 1]
    if end - first >= 8 {
      return unsafe bytes.span.withMemory { source, _ in unsafe source.word(at: first).byteSwapped }
    }
    var word: UInt64 = 0
    for offset in 0..<8 {
      word = word << 8 | (first + offset < end ? UInt64(bytes[first + offset]) : 0)
    }
    return word
  }
}

extension FixedBytes {
  /// The order of two of the values: below 0 when the first comes first.
  @inline(__always)
  func order(_ one: Int, _ two: Int) -> Int {
    unsafe bytes.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return 0 }
      return unsafe compare(base + one * width, width, base + two * width, width)
    }
  }
}
