import Glibc

/// Operations on files that change in place.
extension Files {
  /// Writes bytes at an offset of a file that is there and ends its contents behind them; durable
  /// when the call returns. What stood behind the offset is cut off first.
  ///
  /// When anything fails, the file is cut at the offset again, so that no page whose sync failed
  /// stands for durable later.
  public static func append(
    _ bytes: [UInt8], to path: String, at offset: UInt64
  ) throws(IOFailure) {
    let file = unsafe open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC)
    guard file >= 0 else { throw IOFailure("open", path: path, errno: errno) }
    defer { close(file) }
    var status = stat()
    guard unsafe fstat(file, &status) == 0 else {
      throw IOFailure("look at", path: path, errno: errno)
    }
    // A file that has become shorter lost what the caller counts on.
    guard UInt64(status.st_size) >= offset else {
      throw IOFailure("append to", path: path, errno: EINVAL)
    }
    let end = off_t(offset)
    if status.st_size > end { try cut(file, at: end, path: path) }
    do throws(IOFailure) {
      guard lseek(file, end, SEEK_SET) == end else {
        throw IOFailure("append to", path: path, errno: errno)
      }
      try write(bytes, to: file, path: path)
      guard fsync(file) == 0 else { throw IOFailure("sync", path: path, errno: errno) }
    } catch {
      ftruncate(file, end)
      throw error
    }
  }

  private static func cut(_ file: Int32, at end: off_t, path: String) throws(IOFailure) {
    guard ftruncate(file, end) == 0 else { throw IOFailure("cut", path: path, errno: errno) }
  }

  /// Writes over the beginning of a file, creating it where it is missing. Not durable: power loss
  /// may leave the old bytes, or a mixture.
  public static func overwrite(_ bytes: [UInt8], at path: String) throws(IOFailure) {
    let file = unsafe open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o640)
    guard file >= 0 else { throw IOFailure("open", path: path, errno: errno) }
    defer { close(file) }
    try write(bytes, to: file, path: path)
  }

  /// Makes a file's contents durable.
  public static func synchronize(_ path: String) throws(IOFailure) {
    let file = unsafe open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
    guard file >= 0 else { throw IOFailure("open", path: path, errno: errno) }
    defer { close(file) }
    guard fsync(file) == 0 else { throw IOFailure("sync", path: path, errno: errno) }
  }
}
