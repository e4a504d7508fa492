internal import SpindleCore

/// Reads a segment entry by entry.
///
/// An entry that cannot be read changes nothing: the decoder still stands behind the last whole
/// one, and its ``state`` is where a writer may go on.
public struct SegmentDecoder<Op: IndexableOp>: Sendable {
  private var position: SegmentState
  private var reader: OpReader

  /// Reads a segment's header.
  ///
  /// - Parameter magic: What the segment was written with.
  /// - Returns: nil for no bytes at all, which are no segment.
  /// - Throws: ``CodecError/badMagic``, ``CodecError/unknownSegmentFlags(_:)``,
  ///   ``CodecError/unknownSegmentVersion(_:)``, ``CodecError/unknownHashSuite(_:)``,
  ///   ``CodecError/headerMismatch``, ``CodecError/unexpectedEnd``.
  public init?(_ bytes: [UInt8], magic: [UInt8]) throws(CodecError) {
    guard !magic.isEmpty else { throw .badMagic }
    if bytes.isEmpty { return nil }
    let (header, byteCount) = try SegmentHeader.decode(bytes, magic: magic)
    position = SegmentState(header, byteCount: byteCount)
    reader = OpReader(bytes, UUIDDictionary())
    reader.rollBack(toOffset: byteCount, uuidCount: 0)
  }

  /// Reads on where a segment ended before.
  ///
  /// - Parameter bytes: What follows the first ``SegmentState/byteCount`` bytes.
  public init(continuing state: SegmentState, _ bytes: [UInt8]) {
    position = state
    reader = OpReader(bytes, state.dictionary)
  }

  /// Behind the last entry that was read.
  public var state: SegmentState {
    var state = position
    state.dictionary = reader.dictionary
    return state
  }

  fileprivate var byteCount: Int { position.byteCount }
  fileprivate var head: ChainHead? { position.head }

  /// The next entry; nil where the bytes end behind one.
  public mutating func next() throws(CodecError) -> DecodedEntry<Op>? {
    if reader.remaining == 0 { return nil }
    let (offset, uuidCount) = (reader.offset, reader.dictionary.count)
    do throws(CodecError) {
      guard position.next < .max else { throw .indexOverflow }
      let tag = try reader.readUInt8()
      let (entry, hash) = tag == IndexEntry.reservedTag ? try readMarker() : try readEntry(tag)
      if case .logEntry(let entry) = entry { position.lastTimestamp = entry.timestamp }
      position.append(hash)
      position.byteCount += reader.offset - offset
      return entry
    } catch {
      reader.rollBack(toOffset: offset, uuidCount: uuidCount)
      throw error
    }
  }

  private mutating func readMarker() throws(CodecError) -> (DecodedEntry<Op>, EntryHash) {
    guard let hash = EntryHash(bytes: try reader.readBytes(UInt64(EntryHash.byteCount))) else {
      throw .unexpectedEnd
    }
    try checkTrailer(
      SegmentEntry.trailer(ofMarker: hash, peer: position.header.peer, index: position.next))
    return (.expunged(hash), hash)
  }

  private mutating func readEntry(
    _ tag: UInt8
  ) throws(CodecError) -> (DecodedEntry<Op>, EntryHash) {
    let op = try Op.decode(tag: tag, from: &reader)
    let (packed, overflow) = position.lastTimestamp.packed
      .addingReportingOverflow(try reader.readVarint())
    guard !overflow else { throw .timestampOverflow }
    let entry = LogEntry(
      serverUser: position.header.mode == .server ? UserID(try reader.readUUID()) : nil,
      timestamp: Timestamp(packed: packed), op: op)
    let hash = try OpLogRow(
      timestamp: entry.timestamp, serverUser: entry.serverUser, entry: try op.toIndexEntry()
    ).hash(peer: position.header.peer, index: position.next)
    try checkTrailer(SegmentEntry.trailer(of: hash))
    return (.logEntry(entry), hash)
  }

  private mutating func checkTrailer(_ expected: [UInt8]) throws(CodecError) {
    guard try reader.readBytes(UInt64(expected.count)) == expected else { throw .hashMismatch }
  }
}

/// What a segment's bytes give.
public struct DecodedSegment<Op: IndexableOp>: Sendable {
  /// The entries before the first error; the first has the index ``SegmentHeader/start``.
  public private(set) var entries: [DecodedEntry<Op>] = []
  /// Where each of them ends, in bytes from the beginning of the segment.
  private(set) var ends: [Int] = []
  /// The chain's head before every so many of them, so that it is found before any of them without
  /// hashing them all; empty without a chain.
  private var heads: [ChainHead] = []
  /// Half a byte of memory for each entry.
  private static var headInterval: Int { 64 }
  /// Behind the last of them. A torn end costs only itself: an encoder goes on from here.
  public private(set) var state: SegmentState
  /// Why the bytes behind them are no entry; nil when there are none.
  public private(set) var failure: CodecError?

  /// Reads a whole segment.
  ///
  /// - Returns: nil for no bytes at all.
  /// - Throws: ``CodecError`` when the header cannot be read, so that nothing behind it can.
  public init?(_ bytes: [UInt8], magic: [UInt8]) throws(CodecError) {
    guard var decoder = try SegmentDecoder<Op>(bytes, magic: magic) else { return nil }
    state = decoder.state
    read(from: &decoder)
  }

  /// Takes in what was added to the segment since.
  ///
  /// - Parameter bytes: All that follows the first ``SegmentState/byteCount`` bytes.
  public mutating func extend(_ bytes: [UInt8]) {
    var decoder = SegmentDecoder<Op>(continuing: state, bytes)
    read(from: &decoder)
  }

  private mutating func read(from decoder: inout SegmentDecoder<Op>) {
    failure = nil
    var head = state.head
    do throws(CodecError) {
      while let entry = try decoder.next() {
        if entries.count.isMultiple(of: Self.headInterval), let head { heads.append(head) }
        entries.append(entry)
        ends.append(decoder.byteCount)
        head = decoder.head
      }
    } catch {
      failure = error
    }
    state = decoder.state
  }

  /// The chain's head before an index; nil outside the segment, and without a chain.
  ///
  /// - Complexity: O(bytes of at most 63 entries).
  func head(before index: UInt64) throws(CodecError) -> ChainHead? {
    guard index >= state.header.start, index <= state.next else { return nil }
    if index == state.next { return state.head }
    let count = Int(index - state.header.start)
    let known = count / Self.headInterval
    guard known < heads.count else { return nil }
    var head = heads[known]
    for place in (known * Self.headInterval)..<count {
      head = head.appending(
        try entries[place].hash(
          peer: state.header.peer, index: state.header.start + UInt64(place)))
    }
    return head
  }
}

extension DecodedEntry where Op: IndexableOp {
  /// What identifies the entry at its place.
  func hash(peer: PeerID, index: UInt64) throws(CodecError) -> EntryHash {
    switch self {
    case .expunged(let hash): hash
    case .logEntry(let entry):
      try OpLogRow(
        timestamp: entry.timestamp, serverUser: entry.serverUser,
        entry: try entry.op.toIndexEntry()
      ).hash(peer: peer, index: index)
    }
  }
}
