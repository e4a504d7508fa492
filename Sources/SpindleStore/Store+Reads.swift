public import SpindleCore
internal import SpindleIO
package import SpindleRocks

extension Store {
  /// Reads a value.
  ///
  /// A value in memory is read on the caller's thread; one that needs the disk goes to the store's
  /// own threads, and so does one above 256 KiB that was written lately, which takes a copy.
  ///
  /// - Returns: nil when the key is absent.
  /// - Throws: ``SpindleError`` with `corruption` for damaged blocks, `io`, or `closed`.
  public func get(_ family: StoreFamily, key: [UInt8]) async throws -> Bytes? {
    switch try cachedValue(family, key: key.span) {
    case .found(let value): return copyBytes(value.bytes)
    case .absent: return nil
    case .elsewhere: break
    }
    return try await blocking { try self.getBlocking(family, key: key) }
  }

  /// The same on the caller's thread, which may wait for the disk.
  package func getBlocking(_ family: StoreFamily, key: [UInt8]) throws -> Bytes? {
    do throws(RocksError) {
      let value = try database.get(family.columnFamily, key.span)
      guard let value else { return nil }
      return copyBytes(value.bytes)
    } catch {
      throw failure(error, reading: family)
    }
  }

  /// Lends a value's bytes without a copy when they are in memory, and copies them once otherwise.
  package func withValue<Result>(
    _ family: StoreFamily, key: [UInt8], _ body: (Span<UInt8>?) throws -> Result
  ) async throws -> Result {
    switch try cachedValue(family, key: key.span) {
    case .found(let value): return try body(value.bytes)
    case .absent: return try body(nil)
    case .elsewhere: break
    }
    let value = try await blocking { try self.getBlocking(family, key: key) }
    guard let value else { return try body(nil) }
    return try body(value.span)
  }

  /// The same without a copy, for a body that may run on another thread.
  package func withValueAnywhere<Result: Sendable>(
    _ family: StoreFamily, key: [UInt8], atEnd: @escaping @Sendable () -> Void = {},
    _ body: @escaping @Sendable (Span<UInt8>?) throws -> Result
  ) async throws -> Result {
    var isHere = true
    defer { if isHere { atEnd() } }
    switch try cachedValue(family, key: key.span) {
    case .found(let value): return try body(value.bytes)
    case .absent: return try body(nil)
    case .elsewhere:
      isHere = false
      return try await withValueBlocking(family, key: key, atEnd: atEnd, body)
    }
  }

  /// What memory alone says of a key.
  package enum CachedValue: ~Copyable {
    case found(PinnedValue)
    case absent
    /// The disk is needed, or a copy may be long: a read on a thread that may block tells.
    case elsewhere
  }

  /// Reads a value that is in memory, on the caller's thread and without an allocation of its own.
  ///
  /// Not generic, unlike ``withValue(_:key:_:)``: across modules a generic function moves what it
  /// returns by way of its metadata, which costs a tenth of such a read.
  package func cachedValue(
    _ family: StoreFamily, key: Span<UInt8>
  ) throws -> CachedValue {
    try checkOpen()
    if family.largeValues.mayHold(key) { return .elsewhere }
    do throws(RocksError) {
      guard let value = try database.get(family.columnFamily, key, tier: .cache) else {
        return .absent
      }
      return .found(value)
    } catch {
      if error.kind == .incomplete { return .elsewhere }
      throw failure(error, reading: family)
    }
  }

  /// Lends a value to a body on one of the store's own threads, without a copy: for values that are
  /// not in memory, and for bodies that take long. A cancelled caller leaves at once, and the read
  /// ends for nobody.
  ///
  /// - Parameter atEnd: Called once, when the read has ended or will not be made.
  package func withValueBlocking<Result: Sendable>(
    _ family: StoreFamily, key: [UInt8], atEnd: @escaping @Sendable () -> Void = {},
    _ body: @escaping @Sendable (Span<UInt8>?) throws -> Result
  ) async throws -> Result {
    do {
      try checkOpen()
    } catch {
      atEnd()
      throw error
    }
    return try await pool.runUntilCancelled(atEnd: atEnd) {
      do {
        let value = try self.database.get(family.columnFamily, key.span)
        guard let value else { return try body(nil) }
        return try body(value.bytes)
      } catch let error as RocksError {
        throw self.failure(error, reading: family)
      }
    }
  }

  /// Walks a family in key order on the caller's thread, which may wait for the disk.
  ///
  /// - Parameter body: Gets key and value, borrowed for the call; returns whether to go on.
  package func scan(
    _ family: StoreFamily, _ options: IterationOptions = IterationOptions(),
    _ body: (Span<UInt8>, Span<UInt8>) throws -> Bool
  ) throws {
    do {
      var iterator = try makeIterator(family, options)
      iterator.seekToFirst()
      while iterator.isValid {
        guard try body(iterator.key, iterator.value) else { return }
        iterator.next()
      }
      try iterator.checkStatus()
    } catch let error as RocksError {
      throw failure(error, reading: family)
    }
  }

  /// An iterator for walks that jump. Only on threads that may block.
  package func iterator(
    _ family: StoreFamily, _ options: IterationOptions = IterationOptions()
  ) throws -> DatabaseIterator {
    do throws(RocksError) {
      return try makeIterator(family, options)
    } catch {
      throw failure(error, reading: family)
    }
  }

  /// Makes an iterator that never takes a table that does not open for the end of the data.
  ///
  /// RocksDB 7.8.3 does so above level 0 when it looks for range deletions. So they are overlooked
  /// in the families that hold none; in the others every table is opened first.
  private func makeIterator(
    _ family: StoreFamily, _ options: IterationOptions
  ) throws(RocksError) -> DatabaseIterator {
    var options = options
    options.ignoresRangeDeletions = !family.holdsRangeDeletions
    let iterator = try database.iterator(family.columnFamily, options)
    // After the iterator is made: of the tables that it sees, those that are no longer listed were
    // read to their end by the compaction that replaced them.
    if family.holdsRangeDeletions { try checkTablesOpen(family) }
    return iterator
  }

  /// Throws when a table of the family does not open. Two seeks for each table.
  private func checkTablesOpen(_ family: StoreFamily) throws(RocksError) {
    var options = IterationOptions()
    options.fillsCache = false
    options.ignoresRangeDeletions = true
    let tables = try database.tableFiles(of: family.columnFamily)
    // Newer than the list: a table that it does not see was replaced and is not read any more.
    var iterator = try database.iterator(family.columnFamily, options)
    for table in tables {
      // The largest key too: the smallest may be the last of the table in front of it.
      iterator.seek(table.smallestKey.span)
      try iterator.checkStatus()
      iterator.seek(table.largestKey.span)
      try iterator.checkStatus()
    }
  }

  /// Turns a failed read into an error, and tells the family's gate.
  package func failure(_ error: RocksError, reading family: StoreFamily) -> SpindleError {
    family.health.record(error)
    return described(error, reading: family)
  }

  /// The same for reads whose damage is no reason to stop the family's writes.
  package func described(_ error: RocksError, reading family: StoreFamily) -> SpindleError {
    let plain = error.spindleError
    return SpindleError(
      plain.kind, "reading \(family.name): \(plain.message)", path: path, reason: plain.reason)
  }
}

extension Store {
  /// Reads many values of one family at one view, on the caller's thread, which may wait for the
  /// disk.
  package func multiGetBlocking(_ family: StoreFamily, _ keys: [[UInt8]]) throws -> [Bytes?] {
    do throws(RocksError) {
      return try database.multiGet(family.columnFamily, keys)
    } catch {
      throw failure(error, reading: family)
    }
  }
}
