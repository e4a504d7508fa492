import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// That drivers let replicas tell each other what they have.
@Suite(.temporaryDirectory) struct AcknowledgementTests {
  private typealias Log = Processor<KeepingReducer, Tracker>

  private func log(_ store: Store, _ prefix: String, _ selfID: PeerID) async throws -> Log {
    try await Processor(
      reducer: KeepingReducer(), store: store, prefix: prefix, selfID: selfID)
  }

  private func exec(_ log: Log, _ count: Int) async throws {
    for number in 0..<count { try await log.exec(Note("\(number)")) }
  }

  @Test func aPullAcknowledgesAndTheUnforcedTrimRemovesExactlyThat() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let (one, two) = (
          try await log(store, "one", peer(1)), try await log(store, "two", peer(2))
        )
        try await exec(one, 10)
        try await exec(two, 4)
        let all = PeerCursors([peer(1): 100, peer(2): 100])
        #expect(try await one.tracker.trim(below: all).rows == 0)
        let report = try await PullDriver(from: one, into: two).run()
        #expect(report.newCount == 10 && report.acknowledgementError == nil)
        try await exec(one, 5)
        #expect(
          try await one.tracker.acknowledgements() == [peer(2): PeerCursors([peer(1): 10])])
        // What the source has, and what of it is here.
        #expect(
          try await two.tracker.acknowledgements() == [peer(1): PeerCursors([peer(1): 10])])
        let trim = try await one.tracker.trim(below: all)
        #expect(trim.rows == 10 && trim.floors == PeerCursors([peer(1): 10]))
        #expect(try await findings(store, "one") == [])
        #expect(try await findings(store, "two") == [])
      }
    }
  }

  @Test func whatIsAcknowledgedSurvivesPowerLoss() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let one = try await log(store, "one", peer(1))
        try await exec(one, 10)
        let path = try TestDirectory.path("target")
        let other = try await Store.small(at: path)
        let two = try await log(other, "two", peer(2))
        _ = try await PullDriver(from: one, into: two).run()
        #expect(try await one.tracker.acknowledgements()[peer(2)]?[peer(1)] == 10)
        try other.copyAsAfterPowerLoss(to: path + "-copy")
        await two.close()
        try await other.close()
        let left = try await Store.small(at: path + "-copy")
        #expect(try await Tracker(store: left, prefix: "two").cursor(of: peer(1)) == 10)
        try await left.close()
      }
    }
  }

  private func folder(
    _ store: Store, _ selfID: PeerID
  ) async throws -> FileLogReplica<Note> {
    try await FileLogReplica(
      root: try TestDirectory.path("logs"), selfID: selfID,
      settings: FileLogSettings(magic: testMagic), store: store)
  }

  /// Two logs of one store, and the folder that they share, as each of them has it open.
  private func withSharedFolder(
    _ body: (Log, Log, FileLogReplica<Note>, FileLogReplica<Note>) async throws -> Void
  ) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        try await body(
          try await log(store, "one", peer(1)), try await log(store, "two", peer(2)),
          try await folder(store, peer(1)), try await folder(store, peer(2)))
      }
    }
  }

  @Test func replicasThatShareAFolderAcknowledgeThroughIt() async throws {
    try await withSharedFolder { one, two, left, right in
      try await exec(one, 10)
      let publisher = try Publisher(log: one, sink: left.sink)
      _ = try await publisher.sync()
      #expect(try await PullDriver(from: right, into: two).run().newCount == 10)
      try await exec(one, 5)
      _ = try await publisher.sync()
      #expect(try await one.tracker.acknowledgements().isEmpty)
      let report = try await PullDriver(from: left, into: one).run()
      #expect(report.acknowledgementError == nil)
      #expect(
        try await one.tracker.acknowledgements() == [peer(2): PeerCursors([peer(1): 10])])
      #expect(try await one.tracker.trim(below: PeerCursors([peer(1): 100])).rows == 10)
      // A file on its way, or a damaged one, tells nothing.
      let path = try TestDirectory.path("logs") + "/\(peer(2))/cursors"
      var bytes = try Files.read(path)
      #expect(try await left.acknowledgements()[peer(2)] == PeerCursors([peer(1): 10]))
      bytes[20] ^= 1
      try writeFile(bytes, to: path)
      #expect(try await left.acknowledgements()[peer(2)] == nil)
      try writeFile(Array(bytes.prefix(7)), to: path)
      #expect(try await left.acknowledgements()[peer(2)] == nil)
    }
  }

  @Test(arguments: [Duration.milliseconds(5), nil])
  func aConvergenceDriverAcknowledgesWhatItPulls(interval: Duration?) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let (one, two) = (
          try await log(store, "one", peer(1)), try await log(store, "two", peer(2))
        )
        try await exec(one, 10)
        var settings = ConvergenceSettings()
        settings.pollInterval = interval
        let driver = ConvergenceDriver(from: one, into: two, settings: settings)
        let running = Task { try await driver.run() }
        try await eventually {
          try await one.tracker.acknowledgements()[peer(2)]?[peer(1)] == 10
        }
        try await exec(one, 7)
        try await eventually {
          try await one.tracker.acknowledgements()[peer(2)]?[peer(1)] == 17
        }
        #expect(driver.acknowledgementError == nil)
        running.cancel()
        _ = await running.result
      }
    }
  }

  /// The writer of a log that rests hears of a replica that takes it in later.
  @Test func aQuietLogLearnsWhatWasTakenInFromTheFolder() async throws {
    try await withSharedFolder { one, two, left, right in
      try await exec(one, 10)
      _ = try await Publisher(log: one, sink: left.sink).sync()
      var settings = ConvergenceSettings()
      settings.pollInterval = .milliseconds(5)
      let driver = ConvergenceDriver(from: left, into: one, settings: settings)
      let running = Task { try await driver.run() }
      // Both told each other what they have, and nothing of it changes from here on.
      try await eventually {
        try await left.acknowledgements()[peer(1)] == PeerCursors([peer(1): 10])
      }
      #expect(try await PullDriver(from: right, into: two).run().newCount == 10)
      try await eventually {
        try await one.tracker.acknowledgements()[peer(2)]?[peer(1)] == 10
      }
      #expect(driver.acknowledgementError == nil)
      running.cancel()
      _ = await running.result
      #expect(try await one.tracker.trim(below: PeerCursors([peer(1): 100])).rows == 10)
    }
  }
}
