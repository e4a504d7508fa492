import Glibc

/// Tells whether a file is still the one that was read before, with the same contents.
public struct FileIdentity: Hashable, Sendable {
  let device: UInt64
  let inode: UInt64
  /// When the contents last changed, as the file system tells it.
  let seconds: Int64
  let nanoseconds: Int64

  /// Whether both are states of one file, the contents aside.
  public func isSameFile(as other: FileIdentity) -> Bool {
    device == other.device && inode == other.inode
  }
}

/// A regular file that is read from its beginning, or from an offset.
///
/// Anything else under the name is an error: a directory, a link unless links are followed, or a
/// pipe, which would wait for a writer for ever.
public struct FileReader: ~Copyable, Sendable {
  private let path: String
  private let file: Int32
  /// Bytes of the file when it was opened.
  public let size: UInt64
  public let identity: FileIdentity

  public init(_ path: String, followingLinks: Bool = false) throws(IOFailure) {
    let links = followingLinks ? 0 : O_NOFOLLOW
    let file = unsafe open(path, O_RDONLY | links | O_NONBLOCK | O_CLOEXEC)
    guard file >= 0 else { throw IOFailure("open", path: path, errno: errno) }
    var status = stat()
    let code = unsafe fstat(file, &status) == 0 ? 0 : errno
    guard code == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(file)
      let isDirectory = status.st_mode & S_IFMT == S_IFDIR
      throw IOFailure(
        "read", path: path, errno: code != 0 ? code : isDirectory ? EISDIR : EINVAL)
    }
    self.path = path
    self.file = file
    size = UInt64(status.st_size)
    identity = FileIdentity(
      device: UInt64(status.st_dev), inode: UInt64(status.st_ino),
      seconds: Int64(status.st_mtim.tv_sec), nanoseconds: Int64(status.st_mtim.tv_nsec))
  }

  deinit { close(file) }

  /// Goes to an offset from the file's beginning.
  public mutating func seek(to offset: UInt64) throws(IOFailure) {
    guard lseek(file, off_t(offset), SEEK_SET) == off_t(offset) else {
      throw IOFailure("read", path: path, errno: errno)
    }
  }

  /// Reads the next bytes; fewer than `count` only at the file's end.
  public mutating func read(_ count: Int) throws(IOFailure) -> [UInt8] {
    // An array without capacity is shared by the process, and its initializer writes to it.
    if count <= 0 { return [] }
    var failure: IOFailure?
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      while filled < count {
        let taken = unsafe Glibc.read(
          file, buffer.baseAddress?.advanced(by: filled), count - filled)
        if taken < 0, errno == EINTR { continue }
        if taken < 0 { failure = IOFailure("read", path: path, errno: errno) }
        if taken <= 0 { break }
        filled += taken
      }
    }
    if let failure { throw failure }
    return bytes
  }

  /// Appends the bytes from an offset on, wherever the reader stands; fewer than `count` only at
  /// the file's end. May be called from several threads at once.
  public func read(
    _ count: Int, at offset: UInt64, appendingTo bytes: inout [UInt8]
  ) throws(IOFailure) {
    if count <= 0 { return }
    var failure: IOFailure?
    bytes.append(addingCapacity: count) { output in
      unsafe output.withUnsafeMutableBufferPointer { buffer, filled in
        while filled < count {
          let taken = unsafe pread(
            file, buffer.baseAddress?.advanced(by: filled), count - filled,
            off_t(offset) + filled)
          if taken < 0, errno == EINTR { continue }
          if taken < 0 { failure = IOFailure("read", path: path, errno: errno) }
          if taken <= 0 { break }
          filled += taken
        }
      }
    }
    if let failure { throw failure }
  }
}
