internal import Glibc
internal import SpindleCore
internal import SpindleIO
internal import SpindleRocks
internal import SpindleStore

/// One repair of a spool, step by step.
///
/// The database is never changed where it is: a second one is made beside it, in
/// `quarantine/repair.work/rocks`, of hard links to the same tables and copies of manifest and
/// logs. The damaged tables of the spool are taken out of that one's manifest, it is given what
/// could be read of them, and is read through. Then the two directories exchange their names.
///
/// Crash windows. A repair may be killed at any point and is then repeated as a whole:
///
/// - before `exchange` the database is as it was; `quarantine/repair.work` holds links and copies,
///   which the next repair removes, and `quarantine/spool-*.partial` copies that are not used;
/// - after `keep` the damaged tables are in quarantine; a repetition puts them there once more;
/// - after `unmark` the next open checks the log as after a crash;
/// - `exchange` is one step of the file system: before it the store has the old database, after it
///   the new one, which was synced to its last file. Every number that `HIGHWATER` holds is in it;
/// - after `exchange` the old database is in `quarantine/repair.work`, where nothing reads it; the
///   next repair removes it also where it finds nothing else to do.
struct SpoolRepairRun {
  /// The steps, in order, as tests name them.
  enum Step: String, CaseIterable {
    case look, link, drop, fill, check, keep, unmark, exchange, discard
  }

  private let directory: StoreDirectory
  private let name: String
  private let settings: StoreSettings
  private let hooks: RecoveryHooks
  private var report = SpoolRepair()

  init(
    _ directory: StoreDirectory, name: String, settings: StoreSettings, hooks: RecoveryHooks
  ) {
    self.directory = directory
    self.name = name
    self.settings = settings
    self.hooks = hooks
  }

  /// Where the second database is made.
  private var work: String { directory.quarantine + "/repair.work" }
  private var copy: String { work + "/rocks" }
  private var familyName: String { "spool:" + name }
  private var quarantineName: String { "spool:" + RocksSpool.quarantineName(of: name) }

  mutating func run(applies: Bool) throws -> SpoolRepair {
    guard directory.isStore else { throw directory.missing }
    try directory.checkFormat()
    let lock = try directory.lock(writesOwner: true)
    defer { withExtendedLifetime(lock) {} }
    try directory.checkLog()
    TemporaryDirectory.remove(work)
    do {
      try repair(applies: applies)
    } catch let error as SpindleError {
      TemporaryDirectory.remove(work)
      throw error
    }
    return report
  }

  private func before(_ step: Step) throws { try hooks.beforeStep(step.rawValue) }

  private mutating func repair(applies: Bool) throws {
    try before(.look)
    let view = try open(directory.database, .readOnly)
    let names = [familyName, quarantineName]
    guard view.columnFamily(named: familyName) != nil else {
      try close(view)
      throw SpindleError(
        .notFound, "the store \(directory.path) has no spool \(name)", path: directory.path)
    }
    // What some table cannot give.
    var lost: [String: SpoolRanges] = [:]
    var walks: [String: SpoolWalk] = [:]
    var tables: [Damaged] = []
    for name in names {
      guard let family = view.columnFamily(named: name) else { continue }
      let damaged = try damagedTables(of: family, in: view)
      tables += damaged
      let walk = try look(at: family, in: view)
      let hidden = SpoolRanges(ranges: walk.lostRanges)
      lost[name] = hidden
      walks[name] = walk
      report.lostRanges +=
        damaged.isEmpty ? hidden.ranges : hidden.within(damaged.map(\.file)).ranges
    }
    guard report.isNeeded else {
      try close(view)
      TemporaryDirectory.remove(work)
      if let range = report.lostRanges.first { throw beyondTables(range) }
      return
    }
    try before(.link)
    try makeCopy(at: copy)
    try before(.drop)
    try drop(tables.map(\.file.number), from: copy)
    try before(.fill)
    let target = try open(copy, .readWrite)
    for name in names {
      guard let walk = walks[name] else { continue }
      try fill(target, name, from: view, after: walk, tables.filter { $0.family == name })
    }
    let files = tables.filter { $0.family == familyName }.map(\.file)
    try setDamagedAside(
      in: target, lost: lost[familyName]?.within(files) ?? SpoolRanges(ranges: []))
    report.lost = report.lost.map { $0 - min($0, report.rescued) }
    for name in names {
      guard let family = target.columnFamily(named: name) else { continue }
      try withEngineErrors { () throws(RocksError) in try target.flush(family) }
    }
    try withEngineErrors { () throws(RocksError) in try target.syncLog() }
    try close(target)
    try close(view)
    try before(.check)
    try checkCopy(names)
    if applies { try replace(tables) }
    try before(.discard)
    TemporaryDirectory.remove(work)
  }

  // MARK: Looking

  private struct Damaged {
    var family: String
    var file: Database.TableFile
    var isMissing: Bool
  }

  private mutating func damagedTables(
    of family: ColumnFamily, in view: Database
  ) throws -> [Damaged] {
    var found: [Damaged] = []
    let files = try withEngineErrors { () throws(RocksError) in try view.tableFiles(of: family) }
    for file in files {
      let path = view.path + "/" + Database.tableFileName(file.number)
      let size = try? Files.size(path)
      var check = Database.TableCheck()
      if size != nil { check = Database.checkTable(at: path) }
      if let error = check.damage, error.isOutOfDescriptors { throw error.outOfDescriptors }
      var damage = check.damage?.message
      if size == nil { damage = "the file is missing" }
      if let size, size != file.bytes {
        damage = "the file has \(size) of \(file.bytes) bytes"
      }
      guard let damage else { continue }
      found.append(Damaged(family: family.name, file: file, isMissing: size == nil))
      let messages = check.entries.map { $0 - min($0, check.deletions ?? 0) }
      report.tables.append(
        SpoolRepair.Table(
          number: file.number, family: family.name, bytes: file.bytes, messages: messages,
          damage: damage, isMissing: size == nil))
      if let messages { report.lost? += messages } else { report.lost = nil }
    }
    return found
  }

  /// Walks a family as it is, and notes which records are damaged.
  private mutating func look(at family: ColumnFamily, in view: Database) throws -> SpoolWalk {
    var walk = SpoolWalk(view, family, viewsIn: work)
    try walk.runReadable { key, record in
      if family.name == familyName, let id = SpoolID(bytes: key) { note(id, record) }
      return .next
    }
    try walk.checkViews()
    return walk
  }

  private mutating func note(_ id: SpoolID, _ record: Span<UInt8>) {
    if (try? SpoolRecord.payload(of: record)) != nil {
      report.intact += 1
    } else {
      report.damaged += 1
    }
  }

  private func beyondTables(_ range: SpoolLostRange) -> SpindleError {
    SpindleError(
      .corruption,
      "the spool \(name) is damaged, but none of its tables is: the keys from "
        + "\(range.from.isEmpty ? "the beginning" : hexString(range.from)) on cannot be read; "
        + "nothing was changed",
      path: directory.database)
  }

  // MARK: The second database

  /// Makes a second database of the same files. Tables and blob files never change, so they are
  /// shared; what the engine appends to is copied.
  private func makeCopy(at target: String) throws {
    try withSpindleErrors { () throws(IOFailure) in
      try Files.createDirectory(target)
      for file in try Files.names(in: directory.database) where file != "LOCK" {
        let source = directory.database + "/" + file
        if Files.isDirectory(source) { continue }
        let isShared = file.hasSuffix(".sst") || file.hasSuffix(".blob")
        try Self.duplicate(source, to: target + "/" + file, links: isShared)
      }
      try Files.synchronizeDirectory(target)
    }
  }

  /// Where the file system has no links, a copy is as good.
  private static func duplicate(
    _ source: String, to target: String, links: Bool
  ) throws(IOFailure) {
    if links {
      do throws(IOFailure) { return try Files.link(source, to: target) } catch {}
    }
    try Files.copy(source, to: target)
  }

  private func drop(_ numbers: [UInt64], from database: String) throws {
    guard !numbers.isEmpty else { return }
    do throws(RocksError) {
      try Database.dropTables(numbers, at: database)
    } catch {
      throw SpindleError(
        .corruption,
        "the damaged tables of spool \(name) cannot be taken out of a copy of the database: "
          + "\(error.message); nothing was changed", path: directory.database)
    }
    try withSpindleErrors { () throws(IOFailure) in
      for number in numbers {
        try Files.remove(database + "/" + Database.tableFileName(number))
      }
    }
  }

  private func open(_ path: String, _ mode: Database.Mode) throws -> Database {
    var options = settings.database
    options.createIfMissing = false
    do throws(RocksError) {
      return try Database(at: path, mode: mode, options: options) { family in
        var options = settings.options(forFamily: family)
        // Nothing but what the repair does is to change in the other families.
        options.disablesAutomaticCompaction = true
        return options
      }
    } catch {
      throw SpindleError(
        error.spindleError.kind,
        "the database of \(directory.path) does not open: \(error.message)", path: path)
    }
  }

  private func close(_ database: Database) throws {
    try withEngineErrors { () throws(RocksError) in try database.close() }
  }

  /// Gives the second database what the damaged tables of a family held and can be read. What the
  /// walk over all tables gives is at each key what those show that can be read there, also of
  /// damaged ones: a message, or that it was removed.
  private mutating func fill(
    _ target: Database, _ name: String, from view: Database, after look: SpoolWalk,
    _ tables: [Damaged]
  ) throws {
    guard !tables.isEmpty, let family = target.columnFamily(named: name),
      let source = view.columnFamily(named: name)
    else { return }
    var merge = SpoolRepairMerge(into: target, family)
    try merge.take(
      from: view, source, after: look, within: SpoolRanges(of: tables.map(\.file)), viewsIn: work)
    report.rescued += merge.rescued
  }

  /// Moves records that fail their checks to the spool's quarantine, and counts what stays.
  private mutating func setDamagedAside(in target: Database, lost: SpoolRanges) throws {
    guard let family = target.columnFamily(named: familyName) else { return }
    report.intact = 0
    report.damaged = 0
    var walk = SpoolWalk(target, family, viewsIn: nil)
    try walk.run { key, record in
      guard let id = SpoolID(bytes: key) else { return .next }
      do throws(DecodingFailure) {
        _ = try SpoolRecord.payload(of: record)
      } catch {
        report.damaged += 1
        if report.damagedIDs.count < SpoolRepair.idLimit { report.damagedIDs.append(id) }
        try setAside(id, record, "found damaged by a repair: \(error)", family, in: target)
        return .next
      }
      report.intact += 1
      if lost.contains(key) {
        report.uncertain += 1
        if report.uncertainIDs.count < SpoolRepair.idLimit { report.uncertainIDs.append(id) }
      }
      return .next
    }
  }

  private func setAside(
    _ id: SpoolID, _ record: Span<UInt8>, _ reason: String, _ family: ColumnFamily,
    in target: Database
  ) throws {
    var batch = WriteRecord()
    let key = id.bytes
    let quarantine = try withEngineErrors { () throws(RocksError) in
      if let family = target.columnFamily(named: quarantineName) { return family }
      return try target.createColumnFamily(
        named: quarantineName, options: settings.options(forFamily: quarantineName))
    }
    let header = QuarantineEnvelope.header(
      reason: reason, since: SystemClock().wallMilliseconds, record: record)
    let isTaken = try withEngineErrors { () throws(RocksError) in
      try target.get(quarantine, key.span) != nil
    }
    guard !isTaken else {
      throw SpindleError(
        .conflict,
        "the message \(id) is damaged, and the quarantine of spool \(name) has another message "
          + "under its id; restore or purge that first")
    }
    batch.put(quarantine.id, key: key.span, header: header.span, payload: record)
    batch.delete(family.id, key: key.span)
    try target.writePatiently(&batch)
  }

  /// Reads the second database through: it must be whole before it takes the place of the first.
  private func checkCopy(_ names: [String]) throws {
    let copy = try open(copy, .readOnly)
    defer { try? copy.close() }
    for name in names {
      guard let family = copy.columnFamily(named: name) else { continue }
      let files = try withEngineErrors { () throws(RocksError) in
        try copy.tableFiles(of: family)
      }
      for file in files {
        let path = copy.path + "/" + Database.tableFileName(file.number)
        if let damage = Database.checkTable(at: path).damage { throw notHealed(damage.message) }
      }
      var intact: UInt64 = 0
      var walk = SpoolWalk(copy, family, viewsIn: nil)
      try walk.run { key, record in
        if SpoolID(bytes: key) != nil, (try? SpoolRecord.payload(of: record)) != nil {
          intact += 1
        }
        return .next
      }
      if let damage = walk.damage { throw notHealed(damage.message) }
      guard name != familyName || intact == report.intact else {
        throw notHealed("it holds \(intact) of \(report.intact) messages")
      }
    }
  }

  private func notHealed(_ detail: String) -> SpindleError {
    SpindleError(
      .corruption,
      "the spool \(name) cannot be repaired, a repaired copy of it is damaged too: \(detail); "
        + "nothing was changed", path: directory.database)
  }

  // MARK: The change

  private mutating func replace(_ tables: [Damaged]) throws {
    try before(.keep)
    if !tables.isEmpty { report.quarantine = try keep(tables) }
    try before(.unmark)
    try withSpindleErrors { () throws(IOFailure) in
      try directory.removeCleanMarker()
      try Files.synchronizeDirectory(copy)
      try Files.synchronizeDirectory(work)
    }
    try before(.exchange)
    let code = Database.exchange(directory.database, copy)
    guard code == 0 else {
      throw IOFailure("exchange with a repaired copy", path: directory.database, errno: code)
        .spindleError
    }
    report.isApplied = true
    try withSpindleErrors { () throws(IOFailure) in
      try Files.synchronizeDirectory(work)
      try Files.synchronizeDirectory(directory.path)
    }
  }

  /// Puts the damaged tables into the store's quarantine, which gets its name only when all are
  /// there.
  private func keep(_ tables: [Damaged]) throws -> String {
    try withSpindleErrors { () throws(IOFailure) in
      let taken = Set(try Files.names(in: directory.quarantine))
      var counter = 1
      while taken.contains("spool-\(counter)") || taken.contains("spool-\(counter).partial") {
        counter += 1
      }
      let place = directory.quarantine + "/spool-\(counter)"
      try Files.createDirectory(place + ".partial")
      for table in tables where !table.isMissing {
        let file = "/" + Database.tableFileName(table.file.number)
        try Self.duplicate(directory.database + file, to: place + ".partial" + file, links: true)
      }
      try Files.writeAtomically(Array(report.text.utf8), to: place + ".partial/REPORT")
      try Files.move(place + ".partial", to: place)
      try Files.synchronizeDirectory(directory.quarantine)
      return place
    }
  }
}

private func withSpindleErrors<Result>(
  _ body: () throws(IOFailure) -> Result
) throws(SpindleError) -> Result {
  do throws(IOFailure) { return try body() } catch { throw error.spindleError }
}
