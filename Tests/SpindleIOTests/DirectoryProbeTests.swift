import Glibc
import SpindleCore
import Testing

@testable import SpindleIO

@Suite("The probe of a directory")
struct DirectoryProbeTests {
  @Test func aGoodDirectoryPassesAndKeepsNothing() throws {
    try withDirectory { directory in
      for _ in 0..<3 {
        let warnings = try DirectoryProbe.run(directory)
        #expect(warnings.isEmpty)
      }
      let names = try Files.names(in: directory)
      #expect(names.isEmpty)
    }
  }

  @Test("What every user may read is told", arguments: [0o755, 0o704, 0o750, 0o711, 0o700])
  func openModesAreTold(mode: UInt32) throws {
    try withDirectory { directory in
      #expect(unsafe chmod(directory, mode) == 0)
      let expected: [DirectoryProbe.Warning] = mode & 4 == 4 ? [.worldReadable(mode: mode)] : []
      let warnings = try DirectoryProbe.run(directory)
      #expect(warnings == expected)
    }
  }

  @Test("A-P-3: what is no directory is refused, naming the step")
  func aFileIsRefused() throws {
    try withDirectory { directory in
      let path = directory + "/file"
      try Files.writeAtomically([1], to: path)
      for path in [path, directory + "/missing"] {
        let error = #expect(throws: SpindleError.self) { try DirectoryProbe.run(path) }
        #expect(error?.kind == .io)
        #expect(error?.reason == "directory_probe")
        #expect(error?.message.contains("cannot create a file in it") == true)
        #expect(error?.message.contains(path) == true)
      }
      #expect(try Files.names(in: directory) == ["file"])
    }
  }

  @Test("The probe explains a lock that the system refuses, and only that")
  func locksComeFirst() throws {
    try withDirectory { directory in
      let (lock, warnings) = try DirectoryProbe.run(directory) {
        try Files.names(in: directory)
      }
      #expect(lock.isEmpty)
      #expect(warnings.isEmpty)
      // Held by another: nothing was tried in the directory.
      let held = #expect(throws: SpindleError.self) {
        try DirectoryProbe.run(directory + "/missing") {
          throw SpindleError(.unavailable, "held")
        }
      }
      #expect(held?.message == "held")
      let refused = #expect(throws: SpindleError.self) {
        try DirectoryProbe.run(directory + "/missing") { throw SpindleError(.io, "no lock") }
      }
      #expect(refused?.reason == "directory_probe")
      // What the probe cannot explain stays as it is.
      let other = #expect(throws: SpindleError.self) {
        try DirectoryProbe.run(directory) { throw SpindleError(.io, "no lock") }
      }
      #expect(other?.message == "no lock")
    }
  }

  @Test(
    "Network file systems are known by the table of mounts",
    arguments: [
      ("8:1", "ext4", nil), ("0:45", "nfs4", "nfs4"), ("0:45", "fuse.sshfs", "fuse.sshfs"),
      ("0:45", "cifs", "cifs"), ("0:45", "tmpfs", nil), ("259:70000", "9p", "9p"),
    ] as [(String, String, String?)])
  func networkFileSystems(number: String, type: String, expected: String?) throws {
    let parts = number.split(separator: ":").compactMap { UInt64($0) }
    // As makedev(3) joins them.
    let device =
      (parts[0] & 0xFFF) << 8 | (parts[0] & ~0xFFF) << 32 | parts[1] & 0xFF
      | (parts[1] & ~0xFF) << 12
    let table = """
      22 1 7:7 / / rw - ext4 /dev/root rw
      cut short
      36 35 \(number) / /mnt rw,noatime shared:1 - \(type) server:/share rw
      """
    #expect(DirectoryProbe.networkFileSystem(holding: device, of: table) == expected)
    #expect(DirectoryProbe.networkFileSystem(holding: 1, of: table) == nil)
    #expect(DirectoryProbe.networkFileSystem(holding: device, of: "") == nil)
  }

  @Test func aFileSeenByBothIDsPasses() throws {
    try withDirectory { directory in
      try DirectoryProbe.checkViews(of: directory + "/missing")
      try Files.writeAtomically([1], to: directory + "/CURRENT")
      try DirectoryProbe.checkViews(of: directory + "/CURRENT")
    }
  }
}

@Suite("Names and readers of files")
struct FileNameTests {
  @Test func aNewFileHoldsItsPartsAndReplacesNothing() throws {
    try withDirectory { directory in
      let path = directory + "/entry"
      try Files.create(path, parts: [[1, 2], [], [3]], sync: true)
      #expect(try Files.read(path) == [1, 2, 3])
      expectFailure(EEXIST, naming: path) { try Files.create(path, parts: [[4]], sync: false) }
      #expect(try Files.read(path) == [1, 2, 3])
      var file = try FileReader(path)
      #expect(file.size == 3)
      #expect(try file.read(2) == [1, 2])
      #expect(try file.read(9) == [3])
      #expect(try file.read(1) == [])
    }
  }

  @Test func onlyRegularFilesAreRead() throws {
    try withDirectory { directory in
      expectFailure(EISDIR, naming: directory) { _ = try FileReader(directory) }
      let pipe = directory + "/pipe"
      #expect(unsafe mkfifo(pipe, 0o600) == 0)
      expectFailure(EINVAL, naming: pipe) { _ = try FileReader(pipe) }
      let link = directory + "/link"
      #expect(unsafe symlink("pipe", link) == 0)
      expectFailure(ELOOP, naming: link) { _ = try FileReader(link) }
      expectFailure(ENOENT, naming: "missing") { _ = try FileReader(directory + "/missing") }
    }
  }

  @Test func namesMoveAndDoubleAndVanish() throws {
    try withDirectory { directory in
      let (a, b, folder) = (directory + "/a", directory + "/b", directory + "/folder")
      try Files.create(a, parts: [[1]], sync: false)
      try Files.create(b, parts: [[2]], sync: false)
      expectFailure(EEXIST, naming: b) { try Files.link(a, to: b) }
      try Files.move(a, to: b)
      #expect(try Files.read(b) == [1])
      expectFailure(ENOENT, naming: a) { try Files.move(a, to: b) }
      try Files.link(b, to: a)
      #expect(try Files.read(a) == [1])
      #expect(try Files.makeDirectory(folder))
      #expect(try Files.makeDirectory(folder) == false)
      try Files.move(a, to: folder + "/a")
      #expect(!Files.removeEmptyDirectory(folder))
      try Files.remove(folder + "/a")
      #expect(Files.removeEmptyDirectory(folder))
      expectFailure(ENOENT, naming: folder) { try Files.makeDirectory(folder + "/deep") }
    }
  }

  @Test func theOwnersFileIsLeftAloneByCleaners() throws {
    try withDirectory { directory in
      let path = directory + "/lock"
      let lock = try FileLock.acquire(path, writesOwner: true)
      #expect(lock != nil)
      var status = stat()
      #expect(unsafe stat(path, &status) == 0)
      #expect(status.st_mode & S_ISVTX != 0)
    }
  }
}
