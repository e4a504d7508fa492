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

  /// The failure behind the last whole entry, told with its place.
  func damage(_ failure: CodecError) -> SpindleError {
    SegmentFiles<Op>.damage(failure, path: path, offset: content.state.byteCount)
  }
}

/// Reads the segments of a folder, and keeps those read last. Its calls wait for the disk.
final class SegmentFiles<Op: IndexableOp>: Sendable {
  /// The most bytes of one file; a greater one was not written by a sink, and reading it would only
  /// fill memory.
  static var fileByteLimit: UInt64 { UInt64(SegmentState.byteLimit) }
  /// The most segments kept: a few peers' worth for a driver that reads them in turns.
  private static var keptLimit: Int { 16 }
  /// The most bytes of the files kept, so that segments with large entries do not fill memory. One
  /// is always kept, since its pages are read one after the other.
  private static var keptByteLimit: Int { 64 << 20 }

  let folder: FileLogFolder
  private let magic: [UInt8]
  /// Oldest use first.
  private let kept = Mutex<[LoadedSegment<Op>]>([])

  init(_ folder: FileLogFolder, magic: [UInt8]) {
    self.folder = folder
    self.magic = magic
  }

  static func damage(_ failure: CodecError, path: String, offset: Int) -> SpindleError {
    SpindleError(
      failure.isUnknownFormat ? .unsupportedFormat : .corruption,
      "the log file \(path) is damaged at byte \(offset): \(failure)", path: path,
      reason: "corrupt_segment")
  }

  /// Reads a segment, or takes in what was added to it.
  ///
  /// - Returns: nil for a file that is gone, or whose header has not arrived wholly.
  /// - Throws: ``SpindleError`` with `corruption`, reason `corrupt_segment`, for a header that
  ///   cannot be read or is another segment's; `unsupportedFormat`; `io`.
  func load(_ peer: PeerID, start: UInt64) throws(SpindleError) -> LoadedSegment<Op>? {
    let path = folder.segment(of: peer, start: start)
    let known = kept.withLock { kept in kept.first { $0.path == path } }
    guard let segment = try read(path, known: known) else { return nil }
    let header = segment.content.state.header
    guard header.peer == peer, header.start == start else {
      throw SpindleError(
        .corruption,
        "the log file \(path) holds the entries of peer \(header.peer) from index \(header.start) "
          + "on; its name says otherwise", path: path, reason: "corrupt_segment")
    }
    keep(segment)
    return segment
  }

  private func read(
    _ path: String, known: LoadedSegment<Op>?
  ) throws(SpindleError) -> LoadedSegment<Op>? {
    var file: FileReader
    do throws(IOFailure) { file = try FileReader(path) } catch {
      if error.isNotFound { return nil }
      throw error.spindleError
    }
    if let known, known.identity == file.identity, known.fileSize == file.size { return known }
    guard file.size <= Self.fileByteLimit else {
      throw SpindleError(
        .corruption,
        "the log file \(path) has \(file.size) bytes; a segment has \(Self.fileByteLimit) at most",
        path: path, reason: "corrupt_segment")
    }
    let bytes: [UInt8]
    do throws(IOFailure) {
      if let known, let grown = try extend(known, from: &file) { return grown }
      try file.seek(to: 0)
      bytes = try file.read(Int(file.size))
    } catch {
      throw error.spindleError
    }
    return try decode(bytes, of: file, path: path)
  }

  /// Takes in what follows the whole entries that are known; nil when the file does not simply go
  /// on there.
  private func extend(
    _ known: LoadedSegment<Op>, from file: inout FileReader
  ) throws(IOFailure) -> LoadedSegment<Op>? {
    let start = UInt64(known.content.state.byteCount)
    guard known.identity.isSameFile(as: file.identity), file.size > known.fileSize else {
      return nil
    }
    try file.seek(to: start)
    let rest = try file.read(Int(file.size - start))
    var content = known.content
    content.extend(rest)
    let end = content.state.byteCount - Int(start)
    let isTorn = Self.isTorn(content, rest[end...])
    guard content.failure == nil || isTorn else { return nil }
    return LoadedSegment(
      path: known.path, identity: file.identity, fileSize: file.size, content: content,
      isTorn: isTorn, isLinked: known.isLinked)
  }

  private func decode(
    _ bytes: [UInt8], of file: borrowing FileReader, path: String
  ) throws(SpindleError) -> LoadedSegment<Op>? {
    do throws(CodecError) {
      guard let content = try DecodedSegment<Op>(bytes, magic: magic) else { return nil }
      return LoadedSegment(
        path: path, identity: file.identity, fileSize: file.size, content: content,
        isTorn: Self.isTorn(content, bytes[content.state.byteCount...]))
    } catch {
      let written = Self.trimmingZeros(bytes[...])
      if error == .unexpectedEnd || written.isEmpty || isTornHeader(written) { return nil }
      throw Self.damage(error, path: path, offset: 0)
    }
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
  func forget() { kept.withLock { $0 = [] } }

  private func keep(_ segment: LoadedSegment<Op>) {
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
    behind segment: LoadedSegment<Op>, of peer: PeerID, isLast: Bool
  ) throws(SpindleError) -> SpindleError? {
    guard let failure = segment.content.failure else { return nil }
    guard isLast, segment.isTorn else { return segment.damage(failure) }
    // A length that was changed looks like an entry on its way. Where the writer had acknowledged
    // more in no more bytes than are here, it is none.
    let mark = try AcknowledgedMark.read(folder.mark(of: peer))
    guard let mark, mark.start == segment.content.state.header.start, mark.next > segment.next,
      segment.fileSize >= mark.byteCount
    else { return nil }
    return segment.damage(failure)
  }

  // MARK: Chains

  /// Checks that a segment goes on where the one before it ends. Where entries between the two have
  /// not arrived there is nothing to compare.
  ///
  /// - Throws: ``SpindleError`` with `corruption`, reason `corrupt_segment`.
  func checkLink(_ segment: LoadedSegment<Op>, after start: UInt64, of peer: PeerID) throws {
    guard !segment.isLinked, let previous = try load(peer, start: start) else { return }
    let header = segment.content.state.header
    guard previous.next >= header.start else { return }
    guard previous.next == header.start, Self.agree(previous.content.state.head, header.head) else {
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
