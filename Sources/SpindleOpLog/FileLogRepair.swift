internal import Logging
public import SpindleCore
internal import SpindleIO
internal import Synchronization

/// What a look through the own files of a log came to: see ``Publisher/repair()``.
public struct FileLogRepair: Sendable {
  /// The indices that were written once more, from the op-log.
  public internal(set) var republished: [Range<UInt64>] = []
  /// The indices that neither the files nor the op-log has: it was trimmed there. A replica that
  /// lacks them starts from a snapshot.
  public internal(set) var lost: [Range<UInt64>] = []
  /// Where the files are now that were damaged.
  public internal(set) var setAside: [String] = []
  /// Why segments could not be judged: an I/O error, a newer version wrote them, or they are larger
  /// than ``FileLogSettings/segmentByteLimit``, which may have been higher. They are left alone.
  public internal(set) var unreadable: [SpindleError] = []

  /// Whether nothing was wrong.
  public var isSound: Bool {
    republished.isEmpty && lost.isEmpty && setAside.isEmpty && unreadable.isEmpty
  }
}

/// Mending the files from the op-log.
///
/// Crash windows. Nothing but these steps changes the files, and whatever a crash leaves, the next
/// repair finds as a hole, as damage, or whole:
/// - *After a damaged file was copied to its new name*: it is there twice. The next repair finds
///   the copy and makes no other.
/// - *After a file without any readable entry was renamed*: a hole, which is filled. Readers see a
///   log that ends before it.
/// - *After the readable beginning replaced the damaged file*, which one rename does: a hole behind
///   it, which is filled by the next repair with a segment of its own.
/// - *Between two pages*: the same, behind the last page.
/// - *Before the mark is written*: it tells what was acknowledged before, which is all in the files
///   again. One that is damaged, or tells of what is lost, has a new name already: nothing is said.
///
/// What is written anew was acknowledged before, so every reader that has it has the same entries:
/// the op-log's heads are compared with those of the files on both sides of a hole first.
extension FileLogSink {
  /// See ``Publisher/repair()``, which no publishing overtakes.
  package func repair(from log: any PublishedLog<Op>) async throws -> FileLogRepair {
    let selfID = selfID
    let floor = try await log.floor(of: selfID)
    var found = try await withFiles { files, _ in try files.examine(selfID) }
    // Files may begin where the op-log did when they were made.
    found.faults.removeAll { fault in
      fault.damaged == nil && fault.missing.lowerBound == 0 && !fault.isLast
        && fault.missing.upperBound == found.first && fault.missing.upperBound <= floor
    }
    var repair = FileLogRepair()
    repair.unreadable = found.unreadable
    // Whether or not anything is to be mended: the files may be sound and the op-log restored.
    try await log.checkEnd(ofFiles: found.end)
    if !found.faults.isEmpty || !found.useless.isEmpty || found.isMarkDamaged {
      // What is in the files must not be lost with the op-log's power.
      try await log.synchronize()
      for fault in found.faults { try await check(fault, floor, log) }
      try passed("examined")
      for path in found.useless { try await move(path, &repair) }
      if found.isMarkDamaged { try await moveMark(&repair) }
      for fault in found.faults { try await mend(fault, floor, found, log, &repair) }
      try await markEnd()
      try passed("marked")
    }
    isExamined.store(true, ordering: .relaxed)
    tell(repair)
    return repair
  }

  private func passed(_ step: String) throws { try settings.hooks.afterRepairStep(step) }

  // MARK: Before anything changes

  /// Compares the chain's heads of the files beside a hole with those of the op-log.
  private func check(
    _ fault: FileLogExamination.Fault, _ floor: UInt64, _ log: any PublishedLog<Op>
  ) async throws {
    for (index, head) in [
      (fault.missing.lowerBound, fault.head), (fault.missing.upperBound, fault.nextHead),
    ] where index >= floor {
      guard let head, let recorded = try await log.chainHead(of: selfID, before: index),
        recorded != head
      else { continue }
      throw SpindleError(
        .conflict,
        "the files of peer \(selfID) hold other entries at index \(index) than its op-log, which "
          + "cannot mend them", reason: "chain_mismatch")
    }
  }

  // MARK: Steps

  private func mend(
    _ fault: FileLogExamination.Fault, _ floor: UInt64, _ found: FileLogExamination,
    _ log: any PublishedLog<Op>, _ repair: inout FileLogRepair
  ) async throws {
    var state: SegmentState?
    if let start = fault.damaged { state = try await keepBeginning(of: start, &repair) }
    let missing = fault.missing
    let from = min(max(missing.lowerBound, floor), missing.upperBound)
    // Before the first file there may have been none.
    let known = missing.lowerBound == 0 ? min(found.first ?? from, from) : missing.lowerBound
    if known < from { repair.lost.append(known..<from) }
    guard from < missing.upperBound else {
      // Nothing that is acknowledged lies behind the files now.
      if fault.isLast, known < from { try await moveMark(&repair) }
      return
    }
    var head = fault.head
    if from > missing.lowerBound { head = try await log.chainHead(of: selfID, before: from) }
    let start = LogPosition(next: from, head: head)
    var next = from
    while next < missing.upperBound {
      try Task.checkCancellation()
      let page = try await log.readSince(peer: selfID, from: next)
        .prefix { $0.index < missing.upperBound }
      guard let index = page.first?.index, index == next else {
        throw SyncError.cursorMismatch(
          peer: selfID, expected: next, actual: page.first?.index ?? missing.upperBound)
      }
      let (entries, end) = (Array(page), state)
      state = try await withFiles { [self] files, tail in
        tail = .unknown
        let plan = try self.plan(entries, from: end, startingAt: start)
        for piece in plan { try write(piece, to: files) }
        return plan.last?.end ?? end
      }
      next += UInt64(page.count)
      try passed("page")
    }
    repair.republished.append(from..<missing.upperBound)
  }

  /// Puts the entries of a damaged segment that can be read in its place, and keeps the file under
  /// another name.
  ///
  /// - Returns: The end of the new segment; nil for none.
  private func keepBeginning(
    of start: UInt64, _ repair: inout FileLogRepair
  ) async throws -> SegmentState? {
    let selfID = selfID
    let (path, content) = try await withFiles { files, _ in
      (
        files.folder.segment(of: selfID, start: start),
        try files.load(selfID, start: start)?.content
      )
    }
    guard let content, !content.entries.isEmpty else {
      try await move(path, &repair)
      return nil
    }
    repair.setAside.append(try await setAside(path, keeps: true))
    try passed("copied")
    let end = try await withFiles { [self] files, tail in
      tail = .unknown
      let (bytes, end) = try encode(content.entries, content.state.header)
      do throws(IOFailure) { try Files.writeAtomically(bytes, to: path) } catch {
        throw error.spindleError
      }
      return end
    }
    try passed("replaced")
    return end
  }

  private func move(_ path: String, _ repair: inout FileLogRepair) async throws {
    repair.setAside.append(try await setAside(path, keeps: false))
    try passed("moved")
  }

  private func moveMark(_ repair: inout FileLogRepair) async throws {
    let selfID = selfID
    let mark = try await withFiles { files, _ in files.folder.mark(of: selfID) }
    try await move(mark, &repair)
  }

  /// Gives a file a name that nobody reads, or a copy such a name.
  ///
  /// - Returns: The name.
  private func setAside(_ path: String, keeps: Bool) async throws -> String {
    try await withFiles { _, tail in
      tail = .unknown
      do throws(IOFailure) {
        var name = path + ".damaged"
        var number = 1
        while try Files.isThere(name) {
          // An interrupted repair made it.
          if keeps, try Self.isCopy(name, of: path) { return name }
          number += 1
          name = "\(path).damaged\(number)"
        }
        if keeps { try Files.copy(path, to: name) } else { try Files.move(path, to: name) }
        try Files.synchronizeDirectory(Files.directory(of: path))
        return name
      } catch {
        throw error.spindleError
      }
    }
  }

  private static func isCopy(_ copy: String, of path: String) throws(IOFailure) -> Bool {
    var one = try FileReader(copy)
    var other = try FileReader(path)
    guard one.size == other.size else { return false }
    // Piece by piece: a file that nobody here wrote may have any size.
    while true {
      let piece = try one.read(1 << 20)
      guard try other.read(1 << 20) == piece else { return false }
      if piece.isEmpty { return true }
    }
  }

  /// Writes the mark of what is acknowledged for the files as they are now.
  private func markEnd() async throws {
    _ = try await position()
    try await withFiles { [self] files, tail in
      if case .known(let end?) = tail { try mark(end, isSynced: true, in: files) }
    }
  }

  // MARK: Log lines

  /// Says that entries which were never published are gone from the op-log.
  func tell(lost: Range<UInt64>) {
    var repair = FileLogRepair()
    repair.lost = [lost]
    tell(repair)
  }

  private func tell(_ repair: FileLogRepair) {
    if repair.isSound { return }
    let logger = settings.logger ?? Logger(label: "spindle.oplog")
    let peer: Logger.MetadataValue = "\(selfID)"
    for range in repair.republished {
      logger.warning(
        "entries that were missing in the own log files are written once more",
        metadata: ["spindle.peer": peer, "spindle.indices": "\(range)"])
    }
    for path in repair.setAside {
      logger.warning(
        "a damaged log file is set aside",
        metadata: ["spindle.peer": peer, "spindle.path": "\(path)"])
    }
    for range in repair.lost {
      logger.error(
        "entries are missing in the own log files, and the op-log was trimmed there",
        metadata: ["spindle.peer": peer, "spindle.indices": "\(range)"])
    }
    for error in repair.unreadable {
      logger.error(
        "an own log file cannot be judged",
        metadata: ["spindle.peer": peer, "spindle.detail": "\(error.message)"])
    }
  }
}
