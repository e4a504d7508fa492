public import Logging

/// How a log in files is written and read. All who share a folder agree on ``magic``.
public struct FileLogSettings: Sendable {
  /// The application's mark at the beginning of every segment; at least one byte.
  public var magic: [UInt8]
  /// The mode of a segment that begins with a marker. The default is device mode. Any other begins
  /// in the mode that carries its first entry.
  public var mode: SegmentMode = .device
  /// Bytes from which on no entry is added to a segment. The default is 1 MiB. A reader decodes a
  /// segment from its beginning, so smaller ones cost less per page and more names. More than
  /// 512 MiB count as that.
  public var rotationByteCount = 1 << 20
  /// Entries from which on none is added to a segment. The default is 4,096.
  public var rotationEntryCount = 4096

  /// Takes a line for each time that own files were mended. The default, nil, is a logger with the
  /// label `spindle.oplog`.
  public var logger: Logger?
  package var hooks = FileLogHooks()

  public init(magic: [UInt8]) { self.magic = magic }
}

/// What tests inject into a log in files.
package struct FileLogHooks: Sendable {
  /// Called with the name of each step of a repair once it is done; throwing stops the repair
  /// there, as a crash would.
  package var afterRepairStep: @Sendable (String) throws -> Void = { _ in }

  /// Called with each path that is to be synced before a sink goes on where the files end.
  package var beforeSync: @Sendable (String) throws -> Void = { _ in }

  package init() {}
}
