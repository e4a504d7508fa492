import Glibc
import SpindleCore
import SpindleIO
import Synchronization
import Testing

@Suite("Threads of our own")
struct ThreadTests {
  /// A door that threads wait at.
  private final class Gate: Sendable {
    private let semaphore = ThreadSemaphore()
    func open(for count: Int = 1) { for _ in 0..<count { semaphore.signal() } }
    func pass() { semaphore.wait() }
  }

  /// A count that jobs share.
  private final class Counter: Sendable {
    private let count = Atomic<Int>(0)
    var value: Int { count.load(ordering: .sequentiallyConsistent) }
    func add(_ number: Int = 1) { count.add(number, ordering: .sequentiallyConsistent) }
  }

  private func withPool<Result>(
    threads: Int, queueLimit: Int = 4_096, _ body: (BlockingPool) async throws -> Result
  ) async throws -> Result {
    let pool = BlockingPool(name: "spindle-test", threads: threads, queueLimit: queueLimit)
    do {
      let result = try await body(pool)
      await stop(pool)
      return result
    } catch {
      await stop(pool)
      throw error
    }
  }

  /// Stops a pool without blocking a cooperative thread.
  private func stop(_ pool: BlockingPool) async {
    await withCheckedContinuation { continuation in
      do {
        _ = try NamedThread(name: "stopper") {
          pool.stop()
          continuation.resume()
        }
      } catch {
        continuation.resume()
      }
    }
  }

  @Test func everyJobRunsOnceAndGivesItsValue() async throws {
    try await withPool(threads: 4) { pool in
      let runs = Counter()
      let sum = try await withThrowingTaskGroup(of: Int.self) { group in
        for number in 0..<2_000 {
          group.addTask {
            try await pool.run {
              runs.add(1)
              return number
            }
          }
        }
        return try await group.reduce(0, +)
      }
      #expect(sum == 1_999_000)
      #expect(runs.value == 2_000)
    }
  }

  @Test func errorsPassThroughAsTheyAre() async throws {
    struct Own: Error, Equatable { var number: Int }
    try await withPool(threads: 1) { pool in
      await #expect(throws: Own(number: 7)) {
        try await pool.run { throw Own(number: 7) }
      }
      let next = try await pool.run { 1 }
      #expect(next == 1)
    }
  }

  @Test("The queue takes as many as its limit and refuses the next, and the refused never runs")
  func theQueueIsBounded() async throws {
    try await withPool(threads: 1, queueLimit: 3) { pool in
      let (started, gate) = (Gate(), Gate())
      let runs = Counter()
      try pool.enqueue {
        started.open()
        gate.pass()
      }
      started.pass()
      for _ in 0..<3 { try pool.enqueue { runs.add(1) } }
      for _ in 0..<2 {
        do throws(SpindleError) {
          try pool.enqueue { runs.add(100) }
          Issue.record("the fourth waiting call was taken")
        } catch {
          #expect(error.kind == .overloaded)
        }
      }
      do {
        try await pool.run { runs.add(100) }
        Issue.record("the fourth waiting call was taken")
      } catch let error as SpindleError {
        #expect(error.kind == .overloaded)
      }
      gate.open()
      // The first of the three may still wait; then there is no room for this one yet.
      while runs.value < 3 { await Task.yield() }
      try await pool.run { runs.add(1) }
      #expect(runs.value == 4)
    }
  }

  @Test("Jobs that wait for each other all get a thread, up to the limit")
  func jobsRunAtOnce() async throws {
    for _ in 0..<50 {
      try await withPool(threads: 4) { pool in
        // An idle thread, so that the next jobs see it.
        try await pool.run {}
        let arrived = Counter()
        let done = Gate()
        for _ in 0..<4 {
          try pool.enqueue {
            arrived.add(1)
            while arrived.value < 4 { usleep(50) }
            done.open()
          }
        }
        for _ in 0..<4 { done.pass() }
      }
    }
  }

  /// Large messages wait in jobs: those that were written must not stay while others wait.
  @Test func aJobIsLetGoWhenItHasRun() async throws {
    final class Load: Sendable {}
    try await withPool(threads: 1) { pool in
      let (ran, gate) = (Gate(), Gate())
      weak var load: Load?
      do {
        let held = Load()
        load = held
        try pool.enqueue { withExtendedLifetime(held) {} }
      }
      try pool.enqueue {
        ran.open()
        gate.pass()
      }
      try pool.enqueue {}
      ran.pass()
      #expect(pool.queuedCount == 1)
      #expect(load == nil)
      gate.open()
    }
  }

  @Test func aStoppedPoolRunsWhatItHasAndRefusesMore() async throws {
    let pool = BlockingPool(name: "spindle-test", threads: 1)
    let (started, gate) = (Gate(), Gate())
    let runs = Counter()
    try pool.enqueue {
      started.open()
      gate.pass()
    }
    started.pass()
    for _ in 0..<10 { try pool.enqueue { runs.add(1) } }
    gate.open()
    await stop(pool)
    #expect(runs.value == 10)
    do {
      try await pool.run {}
      Issue.record("a stopped pool took a call")
    } catch let error as SpindleError {
      #expect(error.kind == .closed)
    }
    await stop(pool)
  }

  @Test func aCallerOfAReadLeavesWhenItIsCancelled() async throws {
    try await withPool(threads: 1, queueLimit: 2) { pool in
      let (started, gate) = (Gate(), Gate())
      let (ends, runs) = (Counter(), Counter())
      let running = Task {
        try await pool.runUntilCancelled(atEnd: { ends.add() }) {
          started.open()
          gate.pass()
          runs.add()
        }
      }
      await Task.waitOnThread(started.pass)
      let queued = Task {
        try await pool.runUntilCancelled(atEnd: { ends.add() }) { runs.add(100) }
      }
      while pool.queuedCount < 1 { await Task.yield() }
      // Neither the work that has begun nor its place in the queue holds its caller.
      running.cancel()
      queued.cancel()
      await #expect(throws: CancellationError.self) { try await running.value }
      await #expect(throws: CancellationError.self) { try await queued.value }
      // What has not begun is dropped at once; what has is not over.
      #expect(ends.value == 1)
      let late = Task {
        while !Task.isCancelled { await Task.yield() }
        return try await pool.runUntilCancelled(atEnd: { ends.add() }) { runs.add(100) }
      }
      late.cancel()
      await #expect(throws: CancellationError.self) { try await late.value }
      #expect(ends.value == 2)
      // Whoever left holds no place, however many they were.
      #expect(pool.queuedCount == 0)
      for _ in 0..<1_000 {
        let call = Task {
          try await pool.runUntilCancelled(atEnd: { ends.add() }) { runs.add(100) }
        }
        while pool.queuedCount < 1 { await Task.yield() }
        call.cancel()
        await #expect(throws: CancellationError.self) { try await call.value }
      }
      #expect(ends.value == 1_002 && pool.queuedCount == 0)
      ends.add(-1_000)
      // A full queue refuses, which ends the call as well.
      for _ in 0..<2 { try pool.enqueue {} }
      await #expect(throws: SpindleError.self) {
        try await pool.runUntilCancelled(atEnd: { ends.add() }) { runs.add(100) }
      }
      #expect(ends.value == 3)
      gate.open()
      while pool.queuedCount > 0 { await Task.yield() }
      let value = try await pool.run { 7 }
      #expect(value == 7 && ends.value == 4 && runs.value == 1)
      let read = try await pool.runUntilCancelled(atEnd: { ends.add() }) { 8 }
      #expect(read == 8 && ends.value == 5)
    }
  }

  @Test func aCancelledCallerStillGetsTheOutcome() async throws {
    try await withPool(threads: 1) { pool in
      let (started, gate) = (Gate(), Gate())
      let task = Task {
        try await pool.run {
          started.open()
          gate.pass()
          return 5
        }
      }
      await Task.waitOnThread(started.pass)
      task.cancel()
      gate.open()
      let value = try await task.value
      #expect(value == 5)
    }
  }

  @Test func aThreadBearsItsNameAndIsJoined() async throws {
    let name = TextBox()
    let thread = try NamedThread(name: "spindle-long-name-of-a-thread") {
      name.text.withLock { $0 = (try? commOfThisThread()) ?? "" }
    }
    thread.join()
    thread.join()
    let seen = name.text.withLock { $0 }
    #expect(seen == "spindle-long-na")
  }

  @Test func aSemaphoreCountsItsSignals() {
    let semaphore = ThreadSemaphore()
    #expect(!semaphore.wait(milliseconds: 0))
    #expect(!semaphore.wait(milliseconds: 5))
    semaphore.signal()
    semaphore.signal()
    semaphore.wait()
    #expect(semaphore.wait(milliseconds: 1_000))
    #expect(!semaphore.wait(milliseconds: 1))
  }
}

private final class TextBox: Sendable {
  let text = Mutex("")
}

/// The name of the calling thread, as the kernel shows it.
private func commOfThisThread() throws -> String {
  let file = unsafe open("/proc/thread-self/comm", O_RDONLY | O_CLOEXEC)
  defer { close(file) }
  var bytes = [UInt8](repeating: 0, count: 32)
  let count = unsafe bytes.withUnsafeMutableBytes { unsafe read(file, $0.baseAddress, $0.count) }
  return String(decoding: bytes.prefix(max(count - 1, 0)), as: UTF8.self)
}

extension Task where Success == Never, Failure == Never {
  /// Waits for a blocking call on a thread of its own.
  static func waitOnThread(_ body: @escaping @Sendable () -> Void) async {
    await withCheckedContinuation { continuation in
      do {
        _ = try NamedThread(name: "waiter") {
          body()
          continuation.resume()
        }
      } catch {
        continuation.resume()
      }
    }
  }
}
