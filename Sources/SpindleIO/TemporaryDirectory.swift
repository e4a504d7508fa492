import Glibc

/// Directories for scratch files.
public enum TemporaryDirectory {
  /// Makes a new directory under `TMPDIR` (or `/tmp`), readable by this user only.
  public static func make(prefix: String) -> String {
    let base = unsafe getenv("TMPDIR").map { unsafe String(cString: $0) } ?? "/tmp"
    var template = Array("\(base)/\(prefix)-XXXXXX".utf8CString)
    let made = unsafe template.withUnsafeMutableBufferPointer { unsafe mkdtemp($0.baseAddress!) }
    guard let made = unsafe made else { return "\(base)/\(prefix)-\(getpid())" }
    return unsafe String(cString: made)
  }

  /// Removes a directory with all it holds. Failures leave the rest for the next clean-up of the
  /// temporary directory.
  public static func remove(_ path: String) {
    for name in (try? Files.names(in: path)) ?? [] {
      let child = path + "/" + name
      if Files.isDirectory(child) { remove(child) } else { try? Files.remove(child) }
    }
    unsafe rmdir(path)
  }
}
