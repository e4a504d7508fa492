internal import Glibc
internal import SpindleCore
internal import SpindleIO
internal import Synchronization

/// The files of a spool on files. `Documentation/Formats/local-disk-spool.md` describes each.
struct LocalDiskDirectory: Sendable {
  let path: String

  init(_ path: String) {
    var trimmed = path
    while trimmed.count > 1, trimmed.hasSuffix("/") { trimmed.removeLast() }
    self.path = trimmed
  }

  /// The last part of the path.
  var name: String { path.split(separator: "/").last.map(String.init) ?? "/" }

  private func child(_ name: String) -> String { path == "/" ? "/" + name : path + "/" + name }
  var lock: String { child("lock") }
  /// What is being written.
  var new: String { child("new") }
  var data: String { child("data") }
  var quarantine: String { child("quarantine") }

  /// What follows an id in the name of the file that holds a reason.
  static let reasonSuffix = ".reason"

  func quarantined(_ id: SpoolID) -> String { "\(quarantine)/\(id)" }
  func reason(_ id: SpoolID) -> String { quarantined(id) + Self.reasonSuffix }

  /// The directories above a message, from `data` down.
  func parents(of id: SpoolID) -> [String] {
    var path = id.directory(under: data)
    var parents = [path]
    for _ in 0..<LocalDiskSpool.depth {
      path = Files.directory(of: path)
      parents.append(path)
    }
    return parents.reversed()
  }

  /// Locks the directory, tries it out and creates what is missing. The lock comes before
  /// anything else is changed; the leftovers of a killed process are removed under it, before a
  /// store can have one.
  ///
  /// - Parameters:
  ///   - isExpected: Whether a spool has to be there already; see ``checkPresence()``.
  ///   - keepsLeftovers: Whether nothing is created and what a killed process left stays as it is,
  ///     for one who only looks.
  func open(
    isExpected: Bool = false, keepsLeftovers: Bool = false
  ) throws -> (lock: FileLock, warnings: [DirectoryProbe.Warning]) {
    guard !Files.exists(path) || Files.isDirectory(path) else {
      throw SpindleError(
        .invalidArgument, "\(path) is not a directory; expected a spool or a new path", path: path)
    }
    if isExpected { try checkPresence() }
    return try withSpindleErrors {
      try Files.createDirectory(path)
      let lock = try DirectoryProbe.explaining(path) { try takeLock() }
      let warnings = try DirectoryProbe.run(path)
      if keepsLeftovers { return (lock, warnings) }
      for part in [new, data, quarantine] { try Files.createDirectory(part) }
      try synchronizeNames()
      try finishRestores()
      try removeLeftovers()
      return (lock, warnings)
    }
  }

  /// Throws where no spool has ever been opened. One name alone, such as `data`, is that of many
  /// directories that are none.
  private func checkPresence() throws {
    guard Files.exists(lock), Files.isDirectory(new), Files.isDirectory(data) else {
      throw SpindleError(
        .notFound, "there is no spool on files at \(path); expected lock, new and data in it",
        path: path)
    }
  }

  /// Makes the names of the parts and of the directory itself durable, whoever made them: a process
  /// that was killed before it did may have.
  private func synchronizeNames() throws(IOFailure) {
    try Files.synchronizeDirectory(path)
    do throws(IOFailure) {
      try Files.synchronizeDirectory(Files.directory(of: path))
    } catch {
      // Where this user may not look, another made the name.
      guard error.code == EACCES else { throw error }
    }
  }

  private func takeLock() throws -> FileLock {
    let taken = try withSpindleErrors { try FileLock.acquire(lock, writesOwner: true) }
    if let taken { return taken }
    let holder = FileLock.owner(lock).map { "process \($0)" } ?? "another process"
    throw SpindleError(
      .unavailable, "the spool \(path) is held by \(holder); stop it, or wait until it ends",
      path: path, reason: "locked")
  }

  /// Ends the restores of a killed process: a message that has its name below `data` again loses
  /// the one in quarantine, once the other survives power loss.
  private func finishRestores() throws(IOFailure) {
    for name in try Files.names(in: quarantine) {
      guard let id = SpoolID(text: name), id.description == name,
        try Files.isSameFile(quarantined(id), id.path(under: data))
      else { continue }
      for parent in parents(of: id) { try Files.synchronizeDirectory(parent) }
      try Files.remove(quarantined(id))
      try Files.synchronizeDirectory(quarantine)
    }
  }

  /// Removes what a killed process was writing, and reasons whose message is not in quarantine.
  /// What cannot be removed is in nobody's way, nor are files that a spool would not name so.
  private func removeLeftovers() throws(IOFailure) {
    for name in try Files.names(in: new) where Self.isTemporary(name) {
      try? Files.remove(new + "/" + name)
    }
    for name in try Files.names(in: quarantine) where name.hasSuffix(Self.reasonSuffix) {
      guard let id = Self.id(named: name.dropLast(Self.reasonSuffix.count)) else { continue }
      if (try? Files.isThere(quarantined(id))) == false { try? Files.remove(reason(id)) }
    }
  }

  /// What a probe is called in `new`, before its number.
  static let probeName = "probe"

  /// Whether a spool gives such a name to a file in `new`: an id, that of a reason or of a probe,
  /// and a number behind it.
  static func isTemporary(_ name: String) -> Bool {
    guard let dot = name.lastIndex(of: "."), dot != name.startIndex else { return false }
    let number = name[name.index(after: dot)...]
    guard !number.isEmpty, number.allSatisfy({ $0.isASCII && $0.isNumber }) else { return false }
    let stem = name[..<dot]
    if stem == probeName { return true }
    return id(named: stem.hasSuffix(reasonSuffix) ? stem.dropLast(reasonSuffix.count) : stem) != nil
  }

  private static func id(named name: Substring) -> SpoolID? {
    guard let id = SpoolID(text: String(name)), id.description == name else { return nil }
    return id
  }
}

extension LocalDiskDirectory {
  /// Counts the messages, for a quota. Files under other names are none.
  func usage() throws(IOFailure) -> SpoolUsage {
    var usage = SpoolUsage()
    try count(data, digits: "", &usage)
    return usage
  }

  private func count(
    _ path: String, digits: String, _ usage: inout SpoolUsage
  ) throws(IOFailure) {
    guard digits.utf8.count == 2 * LocalDiskSpool.depth else {
      for name in try Files.names(in: path) where LocalDiskSpool.isDirectoryName(name) {
        let child = path + "/" + name
        if Files.isDirectory(child) { try count(child, digits: digits + name, &usage) }
      }
      return
    }
    for name in try Files.names(in: path) {
      guard let id = SpoolID(text: digits + name), id.description == digits + name,
        let bytes = try fileBytes(id)
      else { continue }
      usage.bytes += UInt64(SpoolLedger.keyBytes + bytes)
      usage.entries += 1
    }
  }

  /// Counts the messages in quarantine. Files under other names are none.
  func quarantineUsage() throws(IOFailure) -> SpoolUsage {
    var ids: [SpoolID] = []
    try Files.forEachName(in: quarantine) { name in
      if let id = SpoolID(text: name), id.description == name { ids.append(id) }
      return true
    }
    var usage = SpoolUsage()
    for id in ids {
      let bytes = try quarantinedBytes(id)
      usage = usage.changed(by: SpoolLedger.Change(before: nil, after: bytes))
    }
    return usage
  }

  /// Bytes of the file of a message in quarantine and of its reason's; nil when it is not there.
  func quarantinedBytes(_ id: SpoolID) throws(IOFailure) -> Int? {
    guard let bytes = try bytes(at: quarantined(id)) else { return nil }
    return bytes + (try self.bytes(at: reason(id)) ?? 0)
  }

  /// Bytes of a message's file; nil when there is none.
  func fileBytes(_ id: SpoolID) throws(IOFailure) -> Int? { try bytes(at: id.path(under: data)) }

  private func bytes(at path: String) throws(IOFailure) -> Int? {
    do throws(IOFailure) {
      return Int(clamping: try Files.size(path))
    } catch {
      guard error.isNotFound else { throw error }
      return nil
    }
  }
}

/// Runs file operations and turns their failures into errors of the public API.
func withSpindleErrors<Result>(_ body: () throws -> Result) throws -> Result {
  do {
    return try body()
  } catch let failure as IOFailure {
    throw failure.spindleError
  }
}

/// Which innermost directories have names that survive power loss, up to the root.
///
/// A synced store must make durable every directory above its file, whoever created it: perhaps a
/// store that was not synced, or a run that was killed. Those that are known to be durable save
/// four syncs a store.
///
/// Removing a directory ends what is known. It happens under the same lock, so a store either
/// sees the knowledge end or comes before the removal, which then fails.
final class DurableDirectories: Sendable {
  /// 64 KiB of memory. Ids of version 7 need one for each 65 seconds.
  static let limit = 4_096

  private struct State {
    var leaves: Set<UInt32> = []
    /// Counts removals of directories.
    var generation: UInt64 = 0
  }
  private let state = Mutex(State())

  /// To be asked before the first directory of a store is made; see ``insert(_:since:)``.
  var generation: UInt64 { state.withLock { $0.generation } }

  func contains(_ leaf: UInt32) -> Bool { state.withLock { $0.leaves.contains(leaf) } }

  /// Notes a directory, unless one was removed since `generation`: it might have been this.
  func insert(_ leaf: UInt32, since generation: UInt64) {
    state.withLock { state in
      guard state.generation == generation else { return }
      if state.leaves.count >= Self.limit { state.leaves.removeAll(keepingCapacity: true) }
      state.leaves.insert(leaf)
    }
  }

  /// Runs file operations while no directory is removed.
  func withoutRemovals(_ body: () throws(IOFailure) -> Void) throws(IOFailure) {
    try state.withLock { _ throws(IOFailure) in try body() }
  }

  /// Removes a directory when it is empty.
  func removeEmpty(_ path: String) {
    state.withLock { state in
      guard Files.removeEmptyDirectory(path) else { return }
      state.generation += 1
      state.leaves.removeAll(keepingCapacity: true)
    }
  }
}
