internal import SpindleCodecs

/// Compresses pages with the codec of a column.
struct PageCompressor {
  var compression: ParquetCompression

  /// Compresses bytes behind a prefix that is left as it is.
  ///
  /// - Parameter mustCompress: Whether the result has to be compressed even if that makes it
  ///   larger.
  /// - Returns: nil when there is no codec, or it would make the bytes no smaller.
  func compress(_ bytes: Span<UInt8>, after prefix: [UInt8], mustCompress: Bool) -> [UInt8]? {
    guard !bytes.isEmpty, compression != .none else { return nil }
    let limit = prefix.count + (mustCompress ? worstCase(bytes.count) : bytes.count - 1)
    switch compression {
    case .none, .gzip: return nil
    case .snappy: return SnappyBlock.compress(bytes, after: prefix, byteLimit: limit)
    case .lz4Raw: return LZ4Block.compress(bytes, after: prefix, byteLimit: limit)
    case .zstd(let level):
      return ZstdBlock.compress(bytes, after: prefix, byteLimit: limit, level: level)
    }
  }

  /// The size of bytes with the codec, or without where that is smaller.
  func size(_ bytes: [UInt8]) -> Int {
    compress(bytes.span, after: [], mustCompress: false)?.count ?? bytes.count
  }

  /// More than any codec makes of bytes that do not compress: LZ4 adds one in 255, the others less.
  private func worstCase(_ count: Int) -> Int { count + count / 100 + 1024 }
}
