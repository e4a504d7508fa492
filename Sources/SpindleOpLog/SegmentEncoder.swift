internal import SpindleCore

/// Writes one peer's consecutive entries as a segment.
///
/// An entry that cannot be written leaves no trace: no byte, no uuid, no step in time or index.
public struct SegmentEncoder<Op: IndexableOp>: Sendable {
  private var position: SegmentState
  private var writer: OpWriter
  private let isStrict: Bool

  /// Begins a segment; its header is among the first bytes.
  ///
  /// - Parameters:
  ///   - magic: The application's mark, at least one byte. Marks of one length cannot be each
  ///     other's beginning.
  ///   - isStrict: Whether a user in device mode is an error. Otherwise the user is left out, which
  ///     makes another entry of it, with another hash. The default is true.
  /// - Throws: ``CodecError/badMagic`` for an empty mark.
  public init(
    magic: [UInt8], header: SegmentHeader, isStrict: Bool = true
  ) throws(CodecError) {
    guard !magic.isEmpty else { throw .badMagic }
    let bytes = header.encoded(magic: magic)
    position = SegmentState(header, byteCount: bytes.count)
    writer = OpWriter()
    writer.append(bytes)
    self.isStrict = isStrict
  }

  /// Goes on where a segment ends; the first bytes are those of the next entry.
  public init(continuing state: SegmentState, isStrict: Bool = true) {
    position = state
    writer = OpWriter(state.dictionary)
    self.isStrict = isStrict
  }

  /// The end of the segment, those entries included whose bytes were not taken yet.
  public var state: SegmentState {
    var state = position
    state.dictionary = writer.dictionary
    return state
  }

  /// The bytes since the last call.
  public mutating func takeBytes() -> [UInt8] { writer.takeBytes() }

  /// How many bytes the next ``takeBytes()`` gives.
  public var pendingByteCount: Int { writer.bytes.count }

  /// Writes the entry of the next index.
  ///
  /// - Throws: ``CodecError``: what the op throws, ``CodecError/reservedTag``,
  ///   ``CodecError/missingUserID``, ``CodecError/unexpectedUserID``,
  ///   ``CodecError/nonMonotonicDelta``, ``CodecError/indexOverflow``,
  ///   ``CodecError/segmentTooLarge`` beyond 1 GiB.
  /// - Complexity: one SHA-256 over the entry, and one over 65 bytes where there is a chain.
  public mutating func append(_ entry: DecodedEntry<Op>) throws(CodecError) {
    let savepoint = writer.savepoint
    let before = writer.bytes.count
    let previous = position
    do throws(CodecError) {
      guard position.next < .max else { throw .indexOverflow }
      switch entry {
      case .expunged(let hash): write(hash)
      case .logEntry(let entry): try write(entry)
      }
      guard writer.bytes.count - before <= SegmentState.byteLimit - position.byteCount else {
        throw .segmentTooLarge
      }
    } catch {
      writer.rollBack(to: savepoint)
      position = previous
      throw error
    }
    position.byteCount += writer.bytes.count - before
  }

  private mutating func write(_ hash: EntryHash) {
    writer.writeUInt8(IndexEntry.reservedTag)
    writer.append(hash.bytes)
    writer.append(
      SegmentEntry.trailer(ofMarker: hash, peer: position.header.peer, index: position.next))
    position.append(hash)
  }

  private mutating func write(_ entry: LogEntry<Op>) throws(CodecError) {
    let start = writer.bytes.count
    try entry.op.encode(into: &writer)
    guard writer.bytes.count > start else { throw .invalid("the op wrote no tag") }
    guard writer.bytes[start] != IndexEntry.reservedTag else { throw .reservedTag }
    guard entry.timestamp >= position.lastTimestamp else { throw .nonMonotonicDelta }
    writer.writeVarint(entry.timestamp.packed - position.lastTimestamp.packed)
    var user: UserID?
    switch (position.header.mode, entry.serverUser) {
    case (.server, nil): throw .missingUserID
    case (.server, let given?):
      writer.writeUUID(given.uuid)
      user = given
    case (.device, .some) where isStrict: throw .unexpectedUserID
    case (.device, _): break
    }
    let hash = try OpLogRow(
      timestamp: entry.timestamp, serverUser: user, entry: try entry.op.toIndexEntry()
    ).hash(peer: position.header.peer, index: position.next)
    writer.append(SegmentEntry.trailer(of: hash))
    position.lastTimestamp = entry.timestamp
    position.append(hash)
  }
}
