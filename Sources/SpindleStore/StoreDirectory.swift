internal import Glibc
package import SpindleCore
package import SpindleIO
internal import Synchronization

/// The files of a store's directory. `Documentation/Formats/store-directory.md` describes each.
package struct StoreDirectory: Sendable {
  /// The version of the directory's layout that this code writes, and the newest it reads.
  package static let formatVersion = 1

  package let path: String

  package init(_ path: String) {
    var trimmed = path
    while trimmed.count > 1, trimmed.hasSuffix("/") { trimmed.removeLast() }
    self.path = trimmed
  }

  package var database: String { path + "/rocks" }
  package var quarantine: String { path + "/quarantine" }
  var format: String { path + "/FORMAT" }
  var owner: String { path + "/owner.pid" }
  var cleanMarker: String { path + "/CLEAN" }
  package var highWater: String { path + "/HIGHWATER" }
  var ballast: String { path + "/BALLAST" }

  /// Names that a directory may hold before it becomes a store: what an interrupted creation
  /// leaves, and what a fresh file system brings.
  private static let allowedBeforeCreation: Set<String> = [
    "FORMAT.tmp", "owner.pid", "lost+found",
  ]

  /// Whether the path holds a store, of whatever format.
  package var isStore: Bool { Files.exists(format) }

  /// The error of a path that holds no store, or none that this user may look at.
  package var missing: SpindleError {
    do throws(IOFailure) {
      // Absence is known only where the directory may be searched.
      _ = try Files.isThere(format)
    } catch {
      if error.code == EACCES || error.code == EPERM { return error.spindleError }
    }
    return SpindleError(
      .notFound, "\(path) is not a Spindle store; expected a directory with a FORMAT file",
      path: path)
  }

  /// Refuses a path that cannot become a store, changing nothing.
  func checkCreatable() throws {
    guard Files.exists(path) else { return }
    guard Files.isDirectory(path) else {
      throw SpindleError(
        .invalidArgument, "\(path) is not a directory; expected a store or a new path", path: path)
    }
    let names = try withSpindleErrors { () throws(IOFailure) in try Files.names(in: path) }
    if let stranger = names.first(where: { name in
      !Self.allowedBeforeCreation.contains(name) && !name.hasPrefix(DirectoryProbe.prefix)
    }) {
      throw SpindleError(
        .invalidArgument,
        "\(path) is not a Spindle store (it has no FORMAT file) and is not empty (it holds "
          + "\"\(printable(stranger))\"); expected a store, an empty directory or a new path",
        path: path)
    }
  }

  /// Removes the files of probes that were killed. The caller owns the directory.
  func removeOldProbes() {
    for name in (try? Files.names(in: path)) ?? [] where name.hasPrefix(DirectoryProbe.prefix) {
      try? Files.remove(path + "/" + name)
    }
  }

  /// Reads and judges the format file.
  package func checkFormat() throws {
    let bytes = try withSpindleErrors { () throws(IOFailure) in
      try Files.read(format, limit: 4096)
    }
    let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    guard lines.first == "spindle store", lines.count >= 2, lines[1].hasPrefix("format "),
      let version = Int(lines[1].dropFirst(7)), version >= 1
    else {
      throw SpindleError(
        .corruption,
        "\(format) is damaged: expected the lines \"spindle store\" and \"format N\"", path: format)
    }
    guard version <= Self.formatVersion else {
      throw SpindleError(
        .unsupportedFormat,
        "\(path) was written in store format \(version) by a newer version of Spindle; this one "
          + "reads up to format \(Self.formatVersion)", path: path)
    }
  }

  /// Takes the owner's lock or says who has it.
  package func lock(writesOwner: Bool) throws -> FileLock {
    // Readers share the lock for as long as they look, which is short; an owner waits for them.
    for _ in 0..<Self.readerPatience {
      let (lock, reader) = try withSpindleErrors { () throws(IOFailure) in
        if let lock = try FileLock.acquire(owner, writesOwner: writesOwner) {
          return (lock as FileLock?, nil as FileLock?)
        }
        return (nil, try FileLock.acquire(owner, writesOwner: false))
      }
      if let lock { return lock }
      // Where the lock can be shared, it is readers that hold it.
      if reader == nil { throw heldByAnother() }
      _ = consume reader
      usleep(20_000)
    }
    throw SpindleError(
      .unavailable, "the store \(path) is being read by another process; try again when it is done",
      path: path, reason: "locked")
  }

  /// How often an owner looks again while readers hold the lock: for 5 s.
  private static let readerPatience = 250

  /// The error of a second opener, with the owner's process id.
  func heldByAnother() -> SpindleError {
    // A reader holds the lock without writing its id; the file then names an owner that is gone.
    let named = FileLock.owner(owner).flatMap { kill($0, 0) == 0 || errno == EPERM ? $0 : nil }
    let holder = named.map { "process \($0)" } ?? "another process"
    return SpindleError(
      .unavailable, "the store \(path) is held by \(holder); stop it, or wait until it ends",
      path: path, reason: "locked")
  }

  /// Makes an empty directory a store. FORMAT comes last, as a whole and synced: a crash before it
  /// leaves a directory that the next creation accepts; after it, a store.
  func create() throws {
    try withSpindleErrors { () throws(IOFailure) in
      try Files.writeAtomically(
        Array("spindle store\nformat \(Self.formatVersion)\n".utf8), to: format)
    }
  }

  /// Creates what may be missing beside FORMAT.
  func createParts() throws {
    try withSpindleErrors { () throws(IOFailure) in
      try Files.createDirectory(database)
      try Files.createDirectory(quarantine)
    }
  }

  // MARK: The marker of a clean close

  /// The sequence number that a clean close recorded; nil after a crash or for a damaged marker.
  func readCleanMarker() -> UInt64? {
    guard let bytes = try? Files.read(cleanMarker, limit: 64) else { return nil }
    return Self.decodeSequence(bytes)
  }

  func writeCleanMarker(sequence: UInt64) throws(IOFailure) {
    try Files.writeAtomically(Self.encodeSequence(sequence), to: cleanMarker)
  }

  /// Must be durable before the first write of a new run: a marker that outlives a crash would
  /// claim a clean end.
  package func removeCleanMarker() throws(IOFailure) {
    guard Files.exists(cleanMarker) else { return }
    try Files.remove(cleanMarker)
    try Files.synchronizeDirectory(path)
  }

  // MARK: High water

  /// The sequence number that was certainly synced; nil when the file is absent or torn. It is
  /// written after each sync and never synced itself, so it may be old, but never ahead.
  package func readHighWater() -> UInt64? {
    guard let bytes = try? Files.read(highWater, limit: 64) else { return nil }
    return Self.decodeSequence(bytes)
  }

  /// A sequence number, 8 bytes big-endian, and the masked CRC32C of those.
  static func encodeSequence(_ sequence: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(sequence)
    bytes.appendBigEndian(CRC32C.mask(CRC32C.checksum(bytes)))
    return bytes
  }

  static func decodeSequence(_ bytes: [UInt8]) -> UInt64? {
    var reader = ByteReader(bytes.span)
    guard bytes.count == 12, let sequence = try? reader.readBigEndian(UInt64.self),
      let stored = try? reader.readBigEndian(UInt32.self),
      CRC32C.mask(CRC32C.checksum(Array(bytes.prefix(8)))) == stored
    else { return nil }
    return sequence
  }

  // MARK: Ballast

  /// Reserves the ballast where there is room for it; too little room is no error.
  func createBallast(bytes: UInt64, space: DiskSpace) {
    let wanted = min(bytes, space.totalBytes / 100)
    guard wanted > 0, !Files.exists(ballast), space.freeBytes / 4 > wanted else { return }
    let file = unsafe open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0o640)
    guard file >= 0 else { return }
    let reserved = posix_fallocate(file, 0, off_t(wanted)) == 0
    close(file)
    if !reserved { try? Files.remove(ballast) }
  }

  func releaseBallast() { try? Files.remove(ballast) }
}

/// The open file of the high-water mark.
final class HighWaterFile: Sendable {
  private let file: Int32
  private let last = Mutex<UInt64>(0)

  init(_ directory: StoreDirectory) throws(IOFailure) {
    file = unsafe open(directory.highWater, O_RDWR | O_CREAT | O_CLOEXEC, 0o640)
    guard file >= 0 else { throw IOFailure("open", path: directory.highWater, errno: errno) }
  }

  deinit { close(file) }

  /// Records that everything up to `sequence` is synced. A failure is harmless: the mark is then
  /// older than the truth.
  func record(_ sequence: UInt64) {
    last.withLock { last in
      guard sequence > last else { return }
      last = sequence
      let bytes = StoreDirectory.encodeSequence(sequence)
      _ = unsafe bytes.withUnsafeBytes { unsafe pwrite(file, $0.baseAddress, $0.count, 0) }
    }
  }
}

/// Runs file operations and turns their failures into errors of the public API.
func withSpindleErrors<Result>(
  _ body: () throws(IOFailure) -> Result
) throws(SpindleError) -> Result {
  do throws(IOFailure) { return try body() } catch { throw error.spindleError }
}
