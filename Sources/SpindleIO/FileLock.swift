import Glibc
import Synchronization

/// An exclusive lock on a file, which also names its holder's process id.
///
/// The lock is the kernel's (`flock`): it ends with the descriptor, so also with a killed process.
/// The descriptor is closed on exec, so a child never keeps it.
public final class FileLock: Sendable {
  public let path: String
  private let file: Int32
  private let isHeld = Atomic<Bool>(true)

  /// Takes the lock at once or says who holds it.
  ///
  /// - Parameter writesOwner: Whether to write this process's id into the file. A reader that only
  ///   keeps writers out passes false and changes nothing.
  /// - Returns: nil when another descriptor holds the lock.
  public static func acquire(
    _ path: String, writesOwner: Bool
  ) throws(IOFailure) -> FileLock? {
    let flags = writesOwner ? O_RDWR | O_CREAT | O_CLOEXEC : O_RDONLY | O_CLOEXEC
    let file = unsafe open(path, flags, 0o640)
    guard file >= 0 else { throw IOFailure("open", path: path, errno: errno) }
    // Readers share the lock with each other and with no owner.
    guard flock(file, (writesOwner ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0 else {
      let code = errno
      close(file)
      if code == EWOULDBLOCK { return nil }
      throw IOFailure("lock", path: path, errno: code)
    }
    if writesOwner {
      do throws(IOFailure) {
        keepFromCleaners(file)
        guard ftruncate(file, 0) == 0 else { throw IOFailure("write to", path: path, errno: errno) }
        try Files.write(Array("\(getpid())\n".utf8), to: file, path: path)
      } catch {
        close(file)
        throw error
      }
    }
    return FileLock(path: path, file: file)
  }

  /// Sets the sticky bit, which programs that clean up old files leave alone. A file of another
  /// owner keeps the mode it has.
  private static func keepFromCleaners(_ file: Int32) {
    var status = stat()
    if unsafe fstat(file, &status) == 0 { fchmod(file, status.st_mode & 0o7777 | S_ISVTX) }
  }

  private init(path: String, file: Int32) {
    self.path = path
    self.file = file
  }

  deinit { release() }

  /// Lets another have the lock. Repeats do nothing. Letting go of the object does it too, but
  /// only when the last one who has it does, such as a thread that made it and has not ended yet.
  public func release() {
    guard isHeld.exchange(false, ordering: .acquiringAndReleasing) else { return }
    // Unlocked by word, not by the close alone: a child that is being spawned right now holds a
    // copy of the descriptor until it executes, and the lock would live as long.
    flock(file, LOCK_UN)
    close(file)
  }

  /// The process id that the file names, if it is readable.
  public static func owner(_ path: String) -> Int32? {
    guard let bytes = try? Files.read(path, limit: 32) else { return nil }
    let text = String(decoding: bytes, as: UTF8.self)
    return Int32(text.prefix { $0.isNumber })
  }
}
