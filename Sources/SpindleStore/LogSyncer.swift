internal import SpindleCore
internal import SpindleIO
internal import Synchronization

/// Syncs the log for groups that were written, so that the next group is written meanwhile.
///
/// 1. The commit thread hands a group's waiters over after the group's write returned.
/// 2. The syncer takes everybody who waits, in the order of the writes, and only then begins a
///    sync: it covers the write of each of them.
/// 3. It resumes them all with the sync's outcome, and begins anew with those who came meanwhile.
///
/// A failed sync shuts the gate before anybody is resumed, and the guard of the log refuses every
/// sync after it; so the groups behind it get an error too, whatever was written meanwhile.
///
/// A caller that is alone is not handed over: where the last group had no other waiter either and
/// no sync is under way, the commit thread syncs by itself and saves the switch to another thread.
///
/// Nobody is refused here. The bound stands at the lane's entry, which counts ``unsyncedCount``.
final class LogSyncer: Sendable {
  private struct State {
    var waiting: [CommitWaiter] = []
    /// Whether the thread holds waiters; what is handed over then waits for its next sync.
    var isSyncing = false
    /// The waiters of the last group.
    var lastCount = 0
    var parked = false
    var stopping = false
  }

  private let state = Mutex(State())
  private let unsynced = Atomic<Int>(0)
  private let wake = ThreadSemaphore()
  private let engine: CommitEngine
  private let thread = Mutex<NamedThread?>(nil)

  init(engine: CommitEngine) throws {
    self.engine = engine
    let thread = try withSpindleErrors { () throws(IOFailure) in
      try NamedThread(name: "spindle-sync") { [self] in run() }
    }
    self.thread.withLock { $0 = thread }
  }

  /// Callers whose batch is written and who wait for a sync.
  var unsyncedCount: Int { unsynced.load(ordering: .relaxed) }

  /// Lets the callers of a written group go on after a sync that begins from now on. Only the
  /// commit thread calls it.
  func finish(_ waiters: [CommitWaiter]) {
    enum Next { case syncHere, wake, nothing }
    let next = state.withLock { state -> Next in
      let wasAlone = state.lastCount <= 1
      state.lastCount = waiters.count
      if waiters.count == 1, wasAlone, state.waiting.isEmpty, !state.isSyncing { return .syncHere }
      unsynced.add(waiters.count, ordering: .relaxed)
      state.waiting += waiters
      defer { state.parked = false }
      return state.parked ? .wake : .nothing
    }
    switch next {
    case .syncHere: sync(for: waiters)
    case .wake: wake.signal()
    case .nothing: break
    }
  }

  /// Syncs for all who were handed over, and ends the thread. Call it where blocking is allowed,
  /// when nobody is handed over any more.
  func stop() {
    let shouldWake = state.withLock { state in
      state.stopping = true
      defer { state.parked = false }
      return state.parked
    }
    if shouldWake { wake.signal() }
    let thread = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    thread?.join()
  }

  private func run() {
    while let waiters = takeWaiters() {
      sync(for: waiters)
      unsynced.subtract(waiters.count, ordering: .relaxed)
    }
  }

  /// Waits for work. Nil means that the syncer stopped and nobody waits.
  private func takeWaiters() -> [CommitWaiter]? {
    while true {
      enum Next { case sync([CommitWaiter]), stop, park }
      let next = state.withLock { state -> Next in
        state.isSyncing = !state.waiting.isEmpty
        if state.waiting.isEmpty {
          if state.stopping { return .stop }
          state.parked = true
          return .park
        }
        defer { state.waiting = [] }
        return .sync(state.waiting)
      }
      switch next {
      case .sync(let waiters): return waiters
      case .stop: return nil
      case .park: wake.wait()
      }
    }
  }

  private func sync(for waiters: [CommitWaiter]) {
    let result: Result<Void, any Error> = engine.syncLog().map { .failure($0) } ?? .success(())
    for waiter in waiters { waiter.resume(result) }
  }
}
