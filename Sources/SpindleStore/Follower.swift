internal import SpindleCore
internal import SpindleIO
internal import SpindleRocks
internal import Synchronization

/// A database that follows its running owner: RocksDB's secondary, which is compared with the
/// manifest.
///
/// A secondary takes a family's new tables over only when all of them open. Where one does not, it
/// shows the tables of before, or none, and says nothing. So the tables that it shows are compared
/// with those that the manifest names. Where one is lacking although the owner changed nothing
/// meanwhile, the secondary is of no use, and ``openMoment(at:options:familyOptions:)`` reads what
/// is intact.
///
/// The owner may replace files at any time. It deletes a log when the manifest names the tables
/// with what was in it, and a table when the manifest names it no more. So whoever lists the logs,
/// then reads the manifest, then opens the tables, has everything that was there at the beginning,
/// unless one of those files is gone right afterwards; then it begins again, with the logs that are
/// left: what was in the others is in tables that the manifest names by then.
final class Follower: Sendable {
  /// How often the secondary is compared, some milliseconds each, until the owner changes nothing
  /// meanwhile: it flushes or compacts some times a second at most.
  private static let comparisonLimit = 16
  /// How often the database of one moment is opened, which reads the whole log, until the owner
  /// deletes no file meanwhile.
  private static let openingLimit = 16

  let database: Database
  private let scratch: String
  /// The manifest when the secondary was compared last and had every table.
  private let compared = Mutex<Manifest?>(nil)

  /// Stands for what a manifest says: it only grows, or is replaced by one of another name.
  private struct Manifest: Equatable {
    let name: String
    let bytes: UInt64

    init(in path: String) throws(IOFailure) {
      let name = String(decoding: try Files.read(path + "/CURRENT", limit: 256), as: UTF8.self)
      self.name = String(name.prefix { !$0.isNewline })
      bytes = try Files.size(path + "/" + self.name)
    }
  }

  /// nil when the secondary does not show all that the manifest names.
  init?(
    at path: String, options: DatabaseOptions, familyOptions: (String) -> ColumnFamilyOptions
  ) {
    var options = options
    // All files at once: their owner may delete them.
    options.maxOpenFiles = -1
    scratch = TemporaryDirectory.make(prefix: "spindle-follow")
    do {
      // Stands for the log's directory where the log is not to be read.
      try Files.createDirectory(scratch + "/empty")
      database = try Database(
        at: path, mode: .secondary(scratch: scratch), options: options,
        familyOptions: familyOptions)
    } catch {
      // What keeps it from opening keeps it from opening otherwise, too, and is told there.
      TemporaryDirectory.remove(scratch)
      return nil
    }
    if (try? catchUp()) == true { return }
    try? database.close()
    removeScratch()
    return nil
  }

  /// To be called when the database is closed.
  func removeScratch() { TemporaryDirectory.remove(scratch) }

  /// Moves on to what the owner has written. Blocks.
  ///
  /// - Returns: Whether it shows everything that was there when it was called.
  func catchUp() throws -> Bool {
    let path = database.path
    var logs = try Files.logs(in: path)
    var attempts = 0
    while attempts < Self.comparisonLimit {
      attempts += 1
      do {
        logs = Files.stillThere(logs, in: path)
        let manifest = try Manifest(in: path)
        try database.catchUpWithPrimary()
        // What was replayed may be deleted from now on.
        guard Files.stillThere(logs, in: path) == logs else { continue }
        let wasCompared = compared.withLock { $0 } == manifest
        let isKnown = try wasCompared && Manifest(in: path) == manifest
        if !isKnown, try lacksTables() {
          // Damaged, unless the owner has moved on since it was caught up with.
          if try Manifest(in: path) == manifest { return false }
          continue
        }
        compared.withLock { $0 = manifest }
        return true
      } catch {
        // Such as a file that was replaced while it was read.
        guard attempts < Self.comparisonLimit else { throw error }
      }
    }
    return false
  }

  private func lacksTables() throws(RocksError) -> Bool {
    let named = try Database.tablesInManifest(
      at: database.path, withoutLogBy: scratch + "/empty")
    for family in database.columnFamilies {
      let shown = try database.tableFiles(of: family).map(\.number)
      if !(named[family.name] ?? []).isSubset(of: shown) { return true }
    }
    return false
  }

  /// Opens the database of a running owner as it is at one moment: damaged tables are met by the
  /// reads of their keys.
  ///
  /// - Throws: `RocksError`, `IOFailure`, or ``SpindleError`` with `unavailable` when the owner
  ///   replaced files at each attempt.
  static func openMoment(
    at path: String, options: DatabaseOptions, familyOptions: (String) -> ColumnFamilyOptions
  ) throws -> Database {
    var options = options
    // All files at once: their owner may delete them.
    options.maxOpenFiles = -1
    var missing: Set<UInt64> = []
    var logs = try Files.logs(in: path)
    for attempt in 1...openingLimit {
      do {
        logs = Files.stillThere(logs, in: path)
        let database = try Database(
          at: path, mode: .readOnly, options: options, familyOptions: familyOptions)
        let absent = try absentTables(of: database)
        // One that was missing already when a manifest named it once more is gone for good, which
        // is for the reads to find; a log never is.
        if absent.isSubset(of: missing), Files.stillThere(logs, in: path) == logs {
          return database
        }
        missing = absent
        try database.close()
      } catch {
        guard attempt < openingLimit else { throw error }
      }
    }
    throw SpindleError(
      .unavailable, "the store's files were replaced by its owner while they were opened",
      path: path)
  }

  private static func absentTables(of database: Database) throws(RocksError) -> Set<UInt64> {
    var absent: Set<UInt64> = []
    for family in database.columnFamilies {
      for table in try database.tableFiles(of: family) {
        let name = Database.tableFileName(table.number)
        if !Files.exists(database.path + "/" + name) { absent.insert(table.number) }
      }
    }
    return absent
  }
}

extension Store {
  /// Moves a reader beside a running owner on to what was written since.
  ///
  /// - Returns: false where tables are damaged, so that it cannot move on: all that is intact is
  ///   shown by opening the store anew, and reads tell what is not.
  package func catchUp() async throws -> Bool {
    try await blocking {
      do {
        return try self.follower?.catchUp() ?? false
      } catch let error as RocksError {
        throw error.spindleError
      } catch let error as IOFailure {
        throw error.spindleError
      }
    }
  }
}

extension Files {
  fileprivate static func logs(in path: String) throws(IOFailure) -> [String] {
    try names(in: path).filter { $0.hasSuffix(".log") }
  }

  fileprivate static func stillThere(_ names: [String], in path: String) -> [String] {
    names.filter { exists(path + "/" + $0) }
  }
}
