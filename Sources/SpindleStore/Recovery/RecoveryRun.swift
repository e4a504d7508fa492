internal import Glibc
internal import SpindleCore
internal import SpindleIO
internal import SpindleRocks

/// One recovery, step by step.
///
/// Crash windows. A recovery may be killed at any point and is then repeated as a whole:
///
/// - before `change`, the store is as it was; at most a directory `*.partial` with copies is left
///   in `quarantine/`, which is not used again;
/// - while the logs change, later logs go before the damaged one is cut, newest first, so what
///   remains is always a prefix of the old logs, damage included. `HIGHWATER` still names the old
///   end, and where that was synced an open refuses until the recovery was repeated. A rewritten
///   log replaces the old one by a rename;
/// - from `open` on the logs are consistent, and RocksDB's own recovery may be repeated;
/// - `HIGHWATER` is lowered, and `CLEAN` written, only when RocksDB is closed.
struct RecoveryRun {
  /// The steps, in order, as tests name them.
  enum Step: String, CaseIterable {
    case plan, copy, unmark, change, cut, open, finish
  }

  let directory: StoreDirectory
  let mode: StoreRecovery.Mode
  let settings: StoreSettings
  let hooks: RecoveryHooks

  init(
    _ directory: StoreDirectory, mode: StoreRecovery.Mode, settings: StoreSettings,
    hooks: RecoveryHooks
  ) {
    self.directory = directory
    self.mode = mode
    self.settings = settings
    self.hooks = hooks
  }

  func run() throws -> StoreRecovery.Report {
    guard directory.isStore else { throw directory.missing }
    try directory.checkFormat()
    let lock = try directory.lock(writesOwner: true)
    defer { withExtendedLifetime(lock) {} }
    try before(.plan)
    var report = StoreRecovery.Report(mode: mode)
    let cleanSequence = directory.readCleanMarker()
    do throws(SpindleError) {
      _ = try OpenProbe(directory).run(cleanSequence: cleanSequence)
      report.lastKeptSequence =
        (try? LogInspection(directory).reachedSequence) ?? cleanSequence ?? 0
      return report
    } catch {
      guard error.kind == .corruption else { throw error }
      report.findings = [error.message]
    }
    guard Files.exists(directory.database + "/CURRENT") else { throw beyondRecovery(report) }
    let inspection = try LogInspection(directory)
    guard inspection.numbers != nil else { throw beyondRecovery(report) }
    let required = max(directory.readHighWater() ?? 0, cleanSequence ?? 0)
    let plan = try RecoveryPlan(inspection, mode: mode, required: required)
    report.wasNeeded = true
    if !inspection.unexplained.isEmpty {
      report.findings = inspection.unexplained.map { "rocks/" + $0.description }
    }
    report.lost = plan.lost
    let quarantine = try copyLogs(report)
    report.quarantine = quarantine
    report.logs = try change(plan, quarantine)
    report.lastKeptSequence = try openAndClose()
    // Whoever knows what the lost records meant adds sentences to `notes`, before the first write.
    return report
  }

  private func before(_ step: Step) throws { try hooks.beforeStep(step.rawValue) }

  private func beyondRecovery(_ report: StoreRecovery.Report) -> SpindleError {
    let what = report.findings.first ?? "the store \(directory.path) is damaged"
    return SpindleError(
      .corruption,
      what + "; the damage is not in the log, so no recovery of the log helps: "
        + "restore a backup", path: directory.path)
  }

  // MARK: Copies

  /// Copies every log, synced, and gives the directory its name only when all are there. What is
  /// known of the damage goes with them, because a repeated recovery may not find it any more.
  private func copyLogs(_ report: StoreRecovery.Report) throws -> String {
    try before(.copy)
    return try withSpindleErrors { () throws(IOFailure) in
      try Files.createDirectory(directory.quarantine)
      let taken = Set(try Files.names(in: directory.quarantine))
      var counter = 1
      while taken.contains("wal-\(counter)") || taken.contains("wal-\(counter).partial") {
        counter += 1
      }
      let target = directory.quarantine + "/wal-\(counter)"
      try Files.createDirectory(target + ".partial")
      for file in try Files.names(in: directory.database) where WALFormat.fileNumber(file) != nil {
        try Files.copy(directory.database + "/" + file, to: target + ".partial/" + file)
      }
      try Files.writeAtomically(Array(report.text.utf8), to: target + ".partial/REPORT")
      try rename(target + ".partial", to: target)
      try Files.synchronizeDirectory(directory.quarantine)
      return target
    }
  }

  private func rename(_ source: String, to target: String) throws(IOFailure) {
    guard unsafe Glibc.rename(source, target) == 0 else {
      throw IOFailure("rename", path: source, errno: errno)
    }
  }

  // MARK: The logs

  private func change(
    _ plan: RecoveryPlan, _ quarantine: String
  ) throws -> [StoreRecovery.LogReport] {
    try before(.unmark)
    try withSpindleErrors { () throws(IOFailure) in try directory.removeCleanMarker() }
    try before(.change)
    let files = plan.inspection.scan.files
    for file in files.reversed() where plan.actions[file.fileNumber] == .remove {
      try withSpindleErrors { () throws(IOFailure) in
        try Files.remove(path(file.fileNumber))
        try Files.synchronizeDirectory(directory.database)
      }
    }
    try before(.cut)
    for file in files.reversed() {
      guard case .cut(let end) = plan.actions[file.fileNumber] else { continue }
      try withSpindleErrors { () throws(IOFailure) in try cut(file.fileNumber, at: end) }
    }
    if plan.actions.values.contains(.rewrite) { try rewrite(plan, quarantine) }
    return try files.map { file in
      let tally = plan.tallies[file.fileNumber] ?? RecoveryPlan.Tally()
      var log = StoreRecovery.LogReport(
        path: "rocks/" + WALFormat.fileName(file.fileNumber), byteCount: file.byteCount,
        keptByteCount: file.byteCount, action: .unchanged, keptRecordCount: tally.kept,
        droppedRecordCount: tally.dropped)
      switch plan.actions[file.fileNumber] ?? .keep {
      case .keep: break
      case .cut(let end): (log.action, log.keptByteCount) = (.cut, end)
      case .remove: (log.action, log.keptByteCount) = (.removed, 0)
      case .rewrite:
        log.action = .rewritten
        log.keptByteCount = try withSpindleErrors { () throws(IOFailure) in
          try Files.size(path(file.fileNumber))
        }
      }
      return log
    }
  }

  private func path(_ log: UInt64) -> String {
    directory.database + "/" + WALFormat.fileName(log)
  }

  private func cut(_ log: UInt64, at end: UInt64) throws(IOFailure) {
    let file = unsafe open(path(log), O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { throw IOFailure("open", path: path(log), errno: errno) }
    defer { close(file) }
    guard ftruncate(file, off_t(end)) == 0, fsync(file) == 0 else {
      throw IOFailure("cut", path: path(log), errno: errno)
    }
  }

  private func rewrite(_ plan: RecoveryPlan, _ quarantine: String) throws {
    var writers: [UInt64: LogRewriter] = [:]
    let numbers = plan.actions.filter { $0.value == .rewrite }.keys.sorted()
    for number in numbers {
      writers[number] = try withSpindleErrors { () throws(IOFailure) in
        try LogRewriter(path: rewritten(number, in: quarantine))
      }
    }
    var filter = RecordFilter()
    let all = writers
    _ = try LogInspection.scan(directory, plan.inspection.numbers) { record in
      if let writer = all[record.fileNumber] {
        guard filter.accepts(record.sequence) else { return }
        writer.append(record.bytes)
      }
      filter.advance(to: record.sequence + UInt64(max(record.count, 1)))
    }
    try withSpindleErrors { () throws(IOFailure) in
      for number in numbers { try writers[number]?.finish() }
      for number in numbers { try rename(rewritten(number, in: quarantine), to: path(number)) }
      try Files.synchronizeDirectory(directory.database)
    }
  }

  private func rewritten(_ log: UInt64, in quarantine: String) -> String {
    quarantine + "/" + WALFormat.fileName(log) + ".rewritten"
  }

  // MARK: RocksDB

  /// Lets RocksDB recover what is left, and closes it cleanly.
  private func openAndClose() throws -> UInt64 {
    try before(.open)
    let inspection = try LogInspection(directory)
    let remaining = inspection.unexplained.first { finding in
      if case .newestLogMissing = finding.kind { return false }
      if mode == .skip {
        switch finding.kind {
        case .sequenceGap, .behindTables: return false
        default: break
        }
      }
      return finding.judgement == .refuse
    }
    if let remaining {
      throw SpindleError(
        .corruption,
        "the store \(directory.path) is still damaged after its log was repaired: rocks/"
          + remaining.description, path: directory.path)
    }
    var options = settings.database
    options.createIfMissing = false
    options.paranoidChecks = mode == .prefix
    let latest: UInt64
    do throws(RocksError) {
      let database = try Database(
        at: directory.database, mode: .readWrite, options: options,
        familyOptions: settings.options(forFamily:))
      latest = try database.latestSequenceNumber()
      try database.syncLog()
      try database.close()
    } catch {
      throw SpindleError(
        error.spindleError.kind,
        "the store \(directory.path) does not open after its log was repaired: \(error.message)",
        path: directory.path)
    }
    try before(.finish)
    try withSpindleErrors { () throws(IOFailure) in
      try Files.writeAtomically(
        StoreDirectory.encodeSequence(latest), to: directory.highWater)
      try directory.writeCleanMarker(sequence: latest)
    }
    return latest
  }
}
