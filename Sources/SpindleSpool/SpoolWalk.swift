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
/// - The damage of a table costs what that table holds there, and nothing of others, and what can
///   be read of the table up to it and behind it counts: messages and removals. Only from the
///   beginning of the damage to its end the walk reads a ``ReducedView`` without the table. One of
///   level 0 that no read gets past, since it does not open, is left out to the end of the walk, as
///   is any that was cut short. A view is of one moment; what is stored after it is not given of
///   such a stretch.
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
  /// repair and not a walk. So no more tables are left out at a time either.
  static let damageLimit = 1_000
  /// Views held at a time, so that damage in turn here and there makes none anew. Each takes memory
  /// for what the log holds.
  static let viewLimit = 2

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

  /// A table that is not read, up to a key; nil is for good.
  private struct Absence {
    let table: UInt64
    let end: [UInt8]?
  }

  /// What could not be read, in the order of the keys.
  package var lostRanges: [SpoolLostRange] { SpoolRanges(joining: lost).ranges }
  /// The same by table, as it was met.
  private(set) var lost: [SpoolLostRange] = []
  /// Of that, where nothing was given of sound tables either.
  private(set) var unread: [SpoolLostRange] = []
  /// The tables that are left out now.
  private var absent: [Absence] = []
  /// What is read in place of the database while a table is left out.
  private var view: ReducedView?
  /// The views held, by the tables that they lack; the one used last stands last.
  private var views: [(without: [UInt64], view: ReducedView)] = []
  /// Where views are made; nil is the temporary directory.
  private let viewPlace: String?
  /// False where no table is to be left out, and when no view could be made.
  private var leavesOut: Bool
  /// Why no view could be made.
  private var viewFailure: (any Error)?
  /// The first damage met.
  package private(set) var damage: SpindleError?
  /// The first key that was not visited.
  private var position: [UInt8] = []
  /// Where the next iterator has to end.
  private var bound: [UInt8]?
  /// What is read next, up to damage that lies ahead, and where the walk stood when that was found.
  private var stretch: (from: [UInt8], to: [UInt8])?
  /// Tables that were found to be short, each of which counts as one place of damage.
  private var shortTables: Set<UInt64> = []
  private var damageCount = 0

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
    viewPlace = nil
    leavesOut = true
    failure =
      shutsGate
      ? { store.failure($0, reading: family) } : { store.described($0, reading: family) }
    self.snapshot = snapshot
    self.stopReason = stopReason
  }

  /// Walks a database that no store has open, from a key on.
  ///
  /// - Parameter place: The directory in which views are made; nil: no table is left out.
  init(
    _ database: Database, _ family: ColumnFamily, from start: [UInt8] = [], viewsIn place: String?
  ) {
    position = start
    whole = database
    wholeFamily = family
    viewPlace = place
    leavesOut = place != nil
    failure = { $0.spindleError }
    snapshot = nil
    stopReason = { nil }
  }

  private var database: Database { view?.database ?? whole }
  private var family: ColumnFamily { view?.family ?? wholeFamily }

  /// Walks to the end.
  ///
  /// - Parameters:
  ///   - released: Called whenever the walk holds no iterator, also before it looks for the end of
  ///     damage or makes a view, which takes up to seconds; may wait.
  ///   - visit: Gets key and record, borrowed for the call.
  /// - Throws: what the two throw, the reason to stop, or damage that the walk cannot go behind.
  package mutating func run(
    released: () throws -> Void = {}, _ visit: (Span<UInt8>, Span<UInt8>) throws -> Step
  ) throws {
    defer {
      view = nil
      views = []
    }
    while true {
      try chooseTables()
      switch try readSegment(visit) {
      case .stopped: return
      case .released: try released()
      case .failed(let error):
        try released()
        try pass(error)
      case .end:
        guard let bound else { return }
        position = bound
        try released()
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
      guard let last = unread.last, last.to == nil else { throw error }
    }
  }

  /// Throws where a view could not be made, so that intact tables may have been hidden.
  func checkViews() throws {
    guard let viewFailure else { return }
    if let error = viewFailure as? RocksError { throw error.spindleError }
    throw (viewFailure as? IOFailure)?.spindleError ?? viewFailure
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
      iterator.seek(position.span)
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

  // MARK: Damage

  /// Sets what is read next, and how far.
  private mutating func chooseTables() throws {
    bound = nil
    let count = absent.count
    absent.removeAll { $0.end.map { !position.lexicographicallyPrecedes($0) } ?? false }
    if absent.count < count { leaveOutAbsent() }
    try avoidShortTables()
    for end in absent.compactMap(\.end) { limit(to: end) }
    if let stretch, position.lexicographicallyPrecedes(stretch.to) { limit(to: stretch.to) }
  }

  private mutating func limit(to key: [UInt8]) {
    if bound.map({ key.lexicographicallyPrecedes($0) }) ?? true { bound = key }
  }

  /// Keeps the iterators off table files that were cut short while they are open: RocksDB's
  /// read-ahead ends the process there, where assertions are compiled in as in Debian's build.
  private mutating func avoidShortTables() throws {
    var short = try findShortTables()
    while leavesOut, !short.isEmpty {
      for (table, error) in short { try noteShort(table, error) }
      // One view for all of them. Where it cannot be made, those left out so far are back, too.
      leaveOut(short.map { $0.table }, to: nil)
      short = try findShortTables()
    }
    for (table, error) in short {
      if position.lexicographicallyPrecedes(table.smallestKey) {
        limit(to: table.smallestKey)
      } else if !table.largestKey.lexicographicallyPrecedes(position) {
        try noteShort(table, error)
        skip(table.number, to: table.largestKey + [0])
      }
    }
  }

  /// The short tables of what is read now that have keys from the walk's place on, in their order.
  private func findShortTables() throws -> [(table: Database.TableFile, error: RocksError)] {
    var found: [(table: Database.TableFile, error: RocksError)] = []
    for table in try tables() where !table.largestKey.lexicographicallyPrecedes(position) {
      if let reason = stopReason() { throw reason }
      if let error = Self.shortage(of: table, in: database.path) { found.append((table, error)) }
    }
    return found.sorted { $0.table.smallestKey.lexicographicallyPrecedes($1.table.smallestKey) }
  }

  private mutating func noteShort(_ table: Database.TableFile, _ error: RocksError) throws {
    guard shortTables.insert(table.number).inserted else { return }
    try note(error)
    try count(error)
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

  /// Goes on without tables up to a key, or for good; false when it cannot be done.
  @discardableResult
  private mutating func leaveOut(_ tables: [Database.TableFile], to end: [UInt8]?) -> Bool {
    absent += tables.map { Absence(table: $0.number, end: end) }
    guard leaveOutAbsent() else { return false }
    for table in tables {
      // What stands in front of its first key or behind its last was never in it.
      let first = table.smallestKey
      let from = position.lexicographicallyPrecedes(first) ? first : position
      let last = table.largestKey + [0]
      let to = end.map { $0.lexicographicallyPrecedes(last) ? $0 : last } ?? last
      guard from.lexicographicallyPrecedes(to) else { continue }
      lost.append(SpoolLostRange(file: table.number, from: from, to: to))
    }
    return true
  }

  /// Reads on in what lacks the absent tables and no others. Where that cannot be made all are read
  /// again, and it is not tried any more.
  @discardableResult
  private mutating func leaveOutAbsent() -> Bool {
    view = nil
    let numbers = absent.map(\.table).sorted()
    guard !numbers.isEmpty else { return true }
    if let place = views.firstIndex(where: { $0.without == numbers }) {
      views.append(views.remove(at: place))
    } else {
      if views.count == Self.viewLimit { views.removeFirst() }
      do {
        let made = try ReducedView(
          of: whole.path, family: wholeFamily.name, without: numbers, in: viewPlace)
        views.append((numbers, made))
      } catch {
        leavesOut = false
        viewFailure = error
        absent = []
        return false
      }
    }
    view = views.last?.view
    return true
  }

  /// Notes the first damage.
  ///
  /// - Throws: where an error is none: a process out of descriptors would lose all of the spool.
  private mutating func note(_ error: RocksError) throws {
    let error = view?.translated(error) ?? error
    if error.isOutOfDescriptors { throw error.outOfDescriptors }
    let failure = self.failure(error)
    guard error.kind == .corruption || error.kind == .ioError else { throw failure }
    if damage == nil { damage = failure }
  }

  /// Counts a place of damage, before the walk goes behind it.
  private mutating func count(_ error: RocksError) throws {
    damageCount += 1
    guard damageCount > Self.damageLimit else { return }
    skip(Self.tableNumber(in: error.message), to: nil)
    throw failure(view?.translated(error) ?? error)
  }

  /// Goes behind a stretch of which nothing is given.
  private mutating func skip(_ file: UInt64?, to end: [UInt8]?) {
    let range = SpoolLostRange(file: file, from: position, to: end)
    lost.append(range)
    unread.append(range)
    if let end { position = end }
  }

  /// Takes the walk behind an error of an iterator.
  ///
  /// Where it names a table, that is left out as far as its damage goes, and the walk goes on where
  /// it stands: others may have entries in front of the table and between its keys. Else the walk
  /// goes to the nearest key that can be read. Where the text names no table in use, as with a blob
  /// file, the search for it has no bound: it stays near the damage all the same, because its steps
  /// begin with the next key.
  private mutating func pass(_ error: RocksError) throws {
    try note(error)
    // The first that a read meets here may be another than the one that ended the iterator.
    guard let met = try damage(at: position) else { return try count(error) }
    let number = Self.tableNumber(in: met.message)
    let table = try number.flatMap { number in try tables().first { $0.number == number } }
    if let table, leavesOut {
      if try leaveOut(damaged: table, met) { return }
      // Where no view could be made, tables that no read may meet can be back.
      guard leavesOut else { return }
    } else {
      try count(error)
    }
    let isAhead = table.map { !$0.largestKey.lexicographicallyPrecedes(position) } ?? false
    let search = ReadableKeySearch(from: position, limit: isAhead ? table?.largestKey : nil)
    guard let next = try search.run(damageAt: { try damage(at: $0) }) else {
      // Such as a table of level 0 that does not open and could not be left out: it is part of
      // every read.
      skip(number, to: nil)
      throw damage ?? failure(error)
    }
    if next != position { skip(number, to: next) }
  }

  /// Leaves a table out whose damage a read met from the position on; false when it cannot be done.
  ///
  /// A read passes over what was removed, so it meets damage that is far ahead. What stands in
  /// front of that is read with the table: without it the removals there would be lost.
  private mutating func leaveOut(
    damaged table: Database.TableFile, _ error: RocksError
  ) throws -> Bool {
    let isMet = { (error: RocksError) in Self.tableNumber(in: error.message) == table.number }
    // Behind all of its keys no sound table is read.
    if table.level == 0, let met = try damage(at: table.largestKey + [0], alone: true), isMet(met) {
      try count(error)
      return leaveOut([table], to: nil)
    }
    var end = position
    if !table.largestKey.lexicographicallyPrecedes(position) {
      var hasMessages = false
      let search = ReadableStretchSearch(from: position)
      guard
        let (readable, met) = try search.run(isReadable: { from, to in
          let (error, isValid) = try read(from, to: to)
          if isValid { hasMessages = true }
          return error == nil
        })
      else {
        try count(error)
        return true
      }
      // Once for a place, should the read fail again.
      if hasMessages, stretch?.from != position, readable != position {
        stretch = (position, readable)
        return true
      }
      if !hasMessages { position = readable }
      // The end is found too early where the damage of another table is met before this one's.
      // Both are met again there.
      end =
        try ReadableKeySearch(from: met, limit: table.largestKey)
        .run(through: isMet) { try damage(at: $0, alone: true) } ?? met
    }
    try count(error)
    return end != position && leaveOut([table], to: end)
  }

  /// What a read that begins at a key meets; nil when it can be read.
  ///
  /// - Parameter alone: Whether no other key is read. Else the read goes on to the first message.
  private func damage(at key: [UInt8], alone: Bool = false) throws -> RocksError? {
    try read(key, to: alone ? key + [0] : bound).error
  }

  /// What a read of the first message from a key on meets, and whether there is one.
  private func read(
    _ key: [UInt8], to end: [UInt8]?
  ) throws -> (error: RocksError?, isValid: Bool) {
    if let reason = stopReason() { throw reason }
    var options = IterationOptions(upperBound: end)
    options.fillsCache = false
    options.snapshot = snapshot
    options.ignoresRangeDeletions = true
    do throws(RocksError) {
      var iterator = try makeIterator(options)
      iterator.seek(key.span)
      try iterator.checkStatus()
      return (nil, iterator.isValid)
    } catch {
      if error.isOutOfDescriptors { throw error.outOfDescriptors }
      guard error.kind == .corruption || error.kind == .ioError else { throw failure(error) }
      return (error, false)
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
