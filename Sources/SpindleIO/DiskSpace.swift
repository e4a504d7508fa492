import Glibc

/// Free and total space of the file system that holds a path.
public struct DiskSpace: Sendable, Equatable {
  /// Bytes that an unprivileged process may still write.
  public var freeBytes: UInt64
  public var totalBytes: UInt64
  /// Inodes that an unprivileged process may still use.
  public var freeInodes: UInt64
  /// 0 where the file system has no fixed number of inodes; the inode guard does not apply then.
  public var totalInodes: UInt64

  public init(freeBytes: UInt64, totalBytes: UInt64, freeInodes: UInt64, totalInodes: UInt64) {
    self.freeBytes = freeBytes
    self.totalBytes = totalBytes
    self.freeInodes = freeInodes
    self.totalInodes = totalInodes
  }

  /// Asks the file system.
  public init(of path: String) throws(IOFailure) {
    var status = statvfs()
    guard unsafe statvfs(path, &status) == 0 else {
      throw IOFailure("ask for the free space of", path: path, errno: errno)
    }
    // Block counts are in units of the fragment size, not of the block size.
    let unit = UInt64(status.f_frsize)
    self.init(
      freeBytes: UInt64(status.f_bavail) * unit, totalBytes: UInt64(status.f_blocks) * unit,
      freeInodes: UInt64(status.f_favail), totalInodes: UInt64(status.f_files))
  }
}
