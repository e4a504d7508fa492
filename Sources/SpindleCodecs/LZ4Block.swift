internal import CLZ4
public import SpindleCore

/// The LZ4 block format: fast, without a header or a length of its own.
public enum LZ4Block {
  /// The largest input: LZ4's own limit.
  public static let inputByteLimit = 0x7E00_0000

  /// One byte of a block stands for at most so many: a longer run takes one more length byte.
  private static let expansionLimit = 255

  /// Appends the compressed bytes, unless they would not be smaller.
  ///
  /// - Returns: false when nothing was appended: the input is too large, or does not compress.
  /// - Complexity: O(bytes), about 400 MB/s to 3 GB/s by content.
  public static func compress(_ input: Span<UInt8>, appendingTo output: inout [UInt8]) -> Bool {
    // One byte cannot become smaller, and leaves LZ4 no room to write.
    guard input.count > 1, input.count <= inputByteLimit else { return false }
    // With this capacity LZ4 stops as soon as the result would not be smaller.
    let capacity = input.count - 1
    let start = output.count
    output.append(contentsOf: repeatElement(0, count: capacity))
    let written = unsafe input.withUnsafeBufferPointer { source in
      unsafe output.withUnsafeMutableBufferPointer { target in
        unsafe UnsafeRawPointer(source.baseAddress!).withMemoryRebound(
          to: CChar.self, capacity: input.count
        ) { from in
          unsafe UnsafeMutableRawPointer(target.baseAddress! + start).withMemoryRebound(
            to: CChar.self, capacity: capacity
          ) { to in
            unsafe LZ4_compress_default(from, to, Int32(input.count), Int32(capacity))
          }
        }
      }
    }
    output.removeLast(capacity - Int(max(written, 0)))
    return written > 0
  }

  /// Compresses into a new array that begins with a prefix.
  ///
  /// - Parameters:
  ///   - prefix: Bytes that stand before the block.
  ///   - byteLimit: The most bytes of the result, the prefix included.
  /// - Returns: nil when the result would be larger than the limit.
  public static func compress(
    _ input: Span<UInt8>, after prefix: [UInt8], byteLimit: Int
  ) -> [UInt8]? {
    guard input.count > 0, input.count <= inputByteLimit, byteLimit > prefix.count else {
      return nil
    }
    let capacity = min(byteLimit - prefix.count, Int(Int32.max))
    let output = unsafe [UInt8](unsafeUninitializedCapacity: prefix.count + capacity) {
      target, count in
      _ = unsafe target.initialize(fromContentsOf: prefix)
      let written = unsafe input.withUnsafeBufferPointer { source in
        unsafe UnsafeRawPointer(source.baseAddress!).withMemoryRebound(
          to: CChar.self, capacity: input.count
        ) { from in
          unsafe UnsafeMutableRawPointer(target.baseAddress! + prefix.count).withMemoryRebound(
            to: CChar.self, capacity: capacity
          ) { to in
            unsafe LZ4_compress_default(from, to, Int32(input.count), Int32(capacity))
          }
        }
      }
      count = written > 0 ? prefix.count + Int(written) : 0
    }
    return output.isEmpty ? nil : output
  }

  /// Decompresses a block whose size is known.
  ///
  /// - Parameter byteCount: The size of the result; checked by the caller against its own bound
  ///   before anything is allocated here.
  /// - Throws: ``DecodingFailure`` when the block is damaged or gives another size.
  public static func decompress(
    _ block: Span<UInt8>, byteCount: Int
  ) throws(DecodingFailure) -> [UInt8] {
    guard byteCount > 0, byteCount <= inputByteLimit, block.count > 0,
      block.count <= Int(Int32.max), byteCount / expansionLimit <= block.count
    else { throw .invalid("an LZ4 block of \(block.count) bytes claims \(byteCount) bytes") }
    let result = unsafe [UInt8](unsafeUninitializedCapacity: byteCount) { target, count in
      let written = unsafe block.withUnsafeBufferPointer { source in
        unsafe UnsafeRawPointer(source.baseAddress!).withMemoryRebound(
          to: CChar.self, capacity: block.count
        ) { from in
          unsafe UnsafeMutableRawPointer(target.baseAddress!).withMemoryRebound(
            to: CChar.self, capacity: byteCount
          ) { to in
            unsafe LZ4_decompress_safe(from, to, Int32(block.count), Int32(byteCount))
          }
        }
      }
      count = Int(max(written, 0))
    }
    guard result.count == byteCount else {
      throw .invalid("an LZ4 block does not give the \(byteCount) bytes it claims")
    }
    return result
  }
}
