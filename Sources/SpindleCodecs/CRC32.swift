internal import CZlib

/// The CRC-32 of gzip, PNG and Parquet pages (polynomial 0x04C11DB7, reflected).
public enum CRC32 {
  /// The checksum of `bytes`, or of the bytes before followed by `bytes`.
  ///
  /// - Complexity: O(bytes), about 1 GB/s.
  public static func checksum(_ bytes: Span<UInt8>, continuing value: UInt32 = 0) -> UInt32 {
    // zlib takes a null address as the wish for the value to begin with.
    if bytes.isEmpty { return value }
    return unsafe bytes.withUnsafeBufferPointer { buffer in
      unsafe UInt32(truncatingIfNeeded: crc32_z(UInt(value), buffer.baseAddress, buffer.count))
    }
  }
}
