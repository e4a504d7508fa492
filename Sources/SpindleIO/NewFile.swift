import Glibc

/// A file that appears under its name as a whole or not at all, written piece by piece.
///
/// The pieces go to `path.tmp`; ``finish()`` makes them durable and gives them the name. One that
/// goes out of scope unfinished is removed. A crash leaves the temporary file, which the next
/// attempt replaces.
public struct NewFile: ~Copyable {
  private let path: String
  private let temporary: String
  private let file: Int32
  private var isFinished = false
  /// Bytes written so far.
  public private(set) var size: UInt64 = 0

  /// Starts a file.
  ///
  /// - Throws: with ``IOFailure/isTaken`` when something has the name already.
  public init(_ path: String) throws(IOFailure) {
    guard try !Files.isThere(path) else { throw IOFailure("create", path: path, errno: EEXIST) }
    let temporary = path + ".tmp"
    let file = unsafe open(
      temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw IOFailure("create", path: temporary, errno: errno) }
    self.path = path
    self.temporary = temporary
    self.file = file
  }

  deinit {
    close(file)
    if !isFinished { unsafe unlink(temporary) }
  }

  public mutating func write(_ bytes: [UInt8]) throws(IOFailure) {
    try Files.write(bytes, to: file, path: temporary)
    size += UInt64(bytes.count)
  }

  /// Makes the file durable under its name.
  ///
  /// - Throws: with ``IOFailure/isTaken`` when something took the name meanwhile.
  public mutating func finish() throws(IOFailure) {
    guard fsync(file) == 0 else { throw IOFailure("sync", path: temporary, errno: errno) }
    try Files.link(temporary, to: path)
    try Files.remove(temporary)
    isFinished = true
    try Files.synchronizeDirectory(Files.directory(of: path))
  }
}
