import Glibc

/// Plain file operations that name the path in every error.
public enum Files {
  /// Whether something exists at the path, as the effective user sees it: `access` would ask for
  /// the real one.
  public static func exists(_ path: String) -> Bool {
    var status = stat()
    return unsafe stat(path, &status) == 0
  }

  /// Whether something exists at the path, where not knowing must not pass for absence: what
  /// cannot be looked at is an error.
  public static func isThere(_ path: String) throws(IOFailure) -> Bool {
    try status(path) != nil
  }

  /// Whether two names are those of one file; false where one is absent.
  public static func isSameFile(_ one: String, _ other: String) throws(IOFailure) -> Bool {
    guard let first = try status(one), let second = try status(other) else { return false }
    return first.st_dev == second.st_dev && first.st_ino == second.st_ino
  }

  /// Of the name itself, not of what a symbolic link points to; nil when nothing is there.
  private static func status(_ path: String) throws(IOFailure) -> stat? {
    var status = stat()
    if unsafe lstat(path, &status) == 0 { return status }
    guard errno == ENOENT else { throw IOFailure("look for", path: path, errno: errno) }
    return nil
  }

  /// Whether a directory is there.
  public static func isDirectory(_ path: String) -> Bool {
    var status = stat()
    return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  /// The size in bytes.
  public static func size(_ path: String) throws(IOFailure) -> UInt64 {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else { throw IOFailure("read", path: path, errno: errno) }
    return UInt64(status.st_size)
  }

  /// Creates a directory and its missing parents, mode 0750, and makes the new names durable.
  public static func createDirectory(_ path: String) throws(IOFailure) {
    if isDirectory(path) { return }
    let parent = directory(of: path)
    if parent != path, !exists(parent) { try createDirectory(parent) }
    guard unsafe mkdir(path, 0o750) == 0 || errno == EEXIST else {
      throw IOFailure("create the directory", path: path, errno: errno)
    }
    guard isDirectory(path) else {
      throw IOFailure("create the directory", path: path, errno: ENOTDIR)
    }
    try synchronizeDirectory(parent)
  }

  /// The parent of a path: what stands before its last component, "." for a bare name.
  public static func directory(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// The names in a directory, without "." and "..", sorted.
  public static func names(in path: String) throws(IOFailure) -> [String] {
    var names: [String] = []
    try forEachName(in: path) { name in
      names.append(name)
      return true
    }
    return names.sorted()
  }

  /// Calls the body with each name in a directory, without "." and "..", in no order, until it
  /// returns false. Names that come and go meanwhile may be given or not.
  public static func forEachName(
    in path: String, _ body: (String) -> Bool
  ) throws(IOFailure) {
    guard let handle = unsafe opendir(path) else {
      throw IOFailure("list", path: path, errno: errno)
    }
    defer { unsafe closedir(handle) }
    while true {
      errno = 0
      guard let entry = unsafe readdir(handle) else { break }
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      if name != ".", name != "..", !body(name) { return }
    }
    guard errno == 0 else { throw IOFailure("list", path: path, errno: errno) }
  }

  /// Reads a whole file of at most `limit` bytes.
  public static func read(_ path: String, limit: Int = 1 << 20) throws(IOFailure) -> [UInt8] {
    let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw IOFailure("open", path: path, errno: errno) }
    defer { close(file) }
    let size = try min(Int(Files.size(path)), limit)
    var bytes = [UInt8](repeating: 0, count: size)
    var filled = 0
    while filled < size {
      let count = unsafe bytes.withUnsafeMutableBytes { buffer in
        unsafe Glibc.read(file, buffer.baseAddress?.advanced(by: filled), size - filled)
      }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw IOFailure("read", path: path, errno: errno) }
      if count == 0 { break }
      filled += count
    }
    return Array(bytes.prefix(filled))
  }

  /// Replaces a file as a whole: a reader sees the old bytes or the new ones, also after power
  /// loss. Writes `path.tmp`, syncs it, renames it over `path`, syncs the directory.
  public static func writeAtomically(_ bytes: [UInt8], to path: String) throws(IOFailure) {
    let temporary = path + ".tmp"
    let file = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o640)
    guard file >= 0 else { throw IOFailure("create", path: temporary, errno: errno) }
    do throws(IOFailure) {
      defer { close(file) }
      try write(bytes, to: file, path: temporary)
      guard fsync(file) == 0 else { throw IOFailure("sync", path: temporary, errno: errno) }
    } catch {
      unsafe unlink(temporary)
      throw error
    }
    guard unsafe rename(temporary, path) == 0 else {
      let code = errno
      unsafe unlink(temporary)
      throw IOFailure("replace", path: path, errno: code)
    }
    try synchronizeDirectory(directory(of: path))
  }

  /// Writes all bytes at the descriptor's position.
  public static func write(_ bytes: [UInt8], to file: Int32, path: String) throws(IOFailure) {
    var written = 0
    while written < bytes.count {
      let count = unsafe bytes.withUnsafeBytes { buffer in
        unsafe Glibc.write(file, buffer.baseAddress?.advanced(by: written), bytes.count - written)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw IOFailure("write to", path: path, errno: errno) }
      written += count
    }
  }

  /// Copies a file and syncs the copy. The target must not exist; a copy that failed is removed.
  public static func copy(_ source: String, to target: String) throws(IOFailure) {
    let input = unsafe open(source, O_RDONLY | O_CLOEXEC)
    guard input >= 0 else { throw IOFailure("open", path: source, errno: errno) }
    defer { close(input) }
    let output = unsafe open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o640)
    guard output >= 0 else { throw IOFailure("create", path: target, errno: errno) }
    defer { close(output) }
    do throws(IOFailure) {
      var chunk = [UInt8](repeating: 0, count: 1 << 20)
      while true {
        let count = unsafe chunk.withUnsafeMutableBytes { buffer in
          unsafe Glibc.read(input, buffer.baseAddress, buffer.count)
        }
        if count < 0, errno == EINTR { continue }
        guard count >= 0 else { throw IOFailure("read", path: source, errno: errno) }
        if count == 0 { break }
        try write(Array(chunk.prefix(count)), to: output, path: target)
      }
      guard fsync(output) == 0 else { throw IOFailure("sync", path: target, errno: errno) }
    } catch {
      unsafe unlink(target)
      throw error
    }
  }

  /// Removes a file.
  ///
  /// - Parameter mustExist: Whether an absent file is an error. The default is false.
  public static func remove(_ path: String, mustExist: Bool = false) throws(IOFailure) {
    guard unsafe unlink(path) == 0 || !mustExist && errno == ENOENT else {
      throw IOFailure("remove", path: path, errno: errno)
    }
  }

  /// Makes the names in a directory durable.
  public static func synchronizeDirectory(_ path: String) throws(IOFailure) {
    let file = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard file >= 0 else { throw IOFailure("open", path: path, errno: errno) }
    defer { close(file) }
    guard fsync(file) == 0 else { throw IOFailure("sync", path: path, errno: errno) }
  }
}
