import Glibc
public import SpindleCore

/// Tries out whether a directory can hold data, before any is entrusted to it.
///
/// What is found here at once, with an explanation, would otherwise surface later and elsewhere.
/// The worst case: a process that lowered its effective user id alone asks with `access`, which
/// goes by the real id, whether a database is there, and is told no; with `open`, which goes by
/// the effective one, it then writes a new database over the old.
public enum DirectoryProbe {
  /// What is allowed and should be known.
  public enum Warning: Sendable, Equatable, CustomStringConvertible {
    /// Every user of the machine may read the directory.
    case worldReadable(mode: UInt32)
    /// Locks and syncs on a network file system promise less.
    case networkFileSystem(String)
    /// The disk is full: what is there can be read, and writes will fail until there is room.
    case noSpace

    public var description: String {
      switch self {
      case .worldReadable(let mode):
        "every user may read the directory: its mode is \(DirectoryProbe.octal(mode)); expected "
          + "0750 or less"
      case .networkFileSystem(let name):
        "the directory is on a network file system (\(name)); expected a local one"
      case .noSpace: "the disk is full"
      }
    }
  }

  /// How the names of probe files begin. One stays behind where the process was killed meanwhile.
  package static let prefix = ".spindle-dir-probe-"

  /// Creates a file in a directory, locks, writes, syncs and renames it, compares what `access`
  /// and `open` say about it, and removes it. Nothing is left behind.
  ///
  /// - Throws: ``SpindleError`` with `io` and the reason `directory_probe`, naming the step, the
  ///   directory with owner and mode, and the user and group ids of the process.
  /// - Complexity: One fsync.
  public static func run(_ directory: String) throws(SpindleError) -> [Warning] {
    var warnings = inspect(directory)
    let unique = String(SeededGenerator.systemSeed(), radix: 16)
    let path = "\(directory)/\(prefix)\(getpid())-\(unique)"
    let renamed = path + ".renamed"
    do throws(Failure) {
      defer {
        // After a failure; after success both names are gone.
        unsafe unlink(path)
        unsafe unlink(renamed)
      }
      if try !writeFile(path) { warnings.append(.noSpace) }
      guard unsafe rename(path, renamed) == 0 else { throw Failure("rename a file in it") }
      // The verdict comes before a failure to remove the file.
      try compareViews(renamed)
      guard unsafe unlink(renamed) == 0 else { throw Failure("remove a file from it") }
    } catch {
      if isNoSpace(error.code) { return warnings + [.noSpace] }
      throw explain(error, directory)
    }
    return warnings
  }

  /// Takes a lock in a directory; where the system refuses that, the probe explains why. The lock
  /// comes first, so that nothing is tried out under a process that holds it.
  public static func explaining<Lock>(
    _ directory: String, _ takeLock: () throws -> Lock
  ) throws -> Lock {
    do {
      return try takeLock()
    } catch let error as SpindleError where error.kind == .io {
      _ = try run(directory)
      throw error
    }
  }

  /// Checks that the real user sees a file that the effective one can open, changing nothing.
  ///
  /// - Throws: As ``run(_:)``; an absent file is no error.
  public static func checkViews(of path: String) throws(SpindleError) {
    guard Files.exists(path) else { return }
    do throws(Failure) {
      try compareViews(path)
    } catch {
      throw explain(error, Files.directory(of: path))
    }
  }

  private struct Failure: Error {
    let step: String
    let code: Int32
    init(_ step: String, errno code: Int32 = errno) {
      self.step = step
      self.code = code
    }
  }

  private static func isNoSpace(_ code: Int32) -> Bool { code == ENOSPC || code == EDQUOT }

  /// - Returns: false when the disk is full; the empty file serves the later steps as well.
  private static func writeFile(_ path: String) throws(Failure) -> Bool {
    let file = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw Failure("create a file in it") }
    defer { close(file) }
    guard flock(file, LOCK_EX | LOCK_NB) == 0 else { throw Failure("lock a file in it") }
    do throws(IOFailure) {
      try Files.write(Array("spindle\n".utf8), to: file, path: path)
    } catch {
      if error.isNoSpace { return false }
      throw Failure("write a file in it", errno: error.code)
    }
    guard fsync(file) == 0 else {
      let code = errno
      if isNoSpace(code) { return false }
      throw Failure("sync a file in it", errno: code)
    }
    return true
  }

  /// Asks the real user id by `access` and the effective one by `open`.
  private static func compareViews(_ path: String) throws(Failure) {
    let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw Failure("open a file in it") }
    close(file)
    // F_OK: the question is whether the file is seen at all, as RocksDB asks it.
    guard unsafe access(path, F_OK) == 0 else {
      throw Failure("see with the real user id what the effective one can open in it")
    }
  }

  private static func explain(_ failure: Failure, _ directory: String) -> SpindleError {
    var status = stat()
    let known = unsafe stat(directory, &status) == 0
    let owner =
      known
      ? "owner \(status.st_uid):\(status.st_gid), mode \(octal(status.st_mode & 0o7777))"
      : "owner and mode unknown"
    return SpindleError(
      .io,
      "the directory \(directory) is not usable: cannot \(failure.step): "
        + "\(unsafe String(cString: strerror(failure.code))) (\(owner); real uid \(getuid()) gid "
        + "\(getgid()), effective uid \(geteuid()) gid \(getegid()))",
      path: directory, reason: "directory_probe")
  }

  private static func inspect(_ directory: String) -> [Warning] {
    var warnings: [Warning] = []
    var status = stat()
    if unsafe stat(directory, &status) == 0, status.st_mode & S_IROTH != 0 {
      warnings.append(.worldReadable(mode: status.st_mode & 0o7777))
    }
    if let bytes = try? mountTable(),
      let name = networkFileSystem(
        holding: UInt64(status.st_dev), of: String(decoding: bytes, as: UTF8.self))
    {
      warnings.append(.networkFileSystem(name))
    }
    return warnings
  }

  private static func mountTable() throws(IOFailure) -> [UInt8] {
    var file = try FileReader("/proc/self/mountinfo")
    return try file.read(mountTableLimit)
  }

  /// Bytes of the table of mounts that are read: some 10,000 lines of 100 bytes.
  private static let mountTableLimit = 1 << 20

  /// The type of the network file system that holds a device, by a table of mounts (proc(5),
  /// mountinfo); nil for any other.
  static func networkFileSystem(holding device: UInt64, of mounts: String) -> String? {
    // The C library keeps both numbers in pieces (makedev(3)).
    let major = device >> 8 & 0xFFF | device >> 32 & 0xFFFF_F000
    let minor = device & 0xFF | device >> 12 & 0xFFFF_FF00
    let number = "\(major):\(minor)"
    for line in mounts.split(separator: "\n") {
      // "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
      let words = line.split(separator: " ")
      guard words.count > 3, words[2] == number, let dash = words.lastIndex(of: "-"),
        dash + 1 < words.count
      else { continue }
      let type = words[dash + 1]
      let isRemote =
        ["nfs", "nfs4", "smb3", "cifs", "afs", "ceph", "9p", "lustre", "gfs2", "ocfs2", "fuse"]
        .contains(type) || type.hasPrefix("fuse.")
      return isRemote ? String(type) : nil
    }
    return nil
  }

  fileprivate static func octal(_ mode: UInt32) -> String {
    let digits = String(mode, radix: 8)
    return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
  }
}
