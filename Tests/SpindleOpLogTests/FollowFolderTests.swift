import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// Following the logs of a folder, which tells of nothing unless it is asked.
@Suite(.temporaryDirectory) struct FollowFolderTests {
  @Test func aFolderIsAskedAtFirstAndEverySecond() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let folder = try FileLogPlace(store: store)
        let sink = try await folder.sink()
        try await sink.write(indexed(0..<5))
        let (puller, clock) = (folder.puller(), ManualClock())
        let given = Shared<[PeerID: [UInt64]]>([:])
        let reading = Task {
          for try await entry in puller.entries(follow: true, clock: clock) {
            given.update { $0[entry.peer, default: []].append(entry.index) }
          }
        }
        defer { reading.cancel() }
        // What is there is given at once.
        try await eventually { given.value[peer(1)]?.count == 5 && clock.sleeperCount == 1 }
        try await sink.write(indexed(5..<8))
        let other = try await folder.sink(peer(2))
        try await other.write(indexed(0..<2))
        clock.advance(by: .milliseconds(999))
        #expect(clock.sleeperCount == 1, "it woke before its time")
        #expect(given.value == [peer(1): Array(0..<5)])
        clock.advance(by: .milliseconds(1))
        try await eventually { given.value[peer(2)]?.count == 2 && clock.sleeperCount == 1 }
        // An interval in which nothing came repeats nothing.
        clock.advance(by: .seconds(1))
        try await eventually { clock.sleeperCount == 1 }
        try await sink.write(indexed(8..<9))
        clock.advance(by: .seconds(1))
        try await eventually { given.value[peer(1)]?.count == 9 }
        #expect(given.value == [peer(1): Array(0..<9), peer(2): [0, 1]])
        reading.cancel()
        try await reading.value
        try other.close()
        try sink.close()
      }
    }
  }

  @Test func whatSomebodyElseFindsIsGivenWithoutARest() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let folder = try FileLogPlace(store: store)
        let sink = try await folder.sink()
        let (puller, clock) = (folder.puller(), ManualClock())
        let given = Shared<[UInt64]>([])
        let reading = Task {
          for try await entry in puller.entries(follow: true, clock: clock) {
            given.update { $0.append(entry.index) }
          }
        }
        defer { reading.cancel() }
        try await eventually { clock.sleeperCount == 1 }
        try await sink.write(indexed(0..<3))
        #expect(try await puller.cursors() == PeerCursors([peer(1): 3]))
        try await eventually { given.value == [0, 1, 2] && clock.sleeperCount == 1 }
        reading.cancel()
        try await reading.value
        try sink.close()
      }
    }
  }
}
