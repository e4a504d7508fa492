internal import CRocksDB
internal import CRocksDBShim

/// Work on the files of a database; where it does not say otherwise nobody may have it open.
extension Database {
  /// The name of a table file in a database's directory.
  public static func tableFileName(_ number: UInt64) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(6 - digits.count, 0)) + digits + ".sst"
  }

  /// What reading a table file as a whole gave.
  public struct TableCheck: Sendable {
    /// What is damaged; nil for a table that is whole.
    public var damage: RocksError?
    /// Entries, and the deletions among them, as the file itself says; nil where that is lost.
    public var entries: UInt64?
    public var deletions: UInt64?

    public init() {}
  }

  /// Opens a table file and checks every block of it. The file must not be cut short while it is
  /// read.
  public static func checkTable(at path: String) -> TableCheck {
    var entries = UInt64.max
    var deletions: UInt64 = 0
    var check = TableCheck()
    do throws(RocksError) {
      try unsafe checked { unsafe spindle_rocks_check_table(path, &entries, &deletions, $0) }
    } catch {
      check.damage = error
    }
    if entries != .max {
      check.entries = entries
      check.deletions = deletions
    }
    return check
  }

  /// The numbers of the tables of each family by the manifest, whether their files are there or
  /// not.
  /// May be asked beside a running owner; nothing is changed.
  ///
  /// - Parameter empty: A directory without files, in the place of the log's, which is not read.
  public static func tablesInManifest(
    at path: String, withoutLogBy empty: String
  ) throws(RocksError) -> [String: Set<UInt64>] {
    var options = DatabaseOptions()
    options.blockCacheBytes = 1 << 20
    // The fewest that RocksDB takes: it opens some at once, and no failure of that is an error.
    options.maxOpenFiles = 20
    options.logDirectory = empty
    let database = try Database(at: path, mode: .readOnly, options: options) { _ in
      var options = ColumnFamilyOptions()
      options.compression = .none
      return options
    }
    var tables: [String: Set<UInt64>] = [:]
    for family in database.columnFamilies {
      tables[family.name] = Set(try database.tableFiles(of: family).map(\.number))
    }
    try database.close()
    return tables
  }

  /// Takes tables, by number, out of the manifest; what they held is no part of the database any
  /// more. Tables of any level can be dropped, and those whose file is missing or damaged. When it
  /// throws, some may be dropped already.
  public static func dropTables(_ numbers: [UInt64], at path: String) throws(RocksError) {
    try unsafe checked { error in
      unsafe numbers.withUnsafeBufferPointer { buffer in
        unsafe spindle_rocks_drop_tables(path, buffer.baseAddress, buffer.count, error)
      }
    }
  }

  /// Puts one database directory in the place of another, and that in the place of the first, in
  /// one step; nobody may have either open.
  ///
  /// - Returns: 0, or the system's error number: 22 where the file system cannot do it.
  public static func exchange(_ one: String, _ other: String) -> Int32 {
    unsafe spindle_rocks_exchange(one, other)
  }
}
