import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// Peers whose log may be another one here than there, and how it comes to be known.
extension AcknowledgementTests {
  /// A log whose heads cannot be had of some peers, and that repeats what it was given as the words
  /// of others.
  private final class Hearsay: LogSource {
    typealias Op = Note
    private let log: Log
    private let words: [PeerID: PeerCursors]
    let silent: Mutex<Set<PeerID>>
    private let unreadable: Set<PeerID>
    let told = Mutex<[PeerID: PeerCursors]>([:])

    init(
      _ log: Log, words: [PeerID: PeerCursors], silent: Set<PeerID> = [],
      unreadable: Set<PeerID> = []
    ) {
      self.log = log
      self.words = words
      self.silent = Mutex(silent)
      self.unreadable = unreadable
    }

    func cursors() async throws -> PeerCursors { log.cursors() }
    func cursor(of peer: PeerID) async throws -> UInt64 { log.cursor(of: peer) }
    func watchCursors() -> CursorWatch { log.watchCursors() }
    func readSince(
      peer: PeerID, from index: UInt64
    ) async throws -> [(index: UInt64, entry: DecodedEntry<Note>)] {
      if unreadable.contains(peer) { throw SpindleError(.io, "\(peer) cannot be read") }
      return try await log.readSince(peer: peer, from: index)
    }
    func chainHead(of peer: PeerID, before index: UInt64) async throws -> ChainHead? {
      if silent.withLock({ $0.contains(peer) }) {
        throw SpindleError(.io, "the head of \(peer) cannot be read")
      }
      return try await log.chainHead(of: peer, before: index)
    }
    func acknowledgements() async throws -> [PeerID: PeerCursors] { words }
    func acknowledge(
      replica: PeerID, cursors: PeerCursors, except doubtful: Set<PeerID>
    ) async throws {
      let believed = cursors.sorted.filter { !doubtful.contains($0.peer) }
      told.withLock {
        $0[replica] = PeerCursors(Dictionary(uniqueKeysWithValues: believed.map { ($0, $1) }))
      }
      // To the writer of another log of the same name it would be the mark of a backup.
      if log.selfID == replica { return }
      try await log.acknowledge(replica: replica, cursors: cursors, except: doubtful)
    }
  }

  /// A replica comes back from a backup that is older than all of a peer, and cannot have it yet.
  @Test(arguments: [true, false])
  func whatAReplicaHasNothingOfIsHeldBackForIt(converges: Bool) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let (one, two) = (
          try await log(store, "one", peer(1)), try await log(store, "two", peer(2))
        )
        try await exec(one, 10)
        _ = try await PullDriver(from: one, into: two).run()
        #expect(try await one.tracker.acknowledgements()[peer(2)]?[peer(1)] == 10)
        let restored = try await log(store, "restored", peer(2))
        let source = Hearsay(one, words: [:], unreadable: [peer(1)])
        if converges {
          var settings = ConvergenceSettings()
          settings.pollInterval = .milliseconds(5)
          let driver = ConvergenceDriver(from: source, into: restored, settings: settings)
          let running = Task { try await driver.run() }
          try await eventually {
            try await one.tracker.acknowledgements()[peer(2)]?[peer(1)] == 0
          }
          running.cancel()
          _ = await running.result
        } else {
          _ = try await PullDriver(from: source, into: restored).run()
        }
        #expect(try await one.tracker.acknowledgements()[peer(2)] == PeerCursors())
        #expect(try await one.tracker.trim(below: PeerCursors([peer(1): 10])).rows == 0)
        #expect(try await PullDriver(from: one, into: restored).run().newCount == 10)
        #expect(try await findings(store, "one") == [])
      }
    }
  }

  /// The file of a folder has no room to say that a peer is in doubt: it tells what it told before.
  @Test func theFolderTellsOfPeersInDoubtWhatItToldBefore() async throws {
    try await withSharedFolder { _, _, left, right in
      let all = PeerCursors([peer(1): 5, peer(3): 2])
      try await right.acknowledge(replica: peer(2), cursors: all)
      let less = PeerCursors([peer(3): 1])
      try await right.acknowledge(replica: peer(2), cursors: less, except: [peer(1), peer(4)])
      #expect(
        try await left.acknowledgements()[peer(2)] == PeerCursors([peer(1): 5, peer(3): 1]))
      // More than is here it must not tell, whatever the history.
      for (here, told) in [(9, 5), (4, 4)] as [(UInt64, UInt64)] {
        try await right.acknowledge(
          replica: peer(2), cursors: PeerCursors([peer(1): here, peer(3): 1]), except: [peer(1)])
        #expect(
          try await left.acknowledgements()[peer(2)] == PeerCursors([peer(1): told, peer(3): 1]))
      }
      try await right.acknowledge(replica: peer(2), cursors: less)
      #expect(try await left.acknowledgements()[peer(2)] == less)
    }
  }

  /// A replica whose word cannot be read keeps nobody else's back, and is told of.
  @Test func anUnreadableWordKeepsNoOtherBack() async throws {
    try await withSharedFolder { one, two, left, right in
      try await exec(one, 10)
      _ = try await Publisher(log: one, sink: left.sink).sync()
      let place = try TestDirectory.path("logs") + "/\(peer(3))"
      for path in [place, place + "/cursors"] { #expect(try Files.makeDirectory(path)) }
      let pulled = try await PullDriver(from: right, into: two).run()
      #expect(pulled.newCount == 10 && pulled.acknowledgementError == nil)
      let report = try await PullDriver(from: left, into: one).run()
      #expect(report.acknowledgementError == nil)
      #expect(
        try await one.tracker.acknowledgements() == [peer(2): PeerCursors([peer(1): 10])])
      #expect(try await left.survey().failures[peer(3)]?.kind == .io)
      #expect(Files.removeEmptyDirectory(place + "/cursors"))
      #expect(try await left.acknowledgements()[peer(3)] == nil)
      #expect(try await left.survey().failures.isEmpty)
    }
  }

  /// The source was behind, and got another history than the target has.
  @Test(arguments: [Duration.milliseconds(5), nil])
  func aForkOfAPulledPeerIsToldWhenItGrows(interval: Duration?) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let (one, behind) = (
          try await log(store, "one", peer(1)), try await log(store, "behind", peer(2))
        )
        let target = try await log(store, "target", peer(3))
        try await exec(one, 5)
        _ = try await PullDriver(from: one, into: behind).run()
        try await exec(one, 5)
        _ = try await PullDriver(from: one, into: target).run()
        let source = Hearsay(behind, words: [peer(9): PeerCursors([peer(1): 10])])
        var settings = ConvergenceSettings()
        settings.pollInterval = interval
        let driver = ConvergenceDriver(from: source, into: target, settings: settings)
        let running = Task { try await driver.run() }
        try await eventually {
          source.told.withLock { $0[peer(3)]?[peer(1)] } == 10
        }
        let entry = LogEntry(
          serverUser: nil, timestamp: Timestamp(packed: 1), op: Note("another"))
        for index in 5..<10 as Range<UInt64> {
          _ = try await behind.apply(peer: peer(1), index: index, entry: .logEntry(entry))
        }
        try await eventually { driver.progress[peer(1)]?.pause?.reason == "conflict" }
        try await eventually { source.told.withLock { $0[peer(3)]?[peer(1)] } == 0 }
        running.cancel()
        _ = await running.result
      }
    }
  }

  // MARK: Comparing

  @Test func aPeerThatCannotBeComparedIsNotAcknowledged() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let (one, two, three) = (
          try await log(store, "one", peer(1)), try await log(store, "two", peer(2)),
          try await log(store, "three", peer(3))
        )
        try await exec(one, 10)
        try await exec(three, 2)
        for source in [one, three] {
          let plain = Hearsay(source, words: [:])
          _ = try await PullDriver(from: plain, into: two).run()
        }
        _ = try await PullDriver(from: Hearsay(three, words: [:]), into: one).run()
        let all = PeerCursors([peer(1): 10, peer(3): 2])
        let source = Hearsay(one, words: [peer(9): all], silent: [peer(1)])
        let report = try await PullDriver(from: source, into: two).run()
        #expect(report.acknowledgementError == nil && report.peers[peer(1)]?.error != nil)
        #expect(
          try await two.tracker.acknowledgements()[peer(9)] == PeerCursors([peer(3): 2]))
        #expect(source.told.withLock { $0[peer(2)] } == PeerCursors([peer(3): 2]))
      }
    }
  }

  /// The own log is not pulled, but the source may have another one under its name.
  @Test(arguments: [true, false], [true, false])
  func theSkippedPeerIsComparedBeforeItIsAcknowledged(
    isSame: Bool, converges: Bool
  ) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let one = try await log(store, "one", peer(1))
        let other = try await log(store, "other", isSame ? peer(2) : peer(1))
        try await exec(one, 5)
        if isSame {
          _ = try await PullDriver(from: Hearsay(one, words: [:]), into: other).run()
        } else {
          try await other.exec(Note("another"))
          try await exec(other, 4)
        }
        let own = PeerCursors([peer(1): 5])
        let source = Hearsay(other, words: [peer(9): own])
        if converges {
          var settings = ConvergenceSettings()
          settings.skippedPeer = peer(1)
          settings.pollInterval = .milliseconds(5)
          let driver = ConvergenceDriver(from: source, into: one, settings: settings)
          let running = Task { try await driver.run() }
          try await eventually { source.told.withLock { $0[peer(1)] != nil } }
          running.cancel()
          _ = await running.result
        } else {
          let report = try await PullDriver(from: source, into: one, skipping: peer(1)).run()
          #expect((report.peers[peer(1)]?.error == nil) == isSame)
        }
        let expected = isSame ? own : PeerCursors()
        #expect(try await one.tracker.acknowledgements()[peer(9)] == expected)
        #expect(source.told.withLock { $0[peer(1)] } == expected)
      }
    }
  }

  /// The source gets another log of the skipped peer while a driver runs.
  @Test(arguments: [Duration.milliseconds(5), nil])
  func aForkOfTheSkippedPeerIsToldWhenItAppears(interval: Duration?) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let (one, other) = (
          try await log(store, "one", peer(1)), try await log(store, "other", peer(1))
        )
        try await exec(one, 5)
        let source = Hearsay(other, words: [:])
        var settings = ConvergenceSettings()
        settings.skippedPeer = peer(1)
        settings.pollInterval = interval
        let driver = ConvergenceDriver(from: source, into: one, settings: settings)
        let running = Task { try await driver.run() }
        try await eventually {
          source.told.withLock { $0[peer(1)] == PeerCursors([peer(1): 5]) }
        }
        #expect(driver.acknowledgementError == nil)
        try await other.exec(Note("another"))
        try await eventually {
          if case SyncError.conflict(peer(1), 0)? = driver.acknowledgementError {
            true
          } else {
            false
          }
        }
        #expect(source.told.withLock { $0[peer(1)] } == PeerCursors())
        running.cancel()
        _ = await running.result
      }
    }
  }

  /// Without polls nothing but the driver itself asks again.
  @Test func aComparisonThatFailedIsMadeAgain() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let (one, other) = (
          try await log(store, "one", peer(1)), try await log(store, "other", peer(2))
        )
        try await exec(one, 5)
        _ = try await PullDriver(from: Hearsay(one, words: [:]), into: other).run()
        let source = Hearsay(other, words: [:], silent: [peer(1)])
        var settings = ConvergenceSettings()
        settings.skippedPeer = peer(1)
        settings.pollInterval = nil
        let clock = ManualClock()
        let driver = ConvergenceDriver(from: source, into: one, settings: settings, clock: clock)
        let running = Task { try await driver.run() }
        // Only the poll sleeps: it came to its end once, and goes on.
        try await eventually {
          clock.sleeperCount > 0 && source.told.withLock { $0[peer(1)] } == PeerCursors()
            && (driver.acknowledgementError as? SpindleError)?.kind == .io
        }
        source.silent.withLock { $0 = [] }
        try await eventually {
          clock.advance(by: .seconds(1))
          return source.told.withLock { $0[peer(1)] } == PeerCursors([peer(1): 5])
            && driver.acknowledgementError == nil
        }
        running.cancel()
        _ = await running.result
      }
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
