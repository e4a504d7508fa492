public import SpindleCore
internal import SpindleIO
public import SpindleStore

/// A log, or the state that it led to, or both, as one file: for moving to another store, for a
/// replica that starts where the source was trimmed, for keeping.
///
/// `Documentation/Formats/oplog-export.md` describes the file. Every byte is covered by a checksum
/// and a digest, and nothing of a damaged file is taken: each call reads the whole file first.
public struct OpLogArchive: Sendable {
  /// What a file holds.
  public struct Contents: OptionSet, Sendable, Hashable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The rows from each peer's floor on.
    public static let rows = Contents(rawValue: 1 << 0)
    /// What reducers made of the log: the family `data:<prefix>`. With it the file is a snapshot,
    /// which an empty replica starts from.
    public static let state = Contents(rawValue: 1 << 1)
    public static let everything: Contents = [.rows, .state]
  }

  /// How far a call is.
  public struct Progress: Sendable, Hashable {
    /// Rows and keys of state that were written or read.
    public var count: UInt64 = 0
    /// Bytes of the file that were written or read.
    public var bytes: UInt64 = 0
    /// The part that is done, 0 to 1; nil where nobody knows how much there is.
    public var fraction: Double?
  }

  public let path: String
  let store: Store
  /// The most bytes that an element of the file may have. A file of a store with the default limit
  /// can be read where it is lower.
  var valueByteLimit: Int {
    max(store.settings.valueByteLimit, StoreSettings().valueByteLimit)
  }

  /// - Parameter store: Lends its threads, and takes what is installed.
  public init(path: String, store: Store) {
    self.path = path
    self.store = store
  }

  /// Reads the whole file and checks everything about it: checksums and digest, that the indices of
  /// each peer follow each other, the chains, the counts.
  ///
  /// - Throws: ``SpindleError``: `corruption` with the offset for a file that is damaged or cut
  ///   off, `unsupportedFormat` for a newer one, `notFound`, `io`.
  /// - Complexity: O(bytes of the file), in the memory of the largest row, or key of the state with
  ///   its value, and a few MiB. One above the store's limit of a value and above 1 GiB is refused
  ///   before it is read.
  public func verify() async throws -> OpLogManifest {
    let (path, limit) = (path, valueByteLimit)
    return try await store.blocking { try Self.read(path, valueByteLimit: limit) { _, _ in } }
  }

  /// The same without a store, on the calling thread, which waits for the disk: a file that is no
  /// good must not leave a store behind that was made for it.
  package static func verify(
    at path: String, progress: (Progress) -> Void = { _ in }
  ) throws -> OpLogManifest {
    try read(path) { _, now in progress(now) }
  }

  /// The prefix that the log had. Reads the beginning of the file on the calling thread, and checks
  /// no more of it.
  package func readPrefix() throws -> String {
    let reader = try ArchiveReader(path, valueByteLimit: valueByteLimit)
    _ = try reader.next()
    return try reader.manifest.prefix
  }

  /// Applies the rows to a log in use, as if another replica had sent them. What it has already is
  /// no error, so an import that was interrupted is simply done again. State in the file is left
  /// alone: it follows from the rows.
  ///
  /// - Parameter progress: Called after each page with what was read so far.
  /// - Returns: How many entries were new.
  /// - Throws: ``SpindleError`` as ``verify()`` does, before anything is applied; ``SyncError``
  ///   with `compacted` when the file starts behind what the log has of a peer, with `conflict`
  ///   where it has another history of the peer; ``SpindleError`` with `conflict` for a file that
  ///   was replaced while it was read; and whatever applying throws. Entries before the
  ///   failing one stay applied.
  public func apply<Target: LogProcessor>(
    to target: Target, progress: @escaping @Sendable (Progress) -> Void = { _ in }
  ) async throws -> UInt64 where Target.Op: IndexableOp {
    let manifest = try await verify()
    guard manifest.contents.contains(.rows) else {
      throw SpindleError(
        .invalidArgument, "\(path) holds state and no rows; it can only be installed", path: path,
        reason: "no_rows")
    }
    for peer in manifest.peers where peer.first > 0 {
      guard try await target.cursor(of: peer.peer) >= peer.first else {
        throw SyncError.compacted(peer: peer.peer, oldest: peer.first)
      }
    }
    let source = ArchiveRows(path: path, valueByteLimit: valueByteLimit)
    var count: UInt64 = 0
    while let (page, now) = try await store.blocking({ try source.nextPage(of: manifest) }) {
      let entries = try page.rows.enumerated().map { offset, row in
        let index = page.first + UInt64(offset)
        let entry: DecodedEntry<Target.Op> = try LogIndexTracker.decode(
          row, peer: page.peer, index: index)
        return (index: index, entry: entry)
      }
      try await check(page, of: manifest, follows: target)
      count += UInt64(try await target.apply(peer: page.peer, entries: entries))
      progress(now)
    }
    return count
  }

  /// Compares the chains where a page meets the end of the log: entries that it goes on behind may
  /// be gone, from the file or from the log, so that they are not compared one by one.
  private func check(
    _ page: ArchivePage, of manifest: OpLogManifest, follows target: some LogProcessor
  ) async throws {
    guard let part = manifest.peers.first(where: { $0.peer == page.peer }), !part.startsLate else {
      return
    }
    let end = page.first + UInt64(page.rows.count)
    let next = min(try await target.cursor(of: page.peer), end)
    guard next >= page.first else { return }
    let head = next > page.first ? page.rows[Int(next - page.first) - 1].chain : part.firstHead
    guard next > page.first || next == part.first, let head,
      let ours = try await target.chainHead(of: page.peer, before: next), ours != head
    else { return }
    for (offset, row) in page.rows.enumerated() where page.first + UInt64(offset) < next {
      let index = page.first + UInt64(offset)
      let ours = try await target.chainHead(of: page.peer, before: index + 1)
      guard let ours, let head = row.chain, ours != head else { continue }
      throw SyncError.conflict(peer: page.peer, index: index)
    }
    throw SyncError.conflict(peer: page.peer, index: next - 1)
  }

  /// Compares two readings of the file.
  static func check(
    _ read: OpLogManifest, is manifest: OpLogManifest, path: String
  ) throws(SpindleError) {
    guard read.digest == manifest.digest else {
      throw SpindleError(
        .conflict, "\(path) was replaced while it was read; import it again", path: path)
    }
  }

  /// Reads the file from its start to its end on the calling thread.
  ///
  /// - Parameter body: Gets each block that is neither the header nor the end, and how far the
  ///   reading is.
  static func read(
    _ path: String, valueByteLimit: Int = StoreSettings().valueByteLimit,
    _ body: (ArchiveBlock, Progress) throws -> Void
  ) throws -> OpLogManifest {
    let reader = try ArchiveReader(path, valueByteLimit: valueByteLimit)
    while let block = try reader.next() { try body(block, reader.progress) }
    return try reader.manifest
  }
}

/// What a file of an exported log says about itself.
public struct OpLogManifest: Sendable, Hashable {
  /// One peer's part.
  public struct Peer: Sendable, Hashable {
    public var peer: PeerID
    /// The first index whose row is in the file.
    public var first: UInt64
    /// The next index after the last.
    public var next: UInt64
    /// The chain's head before the first row; nil for none.
    public var firstHead: ChainHead?
    /// The chain's head after the last row; nil for none.
    public var head: ChainHead?
    /// Whether the chain began behind rows that were in none, so that other replicas' chains of
    /// this peer are others. Files of version 1 do not tell: false.
    public var startsLate = false
  }

  public var contents: OpLogArchive.Contents
  /// The prefix that was exported.
  public var prefix: String
  /// The ``Reducer/stateName`` of the reducer that makes the state; nil where the log did not say
  /// it. Files of version 1 and 2 do not tell: nil.
  public var stateName: String?
  /// When, in milliseconds since the Unix epoch.
  public var created: UInt64
  /// In the order of the peers' bytes.
  public var peers: [Peer]
  /// The clock register; nil for a log that never had one.
  public var clock: Timestamp?
  public var rows: UInt64 = 0
  /// Keys of the state.
  public var stateKeys: UInt64 = 0
  /// Of everything before the end block.
  public var digest: EntryHash

  /// Each peer's next index.
  public var cursors: PeerCursors {
    peers.reduce(into: PeerCursors()) { $0.advance($1.peer, to: $1.next) }
  }

  /// Each peer's floor.
  var floors: [PeerID: LogPosition] {
    peers.reduce(into: [:]) { floors, peer in
      if peer.first > 0 {
        floors[peer.peer] = LogPosition(next: peer.first, head: peer.firstHead)
        // A floor without a head tells it by that.
        floors[peer.peer]?.startsLate = peer.startsLate && peer.firstHead != nil
      }
    }
  }
}
