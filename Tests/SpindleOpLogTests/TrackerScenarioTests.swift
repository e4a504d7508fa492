import SpindleCore
import SpindleOpLog
import SpindleRocks
import SpindleStore
import Testing

@Suite struct TrackerScenarioTests {
  @Test("O-5: an entry that was not committed is nowhere, also after reopening")
  func uncommittedEntriesAreNowhere() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        var batch = Batch()
        try tracker.trackOne(
          peer: peer(1), index: 0, timestamp: .zero, serverUser: nil, op: Note("x"), into: &batch)
        #expect(try await tracker.allCursors().isEmpty)
        // A batch that another one comes before is refused whole: also its entries that were free.
        try tracker.trackOne(
          peer: peer(2), index: 0, timestamp: .zero, serverUser: nil, op: Note("x"), into: &batch)
        try await tracker.add(store, peer(2), 0, Note("first"))
        await expectError(.uniqueViolation, reason: "oplog") {
          try await store.commit(batch, durability: .buffered)
        }
      }
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        #expect(try await tracker.allCursors() == PeerCursors([peer(2): 1]))
        #expect(try await tracker.row(peer: peer(1), index: 0) == nil)
        #expect(
          try await tracker.row(peer: peer(2), index: 0)?.value == Array("first".utf8))
      }
    }
  }

  @Test("O-24: dropping one prefix leaves another as it is")
  func droppedPrefixesLeaveOthers() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let kept = try await Tracker(store: store, prefix: "b")
        try await kept.add(store, peer(1), 0, Note("kept"))
        let dropped = try await Tracker(store: store, prefix: "a")
        try await dropped.add(store, peer(1), 0, Note("dropped"))
        for family in [dropped.logFamily, dropped.dataFamily] {
          try store.database.dropColumnFamily(family.columnFamily)
        }
        #expect(try await kept.row(peer: peer(1), index: 0)?.value == Array("kept".utf8))
      }
      try await place.withStore { store in
        let kept = try await Tracker(store: store, prefix: "b")
        #expect(try await kept.allCursors() == PeerCursors([peer(1): 1]))
        let again = try await Tracker(store: store, prefix: "a")
        #expect(try await again.allCursors().isEmpty)
      }
    }
  }

  @Test("O-43: eight writers of a hundred ops each get different times, rising with the index")
  func timesOfManyWritersDiffer() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        let done = try await withThrowingTaskGroup(of: [Executed].self) { group in
          for writer in UInt64(0)..<8 {
            group.addTask {
              var done: [Executed] = []
              for value in UInt64(0)..<100 {
                done.append(try await log.exec(MaxRegisterOp("w\(writer)", value)))
              }
              return done
            }
          }
          return try await group.reduce(into: []) { $0 += $1 }
        }.sorted { $0.index < $1.index }
        #expect(done.map(\.index) == Array(0..<800))
        for (one, next) in zip(done, done.dropFirst()) { #expect(one.timestamp < next.timestamp) }
      }
    }
  }
}
