import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

private typealias TableReplica = Processor<LastWriterWinsTable, LogIndexTracker<TableOp>>

/// Convergence with the reducer and the tracker that applications use, on disk.
@Suite(.temporaryDirectory) struct ProcessorReplicationTests {
  private let row = RowID(table: 1, key: [7])

  private func tables(_ store: Store, _ prefix: String, _ selfID: UInt64) async throws
    -> TableReplica
  {
    try await TableReplica(
      reducer: LastWriterWinsTable(), store: store, prefix: prefix, selfID: peer(selfID))
  }

  /// The whole state, byte for byte.
  private func state(_ tables: TableReplica) async throws -> [[UInt8]] {
    try await tables.view.scan(from: [], to: nil, limit: .max).flatMap { [$0.key, $0.value] }
  }

  @Test("O-75: equal timestamps have one winner in both orders, and a deletion beats a write")
  func equalTimestampsHaveOneWinner() async throws {
    let write = TableOp.write(row, [TableCell(1, [5])])
    let greater = TableOp.write(row, [TableCell(1, [6])])
    let null = TableOp.write(row, [TableCell(1, nil)])
    let cases: [(TableOp, TableOp, [TableCell]?)] = [
      (write, greater, [TableCell(1, [6])]), (write, null, [TableCell(1, [5])]),
      (write, .delete(row), nil),
    ]
    try await withPlace { place in
      try await place.withStore { store in
        for (number, (first, second, winner)) in cases.enumerated() {
          let orders = [[first, second], [second, first]]
          for (order, ops) in orders.enumerated() {
            let tables = try await tables(store, "case-\(number)-\(order)", 9)
            for op in ops {
              let origin = peer(op == first ? 1 : 2)
              let entry = LogEntry(serverUser: nil, timestamp: Timestamp(packed: 9), op: op)
              _ = try await tables.apply(peer: origin, index: 0, entry: .logEntry(entry))
            }
            #expect(
              try await tables.view.row(row)?.cells == winner, "case \(number), order \(order)")
            await tables.close()
          }
        }
      }
    }
  }

  @Test(
    "O-73, O-74, O-76: replicas on disk agree down to the bytes", arguments: 0..<10)
  func replicasAgree(place number: Int) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        for seed in (5 * number)..<(5 * number + 5) {
          try await replicasAgree(seed: UInt64(seed), store)
        }
      }
    }
  }

  private func replicasAgree(seed: UInt64, _ store: Store) async throws {
    var random = SeededGenerator(seed: seed)
    var replicas: [TableReplica] = []
    for number in 0..<3 as Range<UInt64> {
      replicas.append(try await tables(store, "replica-\(seed)-\(number)", number))
    }
    for _ in 0..<Int.random(in: 1..<60, using: &random) {
      let first = Int.random(in: 0..<3, using: &random)
      let second = (first + Int.random(in: 1..<3, using: &random)) % 3
      switch UInt64.random(in: 0..<10, using: &random) {
      case 0..<4:
        // The wall stands still, so timestamps of the peers are often equal.
        let row = RowID(table: 1, key: [UInt8.random(in: 0..<3, using: &random)])
        let value = UInt8.random(in: 0..<4, using: &random)
        try await replicas[first].exec(
          value == 0 ? .delete(row) : .write(row, [TableCell(UInt32(value % 2), [value])]))
      case 4:
        // An entry that was removed before anybody saw it.
        let writer = replicas[first]
        let index = writer.cursor(of: writer.selfID)
        _ = try await writer.apply(
          peer: writer.selfID, index: index, entry: .expunged(someHash))
      case 5..<8:
        // A repeat, the next entries, or some too far ahead.
        let origin = peer(UInt64.random(in: 0..<3, using: &random))
        let page = try await replicas[first].readSince(
          peer: origin, from: UInt64.random(in: 0..<9, using: &random))
        let count = Int.random(in: 1..<6, using: &random)
        do {
          _ = try await replicas[second].apply(
            peer: origin, entries: Array(page.prefix(count)))
        } catch SyncError.cursorMismatch(_, let expected, let actual) where actual > expected {}
      default:
        _ = try await PullDriver(from: replicas[first], into: replicas[second]).run()
      }
    }
    // A ring: each takes what the one before it has.
    for _ in 0..<3 {
      for number in 0..<3 {
        _ = try await PullDriver(from: replicas[number], into: replicas[(number + 1) % 3]).run()
      }
    }
    for number in 0..<3 {
      let pull = PullDriver(from: replicas[number], into: replicas[(number + 1) % 3])
      #expect(try await pull.run().newCount == 0, "seed \(seed)")
      #expect(replicas[number].cursors() == replicas[0].cursors(), "seed \(seed)")
      #expect(try await state(replicas[number]) == state(replicas[0]), "seed \(seed)")
    }
    for replica in replicas { await replica.close() }
  }

  @Test func aLostReplicaComesBackFromTheFolderAndGoesOn() async throws {
    let root = try TestDirectory.path("logs")
    try await withPlace { place in
      try await place.withStore { store in
        let tables = try await tables(store, "app", 1)
        let folder = try await replica(root, store)
        let publisher = try Publisher(log: tables, sink: folder.sink)
        for value in 0..<9 as Range<UInt8> {
          try await tables.exec(.write(row, [TableCell(UInt32(value), [value])]))
        }
        #expect(try await publisher.sync() == 9)
        await tables.close()
        try folder.sink.close()
      }
    }
    try await withPlace { place in
      try await place.withStore { store in
        let tables = try await tables(store, "app", 1)
        let folder = try await replica(root, store)
        let publisher = try Publisher(log: tables, sink: folder.sink)
        await expectError(.conflict, reason: "fenced") { _ = try await publisher.sync() }
        #expect(try await PullDriver(from: folder, into: tables).run().newCount == 9)
        #expect(try await tables.exec(.delete(row)).index == 9)
        #expect(try await publisher.sync() == 1)
        #expect(try await folder.cursors() == PeerCursors([peer(1): 10]))
        await tables.close()
      }
    }
  }

  private func replica(_ root: String, _ store: Store) async throws -> FileLogReplica<TableOp> {
    try await FileLogReplica(
      root: root, selfID: peer(1), settings: FileLogSettings(magic: testMagic), store: store)
  }
}
