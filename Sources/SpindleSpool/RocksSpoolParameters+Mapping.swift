internal import SpindleCore
package import SpindleRocks
public import SpindleStore

extension RocksSpoolParameters {
  /// Sets what concerns the spool itself; an absent parameter leaves its setting as it is.
  ///
  /// - Throws: what ``validate(in:)`` throws.
  public func apply(to settings: inout SpoolSettings) throws {
    try validate()
    if let limitConcurrentStores { settings.concurrentStores = limitConcurrentStores }
    if let limitConcurrentLoads { settings.concurrentLoads = limitConcurrentLoads }
    if let limitConcurrentRemoves { settings.concurrentRemoves = limitConcurrentRemoves }
    if let maxSpoolBytes { settings.quota.bytes = UInt64(maxSpoolBytes) }
    if let maxSpoolEntries { settings.quota.entries = UInt64(maxSpoolEntries) }
    if let maxQuarantinedEntries {
      settings.quarantineQuota.entries = UInt64(maxQuarantinedEntries)
    }
    if let maxQuarantinedBytes { settings.quarantineQuota.bytes = UInt64(maxQuarantinedBytes) }
    if let storeDeadline { settings.storeDeadline = storeDeadline }
    if let errorLatchDuration { settings.gate.errorLatchDuration = errorLatchDuration }
    if let errorUnlatchDuration { settings.gate.errorUnlatchDuration = errorUnlatchDuration }
    if let allowErrorUnlatch { settings.gate.allowsErrorUnlatch = allowErrorUnlatch }
    if let payloadCompression { settings.compression = payloadCompression }
  }

  /// Sets what concerns the spool's column family. The preset comes first, so that the write
  /// buffer and the trigger win over it.
  package func apply(to options: inout ColumnFamilyOptions) throws {
    try validate()
    if let optimizeLevelStyleCompaction {
      options.adopt(.levelStyle(memtableBytes: UInt64(optimizeLevelStyleCompaction)))
    }
    if let optimizeUniversalStyleCompaction {
      options.adopt(.universalStyle(memtableBytes: UInt64(optimizeUniversalStyleCompaction)))
    }
    if let writeBufferSize { options.writeBufferBytes = writeBufferSize }
    if let compressionType { options.compression = compressionType }
    if let levelCompactionDynamicLevelBytes {
      options.hasDynamicLevelBytes = levelCompactionDynamicLevelBytes
    }
    if let level0StopWritesTrigger {
      options.stopWrites(atLevel0Files: Int32(level0StopWritesTrigger))
    }
    if let memtableHugePageSize { options.memtableHugePageBytes = memtableHugePageSize }
    if enableBlobFiles == true {
      var blobs = options.blobs ?? ColumnFamilyOptions.Blobs()
      if let minBlobSize { blobs.minimumBytes = UInt64(minBlobSize) }
      options.blobs = blobs
    } else if enableBlobFiles == false {
      options.blobs = nil
    }
  }

  /// A parameter that concerns the whole store.
  fileprivate struct StoreWide {
    let name: Name
    /// As people read it, and what two spools must agree on.
    let text: String
    let apply: (inout StoreSettings) -> Void
  }

  fileprivate var storeWide: [StoreWide] {
    var found: [StoreWide] = []
    func add<Value>(
      _ name: Name, _ value: Value?, _ apply: @escaping (inout DatabaseOptions, Value) -> Void
    ) {
      addToStore(name, value) { apply(&$0.database, $1) }
    }
    func addToStore<Value>(
      _ name: Name, _ value: Value?, _ apply: @escaping (inout StoreSettings, Value) -> Void
    ) {
      guard let value else { return }
      let text = (value as? Duration).map(DurationText.text) ?? "\(value)"
      found.append(StoreWide(name: name, text: text) { apply(&$0, value) })
    }
    add(.increaseParallelism, increaseParallelism) { $0.parallelism = Int32($1) }
    add(.compactionReadaheadSize, compactionReadaheadSize) { $0.compactionReadaheadBytes = $1 }
    add(.maxOpenFiles, maxOpenFiles) { $0.maxOpenFiles = Int32($1) }
    add(.logLevel, logLevel) { $0.engineLog.level = $1 }
    add(.logFileTimeToRoll, logFileTimeToRoll) {
      $0.engineLog.rollInterval = $1 == .zero ? DurationText.limit : $1
    }
    add(.obsoleteFilesPeriod, obsoleteFilesPeriod) { $0.obsoleteFilesPeriod = $1 }
    add(.dbWriteBufferSize, dbWriteBufferSize) { $0.writeBufferBytes = $1 }
    add(.maxTotalWALSize, maxTotalWALSize) { $0.writeAheadLogBytes = UInt64($1) }
    add(.blockCacheSize, blockCacheSize) { $0.blockCacheBytes = $1 }
    addToStore(.walSyncInterval, walSyncInterval) { $0.walSyncInterval = $1 }
    add(.bytesPerSync, bytesPerSync) { $0.bytesPerSync = UInt64($1) }
    add(.rateLimitBytesPerSecond, rateLimitBytesPerSecond) { $0.writeRateLimit = Int64($1) }
    return found
  }
}

extension StoreSettings {
  /// Sets what the parameters of spools ask of the store and of the spools' column families.
  ///
  /// Nothing is changed when anything is refused.
  ///
  /// - Parameters:
  ///   - parameters: The parameters of each spool by its name.
  ///   - spools: Settings of spools by name, over which the parameters go.
  /// - Returns: The settings of every spool that either names.
  /// - Throws: ``SpindleError`` with `invalidArgument`: a name is not valid, a value is out of its
  ///   range, or two spools ask for different values of a parameter that the whole store shares.
  public mutating func apply(
    _ parameters: [String: RocksSpoolParameters], over spools: [String: SpoolSettings] = [:]
  ) throws -> [String: SpoolSettings] {
    for name in Set(parameters.keys).union(spools.keys).sorted() { try RocksSpool.checkName(name) }
    var store = self
    var spools = spools
    var chosen: [RocksSpoolParameters.Name: (text: String, spool: String)] = [:]
    // In the order of the names, so that an error is the same each time.
    let ordered = parameters.sorted { $0.key < $1.key }
    for (spool, parameters) in ordered {
      try parameters.validate(in: "the spool \(printable(spool))")
      for parameter in parameters.storeWide {
        try Self.agree(
          &chosen[parameter.name], parameter.text, spool, parameter.name.rawValue)
        parameter.apply(&store)
      }
      try parameters.apply(to: &spools[spool, default: SpoolSettings()])
    }
    // Only now: a family's write buffer follows the store's.
    for (spool, parameters) in ordered {
      var options = store.options(forFamily: "spool:" + spool)
      try parameters.apply(to: &options)
      store.familyOptions["spool:" + spool] = options
    }
    for settings in spools.values { try settings.validate() }
    // Files belong to the whole store, so the strictest spool decides how they are synced.
    if spools.values.contains(where: \.flush) { store.database.usesFsync = true }
    self = store
    return spools
  }

  /// Sets what definitions want free on the disk.
  ///
  /// - Throws: ``SpindleError`` with `invalidArgument` when two of them differ.
  package mutating func applyMinima(of definitions: [SpoolDefinition]) throws {
    var space: (text: String, spool: String)?
    var inodes: (text: String, spool: String)?
    for definition in definitions {
      if let minimum = definition.minFreeSpace {
        try Self.agree(&space, minimum.text, definition.name, "min_free_space")
      }
      if let minimum = definition.minFreeInodes {
        try Self.agree(&inodes, minimum.text, definition.name, "min_free_inodes")
      }
      capacityFloor.apply(definition)
    }
  }

  /// Refuses a value of a shared parameter that differs from the one chosen before.
  private static func agree(
    _ chosen: inout (text: String, spool: String)?, _ wanted: String, _ spool: String,
    _ parameter: String
  ) throws {
    if let chosen, chosen.text != wanted {
      throw SpindleError(
        .invalidArgument,
        "the parameter \"\(parameter)\" is \(chosen.text) in the spool "
          + "\(printable(chosen.spool)) and \(wanted) in the spool \(printable(spool)); expected "
          + "one value, as all spools share one store")
    }
    chosen = (wanted, spool)
  }
}

extension StoreSettings.CapacityFloor {
  /// Takes what a definition wants free. The floor is the lesser of an amount and a percentage, so
  /// the other one must not bind.
  mutating func apply(_ definition: SpoolDefinition) {
    if let minimum = definition.minFreeSpace {
      bytes = minimum.amount ?? .max
      percent = minimum.percent ?? 100
    }
    if let minimum = definition.minFreeInodes {
      inodes = minimum.amount ?? .max
      inodePercent = minimum.percent ?? 100
    }
  }
}
