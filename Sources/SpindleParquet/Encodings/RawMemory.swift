// The encodings read and write whole words at any byte offset. Spans check each byte, which costs
// more than the decoding itself; so the loops here run over raw memory, inside bounds that are
// checked once before them.

extension Array where Element: BitwiseCopyable {
  /// Appends values that the body writes, all `added` of them, without zeroing their memory first.
  ///
  /// - Throws: What the body throws; nothing is appended then.
  @inline(__always)
  mutating func appendWritten(
    _ added: Int,
    _ body: (UnsafeMutablePointer<Element>) throws(ParquetFailure) -> Void
  ) throws(ParquetFailure) {
    // An array without room has no address to give.
    if added <= 0 { return }
    makeRoom(added)
    try append(addingCapacity: added) { (output) throws(ParquetFailure) in
      try unsafe output.withUnsafeMutableBufferPointer {
        (buffer, written) throws(ParquetFailure) in
        try unsafe body(buffer.baseAddress!)
        written += added
      }
    }
  }

  /// The same for a body that cannot fail.
  @inline(__always)
  mutating func appendWritten(_ added: Int, _ body: (UnsafeMutablePointer<Element>) -> Void) {
    if added <= 0 { return }
    makeRoom(added)
    append(addingCapacity: added) { output in
      unsafe output.withUnsafeMutableBufferPointer { buffer, written in
        unsafe body(buffer.baseAddress!)
        written += added
      }
    }
  }
}

extension Array {
  /// Makes room for more elements, and for as many again as there are: `reserveCapacity` makes room
  /// for no more than it is told, so that each of many pages would copy all before it.
  mutating func makeRoom(_ added: Int) {
    if capacity - count < added { reserveCapacity(Swift.max(count + added, 2 * capacity)) }
  }
}

extension Span where Element: BitwiseCopyable {
  /// Calls the body with the address and the number of bytes; nothing there has some address too.
  @inline(__always)
  func withMemory<Result, Failure: Error>(
    _ body: (UnsafeRawPointer, Int) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try unsafe withUnsafeBytes { (buffer) throws(Failure) in
      if let address = buffer.baseAddress { return try unsafe body(address, buffer.count) }
      var nothing: UInt64 = 0
      return try unsafe Swift.withUnsafeBytes(of: &nothing) { (stand) throws(Failure) in
        try unsafe body(stand.baseAddress!, 0)
      }
    }
  }
}

extension UnsafeRawPointer {
  /// The little-endian word at any byte offset.
  @inline(__always)
  func word(at offset: Int) -> UInt64 {
    unsafe UInt64(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  /// Up to 8 bytes as a little-endian word; the bytes that are missing are zero.
  @inline(__always)
  func partialWord(at offset: Int, byteCount: Int) -> UInt64 {
    var word: UInt64 = 0
    for index in 0..<Swift.min(byteCount, 8) {
      word |=
        unsafe UInt64(load(fromByteOffset: offset + index, as: UInt8.self))
        << UInt64(8 * index)
    }
    return word
  }
}
