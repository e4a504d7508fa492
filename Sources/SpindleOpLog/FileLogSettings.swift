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
  /// The most bytes of a segment, so that no file in the folder can fill a reader's memory: one
  /// that is larger is damage, and an entry that would make one is refused when it is written. The
  /// default is 64 MiB, 64 times the rotation size; at least twice that size and at most 1 GiB are
  /// used. Whoever needs larger entries than it leaves room for beside ``rotationByteCount`` raises
  /// it with all who share the folder. Own segments that are larger, since it was lowered, are left
  /// alone; where one of the last two is, nothing is published until it is raised again.
  public var segmentByteLimit = 64 << 20

  /// Takes a line for each time that own files were mended. The default, nil, is a logger with the
  /// label `spindle.oplog`.
  public var logger: Logger?
  package var hooks = FileLogHooks()

  /// Bytes from which on a segment takes no entry, within the bounds.
  var rotationLimit: Int { min(rotationByteCount, SegmentState.byteLimit / 2) }

  /// The most bytes of a segment, within the bounds.
  var fileByteLimit: Int {
    min(max(segmentByteLimit, 2 * rotationLimit), SegmentState.byteLimit)
  }

  public init(magic: [UInt8]) { self.magic = magic }
}

/// What tests inject into a log in files.
package struct FileLogHooks: Sendable {
  /// Called with the name of each step of a repair once it is done; throwing stops the repair
  /// there, as a crash would.
  package var afterRepairStep: @Sendable (String) throws -> Void = { _ in }

  /// Called with each path that is to be synced before a sink goes on where the files end.
  package var beforeSync: @Sendable (String) throws -> Void = { _ in }

  /// Called with the path of a segment each time that it was written to.
  package var afterWrite: @Sendable (String) throws -> Void = { _ in }

  package init() {}
}
