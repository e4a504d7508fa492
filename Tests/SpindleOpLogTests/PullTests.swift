import SpindleCore
import SpindleOpLog
import SpindleTestKit
import Synchronization
import Testing

private func write(_ count: Int, to replica: ModelReplica) {
  for number in 0..<count {
    replica.exec(CellOp(cell: UInt8(number % 5), value: UInt8(number & 0xFF)), at: UInt64(number))
  }
}

@Suite struct PullDriverTests {
  @Test("O-76: a second pull applies nothing and asks for nothing")
  func secondPullAppliesNothing() async throws {
    let (source, target) = (ModelReplica(peer(1)), ModelReplica(peer(2)))
    write(600, to: source)
    let driver = PullDriver(from: source, into: target)
    let report = try await driver.run()
    #expect(report.newCount == 600 && report.peers[peer(1)]?.next == 600)
    #expect(target.image == source.image)
    #expect(source.state.withLock { $0.pages.map(\.from) } == [0, 256, 512])
    #expect(try await driver.run().newCount == 0)
    #expect(try await driver.run().peers.isEmpty)
    #expect(source.state.withLock { $0.pages.count } == 3)
    source.exec(CellOp(cell: 9, value: nil), at: 9)
    #expect(try await driver.run().newCount == 1)
    #expect(source.state.withLock { $0.pages.last?.from } == 600)
  }

  @Test("O-77: a source that lacks what it names stops the peer")
  func missingHistoryStopsThePeer() async throws {
    let (source, target) = (ModelReplica(peer(1)), ModelReplica(peer(2)))
    write(10, to: source)
    source.state.withLock { $0.missing[peer(1)] = Set(4..<10) }
    let outcome = try await PullDriver(from: source, into: target).run().peers[peer(1)]
    #expect(outcome?.newCount == 4 && outcome?.next == 4)
    #expect(outcome?.lacksHistory == true && outcome?.error == nil)
    #expect(source.state.withLock { $0.pages.count } == 2)
  }

  @Test("O-78: a page with a hole is applied up to it and told")
  func holesAreTold() async throws {
    let (source, target) = (ModelReplica(peer(1)), ModelReplica(peer(2)))
    write(10, to: source)
    source.state.withLock { $0.missing[peer(1)] = [4, 5] }
    let outcome = try #require(
      try await PullDriver(from: source, into: target).run().peers[peer(1)])
    #expect(outcome.newCount == 4)
    #expect(await target.cursor(of: peer(1)) == 4)
    guard case .cursorMismatch(peer(1), 4, 6)? = outcome.error as? SyncError else {
      Issue.record("the error was \(String(describing: outcome.error))")
      return
    }
  }

  @Test func oneBadPeerDoesNotStopOthers() async throws {
    let (first, second) = (ModelReplica(peer(1)), ModelReplica(peer(3)))
    let (source, target) = (ModelReplica(peer(4)), ModelReplica(peer(2)))
    for replica in [first, second, source] {
      write(5, to: replica)
      if replica !== source { _ = try await PullDriver(from: replica, into: source).run() }
    }
    let skew = HybridClockError.skew(received: .zero, wallMilliseconds: 0)
    target.state.withLock {
      $0.refusals[peer(1)] = .skew(peer: peer(1), index: 0, skew)
    }
    let report = try await PullDriver(from: source, into: target, skipping: peer(4)).run()
    #expect(report.newCount == 5)
    #expect(report.peers[peer(1)]?.error is SyncError)
    #expect(await target.cursors() == PeerCursors([peer(3): 5]))
    target.state.withLock { $0.refusals = [:] }
    // An own log that was lost comes back with the others, and the writer is told of it first.
    write(2, to: target)
    _ = try await PullDriver(from: target, into: source).run()
    let reborn = ModelReplica(peer(2))
    let others = PullDriver(from: source, into: reborn, skipping: peer(2))
    #expect(try await others.run().newCount == 15)
    #expect(reborn.state.withLock { $0.fence } == 2)
    #expect(await reborn.cursor(of: peer(2)) == 0)
    #expect(try await PullDriver(from: source, into: target).run().newCount == 10)
    #expect(target.image == source.image)
  }

  @Test func anEntryThatFailsLeavesThoseBeforeIt() async throws {
    let (source, target) = (ModelReplica(peer(1)), ModelReplica(peer(2)))
    write(10, to: source)
    target.state.withLock {
      $0.refusals[peer(1)] = .conflict(peer: peer(1), index: 4)
      $0.firstRefused = 4
    }
    let outcome = try #require(
      try await PullDriver(from: source, into: target).run().peers[peer(1)])
    #expect(outcome.error is SyncError)
    #expect(outcome.newCount == 4 && outcome.next == 4)
    #expect(await target.cursor(of: peer(1)) == 4)
  }

  @Test func cancellingLosesNothing() async throws {
    let (source, target) = (ModelReplica(peer(1), pageLimit: 3), ModelReplica(peer(2)))
    write(300, to: source)
    for _ in 0..<20 {
      let pull = Task { try await PullDriver(from: source, into: target).run() }
      await Task.yield()
      pull.cancel()
      _ = await pull.result
      #expect(await target.cursor(of: peer(1)) <= 300)
    }
    _ = try await PullDriver(from: source, into: target).run()
    #expect(target.image == source.image)
  }
}

@Suite struct ConvergenceDriverTests {
  /// Runs the body while the drivers run.
  private func running(
    _ drivers: [ConvergenceDriver<CellOp>], _ body: () async throws -> Void
  ) async throws {
    let tasks = drivers.map { driver in Task { try await driver.run() } }
    defer { for task in tasks { task.cancel() } }
    try await body()
    for task in tasks { task.cancel() }
    for task in tasks {
      let result = await task.result
      #expect(throws: CancellationError.self) { try result.get() }
    }
  }

  @Test func twoDriversConvergeWhileBothWrite() async throws {
    let replicas = [ModelReplica(peer(1), pageLimit: 7), ModelReplica(peer(2), pageLimit: 7)]
    let clock = ManualClock()
    let drivers = [
      ConvergenceDriver(from: replicas[0], into: replicas[1], clock: clock),
      ConvergenceDriver(from: replicas[1], into: replicas[0], clock: clock),
    ]
    try await running(drivers) {
      for number in 0..<200 {
        for replica in replicas {
          replica.exec(CellOp(cell: UInt8(number % 9), value: UInt8(number)), at: UInt64(number))
        }
        await Task.yield()
      }
      try await eventually { replicas[0].image == replicas[1].image }
      try await eventually { drivers.allSatisfy { $0.progress.values.allSatisfy { $0.lag == 0 } } }
      #expect(drivers.map(\.newCount) == [200, 200])
      #expect(replicas[0].image.logs[peer(2)]?.count == 200)
    }
  }

  @Test func aPeerThatFailsRestsLongerEachTimeAndOthersGoOn() async throws {
    let (source, target) = (ModelReplica(peer(1)), ModelReplica(peer(2)))
    let other = ModelReplica(peer(3))
    write(5, to: source)
    write(5, to: other)
    _ = try await PullDriver(from: other, into: source).run()
    target.state.withLock {
      $0.refusals[peer(1)] = .blocked(
        peer: peer(1), index: 0, reason: "closed", isRetryable: true)
    }
    let clock = ManualClock()
    var settings = ConvergenceSettings()
    settings.pollInterval = nil
    settings.backoff = .milliseconds(100)...(.milliseconds(450))
    let driver = ConvergenceDriver(from: source, into: target, settings: settings, clock: clock)
    try await running([driver]) {
      for (attempt, rest) in [100, 200, 400, 450, 450].enumerated() {
        try await eventually { driver.progress[peer(1)]?.pause?.attemptCount == attempt + 1 }
        let pause = try #require(driver.progress[peer(1)]?.pause)
        #expect(pause.reason == "blocked" && pause.error is SyncError)
        #expect(pause.until - clock.now == .milliseconds(rest))
        try await eventually { clock.sleeperCount == 1 }
        clock.advance(by: .milliseconds(rest - 1))
        #expect(clock.sleeperCount == 1)
        clock.advance(by: .milliseconds(1))
      }
      #expect(await target.cursors() == PeerCursors([peer(3): 5]))
      #expect(driver.progress[peer(1)]?.lag == 5)
      try await eventually { driver.progress[peer(1)]?.pause?.attemptCount == 6 }
      target.state.withLock { $0.refusals = [:] }
      try await eventually { clock.sleeperCount == 1 }
      clock.advance(by: .milliseconds(450))
      try await eventually { driver.progress[peer(1)]?.lag == 0 }
      #expect(target.image == source.image)
      #expect(driver.progress[peer(1)]?.pause == nil)
    }
  }

  @Test("O-77: a driver waits for history that is missing, and does not spin")
  func missingHistoryIsWaitedFor() async throws {
    let (source, target) = (ModelReplica(peer(1)), ModelReplica(peer(2)))
    write(10, to: source)
    source.state.withLock { $0.missing[peer(1)] = [4, 5, 6, 7, 8, 9] }
    let clock = ManualClock()
    var settings = ConvergenceSettings()
    settings.pollInterval = nil
    let driver = ConvergenceDriver(from: source, into: target, settings: settings, clock: clock)
    try await running([driver]) {
      try await eventually { driver.progress[peer(1)]?.pause?.reason == "missing_history" }
      #expect(driver.progress[peer(1)]?.lag == 6)
      try await eventually { clock.sleeperCount == 1 }
      #expect(source.state.withLock { $0.pages.count } == 2)
      source.state.withLock { $0.missing = [:] }
      clock.advance(by: .seconds(60))
      try await eventually { target.image == source.image }
    }
  }

  @Test func aSourceThatTellsNothingIsAskedInIntervals() async throws {
    let (source, target) = (ModelReplica(peer(1)), ModelReplica(peer(2)))
    let clock = ManualClock()
    let driver = ConvergenceDriver(from: QuietSource(source), into: target, clock: clock)
    try await running([driver]) {
      try await eventually { clock.sleeperCount == 1 }
      write(3, to: source)
      clock.advance(by: .seconds(1))
      try await eventually { target.image == source.image }
    }
  }

  @Test func aFirstAskThatFailsIsRepeatedAndNoSettingMakesItSpin() async throws {
    let (source, target) = (ModelReplica(peer(1)), ModelReplica(peer(2)))
    write(3, to: source)
    let folder = ChangingSource(source)
    folder.told.withLock { $0 = nil }
    let clock = ManualClock()
    var settings = ConvergenceSettings()
    settings.pollInterval = nil
    settings.backoff = .zero...(.zero)
    let driver = ConvergenceDriver(from: folder, into: target, settings: settings, clock: clock)
    try await running([driver]) {
      try await eventually { clock.sleeperCount == 1 }
      #expect(driver.sourceError is SpindleError)
      // It rests a millisecond at least.
      clock.advance(by: .microseconds(999))
      #expect(clock.sleeperCount == 1)
      folder.told.withLock { $0 = LogSurvey(cursors: PeerCursors([peer(1): 3])) }
      clock.advance(by: .microseconds(1))
      try await eventually { target.image == source.image }
      #expect(driver.sourceError == nil && clock.sleeperCount == 0)
    }
  }

  @Test func whatASourceLostIsNoLongerKnown() async throws {
    let (source, target) = (ModelReplica(peer(1)), ModelReplica(peer(2)))
    write(3, to: source)
    let folder = ChangingSource(source)
    folder.told.withLock { $0 = LogSurvey(cursors: PeerCursors([peer(1): 9])) }
    let clock = ManualClock()
    let driver = ConvergenceDriver(from: folder, into: target, clock: clock)
    try await running([driver]) {
      try await eventually { driver.progress[peer(1)]?.pause?.reason == "missing_history" }
      #expect(driver.progress[peer(1)]?.lag == 6)
      folder.told.withLock { $0 = LogSurvey(cursors: PeerCursors([peer(1): 3])) }
      try await eventually {
        clock.advance(by: .seconds(1))
        return driver.progress[peer(1)]?.lag == 0 && driver.progress[peer(1)]?.pause == nil
      }
      #expect(target.image == source.image)
      // What cannot be read is told, although nothing is left to pull.
      let failure = SpindleError(.io, "the disk is gone", reason: "test")
      folder.told.withLock {
        $0 = LogSurvey(cursors: PeerCursors([peer(1): 3]), failures: [peer(3): failure])
      }
      try await eventually {
        clock.advance(by: .seconds(1))
        return driver.progress[peer(3)]?.pause?.reason == "test"
      }
      #expect(driver.progress[peer(1)]?.pause == nil)
    }
  }

  @Test func theEndOfTheSourceEndsTheDriver() async throws {
    let (source, target) = (ModelReplica(peer(1)), ModelReplica(peer(2)))
    write(3, to: source)
    let driver = ConvergenceDriver(from: source, into: target, clock: ManualClock())
    let run = Task { try await driver.run() }
    try await eventually { target.image == source.image }
    await expectError(.conflict, reason: "driver_busy") { try await driver.run() }
    source.close()
    try await run.value
  }

  @Test func theOwnPeerCanBeLeftOut() async throws {
    let (source, target) = (ModelReplica(peer(1)), ModelReplica(peer(2)))
    let other = ModelReplica(peer(3))
    write(3, to: source)
    write(3, to: other)
    _ = try await PullDriver(from: other, into: source).run()
    var settings = ConvergenceSettings()
    settings.skippedPeer = peer(1)
    let driver = ConvergenceDriver(
      from: source, into: target, settings: settings, clock: ManualClock())
    try await running([driver]) {
      try await eventually { await target.cursor(of: peer(3)) == 3 }
      source.exec(CellOp(cell: 1, value: 1), at: 9)
      other.exec(CellOp(cell: 1, value: 1), at: 9)
      _ = try await PullDriver(from: other, into: source).run()
      try await eventually { await target.cursor(of: peer(3)) == 4 }
      #expect(await target.cursors() == PeerCursors([peer(3): 4]))
      #expect(driver.progress.count == 1)
    }
  }
}

/// A source whose watch tells what was there at its beginning only, as a folder does.
private struct QuietSource: LogSource {
  let source: ModelReplica
  private let board = CursorBoard(PeerCursors())
  init(_ source: ModelReplica) { self.source = source }

  func cursors() async -> PeerCursors { await source.cursors() }
  func cursor(of peer: PeerID) async -> UInt64 { await source.cursor(of: peer) }
  func watchCursors() -> CursorWatch { board.watch() }
  func readSince(peer: PeerID, from index: UInt64) async throws -> ModelReplica.Page {
    try await source.readSince(peer: peer, from: index)
  }
}

/// A source that tells what it is told to; nil cannot be asked.
private final class ChangingSource: LogSource {
  let source: ModelReplica
  let told = Mutex<LogSurvey?>(LogSurvey(cursors: PeerCursors()))
  private let board = CursorBoard(PeerCursors())
  init(_ source: ModelReplica) { self.source = source }

  func survey() async throws -> LogSurvey {
    guard let survey = told.withLock({ $0 }) else { throw SpindleError(.io, "asked too early") }
    return survey
  }
  func cursors() async throws -> PeerCursors { try await survey().cursors }
  func cursor(of peer: PeerID) async throws -> UInt64 { try await survey().cursors[peer] }
  func watchCursors() -> CursorWatch { board.watch() }
  func readSince(peer: PeerID, from index: UInt64) async throws -> ModelReplica.Page {
    try await source.readSince(peer: peer, from: index)
  }
}
