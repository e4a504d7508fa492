import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// Entries that were expunged from the op-log and were published before.
@Suite(.temporaryDirectory) struct RewriteTests {
  private typealias Log = Processor<KeepingReducer, Tracker>

  private func log(_ store: Store) async throws -> Log {
    try await Processor(reducer: KeepingReducer(), store: store, prefix: "app", selfID: peer(1))
  }

  private func holds(_ folder: FileLogPlace, _ text: String) throws -> Bool {
    try folder.names().contains { name in
      let bytes = try Files.read("\(folder.root)/\(peer(1))/\(name)", limit: .max)
      return String(decoding: bytes, as: UTF8.self).contains(text)
    }
  }

  @Test func whatACrashLeftInTheFilesIsRemovedByTheNextPublishing() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await log(store)
        var folder = try FileLogPlace(store: store)
        folder.settings.rotationEntryCount = 4
        let sink = try await folder.sink()
        let publisher = try Publisher(log: log, sink: sink)
        for number in 0..<10 { try await log.exec(Note("secret \(number)")) }
        #expect(try await publisher.sync() == 10)
        // Of two entries nobody told the files before the crash.
        for index: UInt64 in [2, 9] { try await log.tracker.expunge(peer: peer(1), index: index) }
        #expect(try holds(folder, "secret 2") && holds(folder, "secret 9"))
        #expect(try await findings(store) == [])
        try sink.close()
        await log.close()
      }
      try await place.withStore { store in
        let log = try await log(store)
        var folder = try FileLogPlace(store: store)
        folder.settings.rotationEntryCount = 4
        // Removed before it was ever published.
        try await log.exec(Note("secret 10"))
        try await log.tracker.expunge(peer: peer(1), index: 10)
        #expect(
          try await log.pendingRewrites().map(\.index) == [2, 9, 10])
        let publisher = try Publisher(log: log, sink: try await folder.sink())
        #expect(try await publisher.sync() == 1)
        for number in [2, 9, 10] { #expect(try !holds(folder, "secret \(number)")) }
        #expect(try holds(folder, "secret 3"))
        #expect(try await log.pendingRewrites().isEmpty)
        let (entries, error) = try await folder.readAll(folder.puller())
        #expect(error == nil && entries.count == 11)
        #expect(try await publisher.sync() == 0)
        #expect(try await findings(store) == [])
      }
    }
  }

  @Test func aPublisherThatIsToldForgetsTheNote() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await log(store)
        let folder = try FileLogPlace(store: store)
        let publisher = try Publisher(log: log, sink: try await folder.sink())
        for number in 0..<3 { try await log.exec(Note("secret \(number)")) }
        _ = try await publisher.sync()
        let hash = try await log.tracker.expunge(peer: peer(1), index: 1)
        #expect(try await log.pendingRewrites().map(\.hash) == [hash])
        #expect(try await publisher.expunge(index: 1, hash: hash))
        #expect(try await log.pendingRewrites().isEmpty)
        #expect(try !holds(folder, "secret 1"))
      }
    }
  }

  @Test func notesThatFitNoEntryAreFound() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await log(store)
        for number in 0..<3 { try await log.exec(Note("\(number)")) }
        let key = OpLogKeys.rewrite(peer(1), 1)
        try await damage(store, "app", key: key, value: someHash.bytes)
        try await damage(store, "app", key: OpLogKeys.rewrite(peer(1), 7), value: someHash.bytes)
        try await damage(store, "app", key: OpLogKeys.rewrites(of: peer(2)), value: [1])
        let found = try await findings(store)
        #expect(found.count == 3)
        #expect(found.contains { $0.contains("index 1 of peer \(peer(1))") })
        #expect(found.contains { $0.contains("its log ends at 3") })
      }
    }
  }
}
