import Glibc
import SpindleCore
import SpindleIO
import Testing

/// Gives a new directory to the body and removes it.
func withDirectory<Result>(_ body: (String) throws -> Result) throws -> Result {
  let path = TemporaryDirectory.make(prefix: "spindle-io")
  defer { TemporaryDirectory.remove(path) }
  return try body(path)
}

/// Checks that a call fails with this number of the operating system and names the path.
func expectFailure(
  _ code: Int32, naming path: String, location: SourceLocation = #_sourceLocation,
  _ body: () throws -> Void
) {
  do {
    try body()
    Issue.record("no failure", sourceLocation: location)
  } catch let failure as IOFailure {
    #expect(failure.code == code, "\(failure)", sourceLocation: location)
    #expect(failure.description.contains(path), "\(failure)", sourceLocation: location)
  } catch {
    Issue.record("\(error)", sourceLocation: location)
  }
}

@Suite("Files")
struct FilesTests {
  @Test func anAtomicWriteReplacesTheWholeFileAndLeavesNoOther() throws {
    try withDirectory { directory in
      let path = directory + "/state"
      try Files.writeAtomically(Array("long old content".utf8), to: path)
      try Files.writeAtomically(Array("new".utf8), to: path)
      #expect(try Files.read(path) == Array("new".utf8))
      #expect(try Files.names(in: directory) == ["state"])
      try Files.writeAtomically([], to: path)
      #expect(try Files.read(path) == [])
      #expect(try Files.size(path) == 0)
    }
  }

  @Test func aLeftoverOfACutWriteIsOverwritten() throws {
    try withDirectory { directory in
      let path = directory + "/state"
      try Files.writeAtomically(Array(repeating: 1, count: 5_000), to: path + ".tmp")
      try Files.writeAtomically([2], to: path)
      #expect(try Files.read(path) == [2])
      #expect(!Files.exists(path + ".tmp"))
    }
  }

  @Test func aFailedAtomicWriteKeepsTheOldFileAndNamesThePath() throws {
    try withDirectory { directory in
      let missing = directory + "/missing/state"
      expectFailure(ENOENT, naming: missing) { try Files.writeAtomically([1], to: missing) }
      // A directory cannot be replaced by a file.
      let taken = directory + "/taken"
      try Files.createDirectory(taken)
      expectFailure(EISDIR, naming: taken) { try Files.writeAtomically([1], to: taken) }
      #expect(try Files.names(in: directory) == ["taken"])
    }
  }

  @Test func aCopyIsEqualAndNeverReplaces() throws {
    try withDirectory { directory in
      var random = SeededGenerator(seed: 3)
      // More than two of the pieces that are copied at a time.
      let bytes = (0..<(2_500_000 / 8)).flatMap { _ in
        var piece: [UInt8] = []
        piece.appendBigEndian(random.next())
        return piece
      }
      let (source, target) = (directory + "/source", directory + "/target")
      try Files.writeAtomically(bytes, to: source)
      try Files.copy(source, to: target)
      #expect(try Files.read(target, limit: .max) == bytes)
      try Files.writeAtomically([1], to: source)
      expectFailure(EEXIST, naming: target) { try Files.copy(source, to: target) }
      #expect(try Files.size(target) == UInt64(bytes.count))
    }
  }

  @Test func aFailedCopyLeavesNoTarget() throws {
    try withDirectory { directory in
      let target = directory + "/target"
      expectFailure(ENOENT, naming: directory + "/source") {
        try Files.copy(directory + "/source", to: target)
      }
      // A directory opens for reading, and then cannot be read.
      expectFailure(EISDIR, naming: directory) { try Files.copy(directory, to: target) }
      #expect(!Files.exists(target))
    }
  }

  @Test func namesAreSortedAndComplete() throws {
    try withDirectory { directory in
      #expect(try Files.names(in: directory) == [])
      let long = String(repeating: "n", count: 255)
      for name in ["b", "a", "c.d", ".hidden", long] {
        try Files.writeAtomicallyShort(directory + "/" + name)
      }
      #expect(try Files.names(in: directory) == [".hidden", "a", "b", "c.d", long])
      expectFailure(ENOTDIR, naming: directory + "/a") {
        _ = try Files.names(in: directory + "/a")
      }
    }
  }

  @Test func readingIsBoundedByItsLimit() throws {
    try withDirectory { directory in
      try Files.writeAtomically(Array(0..<100), to: directory + "/file")
      #expect(try Files.read(directory + "/file", limit: 10) == Array(0..<10))
      #expect(try Files.read(directory + "/file", limit: 0) == [])
      expectFailure(ENOENT, naming: directory + "/none") {
        _ = try Files.read(directory + "/none")
      }
    }
  }

  @Test func directoriesAreMadeWithTheirParents() throws {
    try withDirectory { directory in
      try Files.createDirectory(directory + "/a/b/c")
      try Files.createDirectory(directory + "/a/b/c")
      #expect(Files.isDirectory(directory + "/a/b/c"))
      try Files.writeAtomically([1], to: directory + "/file")
      expectFailure(ENOTDIR, naming: directory + "/file") {
        try Files.createDirectory(directory + "/file")
      }
    }
  }

  @Test(arguments: [("/a/b", "/a"), ("/a", "/"), ("a", "."), ("a/b", "a"), ("/a/b/", "/a/b")])
  func theParentIsWhatStandsBeforeTheLastSlash(path: String, parent: String) {
    #expect(Files.directory(of: path) == parent)
  }

  @Test func removingWhatIsNotThereIsNoError() throws {
    try withDirectory { directory in
      try Files.writeAtomically([1], to: directory + "/file")
      try Files.remove(directory + "/file")
      try Files.remove(directory + "/file")
      #expect(!Files.exists(directory + "/file"))
      try Files.createDirectory(directory + "/folder")
      expectFailure(EISDIR, naming: "/folder") { try Files.remove(directory + "/folder") }
    }
  }

  @Test func temporaryDirectoriesAreNewAndGoWithAllTheyHold() throws {
    let first = TemporaryDirectory.make(prefix: "spindle-io")
    let second = TemporaryDirectory.make(prefix: "spindle-io")
    #expect(first != second)
    try Files.createDirectory(first + "/deep/er")
    try Files.writeAtomically([1], to: first + "/deep/er/file")
    TemporaryDirectory.remove(first)
    TemporaryDirectory.remove(second)
    #expect(!Files.exists(first))
    #expect(!Files.exists(second))
  }

  @Test func failuresTellWhatTheCallerMayDo() {
    let full = IOFailure("write to", path: "/x/y", errno: ENOSPC)
    #expect(full.description == "cannot write to /x/y: No space left on device")
    #expect(full.spindleError.kind == .io)
    #expect(full.spindleError.reason == "disk_full")
    #expect(full.spindleError.path == "/x/y")
    let missing = IOFailure("open", path: "/x", errno: ENOENT)
    #expect(missing.spindleError.kind == .notFound)
    #expect(missing.spindleError.reason == nil)
    #expect(IOFailure("open", path: "/x", errno: EDQUOT).isNoSpace)
  }
}

extension Files {
  /// A file whose name leaves no room for the ".tmp" of an atomic write.
  static func writeAtomicallyShort(_ path: String) throws {
    let file = unsafe open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw IOFailure("create", path: path, errno: errno) }
    defer { close(file) }
    try write([1], to: file, path: path)
  }
}

@Suite("Locks and free space")
struct FileLockTests {
  @Test func aLockExcludesOthersAndNamesItsOwner() throws {
    try withDirectory { directory in
      let path = directory + "/LOCK"
      var first = try FileLock.acquire(path, writesOwner: true)
      #expect(first != nil)
      #expect(first?.path == path)
      #expect(FileLock.owner(path) == getpid())
      #expect(try FileLock.acquire(path, writesOwner: true) == nil)
      #expect(try FileLock.acquire(path, writesOwner: false) == nil)
      #expect(FileLock.owner(path) == getpid())
      first = nil
      // The file stays, and with it the name of who held it last.
      #expect(try FileLock.acquire(path, writesOwner: true) != nil)
    }
  }

  @Test func aLockIsReleasedWhoeverStillHasIt() throws {
    try withDirectory { directory in
      let path = directory + "/LOCK"
      let lock = try #require(try FileLock.acquire(path, writesOwner: true))
      lock.release()
      let next = try FileLock.acquire(path, writesOwner: true)
      #expect(next != nil)
      // The descriptor may be another's by now.
      lock.release()
      #expect(try FileLock.acquire(path, writesOwner: true) == nil)
      withExtendedLifetime((lock, next)) {}
    }
  }

  @Test func aReaderKeepsOwnersOutAndChangesNothing() throws {
    try withDirectory { directory in
      let path = directory + "/LOCK"
      expectFailure(ENOENT, naming: path) { _ = try FileLock.acquire(path, writesOwner: false) }
      try Files.writeAtomically(Array("4711\n".utf8), to: path)
      let reader = try FileLock.acquire(path, writesOwner: false)
      #expect(reader != nil)
      #expect(try FileLock.acquire(path, writesOwner: true) == nil)
      #expect(FileLock.owner(path) == 4711)
      withExtendedLifetime(reader) {}
    }
  }

  @Test(arguments: ["", "no number", "-1", "99999999999999999999"])
  func anOwnerThatIsNoNumberIsUnknown(content: String) throws {
    try withDirectory { directory in
      try Files.writeAtomically(Array(content.utf8), to: directory + "/LOCK")
      #expect(FileLock.owner(directory + "/LOCK") == nil)
    }
    #expect(FileLock.owner("/nowhere/LOCK") == nil)
  }

  @Test func aSymbolicLinkLeadsToItsFileFromAnywhere() throws {
    try withDirectory { directory in
      try Files.writeAtomically([1, 2], to: directory + "/file")
      try Files.createDirectory(directory + "/other")
      let link = directory + "/other/link"
      // A name that holds for this place alone.
      try Files.linkSymbolically(directory + "/other/../file", to: link)
      try Files.move(link, to: directory + "/link")
      #expect(try Files.read(directory + "/link") == [1, 2])
      expectFailure(EEXIST, naming: directory + "/link") {
        try Files.linkSymbolically(directory + "/file", to: directory + "/link")
      }
      expectFailure(ENOENT, naming: directory + "/none") {
        try Files.linkSymbolically(directory + "/none", to: link)
      }
      TemporaryDirectory.remove(directory + "/other")
      #expect(try Files.read(directory + "/file") == [1, 2])
    }
  }

  @Test func freeSpaceIsPartOfTheWhole() throws {
    try withDirectory { directory in
      let space = try DiskSpace(of: directory)
      #expect(space.totalBytes > 1 << 20)
      #expect(space.freeBytes <= space.totalBytes)
      #expect(space.totalInodes == 0 || space.freeInodes <= space.totalInodes)
    }
    expectFailure(ENOENT, naming: "/nowhere") { _ = try DiskSpace(of: "/nowhere") }
  }
}
