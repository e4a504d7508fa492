public import SpindleCore

/// Something that knows how far each peer's log is known.
public protocol HasCursors: Sendable {
  /// Every peer's next index. May suspend, never shows what is not committed.
  func cursors() async throws -> PeerCursors

  /// One peer's next index; 0 for a peer never seen.
  func cursor(of peer: PeerID) async throws -> UInt64

  /// The cursors now, then each advance. Advances that nobody read yet are merged per peer, so a
  /// slow reader costs memory for the peers only; positions are folded by the greater one.
  func watchCursors() -> CursorWatch

  /// The head of a peer's chain before an index: what tells its logs here and there from each other
  /// without their entries. Nil where it is not known, such as below what was trimmed, beyond the
  /// end, and in a log without chains, which is the default.
  func chainHead(of peer: PeerID, before index: UInt64) async throws -> ChainHead?
}

extension HasCursors {
  public func chainHead(of peer: PeerID, before index: UInt64) async throws -> ChainHead? { nil }
}

/// A log that can be read: an op-log that keeps history, a folder of segment files.
public protocol LogSource<Op>: HasCursors {
  associatedtype Op: Sendable

  /// A page of one peer's entries from an index on, ascending, markers included; at most
  /// ``LogPage/entryLimit`` entries and about ``LogPage/byteLimit`` bytes. Empty means drained:
  /// there is nothing at `index` yet. A full page does not mean that more follows.
  ///
  /// - Throws: ``SpindleError`` with `notFound`, reason `compacted`, when entries from `index` on
  ///   were trimmed away.
  func readSince(
    peer: PeerID, from index: UInt64
  ) async throws -> [(index: UInt64, entry: DecodedEntry<Op>)]

  /// Every peer's next index, and which peers cannot be read behind it. A driver asks this, so that
  /// damage is told even where nothing is left to pull. The default knows of no failures.
  func survey() async throws -> LogSurvey

  /// What replicas are known to have and to keep, by the peer id under which each writes: this one
  /// itself, or those whose word it holds. The default knows of none.
  func acknowledgements() async throws -> [PeerID: PeerCursors]

  /// Takes the word of a replica that it has each peer's log up to a cursor and keeps it, and
  /// nothing of peers that it does not name. The default takes no notice.
  ///
  /// - Parameter doubtful: Peers whose log may be another one here than there. What was said of
  ///   them before is lowered where less is named now, and stays otherwise.
  func acknowledge(
    replica: PeerID, cursors: PeerCursors, except doubtful: Set<PeerID>
  ) async throws
}

extension LogSource {
  public func acknowledgements() async throws -> [PeerID: PeerCursors] { [:] }

  public func acknowledge(
    replica: PeerID, cursors: PeerCursors, except doubtful: Set<PeerID>
  ) async throws {}

  /// The same of all peers.
  public func acknowledge(replica: PeerID, cursors: PeerCursors) async throws {
    try await acknowledge(replica: replica, cursors: cursors, except: [])
  }

  public func survey() async throws -> LogSurvey { LogSurvey(cursors: try await cursors()) }
}

/// What a source found when it looked at all of its peers.
public struct LogSurvey: Sendable {
  /// Every peer's next index: the end of what can be read.
  public var cursors: PeerCursors
  /// Why more of a peer cannot be read, although it is there.
  public var failures: [PeerID: SpindleError]

  public init(cursors: PeerCursors, failures: [PeerID: SpindleError] = [:]) {
    self.cursors = cursors
    self.failures = failures
  }
}

/// The bounds of one page of a log.
public enum LogPage {
  /// Entries: large enough that a page's fixed cost is small beside its entries.
  public static let entryLimit = 256
  /// Bytes of keys and values, so that 256 large entries do not fill memory. One entry is always
  /// given, whatever its size.
  public static let byteLimit = 4 << 20
}

/// What became of an entry that was offered.
public struct Applied: Sendable, Hashable {
  /// Whether the entry was applied now; false when it was already there.
  public var new: Bool

  public init(new: Bool) { self.new = new }
}

/// Something that takes entries in, each once.
public protocol LogProcessor<Op>: HasCursors {
  associatedtype Op: Sendable

  /// Applies one entry at its index, which must be the peer's next one or one that was taken
  /// before.
  ///
  /// - Throws: ``SyncError``.
  func apply(
    peer: PeerID, index: UInt64, entry: DecodedEntry<Op>
  ) async throws -> Applied

  /// Applies consecutive entries of one peer, several in one commit. Stops at the first that fails;
  /// those before it are applied.
  ///
  /// - Returns: How many were new.
  /// - Throws: ``SyncError``, for the first entry that failed.
  func apply(
    peer: PeerID, entries: [(index: UInt64, entry: DecodedEntry<Op>)]
  ) async throws -> Int

  /// Tells what another replica knows, before its entries are pulled. One that writes a log of its
  /// own learns whether more of it exists elsewhere than here; the default takes no notice.
  func noteElsewhere(_ cursors: PeerCursors) async throws

  /// What is here and survives power loss, with the peer id under which this one writes, so that
  /// others may trim what they keep for it; nil from one without a name, which is the default.
  func confirmed() async throws -> (replica: PeerID, cursors: PeerCursors)?

  /// Takes the word of other replicas about what they have and keep: nothing of peers that a word
  /// does not name, and of those in doubt no more than it names. The default takes no notice.
  func noteAcknowledged(
    _ replicas: [PeerID: PeerCursors], except doubtful: Set<PeerID>
  ) async throws
}

extension LogProcessor {
  public func confirmed() async throws -> (replica: PeerID, cursors: PeerCursors)? { nil }

  public func noteAcknowledged(
    _ replicas: [PeerID: PeerCursors], except doubtful: Set<PeerID>
  ) async throws {}

  public func noteElsewhere(_ cursors: PeerCursors) async throws {}

  public func apply(
    peer: PeerID, entries: [(index: UInt64, entry: DecodedEntry<Op>)]
  ) async throws -> Int {
    var count = 0
    for (index, entry) in entries where try await apply(peer: peer, index: index, entry: entry).new
    {
      count += 1
    }
    return count
  }
}

extension LogProcessor {
  /// Tells a source what is here now.
  ///
  /// - Parameter peers: Those whose log is another one here than there: the source must not trim
  ///   its own for what is here of them.
  func acknowledge(to source: any LogSource<Op>, except peers: Set<PeerID>) async throws {
    guard let confirmed = try await confirmed() else { return }
    try await source.acknowledge(
      replica: confirmed.replica, cursors: confirmed.cursors, except: peers)
  }

  /// Takes in what a source knows of others.
  ///
  /// - Parameter peers: As above: this log must not be trimmed for what is there of them.
  func noteAcknowledged(
    by replicas: [PeerID: PeerCursors], except peers: Set<PeerID>
  ) async throws {
    // That more of the own log was somewhere counts whatever its history.
    try await noteElsewhere(replicas.values.reduce(into: PeerCursors()) { $0.merge($1) })
    try await noteAcknowledged(replicas, except: peers)
  }
}

/// A log that is read and written, such as a processor whose tracker keeps history.
public protocol Replica<Op>: LogSource, LogProcessor {}

/// Why an entry was not taken in, or a log could not be read.
public enum SyncError: Error, Sendable {
  /// The entry's index is not the peer's next one: entries between were skipped.
  case cursorMismatch(peer: PeerID, expected: UInt64, actual: UInt64)
  /// Another entry was recorded at this index before: the peer's log has two histories. Where
  /// their chains tell so and their entries were trimmed, the first that differs may be an earlier
  /// one.
  case conflict(peer: PeerID, index: UInt64)
  /// The entry's timestamp is too far ahead of this machine's clock. It can be applied later.
  case skew(peer: PeerID, index: UInt64, HybridClockError)
  /// The reducer refuses the entry for now.
  case blocked(peer: PeerID, index: UInt64, reason: String, isRetryable: Bool)
  /// The entry's timestamp is below that of the entry before it, which the processor was asked to
  /// refuse.
  case nonMonotonicTimestamp(peer: PeerID, index: UInt64)
  /// The source no longer has entries below `oldest`.
  case compacted(peer: PeerID, oldest: UInt64)
  /// The bytes of a log file or an export are damaged.
  case codec(CodecError, place: String)
  /// Anything else: the store, the reducer, the file system.
  case backend(any Error)
}

extension SyncError: CustomStringConvertible {
  /// One sentence.
  public var description: String {
    switch self {
    case .cursorMismatch(let peer, let expected, let actual):
      "the next index of peer \(peer) is \(expected), not \(actual)"
    case .conflict(let peer, let index):
      "index \(index) of peer \(peer) holds another entry already"
    case .skew(let peer, let index, let error):
      "index \(index) of peer \(peer): \(error.spindleError)"
    case .blocked(let peer, let index, let reason, _):
      "index \(index) of peer \(peer) is refused: \(reason)"
    case .nonMonotonicTimestamp(let peer, let index):
      "index \(index) of peer \(peer) has a timestamp below that of the entry before it"
    case .compacted(let peer, let oldest):
      "the source has no entries of peer \(peer) below index \(oldest) any more"
    case .codec(let error, let place): "\(place) is damaged: \(error)"
    case .backend(let error): "\(error)"
    }
  }
}
