internal import SpindleCore
internal import SpindleIO
internal import Synchronization

/// Reads an archive from its start to its end and judges everything on the way. Used by one thread
/// at a time.
final class ArchiveReader {
  private let path: String
  private var file: FileReader
  /// Bytes read so far.
  private var offset: UInt64 = 0
  private var digest: EntryHash
  private var audit = ArchiveAudit()
  private var version: UInt8 = 0
  private var count: UInt64 = 0

  /// How much was read.
  var progress: OpLogArchive.Progress {
    OpLogArchive.Progress(
      count: count, bytes: offset, fraction: Double(offset) / Double(max(file.size, 1)))
  }

  init(_ path: String) throws {
    self.path = path
    file = try Self.open(path)
    digest = ArchiveReader.firstDigest
    guard try take(ArchiveBlock.signature.count) == ArchiveBlock.signature else {
      throw SpindleError(
        .corruption, "\(path) is no exported op-log: its first bytes are others", path: path,
        reason: "corrupt_export")
    }
  }

  private static func open(_ path: String) throws(SpindleError) -> FileReader {
    do throws(IOFailure) { return try FileReader(path) } catch { throw error.spindleError }
  }

  /// The next block of rows or state, or of a peer; nil at the end of a file that is whole.
  func next() throws -> ArchiveBlock? {
    while !audit.isComplete {
      let start = offset
      let block = try readBlock()
      do throws(DecodingFailure) {
        try audit.add(block, digest: digest)
      } catch {
        throw damaged(at: start, error)
      }
      count += UInt64(block.elementCount)
      switch block {
      case .header, .end: continue
      case .peer, .rows, .state: return block
      }
    }
    guard offset == file.size else {
      throw damaged(at: offset, .trailingBytes(Int(clamping: file.size - offset)))
    }
    return nil
  }

  /// What the file says about itself; only after its end.
  var manifest: OpLogManifest {
    get throws {
      guard let manifest = audit.manifest else { throw damaged(at: offset, .invalid("no end")) }
      return manifest
    }
  }

  private func readBlock() throws -> ArchiveBlock {
    let start = offset
    var bytes = try take(ArchiveBlock.headByteCount)
    let kind = bytes[0]
    let length = bytes.dropFirst().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    let rest = length + UInt64(ArchiveBlock.checksumByteCount)
    // Before the memory is asked for.
    guard rest <= file.size - offset else {
      throw damaged(
        at: start,
        .truncated(needed: Int(clamping: rest), available: Int(clamping: file.size - offset)))
    }
    bytes += try take(Int(rest))
    let body = bytes.count - ArchiveBlock.checksumByteCount
    let computed = CRC32C.mask(CRC32C.checksum(bytes.span.extracting(0..<body)))
    let stored = bytes[body...].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    guard computed == stored else {
      throw damaged(at: start, .checksumMismatch(stored: stored, computed: computed))
    }
    do throws(DecodingFailure) {
      let block = try ArchiveBlock(
        kind: kind, version: version, body: bytes.span.extracting(ArchiveBlock.headByteCount..<body)
      )
      if case .header(let version, _, _, _) = block { self.version = version }
      if kind != ArchiveBlock.Kind.end { digest = Self.digest(digest, bytes) }
      return block
    } catch {
      throw damaged(at: start, error)
    }
  }

  /// The digest with one more block in it.
  static func digest(_ digest: EntryHash, _ block: [UInt8]) -> EntryHash {
    let content = digest.bytes + block
    return HashSuite.current.hash(content.span)
  }

  /// The digest of the signature alone.
  static var firstDigest: EntryHash {
    let signature = ArchiveBlock.signature
    return HashSuite.current.hash(signature.span)
  }

  private func take(_ count: Int) throws -> [UInt8] {
    let bytes: [UInt8]
    do throws(IOFailure) {
      bytes = try file.read(count)
    } catch {
      throw error.spindleError
    }
    guard bytes.count == count else {
      throw damaged(at: offset, .truncated(needed: count, available: bytes.count))
    }
    offset += UInt64(count)
    return bytes
  }

  private func damaged(at offset: UInt64, _ failure: DecodingFailure) -> SpindleError {
    if case .unknownVersion = failure {
      return SpindleError(
        .unsupportedFormat, "\(path) was exported by a newer version: \(failure)", path: path)
    }
    return SpindleError(
      .corruption, "\(path) is damaged at byte \(offset): \(failure)", path: path,
      reason: "corrupt_export")
  }
}

/// What the blocks of an archive must be to each other. No I/O.
struct ArchiveAudit {
  private(set) var manifest: OpLogManifest?
  private(set) var isComplete = false
  /// Which peer's rows come next, and from which index on.
  private var place = 0
  private var index: UInt64 = 0
  private var chain = ChainAudit(floor: .start)
  private var lastHead: ChainHead?
  private var hasRows = false
  private var lastStateKey: [UInt8]?
  private var rows: UInt64 = 0
  private var stateKeys: UInt64 = 0
  private var greatest = Timestamp.zero

  /// - Parameter digest: Of everything before the end block.
  mutating func add(_ block: ArchiveBlock, digest: EntryHash) throws(DecodingFailure) {
    switch block {
    case .header(_, let contents, let prefix, let created):
      guard manifest == nil else { throw .invalid("a second header") }
      manifest = OpLogManifest(
        contents: contents, prefix: prefix, created: created, peers: [], clock: nil,
        digest: digest)
    case .peer(let peer): try add(peer)
    case .rows(let page): try add(page)
    case .state(let pairs): try add(pairs)
    case .end(let clock, let peers, let rows, let stateKeys, let stored):
      guard let manifest else { throw .invalid("an end without a header") }
      while place < manifest.peers.count { try finishPeer() }
      guard stored == digest else { throw .invalid("the digest is not that of the blocks") }
      guard peers == manifest.peers.count, rows == self.rows, stateKeys == self.stateKeys else {
        throw .invalid("the counts at the end are not those of the blocks")
      }
      guard greatest <= clock ?? .zero else {
        throw .invalid("the clock register is below the greatest timestamp")
      }
      self.manifest?.clock = clock
      self.manifest?.rows = rows
      self.manifest?.stateKeys = stateKeys
      self.manifest?.digest = stored
      isComplete = true
    }
  }

  private mutating func add(_ peer: OpLogManifest.Peer) throws(DecodingFailure) {
    guard let manifest, !hasRows, lastStateKey == nil else {
      throw .invalid("a peer out of place")
    }
    guard manifest.contents.contains(.rows) || peer.first == peer.next else {
      throw .invalid("a peer has rows in a file without any")
    }
    if let last = manifest.peers.last {
      let (left, right) = (last.peer.uuid, peer.peer.uuid)
      guard (left.high, left.low) < (right.high, right.low) else {
        throw .invalid("the peers are not in order")
      }
    }
    self.manifest?.peers.append(peer)
    if manifest.peers.isEmpty { start(peer) }
  }

  private mutating func start(_ peer: OpLogManifest.Peer) {
    index = peer.first
    lastHead = peer.firstHead
    chain = ChainAudit(floor: LogPosition(next: peer.first, head: peer.firstHead))
  }

  private mutating func finishPeer() throws(DecodingFailure) {
    guard let manifest, place < manifest.peers.count else {
      throw .invalid("rows of a peer that was not named")
    }
    let peer = manifest.peers[place]
    guard index == peer.next else {
      throw .invalid("the rows of peer \(peer.peer) end at index \(index), not \(peer.next)")
    }
    guard lastHead == peer.head else {
      throw .invalid("the chain of peer \(peer.peer) does not end in the head that is told")
    }
    place += 1
    if place < manifest.peers.count { start(manifest.peers[place]) }
  }

  private mutating func add(_ page: ArchivePage) throws(DecodingFailure) {
    guard let manifest, lastStateKey == nil else { throw .invalid("rows out of place") }
    hasRows = true
    while place < manifest.peers.count, manifest.peers[place].peer != page.peer {
      try finishPeer()
    }
    guard place < manifest.peers.count else {
      throw .invalid("rows of a peer that was not named")
    }
    guard page.first == index, !page.rows.isEmpty else {
      throw .invalid("rows from index \(page.first), where index \(index) is next")
    }
    for row in page.rows {
      guard index < manifest.peers[place].next else {
        throw .invalid("more rows of peer \(page.peer) than are told")
      }
      if case .wrong(let what) = chain.judge(row, peer: page.peer, index: index, follows: true) {
        throw .invalid("the row at index \(index) of peer \(page.peer) \(what)")
      }
      lastHead = row.chain
      greatest = max(greatest, row.timestamp)
      index += 1
      rows += 1
    }
  }

  private mutating func add(
    _ pairs: [(key: [UInt8], value: [UInt8])]
  ) throws(DecodingFailure) {
    guard let manifest, manifest.contents.contains(.state), !pairs.isEmpty else {
      throw .invalid("state out of place")
    }
    for (key, _) in pairs {
      if let last = lastStateKey, !last.lexicographicallyPrecedes(key) {
        throw .invalid("the keys of the state are not in order")
      }
      lastStateKey = key
      stateKeys += 1
    }
  }
}

/// The pages of rows of an archive, for one reader that asks for them one after the other from any
/// thread.
final class ArchiveRows: Sendable {
  private let path: String
  private let state = Mutex<ArchiveReader?>(nil)

  init(path: String) { self.path = path }

  /// The next page; nil at the end of the file, which must be the one that was looked at before.
  func nextPage(
    of manifest: OpLogManifest
  ) throws -> (page: ArchivePage, progress: OpLogArchive.Progress)? {
    try state.withLock { state in
      let reader = try state ?? ArchiveReader(path)
      state = reader
      while let block = try reader.next() {
        if case .rows(let page) = block { return (page, reader.progress) }
      }
      try OpLogArchive.check(try reader.manifest, is: manifest, path: path)
      return nil
    }
  }
}
