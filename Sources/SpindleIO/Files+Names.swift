import Glibc

/// Operations on names: directories and renames.
extension Files {
  /// Creates one directory whose parent is there, mode 0750 less the umask.
  ///
  /// - Returns: false when the name is taken already.
  @discardableResult
  public static func makeDirectory(_ path: String) throws(IOFailure) -> Bool {
    if unsafe mkdir(path, 0o750) == 0 { return true }
    guard errno == EEXIST else {
      throw IOFailure("create the directory", path: path, errno: errno)
    }
    return false
  }

  /// Removes a directory when it is empty.
  ///
  /// - Returns: Whether it was removed.
  public static func removeEmptyDirectory(_ path: String) -> Bool {
    unsafe rmdir(path) == 0
  }

  /// Renames within a file system, atomically; a file that has the new name is replaced.
  public static func move(_ source: String, to target: String) throws(IOFailure) {
    guard unsafe rename(source, target) == 0 else {
      throw IOFailure("rename \(source) to", path: target, errno: errno)
    }
  }

  /// Gives a file a second name within its file system; a name that is taken is an error,
  /// `EEXIST`.
  public static func link(_ source: String, to target: String) throws(IOFailure) {
    guard unsafe Glibc.link(source, target) == 0 else {
      throw IOFailure("link \(source) to", path: target, errno: errno)
    }
  }

  /// Makes a symbolic link that leads to a file from anywhere. A name that is taken is an error,
  /// `EEXIST`, and so is an absent file.
  public static func linkSymbolically(
    _ source: String, to target: String
  ) throws(IOFailure) {
    guard let real = unsafe realpath(source, nil) else {
      throw IOFailure("find", path: source, errno: errno)
    }
    defer { unsafe free(real) }
    guard unsafe symlink(real, target) == 0 else {
      throw IOFailure("link \(source) to", path: target, errno: errno)
    }
  }

  /// Writes a new file, mode 0600. A file that could not be written as a whole is removed.
  ///
  /// - Parameters:
  ///   - path: Must not exist.
  ///   - parts: What the file will hold, one after the other.
  ///   - sync: Whether its contents survive power loss when the call returns; its name does once
  ///     the directory is synced.
  public static func create(
    _ path: String, parts: [[UInt8]], sync: Bool
  ) throws(IOFailure) {
    let file = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw IOFailure("create", path: path, errno: errno) }
    var isOpen = true
    do throws(IOFailure) {
      for part in parts { try write(part, to: file, path: path) }
      if sync, fsync(file) != 0 { throw IOFailure("sync", path: path, errno: errno) }
      // Network file systems tell of failed writes here.
      isOpen = false
      guard close(file) == 0 else { throw IOFailure("close", path: path, errno: errno) }
    } catch {
      if isOpen { close(file) }
      unsafe unlink(path)
      throw error
    }
  }
}
