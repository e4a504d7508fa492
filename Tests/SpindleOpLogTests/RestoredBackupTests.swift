import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// That a store which was restored from a backup uses no index again, and that two histories of one
/// peer are never joined.
@Suite(.temporaryDirectory) struct RestoredBackupTests {
  private typealias Log = Processor<KeepingReducer, Tracker>

  /// Opens a peer's store, runs the body, closes it.
  private func with(
    _ peer: PeerID, _ name: String, _ body: (Log, Store) async throws -> Void
  ) async throws {
    let store = try await Store.small(at: try TestDirectory.path(name))
    let log = try await Log(
      reducer: KeepingReducer(), store: store, prefix: "app", selfID: peer)
    do {
      try await body(log, store)
    } catch {
      await log.close()
      try? await store.close()
      throw error
    }
    await log.close()
    try await store.close()
  }

  private func back(up name: String, to copy: String) throws {
    try copyFolder(try TestDirectory.path(name), to: try TestDirectory.path(copy))
  }

  private func exec(_ log: Log, _ texts: String...) async throws {
    for text in texts { try await log.exec(Note(text)) }
  }

  /// Runs the body with the shared folder, as a log's own writer sees it.
  private func withFolder(
    _ log: Log, _ store: Store, _ name: String = "logs",
    _ body: (FileLogReplica<Note>, Publisher<Note>) async throws -> Void
  ) async throws {
    let folder = try await FileLogReplica(
      root: try TestDirectory.path(name), settings: FileLogSettings(magic: testMagic),
      store: store, repairingFrom: log)
    defer { try? folder.sink.close() }
    try await body(folder, try Publisher(log: log, sink: folder.sink))
  }

  private func publish(_ log: Log, _ store: Store, _ name: String = "logs") async throws {
    try await withFolder(log, store, name) { _ = try await $1.sync() }
  }

  private func expectFenced(
    _ log: Log, location: SourceLocation = #_sourceLocation
  ) async throws {
    await expectError(.unavailable, reason: "fenced", location: location) {
      try await log.exec(Note("again"))
    }
  }

  /// Checks that a pull took nothing of a peer, since its logs differ from an index on.
  private func expectConflict(
    _ index: UInt64, _ report: PullReport, location: SourceLocation = #_sourceLocation
  ) {
    let outcome = report.peers[peer(1)]
    guard case SyncError.conflict(peer(1), index)? = outcome?.error as? SyncError else {
      Issue.record("\(String(describing: outcome))", sourceLocation: location)
      return
    }
    #expect(outcome?.newCount == 0, sourceLocation: location)
  }

  // MARK: Fences

  @Test func aBackupIsFencedWhenItOpensItsSoundFiles() async throws {
    try await with(peer(1), "one") { log, store in
      try await exec(log, "a", "b")
      try await publish(log, store)
    }
    try back(up: "one", to: "backup")
    try back(up: "one", to: "written")
    try await with(peer(1), "one") { log, store in
      try await exec(log, "c", "d")
      try await publish(log, store)
    }
    try await with(peer(1), "backup") { log, store in
      try await withFolder(log, store) { folder, publisher in
        try await expectFenced(log)
        await expectError(.conflict, reason: "fenced") { _ = try await publisher.sync() }
        #expect(try await PullDriver(from: folder, into: log).run().newCount == 2)
        #expect(try await log.exec(Note("e")).index == 4)
        #expect(try await publisher.sync() == 1)
      }
    }
    // One that wrote before it looked is told so, and nothing of the folder is put behind that.
    try await with(peer(1), "written") { log, store in
      try await exec(log, "other")
      try await withFolder(log, store) { folder, _ in
        try await expectFenced(log)
        expectConflict(2, try await PullDriver(from: folder, into: log).run())
        #expect(log.cursor(of: peer(1)) == 3)
      }
    }
  }

  @Test func aBackupIsFencedByAReplicaThatPullsFromIt() async throws {
    try await with(peer(2), "two") { two, _ in
      try await with(peer(1), "one") { one, _ in try await exec(one, "a", "b") }
      try back(up: "one", to: "backup")
      try await with(peer(1), "one") { one, _ in
        try await exec(one, "c", "d")
        #expect(try await PullDriver(from: one, into: two).run().newCount == 4)
      }
      try await with(peer(1), "backup") { one, _ in
        #expect(try await PullDriver(from: one, into: two).run().newCount == 0)
        try await expectFenced(one)
        #expect(try await one.tracker.fence(of: peer(1)) == 4)
      }
      try await with(peer(1), "backup") { one, _ in
        try await expectFenced(one)
        #expect(try await PullDriver(from: two, into: one).run().newCount == 2)
        #expect(try await one.exec(Note("e")).index == 4)
      }
    }
  }

  /// The own files are gone with the entries; what another replica said of them is not.
  @Test(arguments: [false, true])
  func aBackupIsFencedByWhatAReplicaSaidInTheFolder(isDriven: Bool) async throws {
    try await with(peer(1), "one") { one, _ in try await exec(one, "a", "b") }
    try back(up: "one", to: "backup")
    try await with(peer(1), "one") { one, store in
      try await exec(one, "c", "d")
      try await publish(one, store)
    }
    try await with(peer(2), "two") { two, store in
      try await withFolder(two, store) { folder, _ in
        let report = try await PullDriver(from: folder, into: two).run()
        #expect(report.newCount == 4)
      }
    }
    let own = try TestDirectory.path("logs") + "/\(peer(1))"
    for name in try Files.names(in: own) { try Files.remove(own + "/" + name) }
    try await with(peer(1), "backup") { one, store in
      try await withFolder(one, store) { folder, _ in
        if isDriven {
          let driver = ConvergenceDriver(from: folder, into: one)
          let running = Task { try await driver.run() }
          try await eventually { try await one.tracker.fence(of: peer(1)) == 4 }
          running.cancel()
          _ = await running.result
        } else {
          #expect(try await PullDriver(from: folder, into: one).run().newCount == 0)
        }
        try await expectFenced(one)
      }
    }
  }

  // MARK: Two histories

  /// Makes `one` with six entries and `other` with eight, which have the first three in common.
  private func fork() async throws {
    try await with(peer(1), "one") { one, _ in try await exec(one, "a", "b", "c") }
    try back(up: "one", to: "other")
    try await with(peer(1), "one") { one, _ in try await exec(one, "d", "e", "f") }
    try await with(peer(1), "other") { other, _ in
      try await exec(other, "g", "h", "i", "j", "k")
    }
  }

  @Test func twoHistoriesAreNotJoined() async throws {
    try await fork()
    try await with(peer(2), "two") { two, store in
      try await with(peer(1), "one") { one, _ in
        _ = try await PullDriver(from: one, into: two).run()
      }
      try await two.tracker.expunge(peer: peer(1), index: 1)
      try await with(peer(1), "other") { other, otherStore in
        expectConflict(3, try await PullDriver(from: other, into: two).run())
        #expect(two.cursor(of: peer(1)) == 6)
        // What is here is of the other history, so the source must keep its own.
        #expect(try await other.tracker.acknowledgements()[peer(2)]?[peer(1)] == 0)
        // The same from files, whose segments are in chains, too.
        try await publish(other, otherStore, "others")
        let files = FileLogPuller<Note>(
          root: try TestDirectory.path("others"), settings: FileLogSettings(magic: testMagic),
          store: store)
        expectConflict(3, try await PullDriver(from: files, into: two).run())
        // Without the entries, the head remains.
        _ = try await two.tracker.trim(below: PeerCursors([peer(1): 6]), forced: true)
        expectConflict(5, try await PullDriver(from: other, into: two).run())
        expectConflict(5, try await PullDriver(from: files, into: two).run())
        #expect(two.cursor(of: peer(1)) == 6)
        let path = try TestDirectory.path("export")
        try await other.tracker.export(to: path)
        await #expect(throws: SyncError.self) {
          _ = try await OpLogArchive(path: path, store: store).apply(to: two)
        }
        _ = try await other.tracker.trim(below: PeerCursors([peer(1): 6]), forced: true)
        try await other.tracker.export(to: path + "-trimmed")
        await #expect(throws: SyncError.self) {
          _ = try await OpLogArchive(path: path + "-trimmed", store: store).apply(to: two)
        }
        #expect(two.cursor(of: peer(1)) == 6)
      }
    }
  }

  /// Nothing is to be pulled, and the logs differ all the same.
  @Test func twoHistoriesAreToldWhereTheTargetIsAhead() async throws {
    try await fork()
    try await with(peer(1), "other") { other, _ in
      try await with(peer(2), "two") { two, _ in
        _ = try await PullDriver(from: other, into: two).run()
      }
    }
    try await with(peer(2), "two") { two, _ in
      try await with(peer(1), "one") { one, _ in
        expectConflict(3, try await PullDriver(from: one, into: two).run())
        #expect(try await one.tracker.acknowledgements()[peer(2)]?[peer(1)] == 0)
        let driver = ConvergenceDriver(from: one, into: two)
        let running = Task { try await driver.run() }
        try await eventually { driver.progress[peer(1)]?.pause?.reason == "conflict" }
        running.cancel()
        _ = await running.result
        #expect(try await one.tracker.acknowledgements()[peer(2)]?[peer(1)] == 0)
        #expect(two.cursor(of: peer(1)) == 8 && one.cursor(of: peer(1)) == 6)
      }
    }
  }

  /// What was trimmed, removed, or recorded without a chain is no other history.
  @Test func oneHistoryGoesOnInParts() async throws {
    try await with(peer(2), "two") { two, store in
      try await with(peer(1), "one") { one, oneStore in
        for index: UInt64 in 0..<3 {
          try await one.tracker.add(oneStore, peer(3), index, Note("\(index)"))
        }
      }
      try await with(peer(1), "one") { one, oneStore in
        let files = FileLogPuller<Note>(
          root: try TestDirectory.path("logs"), settings: FileLogSettings(magic: testMagic),
          store: store)
        func pull() async throws -> [Int] {
          var counts: [Int] = []
          for source in [one, files] as [any LogSource<Note>] {
            let report = try await PullDriver(from: source, into: two).run()
            for outcome in report.peers.values {
              #expect(outcome.error == nil, "\(outcome)")
            }
            counts.append(report.newCount)
          }
          return counts
        }
        for number in 0..<100 { try await exec(one, "\(number)") }
        try await publish(one, oneStore)
        #expect(try await pull() == [103, 0])
        // In the middle of a segment.
        for number in 100..<300 { try await exec(one, "\(number)") }
        try await publish(one, oneStore)
        let page = try await one.readSince(peer: peer(1), from: 100)
        #expect(try await two.apply(peer: peer(1), entries: Array(page.prefix(45))) == 45)
        try await two.tracker.expunge(peer: peer(1), index: 144)
        let source = PullDriver<Note>(from: files, into: two)
        #expect(try await source.run().newCount == 155)
        #expect(try await pull() == [0, 0])
        // The source begins where the target ends, then the target keeps nothing.
        try await exec(one, "300")
        _ = try await one.tracker.trim(below: PeerCursors([peer(1): 300]), forced: true)
        #expect(try await pull() == [1, 0])
        _ = try await two.tracker.trim(
          below: PeerCursors([peer(1): 301, peer(3): 3]), forced: true)
        try await exec(one, "301")
        try await publish(one, oneStore)
        #expect(try await pull() == [1, 0])
        let path = try TestDirectory.path("export")
        try await exec(one, "302")
        try await one.tracker.export(to: path)
        #expect(try await OpLogArchive(path: path, store: store).apply(to: two) == 1)
        _ = try await one.apply(
          peer: peer(3), index: 3,
          entry: .logEntry(LogEntry(serverUser: nil, timestamp: .zero, op: Note("3"))))
        #expect(try await pull() == [1, 0])
      }
    }
  }
}
