public import SpindleCore
internal import SpindleFormats
public import SpindlePipeline
public import SpindleSpool
public import SpindleStore
internal import Synchronization

/// Spindle: spool, op-log and ingestion in one store.
///
/// ```swift
/// let spindle = try await Spindle.open(at: "data", settings: Settings())
/// let ingest = try await spindle.ingest(producer: "sensor-7")
/// try await ingest.store(Array("room,floor=2 celsius=21.5\n".utf8), durability: .synced)
/// try await spindle.close()
/// ```
///
/// One process opens a store at a time. Close it explicitly: a store that is dropped open is safe,
/// as after a crash, but the next open checks its log.
public final class Spindle: Sendable {
  /// The store below, for parts that write batches of their own.
  public let store: Store

  private struct Parts {
    var spools: [String: RocksSpool] = [:]
    var logs: [String: OpLogHandle] = [:]
    var pipeline: IngestPipeline?
    var isOpening = false
    var waiters: [CheckedContinuation<Void, Never>] = []
  }
  private let parts = Mutex(Parts())

  private let spoolSettings: [String: SpoolSettings]

  private init(store: Store, spoolSettings: [String: SpoolSettings]) {
    self.store = store
    self.spoolSettings = spoolSettings
  }

  /// Opens a store, or creates it.
  ///
  /// - Throws: ``SpindleError`` with `invalidArgument` for settings that are not valid, before the
  ///   disk is touched; or what ``Store/open(at:settings:access:clock:)`` throws.
  public static func open(at path: String, settings: Settings = Settings()) async throws -> Spindle
  {
    var storeSettings = settings.store
    let spools = try storeSettings.apply(settings.spoolParameters, over: settings.spools)
    return Spindle(
      store: try await Store.open(at: path, settings: storeSettings), spoolSettings: spools)
  }

  /// A spool with its part of ``Settings/spools``, created when it is missing. The same name gives
  /// the same object.
  public func spool(_ name: String) async throws -> RocksSpool {
    let settings = spoolSettings[name] ?? SpoolSettings()
    return try await shared({ $0.spools[name] }, { $0.spools[name] = $1 }) { [store] in
      try await RocksSpool(store: store, name: name, settings: settings)
    }
  }

  /// An op-log, created when it is missing. The same prefix gives the same object.
  public func opLog(_ prefix: String) async throws -> OpLogHandle {
    try await shared({ $0.logs[prefix] }, { $0.logs[prefix] = $1 }) { [store] in
      try await OpLogHandle(store: store, prefix: prefix)
    }
  }

  /// The pipeline that applies what is ingested.
  public var pipeline: IngestPipeline {
    get async throws {
      let spool = try await spool(IngestPipeline.name)
      return try await shared({ $0.pipeline }, { $0.pipeline = $1 }) { [store] in
        try await IngestPipeline(store: store, spool: spool)
      }
    }
  }

  /// A producer's way into the store, once everything an earlier run left in the spool is applied.
  ///
  /// - Parameter producer: Stands for one input, whose bytes are numbered from its start.
  /// - Throws: what ``IngestPipeline/ingest(producer:)`` throws.
  public func ingest(producer: String) async throws -> Ingest {
    try await pipeline.ingest(producer: producer)
  }

  /// What happens to the store, from now on.
  public var events: AsyncStream<StoreEvent> { store.events }

  /// Commits a batch; see ``Store/commit(_:durability:deadline:)``.
  public func commit(_ batch: consuming Batch, durability: Durability) async throws {
    try await store.commit(batch, durability: durability)
  }

  /// Stops applying, lets running calls end, and closes the store. What is spooled stays for the
  /// next run.
  public func close() async throws {
    let (pipeline, spools) = parts.withLock { ($0.pipeline, Array($0.spools.values)) }
    await pipeline?.close()
    var failure: (any Error)?
    for spool in spools {
      do { try await spool.shutdown() } catch { failure = failure ?? error }
    }
    // Whatever a spool said: the store syncs its own log and lets go of the directory.
    try await store.close()
    if let failure { throw failure }
  }

  /// Gives a part that exists, or makes it; makers take turns, so that no part is made twice.
  private func shared<Part: Sendable>(
    _ find: @Sendable (Parts) -> Part?, _ keep: @Sendable (inout Parts, Part) -> Void,
    _ make: @Sendable () async throws -> Part
  ) async throws -> Part {
    while true {
      let (found, isMine) = parts.withLock { parts -> (Part?, Bool) in
        if let part = find(parts) { return (part, false) }
        defer { parts.isOpening = true }
        return (nil, !parts.isOpening)
      }
      if let found { return found }
      switch isMine {
      case false:
        await withCheckedContinuation { continuation in
          let resumesNow = parts.withLock { parts in
            if parts.isOpening { parts.waiters.append(continuation) }
            return !parts.isOpening
          }
          if resumesNow { continuation.resume() }
        }
      case true:
        let result: Result<Part, any Error>
        do { result = .success(try await make()) } catch { result = .failure(error) }
        let waiters = parts.withLock { parts in
          if case .success(let part) = result { keep(&parts, part) }
          parts.isOpening = false
          defer { parts.waiters = [] }
          return parts.waiters
        }
        for waiter in waiters { waiter.resume() }
        return try result.get()
      }
    }
  }
}
