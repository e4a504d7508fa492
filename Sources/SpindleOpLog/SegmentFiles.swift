internal import SpindleCore
internal import SpindleIO
internal import Synchronization

/// A segment as it was read from its file.
struct LoadedSegment<Op: IndexableOp>: Sendable {
  let path: String
  fileprivate let identity: FileIdentity
  let fileSize: UInt64
  var content: DecodedSegment<Op>
  /// Whether what follows the last whole entry looks like one that has not arrived wholly: it ends
  /// too early, or in zeros to the end, which some file systems leave after power loss.
  var isTorn: Bool
  /// Whether it was found to go on where the segment before it ends.
  var isLinked = false

  var next: UInt64 { content.state.next }

  var end: SegmentEnd {
    SegmentEnd(
      identity: identity, fileSize: fileSize, start: content.state.header.start,
      next: content.state.next, head: content.state.head, byteCount: content.state.byteCount,
      failure: content.failure, isTorn: isTorn)
  }

  /// The failure behind the last whole entry, told with its place.
  func damage(_ failure: CodecError) -> SpindleError {
    SegmentFiles<Op>.damage(failure, path: path, offset: content.state.byteCount)
  }
}

/// Where a segment ended when it was read. Without its entries, so that those of many peers are
/// kept.
struct SegmentEnd: Sendable {
  fileprivate let identity: FileIdentity
  fileprivate let fileSize: UInt64
  let start: UInt64
  let next: UInt64
  /// The chain's head there; nil without a chain.
  let head: ChainHead?
  /// Bytes of the header and of all whole entries.
  let byteCount: Int
  /// Why what follows them is no entry; nil where nothing does.
  let failure: CodecError?
  /// As ``LoadedSegment/isTorn``.
  let isTorn: Bool
}

/// The ends of segments by their files' names.
private struct SegmentEnds: Sendable {
  private var ends: [String: (end: SegmentEnd, use: UInt64)] = [:]
  private var useCount: UInt64 = 0
  private let limit: Int

  /// - Parameter limit: The most ends that are kept. Beyond it the half that was used longest ago
  ///   is forgotten, and read again.
  init(limit: Int) { self.limit = limit }

  /// The end of a file that is as it was.
  mutating func end(
    at path: String, _ identity: FileIdentity, _ fileSize: UInt64
  ) -> SegmentEnd? {
    guard let known = ends[path]?.end, known.identity == identity, known.fileSize == fileSize
    else { return nil }
    keep(known, at: path)
    return known
  }

  mutating func keep(_ end: SegmentEnd, at path: String) {
    useCount += 1
    ends[path] = (end, useCount)
    guard ends.count > limit else { return }
    let uses = ends.values.map(\.use).sorted()
    let middle = uses[uses.count / 2]
    ends = ends.filter { $0.value.use >= middle }
  }
}

/// Reads the segments of a folder, and keeps those read last. Its calls wait for the disk.
///
/// A folder that others write to may hold anything under the name of a segment. So a file is read
/// piece by piece and no further than it makes sense, and what was found to be none is remembered:
/// it is not read again until it changes.
final class SegmentFiles<Op: IndexableOp>: Sendable {
  /// The most segments kept: a few peers' worth for a driver that reads them in turns.
  private static var keptLimit: Int { 16 }
  /// The most bytes of the files kept, so that segments with large entries do not fill memory. One
  /// is always kept, since its pages are read one after the other.
  private static var keptByteLimit: Int { 64 << 20 }
  /// The most segments whose end is remembered, each of about 200 bytes with its name: the last
  /// ones of as many peers.
  static var usualEndLimit: Int { 16_384 }
  /// The most files remembered as none, each a name and a sentence. Beyond it the oldest are looked
  /// at again, which costs little beside opening them.
  private static var rejectedLimit: Int { 4_096 }
  /// Bytes of a file read at once: enough for most, and little beside what decoding them takes.
  private static var pieceByteCount: Int { 64 << 10 }

  /// A file that is no segment, as it was when it was read.
  private struct Rejected {
    let path: String
    let identity: FileIdentity
    let fileSize: UInt64
    /// Nil where the header has not arrived wholly.
    let failure: SpindleError?
  }

  let folder: FileLogFolder
  private let magic: [UInt8]
  private let byteLimit: Int
  private let endLimit: Int
  /// Oldest use first.
  private let kept = Mutex<[LoadedSegment<Op>]>([])
  private let ends: Mutex<SegmentEnds>
  /// Oldest first.
  private let rejected = Mutex<[Rejected]>([])
  private let readCount = Atomic<Int>(0)

  init(
    _ folder: FileLogFolder, settings: FileLogSettings, endLimit: Int = SegmentFiles.usualEndLimit
  ) {
    self.folder = folder
    self.endLimit = endLimit
    ends = Mutex(SegmentEnds(limit: endLimit))
    magic = settings.magic
    byteLimit = settings.fileByteLimit
  }

  /// How many bytes of segments were read so far.
  var readByteCount: Int { readCount.load(ordering: .relaxed) }

  static func damage(_ failure: CodecError, path: String, offset: Int) -> SpindleError {
    SpindleError(
      failure.isUnknownFormat ? .unsupportedFormat : .corruption,
      "the log file \(path) is damaged at byte \(offset): \(failure)", path: path,
      reason: "corrupt_segment")
  }

  /// Reads a segment, or takes in what was added to it.
  ///
  /// - Returns: nil for a file that is gone, or whose header has not arrived wholly.
  /// - Throws: ``SpindleError`` with `corruption`, reason `corrupt_segment`, for a file that is too
  ///   large, or whose header cannot be read or is another segment's; `unsupportedFormat`; `io`.
  func load(_ peer: PeerID, start: UInt64) throws(SpindleError) -> LoadedSegment<Op>? {
    let path = folder.segment(of: peer, start: start)
    guard let file = try open(path) else { return nil }
    return try load(file, path, peer, start)
  }

  /// Where a segment ends. Reads it only where it changed since its end was found.
  ///
  /// - Returns: as ``load(_:start:)``, as are the errors.
  func end(_ peer: PeerID, start: UInt64) throws(SpindleError) -> SegmentEnd? {
    let path = folder.segment(of: peer, start: start)
    guard let file = try open(path) else { return nil }
    let (identity, size) = (file.identity, file.size)
    if let known = ends.withLock({ $0.end(at: path, identity, size) }) { return known }
    return try load(file, path, peer, start)?.end
  }

  /// - Returns: nil where there is no file.
  private func open(_ path: String) throws(SpindleError) -> FileReader? {
    do throws(IOFailure) { return try FileReader(path) } catch {
      if error.isNotFound { return nil }
      throw error.spindleError
    }
  }

  /// Whether a file begins as its name says and is larger than a segment may be: it was written by
  /// a higher limit.
  func isAboveLimit(_ peer: PeerID, start: UInt64) throws(SpindleError) -> Bool {
    let path = folder.segment(of: peer, start: start)
    guard var file = try open(path), file.size > UInt64(byteLimit) else { return false }
    let first = try piece(of: &file, max(Self.pieceByteCount, 2 * magic.count))
    guard let header = try? header(in: first, path: path) else { return false }
    return header.peer == peer && header.start == start
  }

  private func load(
    _ opened: consuming FileReader, _ path: String, _ peer: PeerID, _ start: UInt64
  ) throws(SpindleError) -> LoadedSegment<Op>? {
    var file = opened
    let known = kept.withLock { kept -> LoadedSegment<Op>? in
      guard let place = kept.firstIndex(where: { $0.path == path }) else { return nil }
      let segment = kept.remove(at: place)
      kept.append(segment)
      return segment
    }
    if let known, known.identity == file.identity, known.fileSize == file.size { return known }
    if let rejected = rejection(of: path, file) {
      if let failure = rejected.failure { throw failure }
      return nil
    }
    do throws(SpindleError) {
      guard let segment = try read(&file, path, peer, start, known: known) else {
        reject(path, file, nil)
        return nil
      }
      keep(segment)
      return segment
    } catch {
      if error.kind != .io { reject(path, file, error) }
      throw error
    }
  }

  private func rejection(of path: String, _ file: borrowing FileReader) -> Rejected? {
    let (identity, size) = (file.identity, file.size)
    return rejected.withLock { rejected in
      rejected.first { $0.path == path && $0.identity == identity && $0.fileSize == size }
    }
  }

  private func reject(_ path: String, _ file: borrowing FileReader, _ failure: SpindleError?) {
    let found = Rejected(
      path: path, identity: file.identity, fileSize: file.size, failure: failure)
    rejected.withLock { rejected in
      rejected.removeAll { $0.path == path }
      if rejected.count >= Self.rejectedLimit { rejected.removeFirst() }
      rejected.append(found)
    }
  }

  private func read(
    _ file: inout FileReader, _ path: String, _ peer: PeerID, _ start: UInt64,
    known: LoadedSegment<Op>?
  ) throws(SpindleError) -> LoadedSegment<Op>? {
    if let known, file.size <= UInt64(byteLimit), let grown = try extend(known, from: &file) {
      return grown
    }
    do throws(IOFailure) { try file.seek(to: 0) } catch { throw error.spindleError }
    let first = try piece(of: &file, max(Self.pieceByteCount, 2 * magic.count))
    guard let header = try header(in: first, path: path) else { return nil }
    guard header.peer == peer, header.start == start else {
      throw SpindleError(
        .corruption,
        "the log file \(path) holds the entries of peer \(header.peer) from index \(header.start) "
          + "on; its name says otherwise", path: path, reason: "corrupt_segment")
    }
    guard file.size <= UInt64(byteLimit) else {
      throw SpindleError(
        .corruption,
        "the log file \(path) has \(file.size) bytes; by the settings a segment has \(byteLimit) "
          + "at most", path: path, reason: "corrupt_segment")
    }
    var content: DecodedSegment<Op>
    do throws(CodecError) {
      guard let begun = try DecodedSegment<Op>(first, magic: magic) else { return nil }
      content = begun
    } catch {
      throw Self.damage(error, path: path, offset: 0)
    }
    let rest = Array(first[content.state.byteCount...])
    let isTorn = try readOn(&content, rest, &file)
    return LoadedSegment(
      path: path, identity: file.identity, fileSize: file.size, content: content, isTorn: isTorn)
  }

  /// Reads a header.
  ///
  /// - Returns: nil where it has not arrived wholly.
  private func header(in bytes: [UInt8], path: String) throws(SpindleError) -> SegmentHeader? {
    do throws(CodecError) {
      return try SegmentHeader.decode(bytes, magic: magic).header
    } catch {
      let written = Self.trimmingZeros(bytes[...])
      if error == .unexpectedEnd || written.isEmpty || isTornHeader(written) { return nil }
      throw Self.damage(error, path: path, offset: 0)
    }
  }

  private func piece(of file: inout FileReader, _ count: Int) throws(SpindleError) -> [UInt8] {
    do throws(IOFailure) {
      let bytes = try file.read(count)
      readCount.add(bytes.count, ordering: .relaxed)
      return bytes
    } catch {
      throw error.spindleError
    }
  }

  /// Decodes the rest of a file as far as there are entries.
  ///
  /// - Parameter rest: What was read behind the last whole entry.
  /// - Returns: Whether what follows the last whole entry looks torn.
  private func readOn(
    _ content: inout DecodedSegment<Op>, _ rest: [UInt8], _ file: inout FileReader
  ) throws(SpindleError) -> Bool {
    var rest = rest
    while content.failure == nil || content.failure == .unexpectedEnd {
      // An entry larger than a piece is decoded from its beginning again: each time twice as much
      // of it is there.
      let next = try piece(of: &file, max(Self.pieceByteCount, rest.count))
      if next.isEmpty { break }
      rest += next
      let start = content.state.byteCount
      content.extend(rest)
      rest.removeFirst(content.state.byteCount - start)
    }
    guard Self.isTorn(content, rest[...]) else { return false }
    // Only zeros may follow; they are looked at and not kept.
    while true {
      let next = try piece(of: &file, Self.pieceByteCount)
      if next.isEmpty { return true }
      if next.contains(where: { $0 != 0 }) { return false }
    }
  }

  /// Takes in what follows the whole entries that are known; nil when the file does not simply go
  /// on there.
  private func extend(
    _ known: LoadedSegment<Op>, from file: inout FileReader
  ) throws(SpindleError) -> LoadedSegment<Op>? {
    guard known.identity.isSameFile(as: file.identity), file.size > known.fileSize else {
      return nil
    }
    do throws(IOFailure) { try file.seek(to: UInt64(known.content.state.byteCount)) } catch {
      throw error.spindleError
    }
    var content = known.content
    let rest = try piece(of: &file, Self.pieceByteCount)
    let start = content.state.byteCount
    content.extend(rest)
    let isTorn = try readOn(
      &content, Array(rest[(content.state.byteCount - start)...]), &file)
    guard content.failure == nil || isTorn else { return nil }
    return LoadedSegment(
      path: known.path, identity: file.identity, fileSize: file.size, content: content,
      isTorn: isTorn, isLinked: known.isLinked)
  }

  /// Whether what follows the last whole entry may be the beginning of one, perhaps with zeros to
  /// the end of the file in place of what was not written.
  private static func isTorn(_ content: DecodedSegment<Op>, _ rest: ArraySlice<UInt8>) -> Bool {
    guard let failure = content.failure else { return false }
    let written = trimmingZeros(rest)
    if failure == .unexpectedEnd || written.isEmpty { return true }
    guard written.count < rest.count else { return false }
    var decoder = SegmentDecoder<Op>(continuing: content.state, Array(written))
    do throws(CodecError) {
      _ = try decoder.next()
      return false
    } catch {
      return error == .unexpectedEnd
    }
  }

  private func isTornHeader(_ written: ArraySlice<UInt8>) -> Bool {
    do throws(CodecError) {
      _ = try SegmentHeader.decode(Array(written), magic: magic)
      return false
    } catch {
      return error == .unexpectedEnd
    }
  }

  private static func trimmingZeros(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    bytes[..<(bytes.lastIndex { $0 != 0 }.map { $0 + 1 } ?? bytes.startIndex)]
  }

  /// Lets the next look read all from the disk, also what seems unchanged.
  func forget() {
    kept.withLock { $0 = [] }
    ends.withLock { $0 = SegmentEnds(limit: endLimit) }
    rejected.withLock { $0 = [] }
  }

  private func keep(_ segment: LoadedSegment<Op>) {
    ends.withLock { $0.keep(segment.end, at: segment.path) }
    kept.withLock { kept in
      kept.removeAll { $0.path == segment.path }
      kept.append(segment)
      var byteCount = kept.reduce(0) { $0 + $1.content.state.byteCount }
      while kept.count > Self.keptLimit || byteCount > Self.keptByteLimit && kept.count > 1 {
        byteCount -= kept.removeFirst().content.state.byteCount
      }
    }
  }

  // MARK: Ends

  /// Why the log cannot be read behind a segment's last whole entry; nil where it simply ends, or
  /// what follows has not arrived.
  ///
  /// - Throws: ``SpindleError`` where the mark of what was acknowledged cannot be read.
  func damage(
    behind end: SegmentEnd, of peer: PeerID, isLast: Bool
  ) throws(SpindleError) -> SpindleError? {
    guard let failure = end.failure else { return nil }
    let path = folder.segment(of: peer, start: end.start)
    let damage = Self.damage(failure, path: path, offset: end.byteCount)
    guard isLast, end.isTorn else { return damage }
    // A length that was changed looks like an entry on its way. Where the writer had acknowledged
    // more in no more bytes than are here, it is none.
    let mark = try AcknowledgedMark.read(folder.mark(of: peer))
    guard let mark, mark.start == end.start, mark.next > end.next, end.fileSize >= mark.byteCount
    else { return nil }
    return damage
  }

  // MARK: Chains

  /// Checks that a segment goes on where the one before it ends. Where entries between the two have
  /// not arrived there is nothing to compare.
  ///
  /// - Throws: ``SpindleError`` with `corruption`, reason `corrupt_segment`.
  func checkLink(_ segment: LoadedSegment<Op>, after start: UInt64, of peer: PeerID) throws {
    guard !segment.isLinked, let previous = try end(peer, start: start) else { return }
    let header = segment.content.state.header
    guard previous.next >= header.start else { return }
    guard previous.next == header.start, Self.agree(previous.head, header.head) else {
      throw SpindleError(
        .corruption,
        "the log file \(segment.path) does not follow the one before it, which ends at index "
          + "\(previous.next): their chains differ", path: segment.path, reason: "corrupt_segment")
    }
    var linked = segment
    linked.isLinked = true
    keep(linked)
  }

  private static func agree(_ one: ChainHead?, _ other: ChainHead?) -> Bool {
    guard let one, let other else { return true }
    return one == other
  }
}
