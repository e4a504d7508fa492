import Glibc
import SpindleIO
import SpindleTestKit
import Synchronization

/// What of a directory would survive a power loss, as its owner tells what it made durable.
///
/// The contents of a file and the names in a directory are durable from their own sync on, and as
/// they were then. The system may have written more; see ``image(keepingNames:)``.
struct DurableTree: Sendable {
  /// A file or directory of a power loss's leavings.
  struct Node: Equatable, Sendable {
    let path: String
    /// nil is a directory.
    var bytes: [UInt8]?
  }

  private struct Entry: Sendable {
    let inode: UInt64
    let isDirectory: Bool
  }

  private let root: String
  /// Durable names by the directory's inode.
  private var names: [UInt64: [String: Entry]] = [:]
  /// Durable contents by inode.
  private var contents: [UInt64: [UInt8]] = [:]
  /// Keeps the inodes from being given to others once the names are gone.
  private let pins = Pins()

  /// Takes all that is there as durable.
  init(_ root: String) throws {
    self.root = root
    try addAll(root)
  }

  private mutating func addAll(_ path: String) throws {
    try synchronizeNames(of: path)
    for name in try Files.names(in: path) {
      let child = path + "/" + name
      if Files.isDirectory(child) { try addAll(child) } else { try setContents(of: child, true) }
    }
  }

  mutating func synchronizeNames(of path: String) throws {
    var entries: [String: Entry] = [:]
    for name in try Files.names(in: path) { entries[name] = try entry(path + "/" + name) }
    names[try entry(path).inode] = entries
  }

  /// Says of every file in a directory that was not seen before whether its contents are durable.
  mutating func addContents(in path: String, areDurable: Bool) throws {
    for name in try Files.names(in: path) { try setContents(of: path + "/" + name, areDurable) }
  }

  private mutating func setContents(of path: String, _ areDurable: Bool) throws {
    let inode = try entry(path).inode
    contents[inode] = areDurable ? try Files.read(path, limit: .max) : nil
  }

  private func entry(_ path: String) throws -> Entry {
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else { throw TestKitError("no \(path): \(errno)") }
    pins.pin(status.st_ino, path)
    return Entry(inode: UInt64(status.st_ino), isDirectory: status.st_mode & S_IFMT == S_IFDIR)
  }

  /// What a power loss may leave.
  ///
  /// - Parameter keepingNames: Whether the system had written all names, as file systems like to do
  ///   before the contents; otherwise none but the durable ones. Contents that are not durable are
  ///   half zeros, half not there.
  func image(keepingNames: Bool) throws -> [Node] {
    var nodes: [Node] = []
    try add(root, "", keepingNames, &nodes)
    return nodes
  }

  private func add(
    _ path: String, _ relative: String, _ keepingNames: Bool, _ nodes: inout [Node],
    inode: UInt64? = nil
  ) throws {
    var entries: [String: Entry] = [:]
    if keepingNames {
      for name in try Files.names(in: path) { entries[name] = try entry(path + "/" + name) }
    } else {
      entries = names[try inode ?? entry(path).inode] ?? [:]
    }
    for (name, entry) in entries.sorted(by: { $0.key < $1.key }) {
      let child = relative + "/" + name
      nodes.append(Node(path: child, bytes: nil))
      if entry.isDirectory {
        try add(path + "/" + name, child, keepingNames, &nodes, inode: entry.inode)
      } else {
        nodes[nodes.count - 1].bytes = contents[entry.inode] ?? [UInt8](repeating: 0, count: 40)
      }
    }
  }

  private final class Pins: Sendable {
    private let files = Mutex<[ino_t: Int32]>([:])

    func pin(_ inode: ino_t, _ path: String) {
      files.withLock { files in
        if files[inode] == nil { files[inode] = unsafe open(path, O_RDONLY | O_CLOEXEC) }
      }
    }

    deinit { files.withLock { for file in $0.values { close(file) } } }
  }
}
