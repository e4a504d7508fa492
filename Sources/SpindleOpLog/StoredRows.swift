public import SpindleCore

/// Rows of one peer as they are stored, read in one walk, not decoded yet.
///
/// The walk runs on a thread of the store, and copies all rows into one block. They are taken apart
/// on the thread of whoever asked for them, which is the one that lets go of them: what one thread
/// allocates and another frees costs both. Those of more than ``decodingByteLimit`` bytes are taken
/// apart where they were read, since they would keep other tasks from that thread for long.
public struct StoredRows: Sendable {
  @usableFromInline let peer: PeerID
  @usableFromInline private(set) var indices: [UInt64] = []
  /// Where each row ends in ``bytes``.
  private var ends: [Int] = []
  private var bytes: [UInt8] = []

  /// The bytes that are reserved at once at most; more are taken as they come.
  private static let reservedBytes = 256 << 10

  /// The most bytes that are decoded on a caller's thread, which other tasks need, too: a page of
  /// 256 rows of 1 KiB, and 30 us of copying.
  static let decodingByteLimit = 256 << 10

  init(of peer: PeerID) { self.peer = peer }

  /// Whether decoding them would be felt by other tasks of the thread.
  var isLarge: Bool { bytes.count > Self.decodingByteLimit }

  /// How many rows there are.
  @inlinable public var count: Int { indices.count }

  /// - Parameter limit: How many rows there will be at most.
  /// - Returns: The row's bytes.
  mutating func append(_ row: Span<UInt8>, at index: UInt64, limit: Int) -> Int {
    if indices.isEmpty {
      let expected = min(limit, LogPage.entryLimit)
      indices.reserveCapacity(expected)
      ends.reserveCapacity(expected)
      bytes.reserveCapacity(min(expected * (row.count + 16), Self.reservedBytes))
    }
    indices.append(index)
    bytes.append(borrowing: row)
    ends.append(bytes.count)
    return row.count
  }

  /// Decodes one row.
  ///
  /// - Throws: `corruption`, naming peer and index.
  @usableFromInline func row(_ number: Int) throws(SpindleError) -> OpLogRow {
    let start = number == 0 ? 0 : ends[number - 1]
    do throws(DecodingFailure) {
      return try OpLogRow(decoding: bytes.span.extracting(start..<ends[number]))
    } catch {
      throw LogTrackerError.corruptRow(peer: peer, index: indices[number], error).spindleError
    }
  }

  /// Decodes all rows.
  func rows() throws(SpindleError) -> [IndexedOpLogRow] {
    var rows: [IndexedOpLogRow] = []
    rows.reserveCapacity(count)
    for number in 0..<count {
      rows.append(IndexedOpLogRow(index: indices[number], row: try row(number)))
    }
    return rows
  }

  /// The error for a sound row whose op cannot be rebuilt.
  @usableFromInline func failure(_ number: Int, _ error: CodecError) -> SpindleError {
    LogTrackerError.unreadableOp(peer: peer, index: indices[number], error).spindleError
  }
}
