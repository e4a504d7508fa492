internal import CSnappy
public import SpindleCore

/// The Snappy block format: fast, with its length before it.
public enum SnappyBlock {
  /// The largest input: the format's length has 32 bits.
  public static let inputByteLimit = Int(UInt32.max)

  // The longest copy gives 64 bytes and takes 3, and nothing in the format gives more for a byte.
  private static let expansionLimit = 22

  /// Compresses into a new array that begins with a prefix.
  ///
  /// - Parameters:
  ///   - prefix: Bytes that stand before the block.
  ///   - byteLimit: The most bytes of the result, the prefix included.
  /// - Returns: nil when the result would be larger than the limit, or the input is too large.
  /// - Complexity: O(bytes), about 400 MB/s to 2 GB/s by content.
  public static func compress(
    _ input: Span<UInt8>, after prefix: [UInt8] = [], byteLimit: Int = .max
  ) -> [UInt8]? {
    guard input.count <= inputByteLimit else { return nil }
    // Snappy writes only where there is room for the worst case.
    var written = snappy_max_compressed_length(input.count)
    let output = unsafe [UInt8](unsafeUninitializedCapacity: prefix.count + written) {
      target, count in
      _ = unsafe target.initialize(fromContentsOf: prefix)
      let status = unsafe input.withUnsafeBytes { source in
        // Snappy wants an address also where there is nothing to read.
        let from = unsafe source.baseAddress ?? UnsafeRawPointer(target.baseAddress!)
        return unsafe snappy_compress(
          from.assumingMemoryBound(to: CChar.self), source.count,
          UnsafeMutableRawPointer(target.baseAddress! + prefix.count)
            .assumingMemoryBound(to: CChar.self), &written)
      }
      count = status == SNAPPY_OK ? prefix.count + written : 0
    }
    return output.isEmpty || output.count > byteLimit ? nil : output
  }

  /// Decompresses a block whose size is known.
  ///
  /// - Parameter byteCount: The size of the result; checked by the caller against its own bound,
  ///   and here against the block's own length and what it can hold, before anything is allocated.
  /// - Throws: ``DecodingFailure`` when the block is damaged or gives another size.
  public static func decompress(
    _ block: Span<UInt8>, byteCount: Int
  ) throws(DecodingFailure) -> [UInt8] {
    guard byteCount > 0, block.count > 0, byteCount / expansionLimit <= block.count,
      length(of: block) == byteCount
    else { throw .invalid("a Snappy block of \(block.count) bytes claims \(byteCount) bytes") }
    let result = unsafe [UInt8](unsafeUninitializedCapacity: byteCount) { target, count in
      var written = byteCount
      let status = unsafe block.withUnsafeBytes { source in
        unsafe snappy_uncompress(
          source.baseAddress!.assumingMemoryBound(to: CChar.self), source.count,
          UnsafeMutableRawPointer(target.baseAddress!).assumingMemoryBound(to: CChar.self),
          &written)
      }
      count = status == SNAPPY_OK ? written : 0
    }
    guard result.count == byteCount else {
      throw .invalid("a Snappy block does not give the \(byteCount) bytes it claims")
    }
    return result
  }

  /// The size a block claims; nil when it does not begin with one.
  private static func length(of block: Span<UInt8>) -> Int? {
    var length = 0
    let status = unsafe block.withUnsafeBytes { source in
      unsafe snappy_uncompressed_length(
        source.baseAddress!.assumingMemoryBound(to: CChar.self), source.count, &length)
    }
    return status == SNAPPY_OK ? length : nil
  }
}
