internal import SpindleCore
internal import SpindleRocks

/// What a recovery will do to each log, and what that keeps and loses.
struct RecoveryPlan {
  enum Action: Equatable {
    case keep
    /// Shorten the file: everything from the offset on goes.
    case cut(at: UInt64)
    case remove
    case rewrite
  }

  let mode: StoreRecovery.Mode
  let inspection: LogInspection
  private(set) var actions: [UInt64: Action] = [:]
  private(set) var tallies: [UInt64: Tally] = [:]
  private(set) var lost: [StoreRecovery.LostRange] = []
  /// The newest log whose records are not all kept. Families that name a newer one may hold more.
  private var breakLog: UInt64?
  private var lastKept: UInt64 = 0

  struct Tally {
    var kept = 0
    var dropped = 0
    var greatestKept: UInt64?
  }

  /// - Parameter required: What the log must reach by `HIGHWATER` and `CLEAN`.
  init(
    _ inspection: LogInspection, mode: StoreRecovery.Mode, required: UInt64
  ) throws(SpindleError) {
    self.inspection = inspection
    self.mode = mode
    for file in inspection.scan.files { actions[file.fileNumber] = .keep }
    switch mode {
    case .prefix: try planPrefix()
    case .skip: try planSkip()
    }
    try tally(required: required)
    if mode == .prefix { try checkTables() }
  }

  private var files: [WALFileScan] { inspection.scan.files }

  // MARK: Prefix

  /// Keeps everything before the first finding that breaks the run of records.
  private mutating func planPrefix() throws(SpindleError) {
    for (index, file) in files.enumerated() {
      for (position, finding) in file.findings.enumerated() {
        switch finding.kind {
        case .trailerNotZero: continue
        case .compressedRecords: throw compressed(finding)
        case .staleLogNumber:
          // RocksDB ends the log here as well; what the next one begins with decides.
          actions[file.fileNumber] = .cut(at: finding.offset)
          continue
        default: if inspection.isMarker(finding) { continue }
        }
        // Before the first finding the scan knows where the last whole record ends. Later ones may
        // begin inside a record; its start is left as a torn end, which RocksDB drops.
        let end = position == 0 ? file.endOffset : finding.offset
        actions[file.fileNumber] = .cut(at: end)
        for later in files[(index + 1)...] { actions[later.fileNumber] = .remove }
        breakLog = file.fileNumber
        if case .sequenceGap = finding.kind, end == 0 {
          // What is missing stood behind the log before.
          breakLog = index > 0 ? files[index - 1].fileNumber : 0
        }
        return
      }
      if let tail = file.tornTail, index < files.count - 1 {
        actions[file.fileNumber] = .cut(at: tail.offset)
      }
    }
  }

  private func compressed(_ finding: WALFinding) -> SpindleError {
    SpindleError(
      .unsupportedFormat, "the store cannot be recovered: rocks/\(finding.description)",
      path: inspection.directory.database + "/" + WALFormat.fileName(finding.fileNumber))
  }

  /// Refuses where a family's tables hold writes that the kept part of the logs does not.
  private func checkTables() throws(SpindleError) {
    guard let numbers = inspection.numbers else { return }
    let ahead = numbers.families.filter { family in
      guard family.tableCount > 0 else { return false }
      // A log that was begun and never written says nothing about tables filled from older ones.
      let older = files.filter { $0.fileNumber < family.logNumber && $0.byteCount > 0 }
      guard let oldest = older.first else { return false }
      let reached = older.compactMap { tallies[$0.fileNumber]?.greatestKept }.max()
      if reached == nil, family.newestFlushedTable > oldest.fileNumber { return true }
      if let reached, family.largestSequence > reached {
        return
          !(family.largestSequence == reached + 1
          && inspection.marker?.sequence == family.largestSequence)
      }
      // A compaction may have rewritten the numbers of what it took from the lost part; tables
      // older than that log hold nothing of it.
      guard let breakLog, family.logNumber > breakLog else { return false }
      return family.newestCompactedTable > breakLog
    }
    guard ahead.isEmpty else {
      let names = ahead.map(\.name).sorted().joined(separator: ", ")
      let first = inspection.unexplained.first.map { "rocks/" + $0.description.dropLast() + "; " }
      throw SpindleError(
        .corruption,
        "the store \(inspection.directory.path) has no consistent prefix: \(first ?? "")the tables "
          + "of \(names) hold writes that the log before its damage does not; only "
          + "\"spindle check --recover skip\" remains, which reports what is torn",
        path: inspection.directory.path)
    }
  }

  // MARK: Skip

  /// Keeps every readable record. Damaged logs are written anew, because RocksDB passes over good
  /// records behind damage in the last block, and aborts on repeated ones.
  private mutating func planSkip() throws(SpindleError) {
    for file in files {
      for finding in file.findings {
        switch finding.kind {
        case .compressedRecords: throw compressed(finding)
        case .sequenceGap, .trailerNotZero: continue
        default: actions[file.fileNumber] = .rewrite
        }
      }
    }
  }

  // MARK: Counting

  private mutating func tally(required: UInt64) throws(SpindleError) {
    var tallies: [UInt64: Tally] = [:]
    var filter = RecordFilter()
    var gaps: [(log: UInt64, isStart: Bool, first: UInt64, last: UInt64)] = []
    var greatestDropped: UInt64 = 0
    let actions = actions
    let firstDue = firstDue
    let marker = inspection.marker?.sequence
    _ = try LogInspection.scan(inspection.directory, inspection.numbers) { record in
      var tally = tallies[record.fileNumber] ?? Tally()
      defer { tallies[record.fileNumber] = tally }
      let last = record.sequence + UInt64(max(record.count, 1)) - 1
      let isKept =
        switch actions[record.fileNumber] ?? .keep {
        case .keep: true
        case .cut(let end): record.offset < end
        case .remove: false
        case .rewrite: filter.accepts(record.sequence)
        }
      guard isKept else {
        tally.dropped += 1
        greatestDropped = max(greatestDropped, last)
        return
      }
      tally.kept += 1
      tally.greatestKept = max(tally.greatestKept ?? 0, last)
      if let due = filter.due ?? firstDue, record.sequence > due {
        gaps.append(
          (record.fileNumber, tally.kept == 1 && filter.due != nil, due, record.sequence - 1))
      }
      filter.advance(to: last + 1)
    }
    self.tallies = tallies
    lastKept = tallies.values.compactMap(\.greatestKept).max() ?? 0
    lost = gaps.filter { $0.first != $0.last || $0.first != marker }
      .map { range(of: $0.log, isStart: $0.isStart, $0.first, $0.last) }
    addLostEnd(greatestDropped: greatestDropped, required: required)
    addLostBehindTables()
  }

  /// What was due when damage comes before any record: what follows the tables of the families that
  /// need the first log from its beginning.
  private var firstDue: UInt64? {
    guard let first = files.first(where: { $0.recordCount > 0 || !$0.findings.isEmpty }),
      first.recordCount == 0
    else { return nil }
    let families = inspection.numbers?.families.filter { $0.logNumber <= first.fileNumber } ?? []
    return (families.map(\.largestSequence).max() ?? 0) + 1
  }

  /// What only tables tell: a log that lost all its records, or its end before an empty log, leaves
  /// no gap between records.
  private mutating func addLostBehindTables() {
    let families = inspection.numbers?.families ?? []
    for finding in inspection.unexplained {
      guard case .behindTables(let reached, let flushed) = finding.kind,
        !lost.contains(where: { $0.firstSequence <= flushed && $0.lastSequence ?? .max >= flushed })
      else { continue }
      let earlier = families.filter { $0.logNumber <= finding.fileNumber }
      let first = max(reached, earlier.map(\.largestSequence).max() ?? 0) + 1
      guard first <= flushed else { continue }
      lost.append(range(of: finding.fileNumber, isStart: false, first, flushed))
      lost.sort { $0.firstSequence < $1.firstSequence }
    }
  }

  /// The lost end: cut off, damaged in the newest log, or missing by what was synced.
  private mutating func addLostEnd(greatestDropped: UInt64, required: UInt64) {
    guard let newest = files.last else { return }
    let first = max(lastKept, tallies.isEmpty ? inspection.numbers?.latestSequence ?? 0 : 0) + 1
    let last = max(greatestDropped, required)
    let isDamagedAtEnd = newest.findings.last.map { $0.readableAfter == nil && $0.byteCount > 0 }
    if last >= first {
      lost.append(range(of: breakLog ?? newest.fileNumber, isStart: false, first, last))
    } else if breakLog != nil || isDamagedAtEnd ?? false {
      lost.append(range(of: breakLog ?? newest.fileNumber, isStart: false, first, nil))
    }
  }

  /// - Parameter isStart: The records are missing before the log's first; then they stood in a log
  ///   before it.
  private func range(
    of log: UInt64, isStart: Bool, _ first: UInt64, _ last: UInt64?
  ) -> StoreRecovery.LostRange {
    let families = inspection.numbers?.families ?? []
    // A family that names a newer log has everything of this one in its tables.
    let holds = { (family: LogNumbers.Family) in
      family.tableCount > 0 && (isStart ? family.logNumber >= log : family.logNumber > log)
    }
    return StoreRecovery.LostRange(
      log: "rocks/" + WALFormat.fileName(log), firstSequence: first, lastSequence: last,
      heldBy: families.filter(holds).map(\.name).sorted(),
      lostBy: families.filter { !holds($0) }.map(\.name).sorted())
  }
}

/// Passes a record only once and only forward: RocksDB aborts on a sequence number that comes
/// again.
struct RecordFilter {
  /// The next number; nil before the first record.
  private(set) var due: UInt64?

  func accepts(_ sequence: UInt64) -> Bool { due.map { sequence >= $0 } ?? true }

  mutating func advance(to next: UInt64) { due = max(due ?? 0, next) }
}
