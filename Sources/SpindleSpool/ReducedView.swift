internal import SpindleCore
internal import SpindleIO
internal import SpindleRocks

/// A database as it stands, for reading, without some of its tables.
///
/// RocksDB reads a block of every table of level 0 for every iterator, and one of each level above.
/// So a damaged table hides what others hold: with a bad block those keys between the keys of the
/// block, with a bad first block those in front of the table, too, and where it does not open and
/// is of level 0 all. The view is a directory of its own, of symbolic links to tables, blob files
/// and logs and of a copy of the manifest, out of which the tables are taken. The database is
/// neither changed nor held up. What the log holds is read into memory; files that are deleted
/// meanwhile take room until the view is let go.
///
/// An owner may replace files while the view is made. Logs are listed before the manifest is
/// copied, which so names no message as in a table that the view does not have, and tables after
/// it; when one of those is gone after all were opened, the view is made once more.
///
/// A process that is killed leaves the directory, which holds no message, to the next clean-up of
/// the temporary directory.
final class ReducedView {
  /// Files are replaced some times a minute, and a view takes seconds at most.
  static let attemptLimit = 4
  /// Files of a view that are open at a time where nobody deletes them: more than one read needs.
  static let openFileLimit: Int32 = 64

  let database: Database
  let family: ColumnFamily
  private let path: String
  private let source: String
  /// Let go with the view, after its database was closed.
  private let reservation: DescriptorBudget.Reservation?

  /// - Parameter place: The directory in which the view's own is made, of a database whose files
  ///   nobody deletes; nil is the temporary one.
  /// - Throws: when the view cannot be made, such as without a temporary directory, or with more
  ///   tables than the process may have open.
  init(
    of source: String, family name: String, without tables: [UInt64], in place: String?
  ) throws {
    let reservation = place == nil ? try Self.reserveDescriptors(for: source) : nil
    var attempts = 0
    while true {
      attempts += 1
      let path = place.map(Self.freePath) ?? TemporaryDirectory.make(prefix: "spindle-view")
      do {
        if place != nil { try Files.createDirectory(path) }
        let logs = try Self.fill(path, from: source, without: tables)
        try Database.dropTables(tables, at: path)
        let database = try Self.open(path, holdsFiles: place == nil)
        let family = database.columnFamily(named: name)
        // A table that is gone for good is for the reads to find; a log is never.
        let hasTables = try attempts == Self.attemptLimit || Self.hasTables(database, family)
        let hasLogs = logs.allSatisfy { Files.exists(source + "/" + $0) }
        if hasTables, hasLogs, let family {
          self.reservation = reservation
          self.source = source
          self.path = path
          self.database = database
          self.family = family
          return
        }
        try database.close()
        throw SpindleError(
          .unavailable, "no view of \(source) could be made: its files were replaced meanwhile")
      } catch {
        TemporaryDirectory.remove(path)
        guard attempts < Self.attemptLimit else { throw error }
      }
    }
  }

  deinit {
    try? database.close()
    TemporaryDirectory.remove(path)
  }

  /// The error as the database itself would have it: with its own names of files.
  func translated(_ error: RocksError) -> RocksError {
    RocksError(kind: error.kind, message: error.message.replacing(path, with: source))
  }

  private static func freePath(in place: String) -> String {
    var number = 1
    while Files.exists("\(place)/view-\(number)") { number += 1 }
    return "\(place)/view-\(number)"
  }

  /// - Returns: the names of the logs.
  private static func fill(
    _ path: String, from source: String, without tables: [UInt64]
  ) throws(IOFailure) -> [String] {
    let logs = try Files.names(in: source).filter { $0.hasSuffix(".log") }
    for log in logs { try Files.linkSymbolically(source + "/" + log, to: path + "/" + log) }
    // The name in `CURRENT` is that of a manifest that is there already.
    let manifests = try Files.names(in: source).filter { $0.hasPrefix("MANIFEST-") }
    for name in ["CURRENT", "IDENTITY"] + manifests where Files.exists(source + "/" + name) {
      try Files.copy(source + "/" + name, to: path + "/" + name)
    }
    let left = Set(tables.map { Database.tableFileName($0) })
    for name in try Files.names(in: source) where !left.contains(name) {
      guard name.hasSuffix(".sst") || name.hasSuffix(".blob") else { continue }
      do throws(IOFailure) {
        try Files.linkSymbolically(source + "/" + name, to: path + "/" + name)
      } catch {
        // Deleted since it was listed.
        guard error.isNotFound else { throw error }
      }
    }
    return logs
  }

  private static func reserveDescriptors(
    for source: String
  ) throws -> DescriptorBudget.Reservation {
    let count = try Files.names(in: source).count { $0.hasSuffix(".sst") || $0.hasSuffix(".blob") }
    let limit = DescriptorLimit.current
    if let reservation = DescriptorBudget.process.reserve(tables: count, limit: limit) {
      return reservation
    }
    throw SpindleError(
      .unavailable,
      "no view of \(source) was made: the process may have \(limit ?? 0) files open, expected "
        + "four for each of \(count), and half of them not in use by the views of other walks")
  }

  /// - Parameter holdsFiles: Whether all files are opened at once, as their owner may delete them.
  private static func open(_ path: String, holdsFiles: Bool) throws(RocksError) -> Database {
    var options = DatabaseOptions()
    options.blockCacheBytes = 1 << 20
    options.maxOpenFiles = holdsFiles ? -1 : openFileLimit
    return try Database(at: path, mode: .readOnly, options: options) { _ in
      var options = ColumnFamilyOptions()
      options.compression = .none
      return options
    }
  }

  private static func hasTables(
    _ database: Database, _ family: ColumnFamily?
  ) throws(RocksError) -> Bool {
    guard let family else { return false }
    return try database.tableFiles(of: family).allSatisfy {
      Files.exists(database.path + "/" + Database.tableFileName($0.number))
    }
  }
}
