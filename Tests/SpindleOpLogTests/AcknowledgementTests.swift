import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// That drivers let replicas tell each other what they have.
@Suite(.temporaryDirectory) struct AcknowledgementTests {
  typealias Log = Processor<KeepingReducer, Tracker>

  func log(_ store: Store, _ prefix: String, _ selfID: PeerID) async throws -> Log {
    try await Processor(
      reducer: KeepingReducer(), store: store, prefix: prefix, selfID: selfID)
  }

  func exec(_ log: Log, _ count: Int) async throws {
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

  func folder(
    _ store: Store, _ selfID: PeerID
  ) async throws -> FileLogReplica<Note> {
    try await FileLogReplica(
      root: try TestDirectory.path("logs"), selfID: selfID,
      settings: FileLogSettings(magic: testMagic), store: store)
  }

  /// Two logs of one store, and the folder that they share, as each of them has it open.
  func withSharedFolder(
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

  /// What a replica said last stays in the folder when it is gone.
  @Test func aForgottenReplicaStaysForgottenUntilItSaysSomethingElse() async throws {
    try await withSharedFolder { one, two, left, right in
      try await exec(one, 10)
      let publisher = try Publisher(log: one, sink: left.sink)
      _ = try await publisher.sync()
      _ = try await PullDriver(from: right, into: two).run()
      let hears = PullDriver(from: left, into: one)
      _ = try await hears.run()
      #expect(try await one.tracker.acknowledgements()[peer(2)]?[peer(1)] == 10)
      try await one.tracker.forget(replica: peer(2))
      for _ in 0..<2 {
        try await exec(one, 3)
        let report = try await hears.run()
        #expect(report.acknowledgementError == nil)
        #expect(try await one.tracker.acknowledgements().isEmpty)
      }
      _ = try await publisher.sync()
      _ = try await PullDriver(from: right, into: two).run()
      _ = try await hears.run()
      #expect(try await one.tracker.acknowledgements()[peer(2)]?[peer(1)] == 16)
    }
  }

  @Test func theWordOfAForgottenReplicaIsTheOneThatItGave() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let one = try await log(store, "one", peer(1))
        try await exec(one, 5)
        let (tracker, replica) = (one.tracker, peer(9))
        func say(
          _ cursors: [PeerID: UInt64], except doubtful: Set<PeerID> = []
        ) async throws -> PeerCursors? {
          try await tracker.acknowledge(
            replica: replica, cursors: PeerCursors(cursors), except: doubtful)
          return try await tracker.acknowledgements()[replica]
        }
        // Noted up to the end; what was above it belongs to the word that is forgotten.
        #expect(try await say([peer(1): 8, peer(2): 4]) == PeerCursors([peer(1): 5]))
        try await tracker.forget(replica: replica)
        for _ in 0..<2 { #expect(try await say([peer(1): 8, peer(2): 4]) == nil) }
        try await exec(one, 5)
        #expect(try await say([peer(1): 8, peer(2): 4]) == nil)
        // A word that leaves out a peer in doubt says nothing of it.
        #expect(try await say([peer(2): 4], except: [peer(1)]) == nil)
        #expect(try await say([:], except: [peer(1), peer(2)]) == nil)
        #expect(try await findings(store, "one") == [])
        #expect(try await say([peer(1): 9, peer(2): 4]) == PeerCursors([peer(1): 9]))
        try await tracker.forget(replica: replica)
        #expect(try await say([peer(1): 7]) == PeerCursors([peer(1): 7]))
        // One that comes back with nothing is back, too.
        try await tracker.forget(replica: replica)
        #expect(try await say([:]) == PeerCursors())
        #expect(try await tracker.trim(below: PeerCursors([peer(1): 7])).rows == 0)
        // One that had nothing.
        try await tracker.acknowledge(replica: peer(8), cursors: PeerCursors())
        try await tracker.forget(replica: peer(8))
        try await tracker.acknowledge(replica: peer(8), cursors: PeerCursors())
        #expect(try await tracker.acknowledgements()[peer(8)] == nil)
        try await tracker.acknowledge(replica: peer(8), cursors: PeerCursors([peer(1): 1]))
        #expect(try await tracker.acknowledgements()[peer(8)] == PeerCursors([peer(1): 1]))
        #expect(try await findings(store, "one") == [])
      }
    }
  }

  /// One that was restored from a backup needs again what it had acknowledged.
  @Test func aLowerWordOfAReplicaHoldsTheLogBack() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let one = try await log(store, "one", peer(1))
        try await exec(one, 10)
        let tracker = one.tracker
        try await one.acknowledge(replica: peer(2), cursors: PeerCursors([peer(1): 9]))
        try await one.acknowledge(replica: peer(2), cursors: PeerCursors([peer(1): 4]))
        #expect(try await tracker.acknowledgements()[peer(2)] == PeerCursors([peer(1): 4]))
        #expect(try await tracker.trim(below: PeerCursors([peer(1): 100])).rows == 4)
        // Of what is in doubt it can say less, and no more; of what else it does not name it has
        // nothing.
        for (said, left) in [(7, 4), (3, 3)] as [(UInt64, UInt64)] {
          try await one.acknowledge(
            replica: peer(2), cursors: PeerCursors([peer(1): said]), except: [peer(1)])
          #expect(try await tracker.acknowledgements()[peer(2)] == PeerCursors([peer(1): left]))
        }
        try await one.acknowledge(replica: peer(2), cursors: PeerCursors(), except: [peer(1)])
        #expect(try await tracker.acknowledgements()[peer(2)] == PeerCursors([peer(1): 3]))
        try await one.acknowledge(replica: peer(2), cursors: PeerCursors())
        #expect(try await tracker.acknowledgements()[peer(2)] == PeerCursors())
        #expect(try await tracker.trim(below: PeerCursors([peer(1): 100])).rows == 0)
        #expect(try await findings(store, "one") == [])
      }
    }
  }

  /// What shows that rows are lost stays when the replica repeats it, or says less of it.
  @Test func aLowerWordAboveTheEndStaysAFinding() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        try await addChained(store, tracker, peer(1), 0..<10)
        try await tracker.acknowledge(replica: peer(9), cursors: PeerCursors([peer(1): 9]))
        for index in UInt64(6)..<10 {
          try await damage(store, "app", key: OpLogKeys.entry(peer(1), index), value: nil)
        }
        for told: UInt64 in [9, 8] {
          try await tracker.acknowledge(replica: peer(9), cursors: PeerCursors([peer(1): told]))
          #expect(try await tracker.acknowledgements()[peer(9)] == PeerCursors([peer(1): told]))
        }
        #expect(
          try await findings(store, "app").contains { $0.contains("newest entries are lost") })
      }
    }
  }

  // MARK: Forgotten replicas

  /// A replica that is gone left a word in each of the folders that it shared.
  @Test func theWordsOfAForgottenReplicaInSeveralPlacesAreRefused() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        try await addChained(store, tracker, peer(1), 0..<100)
        let replica = peer(9)
        func hear(_ cursor: UInt64) async throws -> PeerCursors? {
          try await tracker.acknowledge(replica: replica, cursors: PeerCursors([peer(1): cursor]))
          return try await tracker.acknowledgements()[replica]
        }
        // Whichever is heard last before it is forgotten, each time one more of them is known.
        for _ in 0..<3 {
          for cursor: UInt64 in [30, 20, 10] { _ = try await hear(cursor) }
          try await tracker.forget(replica: replica)
        }
        for _ in 0..<3 {
          for cursor: UInt64 in [10, 20, 30] { #expect(try await hear(cursor) == nil) }
        }
        #expect(try await tracker.acknowledgements()[replica] == nil)
        #expect(try await findings(store) == [])
        // Eight are kept, the last ones.
        for cursor in UInt64(41)...48 {
          #expect(try await hear(cursor) == PeerCursors([peer(1): cursor]))
          try await tracker.forget(replica: replica)
        }
        for cursor in UInt64(41)...48 { #expect(try await hear(cursor) == nil) }
        #expect(try await findings(store) == [])
        #expect(try await hear(30) == PeerCursors([peer(1): 30]))
        try await damage(store, "app", key: OpLogKeys.refused(replica), value: [0, 0, 0, 1])
        #expect(try await findings(store).count == 1)
        try await tracker.remember(replica: replica)
        #expect(try await hear(48) == PeerCursors([peer(1): 48]))
        #expect(try await findings(store) == [])
      }
    }
  }

  /// Only one word can be the one that was noted up to the end. A replica that says more and more
  /// is alive, also where the log here follows its words.
  @Test func aForgottenReplicaThatSpeaksOnIsBack() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        let replica = peer(9)
        func hear(_ cursor: UInt64) async throws -> PeerCursors? {
          try await tracker.acknowledge(replica: replica, cursors: PeerCursors([peer(1): cursor]))
          return try await tracker.acknowledgements()[replica]
        }
        try await addChained(store, tracker, peer(1), 0..<50)
        #expect(try await hear(60) == PeerCursors([peer(1): 50]))
        try await tracker.forget(replica: replica)
        #expect(try await hear(60) == nil)
        #expect(try await hear(60) == nil)
        try await addChained(store, tracker, peer(1), 50..<60)
        #expect(try await hear(60) == nil)
        #expect(try await hear(70) == PeerCursors([peer(1): 60]))
        #expect(try await findings(store) == [])
      }
    }
  }

  /// A word and its forgetting at the same time end in one of both, whole.
  @Test func aReplicaIsNotedOrForgottenAndNotBoth() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        for number in UInt64(1)...8 { try await addChained(store, tracker, peer(number), 0..<9) }
        let replica = peer(9)
        func count(_ subspace: UInt8) async throws -> Int {
          try await store.content(of: ["oplog:app"]).filter { $0.first == subspace }.count
        }
        for round in UInt64(0)..<200 {
          let word = { (cursor: UInt64) in
            PeerCursors(
              Dictionary(uniqueKeysWithValues: (1...8).map { (peer(UInt64($0)), cursor) }))
          }
          try await tracker.acknowledge(replica: replica, cursors: word(1 + round % 4))
          async let told: Void = tracker.acknowledge(
            replica: replica, cursors: word(5 + round % 4))
          async let forgotten: Void = tracker.forget(replica: replica)
          _ = try await (told, forgotten)
          let noted = try await count(OpLogKeys.acknowledgementSubspace)
          let left = try await count(OpLogKeys.forgottenSubspace)
          #expect(noted == 0 || left == 0)
          #expect(noted == 9 || left == 9)
          try await tracker.remember(replica: replica)
        }
      }
    }
  }
}
