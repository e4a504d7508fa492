import SpindleCore
import SpindleOpLog
import SpindleStore
import Synchronization
import Testing

/// Writes a value into a cell, or deletes the cell.
struct CellOp: IndexableOp, Hashable {
  var cell: UInt8
  /// Nil deletes.
  var value: UInt8?

  func toIndexEntry() -> IndexEntry {
    IndexEntry(tag: 1, key: [cell], value: value.map { [$0] })
  }

  static func fromIndexParts(
    tag: UInt8, key: [UInt8]?, value: [UInt8]?
  ) throws(CodecError) -> CellOp {
    guard tag == 1 else { throw .unknownTag(tag) }
    guard let cell = key?.first, key?.count == 1, value?.count ?? 1 == 1 else {
      throw .invalid("no cell")
    }
    return CellOp(cell: cell, value: value?.first)
  }
}

/// A replica in memory: logs, and cells of which the last writer wins. It can be told to misbehave.
final class ModelReplica: Replica, PublishedLog {
  typealias Op = CellOp
  typealias Page = [(index: UInt64, entry: DecodedEntry<CellOp>)]

  struct Cell: Hashable {
    var timestamp: Timestamp
    var value: UInt8?

    /// Later wins; of one time a deletion wins, then the greater value.
    var rank: (UInt64, Int, UInt8) {
      (timestamp.packed, value == nil ? 1 : 0, value ?? 0)
    }
  }

  struct State {
    var logs: [PeerID: [DecodedEntry<CellOp>]] = [:]
    var cells: [UInt8: Cell] = [:]
    var fence: UInt64 = 0
    /// The pages that were read.
    var pages: [(peer: PeerID, from: UInt64, count: Int)] = []
    /// Entries that are known and not given.
    var missing: [PeerID: Set<UInt64>] = [:]
    /// What applying an entry of a peer throws.
    var refusals: [PeerID: SyncError] = [:]
    /// From which index on.
    var firstRefused: UInt64 = 0
    var syncCount = 0
  }

  let selfID: PeerID
  let pageLimit: Int
  let state = Mutex(State())
  private let board = CursorBoard(PeerCursors())

  init(_ selfID: PeerID, pageLimit: Int = LogPage.entryLimit) {
    self.selfID = selfID
    self.pageLimit = pageLimit
  }

  func exec(_ op: CellOp, at timestamp: UInt64) {
    let next = state.withLock { state in
      let entry = LogEntry(serverUser: nil, timestamp: Timestamp(packed: timestamp), op: op)
      return Self.append(.logEntry(entry), of: selfID, to: &state)
    }
    board.advance(selfID, to: next)
  }

  /// Takes an own index for an entry that was removed before anybody saw it.
  func execMarker() {
    let next = state.withLock { Self.append(.expunged(someHash), of: selfID, to: &$0) }
    board.advance(selfID, to: next)
  }

  private static func append(
    _ entry: DecodedEntry<CellOp>, of peer: PeerID, to state: inout State
  ) -> UInt64 {
    state.logs[peer, default: []].append(entry)
    if case .logEntry(let entry) = entry {
      let cell = Cell(timestamp: entry.timestamp, value: entry.op.value)
      let known = state.cells[entry.op.cell]
      if known == nil || known!.rank < cell.rank { state.cells[entry.op.cell] = cell }
    }
    return UInt64(state.logs[peer]!.count)
  }

  func apply(
    peer: PeerID, index: UInt64, entry: DecodedEntry<CellOp>
  ) async throws -> Applied {
    let next = try state.withLock { state -> UInt64? in
      if let refusal = state.refusals[peer], index >= state.firstRefused { throw refusal }
      let log = state.logs[peer] ?? []
      if index < log.count {
        guard log[Int(index)] == entry else { throw SyncError.conflict(peer: peer, index: index) }
        return nil
      }
      guard index == log.count else {
        throw SyncError.cursorMismatch(peer: peer, expected: UInt64(log.count), actual: index)
      }
      return Self.append(entry, of: peer, to: &state)
    }
    guard let next else { return Applied(new: false) }
    board.advance(peer, to: next)
    return Applied(new: true)
  }

  func cursors() async -> PeerCursors { board.cursors }
  func cursor(of peer: PeerID) async -> UInt64 { board[peer] }
  func watchCursors() -> CursorWatch { board.watch() }
  func close() { board.finish() }

  func readSince(peer: PeerID, from index: UInt64) async throws -> Page {
    state.withLock { state in
      let log = state.logs[peer] ?? []
      let page: Page = (index..<max(index, UInt64(log.count)))
        .filter { state.missing[peer]?.contains($0) != true }
        .prefix(pageLimit).map { ($0, log[Int($0)]) }
      state.pages.append((peer, index, page.count))
      return page
    }
  }

  // MARK: Publishing

  func chainHead(of peer: PeerID, before index: UInt64) async throws -> ChainHead? {
    let log = state.withLock { $0.logs[peer, default: []] }
    return index > log.count ? nil : try chain(Array(log.prefix(Int(index))), of: peer)
  }

  func noteElsewhere(_ cursors: PeerCursors) async throws {
    await raiseFence(to: cursors[selfID])
  }

  func raiseFence(to cursor: UInt64) async { state.withLock { $0.fence = max($0.fence, cursor) } }

  func synchronize() async { state.withLock { $0.syncCount += 1 } }

  /// Everything that has to agree in the end.
  struct Image: Equatable {
    var logs: [PeerID: [DecodedEntry<CellOp>]]
    var cells: [UInt8: Cell]
  }
  var image: Image { state.withLock { Image(logs: $0.logs, cells: $0.cells) } }
}

func chain<Op: IndexableOp>(_ log: [DecodedEntry<Op>], of peer: PeerID) throws -> ChainHead {
  var head = ChainHead.seed(of: peer)
  for (index, entry) in log.enumerated() {
    switch entry {
    case .expunged(let hash): head = head.appending(hash)
    case .logEntry(let entry):
      let row = try OpLogRow(
        timestamp: entry.timestamp, serverUser: entry.serverUser,
        entry: try entry.op.toIndexEntry())
      head = head.appending(row.hash(peer: peer, index: UInt64(index)))
    }
  }
  return head
}
