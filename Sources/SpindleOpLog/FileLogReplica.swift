public import SpindleCore
public import SpindleStore

/// A folder of logs: reads every peer's, writes its own only.
///
/// So whatever moves the files need not understand them, and a log's end in the folder is a cursor
/// that can be trusted.
public struct FileLogReplica<Op: IndexableOp>: LogSource {
  public let source: FileLogPuller<Op>
  public let sink: FileLogSink<Op>

  /// - Throws: what ``FileLogSink/init(root:selfID:settings:store:)`` throws.
  public init(
    root: String, selfID: PeerID, settings: FileLogSettings, store: Store
  ) async throws {
    source = FileLogPuller(root: root, settings: settings, store: store)
    sink = try await FileLogSink(root: root, selfID: selfID, settings: settings, store: store)
  }

  /// Opens the folder, and mends the own files from the op-log where they miss something.
  ///
  /// - Throws: what ``FileLogSink/init(root:settings:store:repairingFrom:)`` throws.
  public init(
    root: String, settings: FileLogSettings, store: Store,
    repairingFrom log: any PublishedLog<Op>
  ) async throws {
    source = FileLogPuller(root: root, settings: settings, store: store)
    sink = try await FileLogSink(
      root: root, settings: settings, store: store, repairingFrom: log)
  }

  public var selfID: PeerID { sink.selfID }

  public func cursors() async throws -> PeerCursors { try await source.cursors() }

  public func cursor(of peer: PeerID) async throws -> UInt64 {
    try await source.cursor(of: peer)
  }

  public func survey() async throws -> LogSurvey { try await source.survey() }

  public func watchCursors() -> CursorWatch { source.watchCursors() }

  public func acknowledgements() async throws -> [PeerID: PeerCursors] {
    try await source.acknowledgements()
  }

  /// Tells the others of the folder what this replica has, in its own directory. Of others nothing
  /// is told. Of peers in doubt it goes on telling what it told before, or less.
  ///
  /// - Complexity: two syncs.
  public func acknowledge(
    replica: PeerID, cursors: PeerCursors, except doubtful: Set<PeerID>
  ) async throws {
    if replica == selfID { try await sink.acknowledge(cursors, except: doubtful) }
  }

  public func chainHead(of peer: PeerID, before index: UInt64) async throws -> ChainHead? {
    try await source.chainHead(of: peer, before: index)
  }

  public func readSince(
    peer: PeerID, from index: UInt64
  ) async throws -> [(index: UInt64, entry: DecodedEntry<Op>)] {
    try await source.readSince(peer: peer, from: index)
  }
}
