import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

typealias Tables = Processor<LastWriterWinsTable, LogIndexTracker<TableOp>>

@Suite struct ReducerTests {
  static let row = RowID(table: 3, key: [0, 1, 0])

  static func cell(_ column: UInt32, _ text: String?) -> TableCell {
    TableCell(column, text.map { Array($0.utf8) })
  }

  func withTables(
    _ body: (OpLogStore<LastWriterWinsTable, LogIndexTracker<TableOp>>, Store) async throws -> Void
  ) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await OpLogStore { bus in
          try await Tables(
            reducer: LastWriterWinsTable(), store: store, prefix: "t", selfID: me, publisher: bus)
        }
        try await body(log, store)
        await log.close()
      }
    }
  }

  @Test func registerValuesKeepTheirOrderInBytes() throws {
    let values: [RegisterValue] = [
      .unsigned(0), .unsigned(255), .unsigned(256), .unsigned(.max), .signed(.min), .signed(-1),
      .signed(0), .signed(.max), .bytes([]), .bytes([0]), .bytes([0, 0]), .bytes([1]),
    ]
    for (index, value) in values.enumerated() {
      #expect(try RegisterValue(decoding: value.encoded.span) == value)
      for later in values[(index + 1)...] {
        #expect(value < later && value.encoded.lexicographicallyPrecedes(later.encoded))
      }
    }
    for bytes in [[], [0], [9, 1], [1, 1], [2, 0, 0, 0, 0, 0, 0, 0, 0, 0]] as [[UInt8]] {
      #expect(throws: DecodingFailure.self) { try RegisterValue(decoding: bytes.span) }
    }
  }

  @Test func opsReadBackFromTheirParts() throws {
    let ops: [TableOp] = [
      .delete(Self.row), .write(Self.row, []),
      .write(RowID(table: .max, key: []), [Self.cell(0, nil)]),
      .write(Self.row, [Self.cell(1, "a"), Self.cell(.max, ""), Self.cell(1, nil)]),
    ]
    for op in ops {
      let parts = try op.toIndexEntry()
      #expect(try TableOp.fromIndexParts(tag: parts.tag, key: parts.key, value: parts.value) == op)
      if let value = parts.value {
        for count in value.indices {
          #expect(throws: CodecError.self) {
            try TableOp.fromIndexParts(
              tag: parts.tag, key: parts.key, value: Array(value[..<count]))
          }
        }
        #expect(throws: CodecError.self) {
          try TableOp.fromIndexParts(tag: parts.tag, key: parts.key, value: value + [0])
        }
      }
    }
    #expect(throws: CodecError.unknownTag(9)) {
      try TableOp.fromIndexParts(tag: 9, key: [], value: nil)
    }
    let op = MaxRegisterOp(name: [], value: .signed(-4))
    let parts = try op.toIndexEntry()
    #expect(
      try MaxRegisterOp.fromIndexParts(tag: parts.tag, key: parts.key, value: parts.value) == op)
  }

  @Test func rowsAreWrittenReadAndDeleted() async throws {
    try await withTables { (log, _) async throws in
      let row = Self.row
      let changes = log.watch(.table(3))
      try await log.exec(.write(row, [Self.cell(1, "a"), Self.cell(2, nil)]))
      try await log.exec(.write(RowID(table: 3, key: [0]), [Self.cell(7, "other")]))
      try await log.exec(.write(RowID(table: 4, key: [0]), []))
      #expect(try await log.view.row(row)?.cells == [Self.cell(1, "a"), Self.cell(2, nil)])
      #expect(try await log.view.cell(1, of: row) == Self.cell(1, "a"))
      #expect(try await log.view.cell(9, of: row) == nil)
      #expect(try await log.view.rows(of: 3, limit: 9).map(\.id.key) == [[0], [0, 1, 0]])
      #expect(try await log.view.rows(of: 3, from: [0, 0], limit: 9).map(\.id.key) == [[0, 1, 0]])
      #expect(try await log.view.rows(of: 3, limit: 1).map(\.id.key) == [[0]])
      try await log.exec(.delete(row))
      #expect(try await log.view.row(row) == nil)
      #expect(try await log.view.cell(1, of: row) == nil)
      try await log.exec(.write(row, [Self.cell(3, "new")]))
      #expect(try await log.view.row(row)?.cells == [Self.cell(3, "new")])
      await log.close()
      var seen: [RowChanged] = []
      for await change in changes { seen.append(change) }
      #expect(
        seen == [
          RowChanged(row: row, columns: [1, 2], isDeleted: false),
          RowChanged(row: RowID(table: 3, key: [0]), columns: [7], isDeleted: false),
          RowChanged(row: row, columns: [], isDeleted: true),
          RowChanged(row: row, columns: [3], isDeleted: false),
        ])
    }
  }

  /// The rules of who wins, each in both orders of delivery.
  @Test(
    arguments: [
      ([(1, .write(row, [cell(1, "a")])), (2, .write(row, [cell(1, "b")]))], "b"),
      ([(2, .write(row, [cell(1, "a")])), (2, .write(row, [cell(1, "b")]))], "b"),
      ([(2, .write(row, [cell(1, nil)])), (2, .write(row, [cell(1, "")]))], ""),
      ([(3, .write(row, [cell(1, nil)])), (2, .write(row, [cell(1, "z")]))], nil),
      ([(2, .delete(row)), (2, .write(row, [cell(1, "z")]))], "gone"),
      ([(1, .delete(row)), (2, .write(row, [cell(1, "z")]))], "z"),
      ([(3, .delete(row)), (2, .write(row, [cell(1, "z")]))], "gone"),
    ] as [([(UInt64, TableOp)], String?)])
  func winnersDoNotDependOnTheOrder(
    _ ops: [(UInt64, TableOp)], _ expected: String?
  ) async throws {
    for order in [ops, ops.reversed()] {
      try await withTables { (log, _) async throws in
        for (number, (time, op)) in order.enumerated() {
          _ = try await log.processor.apply(
            peer: peer(UInt64(number)), index: 0,
            entry: .logEntry(
              LogEntry(serverUser: nil, timestamp: Timestamp(packed: time), op: op)))
        }
        let cell = try await log.view.cell(1, of: Self.row)
        if expected == "gone" {
          #expect(cell == nil)
          #expect(try await log.view.row(Self.row) == nil)
        } else {
          #expect(cell == Self.cell(1, expected))
        }
      }
    }
  }

  @Test func theStateDependsOnTheSetOfOpsDownToItsBytes() async throws {
    for seed in UInt64(0)..<10 {
      var generator = SeededGenerator(seed: seed)
      let peers = (0..<3).map { number in
        (0..<8).map { index in
          let row = RowID(table: 1, key: [UInt8.random(in: 0..<2, using: &generator)])
          let op: TableOp =
            UInt8.random(in: 0..<4, using: &generator) == 0
            ? .delete(row)
            : .write(
              row,
              (0..<Int.random(in: 0..<3, using: &generator)).map { _ in
                TableCell(
                  UInt32.random(in: 0..<2, using: &generator),
                  [nil, [], [UInt8.random(in: 0..<3, using: &generator)]]
                    .randomElement(using: &generator)!)
              })
          let time = UInt64(index) + UInt64.random(in: 0..<3, using: &generator)
          return (
            index: UInt64(index),
            entry: DecodedEntry.logEntry(
              LogEntry(serverUser: nil, timestamp: Timestamp(packed: time), op: op))
          )
        }
      }
      var states: [[[UInt8]]] = []
      for _ in 0..<3 {
        try await withTables { (log, store) async throws in
          var next = [0, 0, 0]
          while next != [8, 8, 8] {
            let number = Int.random(in: 0..<3, using: &generator)
            guard next[number] < 8 else { continue }
            let count = Int.random(in: 1...3, using: &generator)
            let page = peers[number][next[number]...].prefix(count)
            let new = try await log.processor.apply(
              peer: peer(UInt64(number)), entries: Array(page))
            #expect(new == page.count)
            next[number] += page.count
          }
          states.append(try await log.scan(limit: .max).flatMap { [$0.key, $0.value] })
        }
      }
      #expect(Set(states).count == 1, "seed \(seed)")
    }
  }

  /// Deletions read whole rows and writes read cells: both must see what waits in the same batch.
  @Test func oneCommitOfManyIsAsManyCommits() async throws {
    for seed in UInt64(0)..<5 {
      var generator = SeededGenerator(seed: seed)
      let pages = (0..<3).map { _ in
        (UInt64(0)..<256).map { index -> (index: UInt64, entry: DecodedEntry<TableOp>) in
          let row = RowID(table: 1, key: [UInt8.random(in: 0..<3, using: &generator)])
          let choice = UInt8.random(in: 0..<9, using: &generator)
          if choice == 0 { return (index, .expunged(someHash)) }
          let cells = (0..<UInt32(choice % 4)).map { TableCell($0, choice == 8 ? nil : [choice]) }
          let op: TableOp = choice < 4 ? .delete(row) : .write(row, cells)
          let time = Timestamp(packed: UInt64.random(in: 0..<99, using: &generator))
          return (index, .logEntry(LogEntry(serverUser: nil, timestamp: time, op: op)))
        }
      }
      var contents: [[[UInt8]]] = []
      var rows: [[TableRow]] = []
      for isGrouped in [true, false] {
        try await withTables { (log, store) async throws in
          for (number, page) in pages.enumerated() {
            let origin = peer(UInt64(number))
            if isGrouped {
              #expect(try await log.processor.apply(peer: origin, entries: page) == 256)
            } else {
              for (index, entry) in page {
                _ = try await log.processor.apply(peer: origin, index: index, entry: entry)
              }
            }
          }
          #expect(log.processor.counts.commits == (isGrouped ? 3 : 768))
          rows.append(try await log.view.rows(of: 1, limit: .max))
          contents.append(try await store.content(of: ["oplog:t", "data:t"]))
        }
      }
      #expect(contents[0] == contents[1] && rows[0] == rows[1], "seed \(seed)")
    }
  }

  @Test func damagedStateIsToldAndStopsTheEntry() async throws {
    try await withTables { (log, store) async throws in
      try await log.exec(.write(Self.row, [Self.cell(1, "a")]))
      let family = try await store.family("data:t")
      let (key, _) = try #require(try await log.scan(limit: 1).first)
      var batch = Batch()
      batch.put(family, key: key, value: [0xFF])
      try await store.commit(batch, durability: .buffered)
      await expectError(.corruption) { _ = try await log.view.row(Self.row) }
      await expectError(.corruption) { try await log.exec(.write(Self.row, [])) }
      #expect(log.processor.cursor(of: me) == 1)
    }
  }

  @Test func snapshotsShowOneMoment() async throws {
    try await withTables { (log, _) async throws in
      try await log.exec(.write(Self.row, [Self.cell(1, "a")]))
      try await log.snapshot { view, cursors in
        try await log.exec(.write(Self.row, [Self.cell(1, "b")]))
        try await log.exec(.delete(Self.row))
        #expect(cursors == PeerCursors([me: 1]))
        #expect(try await view.cell(1, of: Self.row) == Self.cell(1, "a"))
        #expect(try await view.row(Self.row)?.cells.count == 1)
      }
      #expect(try await log.view.row(Self.row) == nil)
      #expect(try await log.get([9]) == nil)
    }
  }
}
