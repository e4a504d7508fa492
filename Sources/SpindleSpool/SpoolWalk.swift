package import SpindleCore
internal import SpindleIO
package import SpindleRocks
package import SpindleStore

/// Walks a spool in the order of its keys, on a thread that may block, and goes on behind damage.
///
/// - The place of the walk only rises, so it ends.
/// - No iterator is held for long: it pins tables and memtables that could be dropped. It is given
///   back after ``entryLimit`` entries, after ``byteLimit`` bytes, or when the visitor asks; the
///   next begins behind the last key. Without a snapshot the walk so moves with the present.
/// - Damage is told as a lost range, and shuts the family's gate where the caller does not say
///   otherwise.
/// - A table of level 0 that no read gets past, since it does not open, is left out: the walk goes
///   on in a ``ReducedView``, which it keeps to its end, with what others hold of the same keys.
///   That view is of one moment; messages stored after it are not given.
package struct SpoolWalk {
  package enum Step {
    case next
    /// Give the iterator back first.
    case release
    case stop
  }

  /// Entries read by one iterator: some tenths of a second of reading.
  static let entryLimit = 100_000
  /// Bytes read by one iterator: what an SSD reads in about a second.
  static let byteLimit = 256 << 20
  /// Places of damage that a walk goes behind; it ends at the next. Beyond this the spool needs a
  /// repair and not a walk.
  static let damageLimit = 1_000
  /// Tables that a walk leaves out: more than level 0 may have before writes stop. Each has the log
  /// read once more.
  static let leftOutLimit = 64

  private enum Ending {
    case end, released, stopped
    case failed(RocksError)
  }

  private let whole: Database
  private let wholeFamily: ColumnFamily
  /// Turns an error of the engine into one for callers, and tells it to whom it concerns.
  let failure: (RocksError) -> SpindleError
  /// The view to walk; nil is the present.
  let snapshot: Snapshot?
  /// Asked at every entry: the reason to end now.
  let stopReason: () -> (any Error)?

  /// What could not be read, in the order of the keys.
  package var lostRanges: [SpoolLostRange] {
    leftOut.isEmpty ? lost : SpoolRanges(joining: leftOut + lost).ranges
  }
  private var lost: [SpoolLostRange] = []
  /// The tables that are left out, with all of their keys: what was read of them before their
  /// damage is not told from what was not.
  private var leftOut: [SpoolLostRange] = []
  /// What is read in place of the database once a table is left out.
  private var view: ReducedView?
  /// False where the caller looks for tables to leave out itself, and when no view could be made.
  private var leavesOut: Bool
  /// The first damage met.
  package private(set) var damage: SpindleError?
  /// The first key that was not visited.
  private var position: [UInt8] = []
  /// Where the next iterator has to end.
  private var bound: [UInt8]?
  /// Where a damaged table begins whose front is being read; see ``pass(_:)``.
  private var gap: [UInt8]?
  private var damageCount = 0
  /// Tables in front of which the entries of others were looked for already.
  private var passedGaps: Set<UInt64> = []

  /// - Parameters:
  ///   - start: The first key that is looked at.
  ///   - shutsGate: False where damage is no reason to refuse the family's writes.
  package init(
    _ store: Store, _ family: StoreFamily, snapshot: Snapshot? = nil, from start: [UInt8] = [],
    shutsGate: Bool = true, stopReason: @escaping () -> (any Error)?
  ) {
    position = start
    whole = store.database
    wholeFamily = family.columnFamily
    leavesOut = true
    failure =
      shutsGate
      ? { store.failure($0, reading: family) } : { store.described($0, reading: family) }
    self.snapshot = snapshot
    self.stopReason = stopReason
  }

  /// Walks a database that no store has open, from a key on. It leaves no table out.
  init(_ database: Database, _ family: ColumnFamily, from start: [UInt8] = []) {
    position = start
    whole = database
    wholeFamily = family
    leavesOut = false
    failure = { $0.spindleError }
    snapshot = nil
    stopReason = { nil }
  }

  private var database: Database { view?.database ?? whole }
  private var family: ColumnFamily { view?.family ?? wholeFamily }

  /// Walks to the end.
  ///
  /// - Parameters:
  ///   - released: Called whenever the walk holds no iterator; may wait.
  ///   - visit: Gets key and record, borrowed for the call.
  /// - Throws: what the two throw, the reason to stop, or damage that the walk cannot go behind.
  package mutating func run(
    released: () throws -> Void = {}, _ visit: (Span<UInt8>, Span<UInt8>) throws -> Step
  ) throws {
    defer { view = nil }
    while true {
      try avoidShortTables()
      switch try readSegment(visit) {
      case .stopped: return
      case .released: try released()
      case .failed(let error): try pass(error)
      case .end:
        guard let bound else { return }
        position = bound
      }
      if let reason = stopReason() { throw reason }
    }
  }

  /// Walks as far as the tables can be read. Where damage is met that the walk cannot go behind,
  /// the last of ``lostRanges`` has no end.
  mutating func runReadable(_ visit: (Span<UInt8>, Span<UInt8>) throws -> Step) throws {
    do {
      try run(visit)
    } catch let error as SpindleError where error.kind == .corruption || error.kind == .io {
      guard let last = lost.last, last.to == nil else { throw error }
    }
  }

  private mutating func readSegment(
    _ visit: (Span<UInt8>, Span<UInt8>) throws -> Step
  ) throws -> Ending {
    var options = IterationOptions(upperBound: bound)
    options.fillsCache = false
    // Less than glibc's threshold for mappings of their own: a buffer that is mapped for each file
    // is faulted in page by page. More than this reads no faster.
    options.readaheadBytes = 256 << 10
    options.snapshot = snapshot
    // Spools have no range deletions: a message is removed by its id.
    options.ignoresRangeDeletions = true
    // The key that was visited last, where it is one of 16 bytes: the place of the walk is made of
    // it once, and not for every key.
    var last: UUIDValue?
    defer { if let last { position = last.bytes + [0] } }
    do {
      var iterator = try makeIterator(options)
      // In front of a damaged table the seek goes to the last key once more: one to any key behind
      // it would open that table, and the bound does not keep it from that.
      let start = gap == nil ? position : Array(position.dropLast())
      iterator.seek(start.span)
      while gap != nil, iterator.isValid, isVisited(iterator.key) { iterator.next() }
      var entries = 0
      var bytes = 0
      while iterator.isValid {
        if let reason = stopReason() { throw reason }
        let step: Step
        do {
          let key = iterator.key
          let value = iterator.value
          step = try visit(key, value)
          if let id = UUIDValue(bytes: key) {
            last = id
          } else {
            last = nil
            position = copyBytes(key) + [0]
          }
          bytes += value.count
        }
        entries += 1
        if step == .stop { return .stopped }
        if step == .release || entries >= Self.entryLimit || bytes >= Self.byteLimit {
          return .released
        }
        iterator.next()
      }
      try iterator.checkStatus()
      return .end
    } catch let error as RocksError {
      return .failed(error)
    }
  }

  private func makeIterator(
    _ options: IterationOptions
  ) throws(RocksError) -> DatabaseIterator {
    guard view != nil, snapshot != nil, let other = whole.columnFamily(named: "default") else {
      return try database.iterator(family, options)
    }
    // A snapshot is a number in the history that both databases have. The one that it belongs to
    // keeps it while it is in use, so until the number is taken over.
    let use = try whole.iterator(other)
    let iterator = try database.iterator(family, options)
    withExtendedLifetime(use) {}
    return iterator
  }

  private func isVisited(_ key: Span<UInt8>) -> Bool {
    copyBytes(key).lexicographicallyPrecedes(position)
  }

  // MARK: Damage

  /// Keeps the iterators off table files that were cut short while they are open: RocksDB's
  /// read-ahead ends the process there, where assertions are compiled in as in Debian's build.
  private mutating func avoidShortTables() throws {
    if let gap, !position.lexicographicallyPrecedes(gap) { self.gap = nil }
    bound = gap
    let tables = try tables().filter { !$0.largestKey.lexicographicallyPrecedes(position) }
      .sorted { $0.smallestKey.lexicographicallyPrecedes($1.smallestKey) }
    for table in tables {
      guard let error = Self.shortage(of: table, in: database.path) else { continue }
      if table.level == 0, leavesOut {
        try note(error)
        if leaveOut(table) { return try avoidShortTables() }
      }
      if position.lexicographicallyPrecedes(table.smallestKey) {
        if bound.map({ table.smallestKey.lexicographicallyPrecedes($0) }) ?? true {
          bound = table.smallestKey
        }
      } else if !table.largestKey.lexicographicallyPrecedes(position) {
        try note(error)
        let next = table.largestKey + [0]
        lose(table.number, to: next)
        position = next
      }
    }
  }

  private func tables() throws -> [Database.TableFile] {
    do throws(RocksError) {
      return try database.tableFiles(of: family)
    } catch {
      throw failure(error)
    }
  }

  private static func shortage(of table: Database.TableFile, in path: String) -> RocksError? {
    let name = Database.tableFileName(table.number)
    // A file that is gone may be read through an open descriptor; RocksDB says when it is not.
    guard let bytes = try? Files.size(path + "/" + name), bytes < table.bytes else { return nil }
    return RocksError(
      kind: .corruption,
      message: "Corruption: the table file \(path)/\(name) has \(bytes) of \(table.bytes) bytes")
  }

  /// Goes on without a table; false when it cannot be done, and is not tried again.
  private mutating func leaveOut(_ table: Database.TableFile) -> Bool {
    guard leavesOut, leftOut.count < Self.leftOutLimit else { return false }
    let numbers = leftOut.compactMap(\.file) + [table.number]
    do {
      view = try ReducedView(of: whole.path, family: wholeFamily.name, without: numbers)
    } catch {
      leavesOut = false
      return false
    }
    leftOut.append(
      SpoolLostRange(file: table.number, from: table.smallestKey, to: table.largestKey + [0]))
    return true
  }

  /// Notes damage.
  private mutating func note(_ error: RocksError) throws {
    let error = view?.translated(error) ?? error
    let failure = self.failure(error)
    guard error.kind == .corruption || error.kind == .ioError else { throw failure }
    if damage == nil { damage = failure }
    damageCount += 1
    guard damageCount <= Self.damageLimit else {
      lose(Self.tableNumber(in: error.message), to: nil)
      throw failure
    }
  }

  private mutating func lose(_ file: UInt64?, to end: [UInt8]?) {
    if let last = lost.last, last.file == file, last.to == position {
      lost[lost.count - 1].to = end
    } else {
      lost.append(SpoolLostRange(file: file, from: position, to: end))
    }
  }

  /// Takes the walk behind an error of an iterator.
  ///
  /// The error ends the iterator as soon as one table meets it, while others may still have entries
  /// in front of that table; those are read first, once. Then the nearest key that can be read is
  /// searched for. Where the text names no table in use, as with a blob file, the search has no
  /// bound: it stays near the damage all the same, because its steps begin with the next key.
  private mutating func pass(_ error: RocksError) throws {
    gap = nil
    try note(error)
    let number = Self.tableNumber(in: error.message)
    let table = try number.flatMap { number in try tables().first { $0.number == number } }
    // Behind all of its keys no sound table is read.
    if let table, table.level == 0, leavesOut,
      let met = try damage(at: table.largestKey + [0]), Self.tableNumber(in: met.message) == number,
      leaveOut(table)
    {
      return
    }
    if let table, position.lexicographicallyPrecedes(table.smallestKey),
      passedGaps.insert(table.number).inserted
    {
      gap = table.smallestKey
      return
    }
    let isAhead = table.map { !$0.largestKey.lexicographicallyPrecedes(position) } ?? false
    let search = ReadableKeySearch(from: position, limit: isAhead ? table?.largestKey : nil)
    guard let next = try search.run(damageAt: damage(at:)) else {
      // Such as a table of level 0 that does not open and could not be left out: it is part of
      // every read.
      lose(number, to: nil)
      throw damage ?? failure(error)
    }
    if next != position {
      lose(number, to: next)
      position = next
    }
  }

  /// What a read that begins at a key meets; nil when it can be read.
  private func damage(at key: [UInt8]) throws -> RocksError? {
    if let reason = stopReason() { throw reason }
    var options = IterationOptions()
    options.fillsCache = false
    options.snapshot = snapshot
    options.ignoresRangeDeletions = true
    do throws(RocksError) {
      var iterator = try makeIterator(options)
      iterator.seek(key.span)
      try iterator.checkStatus()
      return nil
    } catch {
      guard error.kind == .corruption || error.kind == .ioError else {
        throw failure(error)
      }
      return error
    }
  }

  /// The number of the table file that an engine's text names.
  static func tableNumber(in text: String) -> UInt64? {
    for part in text.split(separator: "/").reversed() {
      let digits = part.prefix { $0.isASCII && $0.isNumber }
      let rest = part.dropFirst(digits.count)
      if rest.hasPrefix(".sst") || rest.hasPrefix(".ldb") { return UInt64(digits) }
    }
    return nil
  }
}
