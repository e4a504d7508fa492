internal import Glibc
internal import Logging
public import SpindleCore
internal import SpindleIO

extension LocalDiskSpool {
  /// Sends every message made before `startTime` into a bounded channel, in no particular order,
  /// and besides every one that an earlier opening of the spool left, whatever its time: a clock
  /// may have been set back since.
  ///
  /// Left out are also messages that this opening stored after `startTime` under an older id, or
  /// earlier in the same millisecond: whoever stored them has them. Where one is being stored, the
  /// walk waits for that at its end, and gives what is there if it fails. What a store left that
  /// failed after the file had its name, before the walk came there, is left out until the next
  /// opening.
  ///
  /// Files that are no messages are counted as skipped and stray, damaged and unreadable ones are
  /// given as such, and directories that cannot be listed are counted in the outcome. Each is told
  /// in the log as well, up to a few.
  ///
  /// - Throws: ``SpindleError``: `overloaded` while ``walkLimit`` walks are under way, `closed`.
  /// - Complexity: Memory for the channel's messages and one more; a thread.
  public func enumerate(
    into channel: SpoolEntryChannel, startTime: SpoolInstant
  ) throws -> SpoolEnumeration {
    guard calls.begin() else { throw closedError }
    guard calls.beginWalk(atMost: Self.walkLimit) else {
      calls.end()
      throw SpindleError(
        .overloaded, "the spool has \(Self.walkLimit) walks under way already", path: path)
    }
    let handle = SpoolEnumeration()
    // Not the channel itself: the walk ends when its reader has let go of that.
    let queue = channel.queue
    do throws(IOFailure) {
      // A thread of its own: the walk waits for its reader, who may need the spool's threads.
      _ = try NamedThread(name: "spindle-walk") { [self] in
        var walk = LocalDiskWalk(
          spool: self, queue: queue, handle: handle, startTime: startTime)
        walk.run()
        // Whoever waited for the walk may start another at once.
        calls.endWalk()
        // The handle first: who has met the end of the channel finds the outcome there.
        handle.finish(walk.outcome)
        queue.finish()
        calls.end()
      }
    } catch {
      calls.endWalk()
      calls.end()
      throw error.spindleError
    }
    return handle
  }
}

/// One walk over the directories of a spool, on a thread that may block.
private struct LocalDiskWalk {
  let spool: LocalDiskSpool
  let queue: SpoolEntryQueue
  let handle: SpoolEnumeration
  let startTime: SpoolInstant
  var outcome = SpoolEnumeration.Outcome()
  /// Lines that may still be written about single entries.
  private var linesLeft = LocalDiskLog.linesPerWalk
  /// Messages of which is open yet whether they are stored after the start; as many at most as a
  /// walk of RocksDB puts off.
  private var undecided: [SpoolID] = []
  private var decides = false
  /// Progress is told every so many entries.
  private static let publishMask = 255

  init(
    spool: LocalDiskSpool, queue: SpoolEntryQueue, handle: SpoolEnumeration,
    startTime: SpoolInstant
  ) {
    self.spool = spool
    self.queue = queue
    self.handle = handle
    self.startTime = startTime
  }

  mutating func run() {
    spool.metrics?.enumerationStarted()
    visit(spool.directory.data, digits: "")
    decide()
    let failures =
      outcome.corrupt + outcome.unreadableDirectories + (outcome.error == nil ? 0 : 1)
    // A directory that cannot be listed hides messages: that is no walk that gave everything.
    if outcome.error == nil, let first = outcome.firstUnreadableDirectory {
      outcome.error = SpindleError(
        .io, "\(outcome.unreadableDirectories) directories cannot be listed; the first: \(first)",
        path: spool.path)
    }
    spool.metrics?.enumerationFinished(
      state: outcome.error == nil ? .finished : .failed, count: outcome.count, errors: failures)
    spool.log.write(
      failures > 0 ? .warning : .info, "a walk over a spool ended",
      [
        ("count", "\(outcome.count)"), ("skipped", "\(outcome.skipped)"),
        ("stray", "\(outcome.stray)"), ("corrupt", "\(outcome.corrupt)"),
        ("unreadable_directories", "\(outcome.unreadableDirectories)"),
      ] + (outcome.error.map { [("detail", $0.message)] } ?? []))
  }

  /// Tells of one entry that is bad, up to a few.
  private mutating func tell(_ message: StaticString, _ detail: String) {
    guard linesLeft > 0 else { return }
    linesLeft -= 1
    spool.log.write(.warning, message, [("detail", detail)])
  }

  private mutating func passStray(_ path: String) {
    outcome.skipped += 1
    outcome.stray += 1
    tell("a walk over a spool met a file that is no message's", path)
  }

  /// Walks a directory whose path so far has these digits of an id.
  private mutating func visit(_ path: String, digits: String) {
    do throws(IOFailure) {
      if digits.utf8.count == 2 * LocalDiskSpool.depth {
        // As it is read: one directory may hold very many files.
        try Files.forEachName(in: path) { name in
          guard mayGoOn() else { return false }
          take(path + "/" + name, text: digits + name)
          return true
        }
        return
      }
      for name in try Files.names(in: path) where mayGoOn() {
        let child = path + "/" + name
        guard LocalDiskSpool.isDirectoryName(name), Files.isDirectory(child) else {
          // A cleanup may have removed the directory since its name was read.
          if !LocalDiskSpool.isDirectoryName(name) || Files.exists(child) { passStray(child) }
          continue
        }
        visit(child, digits: digits + name)
      }
    } catch {
      guard !error.isNotFound else { return }
      outcome.unreadableDirectories += 1
      if outcome.firstUnreadableDirectory == nil { outcome.firstUnreadableDirectory = "\(error)" }
      tell("a walk over a spool met a directory that cannot be read", "\(error)")
    }
  }

  private mutating func take(_ path: String, text: String) {
    // Other spellings of an id would not be found by a load.
    guard let id = SpoolID(text: text), id.description == text else {
      return passStray(path)
    }
    do {
      let (record, payload) = try LocalDiskRecord.read(path)
      guard selects(id, record) else {
        outcome.skipped += 1
        return
      }
      send(.item(id: id, data: payload))
    } catch let error as IOFailure where error.isNotFound {
      // Removed since its name was read.
    } catch {
      tell("a walk over a spool met a damaged message", "\(path): \(error)")
      send(.corrupt(id: id, error: "\(path): \(error)"))
    }
  }

  private mutating func selects(_ id: SpoolID, _ record: LocalDiskRecord) -> Bool {
    guard SpoolSelection(startTime: startTime).isBefore(id) else {
      return record.run != spool.run
    }
    switch spool.lateStores.find(id, storedFrom: startTime) {
    case .stored: return false
    case .underWay:
      if decides || undecided.count == SpoolDelivery.undecidedLimit { return true }
      undecided.append(id)
      return false
    case .neither: break
    }
    // The header tells longer than what is noted, but from when the file was begun; and nothing of
    // a store that was waited for and failed.
    guard record.run == spool.run, !decides else { return true }
    let stored = SpoolInstant(unixMilliseconds: record.storedMilliseconds)
    return stored < startTime.flooredToMillisecond
  }

  /// Waits for the end of the stores that messages were put off for, and gives those messages that
  /// are there and were not stored.
  private mutating func decide() {
    guard !undecided.isEmpty else { return }
    handle.publish(outcome)
    decides = true
    for id in undecided {
      while mayGoOn(), spool.lateStores.isUnderWay(id) { usleep(SpoolDelivery.lookInterval) }
      guard mayGoOn() else { return }
      outcome.skipped -= 1
      take(id.path(under: spool.directory.data), text: id.description)
    }
  }

  /// Whether anybody still wants what is to come. Asked for each name: a walk that gives nothing,
  /// as it skips, would not hear of it otherwise.
  private mutating func mayGoOn() -> Bool {
    if outcome.error == nil, spool.calls.isClosed || queue.hasNoReader { end() }
    return outcome.error == nil
  }

  /// Notes why the walk ends early.
  private mutating func end() {
    outcome.error = SpindleError(
      .closed,
      "the enumeration of the spool \(spool.path) ended before its last message: "
        + (spool.calls.isClosed ? "the spool was closed" : "its reader is gone"))
  }

  private mutating func send(_ entry: SpoolEntry) {
    guard queue.send(entry, isStopped: { spool.calls.isClosed }), !spool.calls.isClosed else {
      return end()
    }
    // One lock beside the reading of a file.
    defer { handle.publish(outcome) }
    guard case .item = entry else {
      outcome.corrupt += 1
      return
    }
    outcome.count += 1
    if outcome.count & Self.publishMask == 0 {
      spool.metrics?.enumerationProgressed(count: outcome.count)
    }
  }
}
