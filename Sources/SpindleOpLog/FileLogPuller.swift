public import SpindleCore
internal import SpindleIO
public import SpindleStore
internal import Synchronization

/// The logs in a folder, of all peers that write there, as something to pull from.
///
/// The folder may be shared in any way that moves files: a network file system, a program that
/// synchronises folders, a disk that is carried around. Each peer writes its own files only, so
/// nothing is ever in conflict; what has not arrived yet is not there yet:
///
/// - *A torn end of the last segment* is an entry on its way, unless the writer had acknowledged
///   more in as many bytes. In an earlier segment it is damage.
/// - *A missing segment* ends the log before it, until it arrives. ``cursors()`` tells the end of
///   the last one all the same, so a driver knows that something is missing.
/// - *Damage* is an error that names file and byte, at the index that cannot be read and behind it.
///   Entries before it, and other peers, stay readable. ``survey()`` tells it of the last segment,
///   also to those who have all entries before it.
public final class FileLogPuller<Op: IndexableOp>: LogSource {
  private let files: SegmentFiles<Op>
  private let store: Store
  private let board = CursorBoard(PeerCursors())
  /// Whose word could not be read the last time.
  private let unreadableWords = Mutex<[PeerID: SpindleError]>([:])

  /// - Parameters:
  ///   - root: The folder. It need not be there yet.
  ///   - store: Whose threads read the files, so that no task waits for the disk.
  public convenience init(root: String, settings: FileLogSettings, store: Store) {
    self.init(
      root: root, settings: settings, store: store, endLimit: SegmentFiles<Op>.usualEndLimit)
  }

  /// - Parameter endLimit: Of how many segments it remembers where they end.
  package init(root: String, settings: FileLogSettings, store: Store, endLimit: Int) {
    files = SegmentFiles(FileLogFolder(root: root), settings: settings, endLimit: endLimit)
    self.store = store
  }

  /// How many bytes of files were read so far.
  package var readByteCount: Int { files.readByteCount }

  /// The peers that have a directory, in the order of their bytes.
  public func listPeers() async throws -> [PeerID] {
    try await blocking { files in
      do throws(IOFailure) { return try files.folder.peers() } catch { throw error.spindleError }
    }
  }

  /// Looks into the folder, and tells of each peer the end of what can be read.
  ///
  /// - Complexity: O(peers) when nothing changed, up to 16,384 of them; what was added is read and
  ///   checked. With more than 16 peers the whole of a segment may be, which it was added to.
  public func cursors() async throws -> PeerCursors { try await survey().cursors }

  /// As ``cursors()``, and what is wrong with the last segment of a peer, or with its word, when
  /// ``acknowledgements()`` was asked for it the last time.
  public func survey() async throws -> LogSurvey {
    try await blocking { [self] files in
      var survey = LogSurvey(cursors: PeerCursors())
      let peers: [PeerID]
      do throws(IOFailure) { peers = try files.folder.peers() } catch { throw error.spindleError }
      for peer in peers {
        let (next, failure) = files.end(of: peer)
        survey.cursors.advance(peer, to: next)
        survey.failures[peer] = failure ?? unreadableWords.withLock { $0[peer] }
      }
      for (peer, next) in survey.cursors.sorted { board.advance(peer, to: next) }
      return survey
    }
  }

  /// What each replica that writes into the folder told that it has, by its
  /// ``FileLogReplica/acknowledge(replica:cursors:except:)``. A file that is damaged, or on its
  /// way, tells nothing. Nor does one that cannot be read: it keeps nobody else's word back, and
  /// ``survey()`` tells of it.
  public func acknowledgements() async throws -> [PeerID: PeerCursors] {
    try await blocking { [self] files in
      let peers: [PeerID]
      do throws(IOFailure) { peers = try files.folder.peers() } catch { throw error.spindleError }
      var replicas: [PeerID: PeerCursors] = [:]
      var unreadable: [PeerID: SpindleError] = [:]
      for peer in peers {
        do throws(IOFailure) {
          replicas[peer] = try FileLogAcknowledgement.read(files.folder.acknowledgement(of: peer))
        } catch {
          unreadable[peer] = error.spindleError
        }
      }
      unreadableWords.withLock { [unreadable] in $0 = unreadable }
      return replicas
    }
  }

  /// The end of what can be read of one peer.
  ///
  /// - Throws: ``SpindleError`` with `io` where the folder cannot be read. Damage is told by
  ///   reading.
  public func cursor(of peer: PeerID) async throws -> UInt64 {
    let board = board
    return try await blocking { files in
      let (next, failure) = files.end(of: peer)
      if let failure, failure.kind == .io { throw failure }
      board.advance(peer, to: next)
      return next
    }
  }

  /// What ``cursors()`` and ``cursor(of:)`` find out. Nothing looks into the folder by itself, so
  /// somebody has to ask from time to time; a ``ConvergenceDriver`` does, and
  /// ``LogSource/entries(from:follow:clock:)`` while it follows.
  public func watchCursors() -> CursorWatch { board.watch() }

  /// The head of a peer's chain before an index, as the segment tells that holds it or ends there.
  ///
  /// - Throws: as ``readSince(peer:from:)`` where the segment's beginning cannot be read.
  /// - Complexity: the segment is read, where it is not at hand and does not end there.
  public func chainHead(of peer: PeerID, before index: UInt64) async throws -> ChainHead? {
    try await blocking { files in try files.head(of: peer, before: index) }
  }

  public func readSince(
    peer: PeerID, from index: UInt64
  ) async throws -> [(index: UInt64, entry: DecodedEntry<Op>)] {
    try await blocking { files in try files.page(of: peer, from: index) }
  }

  private func blocking<Result: Sendable>(
    _ body: @escaping @Sendable (SegmentFiles<Op>) throws -> Result
  ) async throws -> Result {
    let files = files
    return try await store.blocking { try body(files) }
  }
}

extension SegmentFiles {
  /// The index behind a peer's last entry that can be read, and what is wrong behind it. Only what
  /// was read counts: a cursor that is too high would fence the peer's own writer for ever.
  fileprivate func end(of peer: PeerID) -> (next: UInt64, failure: SpindleError?) {
    var last: SegmentEnd?
    var failure: SpindleError?
    do throws(SpindleError) {
      for start in try starts(of: peer).reversed() where last == nil {
        // One whose beginning cannot be read does not hide those before it.
        do throws(SpindleError) { last = try end(peer, start: start) } catch {
          failure = failure ?? error
        }
      }
      if failure == nil, let last { failure = try damage(behind: last, of: peer, isLast: true) }
    } catch {
      failure = error
    }
    return (last?.next ?? 0, failure)
  }

  private func starts(of peer: PeerID) throws(SpindleError) -> [UInt64] {
    do throws(IOFailure) { return try folder.starts(of: peer) } catch { throw error.spindleError }
  }

  fileprivate func head(of peer: PeerID, before index: UInt64) throws -> ChainHead? {
    if index == 0 { return .seed(of: peer) }
    guard let start = try starts(of: peer).last(where: { $0 <= index }) else { return nil }
    if let end = try end(peer, start: start), end.next == index { return end.head }
    guard let segment = try load(peer, start: start)
    else { return nil }
    do throws(CodecError) { return try segment.content.head(before: index) } catch {
      throw Self.damage(error, path: segment.path, offset: 0)
    }
  }

  fileprivate func page(
    of peer: PeerID, from index: UInt64
  ) throws -> [(index: UInt64, entry: DecodedEntry<Op>)] {
    let starts = try starts(of: peer)
    guard let place = starts.lastIndex(where: { $0 <= index }) else { return [] }
    let isLast = place == starts.count - 1
    guard let segment = try load(peer, start: starts[place]) else {
      if isLast { return [] }
      throw Self.damage(
        .unexpectedEnd, path: folder.segment(of: peer, start: starts[place]), offset: 0)
    }
    if place > 0 { try checkLink(segment, after: starts[place - 1], of: peer) }
    if index < segment.next { return segment.content.page(from: index) }
    if let damage = try damage(behind: segment.end, of: peer, isLast: isLast) { throw damage }
    return []
  }
}

extension DecodedSegment {
  /// Entries from an index on, at most as many as a page takes; one at least.
  fileprivate func page(from index: UInt64) -> [(index: UInt64, entry: DecodedEntry<Op>)] {
    let first = Int(index - state.header.start)
    let start = first == 0 ? 0 : ends[first - 1]
    var count = 1
    while count < LogPage.entryLimit, first + count < entries.count,
      ends[first + count] - start <= LogPage.byteLimit
    {
      count += 1
    }
    return (first..<(first + count)).map { (state.header.start + UInt64($0), entries[$0]) }
  }
}
