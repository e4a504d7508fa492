import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

@Suite struct CursorWatchTests {
  @Test("O-61, O-62: a watch begins with every cursor, then tells each advance")
  func snapshotThenAdvances() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        var empty = log.watchCursors().makeAsyncIterator()
        #expect(await empty.next() == .snapshot(PeerCursors()))
        _ = try await log.apply(peer: peer(1), index: 0, entry: entry("x", 1))
        #expect(await empty.next() == .advanced(PeerCursors([peer(1): 1])))
        try await log.exec(MaxRegisterOp("x", 2))
        #expect(await empty.next() == .advanced(PeerCursors([me: 1])))
        _ = try await log.apply(peer: peer(1), index: 1, entry: .expunged(someHash))
        #expect(await empty.next() == .advanced(PeerCursors([peer(1): 2])))
        var late = log.watchCursors().makeAsyncIterator()
        #expect(await late.next() == .snapshot(PeerCursors([peer(1): 2, me: 1])))
      }
    }
  }

  @Test("O-63: a watch begun while entries come misses none")
  func watchesBegunMeanwhileMissNothing() async throws {
    try await withPlace { place in
      try await place.withRegisters { (log, _) async throws in
        let writers = (UInt64(0)..<4).map { number in
          Task {
            var watchers: [Task<PeerCursors, Never>] = []
            for index in UInt64(0)..<250 {
              if index % 60 == 30 + number * 5 {
                // In the middle of the run, while the others write.
                let watch = log.watchCursors()
                watchers.append(
                  Task { await everything(of: watch, beginningWith: index, of: number) })
              }
              _ = try await log.apply(
                peer: peer(number), index: index, entry: entry("x", index))
            }
            return watchers
          }
        }
        var begun: [Task<PeerCursors, Never>] = []
        for writer in writers { begun += try await writer.value }
        #expect(begun.count == 16)
        for watcher in begun { #expect(await watcher.value == log.cursors()) }
      }
    }
  }

  /// Reads until four peers are at their ends. Who begins the watch writes one peer's log, so that
  /// the snapshot has that one exactly.
  private func everything(
    of watch: CursorWatch, beginningWith index: UInt64, of number: UInt64
  ) async -> PeerCursors {
    var known: PeerCursors?
    for await event in watch {
      switch event {
      case .snapshot(let cursors):
        #expect(known == nil && cursors[peer(number)] == index)
        known = cursors
      case .advanced(let cursors): known?.merge(cursors)
      }
      if known?.sorted.map(\.next) == [250, 250, 250, 250] { break }
    }
    return known ?? PeerCursors()
  }

  @Test("O-64: repeats and failures tell nothing")
  func onlyAdvancesAreTold() async throws {
    try await withPlace { place in
      let trap = Trap()
      try await place.withRegisters(trap) { (log, _) async throws in
        _ = try await log.apply(peer: peer(1), index: 0, entry: entry("x", 1))
        var watch = log.watchCursors().makeAsyncIterator()
        _ = await watch.next()
        _ = try await log.apply(peer: peer(1), index: 0, entry: entry("x", 1))
        _ = try? await log.apply(peer: peer(1), index: 4, entry: entry("x", 1))
        trap.fail(.apply)
        _ = try? await log.apply(peer: peer(1), index: 1, entry: entry("x", 1))
        trap.fail(nil)
        try await log.exec(MaxRegisterOp("x", 1))
        #expect(await watch.next() == .advanced(PeerCursors([me: 1])))
      }
    }
  }

  @Test("O-65: a watch that nobody reads holds one position per peer, the last")
  func unreadWatchesStaySmall() async throws {
    let board = CursorBoard(PeerCursors())
    var watch = board.watch().makeAsyncIterator()
    for index in UInt64(1)...1_000_000 { board.advance(peer(index % 3), to: index) }
    #expect(await watch.next() == .snapshot(PeerCursors()))
    // All million advances are one event.
    #expect(
      await watch.next()
        == .advanced(
          PeerCursors([peer(0): 999_999, peer(1): 1_000_000, peer(2): 999_998])))
  }

  @Test("O-66: watches that ended are forgotten")
  func endedWatchesAreForgotten() async throws {
    let board = CursorBoard(PeerCursors())
    var dropped: CursorWatch? = board.watch()
    let kept = board.watch()
    #expect(board.watcherCount == 2)
    dropped = nil
    _ = dropped
    let reader = Task {
      var count = 0
      for await _ in kept { count += 1 }
      return count
    }
    reader.cancel()
    _ = await reader.value
    board.advance(peer(1), to: 1)
    #expect(board.watcherCount == 0)
  }

  @Test func watchesEndWithTheProcessor() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await Registers(
          reducer: TestReducer(), store: store, prefix: "app", selfID: me)
        let watch = log.watchCursors()
        try await log.exec(MaxRegisterOp("x", 1))
        await log.close()
        var events: [CursorEvent] = []
        for await event in watch { events.append(event) }
        #expect(events == [.snapshot(PeerCursors()), .advanced(PeerCursors([me: 1]))])
      }
    }
  }
}
