internal import SpindleCore
internal import SpindleIO
internal import SpindleRocks

/// Finds out whether a part works again: a write, a sync of the log, a read and a delete of a key
/// that no part uses; then every table file that an error named is read again.
///
/// Time alone cannot tell a healed disk from one that nobody has tried.
///
/// Crash windows. Between the write and the delete a crash leaves the probe's key. A spool takes
/// it for what it is, a key that is no id; in `default` no other key has its name. The next probe
/// writes over it and deletes it.
struct GateProbe {
  /// In `default`, for the kinds of families whose keys are all their own.
  static let storeKey: [UInt8] = Array("gate-probe".utf8)

  private static let storeIsGone = "the store is closing or refuses writes"

  enum Failure: Error {
    /// The family, or the store, still fails.
    case failed(SpindleError)
    /// Not tried to the end: RocksDB is stalled, or the store is closing. It may be tried again at
    /// once.
    case interrupted(String)
  }

  let database: Database
  let engine: CommitEngine
  let family: StoreFamily
  /// Asked about every 4 MiB while tables are read; false ends the probe. Whatever else must be
  /// looked at in time is looked at there.
  let isContinued: () -> Bool

  /// Runs on a thread that may block. A read that fails is recorded by the family's gate.
  ///
  /// - Complexity: O(tables of the family + bytes of the suspected ones), or O(bytes of the
  ///   family) where none of them is known.
  func run(rereading suspects: GateSuspects) throws(Failure) {
    try writeAndRead()
    if suspects.isEmpty { return }
    let tables = try reading { () throws(RocksError) in
      try database.tableFiles(of: family.columnFamily)
    }
    // Every table, not the suspected ones alone: an iterator over a range reads ahead in whatever
    // table overlaps it, and that ends the process on a table that was cut short while it was open,
    // where assertions are compiled in as in Debian's build.
    for table in tables { try checkSize(of: table) }
    let known = tables.filter { suspects.files.contains($0.number) }
    // A suspect that is not among the tables was compacted since; where its keys are now is not
    // known.
    if suspects.includesWholeFamily || known.count < suspects.files.count {
      return try read(IterationOptions())
    }
    for table in known {
      try read(IterationOptions(lowerBound: table.smallestKey, upperBound: table.largestKey + [0]))
    }
  }

  private func writeAndRead() throws(Failure) {
    let isSpool = family.isSpool
    let home = isSpool ? family.columnFamily : database.columnFamilies.first { $0.id == 0 }
    guard let home else { throw .interrupted(Self.storeIsGone) }
    let key = isSpool ? StoreFamily.probeKey : Self.storeKey
    let value = Array("probe".utf8)
    var put = WriteRecord()
    put.put(home.id, key: key.span, value: value.span)
    try write(put)
    if let error = engine.syncLog() { throw .failed(error) }
    let isFound = try reading { () throws(RocksError) in
      // Where the probe was written elsewhere, the family itself must read too.
      if !isSpool { _ = try database.get(family.columnFamily, key.span) }
      guard let stored = try database.get(home, key.span) else { return false }
      return bytesEqual(stored.bytes, value.span)
    }
    guard isFound else {
      throw .failed(SpindleError(.corruption, "a probe that was written is not read back"))
    }
    var delete = WriteRecord()
    delete.delete(home.id, key: key.span)
    try write(delete)
  }

  private func write(_ record: WriteRecord) throws(Failure) {
    var record = record
    let isWritten: Bool
    do {
      isWritten = try engine.writeInline(&record)
    } catch {
      throw .failed(error as? SpindleError ?? SpindleError(.unavailable, "\(error)"))
    }
    if !isWritten { throw .interrupted("RocksDB is stalled and does not accept the probe") }
  }

  /// RocksDB reads ahead into memory that it does not clear. Of a file that was cut short it may
  /// find there the very block that it read, or wrote, before, with the right checksum.
  private func checkSize(of table: Database.TableFile) throws(Failure) {
    let path = database.path + "/" + Database.tableFileName(table.number)
    try reading { () throws(RocksError) in
      let size: UInt64
      do throws(IOFailure) {
        size = try Files.size(path)
      } catch {
        // A compaction may have deleted it since the tables were listed.
        if error.isNotFound, try !isListed(table) { return }
        throw RocksError(message: "IO error: \(error)")
      }
      guard size == table.bytes else {
        throw RocksError(
          message: "Corruption: \(path) has \(size) bytes, expected \(table.bytes)")
      }
    }
  }

  private func isListed(_ table: Database.TableFile) throws(RocksError) -> Bool {
    try database.tableFiles(of: family.columnFamily).contains { $0.number == table.number }
  }

  private func read(_ range: IterationOptions) throws(Failure) {
    var options = range
    options.fillsCache = false
    options.readaheadBytes = 2 << 20
    // The walk is for errors, and would otherwise pass by a table that does not open.
    options.ignoresRangeDeletions = true
    let isComplete = try reading { () throws(RocksError) in
      var iterator = try database.iterator(family.columnFamily, options)
      iterator.seekToFirst()
      var bytes = 0
      while iterator.isValid {
        bytes += iterator.key.count + iterator.value.count
        if bytes > 4 << 20 {
          bytes = 0
          guard isContinued() else { return false }
        }
        iterator.next()
      }
      try iterator.checkStatus()
      return true
    }
    if !isComplete { throw .interrupted(Self.storeIsGone) }
  }

  private func reading<Result>(
    _ body: () throws(RocksError) -> Result
  ) throws(Failure) -> Result {
    do throws(RocksError) {
      return try body()
    } catch {
      family.health.record(error)
      throw .failed(error.spindleError)
    }
  }
}
