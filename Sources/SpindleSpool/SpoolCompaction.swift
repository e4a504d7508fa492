internal import SpindleCore
package import SpindleIO
internal import SpindleRocks
internal import SpindleStore

/// What a compaction did.
public struct SpoolCompaction: Sendable, Equatable {
  /// Bytes of the spool's tables and blob files when it began, the memtable flushed, and at its
  /// end.
  public var bytesBefore: UInt64
  public var bytesAfter: UInt64
  public var duration: Duration
}

/// How far a compaction has come.
public struct SpoolCompactionProgress: Sendable, Equatable {
  /// Bytes written so far, never more than ``totalBytes``. An estimate: what other families flush
  /// and compact meanwhile counts too.
  public var doneBytes: UInt64
  /// Bytes of the spool's tables when the compaction began.
  public var totalBytes: UInt64
}

extension RocksSpool {
  /// Flushes the spool and compacts all of it; see ``compact(progress:)``.
  public func compact() async throws { _ = try await compact(progress: nil) }

  /// Flushes the spool and rewrites all its tables into one level, without what was removed or
  /// replaced. Damage that no read has met so far is found.
  ///
  /// Reads and writes go on, subject to RocksDB's backpressure. What the last run left is kept
  /// until its view is given back, see ``SpoolSettings/leftoversDuration``. Another call waits for
  /// this one and then compacts again. A cancelled call ends soon and throws `CancellationError`;
  /// what was done by then stays, and the spool is as healthy as before.
  ///
  /// - Parameter progress: Called about every 100 ms on a thread of the spool's own, and once at
  ///   the end of a success with all bytes done. It must not wait for this spool.
  /// - Throws: ``SpindleError``: `corruption` or `io` for damage, which also shuts the gate of the
  ///   spool; `unavailable` with the reason `disk_full` when less is free than 1.1 times the
  ///   largest level, and nothing was rewritten; `closed`; `overloaded` when too many calls wait.
  /// - Complexity: reads and writes every byte of the spool.
  @discardableResult
  public func compact(
    progress: (@Sendable (SpoolCompactionProgress) -> Void)?
  ) async throws -> SpoolCompaction {
    let path = storage.path
    return try await compact(progress: progress) { () throws(IOFailure) in
      try DiskSpace(of: path)
    }
  }

  /// The same with another answer to how much space is free.
  package func compact(
    progress: (@Sendable (SpoolCompactionProgress) -> Void)? = nil,
    space: @escaping @Sendable () throws(IOFailure) -> DiskSpace
  ) async throws -> SpoolCompaction {
    try await working {
      try await upkeep.compactions.take()
      defer { upkeep.compactions.leave() }
      try checkOpen()
      return try await upkeep.run("spindle-compact") { flag in
        let run = CompactionRun(spool: self, flag: flag, progress: progress, space: space)
        let result = try run.compact()
        self.storage.send(
          .compacted(
            spool: self.name, bytesBefore: result.bytesBefore, bytesAfter: result.bytesAfter))
        return result
      }
    }
  }
}

/// One compaction, on a thread that may block.
///
/// Crash windows: RocksDB takes new tables up and old ones out in one record of its manifest, so a
/// crash leaves the spool as it was or as it becomes; left-over files are removed at the next open.
struct CompactionRun {
  let spool: RocksSpool
  let flag: StopFlag
  let progress: (@Sendable (SpoolCompactionProgress) -> Void)?
  let space: @Sendable () throws(IOFailure) -> DiskSpace

  private var store: Store { spool.storage }
  private var database: Database { spool.storage.database }
  private var family: ColumnFamily { spool.family.columnFamily }

  func compact() throws -> SpoolCompaction {
    let start = store.clock.now
    let errors = database.listener.counters.backgroundErrors
    // Before anything is written to a disk that is nearly full, and again with what the flush adds.
    try checkSpace()
    do throws(RocksError) {
      // Where writers wait for compactions, this flush must not wait with them.
      try database.flush([family])
    } catch {
      throw plain(error, "flushing")
    }
    try checkSpace()
    let before = try bytes()
    try rewrite(before, errorsBefore: errors)
    let after = try bytes()
    progress?(SpoolCompactionProgress(doneBytes: before, totalBytes: before))
    return SpoolCompaction(
      bytesBefore: before, bytesAfter: after, duration: store.clock.now - start)
  }

  private func rewrite(_ total: UInt64, errorsBefore: UInt64) throws {
    if let reason = spool.stopReason(flag) { throw reason }
    let cancellation = CompactionCancellation()
    let watch = try watch(total, cancellation)
    defer {
      watch.done.signal()
      watch.thread.join()
    }
    do throws(RocksError) {
      try database.compact(family, cancellation: cancellation)
      // The call tells its own errors. What else failed meanwhile, in flushes and in compactions
      // that RocksDB chose, is told by the listener; ten seconds are enough for those that ran, and
      // whoever writes all the time is not waited for.
      _ = try database.waitForCompaction(
        timeoutMilliseconds: 10_000, backgroundErrorsBefore: errorsBefore)
    } catch {
      if let reason = spool.stopReason(flag) { throw reason }
      let grown = database.listener.counters.backgroundErrors > errorsBefore
      throw failure(grown ? database.listener.lastError ?? error : error)
    }
  }

  /// Cancels the compaction when it has to end, and tells how far it is.
  private func watch(
    _ total: UInt64, _ cancellation: CompactionCancellation
  ) throws -> (thread: NamedThread, done: ThreadSemaphore) {
    let done = ThreadSemaphore()
    let guardian = store.guardian
    let start = guardian?.totals.otherBytes ?? 0
    do throws(IOFailure) {
      let thread = try NamedThread(name: "spindle-watch") { [spool, flag, progress] in
        while !done.wait(milliseconds: 100) {
          if spool.stopReason(flag) != nil { cancellation.cancel() }
          let written = (guardian?.totals.otherBytes ?? 0) - start
          progress?(SpoolCompactionProgress(doneBytes: min(written, total), totalBytes: total))
        }
      }
      return (thread, done)
    } catch {
      throw error.spindleError
    }
  }

  // MARK: Space

  private func bytes() throws -> UInt64 {
    do throws(RocksError) {
      let tables = try database.property("rocksdb.live-sst-files-size", of: family) ?? 0
      let blobs = try database.property("rocksdb.live-blob-file-size", of: family) ?? 0
      return tables + blobs
    } catch {
      throw plain(error, "measuring")
    }
  }

  /// The tables of a level live on until their replacement is written.
  private func checkSpace() throws {
    var levels: [Int: UInt64] = [:]
    do throws(RocksError) {
      for table in try database.tableFiles(of: family) {
        levels[table.level, default: 0] += table.bytes
      }
    } catch {
      throw plain(error, "measuring")
    }
    let largest = levels.values.max() ?? 0
    let needed = largest + largest / 10
    let free: UInt64
    do throws(IOFailure) {
      free = try space().freeBytes
    } catch {
      throw error.spindleError
    }
    guard free >= needed else {
      throw SpindleError(
        .unavailable,
        "the spool \(spool.name) is not compacted: \(free) bytes are free on the disk, its largest "
          + "level takes \(needed)", path: store.path, reason: "disk_full")
    }
  }

  // MARK: Errors

  /// An error that says nothing of the stored data.
  private func plain(_ error: RocksError, _ what: String) -> SpindleError {
    let plain = error.spindleError
    return SpindleError(
      error.isNoSpace ? .unavailable : plain.kind,
      "\(what) the spool \(spool.name) failed: \(plain.message)", path: store.path,
      reason: plain.reason)
  }

  /// An error of the compaction. Damage of a table of this spool shuts its gate; a full disk, or
  /// what happened to another family meanwhile, does not.
  private func failure(_ error: RocksError) -> SpindleError {
    guard error.kind == .corruption || error.kind == .ioError, !error.isNoSpace, isOwn(error) else {
      return plain(error, "compacting")
    }
    let damage = store.failure(error, reading: spool.family)
    return SpindleError(
      damage.kind, "compacting the spool \(spool.name) failed: \(damage.message)",
      path: store.path, reason: damage.reason)
  }

  private func isOwn(_ error: RocksError) -> Bool {
    guard let number = SpoolWalk.tableNumber(in: error.message),
      let tables = try? database.tableFiles(of: family)
    else { return true }
    return tables.contains { $0.number == number }
  }
}
