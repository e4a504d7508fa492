internal import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// Where one prefix lives: the column families `oplog:<prefix>` and `data:<prefix>`, and the keys
/// that say what the first one holds.
struct OpLogSpace: Sendable {
  /// The format of a prefix that this code writes, and the newest it reads.
  static let formatVersion: UInt64 = 1

  let store: Store
  let prefix: String
  let log: StoreFamily
  let data: StoreFamily

  /// Opens a prefix; an owner creates what is missing, a reader changes nothing.
  ///
  /// Crash windows. Families are created one by one, outside any batch, `data:` first: where
  /// `oplog:` exists, so does the other. The meta keys follow in one batch, before any entry; a
  /// crash in between leaves an empty `oplog:` family, which the next open completes and a reader
  /// sees as an empty log.
  static func open(store: Store, prefix: String) async throws -> OpLogSpace {
    guard store.view == .owned || store.existingFamily("oplog:\(prefix)") != nil else {
      throw LogTrackerError.missingPrefix(prefix).spindleError
    }
    let data = try await store.family("data:\(prefix)")
    let log = try await store.family("oplog:\(prefix)")
    let space = OpLogSpace(store: store, prefix: prefix, log: log, data: data)
    if try await space.checkMeta() { return space }
    guard store.view == .owned else { return space }
    do {
      try await space.writeMeta()
    } catch let error as SpindleError where error.kind == .uniqueViolation {
      // Another opener of the same prefix was faster; what it wrote is checked below.
    }
    _ = try await space.checkMeta()
    return space
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
