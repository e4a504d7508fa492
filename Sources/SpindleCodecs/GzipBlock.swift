internal import CZlib
public import SpindleCore

/// A whole gzip stream in memory whose size is known.
public enum GzipBlock {
  // Deflate's longest match is 258 bytes and takes at least two bits.
  private static let expansionLimit = 1032

  /// Inflates a stream of one or several members.
  ///
  /// - Parameter byteCount: The size of the result, 1 or more; checked by the caller against its
  ///   own bound, and here against what the stream can hold, before anything is allocated.
  /// - Throws: ``DecodingFailure`` when the stream is damaged, gives another size or is followed
  ///   by other bytes.
  public static func decompress(
    _ stream: Span<UInt8>, byteCount: Int
  ) throws(DecodingFailure) -> [UInt8] {
    guard byteCount > 0, stream.count > 0, stream.count <= Int(UInt32.max),
      byteCount <= Int(UInt32.max), byteCount / expansionLimit <= stream.count
    else { throw .invalid("a gzip stream of \(stream.count) bytes claims \(byteCount) bytes") }
    let result = unsafe [UInt8](unsafeUninitializedCapacity: byteCount) { target, count in
      unsafe stream.withUnsafeBufferPointer { source in
        count = unsafe inflate(source, into: target) ? byteCount : 0
      }
    }
    guard result.count == byteCount else {
      throw .invalid("a gzip stream does not give the \(byteCount) bytes it claims")
    }
    return result
  }

  /// Inflates all members; true when they fill the target to the last byte and use up the source.
  @unsafe private static func inflate(
    _ source: UnsafeBufferPointer<UInt8>, into target: UnsafeMutableBufferPointer<UInt8>
  ) -> Bool {
    var stream = unsafe z_stream()
    guard unsafe spindle_inflate_init(&stream) == Z_OK else { return false }
    defer { unsafe inflateEnd(&stream) }
    unsafe stream.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
    unsafe stream.avail_in = UInt32(source.count)
    unsafe stream.next_out = target.baseAddress
    unsafe stream.avail_out = UInt32(target.count)
    while true {
      // Each round ends a member, which takes its trailer at least; else the stream is damaged.
      guard unsafe CZlib.inflate(&stream, Z_FINISH) == Z_STREAM_END else { return false }
      if unsafe stream.avail_in == 0 { return unsafe stream.avail_out == 0 }
      guard unsafe inflateReset(&stream) == Z_OK else { return false }
    }
  }
}
