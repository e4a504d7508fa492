internal import CRocksDB
internal import CRocksDBShim
internal import Glibc
internal import SpindleCore
internal import Synchronization

/// An open RocksDB database with all of its column families.
///
/// Calls may come from any thread. Unless it says otherwise a call may wait for the disk, so it
/// belongs on a thread that may block.
@safe public final class Database: @unchecked Sendable {
  // Proof of sendability: the engine handle and the option handles never change after `init`,
  // RocksDB's calls are thread-safe, and the table of families is behind a lock.

  /// How a database is opened.
  public enum Mode: Sendable, Equatable {
    case readWrite
    /// Replays the log in memory and writes nothing.
    case readOnly
    /// Follows a running owner; `scratch` is a directory for RocksDB's own log.
    case secondary(scratch: String)
  }

  /// Where a read may look.
  public enum ReadTier: Sendable {
    /// Everywhere.
    case all
    /// Memtables and block cache only: never waits for the disk.
    case cache
  }

  let engine: EngineHandle
  public let path: String
  private let families: Mutex<[String: ColumnFamily]>
  let cache: OpaquePointer
  /// What the cache may hold, in bytes: dropping its contents comes back to this.
  let cacheCapacity: Mutex<Int>
  private let guardian: WALGuard?
  public let listener: EngineListener
  private let options: DatabaseOptions
  private let readAll: OpaquePointer
  private let readCached: OpaquePointer
  private let writeNoSlowdown: OpaquePointer
  private let writeWithoutLog: OpaquePointer
  // The options that RocksDB was opened with: statistics are read through them.
  private let openOptions: OptionsHandleBox

  /// The names of the column families of a database on disk.
  public static func columnFamilyNames(at path: String) throws(RocksError) -> [String] {
    let options = unsafe rocksdb_options_create()
    defer { unsafe rocksdb_options_destroy(options) }
    var count = 0
    var list: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
    // RocksDB allocates a list, then an empty one, also when it fails.
    defer { if let list = unsafe list { unsafe rocksdb_list_column_families_destroy(list, count) } }
    try unsafe checked { unsafe list = rocksdb_list_column_families(options, path, &count, $0) }
    guard let names = unsafe list else { return [] }
    return (0..<count).map { index in
      unsafe names[index].map { unsafe String(cString: $0) } ?? ""
    }
  }

  /// Opens a database with every column family it has.
  ///
  /// - Parameters:
  ///   - path: RocksDB's directory. It must exist unless `options.createIfMissing`.
  ///   - familyOptions: The options of a family, asked once for each.
  ///   - guardian: Watches the write-ahead log's files; one guard serves one open database.
  public init(
    at path: String, mode: Mode, options: DatabaseOptions, guardian: WALGuard? = nil,
    familyOptions: (String) -> ColumnFamilyOptions
  ) throws(RocksError) {
    var names = ["default"]
    if !(options.createIfMissing && !Self.exists(at: path)) {
      names = try Self.columnFamilyNames(at: path)
    }
    let cache = unsafe rocksdb_cache_create_lru(options.blockCacheBytes)!
    let listener = EngineListener()
    // Whoever does not own the database writes no log; and the log is opened before RocksDB makes
    // the directory.
    let isOwner = mode == .readWrite
    if isOwner, options.createIfMissing { _ = unsafe mkdir(path, 0o755) }
    let box = unsafe OptionsHandleBox(
      OptionsHandle(
        options, family: familyOptions("default"), cache: cache, guardian: guardian,
        listener: listener, logDirectory: isOwner ? path : nil))
    let familyHandles = names.map { name in
      unsafe OptionsHandleBox(
        OptionsHandle(
          options, family: familyOptions(name), cache: cache, guardian: nil, listener: nil))
    }
    let opened: (OpaquePointer, [OpaquePointer])
    do throws(RocksError) {
      unsafe opened = try unsafe Self.open(
        path, mode: mode, options: box, names: names, familyOptions: familyHandles)
    } catch {
      unsafe rocksdb_cache_destroy(cache)
      throw error
    }
    unsafe engine = EngineHandle(owning: opened.0)
    var table: [String: ColumnFamily] = [:]
    for (index, name) in names.enumerated() {
      let handle = unsafe opened.1[index]
      table[name] = unsafe ColumnFamily(name: name, handle: handle)
    }
    families = Mutex(table)
    self.path = path
    unsafe self.cache = cache
    cacheCapacity = Mutex(options.blockCacheBytes)
    self.guardian = guardian
    self.listener = listener
    self.options = options
    openOptions = box
    unsafe readAll = rocksdb_readoptions_create()
    unsafe rocksdb_readoptions_set_verify_checksums(readAll, 1)
    unsafe readCached = rocksdb_readoptions_create()
    unsafe rocksdb_readoptions_set_read_tier(readCached, 1)
    unsafe writeNoSlowdown = rocksdb_writeoptions_create()
    unsafe rocksdb_writeoptions_set_no_slowdown(writeNoSlowdown, 1)
    unsafe writeWithoutLog = rocksdb_writeoptions_create()
    unsafe rocksdb_writeoptions_disable_WAL(writeWithoutLog, 1)
  }

  private static func exists(at path: String) -> Bool {
    unsafe access(path + "/CURRENT", F_OK) == 0
  }

  private static func open(
    _ path: String, mode: Mode, options: OptionsHandleBox, names: [String],
    familyOptions: [OptionsHandleBox]
  ) throws(RocksError) -> (OpaquePointer, [OpaquePointer]) {
    let count = Int32(names.count)
    let cNames = unsafe names.map { unsafe strdup($0) }
    defer { unsafe cNames.forEach { unsafe free($0) } }
    let pointers = unsafe cNames.map { unsafe UnsafePointer($0) }
    let cOptions: [OpaquePointer?] = unsafe familyOptions.map { unsafe $0.handle.pointer }
    var handles = unsafe [OpaquePointer?](repeating: nil, count: names.count)
    let pointer = try unsafe checked { error in
      switch mode {
      case .readWrite:
        unsafe rocksdb_open_column_families(
          options.handle.pointer, path, count, pointers, cOptions, &handles, error)
      case .readOnly:
        unsafe rocksdb_open_for_read_only_column_families(
          options.handle.pointer, path, count, pointers, cOptions, &handles, 0, error)
      case .secondary(let scratch):
        unsafe rocksdb_open_as_secondary_column_families(
          options.handle.pointer, path, scratch, count, pointers, cOptions, &handles, error)
      }
    }
    guard let pointer = unsafe pointer else {
      throw RocksError(message: "Corruption: open gave no database and no error")
    }
    return unsafe (pointer, handles.compactMap { unsafe $0 })
  }

  deinit {
    // The last resort; owners close explicitly and learn of errors.
    if closed.load(ordering: .acquiring) { return }
    if engine.quiesce(seconds: 5) { return destroy() }
    // Somebody still reads. The database stays open for them for good, and so must the file system
    // below it.
    if let guardian { _ = unsafe Unmanaged.passRetained(guardian) }
  }

  private let closed = Atomic<Bool>(false)

  /// Closes the database: refuses new calls, waits for running ones, destroys every handle.
  ///
  /// - Throws: `busy` when calls, iterators or snapshots are still in use after `seconds`.
  public func close(waitingAtMost seconds: Int = 30) throws(RocksError) {
    guard engine.quiesce(seconds: seconds) else {
      throw RocksError(
        kind: .busy, message: "Resource busy: reads are still in use after \(seconds) s")
    }
    if closed.exchange(true, ordering: .acquiringAndReleasing) { return }
    destroy()
  }

  private func destroy() {
    let handles = families.withLock { table in
      defer { table = [:] }
      return Array(table.values)
    }
    for family in handles { unsafe rocksdb_column_family_handle_destroy(family.handle) }
    engine.releaseSnapshots()
    unsafe rocksdb_close(engine.pointer)
    unsafe rocksdb_cache_destroy(cache)
    unsafe rocksdb_readoptions_destroy(readAll)
    unsafe rocksdb_readoptions_destroy(readCached)
    unsafe rocksdb_writeoptions_destroy(writeNoSlowdown)
    unsafe rocksdb_writeoptions_destroy(writeWithoutLog)
  }

  @inline(__always)
  func use<Result>(
    _ body: (OpaquePointer) throws(RocksError) -> Result
  ) throws(RocksError) -> Result {
    try engine.enter()
    defer { engine.leave() }
    return try unsafe body(engine.pointer)
  }

  // MARK: Column families

  /// All open column families.
  public var columnFamilies: [ColumnFamily] {
    families.withLock { $0.values.sorted { $0.id < $1.id } }
  }

  public func columnFamily(named name: String) -> ColumnFamily? {
    families.withLock { $0[name] }
  }

  /// Creates a column family. Costs 19 ms at 100 families and 153 ms at 1,000.
  public func createColumnFamily(
    named name: String, options familyOptions: ColumnFamilyOptions
  ) throws(RocksError) -> ColumnFamily {
    let handle = OptionsHandleBox(
      unsafe OptionsHandle(
        options, family: familyOptions, cache: cache, guardian: nil, listener: nil))
    let pointer = try unsafe use { db throws(RocksError) in
      try unsafe checked {
        unsafe rocksdb_create_column_family(db, handle.handle.pointer, name, $0)
      }
    }
    guard let pointer = unsafe pointer else {
      throw RocksError(message: "Corruption: no column family was created")
    }
    let family = unsafe ColumnFamily(name: name, handle: pointer)
    families.withLock { $0[name] = family }
    return family
  }

  /// Drops a column family with all its data. No other call may use the family any more.
  public func dropColumnFamily(_ family: ColumnFamily) throws(RocksError) {
    try unsafe use { db throws(RocksError) in
      try unsafe checked { unsafe rocksdb_drop_column_family(db, family.handle, $0) }
    }
    _ = families.withLock { $0.removeValue(forKey: family.name) }
    unsafe rocksdb_column_family_handle_destroy(family.handle)
  }

  /// Changes options of an open family by RocksDB's own names and texts, until the next open.
  ///
  /// - Throws: `invalidArgument` for an unknown name, a value out of range, or an option that
  ///   cannot change while the database is open; nothing is changed then.
  public func setOptions(
    _ options: [String: String], of family: ColumnFamily
  ) throws(RocksError) {
    let names = unsafe options.keys.map { unsafe strdup($0) }
    let values = unsafe options.values.map { unsafe strdup($0) }
    defer { unsafe (names + values).forEach { unsafe free($0) } }
    let namePointers = unsafe names.map { unsafe UnsafePointer($0) }
    let valuePointers = unsafe values.map { unsafe UnsafePointer($0) }
    try unsafe use { db throws(RocksError) in
      try unsafe checked {
        unsafe rocksdb_set_options_cf(
          db, family.handle, Int32(options.count), namePointers, valuePointers, $0)
      }
    }
  }

  // MARK: Writes

  /// Writes a record: all of it or nothing, logged, not synced, never waiting for a write stall.
  ///
  /// May run where threads must not block, as long as the record is small: it waits for the log
  /// append of the writers before it, and for nothing else.
  ///
  /// - Throws: `incomplete` when RocksDB would slow the write down; nothing was written then.
  public func write(_ record: inout WriteRecord) throws(RocksError) {
    try unsafe write(&record, options: writeNoSlowdown)
  }

  /// Writes a record that the log does not keep. The only use is the marker that rotates a failed
  /// log; anything else written so is lost by a crash.
  public func writeWithoutLog(_ record: inout WriteRecord) throws(RocksError) {
    try unsafe write(&record, options: writeWithoutLog)
  }

  /// Writes one change as a record of its own, which RocksDB builds from the borrowed bytes: what
  /// ``write(_:)`` does for a record with one operation, without the record.
  ///
  /// - Throws: `incomplete` when RocksDB would slow the write down; nothing was written then.
  public func write(
    _ change: borrowing SingleChange, to family: ColumnFamily
  ) throws(RocksError) {
    try engine.enter()
    defer { engine.leave() }
    try unsafe checked { error in
      unsafe withCharacters(change.key) { key, keyCount in
        guard !change.isRemoval else {
          return unsafe rocksdb_delete_cf(
            engine.pointer, writeNoSlowdown, family.handle, key, keyCount, error)
        }
        unsafe withCharacters(change.header) { header, headerCount in
          unsafe withCharacters(change.payload) { payload, payloadCount in
            unsafe spindle_rocks_put(
              engine.pointer, writeNoSlowdown, family.handle, key, keyCount, header, headerCount,
              payload, payloadCount, error)
          }
        }
      }
    }
  }

  @inline(__always)
  private func write(
    _ record: inout WriteRecord, options: OpaquePointer
  ) throws(RocksError) {
    try engine.enter()
    defer { engine.leave() }
    let batch = unsafe record.withBytes { bytes in
      unsafe rocksdb_writebatch_create_from(
        bytes.baseAddress!.assumingMemoryBound(to: CChar.self), bytes.count)
    }
    defer { unsafe rocksdb_writebatch_destroy(batch) }
    try unsafe checked { unsafe rocksdb_write(engine.pointer, options, batch, $0) }
  }

  /// Makes everything written before the call durable (`fdatasync` of the log).
  ///
  /// With a guard the sync goes past RocksDB: its own aborts the process after a sync has failed
  /// inside a flush, and would take its locks.
  public func syncLog() throws(RocksError) {
    if let guardian {
      try engine.enter()
      defer { engine.leave() }
      try guardian.syncLogs()
      return
    }
    try unsafe use { db throws(RocksError) in
      try unsafe checked { unsafe rocksdb_flush_wal(db, 1, $0) }
    }
  }

  /// The sequence number of the newest write that reads can see.
  public func latestSequenceNumber() throws(RocksError) -> UInt64 {
    try unsafe use { db throws(RocksError) in unsafe rocksdb_get_latest_sequence_number(db) }
  }

  // MARK: Reads

  /// Reads a value without copying it.
  ///
  /// - Parameter tier: `.cache` never waits for the disk and throws `incomplete` where it would.
  /// - Returns: nil when the key is absent.
  public func get(
    _ family: ColumnFamily, _ key: Span<UInt8>, tier: ReadTier = .all
  ) throws(RocksError) -> PinnedValue? {
    try engine.enter()
    let slice: OpaquePointer?
    do throws(RocksError) {
      let options = unsafe tier == .all ? readAll : readCached
      unsafe slice = try unsafe checked { error in
        unsafe withCharacters(key) { start, count in
          unsafe rocksdb_get_pinned_cf(
            engine.pointer, options, family.handle, start, count, error)
        }
      }
    } catch {
      engine.leave()
      throw error
    }
    guard let slice = unsafe slice else {
      engine.leave()
      return nil
    }
    if tier == .cache {
      var count = 0
      _ = unsafe rocksdb_pinnableslice_value(slice, &count)
      // Where a table that may hold the key is not open, RocksDB answers a cached read with success
      // and no value: the key may exist. A value that is empty indeed is read once more.
      if count == 0 {
        unsafe rocksdb_pinnableslice_destroy(slice)
        engine.leave()
        throw RocksError(
          kind: .incomplete, message: "the value may be in a table that is not open")
      }
    }
    return unsafe PinnedValue(owning: slice, engine: engine)
  }

  /// Whether a view holds a key. Reads past the block cache.
  public func contains(
    _ family: ColumnFamily, _ key: Span<UInt8>, in snapshot: Snapshot?
  ) throws(RocksError) -> Bool {
    let options = unsafe rocksdb_readoptions_create()
    defer { unsafe rocksdb_readoptions_destroy(options) }
    unsafe rocksdb_readoptions_set_verify_checksums(options, 1)
    unsafe rocksdb_readoptions_set_fill_cache(options, 0)
    return try unsafe use { db throws(RocksError) in
      if let snapshot { unsafe rocksdb_readoptions_set_snapshot(options, snapshot.pointer) }
      let slice = try unsafe checked { error in
        unsafe withCharacters(key) { start, count in
          unsafe rocksdb_get_pinned_cf(db, options, family.handle, start, count, error)
        }
      }
      guard let slice = unsafe slice else { return false }
      unsafe rocksdb_pinnableslice_destroy(slice)
      return true
    }
  }

  /// Reads many values of one family at one view; nil stands for an absent key.
  public func multiGet(
    _ family: ColumnFamily, _ keys: [[UInt8]]
  ) throws(RocksError) -> [[UInt8]?] {
    guard !keys.isEmpty else { return [] }
    return try unsafe use { db throws(RocksError) in
      var arena: [UInt8] = []
      for key in keys { arena.append(contentsOf: key) }
      arena.append(0)
      var values = unsafe [OpaquePointer?](repeating: nil, count: keys.count)
      var errors = unsafe [UnsafeMutablePointer<CChar>?](repeating: nil, count: keys.count)
      unsafe arena.withUnsafeBytes { bytes in
        let base = unsafe bytes.baseAddress!.assumingMemoryBound(to: CChar.self)
        var starts: [UnsafePointer<CChar>?] = unsafe []
        var offset = 0
        for key in keys {
          unsafe starts.append(base + offset)
          offset += key.count
        }
        unsafe rocksdb_batched_multi_get_cf(
          db, readAll, family.handle, keys.count, starts, keys.map(\.count), &values, &errors,
          false)
      }
      defer { unsafe values.forEach { unsafe rocksdb_pinnableslice_destroy($0) } }
      var failure: RocksError?
      for index in keys.indices {
        guard let text = unsafe errors[index] else { continue }
        failure = unsafe failure ?? RocksError(message: String(cString: text))
        unsafe rocksdb_free(text)
      }
      if let failure { throw failure }
      return unsafe values.map { slice in
        guard let slice = unsafe slice else { return nil }
        var count = 0
        let start = unsafe rocksdb_pinnableslice_value(slice, &count)
        return unsafe copyBytes(borrowedSpan(start, count))
      }
    }
  }

  /// An iterator over one family.
  public func iterator(
    _ family: ColumnFamily, _ options: IterationOptions = IterationOptions()
  ) throws(RocksError) -> DatabaseIterator {
    try DatabaseIterator(engine: engine, family: family, options: options)
  }

  /// A consistent view of all families.
  public func snapshot() throws(RocksError) -> Snapshot { try Snapshot(engine: engine) }

  /// A secondary's step forward to what its owner has written since.
  public func catchUpWithPrimary() throws(RocksError) {
    try unsafe use { db throws(RocksError) in
      try unsafe checked { unsafe rocksdb_try_catch_up_with_primary(db, $0) }
    }
  }

  // MARK: Memory and statistics

  /// Bytes that the database holds in memory now.
  public struct MemoryUsage: Sendable, Equatable {
    public var memtables: UInt64
    public var unflushedMemtables: UInt64
    public var tableReaders: UInt64
    public var blockCache: UInt64
  }

  public func memoryUsage() throws(RocksError) -> MemoryUsage {
    try unsafe use { db throws(RocksError) in
      let consumers = unsafe rocksdb_memory_consumers_create()
      defer { unsafe rocksdb_memory_consumers_destroy(consumers) }
      unsafe rocksdb_memory_consumers_add_db(consumers, db)
      unsafe rocksdb_memory_consumers_add_cache(consumers, cache)
      let usage = try unsafe checked {
        unsafe rocksdb_approximate_memory_usage_create(consumers, $0)
      }
      defer { unsafe rocksdb_approximate_memory_usage_destroy(usage) }
      return unsafe MemoryUsage(
        memtables: rocksdb_approximate_memory_usage_get_mem_table_total(usage),
        unflushedMemtables: rocksdb_approximate_memory_usage_get_mem_table_unflushed(usage),
        tableReaders: rocksdb_approximate_memory_usage_get_mem_table_readers_total(usage),
        blockCache: rocksdb_approximate_memory_usage_get_cache_total(usage))
    }
  }

  /// RocksDB's own counters as text; nil unless they were switched on at open.
  public func statisticsText() throws(RocksError) -> String? {
    guard options.statistics else { return nil }
    return try unsafe use { _ throws(RocksError) in
      guard let text = unsafe rocksdb_options_statistics_get_string(openOptions.handle.pointer)
      else { return nil }
      defer { unsafe rocksdb_free(text) }
      return unsafe String(cString: text)
    }
  }
}

/// Shares an owned options handle.
@safe final class OptionsHandleBox: @unchecked Sendable {
  // Proof of sendability: immutable after init.
  let handle: OptionsHandle
  init(_ handle: consuming OptionsHandle) { self.handle = handle }
}
