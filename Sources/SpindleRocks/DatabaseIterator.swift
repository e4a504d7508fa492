internal import CRocksDB
internal import SpindleCore

/// Where an iterator goes and how it reads.
public struct IterationOptions: Sendable {
  /// The first key of the walk; nil is the family's first.
  public var lowerBound: [UInt8]?
  /// The key that ends the walk, itself excluded; nil is the family's end.
  public var upperBound: [UInt8]?
  /// Whether blocks that are read enter the block cache. The default is true; long scans say no.
  public var fillsCache = true
  /// Bytes to read ahead; 0 leaves it to RocksDB's own growing read-ahead.
  public var readaheadBytes = 0
  /// Whether range deletions are overlooked: for families that never have any. Where a table of a
  /// level above 0 does not open, RocksDB 7.8.3 otherwise ends the walk of that level without an
  /// error, and whatever lies behind seems not to be there. The store's own walks set it by what
  /// the family may hold. The default is false.
  public var ignoresRangeDeletions = false
  /// The view to read; nil is the newest when the iterator is made.
  public var snapshot: Snapshot?

  public init(lowerBound: [UInt8]? = nil, upperBound: [UInt8]? = nil) {
    self.lowerBound = lowerBound
    self.upperBound = upperBound
  }
}

/// Walks one column family in key order over one consistent view. Checksums are verified.
///
/// May wait for the disk: use it on threads that may block. Keeps the database open.
@safe public struct DatabaseIterator: ~Copyable {
  private let iterator: OpaquePointer
  private let readOptions: OpaquePointer
  private let engine: EngineHandle
  // RocksDB keeps pointers to the bounds; these copies live as long as the iterator.
  private let bounds: UnsafeMutablePointer<UInt8>
  private let snapshot: Snapshot?

  init(
    engine: EngineHandle, family: ColumnFamily, options: IterationOptions
  ) throws(RocksError) {
    try engine.enter()
    self.engine = engine
    snapshot = options.snapshot
    let lower = options.lowerBound ?? []
    let upper = options.upperBound ?? []
    unsafe bounds = .allocate(capacity: lower.count + upper.count + 1)
    for (index, byte) in (lower + upper).enumerated() { unsafe bounds[index] = byte }
    unsafe readOptions = rocksdb_readoptions_create()
    unsafe rocksdb_readoptions_set_verify_checksums(readOptions, 1)
    unsafe rocksdb_readoptions_set_fill_cache(readOptions, options.fillsCache ? 1 : 0)
    unsafe rocksdb_readoptions_set_total_order_seek(readOptions, 1)
    unsafe rocksdb_readoptions_set_ignore_range_deletions(
      readOptions, options.ignoresRangeDeletions ? 1 : 0)
    if options.readaheadBytes > 0 {
      unsafe rocksdb_readoptions_set_readahead_size(readOptions, options.readaheadBytes)
    }
    let characters = unsafe UnsafeRawPointer(bounds).assumingMemoryBound(to: CChar.self)
    if options.lowerBound != nil {
      unsafe rocksdb_readoptions_set_iterate_lower_bound(readOptions, characters, lower.count)
    }
    if options.upperBound != nil {
      unsafe rocksdb_readoptions_set_iterate_upper_bound(
        readOptions, characters + lower.count, upper.count)
    }
    if let snapshot { unsafe rocksdb_readoptions_set_snapshot(readOptions, snapshot.pointer) }
    unsafe iterator = rocksdb_create_iterator_cf(engine.pointer, readOptions, family.handle)
  }

  deinit {
    unsafe rocksdb_iter_destroy(iterator)
    unsafe rocksdb_readoptions_destroy(readOptions)
    unsafe bounds.deallocate()
    engine.leave()
  }

  /// Whether the iterator stands on an entry. After the end, ``checkStatus()`` tells the end of
  /// the data from an error.
  public var isValid: Bool { unsafe rocksdb_iter_valid(iterator) != 0 }

  public mutating func seekToFirst() { unsafe rocksdb_iter_seek_to_first(iterator) }
  public mutating func seekToLast() { unsafe rocksdb_iter_seek_to_last(iterator) }

  /// Goes to the first key at or after this one.
  public mutating func seek(_ key: Span<UInt8>) {
    unsafe withCharacters(key) { unsafe rocksdb_iter_seek(iterator, $0, $1) }
  }

  /// Goes to the last key at or before this one.
  public mutating func seekForPrevious(_ key: Span<UInt8>) {
    unsafe withCharacters(key) { unsafe rocksdb_iter_seek_for_prev(iterator, $0, $1) }
  }

  public mutating func next() { unsafe rocksdb_iter_next(iterator) }
  public mutating func previous() { unsafe rocksdb_iter_prev(iterator) }

  /// The key's bytes, valid until the iterator moves. Only while ``isValid``.
  public var key: Span<UInt8> {
    @_lifetime(borrow self) get {
      var count = 0
      let start = unsafe rocksdb_iter_key(iterator, &count)
      return unsafe _overrideLifetime(borrowedSpan(start, count), borrowing: self)
    }
  }

  /// The value's bytes, valid until the iterator moves. Only while ``isValid``.
  public var value: Span<UInt8> {
    @_lifetime(borrow self) get {
      var count = 0
      let start = unsafe rocksdb_iter_value(iterator, &count)
      return unsafe _overrideLifetime(borrowedSpan(start, count), borrowing: self)
    }
  }

  /// Throws the error that ended the walk, if one did.
  public func checkStatus() throws(RocksError) {
    try unsafe checked { unsafe rocksdb_iter_get_error(iterator, $0) }
  }
}
