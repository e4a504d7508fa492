public import SpindleCore

/// One change that a log records. What an op says and does is its owner's matter; how it travels is
/// said here, how it is stored by a refinement such as ``IndexableOp``.
///
/// The law: decoding what was encoded gives the same op, and encoding that gives the same bytes.
public protocol Op: Sendable {
  /// Writes the whole op: one byte of tag, never 255, then its body. The body has to tell its own
  /// end, since other bytes follow it.
  ///
  /// - Throws: ``CodecError`` when the op cannot be written. What it wrote is taken back.
  func encode(into writer: inout OpWriter) throws(CodecError)

  /// Reads an op's body; the tag was read already.
  ///
  /// - Throws: ``CodecError/unknownTag(_:)`` for a tag that this type never writes.
  static func decode(tag: UInt8, from reader: inout OpReader) throws(CodecError) -> Self
}

/// An op that can be taken apart into a row of the op-log and put together again.
///
/// The law: `fromIndexParts` of what `toIndexEntry` gave is the same op. Choose the key well, since
/// it makes histories possible: the same thing gives the same key, and things that belong together
/// share a key prefix.
public protocol IndexableOp: Op {
  /// The op's row parts.
  ///
  /// - Throws: ``CodecError`` when the op cannot be written; nothing is recorded then.
  func toIndexEntry() throws(CodecError) -> IndexEntry

  /// Rebuilds an op from its stored parts. Absent and empty bytes are different.
  ///
  /// - Throws: ``CodecError/unknownTag(_:)`` for a tag that this type never writes,
  ///   ``CodecError/trailingBytes(_:)`` for bytes that it does not understand.
  static func fromIndexParts(
    tag: UInt8, key: [UInt8]?, value: [UInt8]?
  ) throws(CodecError) -> Self

  /// Rebuilds the entries of a page of rows, in their order. Not to be defined: it is a demand so
  /// that what is given below is compiled for each op, where the op is defined.
  ///
  /// - Throws: ``SpindleError`` with `corruption`, or `unsupportedFormat` for an unknown tag,
  ///   naming peer and index of the first row or op that cannot be read.
  static func entries(
    of rows: StoredRows
  ) throws(SpindleError) -> [(index: UInt64, entry: DecodedEntry<Self>)]
}

extension IndexableOp {
  @inlinable
  public static func entries(
    of rows: StoredRows
  ) throws(SpindleError) -> [(index: UInt64, entry: DecodedEntry<Self>)] {
    var entries: [(index: UInt64, entry: DecodedEntry<Self>)] = []
    entries.reserveCapacity(rows.count)
    for number in 0..<rows.count {
      let index = rows.indices[number]
      let row = try rows.row(number)
      if let hash = row.expungedHash {
        entries.append((index: index, entry: .expunged(hash)))
        continue
      }
      do throws(CodecError) {
        let op = try fromIndexParts(tag: row.tag, key: row.key, value: row.value)
        let entry = LogEntry(serverUser: row.serverUser, timestamp: row.timestamp, op: op)
        entries.append((index: index, entry: .logEntry(entry)))
      } catch {
        throw rows.failure(number, error)
      }
    }
    return entries
  }
}

/// The wire form of an op that says nothing else: its tag, then key and value as they are stored.
extension IndexableOp {
  public func encode(into writer: inout OpWriter) throws(CodecError) {
    let entry = try toIndexEntry()
    writer.writeUInt8(entry.tag)
    writer.writeOptionalBlob(entry.key)
    writer.writeOptionalBlob(entry.value)
  }

  public static func decode(tag: UInt8, from reader: inout OpReader) throws(CodecError) -> Self {
    let key = try reader.readOptionalBlob()
    return try fromIndexParts(tag: tag, key: key, value: try reader.readOptionalBlob())
  }
}

/// The parts of an op as the op-log stores them.
public struct IndexEntry: Sendable, Equatable {
  /// The tag of expunged markers, which no op may use.
  public static let reservedTag: UInt8 = 0xFF

  /// Which kind of op; 0 to 254.
  public var tag: UInt8
  /// What the op is about: its identity. Nil and empty are different.
  public var key: [UInt8]?
  /// What the op says: its payload. Nil and empty are different.
  public var value: [UInt8]?

  public init(tag: UInt8, key: [UInt8]?, value: [UInt8]?) {
    self.tag = tag
    self.key = key
    self.value = value
  }
}
