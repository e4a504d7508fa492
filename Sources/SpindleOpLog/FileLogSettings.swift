/// How a log in files is written and read. All who share a folder agree on ``magic`` and
/// ``mode``.
public struct FileLogSettings: Sendable {
  /// The application's mark at the beginning of every segment; at least one byte.
  public var magic: [UInt8]
  /// Whether entries carry users. The default is device mode, in which none does.
  public var mode: SegmentMode = .device
  /// Bytes from which on no entry is added to a segment. The default is 1 MiB. A reader decodes a
  /// segment from its beginning, so smaller ones cost less per page and more names.
  public var rotationByteCount = 1 << 20
  /// Entries from which on none is added to a segment. The default is 4,096.
  public var rotationEntryCount = 4096

  public init(magic: [UInt8]) { self.magic = magic }
}
