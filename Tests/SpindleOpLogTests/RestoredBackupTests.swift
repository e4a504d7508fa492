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

  // MARK: Fences

  @Test func aBackupIsFencedWhenItOpensItsSoundFiles() async throws {
    try await with(peer(1), "one") { log, store in
      try await exec(log, "a", "b")
      try await publish(log, store)
    }
    try back(up: "one", to: "backup")
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
        #expect(try await PullDriver(from: folder, into: two).run().newCount == 4)
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
}
