import Glibc
internal import SpindleCore

/// A file that appears under its name as a whole or not at all, written piece by piece.
///
/// The pieces go to a file of a name that nobody else uses, `path.<random>.tmp`; ``finish()`` makes
/// them durable and gives them the name. So two that write the same file at once do not mix: the
/// first to finish has the name. One that goes out of scope unfinished is removed. A crash leaves
/// the temporary file, which is never taken for a whole one and may be removed.
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
    let temporary = "\(path).\(String(SeededGenerator.systemSeed(), radix: 16)).tmp"
    let file = unsafe open(
      temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
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
