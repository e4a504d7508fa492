internal import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// Where one prefix lives: the column families `oplog:<prefix>` and `data:<prefix>`, and the keys
/// that say what the first one holds.
struct OpLogSpace: Sendable {
  /// The format of a prefix that this code writes, and the newest it reads.
  ///
  /// Format 1 had neither chains nor floors nor indexes: code that knows only it must not write to
  /// a log with them.
  static let formatVersion: UInt64 = 2

  let store: Store
  let prefix: String
  let log: StoreFamily
  let data: StoreFamily
  let memory: OpLogMemory

  /// Opens a prefix; an owner creates what is missing, a reader changes nothing.
  ///
  /// Crash windows. Families are created one by one, outside any batch, `data:` first: where
  /// `oplog:` exists, so does the other. The meta keys follow in one batch, before any entry; a
  /// crash in between leaves an empty `oplog:` family, which the next open completes and a reader
  /// sees as an empty log.
  static func open(
    store: Store, prefix: String, settings: OpLogSettings = OpLogSettings(),
    isInstalling: Bool = false
  ) async throws -> OpLogSpace {
    guard store.view == .owned || store.existingFamily("oplog:\(prefix)") != nil else {
      throw LogTrackerError.missingPrefix(prefix).spindleError
    }
    let data = try await store.family("data:\(prefix)")
    let log = try await store.family("oplog:\(prefix)")
    let memory = log.companion { OpLogMemory(clock: store.clock) }
    let space = OpLogSpace(store: store, prefix: prefix, log: log, data: data, memory: memory)
    if try await !space.checkMeta(), store.view == .owned {
      do {
        try await space.writeMeta()
      } catch let error as SpindleError where error.kind == .uniqueViolation {
        // Another opener of the same prefix was faster; what it wrote is checked below.
      }
      _ = try await space.checkMeta()
    }
    let installing = try await store.get(log, key: OpLogKeys.installingKey)
    guard isInstalling || installing == nil else {
      throw LogTrackerError.unfinishedImport(prefix).spindleError
    }
    space.memory.complete(try await space.storedIndexes(OpLogKeys.indexesKey))
    if store.view == .owned {
      try await space.upgrade()
      try await store.blocking { space.memory.raise(try space.storedFloors()) }
      try await space.build(settings.indexes)
    }
    return space
  }

  /// Takes a stored row apart on the caller's thread; a large one, which would keep other tasks
  /// from that thread for long, on one of the store's.
  func takingApart<Value: Sendable>(
    _ row: Bytes, _ body: @escaping @Sendable (Span<UInt8>) throws -> Value
  ) async throws -> Value {
    guard row.count > StoredRows.decodingByteLimit else { return try body(row.span) }
    return try await store.blocking { try body(row.span) }
  }

  /// Judges the meta keys.
  ///
  /// - Returns: false when the prefix is new and holds nothing.
  private func checkMeta() async throws -> Bool {
    guard let format = try await store.get(log, key: OpLogKeys.formatKey) else {
      let holdsSomething = try await store.blocking { () throws -> Bool in
        var found = false
        try store.scan(log) { _, _ in
          found = true
          return false
        }
        return found
      }
      guard holdsSomething else { return false }
      // Either the other opener's batch came in between the two reads, or the key was lost.
      guard try await store.get(log, key: OpLogKeys.formatKey) == nil else {
        return try await checkMeta()
      }
      throw LogTrackerError.damagedMeta(
        prefix: prefix, "it holds data but no format key"
      ).spindleError
    }
    let storedPrefix = try await store.get(log, key: OpLogKeys.prefixKey)
    try withSpindleErrors { () throws(LogTrackerError) in
      try Self.judge(prefix: prefix, format: format, storedPrefix: storedPrefix)
    }
    return true
  }

  /// Checks the values of the meta keys, which are text.
  static func judge(
    prefix: String, format: [UInt8], storedPrefix: [UInt8]?
  ) throws(LogTrackerError) {
    guard let version = decimal(format), version >= 1 else {
      throw .damagedMeta(prefix: prefix, "its format key holds no number")
    }
    guard version <= formatVersion else { throw .formatTooNew(prefix: prefix, format: version) }
    guard storedPrefix == Array(prefix.utf8) else {
      throw .damagedMeta(prefix: prefix, "its prefix key names another prefix or is absent")
    }
  }

  /// A decimal number as `writeMeta` writes it: digits only, no leading zero.
  static func decimal(_ bytes: [UInt8]) -> UInt64? {
    guard let value = UInt64(String(decoding: bytes, as: UTF8.self)),
      Array(String(value).utf8) == bytes
    else { return nil }
    return value
  }

  /// Raises the format of a prefix that an older version made, before this one adds what that one
  /// cannot read.
  private func upgrade() async throws {
    let current = Array(String(Self.formatVersion).utf8)
    guard let format = try await store.get(log, key: OpLogKeys.formatKey), format != current else {
      return
    }
    var batch = Batch()
    batch.requireEqual(log, key: OpLogKeys.formatKey, bytes: format)
    batch.put(log, key: OpLogKeys.formatKey, value: current)
    do {
      try await store.commit(batch, durability: .buffered)
    } catch let error as SpindleError where error.kind == .conflict {
      // Another opener of the same prefix was faster, with the same outcome.
    }
  }

  private func writeMeta() async throws {
    var batch = Batch()
    batch.requireAbsent(log, key: OpLogKeys.formatKey, owner: "oplog")
    batch.put(
      log, key: OpLogKeys.formatKey, value: Array(String(Self.formatVersion).utf8))
    batch.put(log, key: OpLogKeys.prefixKey, value: Array(prefix.utf8))
    batch.put(
      log, key: OpLogKeys.createdKey, value: Array(String(store.clock.wallMilliseconds).utf8))
    // Buffered is enough: the log keeps the order, so no entry outlives these keys.
    try await store.commit(batch, durability: .buffered)
  }
}
