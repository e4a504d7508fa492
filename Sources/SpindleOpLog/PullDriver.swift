public import SpindleCore

/// Pulls once what a source has and a target lacks.
///
/// Each peer's entries are taken in order, page by page; a peer that fails does not stop the
/// others. It never asks for what the target has, any number of drivers may run on one target, and
/// it can be cancelled at any point: where a pull goes on is read from the target.
///
/// Before anything of a peer is taken the chains' heads are compared where both logs end, so that
/// two histories of one peer are told and never joined: ``SyncError/conflict(peer:index:)``. Heads
/// that are not known, as in a log without chains, are not compared.
public struct PullDriver<Op: Sendable>: Sendable {
  private let pull: PeerPull<Op>
  private let skippedPeer: PeerID?
  private let metrics: PullMetrics?

  /// - Parameters:
  ///   - skippedPeer: A peer that is never pulled, and only compared: the own one, once its history
  ///     is here. The default is nil, which brings back an own history that was lost.
  ///   - name: The label `driver` of its metrics.
  public init(
    from source: any LogSource<Op>, into target: any LogProcessor<Op>,
    skipping skippedPeer: PeerID? = nil, name: String = "pull"
  ) {
    pull = PeerPull(source: source, target: target)
    self.skippedPeer = skippedPeer
    metrics = PullMetrics(driver: name)
  }

  /// Pulls up to where the source ends at the beginning of the call. Then source and target tell
  /// each other what they have, as far as they keep such words: see
  /// ``LogIndexTracker/trim(below:forced:)``.
  ///
  /// - Returns: What became of each peer that the source is ahead of, cannot read to its end, or
  ///   has with another history.
  /// - Throws: What the source throws when it is asked for its peers, and the target when it is
  ///   told of them; `CancellationError`.
  public func run() async throws -> PullReport {
    var report = PullReport()
    let survey = try await survey()
    try await pull.target.noteElsewhere(survey.cursors)
    // Of a peer that could not be compared, or that has two histories, nobody is told anything.
    var doubtful = Set(survey.failures.keys).subtracting(survey.cursors.sorted.map(\.peer))
    for (peer, known) in survey.cursors.sorted {
      try Task.checkCancellation()
      let outcome = await pull.run(peer, upTo: known, taking: peer != skippedPeer)
      if outcome.isSame != true { doubtful.insert(peer) }
      if outcome.isUpToDate { continue }
      metrics?.pulled(outcome.newCount)
      report.peers[peer] = outcome
    }
    for (peer, failure) in survey.failures where peer != skippedPeer {
      try Task.checkCancellation()
      // A peer of which nothing can be read was not looked at yet.
      var outcome = report.peers[peer] ?? PullOutcome()
      if report.peers[peer] == nil { outcome.next = try await pull.target.cursor(of: peer) }
      outcome.error = outcome.error ?? failure
      report.peers[peer] = outcome
    }
    try Task.checkCancellation()
    if let metrics {
      for outcome in report.peers.values where outcome.error != nil || outcome.lacksHistory {
        metrics.stopped(reason: PullPause.reason(of: outcome.error))
      }
    }
    do {
      let replicas = try await pull.source.acknowledgements()
      try await pull.target.noteAcknowledged(by: replicas, except: doubtful)
    } catch {
      report.acknowledgementError = error
    }
    do {
      try await pull.target.acknowledge(to: pull.source, except: doubtful)
    } catch {
      report.acknowledgementError = report.acknowledgementError ?? error
    }
    try Task.checkCancellation()
    return report
  }

  private func survey() async throws -> LogSurvey {
    do {
      return try await pull.source.survey()
    } catch {
      metrics?.sourceFailed(error)
      throw error
    }
  }
}

/// What a ``PullDriver`` did.
public struct PullReport: Sendable {
  /// The peers that the source was ahead of, those that it cannot read to their end, and those of
  /// which it has another history.
  public fileprivate(set) var peers: [PeerID: PullOutcome] = [:]

  /// Why source and target could not tell each other what they have; nil when they did. Nothing is
  /// lost by it: the logs are trimmed later.
  public fileprivate(set) var acknowledgementError: (any Error)?

  /// How many entries were applied that the target did not have.
  public var newCount: Int { peers.values.reduce(0) { $0 + $1.newCount } }
}

/// What pulling one peer came to.
public struct PullOutcome: Sendable {
  /// How many entries were applied that the target did not have. After an error this is how far the
  /// peer's cursor moved, by whomever.
  public fileprivate(set) var newCount = 0
  /// The peer's next index in the target.
  public fileprivate(set) var next: UInt64 = 0
  /// Whether the source had nothing at ``next`` although it knows of later entries.
  public fileprivate(set) var lacksHistory = false
  /// What stopped the peer; nil when nothing did.
  public fileprivate(set) var error: (any Error)?
  /// Whether there was nothing to do.
  fileprivate var isUpToDate = true

  /// Whether the peer's log is one and the same in source and target, as far as heads tell; nil
  /// where it could not be looked at.
  var isSame: Bool? {
    if case SyncError.conflict? = error as? SyncError { return false }
    return isCompared ? true : nil
  }
  fileprivate var isCompared = false
  /// Below which index the peer's log was compared, or taken from the source.
  fileprivate(set) var same: UInt64 = 0
}

/// Pulls one peer from a source into a target.
struct PeerPull<Op: Sendable>: Sendable {
  let source: any LogSource<Op>
  let target: any LogProcessor<Op>

  /// - Parameter taking: Whether the peer is pulled once it was compared.
  func run(_ peer: PeerID, upTo known: UInt64, taking: Bool = true) async -> PullOutcome {
    var outcome = PullOutcome()
    do {
      outcome.next = try await target.cursor(of: peer)
      outcome.isUpToDate = !taking || outcome.next >= known
      let common = min(outcome.next, known)
      try await compare(peer, below: common)
      outcome.isCompared = true
      outcome.same = common
      if !taking { return outcome }
      while outcome.next < known {
        try Task.checkCancellation()
        let page = try await source.readSince(peer: peer, from: outcome.next)
        if page.isEmpty {
          outcome.lacksHistory = true
          return outcome
        }
        try await apply(page, of: peer, &outcome)
      }
    } catch {
      outcome.isUpToDate = false
      outcome.error = error
    }
    return outcome
  }

  /// Compares the peer's logs below an index by their chains' heads.
  ///
  /// - Throws: ``SyncError/conflict(peer:index:)`` with the first index whose entries differ.
  private func compare(_ peer: PeerID, below index: UInt64) async throws {
    guard index > 0, try await differs(peer, below: index) else { return }
    var (same, other) = (0 as UInt64, index)
    while other - same > 1 {
      let middle = same + (other - same) / 2
      if try await differs(peer, below: middle) { other = middle } else { same = middle }
    }
    throw SyncError.conflict(peer: peer, index: same)
  }

  private func differs(_ peer: PeerID, below index: UInt64) async throws -> Bool {
    guard let ours = try await target.chainHead(of: peer, before: index),
      let theirs = try await source.chainHead(of: peer, before: index)
    else { return false }
    return ours != theirs
  }

  /// Applies a page as far as its indices follow each other.
  private func apply(
    _ page: [(index: UInt64, entry: DecodedEntry<Op>)], of peer: PeerID,
    _ outcome: inout PullOutcome
  ) async throws {
    var count = 0
    while count < page.count, page[count].index == outcome.next + UInt64(count) { count += 1 }
    if count > 0 {
      do {
        outcome.newCount += try await target.apply(peer: peer, entries: Array(page[..<count]))
      } catch {
        // Those before the one that failed were applied.
        if let next = try? await target.cursor(of: peer), next > outcome.next {
          outcome.newCount += Int(clamping: next - outcome.next)
          outcome.next = next
        }
        throw error
      }
      outcome.next += UInt64(count)
      outcome.same = outcome.next
    }
    guard count == page.count else {
      throw SyncError.cursorMismatch(
        peer: peer, expected: outcome.next, actual: page[count].index)
    }
  }
}
