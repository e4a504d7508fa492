internal import SpindleCore
internal import SpindleIO
internal import SpindleRocks

/// Decides, without writing anything, whether a store's database may be opened.
///
/// The running store needs `paranoid_checks` off, and without it RocksDB 7.8.3 skips damaged log
/// records and keeps later ones: holes, and batches torn across column families. So the log is
/// checked first. The direct scan reads every block once; only where it cannot judge by itself the
/// slow way follows: opening read-only with paranoid checks on and off, and comparing what they
/// see.
struct OpenProbe {
  struct Result {
    /// The directory holds no database yet.
    var isNew = false
    var tornTailBytes: UInt64 = 0
  }

  private let directory: StoreDirectory

  init(_ directory: StoreDirectory) { self.directory = directory }

  /// - Parameter cleanSequence: What the marker of a clean close recorded, if there is one.
  /// - Throws: ``SpindleError`` with `corruption`, naming file and offset.
  func run(cleanSequence: UInt64?) throws -> Result {
    guard Files.exists(directory.database + "/CURRENT") else {
      try refuseRemains()
      try refuseLostDatabase(cleanSequence: cleanSequence)
      return Result(isNew: true)
    }
    try refuseMissingLogs()
    let scan = try scanLogs()
    var result = Result()
    switch scan.verdict {
    case .clean: break
    case .tornTail(let tail):
      result.tornTailBytes = tail.byteCount
      if cleanSequence != nil {
        throw corruption(
          "\(name(tail.fileNumber)) ends in a torn record at offset \(tail.offset), although the "
            + "store was closed cleanly")
      }
    case .suspicious(let findings):
      if scan.decision == .refuse { throw corruption(findings) }
    }
    if scan.decision == .probe { try compareOpens(scan) }
    try checkEnd(scan, cleanSequence: cleanSequence)
    return result
  }

  func scanLogs() throws -> WALDirectoryScan {
    do {
      return try WALScanner().scanDirectory(at: directory.database)
    } catch {
      throw SpindleError(.io, "\(error)", path: directory.database)
    }
  }

  /// Files that only a database with a CURRENT file has. A creation that was cut short leaves a
  /// manifest at most.
  private func refuseRemains() throws {
    guard Files.isDirectory(directory.database) else { return }
    let names = try withSpindleErrors { () throws(IOFailure) in
      try Files.names(in: directory.database)
    }
    if let log = names.first(where: { WALFormat.fileNumber($0) != nil }) {
      throw corruption(
        "\(directory.database) holds the write-ahead log \(log) but no CURRENT file, so RocksDB "
          + "would start an empty database over it")
    }
    if let table = names.first(where: { $0.hasSuffix(".sst") || $0.hasSuffix(".blob") }) {
      throw corruption(
        "\(directory.database) holds \(table) but no CURRENT file, so RocksDB would start an empty "
          + "database over it")
    }
  }

  /// From its first open on a database always has a log, be it empty.
  private func refuseMissingLogs() throws {
    guard Files.exists(directory.highWater) else { return }
    let names = try withSpindleErrors { () throws(IOFailure) in
      try Files.names(in: directory.database)
    }
    guard names.contains(where: { WALFormat.fileNumber($0) != nil }) else {
      throw corruption("\(directory.database) holds no write-ahead log")
    }
  }

  private func refuseLostDatabase(cleanSequence: UInt64?) throws {
    let known = max(directory.readHighWater() ?? 0, cleanSequence ?? 0)
    guard known == 0 else {
      throw corruption(
        "\(directory.database) holds no database, but sequence number \(known) was stored in it")
    }
  }

  // MARK: The slow judge

  /// Opens read-only with and without paranoid checks. Where both see the same newest sequence
  /// number, RocksDB skips nothing.
  private func compareOpens(_ scan: WALDirectoryScan) throws {
    let strict: UInt64
    do throws(RocksError) {
      strict = try latestSequence(paranoid: true)
    } catch {
      throw corruption(describe(scan) ?? error.message)
    }
    let lenient: UInt64
    do throws(RocksError) {
      lenient = try latestSequence(paranoid: false)
    } catch {
      throw corruption(describe(scan) ?? error.message)
    }
    guard strict == lenient else {
      throw corruption(
        describe(scan)
          ?? "the write-ahead log is damaged after sequence number \(strict) of \(lenient)")
    }
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

  // MARK: The end of the log

  /// Checks that the log still reaches what was once synced.
  private func checkEnd(_ scan: WALDirectoryScan, cleanSequence: UInt64?) throws {
    let required = max(directory.readHighWater() ?? 0, cleanSequence ?? 0)
    let scanned = scan.files.compactMap(\.lastSequence).max() ?? 0
    guard scanned < required else { return }
    // The rest may live in table files, with the log long deleted: ask RocksDB.
    let latest: UInt64
    do throws(RocksError) {
      latest = try latestSequence(paranoid: false)
    } catch {
      throw corruption(error.message)
    }
    guard latest >= required else {
      let newest = scan.files.last.map { name($0.fileNumber) } ?? "the write-ahead log"
      throw corruption(
        "\(newest) lost its end: it reaches sequence number \(latest), but \(required) was synced")
    }
  }

  // MARK: Words

  private func name(_ number: UInt64) -> String {
    directory.database + "/" + WALFormat.fileName(number)
  }

  private func describe(_ scan: WALDirectoryScan) -> String? {
    guard case .suspicious(let findings) = scan.verdict, let first = findings.first else {
      return nil
    }
    return "\(name(first.fileNumber)): \(first.description)"
  }

  private func corruption(_ findings: [WALFinding]) -> SpindleError {
    guard let first = findings.first else { return corruption("the write-ahead log is damaged") }
    return corruption("\(name(first.fileNumber)): \(first.description)")
  }

  private func corruption(_ detail: String) -> SpindleError {
    SpindleError(
      .corruption,
      "the store \(directory.path) is damaged: \(detail); nothing was changed, and "
        + "\"spindle check --recover prefix\" keeps what is consistent", path: directory.path)
  }
}
