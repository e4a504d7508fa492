internal import SpindleCore

/// DELTA_LENGTH_BYTE_ARRAY: all lengths as deltas, then the bytes of all strings.
enum DeltaLengthByteArray {
  /// Appends `count` byte strings.
  ///
  /// - Returns: The bytes that were read.
  @discardableResult
  static func decode(
    _ bytes: Span<UInt8>, count: Int, appendingTo output: inout ByteStrings
  ) throws(ParquetFailure) -> Int {
    // Wider than lengths are, so that none of them wraps around.
    var lengths: [Int64] = []
    let start = try DeltaBinaryPacked.decode(bytes, count: count, appendingTo: &lengths)
    let total = try lengths.checkedSum(atMost: bytes.count - start)
    var end = output.bytes.count
    output.bytes.append(borrowing: bytes.extracting(start..<start + total))
    unsafe output.offsets.appendWritten(count) { target in
      for index in lengths.indices {
        end += Int(lengths[index])
        unsafe target[index] = end
      }
    }
    return start + total
  }

  /// Appends strings; each must be shorter than 2 GiB.
  static func encode(
    _ strings: borrowing ByteStrings, _ range: Range<Int>, appendingTo output: inout [UInt8]
  ) {
    let offsets = strings.offsets
    let lengths = range.map { Int32(offsets[$0 + 1] - offsets[$0]) }
    DeltaBinaryPacked.encode(lengths.span, appendingTo: &output)
    output.append(
      borrowing: strings.bytes.span.extracting(
        offsets[range.lowerBound]..<offsets[range.upperBound]))
  }
}

/// DELTA_BYTE_ARRAY: each string takes some bytes from the beginning of the one before it.
enum DeltaByteArray {
  /// Appends `count` byte strings.
  ///
  /// - Parameter byteLimit: The most bytes of all strings together. One byte that is encoded can
  ///   stand for a whole earlier string.
  /// - Returns: The bytes that were read.
  @discardableResult
  static func decode(
    _ bytes: Span<UInt8>, count: Int, byteLimit: Int, appendingTo output: inout ByteStrings
  ) throws(ParquetFailure) -> Int {
    var prefixes: [Int64] = []
    let start = try DeltaBinaryPacked.decode(bytes, count: count, appendingTo: &prefixes)
    var suffixes = ByteStrings()
    let end =
      try start
      + DeltaLengthByteArray.decode(
        bytes.extracting(start..<bytes.count), count: count, appendingTo: &suffixes)
    // All lengths are checked before there is memory for the strings.
    var total = 0
    var last = 0
    for index in 0..<count {
      let prefix = Int(prefixes[index])
      guard prefix >= 0, prefix <= last else {
        throw .damaged("string \(index) takes \(prefix) bytes of one that has \(last)", at: 0)
      }
      last = prefix + suffixes.offsets[index + 1] - suffixes.offsets[index]
      total += last
      guard total <= byteLimit else {
        throw .limit("delta-encoded strings have more than \(byteLimit) bytes", at: 0)
      }
    }
    let first = output.bytes.count
    output.offsets.makeRoom(count)
    let offsets = suffixes.offsets
    var offset = first
    unsafe suffixes.bytes.span.withMemory { source, _ in
      unsafe output.bytes.appendWritten(total) { target in
        var target = UnsafeMutableRawPointer(target)
        // The first string has no prefix.
        var previous = UnsafeRawPointer(target)
        for index in 0..<count {
          let prefix = Int(prefixes[index])
          let suffix = offsets[index + 1] - offsets[index]
          unsafe target.copyMemory(from: previous, byteCount: prefix)
          unsafe (target + prefix).copyMemory(from: source + offsets[index], byteCount: suffix)
          unsafe previous = UnsafeRawPointer(target)
          unsafe target += prefix + suffix
          offset += prefix + suffix
          output.offsets.append(offset)
        }
      }
    }
    if total == 0 { output.appendEmpty(count: count) }
    return end
  }

  /// Appends `count` byte strings, each of the output's width.
  ///
  /// - Returns: The bytes that were read.
  @discardableResult
  static func decode(
    _ bytes: Span<UInt8>, count: Int, byteLimit: Int, appendingTo output: inout FixedBytes
  ) throws(ParquetFailure) -> Int {
    var strings = ByteStrings()
    let end = try decode(bytes, count: count, byteLimit: byteLimit, appendingTo: &strings)
    for index in 0..<count
    where strings.offsets[index + 1] - strings.offsets[index] != output.width {
      throw .damaged("a delta-encoded value has not \(output.width) bytes", at: 0)
    }
    output.bytes.append(contentsOf: strings.bytes)
    return end
  }
}

extension [Int64] {
  /// The sum of lengths, none of which may be below 0.
  fileprivate func checkedSum(atMost limit: Int) throws(ParquetFailure) -> Int {
    var sum = 0
    var signs: Int64 = 0
    var longest: Int64 = 0
    for length in self {
      sum &+= Int(length)
      signs |= length
      longest = Swift.max(longest, length)
    }
    guard signs >= 0 else { throw .damaged("a string has a length below 0", at: 0) }
    guard longest <= limit else {
      throw .damaged("a string of \(longest) bytes is claimed, \(limit) are there", at: 0)
    }
    guard sum <= limit else {
      throw .damaged("strings of \(sum) bytes are claimed, \(limit) are there", at: 0)
    }
    return sum
  }
}
