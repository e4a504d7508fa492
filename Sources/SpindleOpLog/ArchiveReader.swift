internal import SpindleCore
internal import SpindleIO
internal import Synchronization

/// Reads an archive from its start to its end and judges everything on the way. Used by one thread
/// at a time.
final class ArchiveReader {
  private let path: String
  private let file: FileReader
  /// Bytes read so far.
  private var offset: UInt64 = 0
  private var digest: EntryHash
  private var audit = ArchiveAudit()
  private var version: UInt8 = 0
  private var count: UInt64 = 0
  private let valueByteLimit: Int

  /// How much was read.
  var progress: OpLogArchive.Progress {
    OpLogArchive.Progress(
      count: count, bytes: offset, fraction: Double(offset) / Double(max(file.size, 1)))
  }

  /// - Parameter valueByteLimit: The most bytes of a row, or of a key of the state with its value.
  init(_ path: String, valueByteLimit: Int) throws {
    self.path = path
    self.valueByteLimit = valueByteLimit
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
    do throws(DecodingFailure) {
      // What follows a header is not looked at before it.
      guard audit.manifest != nil || kind == ArchiveBlock.Kind.header else {
        throw .invalid("it does not begin with a header")
      }
      let limit = try ArchiveBlock.bodyLimit(kind: kind, valueByteLimit: valueByteLimit)
      guard length <= limit else {
        throw .invalid("a block of kind \(kind) claims \(length) bytes, more than \(limit)")
      }
    } catch {
      throw damaged(at: start, error)
    }
    let rest = length + UInt64(ArchiveBlock.checksumByteCount)
    // Before the memory is asked for.
    guard rest <= file.size - offset else {
      throw damaged(
        at: start,
        .truncated(needed: Int(clamping: rest), available: Int(clamping: file.size - offset)))
    }
    if length > Self.checkedByteCount { try checkAhead(bytes, length, blockStart: start) }
    try take(Int(rest), appendingTo: &bytes)
    let body = bytes.count - ArchiveBlock.checksumByteCount
    let computed = CRC32C.checksum(bytes.span.extracting(0..<body))
    try check(computed, is: bytes[body...], blockStart: start)
    do throws(DecodingFailure) {
      let block = try ArchiveBlock(
        kind: kind, version: version, body: bytes.span.extracting(ArchiveBlock.headByteCount..<body)
      )
      if case .header(let version, _, _, _, _) = block { self.version = version }
      if kind != ArchiveBlock.Kind.end { digest = Self.digest(digest, bytes) }
      return block
    } catch {
      throw damaged(at: start, error)
    }
  }

  /// Blocks up to this length are taken into memory before their checksum is known; a length above
  /// it is rare and may be damaged, so its bytes are read twice. Twice what rows of a common size
  /// fill.
  private static let checkedByteCount: UInt64 = 2 << 20

  /// Compares the checksum of a block without holding more than a piece of it.
  private func checkAhead(_ head: [UInt8], _ length: UInt64, blockStart: UInt64) throws {
    var checksum = CRC32C()
    checksum.update(head)
    var stored: [UInt8] = []
    var place = offset
    let end = offset + length
    do throws(IOFailure) {
      while place < end {
        var piece: [UInt8] = []
        try file.read(
          Int(min(end - place, UInt64(ArchiveBlock.bytesPerBlock))), at: place,
          appendingTo: &piece)
        if piece.isEmpty { break }
        checksum.update(piece)
        place += UInt64(piece.count)
      }
      try file.read(ArchiveBlock.checksumByteCount, at: end, appendingTo: &stored)
    } catch {
      throw error.spindleError
    }
    try check(checksum.value, is: stored[...], blockStart: blockStart)
  }

  private func check(
    _ checksum: UInt32, is stored: ArraySlice<UInt8>, blockStart: UInt64
  ) throws {
    let computed = CRC32C.mask(checksum)
    let stored = stored.reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    guard computed == stored else {
      throw damaged(at: blockStart, .checksumMismatch(stored: stored, computed: computed))
    }
  }

  /// The digest with one more block in it.
  static func digest(_ digest: EntryHash, _ block: [UInt8]) -> EntryHash {
    let start = digest.bytes
    return HashSuite.current.hash(start.span, block.span)
  }

  /// The digest of the signature alone.
  static var firstDigest: EntryHash {
    let signature = ArchiveBlock.signature
    return HashSuite.current.hash(signature.span)
  }

  private func take(_ count: Int) throws -> [UInt8] {
    var bytes: [UInt8] = []
    try take(count, appendingTo: &bytes)
    return bytes
  }

  private func take(_ count: Int, appendingTo bytes: inout [UInt8]) throws {
    let start = bytes.count
    do throws(IOFailure) {
      try file.read(count, at: offset, appendingTo: &bytes)
    } catch {
      throw error.spindleError
    }
    guard bytes.count - start == count else {
      throw damaged(at: offset, .truncated(needed: count, available: bytes.count - start))
    }
    offset += UInt64(count)
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
    case .header(_, let contents, let prefix, let created, let state):
      guard manifest == nil else { throw .invalid("a second header") }
      manifest = OpLogManifest(
        contents: contents, prefix: prefix, stateName: state, created: created, peers: [],
        clock: nil, digest: digest)
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
  private let valueByteLimit: Int
  private let state = Mutex<ArchiveReader?>(nil)

  init(path: String, valueByteLimit: Int) {
    self.path = path
    self.valueByteLimit = valueByteLimit
  }

  /// The next page; nil at the end of the file, which must be the one that was looked at before.
  func nextPage(
    of manifest: OpLogManifest
  ) throws -> (page: ArchivePage, progress: OpLogArchive.Progress)? {
    try state.withLock { state in
      let reader = try state ?? ArchiveReader(path, valueByteLimit: valueByteLimit)
      state = reader
      while let block = try reader.next() {
        if case .rows(let page) = block { return (page, reader.progress) }
      }
      try OpLogArchive.check(try reader.manifest, is: manifest, path: path)
      return nil
    }
  }
}
