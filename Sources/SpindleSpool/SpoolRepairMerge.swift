internal import Glibc
internal import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// Brings a family that lacks its damaged tables to the state that a view with them shows.
///
/// The target lacks what only the damaged tables held: messages, which it is given, and tombstones,
/// without which older states of removed messages come to light, which are removed again. Where the
/// view cannot be read, what the target holds stays.
struct SpoolRepairMerge {
  /// Bytes of one write. Bounds the memory.
  static let writeByteLimit = 4 << 20
  /// How long a write may be put off because the memtables wait for their flush, in milliseconds.
  static let patience = 60_000

  let target: Database
  let family: ColumnFamily
  private var record = WriteRecord()
  /// Messages that the target was given.
  private(set) var rescued: UInt64 = 0

  init(into target: Database, _ family: ColumnFamily) {
    self.target = target
    self.family = family
  }

  /// - Parameters:
  ///   - look: A walk over the whole view that was made before.
  ///   - stretch: The keys that the damaged tables may hold; elsewhere nothing is changed.
  ///   - place: Where views are made that lack damaged tables.
  mutating func take(
    from view: Database, _ source: ColumnFamily, after look: SpoolWalk, within stretch: SpoolRanges,
    viewsIn place: String
  ) throws {
    // Nothing is given of these at all.
    let unread = SpoolRanges(ranges: look.unread)
    guard let first = stretch.ranges.first?.from, let end = stretch.ranges.last?.to else { return }
    var options = IterationOptions(lowerBound: first, upperBound: end)
    options.fillsCache = false
    options.ignoresRangeDeletions = true
    var present = try withEngineErrors { () throws(RocksError) in
      try target.iterator(family, options)
    }
    let concerns = { (key: Span<UInt8>) in
      stretch.contains(key) && !unread.contains(key)
    }
    present.seekToFirst()
    var walk = SpoolWalk(view, source, from: first, viewsIn: place)
    try walk.runReadable { key, value in
      guard precedes(key, end.span) else { return .stop }
      var isSame = false
      while present.isValid, !precedes(key, present.key) {
        if bytesEqual(key, present.key) {
          isSame = bytesEqual(value, present.value)
        } else if concerns(present.key) {
          record.delete(family.id, key: present.key)
        }
        present.next()
      }
      if !isSame, concerns(key) {
        record.put(family.id, key: key, value: value)
        rescued += 1
      }
      if record.byteCount > Self.writeByteLimit { try write() }
      return .next
    }
    try walk.checkViews()
    // What the walk did not read now must not pass for removed: neither where it gave nothing, nor
    // what a table holds that it now left out.
    let isAsBefore =
      SpoolRanges.isCovered(walk.unread, by: look.unread, ofEachFile: false)
      && SpoolRanges.isCovered(walk.lost, by: look.lost, ofEachFile: true)
    if let damage = walk.damage, !isAsBefore { throw damage }
    while present.isValid {
      if concerns(present.key) { record.delete(family.id, key: present.key) }
      if record.byteCount > Self.writeByteLimit { try write() }
      present.next()
    }
    // What is damaged beside the tables that were taken out, such as a blob file.
    try withEngineErrors { () throws(RocksError) in try present.checkStatus() }
    try write()
  }

  private mutating func write() throws {
    guard !record.isEmpty else { return }
    try target.writePatiently(&record)
    record.removeAll()
  }
}

extension Database {
  /// Writes a record of a repair, and waits while the memtables wait for their flush.
  func writePatiently(_ record: inout WriteRecord) throws {
    var tries = SpoolRepairMerge.patience
    while true {
      do throws(RocksError) {
        return try write(&record)
      } catch {
        tries -= 1
        guard error.kind == .incomplete, tries > 0 else { throw error.spindleError }
        usleep(1_000)
      }
    }
  }
}

/// Stretches of keys, in order and apart.
struct SpoolRanges {
  let ranges: [SpoolLostRange]

  func contains(_ key: Span<UInt8>) -> Bool {
    // The last that begins at the key or before it.
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      let start = ranges[middle].from
      if precedes(key, start.span) { high = middle } else { low = middle + 1 }
    }
    guard low > 0 else { return false }
    guard let end = ranges[low - 1].to else { return true }
    return precedes(key, end.span)
  }

  /// The stretches of keys of some tables, joined where they meet.
  init(of tables: [Database.TableFile]) {
    self.init(
      joining: tables.map {
        SpoolLostRange(file: $0.number, from: $0.smallestKey, to: $0.largestKey + [0])
      })
  }

  init(ranges: [SpoolLostRange]) { self.ranges = ranges }

  /// Whether ranges lie wholly in others together, with `ofEachFile` in those of the same file.
  static func isCovered(
    _ ranges: [SpoolLostRange], by others: [SpoolLostRange], ofEachFile: Bool
  ) -> Bool {
    let others = others.sorted { $0.from.lexicographicallyPrecedes($1.from) }
    return ranges.allSatisfy { range in
      // The first key that is in none of those looked at.
      var open = range.from
      for other in others where !ofEachFile || other.file == range.file {
        if open.lexicographicallyPrecedes(other.from) { return false }
        guard let end = other.to else { return true }
        if open.lexicographicallyPrecedes(end) { open = end }
        if let last = range.to, !open.lexicographicallyPrecedes(last) { return true }
      }
      return false
    }
  }

  /// Joins where they overlap, and where those of one file meet; what is joined names the first
  /// one's file.
  init(joining parts: [SpoolLostRange]) {
    var joined: [SpoolLostRange] = []
    for part in parts.sorted(by: { $0.from.lexicographicallyPrecedes($1.from) }) {
      guard let last = joined.last, let end = last.to else {
        if joined.isEmpty { joined.append(part) }
        continue
      }
      if end.lexicographicallyPrecedes(part.from) || end == part.from && last.file != part.file {
        joined.append(part)
      } else if part.to.map({ end.lexicographicallyPrecedes($0) }) ?? true {
        joined[joined.count - 1].to = part.to
      }
    }
    ranges = joined
  }

  /// What lies both here and in the stretches of some tables.
  func within(_ tables: [Database.TableFile]) -> SpoolRanges {
    var parts: [SpoolLostRange] = []
    for table in tables {
      let end = table.largestKey + [0]
      for range in ranges {
        let from =
          range.from.lexicographicallyPrecedes(table.smallestKey)
          ? table.smallestKey : range.from
        let to = range.to.map { $0.lexicographicallyPrecedes(end) ? $0 : end } ?? end
        guard from.lexicographicallyPrecedes(to) else { continue }
        parts.append(SpoolLostRange(file: table.number, from: from, to: to))
      }
    }
    return SpoolRanges(joining: parts)
  }
}

/// Whether a key stands before another in the order of the engine.
func precedes(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Bool {
  for index in 0..<min(left.count, right.count) where left[index] != right[index] {
    return left[index] < right[index]
  }
  return left.count < right.count
}

func withEngineErrors<Result: ~Copyable>(
  _ body: () throws(RocksError) -> Result
) throws(SpindleError) -> Result {
  do throws(RocksError) { return try body() } catch { throw error.spindleError }
}
