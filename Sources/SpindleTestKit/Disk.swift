internal import Glibc
internal import SpindleIO
private import SpindleRocks
package import SpindleStore

/// A small file system in memory that can be filled up. Needs the right to mount.
public final class SmallDisk: Sendable {
  public let path: String

  /// Mounts a file system of this many bytes on a new folder.
  public static func mount(at path: String, bytes: Int) async throws -> SmallDisk {
    try Files.createDirectory(path)
    let child = try ChildProcess(
      "/bin/mount", ["-t", "tmpfs", "-o", "size=\(bytes)", "spindle-test", path])
    guard try await child.ending() == .exit(0) else {
      throw TestKitError(
        "cannot mount a tmpfs on \(path): run the tests as root, with the right to mount")
    }
    return SmallDisk(path: path)
  }

  private init(path: String) { self.path = path }

  /// Lets nobody write any more, or lets them write again.
  public func setReadOnly(_ isReadOnly: Bool) async throws {
    let option = isReadOnly ? "remount,ro" : "remount,rw"
    let child = try ChildProcess("/bin/mount", ["-o", option, path])
    guard try await child.ending() == .exit(0) else { throw TestKitError("cannot remount \(path)") }
  }

  /// Takes the file system away again.
  public func unmount() async throws {
    let child = try ChildProcess("/bin/umount", [path])
    guard try await child.ending() == .exit(0) else { throw TestKitError("cannot unmount \(path)") }
  }

  /// Fills the disk with a file until nothing more fits, `leaving` aside.
  public func fill(leaving bytes: UInt64 = 0) throws {
    let file = unsafe open(path + "/filler", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw TestKitError("no filler file: \(errno)") }
    defer { close(file) }
    var size = Int64(try DiskSpace(of: path).freeBytes) - Int64(bytes)
    let page = [UInt8](repeating: 1, count: 4096)
    while size > 0 {
      let count = unsafe page.withUnsafeBytes {
        unsafe write(file, $0.baseAddress, min($0.count, Int(size)))
      }
      if count <= 0 { return }
      size -= Int64(count)
    }
  }

  public func removeFiller() throws { try Files.remove(path + "/filler") }
}

/// What a folder holds, to see whether something changed it.
public struct FolderState: Equatable, CustomStringConvertible {
  public struct File: Equatable {
    public var bytes: [UInt8]
    public var modified: Int
  }
  public var files: [String: File] = [:]

  /// Reads a folder with all below it.
  public init(of path: String) throws { try read(path, prefix: "") }

  private mutating func read(_ path: String, prefix: String) throws {
    for name in try Files.names(in: path) {
      let full = path + "/" + name
      var status = stat()
      guard unsafe lstat(full, &status) == 0 else { continue }
      let modified = status.st_mtim.tv_sec * 1_000_000_000 + status.st_mtim.tv_nsec
      if Files.isDirectory(full) {
        files[prefix + name + "/"] = File(bytes: [], modified: modified)
        try read(full, prefix: prefix + name + "/")
      } else {
        files[prefix + name] = File(bytes: try Files.read(full, limit: .max), modified: modified)
      }
    }
  }

  public func without(_ name: String) -> FolderState {
    var copy = self
    copy.files[name] = nil
    return copy
  }

  public var description: String {
    files.keys.sorted().map { "\($0) (\(files[$0]?.bytes.count ?? 0))" }.joined(separator: ", ")
  }
}

/// Copies a folder with all below it, without syncing.
///
/// - Parameter change: Gets each file's path within the folder and its bytes; nil leaves it out.
public func copyFolder(
  _ source: String, to target: String,
  changing change: (String, [UInt8]) -> [UInt8]? = { $1 }
) throws {
  try copyFolder(source, to: target, prefix: "", changing: change)
}

private func copyFolder(
  _ source: String, to target: String, prefix: String,
  changing change: (String, [UInt8]) -> [UInt8]?
) throws {
  try Files.createDirectory(target)
  for name in try Files.names(in: source) {
    let from = source + "/" + name
    if Files.isDirectory(from) {
      try copyFolder(from, to: target + "/" + name, prefix: prefix + name + "/", changing: change)
    } else if let bytes = change(prefix + name, try Files.read(from, limit: .max)) {
      try writeFile(bytes, to: target + "/" + name)
    }
  }
}

extension Store {
  /// Copies the directory as a power loss leaves it: each log is cut where its last sync began.
  package func copyAsAfterPowerLoss(to target: String) throws {
    guard let sizes = guardian?.logSizes else { throw TestKitError("\(path) is only read") }
    let synced = Dictionary(
      uniqueKeysWithValues: sizes.map { (logName($0.logNumber), Int($0.syncedBytes)) })
    try copyFolder(path, to: target) { name, bytes in
      // A log of an earlier run was synced when that run's recovery ended.
      name.hasSuffix(".log") ? Array(bytes.prefix(synced[name] ?? bytes.count)) : bytes
    }
  }

  private func logName(_ number: UInt64) -> String {
    let digits = String(number)
    return "rocks/" + String(repeating: "0", count: max(0, 6 - digits.count)) + digits + ".log"
  }
}

/// Writes a file as a whole.
public func writeFile(_ bytes: [UInt8], to path: String) throws {
  let file = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o640)
  guard file >= 0 else { throw TestKitError("cannot create \(path): \(errno)") }
  defer { close(file) }
  try Files.write(bytes, to: file, path: path)
}

/// The numbered log files of a RocksDB directory, oldest first.
public func logFiles(in database: String) throws -> [String] {
  try Files.names(in: database).filter { $0.hasSuffix(".log") }.map { database + "/" + $0 }
}
