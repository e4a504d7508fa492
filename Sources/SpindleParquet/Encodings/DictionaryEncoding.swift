/// RLE_DICTIONARY: indices into the values of a dictionary page, hybrid-encoded behind their width
/// of one byte.
enum DictionaryEncoding {
  // MARK: Decoding

  /// Appends `count` indices, none of which leaves the dictionary.
  static func decodeIndices(
    _ bytes: Span<UInt8>, count: Int, dictionaryCount: Int, appendingTo output: inout [UInt32]
  ) throws(ParquetFailure) {
    guard count > 0 else { return }
    guard !bytes.isEmpty else { throw .damaged("dictionary indices without their width", at: 0) }
    let start = output.count
    try HybridEncoding.decode(
      bytes.extracting(1..<bytes.count), width: Int(bytes[0]), count: count, appendingTo: &output)
    var largest: UInt32 = 0
    unsafe output.withUnsafeBufferPointer { indices in
      for index in start..<indices.count { largest = unsafe max(largest, indices[index]) }
    }
    guard Int(largest) < dictionaryCount else {
      output.removeLast(output.count - start)
      throw .damaged("dictionary index \(largest) where \(dictionaryCount) values are", at: 0)
    }
  }

  /// Appends the values of indices, which ``decodeIndices`` checked against this dictionary.
  static func gather<Value: BitwiseCopyable>(
    _ indices: Span<UInt32>, from dictionary: Span<Value>, appendingTo output: inout [Value]
  ) {
    unsafe indices.withUnsafeBufferPointer { indices in
      unsafe dictionary.withUnsafeBufferPointer { dictionary in
        unsafe output.appendWritten(indices.count) { target in
          for index in 0..<indices.count {
            unsafe target[index] = dictionary[Int(indices[index])]
          }
        }
      }
    }
  }

  /// Appends the strings of indices, which ``decodeIndices`` checked against this dictionary.
  ///
  /// - Parameter byteLimit: The most bytes of all strings together. A few bits can stand for a
  ///   long string.
  static func gather(
    _ indices: Span<UInt32>, from dictionary: borrowing ByteStrings, byteLimit: Int,
    appendingTo output: inout ByteStrings
  ) throws(ParquetFailure) {
    let offsets = dictionary.offsets.span
    var end = output.bytes.count
    let limit = byteLimit.addingReportingOverflow(end)
    let last = limit.overflow ? Int.max : limit.partialValue
    let first = end
    // The ends first: they tell how much memory is needed, before any is taken.
    try unsafe output.offsets.appendWritten(indices.count) {
      (target) throws(ParquetFailure) in
      for position in indices.indices {
        let index = unsafe Int(indices[unchecked: position])
        end += unsafe offsets[unchecked: index + 1] - offsets[unchecked: index]
        unsafe target[position] = end
      }
      guard end <= last else {
        throw .limit("the strings of a page have more than \(byteLimit) bytes", at: 0)
      }
    }
    unsafe dictionary.bytes.span.withMemory { source, byteCount in
      unsafe output.bytes.appendWritten(end - first) { target in
        var target = UnsafeMutableRawPointer(target)
        let targetEnd = unsafe target + (end - first)
        for position in indices.indices {
          let index = unsafe Int(indices[unchecked: position])
          let start = unsafe offsets[unchecked: index]
          let length = unsafe offsets[unchecked: index + 1] - start
          if length <= shortLength, start + shortLength <= byteCount,
            unsafe targetEnd - target >= shortLength
          {
            unsafe target.copyMemory(from: source + start, byteCount: shortLength)
          } else {
            unsafe target.copyMemory(from: source + start, byteCount: length)
          }
          unsafe target += length
        }
      }
    }
  }

  /// Appends the values of indices, which ``decodeIndices`` checked against this dictionary.
  ///
  /// - Parameter byteLimit: The most bytes of all values together.
  static func gather(
    _ indices: Span<UInt32>, from dictionary: borrowing FixedBytes, byteLimit: Int,
    appendingTo output: inout FixedBytes
  ) throws(ParquetFailure) {
    let width = dictionary.width
    let (total, isOver) = indices.count.multipliedReportingOverflow(by: width)
    guard !isOver, total <= byteLimit else {
      throw .limit("the values of a page have more than \(byteLimit) bytes", at: 0)
    }
    unsafe dictionary.bytes.span.withMemory { source, _ in
      unsafe output.bytes.appendWritten(total) { target in
        let target = UnsafeMutableRawPointer(target)
        for position in indices.indices {
          let index = unsafe Int(indices[unchecked: position])
          unsafe (target + position &* width).copyMemory(
            from: source + index &* width, byteCount: width)
        }
      }
    }
  }

  /// A short string is copied as one piece of this size, where there is room for it.
  private static var shortLength: Int { 16 }

  // MARK: Encoding

  /// Bits of an index into a dictionary.
  static func width(of dictionaryCount: Int) -> Int {
    BitPacking.width(of: UInt64(max(dictionaryCount - 1, 0)))
  }

  /// Appends the width and the indices.
  static func encode(
    _ indices: Span<UInt32>, dictionaryCount: Int, appendingTo output: inout [UInt8]
  ) {
    let width = width(of: dictionaryCount)
    output.append(UInt8(width))
    HybridEncoding.encode(indices, width: width, appendingTo: &output)
  }
}
