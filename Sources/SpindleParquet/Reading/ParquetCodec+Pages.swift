internal import SpindleCodecs
internal import SpindleCore

extension ParquetCodec {
  /// Calls the body with a page's bytes, decompressed if the codec does that.
  ///
  /// - Parameter byteCount: The size before compression, checked against the limits.
  /// - Throws: The bytes are damaged or do not give that size, or what the body throws.
  func withDecompressed(
    _ bytes: Span<UInt8>, byteCount: Int,
    _ body: (Span<UInt8>) throws(ParquetFailure) -> Void
  ) throws(ParquetFailure) {
    if self == .uncompressed {
      guard byteCount == bytes.count else {
        throw .damaged("\(bytes.count) bytes that are not compressed claim \(byteCount)")
      }
      try body(bytes)
    } else {
      let plain = try decompress(bytes, byteCount: byteCount)
      try body(plain.span)
    }
  }

  /// Decompresses a page whose size is known.
  private func decompress(
    _ bytes: Span<UInt8>, byteCount: Int
  ) throws(ParquetFailure) -> [UInt8] {
    // Writers make some bytes even of nothing.
    if byteCount == 0 { return [] }
    do throws(DecodingFailure) {
      switch self {
      case .snappy: return try SnappyBlock.decompress(bytes, byteCount: byteCount)
      case .gzip: return try GzipBlock.decompress(bytes, byteCount: byteCount)
      case .zstd: return try ZstdBlock.decompressFrames(bytes, byteCount: byteCount)
      case .lz4Raw: return try LZ4Block.decompress(bytes, byteCount: byteCount)
      case .uncompressed, .lzo, .brotli, .lz4: break
      }
    } catch {
      throw .damaged(error.description)
    }
    throw .unsupported("codec \(self) is not supported")
  }
}
