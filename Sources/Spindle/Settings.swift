internal import SpindleCore
public import SpindleSpool
public import SpindleStore

/// How Spindle is opened.
public struct Settings: Sendable {
  /// The store's own settings.
  public var store = StoreSettings()
  /// The settings of spools by name; others have the defaults. Used by ``Spindle/spool(_:)``.
  public var spools: [String: SpoolSettings] = [:]
  /// Parameters of spools by name, as configurations give them. What is set there wins over
  /// ``spools`` and ``store``. What concerns the whole store must be the same for all.
  public var spoolParameters: [String: RocksSpoolParameters] = [:]

  public init() {}

  /// Takes over the spools of a configuration, all of the kind `rocks_db`.
  ///
  /// Nothing is changed when anything is refused.
  ///
  /// - Throws: ``SpindleError`` with `invalidArgument`: a definition is not valid or of another
  ///   kind, a name is defined twice, or two definitions want different parts of the disk free.
  public mutating func define(_ definitions: [SpoolDefinition]) throws {
    var result = self
    for definition in definitions {
      try definition.validate()
      let name = definition.name
      guard definition.kind == .rocksDB else {
        throw SpindleError(
          .invalidArgument,
          "the spool \(printable(name)) is of the kind local_disk; expected rocks_db, as others "
            + "are opened by their path")
      }
      guard result.spoolParameters[name] == nil else {
        throw SpindleError(.invalidArgument, "the spool \(printable(name)) is defined twice")
      }
      result.spoolParameters[name] = definition.rocksParameters ?? RocksSpoolParameters()
      result.spools[name, default: SpoolSettings()].flush = definition.flush
    }
    try result.store.applyMinima(of: definitions)
    self = result
  }
}
