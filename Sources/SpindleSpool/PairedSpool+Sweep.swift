public import SpindleCore
internal import Synchronization

extension PairedSpool {
  /// What a sweep of bodies without meta found and did.
  public struct Sweep: Sendable, Equatable {
    /// Bodies older than the limit that were looked at.
    public var examined = 0
    /// Those of them that belong to no message.
    public var orphans = 0
    /// Those that were removed; none in a dry run.
    public var removed = 0
    /// Bodies whose meta could not be read, so that nobody knows whether they belong to a message.
    /// They stay, and the next housekeeping looks again.
    public var unjudged = 0
    /// Why the first of them could not be judged, or the first orphan not be removed.
    public var firstProblem: String?
    /// The first ``idLimit`` orphans.
    public var ids: [SpoolID] = []
    /// Failed removals that are still to be tried again.
    public var pendingRollbacks = 0

    /// The most ids that a sweep names.
    public static let idLimit = 1_000
  }

  /// How old a body without meta must be for ``cleanup()`` to remove it.
  public static let orphanAge = Duration.seconds(3_600)

  /// Finds bodies that belong to no message, as a crash or a failed removal leaves them, and
  /// removes them.
  ///
  /// A body whose message is being stored is never taken for one, however old its id; nor is one
  /// whose meta is in quarantine. Removals that failed before are tried again first.
  ///
  /// - Parameters:
  ///   - age: Younger ones are left alone, by the time in their id. 0 or more; the default is one
  ///     hour. The time of an id that is more than a day ahead of the clock is none: its body is
  ///     looked at whatever the age. One that is less ahead counts as young until the clock has
  ///     passed it.
  ///   - dryRun: True: nothing is removed. The default is false.
  /// - Throws: ``SpindleError``: `invalidArgument` for a negative age, and what stopped the sweep;
  ///   what was removed before stays removed, and the sweep may be repeated.
  /// - Complexity: reads the data spool, and the meta of each body.
  @discardableResult
  public func sweepOrphans(
    olderThan age: Duration = PairedSpool.orphanAge, dryRun: Bool = false
  ) async throws -> Sweep {
    try checkOpen()
    guard age >= .zero else {
      throw SpindleError(.invalidArgument, "the age is \(age); expected 0 s or more")
    }
    if !dryRun { await retryRollbacks() }
    // Ages beyond all ids' times need no exact number.
    let seconds = UInt64(min(age.components.seconds, 1 << 40))
    let milliseconds = seconds * 1000 + UInt64(age.components.attoseconds / 1_000_000_000_000_000)
    let now = clock.wallMilliseconds
    let cutoff = now - min(milliseconds, now)
    let past = SpoolInstant(unixMilliseconds: cutoff)
    // No id that a spool makes is further ahead.
    let future = SpoolInstant(unixMilliseconds: now &+ RocksSpool.floorAheadMilliseconds)
    let sweep = try await sweep(dryRun: dryRun) { $0.created < past || $0.created > future }
    if !dryRun { schedule.swept(before: cutoff) }
    return sweep
  }

  private func sweep(dryRun: Bool, _ isDue: (SpoolID) -> Bool) async throws -> Sweep {
    var sweep = Sweep()
    if let data = data as? RocksSpool {
      // Ids alone, in pages that bound the memory; a walk would copy every body.
      var last: SpoolID?
      while true {
        let page = try await data.ids(from: last, limit: 1_000)
        for id in page where id != last && isDue(id) {
          try await judge(id, dryRun: dryRun, &sweep)
        }
        guard let next = page.last, next != last else { break }
        last = next
      }
    } else {
      let channel = SpoolEntryChannel(capacity: 8)
      // All of them: what is old enough goes by the id alone, however lately it was stored.
      let walk = try data.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
      for await entry in channel {
        switch entry {
        case .item(let id, _) where isDue(id), .corrupt(let id, _) where isDue(id):
          try await judge(id, dryRun: dryRun, &sweep)
        default: continue
        }
      }
      if let error = await walk.finished().error { throw error }
    }
    sweep.pendingRollbacks = rollbacks.count
    return sweep
  }

  private func judge(_ id: SpoolID, dryRun: Bool, _ sweep: inout Sweep) async throws {
    let halves = PairHalves(meta: meta, data: data)
    sweep.examined += 1
    do {
      guard try await halves.isOrphan(id) else { return }
      // A store has its id's turn from before its body is written until its meta is; so with the
      // turn in hand, what has no meta now gets none. Who has the turn is not waited for.
      guard turns.tryEnter(id) else { return }
      defer { turns.leave(id) }
      try checkOpen()
      guard try await halves.isOrphan(id) else { return }
      sweep.orphans += 1
      if sweep.ids.count < Sweep.idLimit { sweep.ids.append(id) }
      if dryRun { return }
      // One body that cannot be removed must not keep the rest from being swept, nor one damaged
      // meta. A whole spool that takes no removals costs a failure each.
      do {
        if try await halves.removeOrphan(id) { sweep.removed += 1 }
      } catch let error as SpindleError where Self.isOfOneMessage(error) {
        sweep.firstProblem = sweep.firstProblem ?? "\(error)"
        rollbacks.add(id)
      }
    } catch let error as SpindleError where Self.isOfOneMessage(error) {
      sweep.unjudged += 1
      sweep.firstProblem = sweep.firstProblem ?? "\(error)"
      if !dryRun { rollbacks.add(id) }
    }
  }

  /// Whether a look for a meta, or the removal of a body, failed for that message alone, be it in
  /// its spool or in quarantine.
  private static func isOfOneMessage(_ error: SpindleError) -> Bool {
    error.kind == .io || error.kind == .corruption
  }

  /// Tries removals again that failed. One that fails for itself keeps no other waiting; at
  /// the first that fails otherwise, the rest waits.
  func retryRollbacks() async {
    let halves = PairHalves(meta: meta, data: data)
    var ids = rollbacks.take()[...]
    while let id = ids.popFirst() {
      guard turns.tryEnter(id) else {
        rollbacks.add(id)
        continue
      }
      defer { turns.leave(id) }
      do {
        _ = try await halves.removeOrphan(id)
      } catch let error as SpindleError where Self.isOfOneMessage(error) {
        rollbacks.add(id)
      } catch {
        for id in [id] + ids { rollbacks.add(id) }
        return
      }
    }
  }
}

/// When a pair's housekeeping sweeps. Crashes of earlier runs leave bodies without meta, and this
/// run does so only where its list of rollbacks was full. So what is older than a moment must be
/// swept once it is old enough, and nothing else.
final class PairSweepSchedule: Sendable {
  private struct State {
    var hasSwept = false
    /// What is older than this is still to be swept; milliseconds since the Unix epoch.
    var due: UInt64?
  }
  private let state: Mutex<State>

  init(opened: UInt64) { state = Mutex(State(due: opened)) }

  /// - Parameter overflow: Whether bodies without meta may have been left since the last call.
  func isDue(at now: UInt64, overflow: Bool) -> Bool {
    let age = UInt64(PairedSpool.orphanAge.components.seconds) * 1000
    return state.withLock { state in
      if overflow { state.due = now }
      if !state.hasSwept { return true }
      guard let due = state.due else { return false }
      return now >= age && now - age >= due
    }
  }

  /// Notes that a sweep of everything older than a moment reached its end.
  func swept(before cutoff: UInt64) {
    state.withLock { state in
      state.hasSwept = true
      if let due = state.due, cutoff >= due { state.due = nil }
    }
  }
}
