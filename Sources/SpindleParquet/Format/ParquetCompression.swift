/// How the pages of a column are compressed when a file is written.
public enum ParquetCompression: Sendable, Hashable {
  case none
  case snappy
  case lz4Raw
  /// 1, the fastest, to 19.
  case zstd(level: Int32)
  /// Read only.
  case gzip
}

/// The codec of a column chunk, by the format's numbers.
public enum ParquetCodec: Int32, Sendable, Hashable, CaseIterable {
  case uncompressed = 0
  case snappy = 1
  case gzip = 2
  /// Not read.
  case lzo = 3
  /// Not read.
  case brotli = 4
  /// The older LZ4, in frames that only Hadoop defines. Not read.
  case lz4 = 5
  case zstd = 6
  case lz4Raw = 7
}

extension ParquetCodec: CustomStringConvertible {
  /// The format's name.
  public var description: String {
    switch self {
    case .uncompressed: "UNCOMPRESSED"
    case .snappy: "SNAPPY"
    case .gzip: "GZIP"
    case .lzo: "LZO"
    case .brotli: "BROTLI"
    case .lz4: "LZ4"
    case .zstd: "ZSTD"
    case .lz4Raw: "LZ4_RAW"
    }
  }
}

extension ParquetCompression {
  /// What a file calls it.
  var codec: ParquetCodec {
    switch self {
    case .none: .uncompressed
    case .snappy: .snappy
    case .lz4Raw: .lz4Raw
    case .zstd: .zstd
    case .gzip: .gzip
    }
  }
}
