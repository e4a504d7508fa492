package import SpindleCore
internal import SpindleIO
internal import SpindleRocks

/// Decides, without writing anything, whether a store's database may be opened.
///
/// The running store needs `paranoid_checks` off, and without it RocksDB 7.8.3 skips damaged log
/// records and keeps later ones: holes, and batches torn across column families. So the log is
/// checked first:
///
/// 1. The manifest's numbers are read, and every log it still needs is scanned once.
/// 2. Nothing found: RocksDB will recover exactly what the scan saw. A torn end of the newest log
///    is normal, except after a clean close.
/// 3. Damage, missing logs, missing or repeated records: refused. Nothing may open the database
///    then, not even for reading: RocksDB is blind to some of it and aborts the process on other.
/// 4. A single missing number that the marker of a cure accounts for is no loss.
/// 5. What remains is judged by opening read-only with paranoid checks on and off: where both see
///    the same newest sequence number, RocksDB skips nothing.
/// 6. The log must reach what was synced (`HIGHWATER`) and what the clean close recorded.
struct OpenProbe {
  struct Result {
    /// The directory holds no database yet.
    var isNew = false
    var tornTailBytes: UInt64 = 0
  }

  private let directory: StoreDirectory

  init(_ directory: StoreDirectory) { self.directory = directory }

  /// - Parameter cleanSequence: What the marker of a clean close recorded, if there is one.
  /// - Throws: ``SpindleError`` with `corruption`, naming file and offset; or `io`.
  func run(cleanSequence: UInt64?) throws(SpindleError) -> Result {
    guard Files.exists(directory.database + "/CURRENT") else {
      try refuseRemains()
      try refuseLostDatabase(cleanSequence: cleanSequence)
      return Result(isNew: true)
    }
    try refuseMissingLogs()
    let inspection = try LogInspection(directory)
    var result = Result()
    if let tail = inspection.scan.files.last?.tornTail {
      result.tornTailBytes = tail.byteCount
      if cleanSequence != nil {
        throw corruption(
          "\(name(tail.fileNumber)) at offset \(tail.offset): the log ends in a torn record, "
            + "although the store was closed cleanly", in: tail.fileNumber)
      }
    }
    let findings = inspection.unexplained
    if findings.contains(where: { $0.judgement == .refuse }) { throw corruption(findings) }
    var opened: UInt64?
    if !findings.isEmpty || inspection.numbers == nil {
      opened = try compareOpens(inspection, findings)
    }
    try checkEnd(inspection, opened: opened, cleanSequence: cleanSequence)
    return result
  }

  /// Files that only a database with a CURRENT file has. A creation that was cut short leaves a
  /// manifest at most.
  private func refuseRemains() throws(SpindleError) {
    guard Files.isDirectory(directory.database) else { return }
    let names = try withSpindleErrors { () throws(IOFailure) in
      try Files.names(in: directory.database)
    }
    let remains = names.first {
      WALFormat.fileNumber($0) != nil || $0.hasSuffix(".sst") || $0.hasSuffix(".blob")
    }
    if let remains {
      throw withoutDatabase(
        "it holds rocks/\(remains) but no CURRENT file, so RocksDB would start an empty database "
          + "over it", file: remains)
    }
  }

  /// From its first open on a database always has a log, be it empty.
  private func refuseMissingLogs() throws(SpindleError) {
    guard Files.exists(directory.highWater) else { return }
    let names = try withSpindleErrors { () throws(IOFailure) in
      try Files.names(in: directory.database)
    }
    guard names.contains(where: { WALFormat.fileNumber($0) != nil }) else {
      throw withoutDatabase("rocks/ holds no write-ahead log", file: "CURRENT")
    }
  }

  private func refuseLostDatabase(cleanSequence: UInt64?) throws(SpindleError) {
    let known = max(directory.readHighWater() ?? 0, cleanSequence ?? 0)
    guard known == 0 else {
      throw withoutDatabase(
        "rocks/ holds no database, but sequence number \(known) was stored in it", file: "CURRENT")
    }
  }

  /// No recovery helps here: what is missing is the database itself.
  private func withoutDatabase(_ detail: String, file: String) -> SpindleError {
    SpindleError(
      .corruption,
      "the store \(directory.path) is damaged: \(detail); nothing was changed",
      path: directory.database + "/" + file)
  }

  // MARK: The slow judge

  /// Opens read-only with and without paranoid checks, and returns the sequence number that both
  /// see.
  private func compareOpens(
    _ inspection: LogInspection, _ findings: [WALFinding]
  ) throws(SpindleError) -> UInt64 {
    let strict: UInt64
    let lenient: UInt64
    do throws(RocksError) {
      strict = try latestSequence(paranoid: true)
      lenient = try latestSequence(paranoid: false)
    } catch {
      if !findings.isEmpty { throw corruption(findings) }
      throw unreadable(inspection.numbersError ?? error)
    }
    guard strict == lenient else {
      if !findings.isEmpty { throw corruption(findings) }
      throw corruption(
        "the write-ahead log is damaged after sequence number \(strict) of \(lenient)", in: nil)
    }
    return strict
  }

  private func latestSequence(paranoid: Bool) throws(RocksError) -> UInt64 {
    var options = DatabaseOptions()
    options.paranoidChecks = paranoid
    let database = try Database(
      at: directory.database, mode: .readOnly, options: options,
      familyOptions: { _ in ColumnFamilyOptions() })
    let sequence = try database.latestSequenceNumber()
    try database.close()
    return sequence
  }

  private func unreadable(_ error: RocksError) -> SpindleError {
    // A missing file is damage too: the manifest names it.
    guard error.kind == .ioError, !error.message.contains("No such file") else {
      return SpindleError(
        .corruption,
        "the store \(directory.path) is damaged: RocksDB cannot read it (\(error.message)); "
          + "nothing was changed", path: directory.database)
    }
    return SpindleError(
      .io, "the store \(directory.path) cannot be read: \(error.message)",
      path: directory.database)
  }

  // MARK: The end of the log

  /// Checks that the log still reaches what was once synced.
  private func checkEnd(
    _ inspection: LogInspection, opened: UInt64?, cleanSequence: UInt64?
  ) throws(SpindleError) {
    let synced = directory.readHighWater() ?? 0
    let required = max(synced, cleanSequence ?? 0)
    let reached = inspection.reachedSequence ?? opened ?? 0
    guard reached < required else { return }
    let reason = synced == required ? "was synced" : "stood at the clean close"
    guard let newest = inspection.scan.files.last else {
      throw corruption(
        "every write-ahead log is missing: the tables reach sequence number \(reached), but "
          + "\(required) \(reason)", in: nil)
    }
    throw corruption(
      "\(name(newest.fileNumber)) at offset \(newest.endOffset): the log lost its end, it reaches "
        + "sequence \(reached), but \(required) \(reason)", in: newest.fileNumber)
  }

  // MARK: Words

  /// As people find the file, seen from the store's directory.
  private func name(_ number: UInt64) -> String { "rocks/" + WALFormat.fileName(number) }

  private func corruption(_ findings: [WALFinding]) -> SpindleError {
    // The worst first: what refuses says more than what the open has to judge.
    guard let first = findings.first(where: { $0.judgement == .refuse }) ?? findings.first else {
      return corruption("the write-ahead log is damaged", in: nil)
    }
    var text = "rocks/" + first.description.dropLast()
    if findings.count > 1 { text += " (and \(findings.count - 1) more findings)" }
    return corruption(text, in: first.fileNumber)
  }

  private func corruption(_ detail: String, in log: UInt64?) -> SpindleError {
    SpindleError(
      .corruption,
      "the store \(directory.path) is damaged: \(detail); nothing was changed, and "
        + "\"spindle check --recover prefix\" keeps what is consistent",
      path: log.map { directory.database + "/" + WALFormat.fileName($0) } ?? directory.database)
  }
}

extension StoreDirectory {
  /// Refuses a database whose write-ahead log is damaged, as an open does. Writes nothing.
  package func checkLog() throws(SpindleError) {
    _ = try OpenProbe(self).run(cleanSequence: readCleanMarker())
  }
}
