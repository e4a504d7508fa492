/// How much a file may ask of its reader.
///
/// Each limit is checked before memory is taken for what a file claims. A file beyond one is
/// refused with ``SpindleError`` `tooLarge`, reason `parquet_limit`; raise the limit for files that
/// are known to be good.
public struct ParquetLimits: Sendable, Hashable {
  /// Bytes of a footer, which is decoded as a whole when a file is opened. In memory it takes some
  /// 3 times its bytes, and besides what the column chunks and key-value pairs below may take. The
  /// default is 64 MiB: some 500,000 column chunks.
  public var footerBytes = 64 << 20
  /// Bytes of a column chunk's column index or offset index, which takes at most some 20 times as
  /// many when it is decoded. The default is 16 MiB: some 500,000 pages.
  public var indexBytes = 16 << 20
  /// Leaves of a schema, those of nested columns among them. The default is 16,384.
  public var columnCount = 16 << 10
  /// Row groups of a file. The default is 65,536.
  public var rowGroupCount = 64 << 10
  /// Column chunks of all row groups together; each takes less than 1 KiB of memory while the file
  /// is open, and may take only 15 bytes of a hostile footer. The default is 1,048,576.
  public var columnChunkCount = 1 << 20
  /// Key-value pairs of the file and its column chunks together; each takes some 100 bytes of
  /// memory besides its text while the file is opened, and may take only 3 bytes of a hostile
  /// footer. The default is 2,097,152: files of ours have one for each column chunk.
  public var keyValueCount = 2 << 20
  /// Bytes of a page header, in which statistics may hold whole values. The default is 1 MiB.
  public var pageHeaderBytes = 1 << 20
  /// Bytes of a page as it lies in the file. The default is 256 MiB: writers cut pages at 1 MiB or
  /// so, but some let long strings or large dictionaries grow.
  public var compressedPageBytes = 256 << 20
  /// Bytes of a page after decompression. The default is 256 MiB.
  public var uncompressedPageBytes = 256 << 20
  /// Rows of a page: run lengths let a few bytes claim any number. The default is 16,777,216.
  public var pageRows = 16 << 20
  /// Bytes of a bloom filter. The default is 128 MiB, the format's own bound for its writers.
  public var bloomFilterBytes = 128 << 20
  /// Rows of one batch, however many are asked for. The default is 16,777,216.
  public var batchRows = 16 << 20
  /// Bytes of one column in one batch: a dictionary lets a few bits stand for a long string. The
  /// default is 1 GiB.
  public var batchColumnBytes = 1 << 30
  /// Bytes that all columns of a read or a scan take together: those of the batch that is being
  /// made, and the pages that are decoded for the next ones. One page more is in memory while it
  /// is decompressed. The default is 4 GiB.
  public var batchBytes = 4 << 30

  public init() {}

  /// For files from anywhere, on a machine with some GiB of memory.
  public static let `default` = ParquetLimits()
}
