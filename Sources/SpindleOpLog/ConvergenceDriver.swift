public import SpindleCore
internal import SpindleStore
internal import Synchronization

/// How a ``ConvergenceDriver`` pulls.
public struct ConvergenceSettings: Sendable {
  /// A peer that is never pulled, and only compared: the own one, once its history is here. The
  /// default is nil.
  public var skippedPeer: PeerID?
  /// How often the source is asked for its cursors, besides being watched: a folder does not tell
  /// by itself that files have come. The default is 1 s, the least 1 ms; nil asks until it was
  /// answered once, and again when source and target could not tell each other what they have, with
  /// the rests of ``backoff``.
  public var pollInterval: Duration? = .seconds(1)
  /// How long a peer that failed rests: the first time, and at most. Each failure in a row doubles
  /// the time. The default is 100 ms to 60 s, the least 1 ms.
  public var backoff = Duration.milliseconds(100)...Duration.seconds(60)
  /// The most peers that are pulled at once; each holds one page in memory. The default is 4.
  public var concurrentPeerLimit = 4
  /// The label `driver` of its metrics.
  public var name = "pull"
  /// How many peers have a metric of their own for their lag. The default is 32.
  public var measuredPeerLimit = 32

  public init() {}
}

/// How far a ``ConvergenceDriver`` has come with one peer.
public struct PeerProgress: Sendable {
  public enum Phase: Sendable {
    /// The target has what the source is known to have, and the source can read all it has.
    case drained
    /// Its turn comes.
    case waiting
    case pulling
    /// It rests after a failure, then it is tried again.
    case paused(PullPause)
  }

  /// The peer's next index in the target, as the driver last saw it.
  public fileprivate(set) var next: UInt64
  /// The peer's next index in the source, as it was told last.
  public fileprivate(set) var known: UInt64
  public fileprivate(set) var phase: Phase

  /// How many entries the target lacks.
  public var lag: UInt64 { known > next ? known - next : 0 }

  /// Why the peer rests; nil when it does not.
  public var pause: PullPause? { if case .paused(let pause) = phase { pause } else { nil } }
}

/// Why a peer is not pulled for now.
public struct PullPause: Sendable {
  /// A fixed word: `clock_skew`, `blocked`, `conflict`, `cursor_mismatch`, `non_monotonic`,
  /// `compacted`, `missing_history` where the source lacks entries before those it has, the reason
  /// of a ``SpindleError`` such as `corrupt_segment`, or `failed`.
  public let reason: String
  /// What was thrown; nil for `missing_history`.
  public let error: (any Error)?
  /// How many times in a row it came to nothing.
  public let attemptCount: Int
  /// When the next attempt is made, by the driver's clock.
  public let until: ContinuousClock.Instant

  static func reason(of error: (any Error)?) -> String {
    switch error {
    case nil: "missing_history"
    case .some(let error as SpindleError): error.reason ?? error.kind.description
    case .some(SyncError.skew): "clock_skew"
    case .some(SyncError.blocked): "blocked"
    case .some(SyncError.conflict): "conflict"
    case .some(SyncError.cursorMismatch): "cursor_mismatch"
    case .some(SyncError.nonMonotonicTimestamp): "non_monotonic"
    case .some(SyncError.compacted): "compacted"
    case .some(SyncError.backend(let error)): reason(of: error)
    case .some(is CancellationError): "cancelled"
    case .some: "failed"
    }
  }
}

/// Keeps a target up with a source: watches the source's cursors and pulls each peer's gap.
///
/// Each peer is pulled by one task at a time, its entries in order. A peer that fails rests, longer
/// each time, and does not stop the others; so does one that the source names and does not have
/// wholly. What a driver does is never more than a ``PullDriver`` does, so any number may run on
/// one target, and cancelling loses nothing. Two drivers make two replicas converge.
///
/// With a swift-metrics backend bound before it is made, it tells lags, pauses and what it pulled;
/// `Documentation/oplog.md` lists the metrics.
public final class ConvergenceDriver<Op: Sendable>: Sendable {
  private struct Peer {
    var progress: PeerProgress
    /// What the source told last that is wrong with the peer.
    var failure: SpindleError?
    /// Below which index its log was found to be one here and there; nil where it was not compared
    /// or has two histories. Above it nobody has compared, and nobody is told who has it.
    var same: UInt64?
    var failureCount = 0

    /// Whether all of it that both sides have is known to be the same.
    ///
    /// - Parameter ours: What the target has by now.
    func isSame(ours: UInt64 = 0) -> Bool {
      same.map { min(max(progress.next, ours), progress.known) <= $0 } ?? false
    }
  }

  /// The peer that is only compared.
  private struct Skipped {
    /// Where the source's log of it ends.
    var known: UInt64 = 0
    /// Below which index it was found to be the one that is here. Above it nobody has compared.
    var same: UInt64 = 0
    /// Why it is not the same, or could not be compared, the last time.
    var failure: (any Error)?
  }

  /// What is here, and the peers of which it can only tell less than before.
  private struct Word: Equatable {
    var cursors: PeerCursors
    var doubtful: Set<PeerID>
  }

  private struct State {
    var peers: [PeerID: Peer] = [:]
    /// Peers whose phase is `waiting`, in the order in which they came to be.
    var queue: [PeerID] = []
    var pullingCount = 0
    var newCount = 0
    var skipped = Skipped()
    var isRunning = false
    /// Two, because one that works does not heal the other.
    var askError: (any Error)?
    var tellError: (any Error)?
    var acknowledgeError: (any Error)?
    /// What the watch told since the source was asked for what it has.
    var news = PeerCursors()
    /// What the source was told the last time, and what it had then.
    var told: (ours: Word, known: PeerCursors)?
    /// What the source told of others the last time, and what the target had then.
    var heard: (replicas: [PeerID: PeerCursors], ours: Word)?

    func doubtful(ours: PeerCursors) -> Set<PeerID> {
      Set(peers.filter { !$0.value.isSame(ours: ours[$0.key]) }.keys)
    }

    mutating func learn(_ peer: PeerID, known: UInt64, ours: UInt64) {
      var entry =
        peers[peer] ?? Peer(progress: PeerProgress(next: ours, known: 0, phase: .drained))
      entry.progress.known = known
      entry.progress.next = max(entry.progress.next, ours)
      // What takes the place of what was lost may be something else.
      entry.same = entry.same.map { min($0, known) }
      peers[peer] = entry
    }

    mutating func enqueueIfDue(_ peer: PeerID) {
      guard let entry = peers[peer], case .drained = entry.progress.phase,
        entry.progress.lag > 0 || entry.failure != nil || !entry.isSame()
      else { return }
      peers[peer]?.progress.phase = .waiting
      queue.append(peer)
    }
  }

  private let pull: PeerPull<Op>
  private let settings: ConvergenceSettings
  private let clock: any StoreClock
  private let metrics: PullMetrics?
  private let state = Mutex(State())
  /// Source and target tell each other one word after the other: an older one that came last would
  /// be taken for that of a replica that was restored.
  private let telling: Permits

  /// - Parameter clock: For intervals and rests. The default is the system's.
  public init(
    from source: any LogSource<Op>, into target: any LogProcessor<Op>,
    settings: ConvergenceSettings = ConvergenceSettings(), clock: any StoreClock = SystemClock()
  ) {
    pull = PeerPull(source: source, target: target)
    self.settings = settings
    self.clock = clock
    telling = Permits(1, clock: clock)
    metrics = PullMetrics(driver: settings.name, peerLimit: settings.measuredPeerLimit)
  }

  /// Every peer of the source, with how far it is pulled.
  public var progress: [PeerID: PeerProgress] {
    state.withLock { $0.peers.mapValues(\.progress) }
  }

  /// How many entries were applied that the target did not have.
  public var newCount: Int { state.withLock { $0.newCount } }

  /// Why the source could not be asked for its cursors the last time, or the target not be told of
  /// them; nil when both worked.
  public var sourceError: (any Error)? { state.withLock { $0.askError ?? $0.tellError } }

  /// Why source and target could not tell each other what they have the last time, or nothing of
  /// the peer that is skipped: ``SyncError/conflict(peer:index:)`` where it has two histories. Nil
  /// when they told all. Tried again with the next poll, which comes for it where there are no
  /// intervals; until then their logs are not trimmed further.
  public var acknowledgementError: (any Error)? { state.withLock { $0.acknowledgeError } }

  /// Pulls until the task is cancelled or the source is closed.
  ///
  /// - Throws: `CancellationError`; ``SpindleError`` with `conflict`, reason `driver_busy`, while
  ///   another call runs.
  public func run() async throws {
    let isFirst = state.withLock { state in
      defer { state.isRunning = true }
      return !state.isRunning
    }
    guard isFirst else {
      throw SpindleError(
        .conflict, "the driver runs already; expected one call at a time", reason: "driver_busy")
    }
    // One wake-up that nobody took yet is enough: whoever takes it looks at everything.
    let (wakes, wake) = AsyncStream.makeStream(
      of: Void.self, bufferingPolicy: .bufferingNewest(1))
    // So is one request to ask the source again.
    let (requests, request) = AsyncStream.makeStream(
      of: Void.self, bufferingPolicy: .bufferingNewest(1))
    await withDiscardingTaskGroup { group in
      group.addTask { await self.watch(wake, request) }
      group.addTask { await self.poll(wake, requests) }
      if metrics != nil { group.addTask { await self.publishRepeatedly() } }
      for await _ in wakes {
        for (peer, known) in takeDue() {
          group.addTask { await self.serve(peer, upTo: known, wake, request) }
        }
      }
      group.cancelAll()
    }
    state.withLock { state in
      // What was cut short is found again by the next call.
      state.peers = [:]
      state.queue = []
      state.skipped = Skipped()
      state.pullingCount = 0
      state.isRunning = false
    }
    try Task.checkCancellation()
  }

  // MARK: Metrics

  /// How often the gauges are refreshed.
  private static var publishInterval: Duration { .seconds(5) }

  /// Refreshes the driver's gauges at once; it does so by itself every 5 s while it runs. Does
  /// nothing in a process that had no metrics backend when the driver was made.
  ///
  /// - Complexity: O(peers of the source).
  public func publishMetrics() {
    guard let metrics else { return }
    metrics.publish(
      state.withLock { state in
        var levels = PullMetrics.Levels()
        for (peer, entry) in state.peers {
          levels.peers += 1
          if entry.progress.pause != nil { levels.paused += 1 }
          levels.lags[peer] = entry.progress.lag
        }
        return levels
      })
  }

  private func publishRepeatedly() async {
    while !Task.isCancelled {
      publishMetrics()
      try? await clock.sleep(until: clock.now + Self.publishInterval)
    }
  }

  // MARK: What the source has

  private func watch(
    _ wake: AsyncStream<Void>.Continuation, _ request: AsyncStream<Void>.Continuation
  ) async {
    for await event in pull.source.watchCursors() {
      switch event {
      case .snapshot(let cursors), .advanced(let cursors): await learn(cursors, request)
      }
      wake.yield()
    }
    wake.finish()
  }

  /// - Parameter requests: To ask the source again although it is not asked at intervals.
  private func poll(
    _ wake: AsyncStream<Void>.Continuation, _ requests: AsyncStream<Void>
  ) async {
    var requests = requests.makeAsyncIterator()
    var failureCount = 0
    repeat {
      var isWhole = false
      do {
        let ours = try await pull.target.cursors()
        state.withLock { $0.news = PeerCursors() }
        let survey = try await pull.source.survey()
        state.withLock { $0.askError = nil }
        await learn(survey, ours: ours)
        await acknowledge()
        isWhole = survey.failures.isEmpty && sourceError == nil && !failedToTell
      } catch {
        state.withLock { $0.askError = error }
        metrics?.sourceFailed(error)
      }
      wake.yield()
      failureCount = isWhole ? 0 : failureCount + 1
      if let interval = settings.pollInterval {
        try? await clock.sleep(until: clock.now + max(interval, Self.leastRest))
        continue
      }
      if isWhole, await requests.next() == nil { return }
      try? await clock.sleep(until: clock.now + rest(after: failureCount))
    } while !Task.isCancelled
  }

  /// Whether source and target could not tell each other what they have. That the skipped peer has
  /// two histories is an answer.
  private var failedToTell: Bool {
    guard let failure = acknowledgementError else { return false }
    if case .conflict? = failure as? SyncError { return false }
    return true
  }

  /// Takes in what the source has now, which may be less than before: a folder can lose files. What
  /// the watch told meanwhile may be newer.
  private func learn(_ survey: LogSurvey, ours: PeerCursors) async {
    await tellTarget(survey.cursors)
    state.withLock { state in
      var cursors = survey.cursors
      cursors.merge(state.news)
      if let peer = settings.skippedPeer {
        state.skipped.known = cursors[peer]
        // What takes the place of what was lost may be something else.
        state.skipped.same = min(state.skipped.same, state.skipped.known)
      }
      let known = Set(cursors.sorted.map(\.peer)).union(survey.failures.keys)
      for peer in known.union(state.peers.keys) where peer != settings.skippedPeer {
        state.learn(peer, known: cursors[peer], ours: ours[peer])
        state.peers[peer]?.failure = survey.failures[peer]
        state.enqueueIfDue(peer)
      }
    }
  }

  /// Takes in what the source's watch tells, which only rises.
  private func learn(
    _ cursors: PeerCursors, _ request: AsyncStream<Void>.Continuation
  ) async {
    await tellTarget(cursors)
    let isOfSkipped = state.withLock { state in
      state.news.merge(cursors)
      for (peer, known) in cursors.sorted where peer != settings.skippedPeer {
        let before = state.peers[peer]?.progress.known ?? 0
        state.learn(peer, known: max(before, known), ours: 0)
        state.enqueueIfDue(peer)
      }
      guard let peer = settings.skippedPeer, cursors[peer] > state.skipped.known else {
        return false
      }
      state.skipped.known = cursors[peer]
      return true
    }
    // Nobody is served for it, and without polls nobody else compares it.
    if isOfSkipped { await acknowledgeWhereDrained(request) }
  }

  private func tellTarget(_ cursors: PeerCursors) async {
    var failure: (any Error)?
    do { try await pull.target.noteElsewhere(cursors) } catch { failure = error }
    state.withLock { [failure] in $0.tellError = failure }
  }

  /// With polls the next one tells, so that a stream of entries does not cost a sync each.
  private func acknowledgeWhereDrained(_ request: AsyncStream<Void>.Continuation) async {
    let isDrained = state.withLock { $0.pullingCount == 0 && $0.queue.isEmpty }
    guard settings.pollInterval == nil, isDrained else { return }
    await acknowledge()
    if failedToTell { request.yield() }
  }

  /// Lets source and target tell each other what they have, where it is not what they told the last
  /// time. What others told the source is asked for in any case: it changes while the log rests.
  private func acknowledge() async {
    guard (try? await telling.acquire(until: nil)) != nil else { return }
    defer { telling.release() }
    var failure: (any Error)?
    do {
      let known = state.withLock { state in
        var known = PeerCursors(state.peers.mapValues(\.progress.known))
        if let peer = settings.skippedPeer { known.advance(peer, to: state.skipped.known) }
        return known
      }
      let cursors = try await pull.target.cursors()
      let doubtful = await doubtfulPeers(ours: cursors)
      let ours = Word(cursors: cursors, doubtful: doubtful)
      do {
        let replicas = try await pull.source.acknowledgements()
        if !state.withLock({ $0.heard.map { $0 == (replicas, ours) } ?? false }) {
          try await pull.target.noteAcknowledged(by: replicas, except: doubtful)
          state.withLock { $0.heard = (replicas, ours) }
        }
      } catch {
        // What others said is one thing, what is said to them another.
        failure = error
      }
      if !state.withLock({ $0.told.map { $0 == (ours, known) } ?? false }) {
        try await pull.target.acknowledge(to: pull.source, except: doubtful)
        state.withLock { $0.told = (ours, known) }
      }
    } catch {
      failure = failure ?? error
    }
    state.withLock { [failure] in $0.acknowledgeError = failure ?? $0.skipped.failure }
  }

  /// The peers of which nobody is told what is here or there. Compared now is what both sides have
  /// got since it was compared: where a peer's entries come from elsewhere all the time, no turn of
  /// its own would ever be late enough. One that failed, or has two histories, waits for its turn.
  private func doubtfulPeers(ours: PeerCursors) async -> Set<PeerID> {
    let late = state.withLock { state in
      state.peers.filter { peer, entry in
        entry.same != nil && entry.progress.pause == nil && !entry.isSame(ours: ours[peer])
      }.mapValues(\.progress.known)
    }
    for (peer, known) in late {
      let outcome = await pull.run(peer, upTo: known, taking: false)
      state.withLock { state in
        guard let entry = state.peers[peer], let same = entry.same, outcome.isSame == true
        else { return }
        state.peers[peer]?.same = min(max(same, outcome.same), entry.progress.known)
      }
    }
    let (doubtful, skipped) = state.withLock { ($0.doubtful(ours: ours), $0.skipped) }
    guard let peer = settings.skippedPeer else { return doubtful }
    let common = min(ours[peer], skipped.known)
    if skipped.failure == nil, common <= skipped.same { return doubtful }
    let outcome = await pull.run(peer, upTo: skipped.known, taking: false)
    let isSame = outcome.isSame == true
    state.withLock { state in
      state.skipped.failure = outcome.error
      // No higher than what the source has by now: it may have lost entries meanwhile.
      if isSame { state.skipped.same = min(common, state.skipped.known) }
    }
    // Once for each time that it comes to be so.
    if let error = outcome.error, skipped.failure == nil, !Task.isCancelled {
      metrics?.stopped(reason: PullPause.reason(of: error))
    }
    return isSame ? doubtful : doubtful.union([peer])
  }

  // MARK: Pulling

  /// The peers whose turn it is.
  private func takeDue() -> [(peer: PeerID, known: UInt64)] {
    state.withLock { state in
      let room = max(max(settings.concurrentPeerLimit, 1) - state.pullingCount, 0)
      let due = state.queue.prefix(room).map { peer in
        state.peers[peer]?.progress.phase = .pulling
        return (peer, state.peers[peer]?.progress.known ?? 0)
      }
      state.queue.removeFirst(due.count)
      state.pullingCount += due.count
      return due
    }
  }

  private func serve(
    _ peer: PeerID, upTo known: UInt64, _ wake: AsyncStream<Void>.Continuation,
    _ request: AsyncStream<Void>.Continuation
  ) async {
    let outcome = await pull.run(peer, upTo: known)
    if Task.isCancelled { return }
    let pause = finish(peer, outcome)
    await acknowledgeWhereDrained(request)
    wake.yield()
    guard let pause else { return }
    try? await clock.sleep(until: pause.until)
    state.withLock { state in
      state.peers[peer]?.progress.phase = .waiting
      state.queue.append(peer)
    }
    wake.yield()
  }

  private func finish(_ peer: PeerID, _ outcome: PullOutcome) -> PullPause? {
    let now = clock.now
    return state.withLock { state in
      state.pullingCount -= 1
      state.newCount += outcome.newCount
      metrics?.pulled(outcome.newCount)
      guard var entry = state.peers[peer] else { return nil }
      defer { state.peers[peer] = entry }
      entry.progress.next = max(entry.progress.next, outcome.next)
      if let isSame = outcome.isSame {
        entry.same = isSame ? min(outcome.same, entry.progress.known) : nil
      }
      // Once all that can be read is here, what cannot be read is what is left to tell.
      let error = outcome.error ?? (entry.progress.lag == 0 ? entry.failure : nil)
      guard error != nil || outcome.lacksHistory else {
        entry.failureCount = 0
        entry.progress.phase = .drained
        if entry.progress.lag > 0 || !entry.isSame() {
          entry.progress.phase = .waiting
          state.queue.append(peer)
        }
        return nil
      }
      entry.failureCount = outcome.newCount > 0 ? 1 : entry.failureCount + 1
      let pause = PullPause(
        reason: PullPause.reason(of: error), error: error,
        attemptCount: entry.failureCount, until: now + rest(after: entry.failureCount))
      entry.progress.phase = .paused(pause)
      metrics?.stopped(reason: pause.reason)
      return pause
    }
  }

  /// The first rest, doubled for each failure before, within the bounds.
  private func rest(after failures: Int) -> Duration {
    let limit = max(settings.backoff.upperBound, Self.leastRest)
    var rest = max(settings.backoff.lowerBound, Self.leastRest)
    // Bounded by the doublings from a millisecond to more than any upper bound.
    for _ in 1..<min(max(failures, 1), 64) where rest < limit { rest *= 2 }
    return min(rest, limit)
  }

  /// The shortest interval and rest, so that no setting makes a driver spin.
  private static var leastRest: Duration { .milliseconds(1) }
}
