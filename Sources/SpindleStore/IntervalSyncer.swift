internal import SpindleCore
internal import SpindleIO
internal import Synchronization

/// Syncs the log from time to time, so that a power loss costs no more than was written in that
/// time.
///
/// A task that only sleeps wakes the thread that syncs; no cooperative thread waits for the disk.
/// While the thread syncs, further wake-ups count as one. Nothing is synced while nothing was
/// written since the last sync, whoever asked for that one. A failed sync shuts the store's gate as
/// one that a commit asked for does; after a failed append no sync is tried until the log is
/// replaced.
final class IntervalSyncer: Sendable {
  private let engine: CommitEngine
  private let wake = ThreadSemaphore()
  private let isDue = Atomic<Bool>(false)
  private let stopping = Atomic<Bool>(false)
  private let thread = Mutex<NamedThread?>(nil)
  private let timer = Mutex<Task<Void, Never>?>(nil)

  private let afterLook: @Sendable () -> Void

  init(engine: CommitEngine, interval: Duration, afterLook: @escaping @Sendable () -> Void) throws {
    self.engine = engine
    self.afterLook = afterLook
    let thread = try withSpindleErrors { () throws(IOFailure) in
      try NamedThread(name: "spindle-interval") { [self] in run() }
    }
    self.thread.withLock { $0 = thread }
    let clock = engine.clock
    let timer = Task { [self] in
      while true {
        do { try await clock.sleep(until: clock.now + interval) } catch { return }
        if !isDue.exchange(true, ordering: .acquiringAndReleasing) { wake.signal() }
      }
    }
    self.timer.withLock { $0 = timer }
  }

  /// Ends the thread after the sync under way. Call it where blocking is allowed.
  func stop() {
    timer.withLock { $0 }?.cancel()
    stopping.store(true, ordering: .releasing)
    wake.signal()
    let thread = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    thread?.join()
  }

  private func run() {
    while true {
      wake.wait()
      if stopping.load(ordering: .acquiring) { return }
      // Before the sync: what becomes due during it is another one.
      isDue.store(false, ordering: .releasing)
      engine.syncLogIfNeeded()
      afterLook()
    }
  }
}
