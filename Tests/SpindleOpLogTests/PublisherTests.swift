import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// Records notes and does nothing else about them.
struct KeepingReducer: IdempotentReducer {
  func prepare(
    _ op: Note, _ context: OpContext, _ view: ReducerView
  ) async throws -> PrepareOutcome<Void> { .proceed(()) }
  func apply(
    _ op: Note, _ context: OpContext, _ state: Void, into batch: inout ReducerBatch
  ) throws {}
  func postApply(_ state: Void) throws -> Never? { nil }
}

/// The op-log of one peer in a store, observed.
final class StoredLog: PublishedLog {
  typealias Op = Note

  let processor: Processor<KeepingReducer, Tracker>
  let fence = Mutex<UInt64>(0)
  /// The most entries of a page.
  let pageLimit = Atomic(LogPage.entryLimit)
  /// How many entries each page had that was read.
  let pages = Mutex<[Int]>([])
  /// Runs after each page was read.
  let afterPage = Mutex<(@Sendable () async throws -> Void)?>(nil)
  /// Runs in place of the sync of the store.
  let sync = Mutex<(@Sendable () async throws -> Void)?>(nil)

  init(_ store: Store) async throws {
    processor = try await Processor(
      reducer: KeepingReducer(), store: store, prefix: "app", selfID: peer(1))
  }

  func exec(_ text: String) async throws { try await processor.exec(Note(text)) }

  var selfID: PeerID { processor.selfID }
  func cursors() async throws -> PeerCursors { processor.cursors() }
  func cursor(of peer: PeerID) async throws -> UInt64 { processor.cursor(of: peer) }
  func watchCursors() -> CursorWatch { processor.watchCursors() }

  func readSince(
    peer: PeerID, from index: UInt64
  ) async throws -> [(index: UInt64, entry: DecodedEntry<Note>)] {
    // Past the processor, which would sync what it shows: here that is the publisher's to do.
    let page = try await processor.tracker.readPage(
      peer: peer, from: index, limit: pageLimit.load(ordering: .relaxed),
      byteLimit: LogPage.byteLimit)
    pages.withLock { $0.append(page.count) }
    try await afterPage.withLock { $0 }?()
    return page
  }

  func chainHead(of peer: PeerID, before index: UInt64) async throws -> ChainHead? {
    try await processor.chainHead(of: peer, before: index)
  }

  func floor(of peer: PeerID) async throws -> UInt64 {
    try await processor.floor(of: peer)
  }

  func raiseFence(to cursor: UInt64) async throws { fence.withLock { $0 = max($0, cursor) } }

  func synchronize() async throws {
    if let sync = sync.withLock({ $0 }) {
      try await sync()
    } else {
      try await processor.synchronize()
    }
  }

  func texts() async throws -> [String] {
    try await processor.tracker.readRows(peer: selfID, from: 0, limit: .max)
      .map { String(decoding: $0.row.value ?? [], as: UTF8.self) }
  }
}

@Suite(.temporaryDirectory) struct PublisherTests {
  private func published(_ folder: FileLogPlace) async throws -> [String] {
    let (entries, error) = try await folder.readAll(folder.puller())
    #expect(error == nil)
    return entries.map { entry in
      guard case .logEntry(let entry) = entry else { return "expunged" }
      return String(decoding: entry.op.value ?? [], as: UTF8.self)
    }
  }

  @Test("O-90: 600 entries are 3 writes, and a second sync none")
  func pagesArePublishedOnce() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await StoredLog(store)
        var folder = try FileLogPlace(store: store)
        // How many entries the segment holds after each write to it.
        let sizes = Mutex<[Int]>([])
        folder.settings.hooks.afterWrite = { path in
          let content = try #require(try decode(try Files.read(path), as: Note.self))
          sizes.withLock { $0.append(content.entries.count) }
        }
        for number in 0..<600 { try await log.exec("\(number)") }
        let publisher = try Publisher(log: log, sink: try await folder.sink())
        #expect(try await publisher.sync() == 600)
        #expect(sizes.withLock { $0 } == [256, 512, 600])
        #expect(log.pages.withLock { $0 } == [256, 256, 88])
        #expect(try await published(folder) == (0..<600).map(String.init))
        log.sync.withLock { $0 = { Issue.record("nothing is published, so nothing is synced") } }
        #expect(try await publisher.sync() == 0)
        #expect(sizes.withLock { $0.count } == 3 && log.pages.withLock { $0.count } == 3)
      }
    }
  }

  @Test func callsAtOncePublishEachEntryOnce() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await StoredLog(store)
        let folder = try FileLogPlace(store: store)
        for number in 0..<300 { try await log.exec("\(number)") }
        let publisher = try Publisher(log: log, sink: try await folder.sink())
        let count = try await withThrowingTaskGroup(of: Int.self) { group in
          for _ in 0..<8 { group.addTask { try await publisher.sync() } }
          return try await group.reduce(0, +)
        }
        #expect(count == 300)
        #expect(try await published(folder) == (0..<300).map(String.init))
      }
    }
  }

  @Test func anEntryThatIsRemovedWhileItIsPublishedIsNotLeftInTheFiles() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await StoredLog(store)
        let folder = try FileLogPlace(store: store)
        for number in 0..<3 { try await log.exec("\(number)") }
        let publisher = try Publisher(log: log, sink: try await folder.sink())
        let removal = Mutex<Task<Bool, any Error>?>(nil)
        // The page with the entry was read; the entry goes before the page is written.
        log.afterPage.withLock {
          $0 = {
            let hash = try await log.processor.tracker.expunge(peer: log.selfID, index: 1)
            let (begun, begin) = AsyncStream.makeStream(of: Void.self)
            removal.withLock {
              $0 = Task {
                begin.finish()
                return try await publisher.expunge(index: 1, hash: hash)
              }
            }
            for await _ in begun {}
          }
        }
        #expect(try await publisher.sync() == 3)
        #expect(try await removal.withLock { $0 }?.value == true)
        #expect(try await published(folder) == ["0", "expunged", "2"])
        log.afterPage.withLock { $0 = nil }
        try await log.exec("3")
        #expect(try await publisher.sync() == 1)
      }
    }
  }

  @Test func entriesOfAnyUserAndTimeArePublished() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        var folder = try FileLogPlace(store: store)
        let entries = [
          note("0", at: 9), note("1", at: 9, user: someUser), .expunged(someHash),
          note("3", at: 9, user: someUser), note("4", at: 3, user: someUser), note("5", at: 2),
          note("6", at: 2),
        ]
        for mode in [SegmentMode.device, .server] {
          folder.settings.mode = mode
          let writer = peer(mode == .device ? 1 : 2)
          let sink = try await folder.sink(writer)
          try await sink.write(entries.enumerated().map { (UInt64($0), $1) })
          #expect(try folder.names(of: writer).map { UInt64($0.prefix(20)) } == [0, 1, 4, 5])
          let (read, error) = try await folder.readAll(folder.puller(), of: writer)
          #expect(read == entries && error == nil)
          #expect(try await sink.position().head == sinkChain(entries, writer))
        }
      }
    }
  }

  /// The chain's head, whatever segments the entries lie in.
  private func sinkChain(_ entries: [DecodedEntry<Note>], _ writer: PeerID) throws -> ChainHead? {
    var head: ChainHead? = .seed(of: writer)
    for (index, entry) in entries.enumerated() {
      var mode = SegmentMode.device
      if case .logEntry(let entry) = entry, entry.serverUser != nil { mode = .server }
      let header = SegmentHeader(mode: mode, peer: writer, start: UInt64(index), head: head)
      var encoder = try SegmentEncoder<Note>(magic: testMagic, header: header)
      try encoder.append(entry)
      head = encoder.state.head
    }
    return head
  }

  @Test func whatIsCommittedAfterTheSyncWaitsForTheNextCall() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await StoredLog(store)
        let folder = try FileLogPlace(store: store)
        for number in 0..<3 { try await log.exec("\(number)") }
        log.sync.withLock {
          $0 = {
            try await store.synchronize()
            try await log.exec("late")
          }
        }
        let publisher = try Publisher(log: log, sink: try await folder.sink())
        #expect(try await publisher.sync() == 3)
        #expect(try await published(folder) == ["0", "1", "2"])
        log.sync.withLock { $0 = nil }
        #expect(try await publisher.sync() == 1)
      }
    }
  }

  @Test("O-69: what a crash kept from the files is published once by the next sync")
  func theNextSyncFillsTheFile() async throws {
    try await withPlace { place in
      var next = 0
      // Where the crash leaves the file: before the write, in it at any byte, after it.
      for torn in [nil, 0, 1, 30, 45, 70, .max] {
        try await place.withStore { store in
          let log = try await StoredLog(store)
          let folder = try FileLogPlace(store: store)
          let sink = try await folder.sink()
          defer { try? sink.close() }
          let publisher = try Publisher(log: log, sink: sink)
          _ = try await publisher.sync()
          #expect(try await published(folder) == (0..<next).map(String.init))
          for _ in 0..<3 {
            try await log.exec("\(next)")
            next += 1
          }
          guard let torn else { return }
          let before = (try? Files.read(folder.path(0))) ?? []
          let mark = (try? Files.read(folder.mark(of: log.selfID))) ?? []
          #expect(try await publisher.sync() == 3)
          let after = try Files.read(folder.path(0))
          guard torn < after.count - before.count else { return }
          try writeFile(Array(after.prefix(before.count + torn)), to: folder.path(0))
          try Files.remove(folder.mark(of: log.selfID))
          if !mark.isEmpty { try writeFile(mark, to: folder.mark(of: log.selfID)) }
        }
      }
      try await place.withStore { store in
        let log = try await StoredLog(store)
        let folder = try FileLogPlace(store: store)
        #expect(try await log.texts() == (0..<next).map(String.init))
        _ = try await Publisher(log: log, sink: try await folder.sink()).sync()
        #expect(try await published(folder) == (0..<next).map(String.init))
      }
    }
  }

  @Test("O-72: no power loss takes back an entry that is in the files", arguments: 0..<6)
  func publishedEntriesAreNeverUsedAgain(seed: Int) async throws {
    let unsynced = try await publishedEntriesLost(seed: UInt64(seed), isSynced: true)
    #expect(!unsynced)
  }

  @Test func withoutTheSyncOfTheOpLogIndicesWouldBeUsedAgain() async throws {
    #expect(try await publishedEntriesLost(seed: 1, isSynced: false))
  }

  /// Writes, publishes and loses power a few times.
  ///
  /// - Returns: Whether an entry of the files was gone from the op-log.
  private func publishedEntriesLost(seed: UInt64, isSynced: Bool) async throws -> Bool {
    var random = SeededGenerator(seed: seed)
    let root = try TestDirectory.path("logs-\(seed)-\(isSynced)")
    var path = try TestDirectory.path("store-\(seed)-\(isSynced)")
    var number = 0
    for round in 0..<4 {
      let store = try await Store.small(at: path)
      let log = try await StoredLog(store)
      let folder = try FileLogPlace(store: store, root: root)
      let sink = try await folder.sink()
      defer { try? sink.close() }
      let recorded = try await log.texts()
      if try await sink.position().next > UInt64(recorded.count) {
        try await store.close()
        return true
      }
      #expect(try await recorded.starts(with: published(folder)))
      if !isSynced { log.sync.withLock { $0 = {} } }
      let publisher = try Publisher(log: log, sink: sink)
      for _ in 0..<Int.random(in: 2..<30, using: &random) {
        try await log.exec("\(number)")
        number += 1
        if UInt64.random(in: 0..<4, using: &random) == 0 { _ = try await publisher.sync() }
      }
      if !isSynced { _ = try await publisher.sync() }
      path += "-\(round)"
      try store.copyAsAfterPowerLoss(to: path)
      try await store.close()
    }
    return false
  }

  // MARK: Files that disagree

  @Test func filesAheadOfTheOpLogFenceIt() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await StoredLog(store)
        let folder = try FileLogPlace(store: store)
        let sink = try await folder.sink(log.selfID)
        try await sink.write(indexed(0..<5))
        for number in 0..<3 { try await log.exec("\(number)") }
        let publisher = try Publisher(log: log, sink: sink)
        await expectError(.conflict, reason: "fenced") { _ = try await publisher.sync() }
        #expect(log.fence.withLock { $0 } == 5)
        for number in 3..<9 { try await log.exec("\(number)") }
        await expectError(.conflict, reason: "chain_mismatch") { _ = try await publisher.sync() }
        #expect(try await sink.position().next == 5)
        let other = try await folder.sink(peer(2))
        await expectError(.invalidArgument, reason: "wrong_peer") {
          _ = try Publisher(log: log, sink: other)
        }
      }
    }
  }

  @Test func aHoleInTheOpLogIsNotPublished() async throws {
    let log = ModelReplica(peer(1))
    for number in 0..<9 { log.exec(CellOp(cell: 1, value: UInt8(number)), at: 5) }
    log.state.withLock { $0.missing[peer(1)] = [0] }
    try await withPlace { place in
      try await place.withStore { store in
        let sink = try await FileLogSink<CellOp>(
          root: try TestDirectory.path("logs"), selfID: peer(1),
          settings: FileLogSettings(magic: testMagic), store: store)
        let publisher = try Publisher(log: log, sink: sink)
        await #expect(throws: SyncError.self) { _ = try await publisher.sync() }
        #expect(try await sink.position().next == 0)
        // Trimmed wholly: nothing to read, and no endless loop.
        log.state.withLock { $0.missing[peer(1)] = Set(0..<9) }
        #expect(try await publisher.sync() == 0)
        log.state.withLock { $0.missing = [:] }
        #expect(try await publisher.sync() == 9)
      }
    }
  }
}
