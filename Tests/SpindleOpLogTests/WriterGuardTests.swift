import SpindleCore
import SpindleOpLog
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

/// Counts the entries of each value under the value's bytes.
private struct Counting: Reducer {
  typealias Op = Note

  func prepare(
    _ op: Note, _ context: OpContext, _ view: ReducerView
  ) async throws -> PrepareOutcome<Int> {
    let stored = try await view.get(op.value ?? [])
    return .proceed(Int(stored?.first ?? 0))
  }

  func apply(
    _ op: Note, _ context: OpContext, _ state: Int, into batch: inout ReducerBatch
  ) throws -> Int {
    batch.put(op.value ?? [], [UInt8(state + 1)])
    return state + 1
  }

  func postApply(_ state: Int) throws -> Int? { nil }
}

private typealias CountingProcessor = Processor<Counting, Tracker>

@Suite struct WriterGuardTests {
  private let token = IdempotencyToken("order 17")!

  private func open(
    _ store: Store, as peer: PeerID = peer(1), prefix: String = "app",
    lifetime: UInt64 = 1_000
  ) async throws -> CountingProcessor {
    var settings = ProcessorSettings()
    settings.tokenLifetimeMilliseconds = lifetime
    return try await CountingProcessor(
      reducer: Counting(), store: store, prefix: prefix, selfID: peer, settings: settings,
      publisher: NoopPublisher<Int>())
  }

  @Test func aCallWithATokenIsMadeOnce() async throws {
    try await withPlace { place in
      var first: Executed?
      try await place.withStore { store in
        let processor = try await open(store)
        let executed = try await processor.exec([Note("a"), Note("b")], token: token)
        #expect(executed.indices == 0..<2 && !executed.isRepeat)
        first = executed
        let again = try await processor.exec(Note("other"), durability: .synced, token: token)
        #expect(again.isRepeat && again.indices == 0..<2)
        #expect(again.timestamp == executed.timestamp)
        try await processor.exec(Note("c"))
        #expect(processor.cursor(of: peer(1)) == 3)
        await processor.close()
      }
      try await place.withStore { store in
        let processor = try await open(store)
        let again = try await processor.exec(Note("other"), token: token)
        #expect(again.isRepeat && again.timestamp == first?.timestamp)
        place.wall.set(place.wall.wallMilliseconds + 1_000)
        let late = try await processor.exec(Note("late"), token: token)
        #expect(!late.isRepeat && late.index == 3)
        #expect(try await findings(store) == [])
        await processor.close()
      }
    }
  }

  @Test func ofManyCallsWithOneTokenOneRecords() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let processor = try await open(store)
        let token = token
        let outcomes = try await withThrowingTaskGroup(of: Executed.self) { group in
          for number in 0..<64 {
            group.addTask {
              try await processor.exec(
                Note("x"), token: number % 2 == 0 ? token : IdempotencyToken("\(number)"))
            }
          }
          return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(outcomes.count { !$0.isRepeat } == 33)
        #expect(processor.cursor(of: peer(1)) == 33)
        #expect(try await findings(store) == [])
        await processor.close()
      }
    }
  }

  /// The op fails, so its token is free for the next try.
  @Test func aCallThatFailedLeavesItsTokenFree() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let processor = try await open(store)
        await expectError(.invalidArgument, reason: "codec") {
          try await processor.exec([Note("a"), Note("unwritable")], token: token)
        }
        let executed = try await processor.exec(Note("a"), token: token)
        #expect(!executed.isRepeat && executed.index == 0)
        await processor.close()
      }
    }
  }

  /// A backup is older than what others got: it must not write under the same indices again.
  @Test func aRestoredBackupIsFencedUntilItsHistoryIsBack() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let original = try await open(store, prefix: "original")
        for text in ["a", "b", "c"] { try await original.exec(Note(text)) }
        let backup = try await open(store)
        _ = try await backup.apply(
          peer: peer(1), index: 0,
          entry: original.tracker.readEntries(peer: peer(1), from: 0, limit: 1)[0].1)
        try await backup.noteElsewhere(PeerCursors([peer(1): 1, peer(2): 9]))
        try await backup.exec(Note("still allowed"), token: token)
        await original.close()
        await backup.close()
      }
      try await place.withStore { store in
        let backup = try await open(store)
        try await backup.noteElsewhere(PeerCursors([peer(1): 4]))
        await expectError(.unavailable, reason: "fenced") { try await backup.exec(Note("x")) }
        // A call that was made is told all the same.
        #expect(try await backup.exec(Note("x"), token: token).isRepeat)
        await backup.close()

        let reopened = try await open(store)
        let message = await expectError(.unavailable, reason: "fenced") {
          try await reopened.exec(Note("x"))
        }
        #expect(message.contains("known up to index 4"))
        let marker = DecodedEntry<Note>.expunged(someHash)
        for index: UInt64 in 2..<4 {
          _ = try await reopened.apply(peer: peer(1), index: index, entry: marker)
        }
        #expect(try await reopened.exec(Note("x")).index == 4)
        await reopened.close()
        let other = try await open(store, as: peer(2))
        #expect(try await other.exec(Note("x")).index == 0)
        await other.close()
      }
    }
  }

  /// The remedy that the error names must not take the fence of the peer that it is a remedy for.
  @Test func writingAsAnotherPeerLeavesTheFence() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        for (writer, known) in [(peer(1), 10), (peer(2), 4)] as [(PeerID, UInt64)] {
          let processor = try await open(store, as: writer)
          try await processor.noteElsewhere(PeerCursors([writer: known]))
          await processor.close()
        }
      }
      try await place.withStore { store in
        for writer in [peer(1), peer(2)] {
          let processor = try await open(store, as: writer)
          await expectError(.unavailable, reason: "fenced") { try await processor.exec(Note("x")) }
          await processor.close()
        }
      }
    }
  }

  @Test func theLastIndexOfALogIsNotUsed() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let processor = try await open(store)
        try await processor.processOne(
          peer: peer(1), index: .max - 2, entry: .expunged(someHash))
        await expectError(.invalidArgument, reason: "index_overflow") {
          try await processor.exec([Note("a"), Note("b")])
        }
        #expect(try await processor.exec(Note("a")).index == .max - 1)
        await expectError(.invalidArgument, reason: "index_overflow") {
          try await processor.exec(Note("b"))
        }
        #expect(processor.cursor(of: peer(1)) == .max)
        await processor.close()
      }
    }
  }

  @Test func aFenceThatCouldNotBeStoredIsStoredByTheNextCall() async throws {
    try await withPlace { place in
      let store = try await Store.small(at: place.path, clock: place.wall)
      let processor = try await open(store)
      try await processor.exec(Note("a"))
      store.guardian?.inject(.logAppend, partialBytes: 20)
      await expectError(.unavailable) {
        try await processor.noteElsewhere(PeerCursors([peer(1): 9]))
      }
      await expectError(.unavailable, reason: "fenced") { try await processor.exec(Note("x")) }
      #expect(try await processor.tracker.fence(of: peer(1)) == 0)
      try await store.heal()
      // A lower one, and many at once: the greatest is stored.
      try await withThrowingTaskGroup(of: Void.self) { group in
        for cursor in UInt64(0)..<20 {
          group.addTask { try await processor.noteElsewhere(PeerCursors([peer(1): cursor])) }
        }
        try await group.waitForAll()
      }
      #expect(try await processor.tracker.fence(of: peer(1)) == 19)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for cursor in UInt64(20)..<40 {
          group.addTask { try await processor.tracker.raiseFence(of: peer(1), to: cursor) }
        }
        try await group.waitForAll()
      }
      #expect(try await processor.tracker.fence(of: peer(1)) == 39)
      try await processor.tracker.resetFence(of: peer(2))
      #expect(try await processor.tracker.fence(of: peer(1)) == 39)
      try await processor.resetFence()
      #expect(try await processor.tracker.fence(of: peer(1)) == 0)
      #expect(try await processor.exec(Note("x")).index == 1)
      await processor.close()
      try await store.close()
    }
  }

  @Test func ownEntriesAreSyncedBeforeTheyAreShown() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let processor = try await open(store)
        try await processor.exec(Note("a"))
        let entry = LogEntry(serverUser: nil, timestamp: .zero, op: Note("b"))
        _ = try await processor.apply(peer: peer(2), index: 0, entry: .logEntry(entry))
        let before = store.commitSyncCount
        #expect(try await processor.readSince(peer: peer(2), from: 0).count == 1)
        #expect(store.commitSyncCount == before)
        let page = try await processor.readSince(peer: peer(1), from: 0)
        #expect(page.count == 1 && store.commitSyncCount == before + 1)
        // Nothing new: no sync.
        #expect(try await processor.readSince(peer: peer(1), from: 0).count == 1)
        #expect(try await processor.readSince(peer: peer(1), from: 1).isEmpty)
        #expect(store.commitSyncCount == before + 1)
        try await processor.exec(Note("c"), durability: .synced)
        #expect(store.commitSyncCount == before + 2)
        #expect(try await processor.readSince(peer: peer(1), from: 1).count == 1)
        #expect(store.commitSyncCount == before + 2)

        // A row past the cursor is not shown.
        try await processor.tracker.add(store, peer(2), 1, Note("past"))
        #expect(try await processor.readSince(peer: peer(2), from: 0).count == 1)

        // A repeat is as durable as it was asked to be, once for all of a run.
        let run = await processor.applyRun(
          peer: peer(1), entries: page + page, durability: .synced)
        #expect(run.failure == nil && run.newCount == 0)
        #expect(store.commitSyncCount == before + 3)
        _ = await processor.applyRun(peer: peer(1), entries: page)
        #expect(store.commitSyncCount == before + 3)

        try await processor.tracker.expunge(peer: peer(1), index: 0, durability: .buffered)
        #expect(store.commitSyncCount == before + 3)
        try await processor.tracker.expunge(peer: peer(1), index: 0)
        #expect(store.commitSyncCount == before + 4)
        await processor.close()
      }
    }
  }

  /// Whoever wrote them may have been another peer, whose entries are read without a sync.
  @Test func whatAnotherPeerWroteHereIsSyncedBeforeItIsGivenAway() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let first = try await open(store)
        try await first.exec(Note("a"))
        await first.close()
        let before = store.commitSyncCount
        // As another peer, then as the one that wrote it.
        for (number, count) in [(2, 1), (1, 2)] as [(UInt64, Int)] {
          let next = try await open(store, as: peer(number))
          #expect(store.commitSyncCount == before + count - 1)
          for _ in 0..<2 {
            #expect(try await next.readSince(peer: peer(1), from: 0).count == 1)
            #expect(store.commitSyncCount == before + count)
          }
          await next.close()
        }
      }
    }
  }

  @Test func whatCannotBeSyncedIsNotGivenAway() async throws {
    try await withPlace { place in
      let store = try await Store.small(at: place.path, clock: place.wall)
      let processor = try await open(store)
      try await processor.exec(Note("a"))
      await processor.close()
      let other = try await open(store, as: peer(2))
      store.guardian?.inject(.logSync, error: .io)
      await expectError(.unavailable) { _ = try await other.readSince(peer: peer(1), from: 0) }
      await other.close()
      try await store.close()
    }
  }

  @Test func aReceiptWhoseIndicesOverflowIsDamage() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let processor = try await open(store)
        var batch = Batch()
        try await processor.tracker.stage(
          token, TokenReceipt(index: .max, count: 1, timestamp: .zero),
          lifetimeMilliseconds: 1_000, now: store.clock.wallMilliseconds, into: &batch)
        try await store.commit(batch, durability: .buffered)
        await expectError(.corruption) { try await processor.exec(Note("x"), token: token) }
        #expect(processor.cursor(of: peer(1)) == 0)
        await processor.close()
      }
    }
  }

  /// Removing expired tokens never fails the call that uses one of them again.
  @Test func expiredTokensAreUsedAgainWhileTheyAreSwept() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let processor = try await open(store)
        let tokens = (0..<100).map { IdempotencyToken("t\($0)")! }
        for token in tokens { try await processor.exec(Note("a"), token: token) }
        let now = place.wall.wallMilliseconds + 1_000
        place.wall.set(now)
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask {
            for _ in 0..<50 { _ = try? await processor.tracker.sweepTokens(now: now, limit: 3) }
          }
          for token in tokens {
            group.addTask {
              let executed = try await processor.exec(Note("b"), token: token)
              #expect(!executed.isRepeat)
            }
          }
          try await group.waitForAll()
        }
        #expect(processor.cursor(of: peer(1)) == 200)
        #expect(try await findings(store) == [])
        await processor.close()
      }
    }
  }

  /// The second entry may not share a commit with the first.
  @Test func entriesTooLargeForOneCommitAreTakenOneByOne() async throws {
    try await withPlace { place in
      var settings = StoreSettings.small
      settings.valueByteLimit = 2_000
      let store = try await Store.small(at: place.path, settings: settings, clock: place.wall)
      let processor = try await open(store)
      let text = String(repeating: "x", count: 700)
      let entries = (0..<7).map { index in
        let entry = LogEntry(serverUser: nil, timestamp: .zero, op: Note(text))
        return (index: UInt64(index), entry: DecodedEntry<Note>.logEntry(entry))
      }
      #expect(try await processor.apply(peer: peer(2), entries: entries) == 7)
      #expect(processor.cursor(of: peer(2)) == 7)
      await processor.close()
      try await store.close()
    }
  }

  @Test func aProcessorGoesOnBehindATrimAndAnExpunge() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let processor = try await open(store)
        for number in 0..<6 { try await processor.exec(Note("\(number)")) }
        let source = try await processor.tracker.readEntries(peer: peer(1), from: 0, limit: 9)
        try await processor.tracker.expunge(peer: peer(1), index: 4)
        _ = try await processor.tracker.trim(below: PeerCursors([peer(1): 3]), forced: true)
        // Repeats, of an entry that is gone, one that is a marker, and one that is there.
        for index in [0, 4, 5] {
          let applied = try await processor.apply(
            peer: peer(1), index: UInt64(index), entry: source[index].1)
          #expect(!applied.new)
        }
        #expect(try await processor.exec(Note("next")).index == 6)
        await expectError(.notFound, reason: "compacted") {
          _ = try await processor.readSince(peer: peer(1), from: 2)
        }
        var indices: [UInt64] = []
        for try await entry in processor.entries(from: PeerCursors([peer(1): 3]), follow: false) {
          indices.append(entry.index)
        }
        #expect(indices == [3, 4, 5, 6])
        #expect(try await findings(store) == [])
        await processor.close()
      }
    }
  }
}
