public import SpindleCore
internal import SpindleIO

extension LocalDiskSpool {
  /// Sends every message made before `startTime` into a bounded channel, in no particular order,
  /// and besides every one that an earlier opening of the spool left, whatever its time: a clock
  /// may have been set back since.
  ///
  /// Left out are also messages that this opening stored after `startTime` under an older id:
  /// whoever stored them has them.
  ///
  /// Files that are no messages are counted as skipped, damaged and unreadable ones are given as
  /// such, and directories that cannot be listed are counted in the outcome.
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
        var walk = LocalDiskWalk(spool: self, queue: queue, startTime: startTime)
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
  let startTime: SpoolInstant
  var outcome = SpoolEnumeration.Outcome()

  init(spool: LocalDiskSpool, queue: SpoolEntryQueue, startTime: SpoolInstant) {
    self.spool = spool
    self.queue = queue
    self.startTime = startTime
  }

  mutating func run() { visit(spool.directory.data, digits: "") }

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
          if !LocalDiskSpool.isDirectoryName(name) || Files.exists(child) { outcome.skipped += 1 }
          continue
        }
        visit(child, digits: digits + name)
      }
    } catch {
      guard !error.isNotFound else { return }
      outcome.unreadableDirectories += 1
      if outcome.firstUnreadableDirectory == nil { outcome.firstUnreadableDirectory = "\(error)" }
    }
  }

  private mutating func take(_ path: String, text: String) {
    // Other spellings of an id would not be found by a load.
    guard let id = SpoolID(text: text), id.description == text else {
      outcome.skipped += 1
      return
    }
    do {
      let (record, payload) = try LocalDiskRecord.read(path)
      let stored = SpoolInstant(unixMilliseconds: record.storedMilliseconds)
      if record.run == spool.run, id.created >= startTime || stored > startTime {
        outcome.skipped += 1
        return
      }
      send(.item(id: id, data: payload))
    } catch let error as IOFailure where error.isNotFound {
      // Removed since its name was read.
    } catch {
      send(.corrupt(id: id, error: "\(path): \(error)"))
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
    if case .item = entry { outcome.count += 1 } else { outcome.corrupt += 1 }
  }
}
