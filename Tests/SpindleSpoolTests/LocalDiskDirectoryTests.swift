import Glibc
import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

@Suite("The directory of a spool on files", .temporaryDirectory)
struct LocalDiskDirectoryTests {
  /// Opens the spool in a process of other users and tells what it said.
  private func open(
    _ path: String, as ids: String, mode: String = "disk-open"
  ) async throws -> (ending: ChildProcess.Ending, lines: [String]) {
    let child = try ChildProcess(try ChildProcess.builtProgram("CrashWorker"), [mode, path, ids])
    return (try await child.ending(), child.lines)
  }

  // MARK: The probe

  @Test("A-P-1: a read-only file system refuses the spool and the store, naming the step")
  func readOnlyFileSystem() async throws {
    try await withSmallDisk(bytes: 16 << 20) { (disk) async throws in
      let (spool, store) = (disk.path + "/spool", disk.path + "/store")
      try await withDiskSpool(at: spool) { try await $0.put(newIDs.next(), [1]) }
      try await Store.small(at: store).close()
      try await disk.setReadOnly(true)
      let (spoolBefore, storeBefore) = (try FolderState(of: spool), try FolderState(of: store))
      for message in [
        await expectError(.io) { _ = try LocalDiskSpool(path: spool, flush: false) },
        await expectError(.io) { _ = try await Store.small(at: store) },
      ] {
        #expect(message.contains("cannot create a file in it: Read-only file system"))
        #expect(message.contains("effective uid 0"))
      }
      let new = await expectError(.io) {
        _ = try LocalDiskSpool(path: disk.path + "/new/spool", flush: false)
      }
      #expect(new.contains("cannot create the directory \(disk.path)/new"))
      #expect(try FolderState(of: spool) == spoolBefore)
      #expect(try FolderState(of: store) == storeBefore)
      try await disk.setReadOnly(false)
      try await withDiskSpool(at: spool) { (spool) async throws in
        #expect(try await spool.allIDs().count == 1)
      }
    }
  }

  @Test("A-P-2: a directory without the right to write is refused with owner, mode and ids")
  func unwritableDirectory() async throws {
    let path = try TestDirectory.path("spool")
    try Files.createDirectory(path)
    try giveToNobody(path)
    #expect(unsafe chmod(path, 0o500) == 0)
    let (ending, lines) = try await open(path, as: "65534:65534")
    #expect(ending == .exit(3))
    let line = try #require(lines.first)
    #expect(line.hasPrefix("refused io directory_probe the directory \(path) is not usable"))
    #expect(line.contains("cannot create a file in it: Permission denied"))
    #expect(line.contains("owner 65534:65534, mode 0500"))
    #expect(line.contains("real uid 65534") && line.contains("effective uid 65534"))
    #expect(line.contains("gid 0"))
    #expect(try Files.names(in: path) == [])
    #expect(unsafe chmod(path, 0o700) == 0)
    #expect(try await open(path, as: "65534:65534").ending == .exit(0))
  }

  @Test("A-P-3: a file in the directory's place is refused, and missing parents are made")
  func regularFileAndMissingParents() async throws {
    let file = try TestDirectory.path("file")
    try writeFile([1], to: file)
    let message = await expectError(.invalidArgument) {
      _ = try LocalDiskSpool(path: file, flush: false)
    }
    #expect(message.contains("\(file) is not a directory"))
    await expectError(.io) { _ = try LocalDiskSpool(path: file + "/below", flush: false) }
    #expect(try Files.read(file) == [1])
    let deep = try TestDirectory.path("a/b/c/spool/")
    try await withDiskSpool(at: deep) { (spool) async throws in
      #expect(spool.path + "/" == deep)
      try await spool.put(newIDs.next(), [1])
    }
    for part in ["a", "a/b", "a/b/c/spool", "a/b/c/spool/data", "a/b/c/spool/quarantine"] {
      var status = stat()
      let path = try TestDirectory.path(part)
      #expect(unsafe stat(path, &status) == 0)
      #expect(status.st_mode & 0o027 == 0, "\(part)")
    }
  }

  @Test("A-P-4: users that see different things are refused on 0700 and pass on 0755")
  func splitUsers() async throws {
    let path = try TestDirectory.path("spool")
    try Files.createDirectory(path)
    try giveToNobody(path)
    #expect(unsafe chmod(path, 0o700) == 0)
    let (ending, lines) = try await open(path, as: "65533:65534")
    #expect(ending == .exit(3))
    let line = try #require(lines.first)
    #expect(line.contains("see with the real user id what the effective one can open in it"))
    #expect(line.contains("real uid 65533") && line.contains("effective uid 65534"))
    // The lock came first; nothing else was made, and the probe left nothing.
    #expect(try Files.names(in: path) == ["lock"])
    #expect(unsafe chmod(path, 0o755) == 0)
    #expect(try await open(path, as: "65533:65534").ending == .exit(0))
    // The same users on both sides: nothing to see differently.
    #expect(unsafe chmod(path, 0o700) == 0)
    #expect(try await open(path, as: "65534:65534").ending == .exit(0))
  }

  /// RocksDB asks with the real user id whether its database is there. Told no, it would start a
  /// new one over the old.
  @Test("A-P-4: users that see different things in a store's database are refused")
  func splitUsersOfAStore() async throws {
    let path = try TestDirectory.path("store")
    try await Store.small(at: path).close()
    try giveToNobody(path)
    #expect(unsafe chmod(path, 0o755) == 0)
    #expect(unsafe chmod(path + "/rocks", 0o700) == 0)
    let before = try FolderState(of: path).without("owner.pid")
    let (ending, lines) = try await open(path, as: "65533:65534", mode: "disk-store")
    #expect(ending == .exit(3))
    let line = try #require(lines.first)
    #expect(line.hasPrefix("refused io directory_probe the directory \(path)/rocks"))
    #expect(line.contains("see with the real user id what the effective one can open in it"))
    #expect(try FolderState(of: path).without("owner.pid") == before)
    #expect(unsafe chmod(path + "/rocks", 0o755) == 0)
    #expect(try await open(path, as: "65533:65534", mode: "disk-store").ending == .exit(0))
  }

  @Test("A-P-2: a store without the right to write is refused with owner, mode and ids")
  func unwritableStore() async throws {
    let path = try TestDirectory.path("store")
    try await Store.small(at: path).close()
    try Files.remove(path + "/owner.pid")
    try giveToNobody(path)
    #expect(unsafe chmod(path, 0o500) == 0)
    let before = try FolderState(of: path)
    let (ending, lines) = try await open(path, as: "65534:65534", mode: "disk-store")
    #expect(ending == .exit(3))
    #expect(lines.first?.contains("cannot create a file in it: Permission denied") == true)
    #expect(lines.first?.contains("owner 65534:65534, mode 0500") == true)
    #expect(try FolderState(of: path) == before)
  }

  @Test func aDirectoryThatAllMayReadIsToldAndUsed() async throws {
    let path = try TestDirectory.path("spool")
    try Files.createDirectory(path)
    #expect(unsafe chmod(path, 0o755) == 0)
    try await withDiskSpool { (spool) async throws in
      #expect(spool.warnings.count == 1)
      #expect(spool.warnings.first?.contains("mode is 0755") == true)
      try await spool.put(newIDs.next(), [1])
    }
    let store = try TestDirectory.path("store")
    try Files.createDirectory(store)
    #expect(unsafe chmod(store, 0o755) == 0)
    let opened = try await Store.small(at: store)
    let events = opened.events
    try await opened.close()
    let warned = await events.contains {
      if case .directoryWarning(store, let text) = $0 { text.contains("0755") } else { false }
    }
    #expect(warned)
  }

  // MARK: The lock

  @Test("A-L-1: a second open is refused with the holder's process id, and changes nothing")
  func secondOpenIsRefused() async throws {
    let path = try TestDirectory.path("spool")
    try await withDiskSpool { (spool) async throws in
      let id = newIDs.next()
      try await spool.put(id, [1])
      try writeFile([1], to: path + "/new/being written")
      let before = try FolderState(of: path)
      do {
        _ = try LocalDiskSpool(path: path, flush: false)
        Issue.record("a second spool on one directory")
      } catch let error as SpindleError {
        #expect(error.kind == .unavailable)
        #expect(error.reason == "locked")
        #expect(error.message.contains("held by process \(getpid())"))
      }
      let (ending, lines) = try await open(path, as: "")
      #expect(ending == .exit(3))
      #expect(lines.first?.hasPrefix("refused unavailable locked") == true)
      #expect(lines.first?.contains("held by process \(getpid())") == true)
      #expect(try FolderState(of: path) == before)
      #expect(try await spool.load(id) == [1])
      try await spool.put(id, [2])
    }
  }

  @Test("A-L-2: a shutdown, a lost spool and a killed process let go of the lock")
  func lockEndsWithItsHolder() async throws {
    let path = try TestDirectory.path("spool")
    try await withDiskSpool { _ in }
    #expect(try await open(path, as: "").ending == .exit(0))
    do { _ = try LocalDiskSpool(path: path, flush: false) }
    #expect(try await open(path, as: "").ending == .exit(0))
    let child = try ChildProcess(
      try ChildProcess.builtProgram("CrashWorker"), ["disk-hold", path])
    try await child.waitForLines(1)
    let message = await expectError(.unavailable) {
      _ = try LocalDiskSpool(path: path, flush: false)
    }
    #expect(message.contains("process \(child.pid)"))
    _ = try await child.killAndCollect()
    // A stale file without a holder is no lock.
    #expect(try Files.read(path + "/lock") == Array("\(child.pid)\n".utf8))
    try await withDiskSpool { try await $0.put(newIDs.next(), [1]) }
  }

  @Test("A-L-2: a child that outlives the holder does not keep the lock")
  func childrenDoNotKeepTheLock() async throws {
    let path = try TestDirectory.path("spool")
    let child = try ChildProcess(
      try ChildProcess.builtProgram("CrashWorker"), ["disk-spawn", path])
    try await child.waitForLines(2)
    let grandchild = try #require(child.lines.last.flatMap { pid_t($0) })
    defer { kill(grandchild, SIGKILL) }
    // Not collected: its output stays open with the grandchild.
    kill(child.pid, SIGKILL)
    #expect(waitpid(child.pid, nil, 0) == child.pid)
    #expect(kill(grandchild, 0) == 0)
    try await withDiskSpool { try await $0.put(newIDs.next(), [1]) }
  }
}
